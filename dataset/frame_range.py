"""16-bit frames as 8-bit ones: one scale for all frames of a video, from the values that they hold.

Cameras of 10, 12 or 14 bits, microscopes and scanners write their values into 16 bits, each in a range of its own. The upper 8 bits of these are nearly black, and a
scale for each frame would flicker. Legend: H W height and width in pixels.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from util.errors import InputError

SAMPLED_FRAMES = 64
_LEFT_OUT = 1e-4  # the share of the values, at each end, that dead and hot pixels may take
_LARGEST = 0xFFFF

Item = TypeVar("Item")


@dataclass(frozen=True)
class FrameRange:
    """The values that become 0 and 255. What lies outside is clipped. Raises InputError unless 0 ≤ low < high ≤ 65535."""

    low: int
    high: int

    def __post_init__(self):
        if not 0 <= self.low < self.high <= _LARGEST:
            raise InputError(
                f"frame range {self.low} to {self.high}: two whole numbers from 0 to {_LARGEST} are needed, the lower one first"
            )

    def to_8_bits(self, values: np.ndarray) -> np.ndarray:
        """Values of any shape → uint8 of the same shape, rounded."""
        scaled = (values.astype(np.float32) - self.low) * (255 / (self.high - self.low))
        return np.rint(scaled).clip(0, 255).astype(np.uint8)


def range_of(frames: Iterable[np.ndarray]) -> FrameRange:
    """The range of all but the darkest and the brightest 0.01 % of the values of these frames, uint16 [H, W] or [H, W, 3]."""
    counts = np.zeros(_LARGEST + 1, np.int64)
    for frame in frames:
        counts += np.bincount(frame.ravel(), minlength=_LARGEST + 1)
    up_to = counts.cumsum()
    total = int(up_to[-1])
    left_out = int(total * _LEFT_OUT)
    low = int(np.searchsorted(up_to, left_out, side="right"))
    high = int(np.searchsorted(up_to, total - left_out, side="left"))
    if low >= high:  # hardly any value but one: all there are
        present = np.flatnonzero(counts)
        low, high = (int(present[0]), int(present[-1])) if present.size else (0, _LARGEST)
    if low >= high:  # one value throughout stays as dark or as bright as it is among 16 bits
        return FrameRange(0, _LARGEST)
    return FrameRange(low, high)


def spread(items: Sequence[Item], count: int = SAMPLED_FRAMES) -> list[Item]:
    """At most `count` of the items, evenly spread, the first and the last among them."""
    if len(items) <= count:
        return list(items)
    return [items[round(position)] for position in np.linspace(0, len(items) - 1, count)]
