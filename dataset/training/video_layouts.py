"""Finds the training videos under a root, in the layouts that public data sets have.

Only folders and file names are read here, no pixels.
"""

import itertools
from collections.abc import Collection, Container, Iterable
from dataclasses import dataclass
from pathlib import Path

from dataset.folders import IMAGE_SUFFIXES, MASK_SUFFIXES, list_files, list_folders, require_folder
from dataset.layout import (
    DAVIS_TRAIN,
    DataFolders,
    davis_candidates,
    find_data_folders,
    read_sequence_list,
)
from util.errors import InputError

YOUTUBE_ANNOTATION_STEP = 5
EXPECTED_LAYOUTS = (
    "ROOT/JPEGImages/480p/VIDEO/NAME.jpg and ROOT/Annotations/480p/VIDEO/NAME.png "
    "(DAVIS, also in ROOT/trainval), "
    "or ROOT/JPEGImages/VIDEO/NAME.jpg and ROOT/Annotations/VIDEO/NAME.png "
    "(BL30K, your own; YouTube-VOS, also in ROOT/train_480p or ROOT/train)"
)
_YOUTUBE_PARTS = ("train_480p", "train", "")


@dataclass(frozen=True, kw_only=True)
class TrainingLayout:
    """The training videos of a root.

    names: in the order of the list, or sorted. list_file: None if there is no list.
    """

    folders: DataFolders
    names: tuple[str, ...]
    list_file: Path | None = None


@dataclass(frozen=True, kw_only=True)
class AnnotatedVideo:
    """The annotated frames of one video, in order.

    Files are kept as names, since BL30K has ten million of them. annotation_step: video frames from
    one annotated frame to the next.
    """

    name: str
    image_folder: Path
    label_folder: Path
    image_names: tuple[str, ...]
    label_names: tuple[str, ...]
    annotation_step: int

    def __len__(self) -> int:
        return len(self.label_names)

    def pair(self, index: int) -> tuple[Path, Path]:
        """The image and the mask of an annotated frame."""
        image, label = self.image_names[index], self.label_names[index]
        return self.image_folder / image, self.label_folder / label


def find_layout(root: Path) -> TrainingLayout:
    """Find the training videos of a root.

    root: DAVIS (JPEGImages/480p, Annotations/480p and ImageSets/2017/train.txt, in ROOT or in
    ROOT/trainval); YouTube-VOS (JPEGImages and Annotations in ROOT, ROOT/train or ROOT/train_480p);
    or any folder with JPEGImages/VIDEO and Annotations/VIDEO.
    Raises: InputError, with the expected layouts, if the root has none of them or no video.
    """
    require_folder(root, f"expected {EXPECTED_LAYOUTS}")
    candidates = [
        *davis_candidates(root, DAVIS_TRAIN.part),
        *(DataFolders(base=root / part) for part in _YOUTUBE_PARTS),
    ]
    folders = find_data_folders(candidates, "masks")
    if folders is None:
        raise InputError(
            f"{root}: no JPEGImages and Annotations found; expected {EXPECTED_LAYOUTS}"
        )
    list_file = _find_training_list(folders) if folders.is_davis else None
    names = read_sequence_list(list_file) if list_file else list_folders(folders.masks)
    if not names:
        raise InputError(
            f"{list_file or folders.masks}: no training video; expected {EXPECTED_LAYOUTS}"
        )
    return TrainingLayout(folders=folders, names=tuple(names), list_file=list_file)


def _find_training_list(folders: DataFolders) -> Path | None:
    """The list of the training videos of DAVIS; None if there is no folder of lists."""
    list_file = DAVIS_TRAIN.list_in(folders)
    if list_file is None and folders.lists.is_dir():
        raise InputError(
            f"{folders.lists}: no {', '.join(DAVIS_TRAIN.lists[:-1])} or {DAVIS_TRAIN.lists[-1]}, "
            "so the training sequences are unknown; add a list or remove the folder"
        )
    return list_file


def find_videos(root: Path) -> list[AnnotatedVideo]:
    """Find the training videos of a root and list their annotated frames.

    Raises: InputError as in find_layout, and if a folder is missing or a mask has no frame.
    """
    layout = find_layout(root)
    # videos number their frames alike, so that equal lists of names can be one object
    shared_names: dict[tuple[str, ...], tuple[str, ...]] = {}
    return [
        _list_frames(layout.folders.frames / name, layout.folders.masks / name, shared_names)
        for name in layout.names
    ]


def find_videos_of_roots(roots: Iterable[str | Path]) -> list[AnnotatedVideo]:
    """The training videos of several roots. A root that is given twice counts twice."""
    roots = [Path(root) for root in roots]
    found = {root: find_videos(root) for root in dict.fromkeys(roots)}
    return [video for root in roots for video in found[root]]


def select_videos(
    videos: Iterable[AnnotatedVideo], subset: Collection[str] | None, exclude: Collection[str]
) -> list[AnnotatedVideo]:
    """The videos named in `subset` (None: all) and not in `exclude`."""
    return [
        video
        for video in videos
        if (subset is None or video.name in subset) and video.name not in exclude
    ]


def _list_frames(
    images: Path, annotations: Path, shared_names: dict[tuple[str, ...], tuple[str, ...]]
) -> AnnotatedVideo:
    for folder in (annotations, images):
        if not folder.is_dir():
            raise InputError(
                f"{folder}: folder is missing; every training video needs its frames and its masks"
            )
    by_stem = {path.stem: path for path in list_files(images)}
    labels = list_files(annotations, MASK_SUFFIXES)
    _check_masks(images, annotations, labels, by_stem)
    image_names = tuple(by_stem[path.stem].name for path in labels)
    label_names = tuple(path.name for path in labels)
    return AnnotatedVideo(
        name=annotations.name,
        image_folder=images,
        label_folder=annotations,
        image_names=shared_names.setdefault(image_names, image_names),
        label_names=shared_names.setdefault(label_names, label_names),
        annotation_step=_annotation_step([path.stem for path in labels]),
    )


def _check_masks(
    images: Path, annotations: Path, labels: list[Path], stems: Container[str]
) -> None:
    """Refuse masks without a frame, and frames whose mask would be ignored."""
    for path in labels:
        if path.stem not in stems:
            raise InputError(
                f"{path}: no frame of this name in {images}; add it or remove the mask"
            )
    ignored = find_masks_not_png(annotations, labels, stems)
    if ignored:
        noun = "mask is" if len(ignored) == 1 else "masks are"
        raise InputError(
            f"{ignored[0]}: {len(ignored):,} {noun} no PNG; training reads only PNG masks, since "
            "JPEG blurs object ids: save as indexed PNG, or remove"
        )


def find_masks_not_png(
    annotations: Path, labels: Iterable[Path], stems: Container[str]
) -> list[Path]:
    """Images that would be the masks of frames if they were PNG files.

    labels: the masks that are PNG files; their frames are passed over. stems: of all frames.
    """
    known = {path.stem for path in labels}
    return sorted(
        path
        for path in annotations.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES
        and path.suffix.lower() not in MASK_SUFFIXES
        and not path.name.startswith(".")
        and path.stem in stems
        and path.stem not in known
    )


def _annotation_step(stems: list[str]) -> int:
    """5 for frames numbered like the annotated ones of YouTube-VOS (00000, 00005, …), otherwise 1.

    Other gaps in the numbers do not tell the time between frames.
    """
    numbers = [int(stem) for stem in stems if stem.isdecimal()]
    gaps = [later - earlier for earlier, later in itertools.pairwise(numbers)]
    return YOUTUBE_ANNOTATION_STEP if gaps and min(gaps) == YOUTUBE_ANNOTATION_STEP else 1
