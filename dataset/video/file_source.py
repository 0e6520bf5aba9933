"""The images of a video from one file: a video, or a stack of images.

Legend: H W height and width in pixels. A position is an image's index in its source.
"""

import contextlib
import functools
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from dataset.folders import IMAGE_SUFFIXES, short_path
from dataset.frame_range import SAMPLED_FRAMES, FrameRange, range_of, spread
from dataset.image_file import deep_values, is_deep, open_image, pages_of, rgb_of, size_text
from dataset.video.folder_source import FolderSource
from dataset.video.frame_source import (
    FrameSource,
    NumberedSource,
    Picture,
    check_frame_size,
    range_notes,
)
from dataset.video.reader import VideoReader
from util.errors import InputError
from util.text import counted

_MIN_FRAME_BYTES = 8  # a packet with its entry in the index
_IMAGE_STARTS = (b"GIF8", b"\x89PNG", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_MAX_PAGE_MILLISECONDS = 1000


def open_source(
    path: Path, frame_range: FrameRange | None = None, mask: Path | None = None
) -> FrameSource:
    """The images of a video.

    Args:
        path: a folder of images, a stack of images (multi-page TIFF, animated PNG, WebP or GIF),
            or a video file.
        frame_range: what 16-bit frames are scaled by; by default their own range.
        mask: a file that is not a frame, even if it lies in the folder.

    Raises:
        InputError: the file is missing, a still image, or none of these.
    """
    if path.is_dir():
        return FolderSource.of_folder(path, frame_range=frame_range, mask=mask)
    if not is_image_file(path):
        return FileSource(path, frame_range)
    with open_image(path) as image:
        pages = pages_of(image)
    if len(pages) == 1:
        raise InputError(f"{path}: a still image; give a video file or a folder of frames")
    return StackSource(path, pages, frame_range)


def is_image_file(path: Path) -> bool:
    """Whether a file is an image by its content, or by its name.

    The name decides if the content may also begin a video (JPEG, which Motion JPEG consists of).
    """
    if not path.is_file():
        return False
    with path.open("rb") as file:
        start = file.read(12)
    is_webp = start[:4] + start[8:] == b"RIFFWEBP"
    return start.startswith(_IMAGE_STARTS) or is_webp or path.suffix.lower() in IMAGE_SUFFIXES


class _SequentialSource(NumberedSource):
    """Images that are read one after another from one file."""

    def size(self, index: int, mask_size: tuple[int, int]) -> tuple[int, int]:
        with contextlib.closing(self.pictures(0, mask_size)) as pictures:
            return next(pictures).image.shape[:2]


class FileSource(_SequentialSource):
    """A video file (see VideoReader), turned and mirrored as it asks.

    A damaged frame that cannot be decoded is left out, and the others keep their numbers.
    """

    def __init__(self, path: Path, frame_range: FrameRange | None = None):
        """frame_range: of 16-bit frames; by default their own. Raises InputError if the file is
        missing or is not a video."""
        self._path = path
        self.files = (path,)
        self._given_range = frame_range
        self._notes: dict[str, None] = {}
        with VideoReader.open_file(path) as reader:
            count = reader.estimate_frame_count()
            self.frames_per_second = reader.frames_per_second
            self._is_deep = reader.is_deep
        most = path.stat().st_size // _MIN_FRAME_BYTES
        self.count = None if count is None else min(count, most)

    @property
    def notes(self) -> list[str]:
        return list(self._notes)

    @functools.cached_property
    def frame_range(self) -> FrameRange | None:
        frame_range = self._given_range if self._is_deep else None
        sampled = itertools.count()
        if self._is_deep and frame_range is None:
            with VideoReader.open_file(self._path) as reader:
                frames = reader.sample_frames(SAMPLED_FRAMES)
                frame_range = range_of(pixels for pixels, _ in zip(frames, sampled, strict=False))
        self._add_notes(
            range_notes(str(self._path), frame_range, self._given_range, next(sampled), None)
        )
        return frame_range

    def pictures(self, start: int, mask_size: tuple[int, int]) -> Iterator[Picture]:
        read_count = 0
        with self.open() as reader:
            try:
                for index, seconds, image in reader.frames(start):
                    if read_count == 0:
                        check_frame_size(image.shape[:2], short_path(self._path))
                    self._add_notes(reader.notes)
                    read_count += 1
                    yield Picture(index, image, seconds)
                self.check_end(reader, read_count, start)
            finally:
                self._add_notes(reader.notes)

    def open(self) -> VideoReader:
        """A new pass over the file."""
        return VideoReader.open_file(self._path, self.frame_range)

    def check_end(self, reader: VideoReader, read_count: int, start: int = 0) -> None:
        """Check a finished pass that read this number of frames, from number `start` on.

        Raises:
            TruncatedVideoError: the frames do not reach the end of the file.
            InputError: there are none.
        """
        if read_count == 0:
            raise InputError(
                f"{self._path}: no frame {start} can be read, since "
                f"{reader.reason_for_no_frame()}; convert the video, or download it again"
            )
        reader.check_end(self._path)

    def _add_notes(self, notes: list[str]) -> None:
        self._notes |= dict.fromkeys(notes)

    def _existing_index(self, index: int, mask: Path) -> int:
        if index > 0 and index >= self._packet_count:
            raise InputError(
                f"{short_path(mask)}: no frame {index} in {self._path.name}, which has "
                f"{counted(self._packet_count, 'frame')}; name masks by frame, from 00000.png"
            )
        return index

    @functools.cached_property
    def _packet_count(self) -> int:
        with VideoReader.open_file(self._path) as reader:
            return reader.count_packets()


class StackSource(_SequentialSource):
    """The images of a multi-page TIFF or an animated PNG, WebP or GIF. Alpha is dropped."""

    def __init__(self, path: Path, pages: list[int], frame_range: FrameRange | None = None):
        """pages: the images' positions in the file (see pages_of). frame_range: of 16-bit images;
        by default the range of up to SAMPLED_FRAMES of them."""
        self._path = path
        self.files = (path,)
        self._pages = pages
        self._given_range = frame_range
        self.count = len(pages)
        with open_image(path) as image:
            image.seek(pages[0])
            image.load()  # a WebP states its duration only then
            self._is_deep = is_deep(image)
            self._has_alpha = "A" in image.getbands() or "transparency" in image.info
            milliseconds = image.info.get("duration")
        if milliseconds and 1 <= milliseconds <= _MAX_PAGE_MILLISECONDS:
            self.frames_per_second = 1000 / milliseconds

    @property
    def notes(self) -> list[str]:
        alpha = (
            f"{self._path}: has an alpha channel, which is left out: clear pixels show the colour "
            "stored there"
        )
        sampled = min(self.count, SAMPLED_FRAMES)
        return [alpha] * self._has_alpha + range_notes(
            str(self._path), self.frame_range, self._given_range, sampled, self.count
        )

    @functools.cached_property
    def frame_range(self) -> FrameRange | None:
        if not self._is_deep:
            return None
        if self._given_range is not None:
            return self._given_range
        with open_image(self._path) as image:
            return range_of(self._stored_values(image, page) for page in spread(self._pages))

    def pictures(self, start: int, mask_size: tuple[int, int]) -> Iterator[Picture]:
        size, milliseconds = None, 0.0
        frame_range = self.frame_range
        with open_image(self._path) as image:
            for index, page in enumerate(self._pages):
                image.seek(page)
                image.load()
                duration = image.info.get("duration")
                if index >= start:
                    pixels = self._rgb(image, page, frame_range)
                    if size is None:
                        size = pixels.shape[:2]
                        check_frame_size(size, short_path(self._path))
                    if pixels.shape[:2] != size:
                        raise InputError(
                            f"{short_path(self._path)}: image {index} of "
                            f"{size_text(pixels.shape[:2])} in a stack of {size_text(size)}; all "
                            "must have one size"
                        )
                    yield Picture(index, pixels, None if duration is None else milliseconds / 1000)
                milliseconds += duration or 0

    def _existing_index(self, index: int, mask: Path) -> int:
        if index >= self.count:
            raise InputError(
                f"{short_path(mask)}: no frame {index} in {self._path.name}, which has "
                f"{counted(self.count, 'image')}; name masks by image, from 00000.png"
            )
        return index

    def _rgb(self, image: Image.Image, page: int, frame_range: FrameRange | None) -> np.ndarray:
        if is_deep(image) != (frame_range is not None):
            raise InputError(
                f"{short_path(self._path)}: images of 8 and of 16 bits in one stack; all must "
                "have the same"
            )
        if frame_range is None:
            return np.array(ImageOps.exif_transpose(image).convert("RGB"))
        return rgb_of(frame_range.to_8_bits(self._stored_values(image, page, upright=True)))

    def _stored_values(self, image: Image.Image, page: int, upright: bool = False) -> np.ndarray:
        image.seek(page)
        return deep_values(image, self._path, upright)
