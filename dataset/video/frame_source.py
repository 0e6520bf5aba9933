"""Where a video's images come from, and those that come from a folder of files. Legend: H W height and width in pixels."""

import functools
from abc import ABC, abstractmethod
from collections.abc import Container, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dataset.folders import list_files, short_path
from dataset.frame_range import SAMPLED_FRAMES, FrameRange, range_of, spread
from dataset.image_file import (
    deep_values,
    image_sizes,
    is_deep,
    load_image,
    open_image,
    read_image,
    refuse_stack,
    size_text,
)
from dataset.video.base import MINIMUM_SIDE_PIXELS
from dataset.video.folder_of_frames import refuse_folder_of_videos, refuse_masks_among_frames
from dataset.video.mask_names import number_in, position_in
from util.errors import InputError


class Picture(NamedTuple):
    """An image of a source: its position, RGB uint8 [H, W, 3], and when it is shown in seconds from an origin of the source's own, None where unknown."""

    index: int
    image: np.ndarray
    seconds: float | None = None


class FrameSource(ABC):
    """The images of one video, by position.

    count: how many, as far as is known without reading them all; a video file's may be wrong. None where unknown. notes: lines on how the images are read, for the
    user; grows while they are. files: what they are read from, in order; none of a camera or a stream. frame_range: what 16-bit images are scaled by, None where they have 8 bits.
    """

    count: int | None
    frames_per_second: float | None = None
    files: Sequence[Path] = ()
    frame_range: FrameRange | None = None

    @property
    def notes(self) -> list[str]:
        return []

    @abstractmethod
    def name_of(self, index: int) -> str:
        """The file stem for results at this position."""

    @abstractmethod
    def index_of(self, mask: Path) -> int:
        """The position a mask file belongs to by its name. Raises InputError where there is none."""

    @abstractmethod
    def position_of(self, mask: Path) -> int:
        """The position that a single mask belongs to: its frame's by name or number, the first for any other name. Raises InputError for a number that is not there."""

    @abstractmethod
    def size(self, index: int, mask_size: tuple[int, int]) -> tuple[int, int]:
        """(H, W) that images(index, mask_size) will have, without decoding more than one frame."""

    @abstractmethod
    def images(self, start: int, mask_size: tuple[int, int]) -> Iterator[np.ndarray]:
        """RGB uint8 [H, W, 3], from position start to the end, all of one size. mask_size (H, W): see FolderSource."""

    def pictures(self, start: int, mask_size: tuple[int, int]) -> Iterator[Picture]:
        """The same with their positions, which rise by one, but where a source leaves images out, and times."""
        for index, image in enumerate(self.images(start, mask_size), start):
            yield Picture(index, image)


class FolderSource(FrameSource):
    """Image files in natural order.

    Frames are turned upright as their EXIF data asks, unless only the frames as stored fit the mask: masks are drawn by tools that turn and by tools that
    do not, and the mask's size tells which.

    frame_range: of 16-bit images; where None, their own range (see range_of), told from up to 64 of them, evenly spread.
    """

    def __init__(self, paths: list[Path], frame_range: FrameRange | None = None):
        self.count = len(paths)
        self.files = self._paths = paths
        self._given_range = frame_range
        self._positions = {path.stem: index for index, path in enumerate(paths)}

    @classmethod
    def of_folder(
        cls,
        folder: Path,
        complete: bool = True,
        frame_range: FrameRange | None = None,
        mask: Path | None = None,
    ) -> "FolderSource":
        """All images of a folder, but for `mask` if that lies among them. complete: refuse a numbering with holes (see refuse_lost_frames).

        Raises InputError where there are none, or other masks among them.
        """
        paths = [
            path
            for path in list_files(folder)
            if mask is None or not mask.is_file() or not path.samefile(mask)
        ]
        refuse_folder_of_videos(folder, paths)
        if not paths:
            raise InputError(f"{folder}: no frames; a folder of .jpg or .png files is needed")
        refuse_masks_among_frames(folder, paths)
        if complete:
            refuse_lost_frames(paths)
        return cls(paths, frame_range)

    def only(self, stems: Container[str]) -> "FolderSource":
        """These of the images alone, in the same order."""
        return FolderSource([path for path in self._paths if path.stem in stems], self._given_range)

    @functools.cached_property
    def frame_range(self) -> FrameRange | None:
        if not self._is_deep(self._paths[0]):
            return None
        return self._given_range or range_of(self._values(path) for path in spread(self._paths))

    @property
    def notes(self) -> list[str]:
        return range_notes(
            self._paths[0].parent.name,
            self.frame_range,
            self._given_range,
            min(self.count, SAMPLED_FRAMES),
            self.count,
        )

    def __contains__(self, stem: str) -> bool:
        return stem in self._positions

    def name_of(self, index: int) -> str:
        return self._paths[index].stem

    def index_of(self, mask: Path) -> int:
        if mask.stem not in self._positions:
            raise InputError(
                f"{short_path(mask)}: no frame {mask.stem} in {self._paths[0].parent}; put the frame back or remove the mask"
            )
        return self._positions[mask.stem]

    def position_of(self, mask: Path) -> int:
        try:
            return position_in(mask.stem, [path.stem for path in self._paths]) or 0
        except ValueError as error:
            found = f"no frame of number {error} in {self._paths[0].parent}, or several"
            raise InputError(
                f"{short_path(mask)}: {found}; name the mask as its frame, or without a number for the first frame"
            ) from error

    def size(self, index: int, mask_size: tuple[int, int]) -> tuple[int, int]:
        stored, shown = image_sizes(self._paths[index])
        self._is_deep(self._paths[index])
        size = shown if self._upright(stored, shown, mask_size) else stored
        refuse_tiny(size, self._paths[index])
        return size

    def images(self, start: int, mask_size: tuple[int, int]) -> Iterator[np.ndarray]:
        upright = self._upright(*image_sizes(self._paths[start]), mask_size)
        first_size = None
        for path in self._paths[start:]:
            if (deep := self._is_deep(path)) != (self.frame_range is not None):
                raise self._mixed(path, deep)
            image = read_image(path, upright, self.frame_range)
            size = image.shape[:2]
            if first_size is None:
                refuse_tiny(size, path)
                first_size = size
            if size != first_size:
                raise InputError(
                    f"{short_path(path)}: frame of {size_text(size)} in a video of {size_text(first_size)}; all frames must have one size"
                )
            yield image

    @staticmethod
    def _is_deep(path: Path) -> bool:
        with open_image(path) as image:
            refuse_stack(image, path)
            return is_deep(image)

    @staticmethod
    def _values(path: Path) -> np.ndarray:
        image = load_image(path)
        if not is_deep(image):
            raise FolderSource._mixed(path, False)
        return deep_values(image, path, upright=False)

    @staticmethod
    def _mixed(path: Path, deep: bool) -> InputError:
        found, others = (16, 8) if deep else (8, 16)
        return InputError(
            f"{short_path(path)}: frame of {found} bits in a video of {others} bits; all frames must have the same"
        )

    @staticmethod
    def _upright(
        stored: tuple[int, int], shown: tuple[int, int], mask_size: tuple[int, int]
    ) -> bool:
        return not (tuple(mask_size) == stored != shown)


class NumberedSource(FrameSource):
    """Images without names of their own: masks and results are named by position, 00000, 00001, …"""

    def name_of(self, index: int) -> str:
        return f"{index:05d}"

    def index_of(self, mask: Path) -> int:
        if not (mask.stem.isascii() and mask.stem.isdigit()):
            raise InputError(
                f"{short_path(mask)}: not the number of a frame; name masks of a video file or live source by frame, from 00000.png"
            )
        return self._within(int(mask.stem), mask)

    def position_of(self, mask: Path) -> int:
        number = number_in(mask.stem)
        return 0 if number is None else self._within(number, mask)

    def _within(self, index: int, mask: Path) -> int:
        """The position itself. Raises InputError, naming the mask, where it is known to be past the end."""
        return index


def range_notes(
    name: str, used: FrameRange | None, given: FrameRange | None, looked_at: int, count: int | None
) -> list[str]:
    """The line that says how 16-bit frames are read, or that a range is given for frames of 8 bits (used: None)."""
    if used is None:
        unused = f"{name}: 8-bit frames, which are read as they are; --frame_range is not used"
        return [] if given is None else [unused]
    frames = "all" if looked_at == count else f"{looked_at}"
    own = (
        f"the range of {frames} frames, but for 0.01 % at each end; --frame_range LOW HIGH sets it"
    )
    origin = own if given is None else "by --frame_range"
    scale = f"{used.low} is read as black and {used.high} as white"
    return [f"{name}: 16-bit frames; {scale} ({origin})"]


def refuse_tiny(size: tuple[int, int], path: Path | str) -> None:
    """Raise InputError for frames (H, W) of a file, or of what `path` calls its source, that are too small to be segmented."""
    if min(size) < MINIMUM_SIDE_PIXELS:
        raise InputError(
            f"{short_path(path) if isinstance(path, Path) else path}: frame of {size_text(size)}; the shorter side must have at least {MINIMUM_SIDE_PIXELS} pixels"
        )


def refuse_lost_frames(paths: list[Path]) -> None:
    """Raise InputError where numbered frames, otherwise evenly spaced, lack a few (one, or a tenth at most): files were lost.

    A numbering with more holes than that is sparse on purpose, and so is one whose gaps are no multiples of the usual one.
    """
    if len(paths) < 3 or not all(path.stem.isascii() and path.stem.isdigit() for path in paths):
        return
    numbers = [int(path.stem) for path in paths]
    gaps = np.diff(numbers)
    step = int(gaps.min())
    if step < 1 or (gaps % step).any():
        return
    missing = int((gaps // step - 1).sum())
    if 0 < missing <= max(1, len(paths) // 10):
        hole = int(np.flatnonzero(gaps > step)[0])
        name = str(numbers[hole] + step).zfill(len(paths[hole].stem))
        raise InputError(
            f"{short_path(paths[hole].with_stem(name))}: frame missing between {paths[hole].name} and {paths[hole + 1].name}; put it back, or renumber"
        )
