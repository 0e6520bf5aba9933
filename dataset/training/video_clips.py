"""Stages 1 to 3: training samples from short clips of annotated videos.

Legend: T frames, H W height and width as stored, S side of the crop.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dataset.image_file import size_text
from dataset.training.augmentation import ClipAugmentation
from dataset.training.cache import ImageCache
from dataset.training.frame_choice import draw_frame_indices, max_skip_at
from dataset.training.geometry import (
    Rectangle,
    draw_crop,
    draw_rotation,
    image_centre,
    mirror_matrix,
    scaling_matrix,
    translation_matrix,
    warp_image,
    warp_labels,
)
from dataset.training.samples import Sample, build_sample, draw_objects, draw_until_usable
from dataset.training.skipped_files import UnusableFileError
from dataset.training.video_layouts import AnnotatedVideo
from util.errors import InputError

TINY_PIXELS = 10 * 10
SMALL_PIXELS = 30 * 30
ALWAYS_SMALL_PIXELS = 20 * 20


@dataclass(frozen=True, kw_only=True)
class VideoClipConfig:
    """What samples of video clips are like, apart from their augmentation.

    clip_frames: frames predicted together, see draw_frame_indices. max_skip: the largest skip, or a
    function that gives it for a progress of the training in 0..1. min_object_pixels: pixels of the
    first crop that an object must cover to be drawn. skip_tiny_objects: leave out the objects that
    find_tiny_objects names.
    """

    frames: int = 3
    clip_frames: int = 1
    max_objects: int = 2
    max_skip: int | Callable[[float], int] = max_skip_at
    min_object_pixels: int = 1
    skip_tiny_objects: bool = False

    def largest_skip(self, progress: float) -> int:
        """The largest skip at a progress of the training in 0..1."""
        return self.max_skip(progress) if callable(self.max_skip) else self.max_skip


class VideoClips:
    """Samples of neighbouring annotated frames of a video, in order, reversed half the time.

    videos: one that is listed twice counts twice (published: DAVIS five times beside YouTube-VOS);
    those with too few annotated frames for a sample are left out.
    Raises: InputError if no video remains.
    """

    def __init__(
        self,
        videos: Iterable[AnnotatedVideo],
        config: VideoClipConfig | None = None,
        *,
        augmentation: ClipAugmentation | None = None,
        cache: ImageCache | None = None,
    ):
        self.config = config or VideoClipConfig()
        self.augmentation = augmentation or ClipAugmentation()
        self.cache = cache or ImageCache()
        videos = list(videos)
        self.videos = [video for video in videos if len(video) >= self.config.frames]
        if not self.videos:
            raise InputError(
                f"no training video with {self.config.frames} annotated frames among the "
                f"{len(videos)} chosen; check the roots, the subset and the excluded names"
            )

    def __len__(self) -> int:
        return len(self.videos)

    @property
    def distinct_samples(self) -> int:
        """The number of different first frames that clips can start with."""
        return sum(len(video) - self.config.frames + 1 for video in set(self.videos))

    def sample(self, rng: np.random.Generator, progress: float = 0.0) -> Sample:
        """Draw one training sample, see ClipSource.sample."""
        max_skip = self.config.largest_skip(progress)
        return draw_until_usable(
            lambda: self._attempt(rng, max_skip),
            f"clips drawn from {self.videos[0].label_folder.parent} and other folders, none with "
            "an object in its first crop; check the masks",
        )

    def _attempt(self, rng: np.random.Generator, max_skip: int) -> Sample | None:
        """One sample, or None if no object is large enough in the first crop."""
        video = self.videos[rng.integers(len(self.videos))]
        indices = draw_frame_indices(
            rng,
            len(video),
            self.config.frames,
            max_skip,
            clip_frames=self.config.clip_frames,
            annotation_step=video.annotation_step,
        )
        paths = [video.pair(index) for index in indices]
        pairs = [self.cache.pair(*pair) for pair in paths]
        _check_sizes(pairs, [image for image, _ in paths])
        if not pairs[0][1].any():
            raise UnusableFileError(paths[0][1], "mask without objects", damaged=False)
        frames, labels = augment_clip(rng, pairs, self.augmentation)
        chosen = draw_objects(
            rng,
            labels[0],
            self.config.max_objects,
            self.config.min_object_pixels,
            leave_out=find_tiny_objects(labels) if self.config.skip_tiny_objects else (),
        )
        return build_sample(frames, labels, chosen) if chosen else None


def _check_sizes(pairs: Sequence[tuple[np.ndarray, np.ndarray]], paths: Sequence[Path]) -> None:
    """Refuse frames of different sizes, since the frames of a clip share one crop."""
    first = pairs[0][1].shape
    for (_, labels), path in zip(pairs, paths, strict=True):
        if labels.shape != first:
            raise UnusableFileError(
                path,
                f"{size_text(labels.shape)} in a video with frames of {size_text(first)}, such as "
                f"{paths[0].name}; all frames of a video must have one size",
            )


def find_tiny_objects(labels: Sequence[np.ndarray]) -> list[int]:
    """Ids of objects that are too small in the first frame to be learned from (BL30K, published).

    labels: T × uint8 [S, S].
    Returns: objects of at most TINY_PIXELS in the first frame, and objects of at most SMALL_PIXELS
    that reach ALWAYS_SMALL_PIXELS in a later frame: the first frame shows too little of an object
    that grows, while one that stays small is worth learning.
    """
    areas = np.stack([np.bincount(frame.ravel(), minlength=256) for frame in labels])
    grows = (areas[1:] >= ALWAYS_SMALL_PIXELS).any(0)
    too_small = (areas[0] <= TINY_PIXELS) | ((areas[0] <= SMALL_PIXELS) & grows)
    return [int(object_id) for object_id in np.flatnonzero(too_small & (areas[0] > 0)) if object_id]


def augment_clip(
    rng: np.random.Generator,
    pairs: Sequence[tuple[np.ndarray, np.ndarray]],
    augmentation: ClipAugmentation,
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Crop and augment a clip.

    pairs: T images uint8 [H, W, 3] with labels uint8 [H, W], all of one size.
    Returns: frames T × uint8 [S, S, 3] and labels T × uint8 [S, S].
    """
    height, width = pairs[0][1].shape
    side = augmentation.crop_size
    crop = draw_crop(rng, height, width, augmentation.crop_area, augmentation.crop_aspect)
    clip_matrix = scaling_matrix(side / crop.width, side / crop.height)
    clip_matrix = clip_matrix @ translation_matrix(-crop.x, -crop.y)
    if rng.random() < augmentation.flip_probability:
        clip_matrix = mirror_matrix(side) @ clip_matrix
    clip_colour = augmentation.clip_colour.draw(rng, augmentation.grey_probability)
    visible = Rectangle(0, 0, width, height) if augmentation.keep_surroundings else crop
    frames, labels = [], []
    for image, mask in pairs:
        rotation = draw_rotation(
            rng,
            image_centre(side, side),
            augmentation.frame_rotation_degrees,
            augmentation.frame_scale,
            augmentation.frame_shear_degrees,
        )
        frame = warp_image(image, rotation @ clip_matrix, visible, side)
        frames.append(augmentation.frame_colour.draw(rng).apply(clip_colour.apply(frame)))
        labels.append(warp_labels(mask, rotation @ clip_matrix, visible, side))
    return frames, labels
