"""Stages 1 to 3: short clips of annotated videos (DAVIS, YouTube-VOS, BL30K or any folders laid out like them).

Legend: T frames, H W height and width as stored, S side of the crop.
"""

import itertools
from collections.abc import Callable, Collection, Container, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dataset.folders import IMAGE_SUFFIXES, MASK_SUFFIXES, list_files, list_folders
from dataset.image_file import size_text
from dataset.layout import read_sequence_list
from dataset.training.augmentation import (
    ClipAugmentation,
    Window,
    centre_of,
    draw_crop,
    flipping,
    scaling,
    translation,
    turning,
    warp_image,
    warp_labels,
)
from dataset.training.cache import ImageCache
from dataset.training.samples import Sample, build_sample, draw_objects, draw_until_usable
from dataset.training.skipped_files import UnusableFileError
from util.errors import InputError
from util.text import counted

YOUTUBE_ANNOTATION_STEP = 5
CLIP_MAX_GAP = 5  # frames from one to the next inside a clip that is predicted together (PCVOS, per-clip training)
TINY_PIXELS, SMALL_PIXELS, ALWAYS_SMALL_PIXELS = 10 * 10, 30 * 30, 20 * 20  # of an object in a crop


def max_skip_at(progress: float, final_share: float = 0.1, largest: int = 25) -> int:
    """Frames that may be skipped between neighbours of a sample, when `progress` (0..1) of the training is done.

    Published curriculum: 5, from 10 % of the training 10, from 20 % 15, from 30 % 20, from 40 % 25, for the last `final_share` (0.1; stage 1: 0.2) back to 5.
    """
    if progress >= 1 - final_share:
        return 5
    return min(5 + 5 * int(progress * 10 + 1e-9), largest)


def max_skip_between_clips_at(progress: float, final_share: float = 0.1) -> int:
    """The same where frames are predicted in clips: from one clip to the next at most 5 frames, then 10, then 15, in the end 5 again (PCVOS, per-clip
    training; when each begins is ours, as in the other stages)."""
    return max_skip_at(progress, final_share, largest=15) - 1


EXPECTED_VIDEOS = (
    "ROOT/JPEGImages/480p/VIDEO/NAME.jpg and ROOT/Annotations/480p/VIDEO/NAME.png (DAVIS, also in ROOT/trainval), "
    "or ROOT/JPEGImages/VIDEO/NAME.jpg and ROOT/Annotations/VIDEO/NAME.png (BL30K, your own; YouTube-VOS, also in ROOT/train_480p or ROOT/train)"
)


@dataclass(frozen=True, kw_only=True)
class VideoLayout:
    """Where a root keeps its videos. names: of the training videos, sorted or in the order of their list; list_file: that list, where there is one."""

    images: Path
    labels: Path
    names: tuple[str, ...]
    list_file: Path | None = None


def find_layout(root: Path) -> VideoLayout:
    """How a root lays out its training videos.

    root: of DAVIS (ROOT or ROOT/trainval with JPEGImages/480p, Annotations/480p and ImageSets/2017/train.txt), of YouTube-VOS (ROOT, ROOT/train or
    ROOT/train_480p with JPEGImages and Annotations, frames numbered in fives), or any folder with JPEGImages/VIDEO and Annotations/VIDEO.
    Raises InputError, with the trees expected, where there is no such layout or no video in it.
    """
    for base, below in (
        (root / "trainval", "480p"),
        (root, "480p"),
        (root / "train_480p", ""),
        (root / "train", ""),
        (root, ""),
    ):
        images, labels = base / "JPEGImages" / below, base / "Annotations" / below
        if labels.is_dir():
            list_file = _training_list(base / "ImageSets") if below else None
            names = read_sequence_list(list_file) if list_file else list_folders(labels)
            if not names:
                raise InputError(
                    f"{list_file or labels}: no training video; expected {EXPECTED_VIDEOS}"
                )
            return VideoLayout(
                images=images, labels=labels, names=tuple(names), list_file=list_file
            )
    finding = (
        "no JPEGImages and Annotations found"
        if root.is_dir()
        else "not a folder"
        if root.exists()
        else "no such folder"
    )
    raise InputError(f"{root}: {finding}; expected {EXPECTED_VIDEOS}")


def _training_list(lists: Path) -> Path | None:
    """The list of the training split of DAVIS 2017 or 2016; none where there is no folder of lists."""
    for name in ("2017/train.txt", "2016/train.txt", "480p/train.txt"):
        if (lists / name).is_file():
            return lists / name
    if lists.is_dir():
        raise InputError(
            f"{lists}: no 2017/train.txt, 2016/train.txt or 480p/train.txt, so it cannot be told which sequences are for training; add a list or remove the folder"
        )
    return None


@dataclass(frozen=True, kw_only=True)
class AnnotatedVideo:
    """The annotated frames of one video, in order, as file names: BL30K has ten million files. annotation_step: video frames from one to the next."""

    name: str
    image_folder: Path
    label_folder: Path
    image_names: tuple[str, ...]
    label_names: tuple[str, ...]
    annotation_step: int

    def __len__(self) -> int:
        return len(self.label_names)

    def pair(self, index: int) -> tuple[Path, Path]:
        """An annotated frame's image and mask."""
        return self.image_folder / self.image_names[index], self.label_folder / self.label_names[
            index
        ]


def find_videos(root: Path) -> list[AnnotatedVideo]:
    """The training videos under `root`, see find_layout. Frames without a mask are left out. Raises InputError where a folder is missing or a mask has no frame."""
    layout = find_layout(root)
    shared: dict[
        tuple[str, ...], tuple[str, ...]
    ] = {}  # videos number their frames alike: one tuple serves them all
    return [
        _read_video(layout.images / name, layout.labels / name, shared) for name in layout.names
    ]


def find_all_videos(roots: Iterable[str | Path]) -> list[AnnotatedVideo]:
    """The training videos of several roots; a root named twice counts twice."""
    roots = [Path(root) for root in roots]
    found = {root: find_videos(root) for root in dict.fromkeys(roots)}
    return [video for root in roots for video in found[root]]


def choose_videos(
    videos: Iterable[AnnotatedVideo], subset: Collection[str] | None, exclude: Collection[str]
) -> list[AnnotatedVideo]:
    """Those named in `subset` (None: all) and not in `exclude`."""
    return [
        video
        for video in videos
        if (subset is None or video.name in subset) and video.name not in exclude
    ]


def _read_video(
    images: Path, annotations: Path, shared: dict[tuple[str, ...], tuple[str, ...]]
) -> AnnotatedVideo:
    if not images.is_dir() or not annotations.is_dir():
        raise InputError(
            f"{images if annotations.is_dir() else annotations}: folder is missing; every training video needs its frames and its masks"
        )
    by_stem = {path.stem: path for path in list_files(images)}
    labels = list_files(annotations, MASK_SUFFIXES)
    missing = [path for path in labels if path.stem not in by_stem]
    if missing:
        raise InputError(
            f"{missing[0]}: no frame of this name in {images}; add it or remove the mask"
        )
    if lost := masks_of_other_kinds(annotations, labels, by_stem):
        found = f"{counted(len(lost), 'mask')} of frames that {'is' if len(lost) == 1 else 'are'} no PNG"
        raise InputError(
            f"{lost[0]}: {found}; training reads PNG masks alone, since JPEG blurs object ids: save as indexed PNG, or remove"
        )
    image_names, label_names = (
        tuple(path.name for path in paths)
        for paths in ([by_stem[path.stem] for path in labels], labels)
    )
    return AnnotatedVideo(
        name=annotations.name,
        image_folder=images,
        label_folder=annotations,
        image_names=shared.setdefault(image_names, image_names),
        label_names=shared.setdefault(label_names, label_names),
        annotation_step=_annotation_step([path.stem for path in labels]),
    )


def masks_of_other_kinds(
    annotations: Path, labels: Iterable[Path], stems: Container[str]
) -> list[Path]:
    """Images that are named as frames (`stems`) are, but are no PNGs, of frames that have none among `labels`: reading PNGs alone would leave them out in silence."""
    known = {path.stem for path in labels}
    others = (
        path
        for path in annotations.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
    )
    return sorted(
        path
        for path in others
        if path.suffix.lower() not in MASK_SUFFIXES
        and path.stem in stems
        and path.stem not in known
    )


def _annotation_step(names: list[str]) -> int:
    """5 where frames are numbered as YouTube-VOS numbers its annotated ones (00000, 00005, ...), else 1: other gaps say nothing of time."""
    numbers = [int(name) for name in names if name.isdecimal()]
    gaps = [later - earlier for earlier, later in itertools.pairwise(numbers)]
    return YOUTUBE_ANNOTATION_STEP if gaps and min(gaps) == YOUTUBE_ANNOTATION_STEP else 1


class VideoClipDataset:
    """Clips of `frames` annotated frames in order (reversed half the time), the same crop for all, slightly turned each.

    videos: one that is listed twice counts twice (published: DAVIS five times beside YouTube-VOS); those with fewer than `frames` annotated frames are left
    out. max_skip: frames that may be skipped between neighbours, a number or a function of progress; neighbours are 1..max_skip + 1 frames apart,
    counted in annotated frames (max_skip // annotation step) where not every frame is annotated, and less in short videos and inside clips of `clip_frames`
    frames that are predicted together (see draw_frame_indices).
    min_object_pixels: an object is drawn only if it covers as many pixels of the first crop. skip_tiny_objects: see tiny_objects.
    Raises InputError where no video remains.
    """

    def __init__(
        self,
        videos: Iterable[AnnotatedVideo],
        *,
        frames: int = 3,
        clip_frames: int = 1,
        max_objects: int = 2,
        augmentation: ClipAugmentation | None = None,
        max_skip: int | Callable[[float], int] = max_skip_at,
        min_object_pixels: int = 1,
        skip_tiny_objects: bool = False,
        cache: ImageCache | None = None,
    ):
        videos = list(videos)
        self.videos = [video for video in videos if len(video) >= frames]
        if not self.videos:
            raise InputError(
                f"no training video with {frames} annotated frames among the {len(videos)} chosen; check the roots, the subset and the excluded names"
            )
        self.skip_tiny_objects = skip_tiny_objects
        self.frames, self.clip_frames = frames, clip_frames
        self.max_objects, self.min_object_pixels = max_objects, min_object_pixels
        self.augmentation = augmentation or ClipAugmentation()
        self.max_skip = max_skip
        self.cache = cache or ImageCache()

    def __len__(self) -> int:
        return len(self.videos)

    @property
    def distinct_samples(self) -> int:
        return sum(len(video) - self.frames + 1 for video in set(self.videos))

    def sample(self, rng: np.random.Generator, progress: float = 0.0) -> Sample:
        """One training sample; see dataset.training.build_sample.

        Raises UnusableFileError for a damaged file or a first mask without objects, InputError where no clip shows an object in its first crop.
        """
        max_skip = self.max_skip(progress) if callable(self.max_skip) else self.max_skip
        complaint = f"clips drawn from {self.videos[0].label_folder.parent} and beside, none with an object in its first crop; check the masks"
        return draw_until_usable(lambda: self._attempt(rng, max_skip), complaint)

    def _attempt(self, rng: np.random.Generator, max_skip: int) -> Sample | None:
        """None where no object is large enough in the first crop."""
        video = self.videos[rng.integers(len(self.videos))]
        indices = draw_frame_indices(
            rng,
            len(video),
            self.frames,
            max_skip,
            clip_frames=self.clip_frames,
            annotation_step=video.annotation_step,
        )
        paths = [video.pair(index) for index in indices]
        pairs = [self.cache.pair(*pair) for pair in paths]
        self._check_sizes(pairs, [image for image, _ in paths])
        if not pairs[0][1].any():
            raise UnusableFileError(paths[0][1], "mask without objects", damaged=False)
        frames, labels = augment_clip(rng, pairs, self.augmentation)
        tiny = tiny_objects(labels) if self.skip_tiny_objects else ()
        chosen = draw_objects(
            rng, labels[0], self.max_objects, self.min_object_pixels, leave_out=tiny
        )
        return build_sample(frames, labels, chosen) if chosen else None

    @staticmethod
    def _check_sizes(pairs: Sequence[tuple[np.ndarray, np.ndarray]], paths: Sequence[Path]) -> None:
        """The frames of a clip share one crop, so they must share their size."""
        first = pairs[0][1].shape
        for (_, labels), path in zip(pairs, paths, strict=True):
            if labels.shape != first:
                found = f"{size_text(labels.shape)} in a video with frames of {size_text(first)}, such as {paths[0].name}"
                raise UnusableFileError(path, f"{found}; all frames of a video must have one size")


def tiny_objects(labels: Sequence[np.ndarray]) -> list[int]:
    """Ids of a clip's labels T × [S, S] that are too small in the first frame to learn from (published for BL30K).

    Those of at most 10×10 pixels, and those of at most 30×30 that are not always small: 20×20 pixels
    or more in a later frame of the clip. The first frame then shows too little of an object that
    comes to be large; one that stays small is what is to be learned. Areas are of the crop.
    """
    areas = np.stack([np.bincount(frame.ravel(), minlength=256) for frame in labels])
    grows = (areas[1:] >= ALWAYS_SMALL_PIXELS).any(0)
    too_small = (areas[0] <= TINY_PIXELS) | ((areas[0] <= SMALL_PIXELS) & grows)
    return [int(object_id) for object_id in np.flatnonzero(too_small & (areas[0] > 0)) if object_id]


def draw_gaps(
    rng: np.random.Generator,
    frames: int,
    largest: int,
    *,
    clip_frames: int = 1,
    largest_in_clip: int = CLIP_MAX_GAP,
) -> np.ndarray:
    """Distances from each of `frames` frames to the next: 1 to `largest`, and no more than `largest_in_clip` where both are of one clip of `clip_frames`. The
    first frame is of none."""
    inside = _inside_clips(frames, clip_frames)
    return rng.integers(1, np.where(inside, min(largest, largest_in_clip), largest) + 1)


def largest_fitting_gap(
    length: int, frames: int, *, clip_frames: int = 1, largest_in_clip: int = CLIP_MAX_GAP
) -> int:
    """The largest gap with which `frames` frames fit into `length` whatever draw_gaps draws: gaps
    inside clips take `largest_in_clip` at most, and those between clips share what remains.

    At least 1, also where not even neighbouring frames fit.
    """
    inside = _inside_clips(frames, clip_frames)
    evenly = (length - 1) // max(len(inside), 1)
    if evenly < largest_in_clip:
        return max(evenly, 1)
    between = len(inside) - inside.sum()  # the first gap is always one of them
    return int((length - 1 - inside.sum() * largest_in_clip) // max(between, 1))


def _inside_clips(frames: int, clip_frames: int) -> np.ndarray:
    """Of each gap between `frames` frames, whether both its frames are of one clip: [frames - 1]."""
    return np.arange(frames - 1) % clip_frames > 0


def draw_frame_indices(
    rng: np.random.Generator,
    length: int,
    frames: int,
    max_skip: int,
    *,
    clip_frames: int = 1,
    annotation_step: int = 1,
) -> list[int]:
    """`frames` indices below `length`, neighbours 1..max_skip + 1 apart (less where the video is too short for that), descending half the time.

    max_skip is in video frames, indices count annotated ones, every `annotation_step`-th frame. Inside clips of `clip_frames` neighbours are as near as CLIP_MAX_GAP says.
    """
    in_clip = (CLIP_MAX_GAP - 1) // annotation_step + 1
    fitting = largest_fitting_gap(length, frames, clip_frames=clip_frames, largest_in_clip=in_clip)
    widest = min(max_skip // annotation_step + 1, fitting)
    offsets = np.concatenate(
        (
            [0],
            np.cumsum(
                draw_gaps(rng, frames, widest, clip_frames=clip_frames, largest_in_clip=in_clip)
            ),
        )
    )
    first = rng.integers(length - offsets[-1])
    steps = (
        offsets[-1] - offsets if rng.random() < 0.5 else offsets
    )  # backwards, the gaps keep their order: clips are where they were
    return [int(first + step) for step in steps]


def augment_clip(
    rng: np.random.Generator,
    pairs: list[tuple[np.ndarray, np.ndarray]],
    augmentation: ClipAugmentation,
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
        turn = turning(
            centre_of(side, side),
            rng.uniform(-rotation, rotation),
            rng.uniform(*augmentation.frame_scale),
            rng.uniform(-shear, shear),
        )
        frame = warp_image(image, turn @ clip_matrix, window, side)
        frames.append(augmentation.frame_colour.draw(rng).apply(clip_colour.apply(frame)))
        labels.append(warp_labels(mask, turn @ clip_matrix, window, side))
    return frames, labels
