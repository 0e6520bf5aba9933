"""Stages 1 to 3: short clips of annotated videos (DAVIS, YouTube-VOS, BL30K or any folders laid out like them).

Legend: T frames, H W height and width as stored, S side of the crop.
"""

import itertools
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dataset.augmentation import ClipAugmentation, Window, centre_of, draw_crop, flipping, scaling, translation, turning, warp_image, warp_labels
from dataset.image_cache import ImageCache
from dataset.image_file import MASK_SUFFIXES, list_files, read_sequence_list, size_text
from dataset.skipped_files import UnusableFileError
from dataset.training import Sample, build_sample, draw_objects, draw_until_usable
from util.errors import InputError

YOUTUBE_ANNOTATION_STEP = 5


def max_skip_at(progress: float, final_share: float = 0.1) -> int:
    """Frames that may be skipped between neighbours of a clip, when `progress` (0..1) of the training is done.

    Published curriculum: 5, from 10 % of the training 10, from 20 % 15, from 30 % 20, from 40 % 25, for the last `final_share` (0.1; stage 1: 0.2) back to 5.
    """
    if progress >= 1 - final_share:
        return 5
    return 5 + 5 * min(4, int(progress * 10 + 1e-9))


@dataclass(frozen=True)
class AnnotatedVideo:
    """The annotated frames of one video, in order. annotation_step: video frames from one to the next."""

    name: str
    images: tuple[Path, ...]
    labels: tuple[Path, ...]
    annotation_step: int


def find_videos(root: Path) -> list[AnnotatedVideo]:
    """The training videos under `root`, by name. Frames without a mask are left out.

    root: of DAVIS (ROOT or ROOT/trainval with JPEGImages/480p, Annotations/480p and ImageSets/2017/train.txt), of YouTube-VOS (ROOT, ROOT/train or
    ROOT/train_480p with JPEGImages and Annotations, frames numbered in fives), or any folder with JPEGImages/VIDEO and Annotations/VIDEO.
    Raises InputError where there is no such layout or a mask has no frame.
    """
    for base in (root / "trainval", root):
        if (base / "Annotations" / "480p").is_dir():
            names = _training_names(base / "ImageSets") or _folders(base / "Annotations" / "480p")
            return [_read_video(base / "JPEGImages" / "480p" / name, base / "Annotations" / "480p" / name) for name in names]
    for base in (root / "train_480p", root / "train", root):
        if (base / "Annotations").is_dir():
            return [_read_video(base / "JPEGImages" / name, base / "Annotations" / name) for name in _folders(base / "Annotations")]
    raise InputError(f"{root}: no JPEGImages and Annotations found; give the root of DAVIS, YouTube-VOS or a folder laid out like them")


def _training_names(lists: Path) -> list[str]:
    """The sequences of the training split by the lists of DAVIS 2017 or 2016; none where there is no folder of lists."""
    for name in ("2017/train.txt", "2016/train.txt", "480p/train.txt"):
        if (lists / name).is_file():
            return read_sequence_list(lists / name)
    if lists.is_dir():
        raise InputError(f"{lists}: no 2017/train.txt, 2016/train.txt or 480p/train.txt, so it cannot be told which sequences are for training; add a list or remove the folder")
    return []


def _folders(parent: Path) -> list[str]:
    return sorted(path.name for path in parent.iterdir() if path.is_dir() and not path.name.startswith("."))


def _read_video(images: Path, annotations: Path) -> AnnotatedVideo:
    if not images.is_dir() or not annotations.is_dir():
        raise InputError(f"{images if annotations.is_dir() else annotations}: folder is missing; every training video needs its frames and its masks")
    by_name = {path.stem: path for path in list_files(images)}
    labels = list_files(annotations, MASK_SUFFIXES)
    missing = [path for path in labels if path.stem not in by_name]
    if missing:
        raise InputError(f"{missing[0]}: no frame of this name in {images}; add it or remove the mask")
    return AnnotatedVideo(annotations.name, tuple(by_name[path.stem] for path in labels), tuple(labels), _annotation_step([path.stem for path in labels]))


def _annotation_step(names: list[str]) -> int:
    """5 where frames are numbered as YouTube-VOS numbers its annotated ones (00000, 00005, ...), else 1: other gaps say nothing of time."""
    numbers = [int(name) for name in names if name.isdecimal()]
    gaps = [later - earlier for earlier, later in itertools.pairwise(numbers)]
    return YOUTUBE_ANNOTATION_STEP if gaps and min(gaps) == YOUTUBE_ANNOTATION_STEP else 1


class VideoClipDataset:
    """Clips of `frames` annotated frames in order (reversed half the time), the same crop for all, slightly turned each.

    roots: see find_videos; a root named twice counts twice (published: DAVIS five times beside YouTube-VOS). subset: names of the videos to use, None for all;
    exclude: names to leave out. max_skip: frames that may be skipped between neighbours, a number or a function of progress; neighbours are 1..max_skip + 1
    frames apart, counted in annotated frames (max_skip // annotation step) where not every frame is annotated, and less in short videos.
    min_object_pixels: an object is drawn only if it covers as many pixels of the first crop. Videos with fewer than `frames` annotated frames are left out.
    Raises InputError for unknown names in `subset`, and where no video remains.
    """

    def __init__(
        self,
        roots: Iterable[str | Path],
        *,
        frames: int = 3,
        max_objects: int = 2,
        augmentation: ClipAugmentation | None = None,
        max_skip: int | Callable[[float], int] = max_skip_at,
        subset: Collection[str] | None = None,
        exclude: Collection[str] = (),
        min_object_pixels: int = 1,
        cache: ImageCache | None = None,
    ):
        found = [video for root in roots for video in find_videos(Path(root))]
        unknown = sorted(set(subset or ()) - {video.name for video in found})
        if unknown:
            raise InputError(f"{unknown[0]}: named in the subset but not among the {len(found)} training videos; correct the list")
        self.videos = [v for v in found if (subset is None or v.name in subset) and v.name not in exclude and len(v.labels) >= frames]
        if not self.videos:
            raise InputError(
                f"no training video with {frames} annotated frames among the {len(found)} found; check the roots, the subset and the excluded names"
            )
        self.frames, self.max_objects, self.min_object_pixels = frames, max_objects, min_object_pixels
        self.augmentation = augmentation or ClipAugmentation()
        self.max_skip = max_skip
        self.cache = cache or ImageCache()

    def __len__(self) -> int:
        return len(self.videos)

    @property
    def distinct_samples(self) -> int:
        return sum(len(video.labels) - self.frames + 1 for video in set(self.videos))

    def sample(self, rng: np.random.Generator, progress: float = 0.0) -> Sample:
        """One training sample; see dataset.training.build_sample.

        Raises UnusableFileError for a damaged file or a first mask without objects, InputError where no clip shows an object in its first crop.
        """
        max_skip = self.max_skip(progress) if callable(self.max_skip) else self.max_skip
        complaint = f"clips drawn from {self.videos[0].labels[0].parent.parent} and beside, none with an object in its first crop; check the masks"
        return draw_until_usable(lambda: self._attempt(rng, max_skip), complaint)

    def _attempt(self, rng: np.random.Generator, max_skip: int) -> Sample | None:
        """None where no object is large enough in the first crop."""
        video = self.videos[rng.integers(len(self.videos))]
        indices = draw_frame_indices(rng, len(video.labels), self.frames, max_skip // video.annotation_step)
        pairs = [self.cache.pair(video.images[index], video.labels[index]) for index in indices]
        self._check_sizes(pairs, [video.images[index] for index in indices])
        if not pairs[0][1].any():
            raise UnusableFileError(video.labels[indices[0]], "mask without objects", damaged=False)
        frames, labels = augment_clip(rng, pairs, self.augmentation)
        chosen = draw_objects(rng, labels[0], self.max_objects, self.min_object_pixels)
        return build_sample(frames, labels, chosen) if chosen else None

    @staticmethod
    def _check_sizes(pairs: Sequence[tuple[np.ndarray, np.ndarray]], paths: Sequence[Path]) -> None:
        """The frames of a clip share one crop, so they must share their size."""
        first = pairs[0][1].shape
        for (_, labels), path in zip(pairs, paths, strict=True):
            if labels.shape != first:
                found = f"{size_text(labels.shape)} in a video with frames of {size_text(first)}, such as {paths[0].name}"
                raise UnusableFileError(path, f"{found}; all frames of a video must have one size")


def draw_frame_indices(rng: np.random.Generator, length: int, frames: int, max_skip: int) -> list[int]:
    """`frames` indices below `length`, neighbours 1..max_skip + 1 apart (less where the video is too short for that), descending half the time."""
    widest = max(1, min(max_skip + 1, (length - 1) // max(frames - 1, 1)))
    offsets = np.concatenate(([0], np.cumsum(rng.integers(1, widest + 1, frames - 1))))
    indices = offsets + rng.integers(length - offsets[-1])
    return [int(index) for index in (indices[::-1] if rng.random() < 0.5 else indices)]


def augment_clip(
    rng: np.random.Generator, pairs: list[tuple[np.ndarray, np.ndarray]], augmentation: ClipAugmentation
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """T images uint8 [H, W, 3] with labels uint8 [H, W], all of one size, as frames uint8 [S, S, 3] and labels uint8 [S, S]."""
    height, width = pairs[0][1].shape
    side = augmentation.crop_size
    crop = draw_crop(rng, height, width, augmentation.crop_area, augmentation.crop_aspect)
    clip_matrix = scaling(side / crop.width, side / crop.height) @ translation(-crop.x, -crop.y)
    if rng.random() < augmentation.flip_probability:
        clip_matrix = flipping(side) @ clip_matrix
    clip_colour = augmentation.clip_colour.draw(rng, augmentation.grey_probability)
    window = Window(0, 0, width, height) if augmentation.keep_surroundings else crop
    frames, labels = [], []
    for image, mask in pairs:
        rotation, shear = augmentation.frame_rotation_degrees, augmentation.frame_shear_degrees
        turn = turning(centre_of(side, side), rng.uniform(-rotation, rotation), rng.uniform(*augmentation.frame_scale), rng.uniform(-shear, shear))
        frame = warp_image(image, turn @ clip_matrix, window, side)
        frames.append(augmentation.frame_colour.draw(rng).apply(clip_colour.apply(frame)))
        labels.append(warp_labels(mask, turn @ clip_matrix, window, side))
    return frames, labels
