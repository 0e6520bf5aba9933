"""One video: frames stream in, label maps stream out, nothing of the video is kept but the memory.

Legend: K objects, L frames of a clip, C channels, M query positions, H W frame size, h w at stride 16. A clip is the frames predicted together from one
state of the memory: as many as a clip system's settings say, otherwise as many as may be looked ahead.
"""

import collections
import contextlib
import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.profiler import record_function

from inference.config import SystemConfig
from inference.frames import MAX_OBJECTS, Geometry, as_image, as_label_map
from inference.memory import POLICIES, MemoryBank, Write, element_bytes
from model import FrameFeatures, VOSNetwork
from model.network import STRIDE
from model.soft_aggregation import aggregate, aggregate_logits
from util.device import AMP_DTYPES, cuda_arithmetic
from util.errors import InputError

_OBJECT_FRAMES = 8  # objects × frames decoded or encoded at a time on the CPU,
_OBJECT_PIXELS_OF_GPU = (
    24 * 480 * 864
)  # objects × frames × pixels on a GPU, where every operation costs a launch,
_PROBABILITY_PIXELS = (
    64 * 480 * 864
)  # and (objects + 1) × frames × pixels predicted together: bound memory whatever the number of objects
_RESERVED_FRAMES = 40  # frames' worth of memory reserved at first, at most: a file may state any number of frames, and tables grow


@dataclasses.dataclass(frozen=True)
class FrameResult:
    """One frame's segmentation, in the frame's own size."""

    frame_index: int  # position among the frames given to the session, from 0, or the index that was given with the frame
    labels: (
        np.ndarray
    )  # [H, W] original ids, 0 background; uint8, or int32 where an id is above 255
    object_ids: tuple[int, ...]  # of probabilities[1:]
    probabilities: Tensor  # float32 [K + 1, H, W], background first


@dataclasses.dataclass(frozen=True)
class _Given:
    """A frame that waits to be predicted."""

    frame_index: int
    image: Tensor  # uint8 [3, H, W]
    wanted: bool


@dataclasses.dataclass(frozen=True)
class _Due:
    """A result that waits to be handed out. Until then it is held in the network's size: probabilities in the frame's own may take many times as much room."""

    frame_index: int
    object_ids: tuple[int, ...]
    probabilities: Callable[[], Tensor]  # [1, K + 1, H, W]


@dataclasses.dataclass(frozen=True)
class _Seen:
    """A frame that is predicted."""

    frame_index: int
    images: Tensor  # [1, 3, 16h, 16w]
    key: Tensor  # [1, C^k, h, w]
    feature_s16: Tensor  # [1, C, h, w]
    probabilities: Tensor  # [1, K + 1, 16h, 16w]


@dataclasses.dataclass(frozen=True)
class _Pending:
    """A frame to be memorised once a next clip comes to read it: the last frame of a video never is."""

    frame: _Seen
    masks: Tensor  # [1, K, 16h, 16w]
    object_ids: tuple[int, ...]
    temporary: bool


class SegmentationSession:
    """One video, streaming. `step` takes frames in order and gives results in order, each `latency_frames` calls later; `flush` gives the rest.

    Frames whose results are not wanted (`step(…, wanted=False)`) are skipped where they change nothing: neither encoded nor decoded by the network. Memory is written
    by the frames' own indices (`step(…, index=…)`): whenever `memory.write_every_frames` have passed since the last frame written, whichever frames were given.
    """

    def __init__(
        self,
        network: VOSNetwork,
        device: torch.device,
        config: SystemConfig,
        *,
        lookahead: int = 1,
        frame_count: int | None = None,
    ):
        if lookahead < 1:
            raise InputError(f"lookahead is {lookahead}; it must be at least 1")
        self._network, self._device, self._config = network, device, config
        self._lookahead = 1 if self._config.frame_by_frame else lookahead
        self._clip_given = 0  # frames given of the clip being gathered, also those skipped, and those predicted already,
        self._clip_begun = False  # as some are where a clip was ended early: the rest of it follows, so that the memory keeps its pace
        self._frame_count = frame_count
        self._policy = POLICIES[self._config.memory.policy](self._config.memory)
        self._policy.use_network(self._network)
        self._skips = not (self._config.needs_every_frame or self._policy.needs_every_frame)
        self._bank: MemoryBank | None = None
        self._geometry: Geometry | None = None
        self._object_ids: tuple[int, ...] = ()
        self._lost: frozenset[int] = (
            frozenset()
        )  # of the object ids: those the memory holds nothing of any more
        self._pending: list[_Pending] = []
        self._previous_masks: Tensor | None = (
            None  # [1, K, 16h, 16w] of the latest frame, where there are objects
        )
        self._buffer: list[_Given] = []  # frames of the clip being gathered
        self._results: collections.deque[_Due] = collections.deque()
        self._next_index = 0
        self.frames_given = 0
        self.frames_skipped = 0  # of these: neither wanted nor needed for the memory, so that the network has not seen them
        self.frames_memorised = (
            0  # written to memory so far, for good: the next frame's reads find them
        )

    @property
    def latency_frames(self) -> int:
        """How many frames later than its frame a result comes, at most; of frames that are not wanted those count that are not skipped."""
        return (self._config.clip_length if self._config.clip_length > 1 else self._lookahead) - 1

    @property
    def object_ids(self) -> tuple[int, ...]:
        """Objects being segmented, in the order they joined."""
        return self._object_ids

    @property
    def lost_object_ids(self) -> tuple[int, ...]:
        """Objects that nothing in the memory shows any more: their masks are empty from the next frame on, until a new mask is given."""
        waiting = {
            i for pending in self._pending for i in pending.object_ids
        }  # these are about to have elements
        unread = (
            ()
            if self._bank is None
            else (i for i in self._bank.lost_object_ids if i not in waiting)
        )
        lost = self._lost.union(unread)
        return tuple(i for i in self._object_ids if i in lost)

    @property
    def frames_processed(self) -> int:
        """How many of the frames given have read the memory, been given masks, or been skipped; the others wait for the rest of their clip, or for `flush`."""
        return self.frames_given - len(self._buffer)

    @property
    def memory(self) -> MemoryBank | None:
        """The memory bank, to be looked at; None until a frame has followed the first mask, since a frame is memorised when the next one comes to read it."""
        return self._bank

    def step(
        self, frame: Any, mask: Any = None, *, index: int | None = None, wanted: bool = True
    ) -> FrameResult | None:
        """Give the next frame, uint8 RGB [H, W, 3], and ids [H, W] where objects are given in it: new ones, or corrections of present ones.

        index: the frame's own index in its video, where frames before it are left out; None: that of the frame before, plus 1, from 0. wanted: whether a result is;
        there is none otherwise, and the frame is skipped unless the memory needs it.

        Returns the next result that is due, or None while there is latency. Raises InputError for frames, masks or indices that do not fit; the session then stays
        as it was.
        """
        index = self._next_index if index is None else index
        place = f"frame {index}"
        if index < self._next_index:
            raise InputError(
                f"{place}: comes after frame {self._next_index - 1}; frames are given in order, each once"
            )
        image = as_image(frame, place)
        size = tuple(image.shape[1:])
        if self._geometry is not None and size != self._geometry.size:
            raise InputError(
                f"{place}: {size[1]}×{size[0]} pixels, the frames before have {self._geometry.size[1]}×{self._geometry.size[0]}; one session takes one size"
            )
        labels, ids = (None, []) if mask is None else as_label_map(mask, size, place)
        if len(set(self._object_ids) | set(ids)) > MAX_OBJECTS:
            raise InputError(
                f"{place}: {len(set(self._object_ids) | set(ids))} objects; at most {MAX_OBJECTS} can be segmented"
            )
        geometry = self._geometry or Geometry.of(size, self._config.resolution)
        self._check_capacity(geometry, len(set(self._read_ids()) | set(ids)))
        self._geometry = geometry
        self.frames_given += 1
        self._next_index = index + 1
        self._clip_given += 1
        if labels is None and self._is_skipped(index, wanted):
            self.frames_skipped += 1
        else:
            self._buffer.append(
                _Given(index, image.to(self._device, copy=True), wanted)
            )  # the caller may use its array again
        if labels is not None:
            self._process_clip(labels.to(self._device, copy=True), ids)
        elif self._is_clip_complete(index):
            self._process_clip()
        return self._take_result() if self._results else None

    def flush(self) -> list[FrameResult]:
        """The results still due, in order. Further frames may follow."""
        return list(self.drain())

    def drain(self) -> Iterator[FrameResult]:
        """The results still due, in order, each made when it is asked for: large frames with many objects need room for one at a time. Nothing happens before the first."""
        if self._buffer:
            self._process_clip()
        while self._results:
            yield self._take_result()

    def remove_object(self, object_id: int) -> None:
        """Stop segmenting an object, from the next frame on; its values are freed. Raises InputError if it is not there."""
        if object_id not in self._object_ids:
            raise InputError(
                f"object {object_id} is not being segmented; present are {', '.join(map(str, self._object_ids)) or 'none'}"
            )
        if self._buffer:
            self._process_clip()
        self._write_pending()
        remaining = [number for number, i in enumerate(self._object_ids) if i != object_id]
        if self._previous_masks is not None:
            self._previous_masks = self._previous_masks[:, remaining] if remaining else None
        self._object_ids = tuple(self._object_ids[number] for number in remaining)
        if object_id not in self._lost:
            self._bank.remove_object(object_id)
        self._lost -= {object_id}
        if not self._object_ids:
            self._bank = None

    def _check_capacity(self, geometry: Geometry, objects: int) -> None:
        """Raise InputError where the memory is bounded too tightly for frames of this geometry with so many objects."""
        network = self._network.config
        size = element_bytes(
            network.key_channels,
            network.value_channels,
            objects,
            value_bytes=2 if self._config.amp else 4,
            usage=self._policy.usage,
        )
        self._policy.capacity_elements(math.prod(geometry.grid), size)

    def _is_skipped(self, index: int, wanted: bool) -> bool:
        """Whether a frame without a mask changes nothing that is wanted."""
        if wanted:
            return False
        return not self._object_ids or (self._skips and self._policy.frames_until_write(index) > 1)

    def _is_clip_complete(self, index: int) -> bool:
        """Whether the frames gathered are predicted now, frame `index` being the latest that was given."""
        if not self._object_ids:
            return True
        if self._config.clip_length > 1:
            return self._clip_given >= self._config.clip_length
        return (
            len(self._buffer) >= min(self._lookahead, self._affordable_frames())
            or self._policy.frames_until_write(index) == 1
        )

    def _affordable_frames(self) -> int:
        height, width = (STRIDE * side for side in self._geometry.grid)
        return max(_PROBABILITY_PIXELS // ((len(self._object_ids) + 1) * height * width), 1)

    def _process_clip(self, labels: Tensor | None = None, ids: Iterable[int] = ()) -> None:
        """Predict the gathered frames together; `labels` [H, W] with objects `ids` are given for the last of them."""
        given, self._buffer = self._buffer, []
        ends_clip = (
            labels is not None
            or not self._object_ids
            or self._clip_given >= self._config.clip_length
        )
        begins_clip = not self._clip_begun
        self._clip_given = 0 if ends_clip else self._clip_given
        self._clip_begun = not ends_clip and (self._clip_begun or bool(given))
        if not given:  # all of them were skipped
            return
        with self._arithmetic():
            if begins_clip:
                self._write_pending()
            self._note_lost()
            for frame, seen in zip(given, self._see(given), strict=True):
                is_last, decision = frame is given[-1], Write.NO
                if is_last and labels is not None:
                    seen = self._join_objects(seen, labels, ids, frame.wanted)
                    decision = Write.KEEP
                else:
                    if frame.wanted:
                        self._emit(seen.frame_index, seen.probabilities)
                    if self._object_ids and (
                        self._policy.is_scheduled(seen.frame_index) or (is_last and ends_clip)
                    ):
                        decision = self._policy.memorise(
                            seen.frame_index, seen.probabilities[0, 1:], self._object_ids
                        )
                if decision is not Write.NO and self._read_ids():
                    masks = _rows_of(seen.probabilities[:, 1:], self._object_ids, self._read_ids())
                    self._pending.append(
                        _Pending(seen, masks, self._read_ids(), decision is Write.TEMPORARY)
                    )
                if is_last and self._config.enhance:
                    self._previous_masks = seen.probabilities[:, 1:] if self._object_ids else None

    def _see(self, given: Sequence[_Given]) -> Iterator[_Seen]:
        """The frames of a clip with what is predicted of them."""
        images = self._geometry.to_network([frame.image for frame in given])
        for frames in _chunks(len(given), self._frames_per_prediction()):
            frame_indices = [frame.frame_index for frame in given[frames]]
            parts = images[frames].split(self._frames_per_batch())
            # Regions label the components in traces of torch.profiler; benchmarks sum their times.
            with record_function("key encoding"):
                features = [self._network.encode_key(part) for part in parts]
            predicted = (
                self._predict(frame_indices, features)
                if self._read_ids()
                else [_background(part, len(self._object_ids)) for part in parts]
            )
            for part, one, probabilities in zip(parts, features, predicted, strict=True):
                for number in range(len(part)):
                    here = slice(number, number + 1)
                    yield _Seen(
                        frame_indices.pop(0),
                        part[here],
                        one.key[here],
                        one.feature_s16[here],
                        probabilities[here],
                    )

    def _join_objects(self, seen: _Seen, labels: Tensor, ids: Iterable[int], wanted: bool) -> _Seen:
        """A frame for which `labels` [H, W] of objects `ids` are given: they join, or are corrected."""
        known, self._object_ids = (
            self._object_ids,
            self._object_ids + tuple(i for i in ids if i not in self._object_ids),
        )
        if wanted:
            self._emit(
                seen.frame_index,
                seen.probabilities,
                functools.partial(
                    _join, known=known, all_ids=self._object_ids, labels=labels, given=ids
                ),
            )
        joined = _join(
            seen.probabilities,
            known,
            self._object_ids,
            self._geometry.labels_to_network(labels),
            ids,
        )
        self._policy.annotated(seen.frame_index, joined[0, 1:], self._object_ids)
        self._lost -= set(ids)
        return dataclasses.replace(seen, probabilities=joined)

    def _read_ids(self) -> tuple[int, ...]:
        """The objects that the memory knows."""
        return (
            tuple(i for i in self._object_ids if i not in self._lost)
            if self._lost
            else self._object_ids
        )

    def _note_lost(self) -> None:
        """Drop the values of objects that cannot be read any more, so that what is predicted of them, nothing, does not become what they are."""
        for object_id in () if self._bank is None else self._bank.lost_object_ids:
            self._bank.remove_object(object_id)
            self._lost |= {object_id}

    def _frames_per_prediction(self) -> int:
        """How many frames depend on one another, or, where none does, are computed as one batch."""
        dependent = self._config.refine or self._config.memory.segment_frames is not None
        return self._config.clip_length if dependent else self._frames_per_batch()

    def _frames_per_batch(self) -> int:
        """A GPU is filled by several frames; a CPU is full with one, and larger tensors cost it fresh memory at every operation."""
        return (
            1
            if self._device.type == "cpu"
            else max(self._objects_at_once() // max(len(self._object_ids), 1), 1)
        )

    def _objects_at_once(self) -> int:
        """Objects × frames that are decoded, or encoded, together."""
        if self._device.type == "cpu":
            return _OBJECT_FRAMES
        height, width = self._geometry.working_size
        return max(_OBJECT_PIXELS_OF_GPU // (height * width), 1)

    def _predict(self, frame_indices: Sequence[int], features: list[FrameFeatures]) -> list[Tensor]:
        """Aggregated probabilities [batch, K + 1, 16h, 16w], float32, of each batch of features of a clip's frames."""
        keys = torch.cat([batch.key for batch in features])
        if self._config.enhance:
            keys = self._network.enhance_query(keys, self._previous_masks)
        with record_function("reading"):
            readout = self._read(frame_indices, keys)
        if self._config.refine:
            feature_s16 = torch.cat([batch.feature_s16 for batch in features])
            with record_function("refinement"):
                readout = self._network.refine(
                    readout.unsqueeze(0), feature_s16.unsqueeze(0)
                ).squeeze(0)
        probabilities = []
        for part, batch in zip(
            readout.split([len(batch.key) for batch in features]), features, strict=True
        ):
            with record_function("decoding"):
                logits = [
                    self._network.decode(part[:, objects], batch).float()
                    for objects in _chunks(part.shape[1], self._objects_at_once())
                ]
            probabilities.append(
                aggregate_logits(self._with_lost(torch.cat(logits, dim=1))).softmax(1)
            )
        return probabilities

    def _with_lost(self, logits: Tensor) -> Tensor:
        """Logits [B, K, H, W] of all objects from those of the objects that are read; a lost one is nowhere."""
        if not self._lost:
            return logits
        complete = logits.new_full(
            (logits.shape[0], len(self._object_ids), *logits.shape[2:]), -math.inf
        )
        complete[:, [self._object_ids.index(i) for i in self._read_ids()]] = logits
        return complete

    def _read(self, frame_indices: Sequence[int], keys: Tensor) -> Tensor:
        """Readouts [L, K, C^v, h, w] for the keys [L, C^k, h, w] of these frames."""
        query_key = keys.float().permute(0, 2, 3, 1).flatten(1, 2)  # [L, M, C^k]
        segment_frames = self._config.memory.segment_frames
        if segment_frames is None:
            readout = self._bank.read(query_key.flatten(0, 1), self._read_ids(), self._config.top_k)
        else:
            readout = self._bank.read_progressively(
                query_key,
                self._read_ids(),
                self._config.top_k,
                frame_indices=frame_indices,
                segment_frames=segment_frames,
            )
        return readout.unflatten(1, (-1, *self._geometry.grid)).permute(1, 0, 4, 2, 3)

    def _write_pending(self) -> None:
        """Encode and memorise the frames that wait for it."""
        waiting, self._pending = self._pending, []
        with self._arithmetic():
            for pending in waiting:
                self._write(pending)

    def _write(self, pending: _Pending) -> None:
        frame, values = pending.frame, {}
        others = pending.masks.sum(1, keepdim=True) - pending.masks
        for objects in _chunks(pending.masks.shape[1], self._objects_at_once()):
            with record_function("value encoding"):
                encoded = self._network.encode_value(
                    frame.images, frame.feature_s16, pending.masks[:, objects], others[:, objects]
                )
            for object_id, value in zip(pending.object_ids[objects], encoded[0], strict=True):
                values[object_id] = value.permute(1, 2, 0).flatten(0, 1)
        if self._bank is None:
            self._bank = MemoryBank(
                similarity_kind=self._network.config.similarity,
                capacity=self._reserved_elements(),
                usage=self._policy.usage,
            )
        key = frame.key[0].float().permute(1, 2, 0).flatten(0, 1)
        self._bank.drop_temporary()
        self._bank.prepare(key, values)
        self._policy.make_room(self._bank, len(key))
        # only a bounded memory can lose what shows an object
        shown = (
            None
            if self._policy.default_capacity_frames is None
            else dict(zip(pending.object_ids, _shown(pending.masks[0]), strict=True))
        )
        self._bank.write(frame.frame_index, key, values, temporary=pending.temporary, shown=shown)
        self.frames_memorised += not pending.temporary

    def _reserved_elements(self) -> int:
        """How many elements of memory to make room for at first: as many as the video will need, if that is known and not too many."""
        frames_held = self._policy.frames_held(self._frame_count)
        if frames_held is None:
            return 0
        return (
            min(frames_held, _RESERVED_FRAMES) + self._config.memory.progressive_frames
        ) * math.prod(self._geometry.grid)

    def _emit(
        self,
        frame_index: int,
        probabilities: Tensor,
        change: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        """Queue the result of a frame: probabilities [1, K + 1, 16h, 16w]. change: what is still to be done to them in the frame's own size."""
        predicted = (
            probabilities.clone()
        )  # what is kept of a frame keeps nothing of the others of its clip

        def in_own_size() -> Tensor:
            result = self._geometry.from_network(predicted)
            return result if change is None else change(result)

        self._results.append(_Due(frame_index, self._object_ids, in_own_size))

    def _take_result(self) -> FrameResult:
        """The next result; whatever the caller does to it changes nothing here. Raises InputError where its probabilities are no numbers."""
        due = self._results.popleft()
        with self._arithmetic():
            probabilities = due.probabilities()
            self._check_finite(due.frame_index, probabilities)
        table = np.array(
            (0, *due.object_ids),
            dtype=np.uint8 if max(due.object_ids, default=0) <= 255 else np.int32,
        )
        labels = table[_most_probable(probabilities)[0].cpu().numpy()]
        return FrameResult(due.frame_index, labels, due.object_ids, probabilities[0].contiguous())

    def _check_finite(self, frame_index: int, probabilities: Tensor) -> None:
        """Of a frame, [1, K + 1, H, W]: raise InputError where they are not, since its mask would be blank. By the softmax, what is not finite is so in every object."""
        if probabilities[:, 0].isfinite().all():
            return
        if self._config.amp:
            remedy = "mixed precision may have overflowed: leave out --amp"
        else:
            remedy = "the network's weights are damaged, or their training had gone wrong: use another checkpoint"
        raise InputError(f"frame {frame_index}: the probabilities are not finite; {remedy}")

    @contextlib.contextmanager
    def _arithmetic(self) -> Iterator[None]:
        """Without gradients, and as exactly as the settings say."""
        autocast = torch.autocast(
            self._device.type, amp_dtype(self._config, self._device), enabled=self._config.amp
        )
        with (
            cuda_arithmetic(self._device, tf32=self._config.tf32, amp=self._config.amp),
            _no_gradients(),
            autocast,
        ):
            yield


def amp_dtype(config: SystemConfig, device: torch.device) -> torch.dtype:
    """What mixed precision computes in."""
    return AMP_DTYPES.get(
        config.amp_dtype, torch.float16 if device.type == "cuda" else torch.bfloat16
    )


@contextlib.contextmanager
def _no_gradients() -> Iterator[None]:
    """Whatever the caller's mode: memory made in inference mode could not be written to outside of it."""
    with torch.inference_mode(False), torch.no_grad():
        yield


def _most_probable(probabilities: Tensor) -> Tensor:
    """argmax over the K + 1 of [L, K + 1, H, W], uint8 [L, H, W]; by comparing maps, since torch's own over a strided axis is slow on the CPU."""
    best = probabilities[:, 0]
    index = torch.zeros_like(best, dtype=torch.uint8)
    for number in range(1, probabilities.shape[1]):
        candidate = probabilities[:, number]
        index.masked_fill_(candidate > best, number)
        best = torch.maximum(best, candidate)
    return index


def _background(images: Tensor, objects: int) -> Tensor:
    """Probabilities [L, K + 1, H, W] that there is none of the K objects."""
    probabilities = images.new_zeros(len(images), objects + 1, *images.shape[-2:])
    probabilities[:, 0] = 1
    return probabilities


def _shown(masks: Tensor) -> Tensor:
    """Which elements show an object, bool [K, h * w]: where it is the most probable at any pixel of theirs. masks: probabilities [K, 16h, 16w]."""
    best = torch.maximum(masks.amax(0), 1 - masks.sum(0))
    return F.max_pool2d((masks == best).to(masks.dtype), STRIDE).flatten(1) > 0


def _rows_of(masks: Tensor, object_ids: tuple[int, ...], wanted: tuple[int, ...]) -> Tensor:
    """Of masks [B, K, H, W] of objects `object_ids` those of the `wanted`."""
    return masks if wanted == object_ids else masks[:, [object_ids.index(i) for i in wanted]]


def _join(
    probabilities: Tensor,
    known: tuple[int, ...],
    all_ids: tuple[int, ...],
    labels: Tensor,
    given: Iterable[int],
) -> Tensor:
    """Predicted probabilities [1, 1 + len(known), H, W] with the objects `given` in labels [H, W]: where these lie the others are zero, and all are aggregated anew.

    Returns [1, 1 + len(all_ids), H, W]. Source: STCN, section 4 (YouTube-VOS); for an object already known, ours: the same, a correction.
    """
    joined = probabilities.new_zeros(1, len(all_ids), *labels.shape)
    joined[:, : len(known)] = probabilities[:, 1:] * (labels == 0)
    for object_id in given:
        joined[0, all_ids.index(object_id)] = labels == object_id
    return aggregate(joined).softmax(1)


def _chunks(count: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, count)) for start in range(0, count, size))
