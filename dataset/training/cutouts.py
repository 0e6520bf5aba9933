"""Real objects cut out of annotated images, and real images as backgrounds, for synthetic clips.

Legend: P side of a square patch, H W height and width as stored.
"""

from pathlib import Path

import cv2
import numpy as np

from dataset.label_map import present_ids
from dataset.training.cache import ImageCache
from dataset.training.samples import draw_until_usable
from dataset.training.stills import StaticDataset
from dataset.training.video_clips import VideoClipDataset

PATCH_FILL = 0.9
"""Share of a patch's side that the longer side of its object takes: the rest is room for bending."""
MAX_ENLARGEMENT = 2.0
AREA_SHARE = (0.004, 0.5)
"""Objects of less or more of their image are not cut out: specks, and regions that are the background."""


class CutoutBank:
    """Objects and backgrounds of still images and video frames. still_share: how many of them come from the still images where both kinds are given."""

    def __init__(
        self,
        stills: StaticDataset | None = None,
        clips: VideoClipDataset | None = None,
        *,
        still_share: float = 0.7,
        cache: ImageCache | None = None,
    ):
        if stills is None and clips is None:
            raise ValueError("a bank of cut-outs needs still images or clips")
        self.stills, self.clips, self.still_share = stills, clips, still_share
        self.cache = cache or (stills or clips).cache

    def draw_background(self, rng: np.random.Generator) -> np.ndarray:
        """A whole image, uint8 RGB [H, W, 3], not to be written to."""
        return self.cache.image(self._draw_pair(rng)[0])

    def draw_cutout(self, rng: np.random.Generator, side: int) -> np.ndarray:
        """An object on a square patch: uint8 [P, P, 4], RGB and coverage with a soft edge. P is `side`, less for small objects.

        Raises UnusableFileError for a damaged file, InputError where the images hold no object worth cutting out.
        """
        return draw_until_usable(
            lambda: self._attempt(rng, side),
            "masks of the training data drawn, none with an object worth cutting out; check the masks",
        )

    def _attempt(self, rng: np.random.Generator, side: int) -> np.ndarray | None:
        image, labels = self.cache.pair(*self._draw_pair(rng))
        ids = present_ids(labels)
        if not ids:
            return None
        mask = (labels == rng.choice(ids)).astype(np.uint8)
        box = cv2.boundingRect(mask)
        return (
            cut_out(image, mask, box, side, mirrored=bool(rng.random() < 0.5))
            if _worth_cutting(mask, box)
            else None
        )

    def _draw_pair(self, rng: np.random.Generator) -> tuple[Path, Path]:
        if self.clips is None or (self.stills is not None and rng.random() < self.still_share):
            return self.stills.pairs[rng.integers(len(self.stills.pairs))]
        video = self.clips.videos[rng.integers(len(self.clips.videos))]
        return video.pair(rng.integers(len(video)))


def _worth_cutting(mask: np.ndarray, box: tuple[int, int, int, int]) -> bool:
    height, width = mask.shape
    x, y, box_width, box_height = box
    area = cv2.countNonZero(mask)
    touched_sides = (x == 0) + (y == 0) + (x + box_width == width) + (y + box_height == height)
    return (
        AREA_SHARE[0] <= area / mask.size <= AREA_SHARE[1]
        and area >= 0.2 * box_width * box_height
        and min(box_width, box_height) >= 8
        and touched_sides < 2
    )


def cut_out(
    image: np.ndarray, mask: np.ndarray, box: tuple[int, int, int, int], side: int, mirrored: bool
) -> np.ndarray:
    """The object `mask` (0 or 1, [H, W]) within `box` (x, y, width, height) as a patch uint8 [P, P, 4] of RGB and coverage."""
    x, y, width, height = box
    side = max(16, round(min(side, max(width, height) * MAX_ENLARGEMENT / PATCH_FILL)))
    scale = side * PATCH_FILL / max(width, height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    colours = cv2.resize(
        np.ascontiguousarray(image[y : y + height, x : x + width]),
        size,
        interpolation=interpolation,
    )
    coverage = cv2.resize(
        mask[y : y + height, x : x + width] * np.uint8(255),
        size,
        interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR,
    )
    left, top = (side - size[0]) // 2, (side - size[1]) // 2
    margins = top, side - size[1] - top, left, side - size[0] - left
    patch = np.empty((side, side, 4), np.uint8)
    patch[..., :3] = cv2.copyMakeBorder(colours, *margins, cv2.BORDER_REPLICATE)
    coverage = cv2.copyMakeBorder(coverage, *margins, cv2.BORDER_CONSTANT, value=0)
    if side >= 48:  # the outermost pixels hold some of the old background
        coverage = cv2.erode(coverage, cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3)))
    patch[..., 3] = cv2.GaussianBlur(coverage, (3, 3), 0)
    return patch[:, ::-1].copy() if mirrored else patch
