"""Objects cut out of annotated images, and whole images as backgrounds, for synthetic clips.

Legend: P side of a square patch, H W height and width as stored.
"""

from pathlib import Path

import cv2
import numpy as np

from dataset.label_map import present_ids
from dataset.training.cache import ImageCache
from dataset.training.geometry import Rectangle
from dataset.training.samples import draw_until_usable
from dataset.training.stills import StillClips
from dataset.training.video_clips import VideoClips

PATCH_FILL = 0.9
"""Share of a patch's side that its object's longer side takes; the margin leaves room to bend."""
MAX_ENLARGEMENT = 2.0
AREA_SHARE = (0.004, 0.5)
"""Range of an object's share of its image. Outside it are specks, and regions of background."""
_MIN_BOX_FILL = 0.2
_MIN_BOX_PIXELS = 8
_MIN_PATCH_PIXELS = 16
_MIN_ERODED_PATCH_PIXELS = 48


class CutoutBank:
    """Objects and backgrounds of still images and video frames.

    still_share: probability of drawing from the still images if both kinds are given.
    Raises: ValueError if neither is given.
    """

    def __init__(
        self,
        stills: StillClips | None = None,
        clips: VideoClips | None = None,
        *,
        still_share: float = 0.7,
        cache: ImageCache | None = None,
    ):
        if stills is None and clips is None:
            raise ValueError("a bank of cut-outs needs still images or clips")
        self.stills, self.clips, self.still_share = stills, clips, still_share
        self.cache = cache or (stills or clips).cache

    def draw_background(self, rng: np.random.Generator) -> np.ndarray:
        """Draw a whole image, RGB uint8 [H, W, 3], read-only.

        Raises: UnusableFileError for a damaged file.
        """
        return self.cache.image(self._draw_pair(rng)[0])

    def draw_cutout(self, rng: np.random.Generator, side: int) -> np.ndarray:
        """Draw an object on a square patch: uint8 [P, P, 4], RGB and coverage with soft edges.

        P is `side`, less for small objects.
        Raises: UnusableFileError for a damaged file; InputError if no image holds an object that
        can be cut out.
        """
        return draw_until_usable(
            lambda: self._attempt(rng, side),
            "masks of the training data drawn, none with an object that can be cut out; check the "
            "masks",
        )

    def _attempt(self, rng: np.random.Generator, side: int) -> np.ndarray | None:
        image, labels = self.cache.pair(*self._draw_pair(rng))
        ids = present_ids(labels)
        if not ids:
            return None
        mask = (labels == rng.choice(ids)).astype(np.uint8)
        box = Rectangle(*cv2.boundingRect(mask))
        if not _is_suitable(mask, box):
            return None
        return cut_out(image, mask, box, side, mirrored=bool(rng.random() < 0.5))

    def _draw_pair(self, rng: np.random.Generator) -> tuple[Path, Path]:
        if self.clips is None or (self.stills is not None and rng.random() < self.still_share):
            return self.stills.pairs[rng.integers(len(self.stills.pairs))]
        video = self.clips.videos[rng.integers(len(self.clips.videos))]
        return video.pair(rng.integers(len(video)))


def _is_suitable(mask: np.ndarray, box: Rectangle) -> bool:
    """Whether a mask (0 or 1) looks like a whole object of a sensible size."""
    height, width = mask.shape
    area = cv2.countNonZero(mask)
    touched_sides = (
        (box.x == 0) + (box.y == 0) + (box.x + box.width == width) + (box.y + box.height == height)
    )
    return (
        AREA_SHARE[0] <= area / mask.size <= AREA_SHARE[1]
        and area >= _MIN_BOX_FILL * box.width * box.height
        and min(box.width, box.height) >= _MIN_BOX_PIXELS
        and touched_sides < 2
    )


def cut_out(
    image: np.ndarray, mask: np.ndarray, box: Rectangle, side: int, mirrored: bool
) -> np.ndarray:
    """Cut an object out of an image RGB uint8 [H, W, 3].

    mask: of the object, 0 or 1, uint8 [H, W]. box: around it. side: of the patch; the patch is
    smaller if the object would be enlarged more than MAX_ENLARGEMENT times.
    Returns: uint8 [P, P, 4], RGB and coverage.
    """
    longer = max(box.width, box.height)
    largest_side = round(min(side, longer * MAX_ENLARGEMENT / PATCH_FILL))
    side = max(_MIN_PATCH_PIXELS, largest_side)
    scale = side * PATCH_FILL / longer
    size = max(1, round(box.width * scale)), max(1, round(box.height * scale))
    part = np.s_[box.y : box.y + box.height, box.x : box.x + box.width]
    image_interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    colours = cv2.resize(np.ascontiguousarray(image[part]), size, interpolation=image_interpolation)
    mask_interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    coverage = cv2.resize(mask[part] * np.uint8(255), size, interpolation=mask_interpolation)
    left, top = (side - size[0]) // 2, (side - size[1]) // 2
    margins = top, side - size[1] - top, left, side - size[0] - left
    patch = np.empty((side, side, 4), np.uint8)
    patch[..., :3] = cv2.copyMakeBorder(colours, *margins, cv2.BORDER_REPLICATE)
    coverage = cv2.copyMakeBorder(coverage, *margins, cv2.BORDER_CONSTANT, value=0)
    if side >= _MIN_ERODED_PATCH_PIXELS:  # the outermost pixels contain some of the background
        coverage = cv2.erode(coverage, cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3)))
    patch[..., 3] = cv2.GaussianBlur(coverage, (3, 3), 0)
    return patch[:, ::-1].copy() if mirrored else patch
