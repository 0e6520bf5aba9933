"""Where a video's images come from: a folder of files, or a video file. Legend: H W height and width in pixels."""

from abc import ABC, abstractmethod
from collections.abc import Container, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from dataset.image_file import image_sizes, list_files, place, read_image, size_text
from dataset.opencv_noise import opencv_silenced
from dataset.video import MINIMUM_SIDE_PIXELS, TruncatedVideoError
from util.errors import InputError
from util.wording import counted

# Containers whose header states the number of frames; for others OpenCV computes it from duration and rate, give or take
_BOXED_SUFFIXES = (".mp4", ".mov", ".m4v")
_EXACT_COUNT_SUFFIXES = (*_BOXED_SUFFIXES, ".avi")


class FrameSource(ABC):
    """The images of one video, by position. count: how many, None where unknown. files: what they are read from, in order; none of a camera or a stream."""

    count: int | None
    frames_per_second: float | None = None
    files: Sequence[Path] = ()

    @abstractmethod
    def name_of(self, index: int) -> str:
        """The file stem for results at this position."""

    @abstractmethod
    def index_of(self, mask: Path) -> int:
        """The position a mask file belongs to by its name. Raises InputError where there is none."""

    @abstractmethod
    def size(self, index: int, mask_size: tuple[int, int]) -> tuple[int, int]:
        """(H, W) that images(index, mask_size) will have, without decoding more than one frame."""

    @abstractmethod
    def images(self, start: int, mask_size: tuple[int, int]) -> Iterator[np.ndarray]:
        """RGB uint8 [H, W, 3], from position start to the end, all of one size. mask_size (H, W): see FolderSource."""

    def indexed_images(self, start: int, mask_size: tuple[int, int]) -> Iterator[tuple[int, np.ndarray]]:
        """The same with their positions, which rise by one, but where a source leaves images out."""
        return enumerate(self.images(start, mask_size), start)


class FolderSource(FrameSource):
    """Image files in natural order.

    Frames are turned upright as their EXIF data asks, unless only the frames as stored fit the mask: masks are drawn by tools that turn and by tools that
    do not, and the mask's size tells which.
    """

    def __init__(self, paths: list[Path]):
        self.count = len(paths)
        self.files = self._paths = paths
        self._positions = {path.stem: index for index, path in enumerate(paths)}

    @classmethod
    def of_folder(cls, folder: Path, complete: bool = True) -> "FolderSource":
        """All images of a folder. complete: refuse a numbering with holes (see refuse_lost_frames). Raises InputError where there are none."""
        paths = list_files(folder)
        if not paths:
            raise InputError(f"{folder}: no frames; a folder of .jpg or .png files is needed")
        if complete:
            refuse_lost_frames(paths)
        return cls(paths)

    def only(self, stems: Container[str]) -> "FolderSource":
        """These of the images alone, in the same order."""
        return FolderSource([path for path in self._paths if path.stem in stems])

    def __contains__(self, stem: str) -> bool:
        return stem in self._positions

    def name_of(self, index: int) -> str:
        return self._paths[index].stem

    def index_of(self, mask: Path) -> int:
        if mask.stem not in self._positions:
            raise InputError(f"{place(mask)}: no frame {mask.stem} in {self._paths[0].parent}; put the frame back or remove the mask")
        return self._positions[mask.stem]

    def size(self, index: int, mask_size: tuple[int, int]) -> tuple[int, int]:
        stored, shown = image_sizes(self._paths[index])
        size = shown if self._upright(stored, shown, mask_size) else stored
        refuse_tiny(size, self._paths[index])
        return size

    def images(self, start: int, mask_size: tuple[int, int]) -> Iterator[np.ndarray]:
        upright = self._upright(*image_sizes(self._paths[start]), mask_size)
        first_size = None
        for path in self._paths[start:]:
            image = read_image(path, upright)
            size = image.shape[:2]
            if first_size is None:
                refuse_tiny(size, path)
                first_size = size
            if size != first_size:
                raise InputError(f"{place(path)}: frame of {size_text(size)} in a video of {size_text(first_size)}; all frames must have one size")
            yield image

    @staticmethod
    def _upright(stored: tuple[int, int], shown: tuple[int, int], mask_size: tuple[int, int]) -> bool:
        return not (tuple(mask_size) == stored != shown)


class NumberedSource(FrameSource):
    """Images without names of their own: masks and results are named by position, 00000, 00001, …"""

    def name_of(self, index: int) -> str:
        return f"{index:05d}"

    def index_of(self, mask: Path) -> int:
        if not (mask.stem.isascii() and mask.stem.isdigit()):
            raise InputError(f"{place(mask)}: not the number of a frame; name masks of a video file or live source by frame, from 00000.png")
        return int(mask.stem)


class FileSource(NumberedSource):
    """A video file read by OpenCV, turned upright as its metadata asks."""

    def __init__(self, path: Path):
        self._path = path
        self.files = (path,)
        capture = self.open()
        count, rate = capture.get(cv2.CAP_PROP_FRAME_COUNT), capture.get(cv2.CAP_PROP_FPS)
        capture.release()
        self.count = int(count) if count > 0 else None
        self.frames_per_second = rate if 1 <= rate <= 1000 else None

    def index_of(self, mask: Path) -> int:
        index = super().index_of(mask)
        if self.count is not None and index >= self.count:
            raise InputError(f"{place(mask)}: no frame {index} in {self._path.name}, which has {counted(self.count, 'frame')}; name masks by frame, from 00000.png")
        return index

    def size(self, index: int, mask_size: tuple[int, int]) -> tuple[int, int]:
        images = self.images(0, mask_size)
        size = next(images).shape[:2]
        images.close()
        return size

    def images(self, start: int, mask_size: tuple[int, int]) -> Iterator[np.ndarray]:
        capture = self.open()
        read = 0
        try:
            while capture.grab():
                if read >= start:
                    decoded, image = capture.retrieve()
                    if not decoded:
                        break
                    if read == start:
                        refuse_tiny(image.shape[:2], self._path)
                    yield cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
                read += 1
        finally:
            capture.release()
        self.refuse_early_end(read, start)

    def open(self) -> cv2.VideoCapture:
        """At its first frame. Raises InputError where the file is missing or cannot be read."""
        if not self._path.is_file():
            raise InputError(f"{self._path}: no such video; give a video file or a folder of frames")
        with opencv_silenced():
            capture = cv2.VideoCapture(str(self._path), cv2.CAP_FFMPEG)
        if not capture.isOpened():
            raise InputError(f"{self._path}: cannot be opened as a video; it is damaged, cut short, or of a kind that OpenCV does not read")
        return capture

    def refuse_early_end(self, read: int, start: int = 0) -> None:
        """Raise TruncatedVideoError where `read` frames are fewer than the file states, InputError where frame `start` is not among them."""
        if read <= start:
            raise InputError(f"{self._path}: no frame {start} can be read; the file is damaged or its mask is named for a frame that is not there")
        stated = self.count or 0
        tolerated = 0 if self._path.suffix.lower() in _EXACT_COUNT_SUFFIXES else max(1, stated // 100)
        if read < stated - tolerated and not (self._path.suffix.lower() in _BOXED_SUFFIXES and _is_trimmed_whole(self._path)):
            raise TruncatedVideoError(f"{self._path}: ends after {read} of {stated} frames; results are for the frames read: copy or convert the video again")


def _is_trimmed_whole(path: Path) -> bool:
    """Whether an MP4 or QuickTime file has an edit list, which leaves stored frames unplayed on purpose, and none of its boxes is cut off (ISO 14496-12)."""
    end, position, trimmed = path.stat().st_size, 0, False
    with path.open("rb") as file:
        while position + 8 <= end:
            file.seek(position)
            size, kind = int.from_bytes(file.read(4), "big"), file.read(4)
            if size == 1:  # the size follows in 8 bytes
                size = int.from_bytes(file.read(8), "big")
            elif size == 0:  # to the end of the file
                size = end - position
            if size < 8 or position + size > end:
                return False
            if kind == b"moov":
                trimmed = b"elst" in file.read(position + size - file.tell())
            position += size
    return trimmed


def refuse_tiny(size: tuple[int, int], path: Path | str) -> None:
    """Raise InputError for frames (H, W) of a file, or of what `path` calls its source, that are too small to be segmented."""
    if min(size) < MINIMUM_SIDE_PIXELS:
        raise InputError(f"{place(path) if isinstance(path, Path) else path}: frame of {size_text(size)}; the shorter side must have at least {MINIMUM_SIDE_PIXELS} pixels")


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
        raise InputError(f"{place(paths[hole].with_stem(name))}: frame missing between {paths[hole].name} and {paths[hole + 1].name}; put it back, or renumber")
