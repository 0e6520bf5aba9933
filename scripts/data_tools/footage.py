"""Sequences of one object as material: footage, and the object cut out of every frame.

Legend: H W height and width of a frame, h w of a patch, F frames of a cut-out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from dataset import Layout
from dataset.training.cache import ImageCache
from dataset.training.geometry import SHRINK_WITHOUT_ALIASING, scaling_matrix, translation_matrix
from scripts.studies.playing import back_and_forth
from util.errors import InputError

LEAST_AREA = 0.003
"""The least share of its frame that an object covers where it is cut out."""
LEAST_RUN_FRAMES = 8
# What a tree hides in part is not whole: the mask falls apart, or its area falls below that of the
# frames nearby
_LEAST_COMPONENT, _LEAST_PART, _NEARBY_FRAMES = 0.85, 0.8, 10
_SMOOTHING_FRAMES = 5.0  # standard deviation; what is slower is the object's movement, left out
_MARGIN_PIXELS = 4
_COLOUR_SPREAD_PIXELS = 3.0
_EDGE_BLUR_PIXELS = 0.9
_EDGE_RANGE = (0.35, 0.85)  # of the blurred mask: coverage 0 to 1, half a pixel inside the outline


@dataclass(frozen=True, kw_only=True)
class Footage:
    """A sequence. All ids of its masks are one object.

    frames, masks: one file for each frame. cache: of decoded files, shared by all sequences.
    """

    name: str
    frames: tuple[Path, ...]
    masks: tuple[Path, ...]
    cache: ImageCache

    @classmethod
    def of(cls, layout: Layout, name: str, cache: ImageCache) -> "Footage":
        """The sequence of that name. Raises InputError if a frame has no mask in the truth."""
        frames = layout.frame_files(name)
        if not frames:
            raise InputError(f"{layout.frames_folder / name}: no frames")
        masks = [layout.truth_folder / name / f"{path.stem}.png" for path in frames]
        for mask in masks:
            if not mask.is_file():
                raise InputError(
                    f"{mask}: no such mask; composites need the truth of every frame: choose other "
                    "--sequences"
                )
        return cls(name=name, frames=tuple(frames), masks=tuple(masks), cache=cache)

    def pair(self, position: int) -> tuple[np.ndarray, np.ndarray]:
        """A frame RGB uint8 [H, W, 3] and its mask uint8 [H, W] of 0 and 1.

        Raises InputError for damaged files and for a mask of another size.
        """
        image, labels = self.cache.pair(self.frames[position], self.masks[position])
        return image, (labels > 0).astype(np.uint8)


@dataclass(frozen=True, kw_only=True)
class Patch:
    """An object on one frame.

    pixels: uint8 [h, w, 4], RGB and coverage. matrix: 3×3, maps pixels to a plane in which the
    object's centre is the origin and the square root of its usual area is 1.
    """

    pixels: np.ndarray
    matrix: np.ndarray


@dataclass(frozen=True, kw_only=True)
class MovingCutout:
    """An object with its own motion, but without its way through the picture.

    first: the first frame that is used; the others follow. centres: (x, y) of the object,
    smoothed, float64 [F, 2]. sizes: square root of its area in pixels, smoothed, float64 [F].
    reach: its largest distance (x, y) from the centre, in units of its size.
    """

    footage: Footage
    first: int
    centres: np.ndarray
    sizes: np.ndarray
    reach: tuple[float, float]

    def __len__(self) -> int:
        return len(self.sizes)

    @classmethod
    def of(cls, footage: Footage) -> "MovingCutout | None":
        """The object on the longest run of frames that show it whole.

        None if there are no LEAST_RUN_FRAMES such frames.
        """
        masks = [footage.pair(position)[1] for position in range(len(footage.frames))]
        run = _longest_run(_shows_whole(masks))
        if len(run) < LEAST_RUN_FRAMES:
            return None
        rows = np.array([_measure(masks[position]) for position in run])
        smoothed = _smooth(rows[:, :3])
        centres, sizes = smoothed[:, :2], smoothed[:, 2]
        lower, upper = centres - rows[:, 3:5], rows[:, 5:7] - centres
        reach = (np.maximum(lower, upper) / sizes[:, None]).max(0)
        return cls(
            footage=footage,
            first=run.start,
            centres=centres,
            sizes=sizes,
            reach=(float(reach[0]), float(reach[1])),
        )

    def patch(self, time: int, size: float) -> Patch:
        """The object at a time, in frames from 0; its frames are played back and forth.

        size: in pixels, at which it will be painted; the patch has about that resolution.
        """
        index = back_and_forth(len(self), time + 1)[time]
        image, mask = self.footage.pair(self.first + index)
        x, y, width, height = cv2.boundingRect(mask)
        left, top = max(0, x - _MARGIN_PIXELS), max(0, y - _MARGIN_PIXELS)
        part = np.s_[top : y + height + _MARGIN_PIXELS, left : x + width + _MARGIN_PIXELS]
        pixels = _soft_patch(image[part], mask[part])
        centre, own_size = self.centres[index], self.sizes[index]
        matrix = translation_matrix(left - centre[0], top - centre[1])
        scale = size / own_size
        if scale < SHRINK_WITHOUT_ALIASING:
            h, w = (max(1, round(side * scale)) for side in pixels.shape[:2])
            matrix = matrix @ scaling_matrix(pixels.shape[1] / w, pixels.shape[0] / h)
            pixels = cv2.resize(pixels, (w, h), interpolation=cv2.INTER_AREA)
        return Patch(pixels=pixels, matrix=np.diag([1 / own_size, 1 / own_size, 1]) @ matrix)


def _shows_whole(masks: Sequence[np.ndarray]) -> list[bool]:
    """Whether each mask uint8 [H, W] of 0 and 1 shows the object whole."""
    areas = np.array([cv2.countNonZero(mask) for mask in masks])
    usual = [
        np.median(areas[max(0, index - _NEARBY_FRAMES) : index + _NEARBY_FRAMES + 1])
        for index in range(len(areas))
    ]
    return [
        bool(area >= _LEAST_PART * typical) and _is_apart(mask)
        for mask, area, typical in zip(masks, areas, usual, strict=True)
    ]


def _is_apart(mask: np.ndarray) -> bool:
    """Whether a mask uint8 [H, W] of 0 and 1 shows one large object, apart from the edges."""
    edges = mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any()
    area = cv2.countNonZero(mask)
    if edges or area < LEAST_AREA * mask.size:
        return False
    areas = cv2.connectedComponentsWithStats(mask, connectivity=8)[2][1:, cv2.CC_STAT_AREA]
    return bool(areas.max() >= _LEAST_COMPONENT * area)


def _longest_run(flags: Sequence[bool]) -> range:
    """The positions of the longest run of true values, the first if several are equal."""
    best, start = range(0), 0
    for position, flag in enumerate([*flags, False]):
        if not flag:
            if position - start > len(best):
                best = range(start, position)
            start = position + 1
    return best


def _measure(mask: np.ndarray) -> tuple[float, ...]:
    """Centre x, y, square root of the area, left, top, right, bottom of a mask uint8 [H, W]."""
    moments = cv2.moments(mask, binaryImage=True)
    area = moments["m00"]
    x, y, width, height = cv2.boundingRect(mask)
    centre = moments["m10"] / area, moments["m01"] / area
    return *centre, area**0.5, x, y, x + width, y + height


def _smooth(rows: np.ndarray) -> np.ndarray:
    """Columns float64 [F, …], smoothed along the frames."""
    kernel = 1, 2 * round(3 * _SMOOTHING_FRAMES) + 1
    border = {"borderType": cv2.BORDER_REPLICATE}
    return cv2.GaussianBlur(np.ascontiguousarray(rows), kernel, _SMOOTHING_FRAMES, **border)


def _soft_patch(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """RGB and coverage uint8 [h, w, 4] with soft edges, which hold no colour of the background.

    The colours of the outline and beyond are those of the object nearby.
    """
    core = cv2.erode(mask, cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3)))
    core = (core if core.any() else mask)[..., None].astype(np.float32)
    spread = (0, 0), _COLOUR_SPREAD_PIXELS
    weights = cv2.GaussianBlur(core, *spread)[..., None]
    nearby = cv2.GaussianBlur(image * core, *spread) / np.maximum(weights, 1e-4)
    colours = np.where(core > 0, image, nearby)
    blurred = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), _EDGE_BLUR_PIXELS)
    low, high = _EDGE_RANGE
    coverage = np.clip((blurred - low) / (high - low), 0, 1) * 255
    return np.rint(np.dstack((np.clip(colours, 0, 255), coverage))).astype(np.uint8)
