"""Geometric augmentation: affine maps, crops and smooth bending, each drawn from a given generator.

Legend: H W height and width of the source image, S side of the square crop. Matrices are 3×3,
float64, and map source pixels to crop pixels; pixel centres lie at integers.

Our difference, for speed: the whole geometry of a frame is one warp. The published code resamples
the image once for each transform.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

MEAN_COLOUR = (124, 116, 104)
"""The ImageNet mean, RGB in 0..255. It fills what lies outside the image."""
SHRINK_WITHOUT_ALIASING = 0.75
"""Below this scale an image is averaged over areas first; above it bicubic sampling suffices."""
CROP_ATTEMPTS = 10


def translation_matrix(x: float, y: float) -> np.ndarray:
    """Shift an image by (x, y) pixels."""
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1]], np.float64)


def scaling_matrix(x: float, y: float) -> np.ndarray:
    """Scale an image about its corner, which lies half a pixel outside the first pixel's centre."""
    return np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2], [0, 0, 1]], np.float64)


def mirror_matrix(width: int) -> np.ndarray:
    """Mirror an image of `width` pixels left to right."""
    return np.array([[-1, 0, width - 1], [0, 1, 0], [0, 0, 1]], np.float64)


def rotation_matrix(
    centre: tuple[float, float], degrees: float, scale: float = 1.0, shear_degrees: float = 0.0
) -> np.ndarray:
    """Shear along x, then scale and rotate, about `centre` (x, y)."""
    angle = math.radians(degrees)
    cosine, sine = scale * math.cos(angle), scale * math.sin(angle)
    shear = math.tan(math.radians(shear_degrees))
    rotation = np.array(
        [[cosine, -sine - cosine * shear, 0], [sine, cosine - sine * shear, 0], [0, 0, 1]]
    )
    return translation_matrix(*centre) @ rotation @ translation_matrix(-centre[0], -centre[1])


def draw_rotation(
    rng: np.random.Generator,
    centre: tuple[float, float],
    degrees: float,
    scale: tuple[float, float],
    shear_degrees: float,
) -> np.ndarray:
    """Draw a rotation_matrix: angle and shear within ± their largest values, scale in its range."""
    return rotation_matrix(
        centre,
        rng.uniform(-degrees, degrees),
        rng.uniform(*scale),
        rng.uniform(-shear_degrees, shear_degrees),
    )


def image_centre(width: float, height: float) -> tuple[float, float]:
    """(x, y) of the centre of an image."""
    return (width - 1) / 2, (height - 1) / 2


@dataclass(frozen=True)
class Rectangle:
    """A part of an image, in whole pixels."""

    x: int
    y: int
    width: int
    height: int


def warp_image(image: np.ndarray, matrix: np.ndarray, visible: Rectangle, side: int) -> np.ndarray:
    """Warp an RGB image uint8 [H, W, 3] by `matrix`, bicubically. Returns uint8 [S, S, 3].

    Only the `visible` part of the image is shown; MEAN_COLOUR surrounds it.
    """
    image, matrix = _cut(image, matrix, visible)
    scale = math.sqrt(abs(np.linalg.det(matrix[:2, :2])))
    if scale < SHRINK_WITHOUT_ALIASING:
        width, height = max(1, round(visible.width * scale)), max(1, round(visible.height * scale))
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        matrix = matrix @ scaling_matrix(visible.width / width, visible.height / height)
    return cv2.warpAffine(
        image,
        matrix[:2],
        (side, side),
        flags=cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=MEAN_COLOUR,
    )


def warp_labels(
    labels: np.ndarray, matrix: np.ndarray, visible: Rectangle, side: int
) -> np.ndarray:
    """Warp labels uint8 [H, W] as warp_image does, to the nearest pixel, surrounded by 0.

    Returns uint8 [S, S].
    """
    labels, matrix = _cut(labels, matrix, visible)
    return cv2.warpAffine(
        labels,
        matrix[:2],
        (side, side),
        flags=cv2.INTER_NEAREST,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=0,
    )


def _cut(pixels: np.ndarray, matrix: np.ndarray, part: Rectangle) -> tuple[np.ndarray, np.ndarray]:
    """The part of an image, and the matrix that maps the part's own pixels."""
    pixels = pixels[part.y : part.y + part.height, part.x : part.x + part.width]
    return pixels, matrix @ translation_matrix(part.x, part.y)


def draw_crop(
    rng: np.random.Generator,
    height: int,
    width: int,
    area: tuple[float, float],
    aspect: tuple[float, float],
) -> Rectangle:
    """Draw a crop of an image of `height` × `width` pixels.

    area: range of the crop's share of the image, drawn uniformly. aspect: range of its width /
    height, drawn log-uniformly. If CROP_ATTEMPTS draws do not fit into the image, the result is the
    largest central crop within the aspect range.
    """
    for _ in range(CROP_ATTEMPTS):
        target = height * width * rng.uniform(*area)
        ratio = math.exp(rng.uniform(math.log(aspect[0]), math.log(aspect[1])))
        crop_width, crop_height = round(math.sqrt(target * ratio)), round(math.sqrt(target / ratio))
        if 0 < crop_width <= width and 0 < crop_height <= height:
            x = int(rng.integers(width - crop_width + 1))
            y = int(rng.integers(height - crop_height + 1))
            return Rectangle(x, y, crop_width, crop_height)
    crop_width = min(width, round(height * aspect[1]))
    crop_height = min(height, round(width / aspect[0]))
    return Rectangle(
        (width - crop_width) // 2, (height - crop_height) // 2, crop_width, crop_height
    )


def draw_spline_displacement(
    rng: np.random.Generator, side: int, points: int, deviation: float
) -> np.ndarray:
    """Draw a smooth bending: a thin-plate spline through randomly displaced points.

    points: number of anchor points, uniform over the crop. deviation: standard deviation of their
    displacements, in units of `side`.
    Returns float32 [S, S, 2]: for each crop pixel, the offset (x, y) in pixels of where its value
    is taken from. Source: Bookstein, "Principal warps", 1989.
    Our difference: the spline is evaluated on a coarse grid (published: at every pixel). This is
    faster and smooths the folds between anchors that lie close together.
    """
    anchors = rng.random((points, 2))
    moves = rng.normal(0, deviation, (points, 2))
    system = np.zeros((points + 3, points + 3))
    system[:points, :points] = _spline_kernel(anchors, anchors)
    system[:points, points:] = np.c_[np.ones(points), anchors]
    system[points:, :points] = system[:points, points:].T
    weights = np.linalg.lstsq(system, np.r_[moves, np.zeros((3, 2))], rcond=None)[0]
    cells = max(8, side // 16)
    axis = (np.arange(cells) + 0.5) / cells
    centres = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    bent = _spline_kernel(centres, anchors) @ weights[:points]
    displacement = bent + np.c_[np.ones(len(centres)), centres] @ weights[points:]
    return cv2.resize(
        (displacement * side).reshape(cells, cells, 2).astype(np.float32),
        (side, side),
        interpolation=cv2.INTER_CUBIC,
    )


def _spline_kernel(points: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    squared = ((points[:, None] - anchors[None]) ** 2).sum(-1)
    return squared * np.log(np.maximum(squared, 1e-12))


def displace(
    image: np.ndarray, labels: np.ndarray, displacement: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Resample an image and its labels at displaced positions.

    image: uint8 [H, W, 3], sampled linearly, surrounded by MEAN_COLOUR. labels: uint8 [H, W],
    sampled to the nearest pixel, surrounded by 0. displacement: float32 [H, W, 2] in pixels, see
    draw_spline_displacement. Returns both in their own shapes.
    """
    height, width = labels.shape
    axes = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)
    positions = np.stack(np.meshgrid(*axes), axis=-1) + displacement
    border = {"borderMode": cv2.BORDER_CONSTANT}
    return (
        cv2.remap(image, positions, None, cv2.INTER_LINEAR, borderValue=MEAN_COLOUR, **border),
        cv2.remap(labels, positions, None, cv2.INTER_NEAREST, borderValue=0, **border),
    )
