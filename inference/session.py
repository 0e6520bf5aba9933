"""One video: frames stream in, results stream out, and only the memory is kept.

Legend: K objects, L frames of a clip, H W frame size, h w at stride 16. A clip is the frames that
are predicted together from one state of the memory: as many as the settings of a clip system say,
otherwise as many as the lookahead allows.
"""

import collections
import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from inference.config import SystemConfig
from inference.feature_cache import FeatureCache
from inference.frames import PLAIN_VIEW, Geometry, ObjectMask, View, as_image, as_object_mask
from inference.memory import MemoryBank, Write
from inference.objects import VideoObjects
from inference.prediction import ClipContext, ClipPredictor, GivenFrame, PredictedFrame
from inference.results import DueResult, FrameResult
from inference.video_memory import VideoMemory
from model import VOSNetwork
from util.errors import InputError


class SegmentationSession:
    """One video, streaming.

    `step` takes frames in order and returns results in order, each `latency_frames` calls later;
    `flush` returns the remaining ones.

    Frames whose results are not wanted (`step(…, wanted=False)`) are skipped if they change
    nothing: the network neither encodes nor decodes them. The memory is scheduled by the frames'
    own indices (`step(…, index=…)`): a frame is written once `memory.write_every_frames` have
    passed since the last one written, whichever frames were given.

    A session with `backward_from` takes and returns frames from the last to the first; the frame
    indices that its memory holds are then distances from `backward_from`.
    """

    def __init__(
        self,
        network: VOSNetwork,
        device: torch.device,
        config: SystemConfig,
        *,
        lookahead: int = 1,
        frame_count: int | None = None,
        backward_from: int | None = None,
        view: View = PLAIN_VIEW,
        cache: FeatureCache | None = None,
    ):
        """Start a video.

        network: an inference copy on `device` that has the slots of `config`, as VideoSegmenter
        makes it. lookahead, frame_count, backward_from, view, cache: see VideoSegmenter.session.
        Raises InputError if lookahead is below 1.
        """
        if lookahead < 1:
            raise InputError(f"lookahead is {lookahead}; it must be at least 1")
        self._network, self._device, self._config = network, device, config
        self._view, self._cache = view, cache
        self._lookahead = 1 if config.frame_by_frame else lookahead
        self._backward_from = backward_from
        self._memory = VideoMemory(network, config, frame_count)
        policy_needs_all = self._memory.policy.needs_every_frame
        self._may_skip = not (config.needs_every_frame or policy_needs_all)
        self._objects = VideoObjects()
        self._predictor: ClipPredictor | None = None  # None: the frame size is not known yet
        # [1, K, 16h, 16w] of the latest frame, if it had objects
        self._previous_masks: Tensor | None = None
        self._gathered: list[GivenFrame] = []  # frames of the current clip to be predicted
        # All frames of the current clip, also those skipped or predicted already. If a clip is cut
        # short, by `flush` for instance, its other frames follow: the memory keeps its schedule.
        self._clip_given = 0
        self._clip_begun = False  # some frames of the current clip are predicted already
        self._results: collections.deque[DueResult] = collections.deque()
        self._next_index = 0
        self.frames_given = 0
        self.frames_skipped = 0  # given, but not seen by the network

    @property
    def latency_frames(self) -> int:
        """At most how many frames later than its frame a result is returned.

        Skipped frames do not count.
        """
        return (self._config.clip_length if self._config.clip_length > 1 else self._lookahead) - 1

    @property
    def object_ids(self) -> tuple[int, ...]:
        """The objects being segmented, in the order in which they joined."""
        return self._objects.ids

    @property
    def lost_object_ids(self) -> tuple[int, ...]:
        """The objects that no memory element shows any more.

        Their masks are empty from the next frame on, until a new mask is given for them.
        """
        lost = self._objects.lost.union(self._memory.lost_object_ids)
        return tuple(i for i in self._objects.ids if i in lost)

    @property
    def frames_memorised(self) -> int:
        """Frames written to memory so far, without temporary ones."""
        return self._memory.frames_memorised

    @property
    def frames_processed(self) -> int:
        """How many of the frames given are predicted or skipped; the others wait for their clip."""
        return self.frames_given - len(self._gathered)

    @property
    def memory(self) -> MemoryBank | None:
        """The memory bank, read-only.

        None until a frame follows the first mask, since a frame is written when the next one comes
        to read it.
        """
        return self._memory.bank

    def step(
        self, frame: Any, mask: Any = None, *, index: int | None = None, wanted: bool = True
    ) -> FrameResult | None:
        """Take the next frame.

        frame: uint8 RGB [H, W, 3]. mask: ids [H, W] if objects are given in this frame, new ones or
        corrections of present ones. index: the frame's own index in its video, if frames before it
        are left out; by default the index of the frame before, plus 1, from 0. wanted: whether
        there is to be a result; without one, the frame is skipped unless the memory needs it.

        Returns the next result that is due, or None during the latency. Raises InputError for
        frames, masks or indices that do not fit; the session is then unchanged.
        """
        self.push(frame, mask, index=index, wanted=wanted)
        return self.pop() if self.has_result else None

    def check(self, frame: Any, mask: Any = None, *, index: int | None = None) -> None:
        """Raise InputError if `step` would refuse these arguments. The session is unchanged."""
        self._checked(frame, mask, self._next_index if index is None else self._time_of(index))

    def push(
        self, frame: Any, mask: Any = None, *, index: int | None = None, wanted: bool = True
    ) -> None:
        """Take the next frame, as `step` does, without taking a result out."""
        index = self._next_index if index is None else self._time_of(index)
        image, object_mask, self._predictor = self._checked(frame, mask, index)
        self.frames_given += 1
        self._next_index = index + 1
        self._clip_given += 1
        if object_mask is None and self._is_skipped(index, wanted):
            self.frames_skipped += 1
        else:  # a copy, since the caller may use its array again
            image = image.to(self._device, copy=True)
            self._gathered.append(GivenFrame(index, image, wanted, self._time_of(index)))
        if object_mask is not None:
            self._process_clip(object_mask.to(self._device))
        elif self._is_clip_complete(index):
            self._process_clip()

    @property
    def has_result(self) -> bool:
        """Whether a result is due: `pop` returns it."""
        return bool(self._results)

    def _checked(
        self, frame: Any, mask: Any, index: int
    ) -> tuple[Tensor, ObjectMask | None, ClipPredictor]:
        """Frame and mask as typed values, and the predictor for them; see `check`.

        index: in the order of this session.
        """
        source = f"frame {self._time_of(index)}"
        if index < self._next_index:
            raise InputError(
                f"{source}: comes after frame {self._time_of(self._next_index - 1)}; frames are"
                " given in order, each once"
            )
        image = as_image(frame, source)
        size = tuple(image.shape[1:])
        predictor = self._predictor_for(size, source)
        object_mask = None if mask is None else as_object_mask(mask, size, source)
        self._require_room(predictor.geometry, object_mask, index, source)
        return image, object_mask, predictor

    def preload(self, frame: Any, mask: Any, *, index: int) -> None:
        """Memorise an annotated frame permanently, before the first `step`.

        All frames then read it, also those before it. Give frame and mask to `step` again when
        their turn comes: objects join there. frame, mask, index: as `step` takes them.
        Raises InputError unless the settings have permanent_memory, if frames were given already,
        if the frame is preloaded already, for frames and masks that do not fit, and if a bounded
        memory has no room for the frame.
        """
        source, index = f"frame {index}", self._time_of(index)
        if not self._config.memory.permanent:
            raise InputError(f"{source}: is preloaded; that takes the setting permanent_memory")
        if self.frames_given:
            raise InputError(f"{source}: is preloaded after a frame was given; preload it before")
        if mask is None:
            raise InputError(f"{source}: is preloaded without a mask; give the ids of its objects")
        if index in self._memory.policy.permanent_frames:
            raise InputError(f"{source}: is preloaded already; preload each frame once")
        image, object_mask, self._predictor = self._checked(frame, mask, index)
        nothing, objects = VideoObjects(), VideoObjects(object_mask.object_ids)
        position = self._time_of(index)
        given = GivenFrame(index, image.to(self._device), wanted=False, position=position)
        with self._predictor.arithmetic():
            context = ClipContext(nothing, bank=None, previous_masks=None)
            (predicted,) = self._predictor.predict([given], context)
            network_mask = self._predictor.geometry.mask_to_network(object_mask.to(self._device))
            merged = objects.merge_mask(predicted.probabilities, network_mask, nothing)
            self._memory.preload(predicted, merged[:, 1:], objects.ids, self._predictor)

    def flush(self) -> list[FrameResult]:
        """Return the results still due, in order. Further frames may follow."""
        return list(self.drain())

    def drain(self) -> Iterator[FrameResult]:
        """Yield the results still due, in order; nothing happens before the first is asked for.

        Each is made when it is asked for, since large frames with many objects take much memory.
        """
        if self._gathered:
            self._process_clip()
        while self._results:
            yield self.pop()

    def pop(self) -> FrameResult:
        """Return the next result, of those that are due already.

        Raises InputError if its probabilities are not finite, IndexError if none is due.
        """
        due = self._results.popleft()
        with self._predictor.arithmetic():
            probabilities = due.in_frame_size()
            self._predictor.require_finite(due.frame_index, probabilities)
        return due.finish(probabilities)

    def remove_object(self, object_id: int) -> None:
        """Stop segmenting an object from the next frame on, and free its values.

        Raises InputError if it is not being segmented.
        """
        self._objects.require_present(object_id)
        if self._gathered:
            self._process_clip()
        self._memory.write_scheduled(self._predictor)
        if object_id not in self._objects.lost:
            self._memory.bank.remove_object(object_id)
        if self._previous_masks is not None:
            self._previous_masks = self._objects.masks_without(self._previous_masks, object_id)
        self._objects = self._objects.without(object_id)
        if not self._objects.ids:
            self._previous_masks = None
            self._memory.clear()

    def _time_of(self, index: int) -> int:
        """The place in the order of this session of the frame `index`, and the other way round."""
        return index if self._backward_from is None else self._backward_from - index

    def _predictor_for(self, size: tuple[int, int], source: str) -> ClipPredictor:
        """The predictor of this video. Raises InputError for frames of a size that does not fit."""
        if self._predictor is None:
            geometry = Geometry.of(size, self._config.resolution, self._view)
            return ClipPredictor(self._network, self._device, self._config, geometry, self._cache)
        if size != self._predictor.geometry.size:
            height, width = self._predictor.geometry.size
            raise InputError(
                f"{source}: {size[1]}×{size[0]} pixels, the frames before have {width}×{height};"
                " one session takes one size"
            )
        return self._predictor

    def _require_room(
        self, geometry: Geometry, mask: ObjectMask | None, index: int, source: str
    ) -> None:
        """Raise InputError if there are too many objects for a session, or for its memory."""
        given = () if mask is None else mask.object_ids
        self._objects.require_room(given, source)
        known = set(self._objects.known_ids).union(given)
        self._memory.require_capacity(geometry, known, None if mask is None else index)

    def _is_skipped(self, index: int, wanted: bool) -> bool:
        """Whether a frame without a mask changes no result that is wanted."""
        if wanted:
            return False
        if not self._objects.ids:
            return True
        return self._may_skip and self._memory.policy.frames_until_write(index) > 1

    def _is_clip_complete(self, index: int) -> bool:
        """Whether to predict the gathered frames now; `index` is that of the latest frame."""
        if not self._objects.ids:
            return True
        if self._config.clip_length > 1:
            return self._clip_given >= self._config.clip_length
        affordable = self._predictor.affordable_frames(len(self._objects))
        return (
            len(self._gathered) >= min(self._lookahead, affordable)
            or self._memory.policy.frames_until_write(index) == 1
        )

    def _process_clip(self, mask: ObjectMask | None = None) -> None:
        """Predict the gathered frames together. mask: given for the last of them."""
        frames, self._gathered = self._gathered, []
        ends_clip = (
            mask is not None
            or not self._objects.ids
            or self._clip_given >= self._config.clip_length
        )
        begins_clip = not self._clip_begun
        self._clip_given = 0 if ends_clip else self._clip_given
        self._clip_begun = not ends_clip and (self._clip_begun or bool(frames))
        if not frames:  # all of them were skipped
            return
        with self._predictor.arithmetic():
            if begins_clip:
                self._memory.write_scheduled(self._predictor)
            if lost := self._memory.forget_lost_objects():
                self._objects = self._objects.with_lost(lost)
            context = ClipContext(self._objects, self._memory.bank, self._previous_masks)
            predicted = self._predictor.predict(frames, context)
            for given, frame in zip(frames, predicted, strict=True):
                is_last = given is frames[-1]
                if is_last and mask is not None:
                    frame = self._join_objects(frame, mask, given.wanted)
                    self._schedule(frame, Write.KEEP, annotated=True)
                else:
                    if given.wanted:
                        self._emit(frame)
                    decision = self._decide(frame, ends_clip=is_last and ends_clip)
                    self._schedule(frame, decision)
                if is_last and self._config.enhance:
                    self._previous_masks = frame.masks if self._objects.ids else None

    def _join_objects(
        self, frame: PredictedFrame, mask: ObjectMask, wanted: bool
    ) -> PredictedFrame:
        """Let the objects of a mask join, or be corrected; returns the frame with their masks."""
        before, self._objects = self._objects, self._objects.joined(mask.object_ids)
        if wanted:
            merge = functools.partial(self._objects.merge_mask, mask=mask, before=before)
            self._emit(frame, merge)
        network_mask = self._predictor.geometry.mask_to_network(mask)
        merged = self._objects.merge_mask(frame.probabilities, network_mask, before)
        self._memory.policy.annotated(frame.frame_index, merged[0, 1:], self._objects.ids)
        return frame.with_probabilities(merged)

    def _decide(self, frame: PredictedFrame, *, ends_clip: bool) -> Write:
        """Whether a predicted frame enters the memory."""
        policy = self._memory.policy
        if self._objects.ids and (policy.is_scheduled(frame.frame_index) or ends_clip):
            return policy.memorise(frame.frame_index, frame.masks[0], self._objects.ids)
        return Write.NO

    def _schedule(self, frame: PredictedFrame, decision: Write, *, annotated: bool = False) -> None:
        known_ids = self._objects.known_ids
        if decision is not Write.NO and known_ids:
            masks = self._objects.known_masks(frame.masks)
            temporary = decision is Write.TEMPORARY
            self._memory.schedule(frame, masks, known_ids, temporary=temporary, annotated=annotated)

    def _emit(
        self, frame: PredictedFrame, merge_mask: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        """Queue the result of a frame. merge_mask: see DueResult."""
        # a copy, since a view of it would hold the probabilities of the whole clip
        probabilities = frame.probabilities.clone()
        index, geometry = self._time_of(frame.frame_index), self._predictor.geometry
        self._results.append(
            DueResult(index, self._objects.ids, probabilities, geometry, merge_mask)
        )
