"""Which images of a folder are a video's frames, where masks or video files may lie among them."""

import re
from pathlib import Path

from dataset.image_file import open_image
from util.errors import InputError

VIDEO_SUFFIXES = (
    *(
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
    ),
    *(".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv", ".y4m"),
)
_SINGLE_CHANNEL = ("1", "L", "P", "LA", "PA")
_WORDS = "(mask|label|seg|gt|anno|annotation|matte|alpha|depth)s?"
_ADDED_WORD = re.compile(rf"[_\-. ]?{_WORDS}[0-9]*$", re.IGNORECASE)
_HOLDS_WORD = re.compile(rf"(?<![^\W_]){_WORDS}(?![^\W\d_])", re.IGNORECASE)
_SAME_ENDING = {".jpeg": ".jpg", ".tif": ".tiff"}


def video_files(folder: Path) -> list[Path]:
    """The video files in a folder, by their endings, in order."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in VIDEO_SUFFIXES
        and not path.name.startswith(".")
        and not path.is_dir()
    )


def refuse_folder_of_videos(folder: Path, paths: list[Path]) -> None:
    """Raise InputError where a folder holds video files and no image, or images of their names,
    which are the masks of the videos."""
    videos = {
        path.stem for path in set(video_files(folder)).difference(paths)
    }  # a GIF may be a frame
    if videos and (not paths or any(path.stem in videos for path in paths)):
        found = "images of their names" if paths else "no frames"
        raise InputError(
            f"{folder}: holds video files and {found}; give one of them as --video, or the folder as --data_path"
        )


def refuse_masks_among_frames(folder: Path, paths: list[Path]) -> None:
    """Raise InputError where some of the images look like masks of the others.

    Images belong together whose endings are of one kind and whose names differ in their numbers alone. Others than the most numerous are refused where they are indexed or
    have one channel beside colour frames, where both their ending and their names are of another kind, and where a word such as mask is in their names but not in those
    of the frames. Reads a header of each kind, of a folder with more than one.
    """
    kinds: dict[tuple[str, str], list[Path]] = {}
    for path in paths:
        kinds.setdefault((_ending(path), re.sub(r"[0-9]+", "#", path.stem)), []).append(path)
    if len(kinds) < 2:
        return
    colour = {kind: _has_colours(files[0]) for kind, files in kinds.items()}
    frames = max(
        kinds,
        key=lambda kind: (
            len(kinds[kind]),
            colour[kind],
            not _ADDED_WORD.search(kinds[kind][0].stem),
        ),
    )
    stems = {path.stem for path in kinds[frames]}
    for kind, files in kinds.items():
        added = all(_ADDED_WORD.sub("", path.stem) in stems - {path.stem} for path in files)
        added = added or (
            _HOLDS_WORD.search(kind[1]) is not None and _HOLDS_WORD.search(frames[1]) is None
        )
        foreign = kind[0] != frames[0] and kind[1] != frames[1]
        if kind != frames and ((colour[frames] and not colour[kind]) or foreign or added):
            counts = " and ".join(
                f"{len(kinds[one])} {one[0]} ({kinds[one][0].name}{', …' if len(kinds[one]) > 1 else ''})"
                for one in (frames, kind)
            )
            raise InputError(
                f"{folder}: {counts}: which are the frames? put masks into a folder of their own"
            )


def _ending(path: Path) -> str:
    suffix = path.suffix.lower()
    return _SAME_ENDING.get(suffix, suffix)


def _has_colours(path: Path) -> bool:
    with open_image(path) as image:
        return image.mode not in _SINGLE_CHANNEL
