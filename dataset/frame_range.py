"""16-bit frames become 8-bit frames by one linear scale for all frames of a video.

Cameras of 10, 12 or 14 bits, microscopes and scanners store their values in 16 bits, each in its
own range. The upper 8 bits of such values are nearly black, and a scale per frame would flicker.

Legend: H W height and width in pixels.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from util.errors import InputError

SAMPLED_FRAMES = 64
"""Frames of a video that its range is computed from, at most."""
_OUTLIER_SHARE = 1e-4  # of the values, at each end: dead and hot pixels
_LARGEST = 0xFFFF

Item = TypeVar("Item")


@dataclass(frozen=True)
class FrameRange:
    """The values that become 0 and 255; values outside the range are clipped.

    Raises:
        InputError: unless 0 <= low < high <= 65535.
    """

    low: int
    high: int

    def __post_init__(self):
        if not 0 <= self.low < self.high <= _LARGEST:
            raise InputError(
                f"frame range {self.low} to {self.high}: two whole numbers from 0 to {_LARGEST} "
                "are needed, the lower one first"
            )

    def to_8_bits(self, values: np.ndarray) -> np.ndarray:
        """Scale and round values of any shape to uint8 of the same shape."""
        scaled = (values.astype(np.float32) - self.low) * (255 / (self.high - self.low))
        return np.rint(scaled).clip(0, 255).astype(np.uint8)


def range_of(frames: Iterable[np.ndarray]) -> FrameRange:
    """The range of all values but the darkest and the brightest 0.01 %.

    frames: uint16 [H, W] or [H, W, 3]. If nearly all values are equal, the range of all values
    is used; if all are equal, the full range of 16 bits.
    """
    counts = np.zeros(_LARGEST + 1, np.int64)
    for frame in frames:
        counts += np.bincount(frame.ravel(), minlength=_LARGEST + 1)
    cumulative = counts.cumsum()
    total = int(cumulative[-1])
    outliers = int(total * _OUTLIER_SHARE)
    low = int(np.searchsorted(cumulative, outliers, side="right"))
    high = int(np.searchsorted(cumulative, total - outliers, side="left"))
    if low >= high:
        present = np.flatnonzero(counts)
        low, high = (int(present[0]), int(present[-1])) if present.size else (0, _LARGEST)
    if low >= high:
        return FrameRange(0, _LARGEST)
    return FrameRange(low, high)


def spread(items: Sequence[Item], count: int = SAMPLED_FRAMES) -> list[Item]:
    """At most `count` of the items, evenly spaced, including the first and the last."""
    if len(items) <= count:
        return list(items)
    return [items[round(position)] for position in np.linspace(0, len(items) - 1, count)]
