"""Videos of frames and masks, written again with a smaller shorter side: training on 480 lines need not decode 1080.

Legend: H W height and width in pixels.
"""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from dataset.folders import MASK_SUFFIXES, list_files
from dataset.image_file import image_sizes, load_image, read_image
from util.errors import InputError
from util.files import atomic_write, remove_unfinished

JPEG_QUALITY = 95
_ENDINGS = {".jpg": b"\xff\xd9", ".png": b"IEND\xaeB`\x82"}  # what a whole file ends with


@dataclass(frozen=True, kw_only=True)
class ResizeTask:
    """One folder of one video. masks: whether it holds masks, or frames."""

    source: Path
    target: Path
    masks: bool
    short_side: int


@dataclass(frozen=True, kw_only=True)
class ResizeResult:
    """How many files were written, how many were there already, and a line for each that cannot be read."""

    written: int = 0
    present: int = 0
    problems: list[str] = field(default_factory=list)


def resize_tasks(
    source: Path, target: Path, short_side: int, splits: tuple[str, ...] = ("train",)
) -> list[ResizeTask]:
    """The folders to do. source: holds JPEGImages/VIDEO and Annotations/VIDEO itself, or in a folder for each split. Copies the split's meta.json.

    Raises InputError where neither is so, or where the target is the source.
    """
    if source.resolve() == target.resolve():
        raise InputError(
            f"{target}: is the source itself; name another folder, which then holds the smaller copy"
        )
    parts = (
        [("", source)]
        if (source / "JPEGImages").is_dir()
        else [(split, source / split) for split in splits]
    )
    tasks = []
    for split, folder in parts:
        for kind, masks in (("JPEGImages", False), ("Annotations", True)):
            if not (folder / kind).is_dir():
                raise InputError(
                    f"{folder / kind}: no such folder; expected {source}/JPEGImages/VIDEO and Annotations/VIDEO, or both in {source}/{splits[0]}"
                )
            videos = sorted(
                path
                for path in (folder / kind).iterdir()
                if path.is_dir() and not path.name.startswith(".")
            )
            tasks += [
                ResizeTask(
                    source=video,
                    target=target / split / kind / video.name,
                    masks=masks,
                    short_side=short_side,
                )
                for video in videos
            ]
        if (folder / "meta.json").is_file():
            _copy(folder / "meta.json", target / split / "meta.json")
    if not tasks:
        raise InputError(
            f"{source}: no folder of a video in JPEGImages or Annotations; check the source"
        )
    return tasks


def smaller_size(size: tuple[int, int], short_side: int) -> tuple[int, int]:
    """(H, W) with the shorter side at most `short_side`, the longer in proportion and rounded. Never larger."""
    shorter = min(size)
    return (
        size
        if shorter <= short_side
        else (round(size[0] * short_side / shorter), round(size[1] * short_side / shorter))
    )


def resize_video(task: ResizeTask) -> ResizeResult:
    """Write what is not there whole, or was made before its source was changed. A file that cannot be read is a problem and does not end the rest."""
    remove_unfinished(task.target)
    written = present = 0
    problems = []
    for path, target in _files(task):
        try:
            stored, shown = image_sizes(path)
            size = smaller_size(stored if task.masks else shown, task.short_side)
            if _is_whole(target, size) and target.stat().st_mtime >= path.stat().st_mtime:
                present += 1
                continue
            if size == stored and path.suffix.lower() == target.suffix:
                load_image(path)  # copied as it is, but not if it is damaged
                _copy(path, target)
            elif task.masks:
                _write_mask(path, target, size)
            else:
                _write_frame(path, target, size)
            written += 1
        except InputError as error:
            problems.append(f"{path.parent}: {error}")
    return ResizeResult(written=written, present=present, problems=problems)


def _files(task: ResizeTask) -> Iterator[tuple[Path, Path]]:
    suffix = ".png" if task.masks else ".jpg"
    for path in list_files(task.source, MASK_SUFFIXES) if task.masks else list_files(task.source):
        yield path, task.target / f"{path.stem}{suffix}"


def _is_whole(path: Path, size: tuple[int, int]) -> bool:
    """Whether a file of this size (H, W) is there to its last byte. A smaller copy of another size is made anew."""
    if not path.is_file():
        return False
    try:
        stored = image_sizes(path)[0]
    except InputError:
        return False
    ending = _ENDINGS[path.suffix]
    with path.open("rb") as file:
        file.seek(-len(ending), os.SEEK_END)
        return stored == size and file.read() == ending


def _write_frame(path: Path, target: Path, size: tuple[int, int]) -> None:
    """Averaged over areas. Upright, as training reads it: the copy has no EXIF data to turn it by."""
    pixels = cv2.resize(read_image(path), size[::-1], interpolation=cv2.INTER_AREA)
    with atomic_write(target) as file:
        Image.fromarray(np.ascontiguousarray(pixels)).save(file, "JPEG", quality=JPEG_QUALITY)


def _write_mask(path: Path, target: Path, size: tuple[int, int]) -> None:
    """Nearest, in the mask's own mode: ids and palette stay."""
    mask = load_image(path).resize(size[::-1], Image.Resampling.NEAREST)
    with atomic_write(target) as file:
        mask.save(file, "PNG")


def _copy(path: Path, target: Path) -> None:
    with path.open("rb") as content, atomic_write(target) as file:
        shutil.copyfileobj(content, file)
