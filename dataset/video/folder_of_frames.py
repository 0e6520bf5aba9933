"""Which files of a folder are a video's frames: masks or videos among them, and missing frames."""

import re
from collections.abc import Container
from pathlib import Path

import numpy as np

from dataset.folders import has_suffix, short_path
from dataset.image_file import open_image
from dataset.video.mask_names import is_number
from util.errors import InputError

VIDEO_SUFFIXES = (
    ".3gp",
    ".avi",
    ".dv",
    ".f4v",
    ".flv",
    ".gif",
    ".m2ts",
    ".m4v",
    ".mjpeg",
    ".mjpg",
    ".mkv",
    ".mov",
    ".mp4",
    ".mpeg",
    ".mpg",
    ".mts",
    ".mxf",
    ".ogv",
    ".ts",
    ".vob",
    ".webm",
    ".wmv",
    ".y4m",
)
_SINGLE_CHANNEL_MODES = ("1", "L", "P", "LA", "PA")
_MASK_WORDS = "(mask|label|seg|gt|anno|annotation|matte|alpha|depth)s?"
_ENDS_IN_MASK_WORD = re.compile(rf"[_\-. ]?{_MASK_WORDS}[0-9]*$", re.IGNORECASE)
_HOLDS_MASK_WORD = re.compile(rf"(?<![^\W_]){_MASK_WORDS}(?![^\W\d_])", re.IGNORECASE)
_EQUAL_SUFFIXES = {".jpeg": ".jpg", ".tif": ".tiff"}
_LOST_SHARE = 10  # at most one of so many frames may be missing for the hole to look like a loss

# A suffix, and a stem with # in place of its numbers.
_Kind = tuple[str, str]


def video_files(folder: Path) -> list[Path]:
    """The video files in a folder, by their suffixes, in alphabetical order."""
    return sorted(
        path for path in folder.iterdir() if has_suffix(path, VIDEO_SUFFIXES) and not path.is_dir()
    )


def refuse_folder_of_videos(folder: Path, paths: list[Path]) -> None:
    """Raise InputError if a folder holds video files, and either no images or images of the same
    names, which are the videos' masks.

    paths: the images in the folder. A GIF may be one of them.
    """
    videos = {path.stem for path in set(video_files(folder)).difference(paths)}
    if videos and (not paths or any(path.stem in videos for path in paths)):
        found = "images of their names" if paths else "no frames"
        raise InputError(
            f"{folder}: holds video files and {found}; give one of them as --video, or the folder "
            "as --data_path"
        )


def refuse_masks_among_frames(folder: Path, paths: list[Path]) -> None:
    """Raise InputError if some of the images look like masks of the others.

    Images are of one kind if their suffixes are equal and their stems differ only in numbers. The
    most numerous kind are the frames. Another kind is refused if it is indexed or has one channel
    and the frames have colours, if both its suffix and its stems differ from the frames', or if
    its stems are those of frames with a word such as 'mask' added, or hold such a word. The header
    of one image of each kind is read if there are several.
    """
    kinds: dict[_Kind, list[Path]] = {}
    for path in paths:
        kinds.setdefault(_kind_of(path), []).append(path)
    if len(kinds) < 2:
        return
    has_colours = {kind: _has_colours(files[0]) for kind, files in kinds.items()}

    def likeness_to_frames(kind: _Kind) -> tuple[int, bool, bool]:
        first = kinds[kind][0]
        return len(kinds[kind]), has_colours[kind], not _ENDS_IN_MASK_WORD.search(first.stem)

    frames = max(kinds, key=likeness_to_frames)
    frame_stems = {path.stem for path in kinds[frames]}
    for kind, files in kinds.items():
        if kind != frames and (
            (has_colours[frames] and not has_colours[kind])
            or (kind[0] != frames[0] and kind[1] != frames[1])
            or _has_mask_names(files, kind, frames, frame_stems)
        ):
            found = f"{_describe(frames, kinds[frames])} and {_describe(kind, files)}"
            raise InputError(
                f"{folder}: {found}: which are the frames? put masks into a folder of their own"
            )


def _kind_of(path: Path) -> _Kind:
    suffix = path.suffix.lower()
    return _EQUAL_SUFFIXES.get(suffix, suffix), re.sub(r"[0-9]+", "#", path.stem)


def _has_colours(path: Path) -> bool:
    with open_image(path) as image:
        return image.mode not in _SINGLE_CHANNEL_MODES


def _has_mask_names(
    files: list[Path], kind: _Kind, frames: _Kind, frame_stems: Container[str]
) -> bool:
    """Whether the names of one kind of images say that they are masks of the frames."""
    extends_frame_names = all(
        (stem := _ENDS_IN_MASK_WORD.sub("", path.stem)) != path.stem and stem in frame_stems
        for path in files
    )
    return extends_frame_names or (
        _HOLDS_MASK_WORD.search(kind[1]) is not None and _HOLDS_MASK_WORD.search(frames[1]) is None
    )


def _describe(kind: _Kind, files: list[Path]) -> str:
    more = ", …" if len(files) > 1 else ""
    return f"{len(files)} {kind[0]} ({files[0].name}{more})"


def refuse_lost_frames(paths: list[Path]) -> None:
    """Raise InputError if evenly numbered frames lack a few, one or a tenth at most.

    A numbering with more holes is sparse on purpose, and so is one whose gaps are not multiples of
    the usual one.
    """
    if len(paths) < 3 or not all(is_number(path.stem) for path in paths):
        return
    numbers = [int(path.stem) for path in paths]
    gaps = np.diff(numbers)
    step = int(gaps.min())
    if step < 1 or (gaps % step).any():
        return
    missing_count = int((gaps // step - 1).sum())
    if 0 < missing_count <= max(1, len(paths) // _LOST_SHARE):
        hole = int(np.flatnonzero(gaps > step)[0])
        name = str(numbers[hole] + step).zfill(len(paths[hole].stem))
        raise InputError(
            f"{short_path(paths[hole].with_stem(name))}: frame missing between "
            f"{paths[hole].name} and {paths[hole + 1].name}; put it back, or renumber"
        )
