"""Scribbles that a robot draws into the errors of a mask, as a person would.

Legend: H W height and width of a frame in pixels. A point is (x, y).
Source: the robot of the DAVIS challenge's interactive track (Caelles et al., "The 2018 DAVIS
Challenge on Video Object Segmentation"): along the skeletons of the regions that are wrong. Ours:
which regions, the thinning and the ends of the lines.
"""

import math

import cv2
import numpy as np

from inference.interactive import Stroke

_RADIUS = 2  # of strokes, in pixels
_REGIONS = 3  # of each kind of error that get a stroke, at most
_SMALLEST_SHARE = 0.1  # of the largest region of its kind: smaller regions get no stroke
_FEWEST_PIXELS = 30  # smaller errors get no stroke
# Before thinning, a region is eroded by half this share of its side (the square root of its area),
# at most so many pixels, as in the source.
_EROSION_SHARE, _LARGEST_EROSION = 0.2, 16
_POINT_PIXELS = 1.0  # how far a line may be from the skeleton
_NEIGHBOURS = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))


def error_strokes(truth: np.ndarray, result: np.ndarray) -> list[Stroke]:
    """Strokes into the largest errors of an object's mask; none if there is no notable error.

    truth, result: bool [H, W]. Positive strokes lie where the object is missing, negative ones
    where there is too much of it.
    """
    kinds = ((True, truth & ~result), (False, result & ~truth))
    return [
        Stroke(skeleton_line(region), positive, _RADIUS)
        for positive, errors in kinds
        for region in _largest_regions(errors)
    ]


def _largest_regions(mask: np.ndarray) -> list[np.ndarray]:
    """The connected regions of a mask that get a stroke, bool [H, W], the largest first."""
    count, components, statistics, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8))
    areas = statistics[1:count, cv2.CC_STAT_AREA]
    fewest = max(_FEWEST_PIXELS, _SMALLEST_SHARE * areas.max(initial=0))
    order = np.argsort(-areas, kind="stable")[:_REGIONS]
    return [components == number + 1 for number in order if areas[number] >= fewest]


def skeleton_line(region: np.ndarray) -> list[tuple[float, float]]:
    """A line along the middle of a region, bool [H, W] with at least one pixel: the longest path
    in its skeleton."""
    x, y, width, height = cv2.boundingRect(region.view(np.uint8))
    part = np.pad(region[y : y + height, x : x + width], 1)
    core = _eroded(part)
    skeleton = thin(core)  # of a square of two pixels, nothing remains
    path = _longest_path(skeleton if skeleton.any() else core)
    line = cv2.approxPolyDP(path, _POINT_PIXELS, False)[:, 0]
    return [(float(column + x - 1), float(row + y - 1)) for column, row in line]


def _eroded(region: np.ndarray) -> np.ndarray:
    """The region without its margin, so that a stroke ends before it; never empty.

    If it falls apart, the largest part.
    """
    radius = min(_EROSION_SHARE * math.sqrt(np.count_nonzero(region)) / 2, _LARGEST_EROSION)
    depth = cv2.distanceTransform(region.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    core = (depth > min(radius, 0.9 * depth.max())).view(np.uint8)
    _, components, statistics, _ = cv2.connectedComponentsWithStats(core)
    return components == 1 + statistics[1:, cv2.CC_STAT_AREA].argmax()


def thin(mask: np.ndarray) -> np.ndarray:
    """The skeleton of a mask, bool [H, W], one pixel wide; the mask has an empty margin.

    Source: Zhang and Suen, "A Fast Parallel Algorithm for Thinning Digital Patterns", 1984.
    """
    skeleton = mask.copy()
    changed = True
    while changed:
        changed = False
        for first in (True, False):
            north, _, east, _, south, _, west, _ = around = _shifted(skeleton)
            count = sum(neighbour.astype(np.uint8) for neighbour in around)
            turns = sum(
                (~one & other).astype(np.uint8)
                for one, other in zip(around, [*around[1:], around[0]], strict=True)
            )
            if first:
                is_edge = ~(north & east & south) & ~(east & south & west)
            else:
                is_edge = ~(north & east & west) & ~(north & south & west)
            removed = skeleton & (count >= 2) & (count <= 6) & (turns == 1) & is_edge
            changed |= bool(removed.any())
            skeleton &= ~removed
    return skeleton


def _shifted(mask: np.ndarray) -> list[np.ndarray]:
    """The eight neighbours of each pixel, clockwise from the upper one, bool [H, W] each."""
    padded = np.pad(mask, 1)
    height, width = mask.shape
    return [
        padded[1 + row : 1 + row + height, 1 + column : 1 + column + width]
        for row, column in _NEIGHBOURS
    ]


def _longest_path(skeleton: np.ndarray) -> np.ndarray:
    """The points (x, y) int32 [n, 1, 2] of the longest of the shortest paths in a skeleton.

    Exact without loops: the pixel that is farthest from any one is an end of that path.
    """
    pixels = {(int(row), int(column)) for row, column in np.argwhere(skeleton)}
    end = _path_to_farthest(pixels, min(pixels))[-1]
    path = _path_to_farthest(pixels, end)
    return np.array([(column, row) for row, column in path], np.int32)[:, None]


def _path_to_farthest(
    pixels: set[tuple[int, int]], start: tuple[int, int]
) -> list[tuple[int, int]]:
    """The path from a pixel to the one that takes the most steps to reach."""
    previous = {start: start}
    order = [start]
    for row, column in order:  # grows while it is read: breadth first
        for down, right in _NEIGHBOURS:
            pixel = row + down, column + right
            if pixel in pixels and pixel not in previous:
                previous[pixel] = (row, column)
                order.append(pixel)
    path = [order[-1]]
    while path[-1] != start:
        path.append(previous[path[-1]])
    return path[::-1]
