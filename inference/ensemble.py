"""Ensembles and test-time augmentation: several networks and views segment a video in step.

Each member is a session with a memory of its own. Their probabilities are averaged in the frame's
own size, before the arg-max.
Source: STCN's results with multi-scale testing and ensembles. Ours: members advance together, so
that no probabilities of the whole video are stored.

Legend: K objects, H W frame size.
"""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from inference.frames import View
from inference.memory import MemoryBank
from inference.results import FrameResult
from inference.segmenter import VideoSegmenter
from inference.session import SegmentationSession


@dataclasses.dataclass(frozen=True)
class EnsembleMemory:
    """What the memory banks of all members hold together. megabytes are 10^6 bytes."""

    size: int  # elements
    megabytes: float


class EnsembleSession:
    """One video, seen by all members in step; used as a SegmentationSession.

    A result is due once every member has it, so that members may differ in latency.
    """

    def __init__(self, sessions: Sequence[SegmentationSession]):
        """sessions: at least one, to which no frame was given yet."""
        self._sessions = tuple(sessions)
        self._first = self._sessions[0]

    @property
    def latency_frames(self) -> int:
        """See SegmentationSession: the longest of any member."""
        return max(session.latency_frames for session in self._sessions)

    @property
    def object_ids(self) -> tuple[int, ...]:
        """The objects being segmented, in the order in which they joined."""
        return self._first.object_ids

    @property
    def lost_object_ids(self) -> tuple[int, ...]:
        """The objects that no member's memory shows any more.

        Members that have lost an object count it as absent, as long as other members know it.
        """
        lost = [set(session.lost_object_ids) for session in self._sessions]
        return tuple(i for i in self.object_ids if all(i in ids for ids in lost))

    @property
    def frames_given(self) -> int:
        """Frames that `step` has taken."""
        return self._first.frames_given

    @property
    def frames_skipped(self) -> int:
        """Frames given that no member's network has seen."""
        return min(session.frames_skipped for session in self._sessions)

    @property
    def frames_processed(self) -> int:
        """Frames given that every member has predicted or skipped."""
        return min(session.frames_processed for session in self._sessions)

    @property
    def frames_memorised(self) -> int:
        """Frames written to memory so far, without temporary ones; the sum over the members."""
        return sum(session.frames_memorised for session in self._sessions)

    @property
    def memory(self) -> EnsembleMemory | None:
        """The sums over the members' banks; None as long as no member has one."""
        banks = [session.memory for session in self._sessions if session.memory is not None]
        if not banks:
            return None
        return EnsembleMemory(
            sum(bank.size for bank in banks), sum(bank.megabytes for bank in banks)
        )

    @property
    def member_memories(self) -> tuple[MemoryBank | None, ...]:
        """The memory bank of each member as `SegmentationSession.memory`, in the members' order."""
        return tuple(session.memory for session in self._sessions)

    def step(
        self, frame: Any, mask: Any = None, *, index: int | None = None, wanted: bool = True
    ) -> FrameResult | None:
        """Take the next frame; see SegmentationSession.step.

        Raises InputError if any member refuses the frame; the session is then unchanged.
        """
        for session in self._sessions:
            session.check(frame, mask, index=index)
        for session in self._sessions:
            session.push(frame, mask, index=index, wanted=wanted)
        if not all(session.has_result for session in self._sessions):
            return None
        return _average(session.pop() for session in self._sessions)

    def preload(self, frame: Any, mask: Any, *, index: int) -> None:
        """Memorise an annotated frame before the first step; see SegmentationSession.preload."""
        for session in self._sessions:
            session.preload(frame, mask, index=index)

    def flush(self) -> list[FrameResult]:
        """Return the results still due, in order. Further frames may follow."""
        return list(self.drain())

    def drain(self) -> Iterator[FrameResult]:
        """Yield the results still due, in order; each is made when it is asked for."""
        drains = [session.drain() for session in self._sessions]
        for first in drains[0]:
            others = (next(drain) for drain in drains[1:])
            yield _average(itertools.chain([first], others))
            del first  # large frames with many objects: the next one needs the memory

    def remove_object(self, object_id: int) -> None:
        """Stop segmenting an object; see SegmentationSession.remove_object."""
        for session in self._sessions:
            session.remove_object(object_id)


def _average(results: Iterable[FrameResult]) -> FrameResult:
    """The result of the mean probabilities of one frame.

    They are summed up one by one, in place, since those of a large frame take much memory.
    """
    results = iter(results)
    first = next(results)
    total, count = first.probabilities, 1
    for result in results:
        assert (result.frame_index, result.object_ids) == (first.frame_index, first.object_ids)
        total += result.probabilities
        count += 1
    total /= count
    return FrameResult.of(first.frame_index, first.object_ids, total)


class EnsembleSegmenter(VideoSegmenter):
    """Several segmenters, each of which sees every video at several scales, and mirrored if asked.

    It is used as a VideoSegmenter; its sessions are EnsembleSessions. Views share the weights of
    their segmenter. `config`, `device` and `network` are those of the first segmenter.
    """

    def __init__(
        self,
        segmenters: Sequence[VideoSegmenter],
        *,
        scales: Sequence[float] = (1.0,),
        flip: bool = False,
    ):
        """Members are the segmenters, each at each of the scales, and mirrored besides if `flip`.

        segmenters: at least one, on one device; networks and settings may differ. scales: multiply
        the working resolution, 0.25 to 4.
        Raises InputError for scales that are out of range, ValueError for no segmenter or scale, or
        several devices.
        """
        if not segmenters or not scales:
            raise ValueError("an ensemble needs a segmenter and a scale at least")
        devices = {segmenter.device for segmenter in segmenters}
        if len(devices) > 1:
            raise ValueError(f"segmenters on {len(devices)} devices; an ensemble works on one")
        first = segmenters[0]
        self.config, self.device, self.network = first.config, first.device, first.network
        self._segmenters = tuple(segmenters)
        self._views = tuple(
            View(scale=scale, flip=mirrored)
            for scale in scales
            for mirrored in ((False, True) if flip else (False,))
        )

    def __len__(self) -> int:
        """The number of members."""
        return len(self._segmenters) * len(self._views)

    @property
    def identity(self) -> dict[str, Any]:
        """Settings and weights of all segmenters, and the views, as plain values."""
        members = {str(number): one.identity for number, one in enumerate(self._segmenters, 1)}
        return {"members": members, "views": [[view.scale, view.flip] for view in self._views]}

    def session(self, **settings: Any) -> EnsembleSession:
        """Start a video. settings: keywords of VideoSegmenter.session, but view."""
        return EnsembleSession(
            [
                segmenter.session(view=view, **settings)
                for segmenter in self._segmenters
                for view in self._views
            ]
        )
