"""Stage 0: training samples from still images with object masks, moved so that they become clips.

Legend: T frames, H W height and width of the image, S side of the crop.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from dataset.training.augmentation import StillAugmentation
from dataset.training.cache import ImageCache
from dataset.training.geometry import (
    Rectangle,
    displace,
    draw_rotation,
    draw_spline_displacement,
    image_centre,
    mirror_matrix,
    rotation_matrix,
    scaling_matrix,
    translation_matrix,
    warp_image,
    warp_labels,
)
from dataset.training.samples import Sample, build_sample, draw_objects, draw_until_usable
from dataset.training.skipped_files import UnusableFileError
from dataset.training.still_layouts import scan_static_root
from util.errors import InputError

_ALL_OBJECTS = 255


class StillClips:
    """Samples of `frames` frames made from one still image each.

    roots: folders with images and masks (indexed ids or binary) in the layouts of still_layouts. A
    folder that is given twice counts twice; BIG and HRSOD count five times (published).
    min_object_area: share of the image that an object must cover to be drawn, and four times the
    share of the first crop; 0 (published) accepts any pixel.
    Our difference: if no such object is in the first crop, another image is drawn, since nothing
    could be segmented. The published code trains on such samples with an empty mask.
    Raises: InputError without a root, and as scan_static_root.
    """

    def __init__(
        self,
        roots: Iterable[str | Path],
        *,
        frames: int = 3,
        max_objects: int = 1,
        augmentation: StillAugmentation | None = None,
        min_object_area: float = 0.0,
        cache: ImageCache | None = None,
    ):
        self.roots = tuple(map(Path, roots))
        found = (pair for root in self.roots for pair in scan_static_root(root).pairs)
        self.pairs = [(pair.image, pair.mask) for pair in found for _ in range(pair.repeats)]
        if not self.pairs:
            raise InputError("no folder of still images given; name at least one")
        self.frames, self.max_objects, self.min_object_area = frames, max_objects, min_object_area
        self.augmentation = augmentation or StillAugmentation()
        self.cache = cache or ImageCache()

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def distinct_samples(self) -> int:
        """The number of different images."""
        return len(set(self.pairs))

    def sample(self, rng: np.random.Generator, progress: float = 0.0) -> Sample:
        """Draw one training sample, see ClipSource.sample. It does not depend on `progress`."""
        wanted = "an object in its first crop"
        if self.min_object_area:
            wanted = f"an object of at least {self.min_object_area:.1%} of it"
        return draw_until_usable(
            lambda: self._attempt(rng),
            f"images drawn from {self.pairs[0][0].parent} and other folders, none with {wanted}; "
            "check the masks",
        )

    def _attempt(self, rng: np.random.Generator) -> Sample | None:
        """One sample, or None if no object is large enough in the image and in the first crop."""
        image_path, labels_path = self.pairs[rng.integers(len(self.pairs))]
        image, labels = self.cache.pair(image_path, labels_path)
        if not labels.any():
            raise UnusableFileError(labels_path, "mask without objects", damaged=False)
        large = draw_objects(
            rng, labels, _ALL_OBJECTS, max(1, round(self.min_object_area * labels.size))
        )
        if not large:
            return None
        frames, masks = move_still(rng, image, labels, self.frames, self.augmentation)
        crop_pixels = self.augmentation.crop_size**2
        visible = draw_objects(
            rng, masks[0], _ALL_OBJECTS, max(1, round(self.min_object_area / 4 * crop_pixels))
        )
        chosen = [object_id for object_id in large if object_id in visible][: self.max_objects]
        return build_sample(frames, masks, chosen) if chosen else None


def move_still(
    rng: np.random.Generator,
    image: np.ndarray,
    labels: np.ndarray,
    frames: int,
    augmentation: StillAugmentation,
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Make a clip of `frames` frames from an image uint8 [H, W, 3] and its labels uint8 [H, W].

    Returns: frames T × uint8 [S, S, 3] and labels T × uint8 [S, S].
    """
    height, width = labels.shape
    zoom = rng.uniform(*augmentation.clip_scale)
    clip_matrix = rotation_matrix(image_centre(width, height), 0, zoom)
    if rng.random() < augmentation.flip_probability:
        clip_matrix = mirror_matrix(width) @ clip_matrix
    clip_colour = augmentation.clip_colour.draw(rng, augmentation.grey_probability)
    visible = Rectangle(0, 0, width, height)
    if not augmentation.keep_surroundings:
        visible = _central_part(width, height, zoom)
    moved_frames, moved_labels = [], []
    for _ in range(frames):
        matrix = _draw_frame_matrix(rng, height, width, augmentation) @ clip_matrix
        frame = warp_image(image, matrix, visible, augmentation.crop_size)
        mask = warp_labels(labels, matrix, visible, augmentation.crop_size)
        frame = augmentation.frame_colour.draw(rng).apply(clip_colour.apply(frame))
        if rng.random() < augmentation.bend_probability:
            displacement = draw_spline_displacement(
                rng,
                augmentation.crop_size,
                augmentation.bend_points,
                augmentation.bend_deviation,
            )
            frame, mask = displace(frame, mask, displacement)
        moved_frames.append(frame)
        moved_labels.append(mask)
    return moved_frames, moved_labels


def _draw_frame_matrix(
    rng: np.random.Generator, height: int, width: int, augmentation: StillAugmentation
) -> np.ndarray:
    """One frame's rotation about the image's centre, and its crop of the shorter side's length."""
    rotation = draw_rotation(
        rng,
        image_centre(width, height),
        augmentation.frame_rotation_degrees,
        augmentation.frame_scale,
        augmentation.frame_shear_degrees,
    )
    side = augmentation.crop_size
    fit = side / min(height, width)
    x = rng.integers(max(0, round(width * fit) - side) + 1)
    y = rng.integers(max(0, round(height * fit) - side) + 1)
    return translation_matrix(-x, -y) @ scaling_matrix(fit, fit) @ rotation


def _central_part(width: int, height: int, zoom: float) -> Rectangle:
    """The part that remains within the image's bounds when it is scaled by `zoom`.

    The published code cuts each frame to these bounds before it rotates it.
    """
    share = min(1.0, 1 / zoom)
    part_width, part_height = max(1, round(width * share)), max(1, round(height * share))
    return Rectangle(
        (width - part_width) // 2, (height - part_height) // 2, part_width, part_height
    )
