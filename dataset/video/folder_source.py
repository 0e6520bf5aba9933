"""The images of a video from a folder of image files.

Legend: H W height and width in pixels. A position is an image's index in its source.
"""

import functools
from collections.abc import Container, Iterator, Sequence
from pathlib import Path

import numpy as np

from dataset.folders import list_files, short_path
from dataset.frame_range import SAMPLED_FRAMES, FrameRange, range_of, spread
from dataset.image_file import (
    ImageSizes,
    deep_values,
    image_sizes,
    is_deep,
    load_image,
    open_image,
    read_image,
    refuse_stack,
    size_text,
)
from dataset.video.folder_of_frames import (
    refuse_folder_of_videos,
    refuse_lost_frames,
    refuse_masks_among_frames,
)
from dataset.video.frame_source import FrameSource, Picture, check_frame_size, range_notes
from dataset.video.mask_names import position_in
from util.errors import InputError


class FolderSource(FrameSource):
    """Image files in natural order.

    Frames are turned upright as their EXIF data asks, unless the mask has the size of the frames
    as stored and not as shown: some tools for drawing masks turn images, others do not.
    """

    def __init__(self, paths: list[Path], frame_range: FrameRange | None = None):
        """frame_range: of 16-bit images; by default the range of up to SAMPLED_FRAMES of them."""
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
        """All images of a folder.

        Args:
            complete: refuse a numbering with few holes (see refuse_lost_frames).
            frame_range: see FolderSource.
            mask: a file that is not a frame, even if it lies in the folder.

        Raises:
            InputError: there are no images, or some of them look like masks.
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
        """The images with these stems, in the same order."""
        return FolderSource([path for path in self._paths if path.stem in stems], self._given_range)

    @functools.cached_property
    def frame_range(self) -> FrameRange | None:
        if not _is_deep_file(self._paths[0]):
            return None
        return self._given_range or range_of(_stored_values(path) for path in spread(self._paths))

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
                f"{short_path(mask)}: no frame {mask.stem} in {self._paths[0].parent}; put the "
                "frame back or remove the mask"
            )
        return self._positions[mask.stem]

    def index_of_single(self, mask: Path) -> int:
        try:
            return position_in(mask.stem, [path.stem for path in self._paths]) or 0
        except ValueError as error:
            raise InputError(
                f"{short_path(mask)}: no frame of number {error} in {self._paths[0].parent}, or "
                "several; name the mask as its frame, or without a number for the first frame"
            ) from error

    def size(self, index: int, mask_size: tuple[int, int]) -> tuple[int, int]:
        path = self._paths[index]
        sizes = image_sizes(path)
        with open_image(path) as image:
            refuse_stack(image, path)
        size = sizes.shown if _is_turned_upright(sizes, mask_size) else sizes.stored
        check_frame_size(size, short_path(path))
        return size

    def pictures(self, start: int, mask_size: tuple[int, int]) -> Iterator[Picture]:
        upright = _is_turned_upright(image_sizes(self._paths[start]), mask_size)
        first_size = None
        for index, path in enumerate(self._paths[start:], start):
            if (deep := _is_deep_file(path)) != (self.frame_range is not None):
                raise _mixed_depths(path, deep)
            image = read_image(path, upright, self.frame_range)
            size = image.shape[:2]
            if first_size is None:
                check_frame_size(size, short_path(path))
                first_size = size
            if size != first_size:
                raise InputError(
                    f"{short_path(path)}: frame of {size_text(size)} in a video of "
                    f"{size_text(first_size)}; all frames must have one size"
                )
            yield Picture(index, image)

    def pictures_at(
        self, positions: Sequence[int], mask_size: tuple[int, int]
    ) -> Iterator[Picture]:
        return (next(self.pictures(position, mask_size)) for position in positions)


def _is_turned_upright(sizes: ImageSizes, mask_size: tuple[int, int]) -> bool:
    """Whether frames of these sizes are read as shown (see FolderSource)."""
    return sizes.stored == sizes.shown or tuple(mask_size) != sizes.stored


def _is_deep_file(path: Path) -> bool:
    """Whether an image has 16 bits. Raises InputError for a stack of images."""
    with open_image(path) as image:
        refuse_stack(image, path)
        return is_deep(image)


def _stored_values(path: Path) -> np.ndarray:
    """The values of a 16-bit image as stored. Raises InputError if it has 8 bits."""
    image = load_image(path)
    if not is_deep(image):
        raise _mixed_depths(path, deep=False)
    return deep_values(image, path, upright=False)


def _mixed_depths(path: Path, deep: bool) -> InputError:
    bits, other_bits = (16, 8) if deep else (8, 16)
    return InputError(
        f"{short_path(path)}: frame of {bits} bits in a video of {other_bits} bits; all frames "
        "must have the same"
    )
