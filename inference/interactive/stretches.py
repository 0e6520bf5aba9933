"""The stretches of a video: which frames depend on which annotations.

A frame whose annotation decides all objects cuts the video: what follows does not depend on what
precedes. Between two cuts, masks travel both ways, as VideoSegmenter.segment propagates them with
direction "both"; annotations in between, which decide some of the objects, count there as well.
"""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Sequence
from typing import Any

from inference.interactive.history import Annotation, History


@dataclasses.dataclass(frozen=True)
class Stretch:
    """The frames from `start` to before `stop`, which have results.

    last: the last frame that is read: the next cut, or the last one with a result. annotations:
    those of the frames from `start` to `last`, ascending. memorised: annotations of any frames that
    each pass memorises before its first frame, ascending.
    """

    start: int
    stop: int
    last: int
    annotations: tuple[Annotation, ...]
    memorised: tuple[Annotation, ...] = ()

    @functools.cached_property
    def own_name(self) -> str:
        """Names what the results are made from, but for `memorised`."""
        shown = {i for one in self.annotations for i in one.visible}
        known = [
            [one.frame, one.content, [i for i in one.absent if i in shown]]
            for one in self.annotations
        ]
        return _digest([self.start, self.stop, self.last, known])

    @functools.cached_property
    def name(self) -> str:
        """Names the results: in one project, stretches of the same name have the same results."""
        return _digest([self.own_name, [[one.frame, one.content] for one in self.memorised]])


def split(history: History, frame_count: int, *, permanent: bool) -> list[Stretch]:
    """The stretches of a video, in order; none without annotations.

    permanent: each of them memorises all annotations that show an object.
    """
    annotations = history.annotations
    if not annotations:
        return []
    objects = set(history.object_ids)
    cuts = [frame for frame, one in annotations.items() if objects <= set(one.decided)]
    starts = cuts if cuts[:1] == [0] else [0, *cuts]
    memorised = tuple(one for one in annotations.values() if one.visible) if permanent else ()
    stretches = []
    for start, stop in zip(starts, [*starts[1:], frame_count], strict=True):
        last = min(stop, frame_count - 1)
        inside = tuple(one for frame, one in annotations.items() if start <= frame <= last)
        stretches.append(Stretch(start, stop, last, inside, memorised))
    return stretches


def _digest(values: Any) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:32]


@dataclasses.dataclass(frozen=True)
class Piece:
    """Frames from `start` to before `stop` whose latest results have this name."""

    start: int
    stop: int
    name: str


def laid_over(pieces: Sequence[Piece], new: Piece) -> tuple[Piece, ...]:
    """Pieces that do not overlap, in order, with another one over them."""
    kept = [new]
    for piece in pieces:
        for start, stop in (
            (piece.start, min(piece.stop, new.start)),
            (max(piece.start, new.stop), piece.stop),
        ):
            if start < stop:
                kept.append(Piece(start, stop, piece.name))
    return tuple(sorted(kept, key=lambda piece: piece.start))
