"""Writes smaller copies of videos and their masks, so that training need not decode large frames.

Legend: H W height and width in pixels.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from dataset.folders import MASK_SUFFIXES, list_files, list_folders
from dataset.image_file import image_sizes, load_image, read_image
from dataset.layout import FRAMES, MASKS
from util.errors import InputError
from util.files import atomic_write, remove_unfinished

JPEG_QUALITY = 95
_LAST_BYTES = {".jpg": b"\xff\xd9", ".png": b"IEND\xaeB`\x82"}


@dataclass(frozen=True, kw_only=True)
class ResizeTask:
    """One folder of one video. masks: whether it holds masks; otherwise it holds frames."""

    source: Path
    target: Path
    masks: bool
    short_side: int


@dataclass(frozen=True, kw_only=True)
class ResizeResult:
    """The numbers of files written and present before, and a line for each unreadable file."""

    written: int = 0
    present: int = 0
    problems: list[str] = field(default_factory=list)


def resize_tasks(
    source: Path, target: Path, short_side: int, splits: Sequence[str] = ("train",)
) -> list[ResizeTask]:
    """List the folders to resize, and copy the meta.json of each split.

    source: holds JPEGImages/VIDEO and Annotations/VIDEO, or a folder with both for each split.
    Raises: InputError if it holds neither, has no video, or is the target itself.
    """
    if source.resolve() == target.resolve():
        raise InputError(
            f"{target}: is the source itself; name another folder for the smaller copy"
        )
    is_split = (source / FRAMES).is_dir()
    tasks = []
    for split in [""] if is_split else splits:
        for kind, masks in ((FRAMES, False), (MASKS, True)):
            folder = source / split / kind
            if not folder.is_dir():
                raise InputError(
                    f"{folder}: no such folder; expected {source}/JPEGImages/VIDEO and "
                    f"Annotations/VIDEO, or both in {source}/{splits[0]}"
                )
            tasks += [
                ResizeTask(
                    source=folder / video,
                    target=target / split / kind / video,
                    masks=masks,
                    short_side=short_side,
                )
                for video in list_folders(folder)
            ]
        if (source / split / "meta.json").is_file():
            _copy(source / split / "meta.json", target / split / "meta.json")
    if not tasks:
        raise InputError(
            f"{source}: no folder of a video in JPEGImages or Annotations; check the source"
        )
    return tasks


def smaller_size(size: tuple[int, int], short_side: int) -> tuple[int, int]:
    """(H, W) in the same proportion, with a shorter side of at most `short_side`; never larger."""
    shorter = min(size)
    if shorter <= short_side:
        return size
    return round(size[0] * short_side / shorter), round(size[1] * short_side / shorter)


def resize_video(task: ResizeTask) -> ResizeResult:
    """Write the files that are missing, incomplete, or older than their source.

    Unreadable files are reported as problems; the other files are written.
    """
    remove_unfinished(task.target)
    written = present = 0
    problems = []
    for path, target in _files(task):
        try:
            if _resize_file(path, target, task):
                written += 1
            else:
                present += 1
        except InputError as error:
            problems.append(f"{path.parent}: {error}")
    return ResizeResult(written=written, present=present, problems=problems)


def _files(task: ResizeTask) -> Iterator[tuple[Path, Path]]:
    """Each file of the source, and its copy."""
    suffix = ".png" if task.masks else ".jpg"
    for path in list_files(task.source, MASK_SUFFIXES) if task.masks else list_files(task.source):
        yield path, task.target / f"{path.stem}{suffix}"


def _resize_file(path: Path, target: Path, task: ResizeTask) -> bool:
    """Write the copy of a file. Returns False if it is complete already."""
    stored, shown = image_sizes(path)
    size = smaller_size(stored if task.masks else shown, task.short_side)
    if _is_complete(target, size) and target.stat().st_mtime >= path.stat().st_mtime:
        return False
    if size == stored and path.suffix.lower() == target.suffix:
        load_image(path)  # refuses damaged files, which would be copied otherwise
        _copy(path, target)
    elif task.masks:
        _write_mask(path, target, size)
    else:
        _write_frame(path, target, size)
    return True


def _is_complete(path: Path, size: tuple[int, int]) -> bool:
    """Whether the file is an image of this (H, W) that ends as it should."""
    if not path.is_file():
        return False
    try:
        stored = image_sizes(path).stored
    except InputError:
        return False
    ending = _LAST_BYTES[path.suffix]
    with path.open("rb") as file:
        file.seek(-len(ending), os.SEEK_END)
        return stored == size and file.read() == ending


def _write_frame(path: Path, target: Path, size: tuple[int, int]) -> None:
    """Average a frame over areas. EXIF data is not copied, so the frame is turned upright."""
    pixels = cv2.resize(read_image(path), size[::-1], interpolation=cv2.INTER_AREA)
    with atomic_write(target) as file:
        Image.fromarray(np.ascontiguousarray(pixels)).save(file, "JPEG", quality=JPEG_QUALITY)


def _write_mask(path: Path, target: Path, size: tuple[int, int]) -> None:
    """Resize a mask to the nearest pixel, which keeps its ids, mode and palette."""
    mask = load_image(path).resize(size[::-1], Image.Resampling.NEAREST)
    with atomic_write(target) as file:
        mask.save(file, "PNG")


def _copy(path: Path, target: Path) -> None:
    with path.open("rb") as content, atomic_write(target) as file:
        shutil.copyfileobj(content, file)
