"""Points of a frame: chosen on objects, drawn into pictures.

Legend: H W height and width of a frame in pixels.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from dataset.label_map import present_ids

Point = tuple[float, float]
"""x, y in pixels from the upper left corner."""

# Okabe and Ito's palette
_COLOURS = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (213, 94, 0),
    (204, 121, 167),
    (255, 255, 255),
    (0, 114, 178),
)
_MIN_DEPTH = 0.5  # of a point on an object: its distance from the edge, relative to the largest


def points_on(labels: np.ndarray, count: int) -> list[Point]:
    """Choose points on each object, well inside it and far from each other.

    labels: uint8 [H, W]. count: of each object; objects of fewer suitable pixels have fewer.
    """
    points = []
    for object_id in present_ids(labels):
        mask = np.pad(labels == object_id, 1).astype(np.uint8)
        depth = cv2.distanceTransform(mask, cv2.DIST_L2, 5)[1:-1, 1:-1]
        rows, columns = np.nonzero(depth >= _MIN_DEPTH * depth.max())
        chosen = [int(np.argmax(depth[rows, columns]))]
        distances = np.full(len(rows), np.inf)  # from the nearest chosen point
        while len(chosen) < min(count, len(rows)):
            row, column = rows[chosen[-1]], columns[chosen[-1]]
            distances = np.minimum(distances, np.hypot(rows - row, columns - column))
            chosen.append(int(np.argmax(distances)))
        points += [(float(columns[index]), float(rows[index])) for index in chosen]
    return points


def mark_points(image: np.ndarray, points: Sequence[Point]) -> np.ndarray:
    """A copy of the image, uint8 RGB [H, W, 3], with a numbered dot at each point.

    Each number has its colour; points in the same pixel share a dot with all their numbers.
    """
    picture = image.copy()
    radius = max(round(min(image.shape[:2]) / 45), 3)
    numbers: dict[tuple[int, int], list[int]] = {}
    for number, (x, y) in enumerate(points):
        numbers.setdefault((round(x), round(y)), []).append(number)
    for centre, group in numbers.items():
        colour = _COLOURS[group[0] % len(_COLOURS)]
        cv2.circle(picture, centre, radius + 2, (0, 0, 0), cv2.FILLED, cv2.LINE_AA)
        cv2.circle(picture, centre, radius, colour, cv2.FILLED, cv2.LINE_AA)
        _write_centred(picture, ",".join(str(number + 1) for number in group), centre, radius)
    return picture


def _write_centred(picture: np.ndarray, text: str, centre: tuple[int, int], radius: int) -> None:
    font, scale = cv2.FONT_HERSHEY_SIMPLEX, radius / 13
    (width, height), _ = cv2.getTextSize(text, font, scale, 1)
    origin = (centre[0] - width // 2, centre[1] + height // 2)
    cv2.putText(picture, text, origin, font, scale, (0, 0, 0), max(radius // 6, 1), cv2.LINE_AA)
