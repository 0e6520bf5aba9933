"""Swapped identities and objects that are found again, counted from truth and results.

Legend: H W height and width of a frame in pixels.

What counts is the frames after an object's first mask, to the end of the video. The size of an
object is its median area over those of these frames that show it, and IdentityRules says from which
share of it on an area matters.

- Visible: the truth shows at least that share of the object. Otherwise the object is hidden.
- Swapped: the object is visible, and its predicted mask shares more pixels with the truth of
  another object than with its own, and at least that share of its size.
- A swap: a longest run of swapped frames, at least `swap_frames` of them. Hidden frames inside it
  neither end it nor count.
- A return: the first visible frame after at least `hidden_frames` hidden ones, which follow a
  visible one.
- Found again: the intersection over union of prediction and truth reaches `found_iou` in one of
  the `found_within_frames` frames that begin with the return.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from inference.scoring.folders import find_videos
from inference.scoring.measurement import MeasuredVideo, measured_videos
from inference.scoring.metadata import Metadata
from inference.scoring.protocols import (
    Protocol,
    ScoringRules,
    Selection,
    TruthVideo,
    select_all_objects,
)
from inference.scoring.report import aligned_table

_IDS = 256


@dataclass(frozen=True, kw_only=True)
class IdentityRules:
    """What counts, see the head of this file.

    least_share: of an object's size, in 0..1. found_iou: in 0..1. The others are frames, at least
    1.
    """

    least_share: float = 0.1
    swap_frames: int = 3
    hidden_frames: int = 5
    found_iou: float = 0.5
    found_within_frames: int = 10


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """Pixels of one object on one frame.

    truth_pixels, result_pixels: of the two masks. shared_pixels: of both. others: by id, pixels of
    the predicted mask on the truth of other objects.
    """

    truth_pixels: int
    result_pixels: int
    shared_pixels: int
    others: Mapping[int, int] = field(default_factory=dict)

    @property
    def iou(self) -> float:
        """Intersection over union in 0..1; 1 if both masks are empty."""
        union = self.truth_pixels + self.result_pixels - self.shared_pixels
        return self.shared_pixels / union if union else 1.0


@dataclass(frozen=True, kw_only=True)
class Swap:
    """first_frame, last_frame: names of the first and the last swapped frame.

    frames: how many are swapped. with_ids: whose truth the predicted mask covered. at_the_end:
    whether the object's last visible frame is one of them.
    """

    first_frame: str
    last_frame: str
    frames: int
    with_ids: tuple[int, ...]
    at_the_end: bool


@dataclass(frozen=True, kw_only=True)
class Return:
    """frame: the name of the first visible frame, after `hidden_frames` hidden ones.

    found_after_frames: 0 if the object is found on that frame; None if it is not found again.
    """

    frame: str
    hidden_frames: int
    found_after_frames: int | None


@dataclass(frozen=True, kw_only=True)
class ObjectIdentity:
    """What happened to one object. swapped_frames: all, also those of runs too short for a swap."""

    sequence: str
    object_id: int
    visible_frames: int
    swapped_frames: int
    swaps: Sequence[Swap]
    returns: Sequence[Return]

    @property
    def found_again(self) -> int:
        """The number of returns after which the object was found again."""
        return sum(one.found_after_frames is not None for one in self.returns)


@dataclass(frozen=True, kw_only=True)
class IdentityReport:
    """Swaps and returns of a folder of results, by the rules given."""

    rules: IdentityRules
    objects: Sequence[ObjectIdentity]

    def totals(self) -> dict[str, int]:
        """The sums over all objects."""
        objects = self.objects
        return {
            "objects": len(objects),
            "visible_frames": sum(one.visible_frames for one in objects),
            "swapped_frames": sum(one.swapped_frames for one in objects),
            "swaps": sum(len(one.swaps) for one in objects),
            "swapped_at_the_end": sum(swap.at_the_end for one in objects for swap in one.swaps),
            "returns": sum(len(one.returns) for one in objects),
            "found_again": sum(one.found_again for one in objects),
        }

    def as_table(self) -> str:
        """Aligned text: a line per object, and their sums."""
        rules = self.rules
        header = ("sequence", "object", "visible", "swapped", "swaps", "at end", "returns", "found")
        rows = [
            (
                one.sequence,
                *map(
                    str,
                    (
                        one.object_id,
                        one.visible_frames,
                        one.swapped_frames,
                        len(one.swaps),
                        sum(swap.at_the_end for swap in one.swaps),
                        len(one.returns),
                        one.found_again,
                    ),
                ),
            )
            for one in self.objects
        ]
        total = ("overall", *map(str, self.totals().values()))
        return (
            f"identities (a swap: {rules.swap_frames} frames on another object's truth; a return: "
            f"after {rules.hidden_frames} hidden frames, found: IoU {rules.found_iou} within "
            f"{rules.found_within_frames})\n" + aligned_table(header, rows, total)
        )

    def as_dict(self) -> dict[str, Any]:
        """The totals, the rules and all objects as plain values, for JSON."""
        return {"totals": self.totals(), **asdict(self)}


def count_identities(
    truth: Path | str,
    results: Path | str,
    *,
    rules: IdentityRules | None = None,
    sequences: Sequence[str] | None = None,
    workers: int | None = None,
) -> IdentityReport:
    """Count swaps and returns in a folder of results; see the head of this file.

    truth, results, sequences, workers: see score_folder. Void (255 beside other ids) is ignored.
    Raises: InputError as score_folder does; every frame after an object's first needs a result.
    """
    rules = rules or IdentityRules()
    folders = find_videos(Path(truth), Path(results), sequences)
    scoring = replace(ScoringRules.resolve("strict", workers=workers), protocol=_EVERY_OBJECT)
    with measured_videos(folders, scoring, measure_overlaps) as videos:
        objects = [one for video in videos for one in _identities(video, rules)]
    return IdentityReport(rules=rules, objects=objects)


def measure_overlaps(
    truth: np.ndarray, result: np.ndarray, object_ids: Sequence[int]
) -> dict[int, Overlap]:
    """The overlaps of each object, on the label maps uint8 [H, W] of one frame."""
    pairs = truth.astype(np.int32) * _IDS + result
    counts = np.bincount(pairs.ravel(), minlength=_IDS * _IDS).reshape(_IDS, _IDS)
    truth_pixels, result_pixels = counts.sum(1), counts.sum(0)
    return {
        object_id: Overlap(
            truth_pixels=int(truth_pixels[object_id]),
            result_pixels=int(result_pixels[object_id]),
            shared_pixels=int(counts[object_id, object_id]),
            others={
                int(other): int(counts[other, object_id])
                for other in np.flatnonzero(counts[:, object_id])
                if other not in (0, object_id)
            },
        )
        for object_id in object_ids
    }


def identity_of(
    sequence: str,
    object_id: int,
    frame_names: Sequence[str],
    overlaps: Sequence[Overlap],
    rules: IdentityRules,
) -> ObjectIdentity:
    """Swaps and returns of one object, from its overlaps on the frames of these names, in order."""
    shown = [overlap.truth_pixels for overlap in overlaps if overlap.truth_pixels]
    least_pixels = max(1.0, rules.least_share * float(np.median(shown))) if shown else 1.0
    visible = [overlap.truth_pixels >= least_pixels for overlap in overlaps]
    swapped_with = [
        _swapped_with(overlap, least_pixels) if is_visible else None
        for overlap, is_visible in zip(overlaps, visible, strict=True)
    ]
    return ObjectIdentity(
        sequence=sequence,
        object_id=object_id,
        visible_frames=sum(visible),
        swapped_frames=sum(other is not None for other in swapped_with),
        swaps=list(_swaps(frame_names, visible, swapped_with, rules)),
        returns=list(_returns(frame_names, visible, overlaps, rules)),
    )


def _identities(video: MeasuredVideo, rules: IdentityRules) -> Iterator[ObjectIdentity]:
    names = video.truth.frame_names
    for scored in video.selection.objects:
        yield identity_of(
            video.truth.name,
            scored.object_id,
            [names[position] for position in scored.frames],
            video.measures_of(scored),
            rules,
        )


def _swapped_with(overlap: Overlap, least_pixels: float) -> int | None:
    """The object whose truth the predicted mask covers instead of its own; None: it is in place."""
    other = max(overlap.others, key=overlap.others.__getitem__, default=None)
    if other is None:
        return None
    pixels = overlap.others[other]
    return other if pixels > overlap.shared_pixels and pixels >= least_pixels else None


def _swaps(
    names: Sequence[str],
    visible: Sequence[bool],
    swapped_with: Sequence[int | None],
    rules: IdentityRules,
) -> Iterator[Swap]:
    positions = [position for position, is_visible in enumerate(visible) if is_visible]
    for is_swapped, run in itertools.groupby(
        positions, key=lambda position: swapped_with[position] is not None
    ):
        frames = list(run)
        if is_swapped and len(frames) >= rules.swap_frames:
            yield Swap(
                first_frame=names[frames[0]],
                last_frame=names[frames[-1]],
                frames=len(frames),
                with_ids=tuple(sorted({swapped_with[position] for position in frames})),
                at_the_end=frames[-1] == positions[-1],
            )


def _returns(
    names: Sequence[str],
    visible: Sequence[bool],
    overlaps: Sequence[Overlap],
    rules: IdentityRules,
) -> Iterator[Return]:
    positions = [position for position, is_visible in enumerate(visible) if is_visible]
    for last_seen, position in itertools.pairwise(positions):
        hidden = position - last_seen - 1
        if hidden < rules.hidden_frames:
            continue
        window = overlaps[position : position + rules.found_within_frames]
        found = (after for after, overlap in enumerate(window) if overlap.iou >= rules.found_iou)
        yield Return(
            frame=names[position], hidden_frames=hidden, found_after_frames=next(found, None)
        )


def _select_to_the_end(video: TruthVideo, _: Metadata) -> Selection:
    return select_all_objects(video, len(video.frame_ids))


_EVERY_OBJECT = Protocol(
    name="identities",
    title="every object, from its second frame to the last; void (255) ignored",
    ignore_void=True,
    select=_select_to_the_end,
)
