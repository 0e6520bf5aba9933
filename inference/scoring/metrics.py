"""The two measures of a mask, J and F, and what is said of an object over a video.

Legend: H W height and width of a frame in pixels, n scored frames of one object.
Source: Perazzi et al., "A Benchmark Dataset and Evaluation Methodology for Video Object Segmentation", CVPR 2016.
"""

import math
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

BOUNDARY_TOLERANCE = 0.008  # of the frame's diagonal
RECALL_THRESHOLD = 0.5


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """One measure over the frames of an object. mean and recall in 0..1; decay in -1..1, positive where the end is worse than the beginning."""

    mean: float
    recall: float
    decay: float


def region_similarity(truth: np.ndarray, result: np.ndarray) -> float:
    """J: intersection over union of two bool masks [H, W], in 0..1; 1 where both are empty."""
    union = np.count_nonzero(truth | result)
    return np.count_nonzero(truth & result) / union if union else 1.0


def boundary_accuracy(truth: np.ndarray, result: np.ndarray) -> float:
    """F: harmonic mean of the precision and recall of the result's boundary pixels, for bool masks [H, W], in 0..1.

    A boundary pixel is matched where the other boundary has one within ceil(0.008 * diagonal) pixels. Both boundaries empty: 1; one of them: 0.
    """
    rows, columns = _box_around(truth, result)
    truth_boundary, result_boundary = (
        boundary_map(mask[rows, columns]) for mask in (truth, result)
    )
    truth_pixels, result_pixels = int(truth_boundary.sum()), int(result_boundary.sum())
    if not truth_pixels or not result_pixels:
        return float(truth_pixels == result_pixels)
    kernel = disk(math.ceil(BOUNDARY_TOLERANCE * math.hypot(*truth.shape)))
    precision = (
        np.count_nonzero(result_boundary & cv2.dilate(truth_boundary, kernel)) / result_pixels
    )
    recall = np.count_nonzero(truth_boundary & cv2.dilate(result_boundary, kernel)) / truth_pixels
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def boundary_map(mask: np.ndarray) -> np.ndarray:
    """Boundary of a bool mask [H, W] as uint8 [H, W] of 0 and 1: a pixel that differs from its right, lower or lower-right neighbour.

    Pixels of the last row and column compare only inside the mask; the corner is never a boundary.
    """
    boundary = np.zeros(mask.shape, dtype=bool)
    boundary[:, :-1] |= mask[:, :-1] != mask[:, 1:]
    boundary[:-1] |= mask[:-1] != mask[1:]
    boundary[:-1, :-1] |= mask[:-1, :-1] != mask[1:, 1:]
    return boundary.view(np.uint8)


@cache
def disk(radius: int) -> np.ndarray:
    """The pixels (x, y) with x² + y² <= radius², as uint8 [2 radius + 1, 2 radius + 1] (cv2's own ellipse is another shape)."""
    offsets = np.arange(-radius, radius + 1) ** 2
    return (offsets[:, None] + offsets[None, :] <= radius**2).astype(np.uint8)


def statistics(values: np.ndarray) -> Statistics:
    """Mean, recall (the share of frames above 0.5) and decay (mean of the first quarter less that of the last) of values [n], n >= 1, in time order.

    Bin edges are round(linspace(1, n, 5)) - 1, halves up, both ends in the bin, as the official toolkit means them; its own indices overflow 8 bits
    at 256 frames, these do not. Raises ValueError if n is 0.
    """
    if not len(values):
        raise ValueError("statistics of no frame at all")
    edges = [
        (index * (len(values) - 1) + 2) // 4 for index in range(5)
    ]  # the rounding in integers: exact
    first, last = values[: edges[1] + 1], values[edges[3] :]
    return Statistics(
        mean=float(np.mean(values)),
        recall=float(np.mean(values > RECALL_THRESHOLD)),
        decay=float(np.mean(first) - np.mean(last)),
    )


def _box_around(truth: np.ndarray, result: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns of both masks' pixels and one more on each side.

    All boundary pixels and all that decides about them lie inside, so measuring the box gives what the whole frame gives, in a fraction of the time.
    """
    x, y, width, height = cv2.boundingRect((truth | result).view(np.uint8))
    return slice(max(y - 1, 0), y + height + 1), slice(max(x - 1, 0), x + width + 1)
