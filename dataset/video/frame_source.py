"""Where the images of a video come from: the interface, and what its implementations share.

Legend: H W height and width in pixels. A position is an image's index in its source.
"""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dataset.folders import short_path
from dataset.frame_range import FrameRange
from dataset.image_file import size_text
from dataset.video.base import MINIMUM_SIDE_PIXELS
from dataset.video.mask_names import is_number, number_in
from util.errors import InputError


class Picture(NamedTuple):
    """An image of a source.

    index: its position. image: RGB uint8 [H, W, 3]. seconds: when it is shown, from an origin of
    the source's own; None if unknown.
    """

    index: int
    image: np.ndarray
    seconds: float | None = None


class FrameSource(ABC):
    """The images of one video, by position.

    count: the number of images as far as it is known without reading them; that of a video file
        may be wrong. None if unknown.
    files: the files that the images are read from, in order; none for a camera or a stream.
    frame_range: what 16-bit images are scaled by; None if images have 8 bits.
    """

    count: int | None
    frames_per_second: float | None = None
    files: Sequence[Path] = ()
    frame_range: FrameRange | None = None

    @property
    def notes(self) -> list[str]:
        """Lines for the user on how the images are read; more are added during reading."""
        return []

    @abstractmethod
    def name_of(self, index: int) -> str:
        """The file stem for results at this position."""

    @abstractmethod
    def index_of(self, mask: Path) -> int:
        """The position that a mask among several belongs to, by its name.

        Raises:
            InputError: no image has this name.
        """

    @abstractmethod
    def index_of_single(self, mask: Path) -> int:
        """The position that a single mask belongs to.

        That is the image of its name or number, or the first image if it has any other name.

        Raises:
            InputError: no image has this number, or several have.
        """

    @abstractmethod
    def size(self, index: int, mask_size: tuple[int, int]) -> tuple[int, int]:
        """(H, W) of the images that pictures(index, mask_size) yields. Decodes at most one.

        Raises:
            InputError: the image is missing, damaged or too small.
        """

    @abstractmethod
    def pictures(self, start: int, mask_size: tuple[int, int]) -> Iterator[Picture]:
        """The images from position `start` to the end, all of one size.

        Positions rise by one, unless the source drops images.

        Args:
            mask_size: (H, W) of the masks, which may decide how images are turned.

        Raises:
            InputError: an image is damaged, of another size than the first, or too small.
            TruncatedVideoError: the video ends before its stated length.
        """

    def pictures_at(
        self, positions: Sequence[int], mask_size: tuple[int, int]
    ) -> Iterator[Picture]:
        """The images at ascending positions; those that cannot be decoded are left out.

        By default, all images from the first to the last are read.
        """
        wanted = set(positions)
        with contextlib.closing(self.pictures(positions[0], mask_size)) as pictures:
            for picture in pictures:
                if picture.index in wanted:
                    yield picture
                if picture.index >= positions[-1]:
                    return


class NumberedSource(FrameSource):
    """Images without names. Masks and results are named by position: 00000, 00001, ..."""

    def name_of(self, index: int) -> str:
        return f"{index:05d}"

    def index_of(self, mask: Path) -> int:
        if not is_number(mask.stem):
            raise InputError(
                f"{short_path(mask)}: not the number of a frame; name masks of a video file or "
                "live source by frame, from 00000.png"
            )
        return self._existing_index(int(mask.stem), mask)

    def index_of_single(self, mask: Path) -> int:
        number = number_in(mask.stem)
        return 0 if number is None else self._existing_index(number, mask)

    def _existing_index(self, index: int, mask: Path) -> int:
        """The position itself. Raises InputError, naming the mask, if it is past a known end."""
        return index


def range_notes(
    name: str,
    used: FrameRange | None,
    given: FrameRange | None,
    sampled_count: int,
    count: int | None,
) -> list[str]:
    """Notes on how 16-bit frames are scaled, or on a range that is not used.

    Args:
        name: the source's name.
        used: the range that is used; None if frames have 8 bits.
        given: the user's range, if there is one.
        sampled_count: the number of frames whose values the range was computed from.
        count: the number of all frames; None if unknown.
    """
    if used is None:
        unused = f"{name}: 8-bit frames, which need no range; --frame_range is not used"
        return [] if given is None else [unused]
    if given is None:
        sample = "all" if sampled_count == count else f"{sampled_count}"
        origin = (
            f"the range of {sample} frames, but for 0.01 % at each end; --frame_range LOW HIGH "
            "sets it"
        )
    else:
        origin = "by --frame_range"
    scale = f"{used.low} is read as black and {used.high} as white"
    return [f"{name}: 16-bit frames; {scale} ({origin})"]


def check_frame_size(size: tuple[int, int], source: str) -> None:
    """Raise InputError for frames that are too small to be segmented.

    Args:
        size: (H, W). source: the frame's file or source, for the message.
    """
    if min(size) < MINIMUM_SIDE_PIXELS:
        raise InputError(
            f"{source}: frame of {size_text(size)}; the shorter side must have at least "
            f"{MINIMUM_SIDE_PIXELS} pixels"
        )
