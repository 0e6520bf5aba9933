"""Stage 0: a still photograph with object masks, moved into a short clip.

Legend: T frames, H W height and width of the photograph, S side of the crop.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from dataset.training.augmentation import (
    StaticAugmentation,
    Window,
    bend,
    centre_of,
    flipping,
    scaling,
    spline_displacement,
    translation,
    turning,
    warp_image,
    warp_labels,
)
from dataset.training.cache import ImageCache
from dataset.training.samples import Sample, build_sample, draw_objects, draw_until_usable
from dataset.training.skipped_files import UnusableFileError
from dataset.training.still_layouts import scan_static_root
from util.errors import InputError


class StaticDataset:
    """Clips of `frames` frames made from photographs: each frame is the photograph under a fresh affine map, crop, colour and bending.

    roots: folders searched for images and masks (indexed ids or binary) in the layouts of dataset.static_layouts; a folder named twice counts twice,
    BIG and HRSOD five times (published). min_object_area: share of the photograph an id must cover to
    be drawn, and a quarter of it the share of the first crop; 0 (published): any pixel will do.
    Ours: where no such object is left in the first crop, another photograph is drawn, since nothing
    could be followed from there (published training takes such samples, with an empty mask).
    """

    def __init__(
        self,
        roots: Iterable[str | Path],
        *,
        frames: int = 3,
        max_objects: int = 1,
        augmentation: StaticAugmentation | None = None,
        min_object_area: float = 0.0,
        cache: ImageCache | None = None,
    ):
        self.roots = tuple(map(Path, roots))
        found = (pair for root in self.roots for pair in scan_static_root(root).pairs)
        self.pairs = [(pair.image, pair.mask) for pair in found for _ in range(pair.repeats)]
        if not self.pairs:
            raise InputError("no folder of still images given; name at least one")
        self.frames, self.max_objects, self.min_object_area = frames, max_objects, min_object_area
        self.augmentation = augmentation or StaticAugmentation()
        self.cache = cache or ImageCache()

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def distinct_samples(self) -> int:
        return len(set(self.pairs))

    def sample(self, rng: np.random.Generator, progress: float = 0.0) -> Sample:
        """One training sample; see dataset.training.build_sample.

        Raises UnusableFileError for a damaged file or a mask without objects, InputError where no photograph yields a visible object.
        """
        least = (
            f"an object of at least {self.min_object_area:.1%} of it"
            if self.min_object_area
            else "an object in its first crop"
        )
        complaint = f"photographs drawn from {self.pairs[0][0].parent} and beside, none with {least}; check the masks"
        return draw_until_usable(lambda: self._attempt(rng), complaint)

    def _attempt(self, rng: np.random.Generator) -> Sample | None:
        """None where the objects are too small, or left the first crop."""
        image_path, labels_path = self.pairs[rng.integers(len(self.pairs))]
        image, labels = self.cache.pair(image_path, labels_path)
        if not labels.any():
            raise UnusableFileError(labels_path, "mask without objects", damaged=False)
        large = draw_objects(rng, labels, 255, max(1, round(self.min_object_area * labels.size)))
        if not large:
            return None
        frames, masks = move_still(rng, image, labels, self.frames, self.augmentation)
        visible = draw_objects(
            rng,
            masks[0],
            255,
            max(1, round(self.min_object_area / 4 * self.augmentation.crop_size**2)),
        )
        chosen = [object_id for object_id in large if object_id in visible][: self.max_objects]
        return build_sample(frames, masks, chosen) if chosen else None


def move_still(
    rng: np.random.Generator,
    image: np.ndarray,
    labels: np.ndarray,
    frames: int,
    augmentation: StaticAugmentation,
) -> tuple[Sequence[np.ndarray], Sequence[np.ndarray]]:
    """A photograph uint8 [H, W, 3] and its labels [H, W] as T frames uint8 [S, S, 3] and labels [S, S]."""
    height, width = labels.shape
    side, centre = augmentation.crop_size, centre_of(width, height)
    zoom = rng.uniform(*augmentation.clip_scale)
    clip_matrix = turning(centre, 0, zoom)
    if rng.random() < augmentation.flip_probability:
        clip_matrix = flipping(width) @ clip_matrix
    clip_colour = augmentation.clip_colour.draw(rng, augmentation.grey_probability)
    window = (
        Window(0, 0, width, height)
        if augmentation.keep_surroundings
        else _central_window(width, height, zoom)
    )
    fit = side / min(height, width)
    moved_frames, moved_labels = [], []
    for _ in range(frames):
        rotation, shear = augmentation.frame_rotation_degrees, augmentation.frame_shear_degrees
        turn = turning(
            centre,
            rng.uniform(-rotation, rotation),
            rng.uniform(*augmentation.frame_scale),
            rng.uniform(-shear, shear),
        )
        corner_x, corner_y = (
            rng.integers(max(0, round(width * fit) - side) + 1),
            rng.integers(max(0, round(height * fit) - side) + 1),
        )
        matrix = translation(-corner_x, -corner_y) @ scaling(fit, fit) @ turn @ clip_matrix
        frame, mask = (
            warp_image(image, matrix, window, side),
            warp_labels(labels, matrix, window, side),
        )
        frame = augmentation.frame_colour.draw(rng).apply(clip_colour.apply(frame))
        if rng.random() < augmentation.bend_probability:
            frame, mask = bend(
                frame,
                mask,
                spline_displacement(
                    rng, side, augmentation.bend_points, augmentation.bend_deviation
                ),
            )
        moved_frames.append(frame)
        moved_labels.append(mask)
    return moved_frames, moved_labels


def _central_window(width: int, height: int, zoom: float) -> Window:
    """What stays on the canvas when an image is enlarged by `zoom` about its centre: published frames are cut to the canvas before they are turned."""
    share = min(1.0, 1 / zoom)
    seen_width, seen_height = max(1, round(width * share)), max(1, round(height * share))
    return Window((width - seen_width) // 2, (height - seen_height) // 2, seen_width, seen_height)
