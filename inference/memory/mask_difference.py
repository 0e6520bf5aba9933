"""How much an object's mask in one frame differs from its mask in another, in shape and in position. Legend: K objects, H W frame size.

Published (REMN; Chen, Zhang, Yang, Wu, 2023): a frame is memorised when its mask differs enough, in shape and position, from that of the frame memorised last. Ours,
since how is left open: shape is 1 - IoU of the two masks with their centroids aligned, to the pixel, position the distance of the centroids over √area of the mask memorised
last; the difference is the largest of both over all objects, and 1 where an object appears or vanishes.
"""

import dataclasses
import math
from collections.abc import Sequence

import torch
from torch import Tensor


@dataclasses.dataclass(frozen=True)
class MaskDifference:
    """Of one object."""

    shape: float  # 0..1
    position: float  # 0 and above

    @property
    def largest(self) -> float:
        return max(self.shape, self.position)


APPEARED_OR_VANISHED = MaskDifference(1.0, 1.0)


class Regions:
    """Where each object of a frame is, with the areas and centroids of these regions."""

    def __init__(self, masks: Tensor, object_ids: Sequence[int]):
        """masks: probabilities [K, H, W] of the objects `object_ids`, aggregated. An object is where it is more probable than the background, and than others."""
        background = 1 - masks.sum(0)
        best = torch.maximum(masks.amax(0), background)
        self.masks = (masks == best) & (masks > background)
        rows, columns = (
            self.masks.sum(2),
            self.masks.sum(1),
        )  # [K, H], [K, W]: whole numbers, so that sums are exact
        moments = [
            rows.sum(1),
            *(
                (counts * torch.arange(counts.shape[1], device=counts.device)).sum(1)
                for counts in (rows, columns)
            ),
        ]
        self.areas, sums_y, sums_x = torch.stack(moments).tolist()
        self.centroids = [
            (y / area, x / area) if area else (math.nan, math.nan)
            for area, y, x in zip(self.areas, sums_y, sums_x, strict=True)
        ]
        self.slot = {object_id: number for number, object_id in enumerate(object_ids)}

    def area(self, object_id: int) -> int:
        """0 for an object that is not known here."""
        return self.areas[self.slot[object_id]] if object_id in self.slot else 0

    def difference_from(self, before: "Regions") -> float:
        """The largest difference of any of these objects from `before`. An object that is in neither does not differ."""
        return max(self.object_difference(before, object_id).largest for object_id in self.slot)

    def object_difference(self, before: "Regions", object_id: int) -> MaskDifference:
        """How one of these objects differs from what it was `before`."""
        area, area_before = self.area(object_id), before.area(object_id)
        if not area or not area_before:
            return APPEARED_OR_VANISHED if area or area_before else MaskDifference(0.0, 0.0)
        number, number_before = self.slot[object_id], before.slot[object_id]
        shift = [
            now - then
            for now, then in zip(
                self.centroids[number], before.centroids[number_before], strict=True
            )
        ]
        shared = _overlap(
            self.masks[number], before.masks[number_before], *(round(by) for by in shift)
        )
        return MaskDifference(
            1 - shared / (area + area_before - shared), math.hypot(*shift) / math.sqrt(area_before)
        )


def _overlap(now: Tensor, before: Tensor, down: int, right: int) -> int:
    """Pixels that `now` [H, W] shares with `before` [H, W] moved `down` and `right`. What is moved out of the frame is shared with nothing."""
    (rows, rows_before), (columns, columns_before) = (_moved(by) for by in (down, right))
    return int((now[rows, columns] & before[rows_before, columns_before]).sum())


def _moved(by: int) -> tuple[slice, slice]:
    """Along one axis, what is compared with what."""
    return (
        (slice(by, None), slice(None, -by or None))
        if by >= 0
        else (slice(None, by), slice(-by, None))
    )
