"""J and F of one mask, and their statistics over the frames of one object.

Legend: H W height and width of a frame in pixels, n scored frames of one object.
Source: Perazzi et al., "A Benchmark Dataset and Evaluation Methodology for Video Object
Segmentation", CVPR 2016.
"""

import math
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

BOUNDARY_TOLERANCE = 0.008  # as a share of the frame's diagonal
RECALL_THRESHOLD = 0.5


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """One measure over the frames of an object.

    mean and recall are in 0..1; decay is in -1..1 and positive if the end is worse than the start.
    """

    mean: float
    recall: float
    decay: float


def region_similarity(truth: np.ndarray, result: np.ndarray) -> float:
    """J: intersection over union of two bool masks [H, W], in 0..1; 1 if both are empty."""
    union = np.count_nonzero(truth | result)
    return np.count_nonzero(truth & result) / union if union else 1.0


def boundary_accuracy(truth: np.ndarray, result: np.ndarray) -> float:
    """F: harmonic mean of the precision and recall of the boundary of a bool mask [H, W], in 0..1.

    A boundary pixel is matched if the other boundary has a pixel within ceil(0.008 * diagonal)
    pixels. F is 1 if both boundaries are empty, and 0 if one of them is.
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
    """Boundary of a bool mask [H, W] as uint8 [H, W] of 0 and 1.

    A boundary pixel differs from its right, lower or lower-right neighbour. Pixels of the last row
    and column are compared inside the mask only, so the last corner is never a boundary.
    """
    boundary = np.zeros(mask.shape, dtype=bool)
    boundary[:, :-1] |= mask[:, :-1] != mask[:, 1:]
    boundary[:-1] |= mask[:-1] != mask[1:]
    boundary[:-1, :-1] |= mask[:-1, :-1] != mask[1:, 1:]
    return boundary.view(np.uint8)


@cache
def disk(radius: int) -> np.ndarray:
    """The pixels with x² + y² <= radius², as uint8 [2 radius + 1, 2 radius + 1].

    The ellipse of cv2 has another shape.
    """
    offsets = np.arange(-radius, radius + 1) ** 2
    return (offsets[:, None] + offsets[None, :] <= radius**2).astype(np.uint8)


def statistics(values: np.ndarray) -> Statistics:
    """Mean, recall and decay of values [n], n >= 1, in time order.

    Recall is the share of frames above 0.5. Decay is the mean of the first quarter minus the mean
    of the last. The quarters end at round(linspace(1, n, 5)) - 1, with halves rounded up and both
    ends included, as the official toolkit intends; its own indices overflow 8 bits at 256 frames,
    these do not. Raises ValueError if n is 0.
    """
    if not len(values):
        raise ValueError("statistics need at least one frame")
    # the rounding in integers, which is exact
    edges = [(index * (len(values) - 1) + 2) // 4 for index in range(5)]
    first, last = values[: edges[1] + 1], values[edges[3] :]
    return Statistics(
        mean=float(np.mean(values)),
        recall=float(np.mean(values > RECALL_THRESHOLD)),
        decay=float(np.mean(first) - np.mean(last)),
    )


def last_quarter_similarity(measures: np.ndarray) -> float:
    """J_tr: the mean J of the last quarter of an object's frames, in 0..1.

    measures: J and F, float [n, 2], n >= 1, in time order. The quarter begins after floor(0.75 n)
    frames. Source: Tokmakov et al., "Breaking the 'Object' in Video Object Segmentation" (VOST),
    CVPR 2023, and its evaluation code.
    """
    return float(np.mean(measures[math.floor(0.75 * len(measures)) :, 0]))


def instability(measures: np.ndarray) -> float:
    """V: the standard deviation of (J + F) / 2 over an object's frames, in 0..1; lower is better.

    measures: J and F, float [n, 2], n >= 1. The variance is rounded to four decimals first, as the
    official toolkit does. Source: Hong et al., "LVOS: A Benchmark for Long-term Video Object
    Segmentation", ICCV 2023, and its evaluation toolkit.
    """
    return math.sqrt(round(float(np.var(measures.mean(axis=1))), 4))


def _box_around(truth: np.ndarray, result: np.ndarray) -> tuple[slice, slice]:
    """The rows and columns that hold pixels of either mask, and one more on each side.

    They contain all boundary pixels and everything that decides about them, so the box gives the
    same measure as the whole frame in a fraction of the time.
    """
    x, y, width, height = cv2.boundingRect((truth | result).view(np.uint8))
    return slice(max(y - 1, 0), y + height + 1), slice(max(x - 1, 0), x + width + 1)
