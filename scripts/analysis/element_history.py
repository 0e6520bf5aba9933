"""The elements of a bounded memory, followed from the frame after they were written until they are
evicted or the video ends.

Legend: N memory elements (positions at stride 16), H W frame size. An element is identified by its
frame and its position there.
"""

import dataclasses
import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

from dataset import Video, prefetch
from inference import VideoSegmenter
from inference.memory import POLICIES, MemoryBank
from util.errors import InputError

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ElementHistory:
    """All elements that a memory held over a video, in order of time, each [N].

    frames: positions among the segmented frames, from 0.
    uses: what the policy counts: how often an element was in the top-k, or the sum of its weights.
    ages: how many frames were read while it was held, at least 1.
    alive: whether it was held at the end of the video.
    """

    frames: np.ndarray
    positions: np.ndarray
    uses: np.ndarray
    ages: np.ndarray
    alive: np.ndarray

    @property
    def rates(self) -> np.ndarray:
        """Uses per frame."""
        return self.uses / self.ages

    def figures(self) -> dict[str, Any]:
        """Plain values.

        For elements alive and evicted ("gone"): their number, the share never used, quantiles of
        uses per frame and of age. For each frame: how many of its elements are alive.
        """
        summaries = {
            name: _summary(self.rates[chosen], self.ages[chosen])
            for name, chosen in (("alive", self.alive), ("gone", ~self.alive))
        }
        return {**summaries, "frames": [self._frame_figures(i) for i in np.unique(self.frames)]}

    def _frame_figures(self, frame: int) -> dict[str, Any]:
        chosen = self.frames == frame
        return {
            "frame": int(frame),
            "elements": int(chosen.sum()),
            "alive": int((chosen & self.alive).sum()),
            "uses_a_frame": float(self.rates[chosen].mean()),
        }


def _summary(rates: np.ndarray, ages: np.ndarray) -> dict[str, Any]:
    if not len(rates):
        return {"elements": 0}
    return {
        "elements": len(rates),
        "never_used": float((rates == 0).mean()),
        "uses_a_frame": _distribution(rates),
        "age": _distribution(ages),
    }


def _distribution(values: np.ndarray) -> dict[str, float]:
    quantiles = {f"{quantile:g}": float(np.quantile(values, quantile)) for quantile in QUANTILES}
    return {"mean": float(values.mean()), **quantiles}


class _Recorder:
    """Follows the elements of a bank from frame to frame."""

    def __init__(self):
        self._held: dict[str, np.ndarray] = {
            "frames": np.zeros(0, np.int64),
            "positions": np.zeros(0, np.int64),
            "uses": np.zeros(0),
            "ages": np.zeros(0, np.int64),
        }
        self._evicted: list[dict[str, np.ndarray]] = []

    def record(self, bank: MemoryBank, latest: int) -> None:
        """Record the bank after frame `latest` has read it; repeating this changes nothing."""
        current = {
            name: getattr(bank, name).cpu().numpy().copy()
            for name in ("frames", "positions", "uses")
        }
        evicted = ~np.isin(_identities(self._held), _identities(current))
        if evicted.any():
            self._evicted.append({name: values[evicted] for name, values in self._held.items()})
        self._held = {**current, "ages": latest - current["frames"]}

    def history(self) -> ElementHistory:
        parts = [*self._evicted, self._held]
        joined = {name: np.concatenate([part[name] for part in parts]) for name in self._held}
        alive = np.concatenate([np.full(len(part["frames"]), part is self._held) for part in parts])
        order = np.argsort(_identities(joined), kind="stable")
        values = {name: values[order] for name, values in joined.items()}
        return ElementHistory(**values, alive=alive[order])


def _identities(elements: Mapping[str, np.ndarray]) -> np.ndarray:
    return (elements["frames"] << 32) + elements["positions"]


def check_counts_uses(segmenter: VideoSegmenter) -> None:
    """Raise InputError if the policy of the segmenter's memory counts no uses."""
    policy = segmenter.config.memory.policy
    if POLICIES[policy].usage is None:
        raise InputError(
            f"memory {policy} counts no uses; choose one that does, such as lfu (to evict nothing, "
            "with --memory_frames as high as the number of frames)"
        )


@dataclasses.dataclass(frozen=True)
class FollowedVideo:
    """A segmented video: the history of its memory's elements, its frames' names and size
    (H, W)."""

    history: ElementHistory
    frame_names: list[str]
    size: tuple[int, int]


def follow_elements(
    segmenter: VideoSegmenter, video: Video, *, max_frames: int | None = None
) -> FollowedVideo:
    """Segment a video, at most its first max_frames, and follow the elements of its memory.

    Raises InputError if the memory's policy counts no uses, or the video has a single frame.
    """
    check_counts_uses(segmenter)
    session, recorder = segmenter.session(), _Recorder()
    names, size = [], (0, 0)
    for frame in itertools.islice(prefetch(video.frames()), max_frames):
        session.step(frame.image, frame.labels)
        names.append(frame.name)
        size = frame.image.shape[:2]
        if session.memory is not None:
            recorder.record(session.memory, session.frames_processed - 1)
    session.flush()  # the last clip of a clip system may be incomplete
    if session.memory is None:
        raise InputError(f"{video.name}: a single frame; the memory is read by the frames after it")
    recorder.record(session.memory, session.frames_processed - 1)
    return FollowedVideo(recorder.history(), names, size)
