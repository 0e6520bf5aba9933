"""Accuracy against time over the rounds of annotation, as the DAVIS interactive track measures it.

Source: Caelles et al., "The 2018 DAVIS Challenge on Video Object Segmentation", and the pages of
davisinteractive on the challenge's evaluation: J&F in each round is the mean over all objects, and
the curve shows it against the accumulated seconds; the area below it is divided by the available
time, 30 seconds for each round and object, and a second figure is read off at 60 seconds, between
two rounds by interpolation. A round that ends after the available time is dropped, and rounds that
are missing count as the last one, in no time. Ours, as the source does not say it: the curve begins
at J&F 0 at 0 seconds and is level after the last round.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

SECONDS_PER_ROUND = 30  # and object
READ_AT_SECONDS = 60


@dataclasses.dataclass(frozen=True, kw_only=True)
class Round:
    """One round of annotation and propagation of a video.

    frame: that was annotated. j, f: means over all frames and objects, in 0..1. seconds: from the
    input to the last result; the robot's own work and scoring are not included.
    """

    frame: int
    j: float
    f: float
    seconds: float

    @property
    def j_and_f(self) -> float:
        return (self.j + self.f) / 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class AnnotatedVideo:
    """The rounds of a video, in order; fewer than asked for if nothing was left to correct."""

    name: str
    object_count: int
    rounds: Sequence[Round]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Curve:
    """Means over videos: J and F [rounds] over their objects, accumulated seconds [rounds].

    available_seconds: of the whole curve, a mean as well.
    """

    j: np.ndarray
    f: np.ndarray
    seconds: np.ndarray
    available_seconds: float

    @staticmethod
    def of(
        videos: Sequence[AnnotatedVideo], round_count: int, *, drop_late: bool = True
    ) -> "Curve":
        """The curve of videos, at least one with at least one round each.

        drop_late: without the rounds that end after the available time, as in the source.
        """
        rows = [_rounds_that_count(video, round_count, drop_late) for video in videos]
        weights = [video.object_count for video in videos]
        j, f = (
            np.average([[getattr(one, name) for one in row] for row in rows], 0, weights)
            for name in ("j", "f")
        )
        seconds = np.mean([[one.seconds for one in row] for row in rows], axis=0)
        return Curve(
            j=j,
            f=f,
            seconds=np.cumsum(seconds),
            available_seconds=SECONDS_PER_ROUND * round_count * float(np.mean(weights)),
        )

    @property
    def j_and_f(self) -> np.ndarray:
        """[rounds], in 0..1."""
        return (self.j + self.f) / 2

    def area(self) -> float:
        """The area below J&F over the available time, in 0..1 (AUC)."""
        end = max(self.available_seconds, self.seconds[-1])
        times, values = [0.0, *self.seconds, end], [0.0, *self.j_and_f, self.j_and_f[-1]]
        widths = np.diff(times)
        heights = (np.array(values[1:]) + values[:-1]) / 2
        return float(widths @ heights / end)

    def at(self, seconds: float = READ_AT_SECONDS) -> float:
        """J&F after some seconds, in 0..1."""
        return float(np.interp(seconds, [0.0, *self.seconds], [0.0, *self.j_and_f]))


def _rounds_that_count(video: AnnotatedVideo, round_count: int, drop_late: bool) -> list[Round]:
    """`round_count` rounds: those that count, then the last of them again, in no time.

    A video whose first round ends too late counts as 0.
    """
    available = SECONDS_PER_ROUND * round_count * video.object_count
    ends = np.cumsum([one.seconds for one in video.rounds])
    rounds = zip(video.rounds, ends, strict=True)
    kept = [one for one, end in rounds if end <= available or not drop_late]
    if not kept:
        kept = [Round(frame=video.rounds[0].frame, j=0.0, f=0.0, seconds=float(available))]
    last = dataclasses.replace(kept[-1], seconds=0.0)
    return [*kept, *[last] * (round_count - len(kept))][:round_count]
