"""Names of frames and videos, from the names of files that data give."""

from typing import NamedTuple

from dataset.video.folder_of_frames import VIDEO_SUFFIXES
from util.errors import InputError
from util.files import check_plain_name


class FrameName(NamedTuple):
    """video: the folder that holds the file; None if the name has no folder. frame: the stem."""

    video: str | None
    frame: str


def frame_name(file_name: str, where: str) -> FrameName:
    """'a/bear/00000.jpg' is frame 00000 of video bear.

    Raises InputError if the name is empty, absolute, or leads elsewhere by '..' or a backslash.
    """
    if file_name.startswith("/"):
        raise InputError(f"{where}: {file_name!r} is an absolute path; give it below the images")
    parts = file_name.split("/")
    if parts[0] == "." and len(parts) > 1:
        parts = parts[1:]
    for part in parts:
        check_plain_name(part, f"{where}, {file_name!r}")
    stem = parts[-1].rpartition(".")[0] or parts[-1]
    return FrameName(parts[-2] if len(parts) > 1 else None, stem)


def video_name(name: str, where: str) -> str:
    """'a/clip.mp4' is the video clip. Raises InputError as frame_name."""
    last = name.rpartition("/")[2]
    has_suffix = any(last.lower().endswith(suffix) for suffix in VIDEO_SUFFIXES)
    stem = frame_name(name, where).frame
    return stem if has_suffix else last
