"""Polygons, boxes and ellipses become masks.

Legend: H W height and width of a frame in pixels. A mask is bool [H, W]. Coordinates are x, y in
pixels; (0, 0) is the upper left corner of the upper left pixel.
"""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from dataset.image_file import size_text
from util.errors import InputError
from util.text import short_repr

try:
    from pycocotools import mask as coco_mask
except ImportError:
    coco_mask = None

Size = tuple[int, int]
"""(H, W) of a frame."""

_LARGEST = 1 << 40  # of numbers in files
# how many times the frame's size a coordinate may lie outside; the time that pycocotools takes
# grows with the length of the outline
_MAX_OUTSIDE = 4


def require_pycocotools(purpose: str) -> None:
    """Raise InputError if pycocotools is not installed. purpose: what needs it."""
    if coco_mask is None:
        raise InputError(
            f"{purpose} needs pycocotools, which is not installed here: pip install pycocotools"
        )


def polygons_mask(polygons: Sequence[Sequence[float]], size: Size, where: str) -> np.ndarray:
    """The union of polygons, each x0, y0, x1, y1, … of three corners at least, by pycocotools.

    Its rule is that of COCO's own masks: the outline is drawn at five times the size, and a pixel
    is inside if its centre is. Raises InputError for other values; where: for the message.
    """
    require_pycocotools(f"{where}: a polygon")
    if not polygons:
        raise InputError(f"{where}: no polygon; a list of corners is needed")
    checked = [_coordinates(polygon, size, where).ravel().tolist() for polygon in polygons]
    codes = coco_mask.frPyObjects(checked, *size)
    return coco_mask.decode(coco_mask.merge(codes)).astype(bool)


def drawn_polygon_mask(points: Sequence[Sequence[float]], size: Size, where: str) -> np.ndarray:
    """A polygon with its outline, drawn by Pillow, as LabelMe makes masks. points: [(x, y), …]."""
    corners = _coordinates(_flat(points, where), size, where)
    image = Image.new("1", (size[1], size[0]))
    ImageDraw.Draw(image).polygon([tuple(corner) for corner in corners.tolist()], 1, 1)
    return np.array(image)


def box_mask(
    box: Sequence[float], size: Size, where: str, rotation_degrees: float = 0.0
) -> np.ndarray:
    """The pixels whose centres lie in the box x0, y0, x1, y1, turned clockwise about its centre."""
    x0, y0, x1, y1 = _numbers(box, 4, where)
    return _turned_mask(
        ((x0 + x1) / 2, (y0 + y1) / 2),
        (abs(x1 - x0) / 2, abs(y1 - y0) / 2),
        rotation_degrees,
        size,
        round_=False,
    )


def ellipse_mask(
    ellipse: Sequence[float], size: Size, where: str, rotation_degrees: float = 0.0
) -> np.ndarray:
    """The pixels whose centres lie in the ellipse centre x, y, radii x, y, turned clockwise."""
    x, y, radius_x, radius_y = _numbers(ellipse, 4, where)
    return _turned_mask((x, y), (radius_x, radius_y), rotation_degrees, size, round_=True)


def _turned_mask(
    centre: tuple[float, float],
    radii: tuple[float, float],
    degrees: float,
    size: Size,
    round_: bool,
) -> np.ndarray:
    y, x = np.ogrid[: size[0], : size[1]]
    x, y = x + 0.5 - centre[0], y + 0.5 - centre[1]
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    across, along = x * cosine + y * sine, y * cosine - x * sine
    if not round_:
        return (np.abs(across) <= radii[0]) & (np.abs(along) <= radii[1])
    if min(radii) <= 0:
        return np.zeros(size, bool)
    return (across / radii[0]) ** 2 + (along / radii[1]) ** 2 <= 1


def _coordinates(polygon: Sequence[float], size: Size, where: str) -> np.ndarray:
    """[N, 2] of at least three corners that lie near the frame."""
    if not isinstance(polygon, list | tuple) or len(polygon) < 6 or len(polygon) % 2:
        raise InputError(
            f"{where}: polygon {short_repr(polygon)}; x, y of three corners at least is needed"
        )
    corners = np.array(_numbers(polygon, len(polygon), where)).reshape(-1, 2)
    distances = np.abs(corners).max(1)
    if distances.max() > (1 + _MAX_OUTSIDE) * max(size):
        raise InputError(
            f"{where}: a corner at {corners[distances.argmax()].tolist()}, far outside the frame "
            f"of {size_text(size)}"
        )
    return corners


def _flat(points: Sequence[Sequence[float]], where: str) -> list[float]:
    if not all(isinstance(point, list | tuple) and len(point) == 2 for point in points):
        raise InputError(f"{where}: points {short_repr(points)}; a list of [x, y] is needed")
    return [value for point in points for value in point]


def _numbers(values: Sequence[float], count: int, where: str) -> list[float]:
    is_right = isinstance(values, list | tuple) and len(values) == count
    if not is_right or not all(
        isinstance(value, int | float) and abs(value) < _LARGEST for value in values
    ):
        raise InputError(f"{where}: {short_repr(values)}; {count} finite numbers are needed")
    return [float(value) for value in values]
