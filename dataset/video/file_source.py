"""A video's images from one file: a video, or a stack of images. Legend: H W height and width in pixels."""

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
from dataset.video.frame_source import (
    FolderSource,
    FrameSource,
    NumberedSource,
    Picture,
    range_notes,
    refuse_tiny,
)
from dataset.video.reader import VideoReader
from util.errors import InputError
from util.text import counted

_SMALLEST_FRAME_BYTES = 8  # a packet with its entry in the index
_IMAGE_STARTS = (b"GIF8", b"\x89PNG", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def open_source(
    path: Path, frame_range: FrameRange | None = None, mask: Path | None = None
) -> FrameSource:
    """A folder of images, but for `mask` where that lies among them, a stack of images (multi-page TIFF, animated PNG, WebP or GIF), or a video file.

    frame_range: of 16-bit frames, their own where None. Raises InputError for a file that is missing, a still image, or none of these.
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
    """By its content; by its name where that may also begin a video (JPEG, of which Motion JPEG is made)."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        start = file.read(12)
    return (
        start.startswith(_IMAGE_STARTS)
        or start[:4] + start[8:] == b"RIFFWEBP"
        or path.suffix.lower() in IMAGE_SUFFIXES
    )


class _OneFile(NumberedSource):
    """Images of one file, which its `pictures` read one after another."""

    def size(self, index: int, mask_size: tuple[int, int]) -> tuple[int, int]:
        with contextlib.closing(self.pictures(0, mask_size)) as pictures:
            return next(pictures).image.shape[:2]

    def images(self, start: int, mask_size: tuple[int, int]) -> Iterator[np.ndarray]:
        return (picture.image for picture in self.pictures(start, mask_size))


class FileSource(_OneFile):
    """A video file, read by FFmpeg (see VideoReader), turned and mirrored as it asks.

    A frame that is damaged and cannot be decoded is left out and keeps its number. Raises InputError where the file is missing or no video.
    """

    def __init__(self, path: Path, frame_range: FrameRange | None = None):
        self._path = path
        self.files = (path,)
        self._given_range = frame_range
        self._notes: dict[str, None] = {}
        with VideoReader.of_file(path) as reader:
            count = reader.about_how_many()
            self.frames_per_second = reader.frames_per_second
            self._is_deep = reader.is_deep
        self.count = (
            None if count is None else min(count, path.stat().st_size // _SMALLEST_FRAME_BYTES)
        )

    @property
    def notes(self) -> list[str]:
        return list(self._notes)

    @functools.cached_property
    def frame_range(self) -> FrameRange | None:
        frame_range, looked_at = self._given_range if self._is_deep else None, itertools.count()
        if self._is_deep and frame_range is None:
            with VideoReader.of_file(self._path) as reader:
                frame_range = range_of(
                    pixels
                    for pixels, _ in zip(reader.sampled(SAMPLED_FRAMES), looked_at, strict=False)
                )
        notes = range_notes(str(self._path), frame_range, self._given_range, next(looked_at), None)
        self._notes |= dict.fromkeys(notes)
        return frame_range

    def _within(self, index: int, mask: Path) -> int:
        if index > 0 and index >= self._packet_count:
            raise InputError(
                f"{short_path(mask)}: no frame {index} in {self._path.name}, which has {counted(self._packet_count, 'frame')}; name masks by frame, from 00000.png"
            )
        return index

    @functools.cached_property
    def _packet_count(self) -> int:
        with VideoReader.of_file(self._path) as reader:
            return reader.packet_count()

    def pictures(self, start: int, mask_size: tuple[int, int]) -> Iterator[Picture]:
        read = 0
        with self.open() as reader:
            try:
                for index, seconds, image in reader.frames(start):
                    if read == 0:
                        refuse_tiny(image.shape[:2], self._path)
                    self._notes |= dict.fromkeys(reader.notes)
                    read += 1
                    yield Picture(index, image, seconds)
                self.check_end(reader, read, start)
            finally:
                self._notes |= dict.fromkeys(reader.notes)

    def open(self) -> VideoReader:
        """A new pass over the file."""
        frame_range = self.frame_range
        reader = VideoReader.of_file(self._path)
        reader.frame_range = frame_range
        return reader

    def check_end(self, reader: VideoReader, read: int, start: int = 0) -> None:
        """After the `read` frames of a pass from frame `start`: raises TruncatedVideoError where they do not go to the file's end, InputError where there are none."""
        if read == 0:
            raise InputError(
                f"{self._path}: no frame {start} can be read, since {reader.why_nothing()}; convert the video, or download it again"
            )
        reader.check_end(self._path)


class StackSource(_OneFile):
    """The images of a multi-page TIFF, or of an animated PNG, WebP or GIF, read by Pillow. pages: their positions in the file. Alpha is dropped."""

    def __init__(self, path: Path, pages: list[int], frame_range: FrameRange | None = None):
        self._path = path
        self.files = (path,)
        self._pages = pages
        self._given_range = frame_range
        self.count = len(pages)
        with open_image(path) as image:
            image.seek(pages[0])
            image.load()  # only then does a WebP say how long it is shown
            self._deep = is_deep(image)
            self._clear = "A" in image.getbands() or "transparency" in image.info
            duration = image.info.get("duration")
        self.frames_per_second = 1000 / duration if duration and 1 <= duration <= 1000 else None

    @property
    def notes(self) -> list[str]:
        notes = (
            [
                f"{self._path}: has an alpha channel, which is left out: clear pixels show the colour stored there"
            ]
            if self._clear
            else []
        )
        looked_at = min(self.count, SAMPLED_FRAMES)
        return notes + range_notes(
            str(self._path), self.frame_range, self._given_range, looked_at, self.count
        )

    @functools.cached_property
    def frame_range(self) -> FrameRange | None:
        if not self._deep:
            return None
        if self._given_range is not None:
            return self._given_range
        with open_image(self._path) as image:
            return range_of(self._values(image, page) for page in spread(self._pages))

    def _within(self, index: int, mask: Path) -> int:
        if index >= self.count:
            raise InputError(
                f"{short_path(mask)}: no frame {index} in {self._path.name}, which has {counted(self.count, 'image')}; name masks by image, from 00000.png"
            )
        return index

    def pictures(self, start: int, mask_size: tuple[int, int]) -> Iterator[Picture]:
        size, milliseconds = None, 0.0
        frame_range = self.frame_range
        with open_image(self._path) as image:
            for index, page in enumerate(self._pages):
                image.seek(page)
                image.load()
                duration = image.info.get("duration")
                if index >= start:
                    pixels = self._pixels(image, page, frame_range)
                    if size is None:
                        size = pixels.shape[:2]
                        refuse_tiny(size, self._path)
                    if pixels.shape[:2] != size:
                        raise InputError(
                            f"{short_path(self._path)}: image {index} of {size_text(pixels.shape[:2])} in a stack of {size_text(size)}; all must have one size"
                        )
                    yield Picture(index, pixels, None if duration is None else milliseconds / 1000)
                milliseconds += duration or 0

    def _pixels(self, image: Image.Image, page: int, frame_range: FrameRange | None) -> np.ndarray:
        if is_deep(image) != (frame_range is not None):
            raise InputError(
                f"{short_path(self._path)}: images of 8 and of 16 bits in one stack; all must have the same"
            )
        if frame_range is not None:
            return rgb_of(frame_range.to_8_bits(self._values(image, page, upright=True)))
        return np.array(ImageOps.exif_transpose(image).convert("RGB"))

    def _values(self, image: Image.Image, page: int, upright: bool = False) -> np.ndarray:
        image.seek(page)
        return deep_values(image, self._path, upright)
