"""How much the mask of an object differs between two frames, in shape and in position.

Legend: K objects, H W frame size.

Published (REMN; Chen, Zhang, Yang, Wu, 2023): a frame is memorised when its mask differs enough, in
shape and position, from that of the frame memorised last. How is left open. Ours: shape is 1 - IoU
of the two masks with their centroids aligned to the pixel; position is the distance of the
centroids over √area of the mask memorised last; in place, 1 - IoU without alignment, depends on
both. MEASURES has the readings of "shape and position" that may be chosen; by default the larger of
both counts. The largest over all objects decides. All are 1 if an object appears or vanishes.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor


@dataclasses.dataclass(frozen=True)
class MaskDifference:
    """The difference of two masks of one object."""

    shape: float  # 0..1
    position: float  # 0 and above
    in_place: float = 0.0  # 0..1

    @property
    def largest(self) -> float:
        return max(self.shape, self.position)


NO_DIFFERENCE = MaskDifference(0.0, 0.0, 0.0)
APPEARED_OR_VANISHED = MaskDifference(1.0, 1.0, 1.0)

# readings of "differs in shape and position" as one number, by the value of
# memory.sampling_measure
MEASURES: dict[str, Callable[[MaskDifference], float]] = {
    "largest": lambda difference: difference.largest,
    "mean": lambda difference: (difference.shape + difference.position) / 2,
    "shape": lambda difference: difference.shape,
    "in-place": lambda difference: difference.in_place,
}


class Regions:
    """The regions of the objects of a frame, with areas in pixels and centroids (y, x)."""

    def __init__(self, masks: Tensor, object_ids: Sequence[int]):
        """masks: aggregated probabilities [K, H, W] of the objects `object_ids`.

        The region of an object is where it is more probable than the background and the others.
        """
        background = 1 - masks.sum(0)
        best = torch.maximum(masks.amax(0), background)
        self.masks = (masks == best) & (masks > background)
        # pixels of each row [K, H] and column [K, W]; whole numbers, so that sums are exact
        rows, columns = self.masks.sum(2), self.masks.sum(1)
        moments = torch.stack([rows.sum(1), _first_moment(rows), _first_moment(columns)])
        self.areas, sums_y, sums_x = moments.tolist()
        self.centroids = [
            (y / area, x / area) if area else (math.nan, math.nan)
            for area, y, x in zip(self.areas, sums_y, sums_x, strict=True)
        ]
        self.number_of = {object_id: number for number, object_id in enumerate(object_ids)}

    def area(self, object_id: int) -> int:
        """The area of an object; 0 if it is not among those of the frame."""
        return self.areas[self.number_of[object_id]] if object_id in self.number_of else 0

    def difference_from(self, before: "Regions", measure: str = "largest") -> float:
        """The largest difference of any of these objects from `before`.

        measure: a row of MEASURES. An object that is in neither frame does not differ.
        """
        return max(
            MEASURES[measure](self.object_difference(before, object_id))
            for object_id in self.number_of
        )

    def object_difference(self, before: "Regions", object_id: int) -> MaskDifference:
        """How one object differs from what it was `before`."""
        area, area_before = self.area(object_id), before.area(object_id)
        if not area or not area_before:
            return APPEARED_OR_VANISHED if area or area_before else NO_DIFFERENCE
        number, number_before = self.number_of[object_id], before.number_of[object_id]
        centroid, centroid_before = self.centroids[number], before.centroids[number_before]
        down, right = (now - then for now, then in zip(centroid, centroid_before, strict=True))
        mask, mask_before = self.masks[number], before.masks[number_before]
        aligned = _overlap(mask, mask_before, round(down), round(right))
        in_place = _overlap(mask, mask_before, 0, 0)
        return MaskDifference(
            shape=1 - aligned / (area + area_before - aligned),
            position=math.hypot(down, right) / math.sqrt(area_before),
            in_place=1 - in_place / (area + area_before - in_place),
        )


def _first_moment(counts: Tensor) -> Tensor:
    """Sum of position × count for each object: counts [K, S] → [K]."""
    return (counts * torch.arange(counts.shape[1], device=counts.device)).sum(1)


def _overlap(now: Tensor, before: Tensor, down: int, right: int) -> int:
    """Pixels that `now` [H, W] shares with `before` [H, W] moved `down` and `right`.

    What is moved out of the frame is shared with nothing.
    """
    rows, rows_before = _aligned(down)
    columns, columns_before = _aligned(right)
    return int((now[rows, columns] & before[rows_before, columns_before]).sum())


def _aligned(by: int) -> tuple[slice, slice]:
    """Along one axis, the parts of `now` and of `before` that lie on each other."""
    if by >= 0:
        return slice(by, None), slice(None, -by or None)
    return slice(None, by), slice(-by, None)
