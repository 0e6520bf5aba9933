"""Augmentation of training clips: one warp and one change of colour per frame, drawn from an explicit generator.

Legend: T frames, H W height and width of a source image, S side of the square crop. Matrices are 3×3, float64, map source pixels to crop pixels;
pixel centres are integers. Source of the parameters: the public training code of STCN.

Ours, for speed: all geometry of a frame is one warp (published: each transform resamples the image
anew), and colours change after it, on the crop's pixels alone (published: those of the whole clip
change before it).
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

MEAN_COLOUR = (124, 116, 104)
"""The ImageNet mean, RGB in 0..255: what lies outside an image."""
SHRINK_WITHOUT_ALIASING = 0.75
"""Images shrunk to less than this are averaged first; above it bicubic interpolation alone is good enough."""


@dataclass(frozen=True, kw_only=True)
class ColourJitter:
    """Largest changes: brightness, contrast and saturation are factors in 1 ± value, hue is a shift of ± value turns (at most 0.5)."""

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0

    def draw(self, rng: np.random.Generator, grey_probability: float = 0.0) -> "ColourChange":
        factors = (
            rng.uniform(max(0.0, 1 - spread), 1 + spread)
            for spread in (self.brightness, self.contrast, self.saturation)
        )
        brightness, contrast, saturation = factors
        return ColourChange(
            brightness,
            contrast,
            saturation,
            rng.uniform(-self.hue, self.hue),
            bool(rng.random() < grey_probability),
        )


@dataclass(frozen=True)
class ColourChange:
    """One drawn change of colour, applied in this order (published: in an order drawn anew each time; but
    for hue, rounding and clipping the changes commute)."""

    brightness: float
    contrast: float
    saturation: float
    hue: float
    grey: bool

    def apply(self, image: np.ndarray) -> np.ndarray:
        """uint8 RGB [H, W, 3] to the same. Contrast is about the image's mean grey, saturation about each pixel's grey."""
        if self.brightness != 1 or self.contrast != 1:
            brightened = np.clip(np.arange(256) * self.brightness, 0, 255)
            mean_grey = brightened[cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)].mean()
            table = np.clip(
                np.rint(brightened * self.contrast + mean_grey * (1 - self.contrast)), 0, 255
            ).astype(np.uint8)
            image = cv2.LUT(image, table)
        if self.saturation != 1 or self.grey:
            grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
            image = (
                grey
                if self.grey
                else cv2.addWeighted(image, self.saturation, grey, 1 - self.saturation, 0)
            )
        if self.hue and not self.grey:
            hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)
            hsv[..., 0] += np.uint8(
                round(self.hue * 256) % 256
            )  # a turn is 256 steps: the wrap of uint8 is the wrap of the circle
            image = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)
        return image


@dataclass(frozen=True, kw_only=True)
class ClipAugmentation:
    """Stages 1 to 3, the published values: a crop, flip and colour for the whole clip, a slight turn, shear and colour for each frame.

    crop_area: share of the image's area the crop is cut from (BL30K: 0.25 to 1); crop_aspect: its width / height.
    keep_surroundings: where a frame is turned, show what lies beyond the crop instead of the mean colour (ours; published: False).
    """

    crop_size: int = 384
    flip_probability: float = 0.5
    crop_area: tuple[float, float] = (0.36, 1.0)
    crop_aspect: tuple[float, float] = (3 / 4, 4 / 3)
    clip_colour: ColourJitter = ColourJitter(brightness=0.1, contrast=0.03, saturation=0.03)
    grey_probability: float = 0.05
    frame_rotation_degrees: float = 15.0
    frame_shear_degrees: float = 10.0
    frame_scale: tuple[float, float] = (1.0, 1.0)
    frame_colour: ColourJitter = ColourJitter(brightness=0.01, contrast=0.01, saturation=0.01)
    keep_surroundings: bool = False


@dataclass(frozen=True, kw_only=True)
class StaticAugmentation:
    """Stage 0, the published values: one photograph becomes frames by a fresh turn, shear, scale, crop, colour and bending for each.

    bend_probability: share of frames bent by a thin-plate spline through `bend_points` points moved by a normal deviation of `bend_deviation` sides,
    the image resampled linearly, the mask to the nearest pixel.
    keep_surroundings: as in ClipAugmentation.
    """

    crop_size: int = 384
    clip_scale: tuple[float, float] = (0.8, 1.5)
    flip_probability: float = 0.5
    clip_colour: ColourJitter = ColourJitter(
        brightness=0.1, contrast=0.05, saturation=0.05, hue=0.05
    )
    grey_probability: float = 0.05
    frame_rotation_degrees: float = 20.0
    frame_shear_degrees: float = 10.0
    frame_scale: tuple[float, float] = (0.9, 1.1)
    frame_colour: ColourJitter = ColourJitter(brightness=0.1, contrast=0.05, saturation=0.05)
    bend_probability: float = 1 / 3
    bend_points: int = 12
    bend_deviation: float = 0.02
    keep_surroundings: bool = False


def translation(x: float, y: float) -> np.ndarray:
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1]], np.float64)


def scaling(x: float, y: float) -> np.ndarray:
    """Scale an image's pixel grid about its corner: pixel centres, at integers, lie half a pixel inside."""
    return np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2], [0, 0, 1]], np.float64)


def flipping(width: int) -> np.ndarray:
    """Mirror an image of `width` pixels left to right."""
    return np.array([[-1, 0, width - 1], [0, 1, 0], [0, 0, 1]], np.float64)


def turning(
    centre: tuple[float, float], degrees: float, scale: float = 1.0, shear_degrees: float = 0.0
) -> np.ndarray:
    """Shear along x, scale and rotate about `centre` (x, y)."""
    angle = math.radians(degrees)
    cosine, sine, shear = (
        scale * math.cos(angle),
        scale * math.sin(angle),
        math.tan(math.radians(shear_degrees)),
    )
    turn = np.array(
        [[cosine, -sine - cosine * shear, 0], [sine, cosine - sine * shear, 0], [0, 0, 1]]
    )
    return translation(*centre) @ turn @ translation(-centre[0], -centre[1])


def centre_of(width: float, height: float) -> tuple[float, float]:
    return (width - 1) / 2, (height - 1) / 2


@dataclass(frozen=True)
class Window:
    """The rectangle of a source image that can be seen, in pixels."""

    x: int
    y: int
    width: int
    height: int


def warp_image(image: np.ndarray, matrix: np.ndarray, window: Window, side: int) -> np.ndarray:
    """The window of a uint8 RGB image [H, W, 3] seen through `matrix` (source pixels to crop pixels): uint8 [S, S, 3].

    Bicubic, the mean colour around it.
    """
    image, matrix = _cut(image, matrix, window)
    shrink = math.sqrt(abs(np.linalg.det(matrix[:2, :2])))
    if shrink < SHRINK_WITHOUT_ALIASING:
        width, height = max(1, round(window.width * shrink)), max(1, round(window.height * shrink))
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        matrix = matrix @ scaling(window.width / width, window.height / height)
    return cv2.warpAffine(
        image,
        matrix[:2],
        (side, side),
        flags=cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=MEAN_COLOUR,
    )


def warp_labels(labels: np.ndarray, matrix: np.ndarray, window: Window, side: int) -> np.ndarray:
    """Labels uint8 [H, W] through the same geometry, nearest, 0 around. Returns uint8 [S, S]."""
    labels, matrix = _cut(labels, matrix, window)
    return cv2.warpAffine(
        labels,
        matrix[:2],
        (side, side),
        flags=cv2.INTER_NEAREST,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=0,
    )


def _cut(pixels: np.ndarray, matrix: np.ndarray, window: Window) -> tuple[np.ndarray, np.ndarray]:
    return pixels[
        window.y : window.y + window.height, window.x : window.x + window.width
    ], matrix @ translation(window.x, window.y)


def draw_crop(
    rng: np.random.Generator,
    height: int,
    width: int,
    area: tuple[float, float],
    aspect: tuple[float, float],
) -> Window:
    """A rectangle of random area (share of the image) and aspect (width / height, log-uniform); the largest fitting central one where ten draws do not fit."""
    for _ in range(10):
        target = height * width * rng.uniform(*area)
        ratio = math.exp(rng.uniform(math.log(aspect[0]), math.log(aspect[1])))
        crop_width, crop_height = round(math.sqrt(target * ratio)), round(math.sqrt(target / ratio))
        if 0 < crop_width <= width and 0 < crop_height <= height:
            return Window(
                int(rng.integers(width - crop_width + 1)),
                int(rng.integers(height - crop_height + 1)),
                crop_width,
                crop_height,
            )
    crop_width, crop_height = (
        min(width, round(height * aspect[1])),
        min(height, round(width / aspect[0])),
    )
    return Window((width - crop_width) // 2, (height - crop_height) // 2, crop_width, crop_height)


def spline_displacement(
    rng: np.random.Generator, side: int, points: int, deviation: float
) -> np.ndarray:
    """A smooth random bending: the thin-plate spline through `points` random places, each moved by a normal deviation of `deviation` sides.

    Returns float32 [S, S, 2], where each crop pixel is fetched from, relative to itself (x, y) in pixels. Source: Bookstein, 1989.
    Ours: evaluated on a coarse grid (published: at every pixel), which is quicker and evens out the
    folds that places drawn close together make.
    """
    anchors = rng.random((points, 2))
    moves = rng.normal(0, deviation, (points, 2))
    system = np.zeros((points + 3, points + 3))
    system[:points, :points] = _spline_kernel(anchors, anchors)
    system[:points, points:] = np.c_[np.ones(points), anchors]
    system[points:, :points] = system[:points, points:].T
    weights = np.linalg.lstsq(system, np.r_[moves, np.zeros((3, 2))], rcond=None)[0]
    cells = max(
        8, side // 16
    )  # bending is smooth: computed at the centres of coarse cells and enlarged
    centres = (np.arange(cells) + 0.5) / cells
    places = np.stack(np.meshgrid(centres, centres), axis=-1).reshape(-1, 2)
    field = (
        _spline_kernel(places, anchors) @ weights[:points]
        + np.c_[np.ones(len(places)), places] @ weights[points:]
    )
    return cv2.resize(
        (field * side).reshape(cells, cells, 2).astype(np.float32),
        (side, side),
        interpolation=cv2.INTER_CUBIC,
    )


def _spline_kernel(places: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    squared = ((places[:, None] - anchors[None]) ** 2).sum(-1)
    return squared * np.log(np.maximum(squared, 1e-12))


def bend(
    image: np.ndarray, labels: np.ndarray, displacement: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Image uint8 [H, W, 3] (linear, the mean colour around it) and labels uint8 [H, W] (nearest, 0
    around) fetched through a displacement [H, W, 2] in pixels."""
    height, width = labels.shape
    grid = (
        np.stack(
            np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)),
            axis=-1,
        )
        + displacement
    )
    image = cv2.remap(
        image, grid, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=MEAN_COLOUR
    )
    return image, cv2.remap(
        labels, grid, None, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=0
    )
