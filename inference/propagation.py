"""Masks of some frames, propagated backwards through a video, or both ways.

Two passes over the video, each with a session of its own: one from the last annotated frame
backwards, one from the first annotated frame forwards. Each pass takes the mask of every annotated
frame it comes to, as a correction. Between two annotated frames of an object, its probabilities in
both passes are averaged, weighted linearly by the distance in frames; before its first and after
its last annotated frame, one pass alone counts. Where it is known to be absent, a pass ends for it:
on either side of that frame, the pass that comes from its mask counts alone.

Source: MiVOS, section 3.3 (the linear baseline of its fusion). Ours: the neighbouring annotated
frames are each object's own, so that masks need not show all objects.

Legend: K objects, H W frame size.
"""

import bisect
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Literal, get_args

import torch

from inference.frames import as_image, as_object_mask
from inference.memory import MemoryBank
from inference.rereading import (
    PositionedImage,
    RereadableFrames,
    read_backwards,
    refuse_unreadable,
    require_positions,
)
from inference.result_spool import ResultSpool
from inference.results import FrameResult
from inference.session import SegmentationSession

Direction = Literal["forward", "backward", "both"]
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)


class Propagation:
    """Propagates the masks of one video backwards or both ways.

    new_session: VideoSegmenter.session with its lookahead. masks: ids [H, W] by frame index, which
    is 0 or above; at least one. absent: objects that are known not to be visible, by frame index;
    a pass forgets them there. direction: backward or both. stop: before which frame the results
    end; None: at the video's end. preloaded: masks by frame index, of any frames of the video,
    that each pass memorises before its first frame; None or empty: none.
    """

    def __init__(
        self,
        new_session: Callable[..., SegmentationSession],
        frames: RereadableFrames,
        masks: Mapping[int, Any],
        *,
        direction: Direction,
        stop: int | None = None,
        preloaded: Mapping[int, Any] | None = None,
        absent: Mapping[int, Collection[int]] | None = None,
    ):
        self._new_session, self._frames = new_session, frames
        self._masks = dict(sorted(masks.items()))
        self._absent, self._preloaded = dict(absent or {}), dict(sorted((preloaded or {}).items()))
        self._first, self._last = min(self._masks), max(self._masks)
        self._is_both, self._stop = direction == "both", stop
        self._perform: Callable[[Callable[[], Any]], Any] = lambda work: work()
        self._advance: Callable[[], None] = lambda: None
        self._annotated: dict[int, dict[int, bool]] = {}  # see forward_weights
        self._session: SegmentationSession | None = None  # the one at work
        self._device: torch.device | None = None  # of results
        self._frames_memorised = 0  # by sessions that have ended
        self.frames_given = 0  # frames with a result so far
        self.frames_skipped = 0

    @property
    def memory(self) -> MemoryBank | None:
        """The memory bank of the present pass, read-only."""
        return None if self._session is None else self._session.memory

    @property
    def lost_object_ids(self) -> tuple[int, ...]:
        """The objects that no memory element of the present pass shows any more."""
        return () if self._session is None else self._session.lost_object_ids

    @property
    def frames_memorised(self) -> int:
        """Frames written to memory so far, in all passes, without temporary ones."""
        present = 0 if self._session is None else self._session.frames_memorised
        return self._frames_memorised + present

    def observe(
        self, perform: Callable[[Callable[[], Any]], Any], advance: Callable[[], None]
    ) -> None:
        """Have the work of the sessions observed.

        perform: calls its argument, a piece of that work, and returns what it returns. advance: is
        called after each frame of each pass.
        """
        self._perform, self._advance = perform, advance

    def results(self) -> Iterator[tuple[PositionedImage, FrameResult]]:
        """Each frame with its result, in the order of the video.

        All that the backward pass predicts waits on disk (see ResultSpool). In direction backward,
        frames after the last annotated one show no object.
        Raises InputError for frames or masks that do not fit.
        """
        frame_bytes = self._check_masks()
        with ResultSpool() as backward:
            for result in self._backward_pass(frame_bytes):
                backward.add(result)
                self._device = result.probabilities.device
                del result  # of a large frame, it takes much memory
            if self._is_both:
                yield from self._forward_pass(backward)
                return
            self._end_session()
            for frame in self._frames.read(0, self._stop):
                result = backward.take(frame.index)
                self.frames_given += 1
                yield frame, self._background(frame) if result is None else result

    def _check_masks(self) -> int:
        """Check the masks and note the objects that they show; returns the bytes of a frame.

        Raises InputError if a mask does not fit the first annotated frame, whose size all share.
        """
        frame = next(iter(self._frames.read_at([self._first])), None)
        if frame is None:
            count = sum(1 for _ in self._frames.read(0, None))
            require_positions([i for i in self._masks if i >= count], count)
            refuse_unreadable([self._first])
        image = as_image(frame.image, f"frame {self._first}")
        size = tuple(image.shape[1:])
        for index, mask in self._masks.items():
            for object_id in as_object_mask(mask, size, f"frame {index}").object_ids:
                self._annotated.setdefault(object_id, {})[index] = True
        for index, object_ids in self._absent.items():
            for object_id in self._annotated.keys() & object_ids:
                self._annotated[object_id][index] = False
        return image.numel()

    def _backward_pass(self, frame_bytes: int) -> Iterator[FrameResult]:
        # preloaded frames may lie behind the last annotated one
        start = max(self._last, *self._preloaded, 0)
        session = self._begin_session(frame_count=start + 1, backward_from=start)
        for frame in read_backwards(self._frames, self._last, frame_bytes, set(self._masks)):
            result = self._step(session, frame)
            if result is not None:
                yield result
                del result
        yield from self._remaining(session)

    def _forward_pass(self, backward: ResultSpool) -> Iterator[tuple[PositionedImage, FrameResult]]:
        """All frames: those before the first annotated one from the backward pass alone."""
        session = self._begin_session()
        waiting: dict[int, PositionedImage] = {}
        for frame in self._frames.read(0, self._stop):
            if frame.index < self._first:
                yield frame, self._fused(frame, None, backward)
                continue
            waiting[frame.index] = frame
            result = self._step(session, frame)
            if result is not None:
                due = waiting.pop(result.frame_index)
                yield due, self._fused(due, result, backward)
                del result
        for result in self._remaining(session):
            due = waiting.pop(result.frame_index)
            yield due, self._fused(due, result, backward)

    def _begin_session(self, **settings: Any) -> SegmentationSession:
        self._end_session()
        self._session = session = self._new_session(**settings)
        if self._preloaded:
            for frame in self._frames.read_at(list(self._preloaded)):
                self._perform(
                    lambda frame=frame: session.preload(
                        frame.image, self._preloaded[frame.index], index=frame.index
                    )
                )
        return session

    def _end_session(self) -> None:
        self._frames_memorised, self._session = self.frames_memorised, None

    def _step(self, session: SegmentationSession, frame: PositionedImage) -> FrameResult | None:
        mask = self._masks.get(frame.index)
        for object_id in self._absent.get(frame.index, ()):
            if object_id in session.object_ids:
                self._perform(lambda object_id=object_id: session.remove_object(object_id))
        result = self._perform(lambda: session.step(frame.image, mask, index=frame.index))
        self._advance()
        return result

    def _remaining(self, session: SegmentationSession) -> Iterator[FrameResult]:
        remaining = session.drain()
        while (result := self._perform(lambda: next(remaining, None))) is not None:
            yield result
            del result

    def _fused(
        self, frame: PositionedImage, forward: FrameResult | None, backward: ResultSpool
    ) -> FrameResult:
        """The result of a frame from those of both passes. forward: None before it begins."""
        self.frames_given += 1
        other = backward.take(frame.index)
        if forward is None and other is None:
            return self._background(frame)
        return fuse(forward, other, forward_weights(frame.index, self._annotated))

    def _background(self, frame: PositionedImage) -> FrameResult:
        """The result of a frame that shows no object."""
        size = as_image(frame.image, f"frame {frame.index}").shape[1:]
        return FrameResult.of(frame.index, (), torch.ones(1, *size, device=self._device))


def forward_weights(index: int, annotated: Mapping[int, Mapping[int, bool]]) -> dict[int, float]:
    """How much the forward pass counts for each object at a frame, 0..1.

    index: of the frame. annotated: whether each object is visible, by frame, where that is known.
    """
    return {object_id: _forward_weight(index, known) for object_id, known in annotated.items()}


def _forward_weight(index: int, visible: Mapping[int, bool]) -> float:
    """visible: whether an object is, by annotated frame."""
    frames = sorted(visible)
    number = bisect.bisect_right(frames, index)  # frames[number - 1] <= index
    if number == 0:
        return 0.0
    before = frames[number - 1]
    if before == index:
        return 1.0
    if not visible[before]:
        return 0.0
    if number == len(frames) or not visible[frames[number]]:
        return 1.0
    after = frames[number]
    return (after - index) / (after - before)


def fuse(
    forward: FrameResult | None, backward: FrameResult | None, weights: Mapping[int, float]
) -> FrameResult:
    """Average the probabilities of two results of one frame, at least one of which is there.

    weights: of `forward` for each object of the video, 0..1; a result in which an object is missing
    contributes 0 to it. The background gets the remainder; if the objects sum to more than 1, all
    are scaled down.
    """
    if backward is None or (forward is not None and all(w == 1 for w in weights.values())):
        return forward
    known = backward.probabilities
    ids = tuple(weights)
    fused = known.new_zeros(len(ids) + 1, *known.shape[1:])
    for number, object_id in enumerate(ids, start=1):
        share = weights[object_id]
        for result, part in ((forward, share), (backward, 1 - share)):
            if part and result is not None and object_id in result.object_ids:
                row = 1 + result.object_ids.index(object_id)
                fused[number] += part * result.probabilities[row]
    fused[0] = (1 - fused[1:].sum(0)).clamp(min=0)
    return FrameResult.of(backward.frame_index, ids, fused / fused.sum(0))
