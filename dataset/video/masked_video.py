"""A video with images from one source and masks from files.

Legend: H W height and width in pixels. A position is a frame's index in its source.
"""

import contextlib
import dataclasses
import os
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from dataset.folders import (
    IMAGE_SUFFIXES,
    MASK_SUFFIXES,
    has_suffix,
    list_files,
    require_file,
    short_path,
)
from dataset.frame_range import FrameRange
from dataset.image_file import image_sizes
from dataset.label_map import (
    LabelMap,
    check_mask_header,
    present_ids,
    read_label_map,
)
from dataset.mask_colours import ColourNumbering, Colours
from dataset.video.base import Frame, TruncatedVideoError, Video
from dataset.video.frame_source import FrameSource
from dataset.video.inputs import InputFiles
from dataset.video.mask_selection import MaskSelection
from util.errors import InputError
from util.palette import DAVIS_PALETTE

MASKS_READ_BEFORE_START = 500
"""Masks of one video that validate() decodes; of the remaining ones, only the headers are read."""
MASKS_NAMED, OBJECTS_NAMED = 20, 20
"""How many masks of a video, and objects of a mask, the notes list."""


class MaskedVideo(Video):
    """Frames from a source, ids from mask files.

    Args:
        masks: position → file, at least one.
        corrections: masks of known objects count too.
        required: names of the frames whose results are wanted; None for all.
        numbered: frames' names are their indices in the whole video; some frames may be missing.
        colours: the palette for RGB masks, or 'auto' (see read_palette).
        relabel: what a mask's labels become, such as as_one_object; by default they stay.

    Raises:
        ValueError: there is no mask.
    """

    def __init__(
        self,
        name: str,
        source: FrameSource,
        masks: dict[int, Path],
        *,
        corrections: bool = False,
        required: Collection[str] | None = None,
        numbered: bool = False,
        colours: bytes | Literal["auto"] | None = None,
        relabel: Callable[[np.ndarray], np.ndarray] | None = None,
    ):
        if not masks:
            raise ValueError(f"{name}: no mask; at least one is needed")
        self.name = name
        self.frame_count = source.count
        self.frames_per_second = source.frames_per_second
        self.first_index = min(masks)
        self._source = source
        self._masks = dict(sorted(masks.items()))
        self._corrections = corrections
        self._required = required
        self._numbered = numbered
        self._colours: Colours = ColourNumbering() if colours == "auto" else colours
        self._relabel = relabel
        self._palette: bytes | None = None
        self._selection = MaskSelection()
        self._notes: list[str] = []
        self._masks_described = 0  # in the notes
        self._source_notes_taken = 0

    @property
    def inputs(self) -> InputFiles:
        return InputFiles(
            frames=self._source.files, masks=list(self._masks.values()), wanted=self._required
        )

    @property
    def palette(self) -> bytes:
        is_numbering = isinstance(self._colours, ColourNumbering)
        if self._palette is None:  # another process has validated the video
            for index in list(self._masks)[: MASKS_READ_BEFORE_START if is_numbering else 1]:
                self._read_mask(index)
        return self._colours.palette if is_numbering and self._colours.ids else self._palette

    @property
    def object_ids(self) -> tuple[int, ...]:
        return self._selection.object_ids

    @property
    def notes(self) -> list[str]:
        """Lines on how the frames are read, and on what was read from each mask."""
        new = self._source.notes[self._source_notes_taken :]
        self._notes += new
        self._source_notes_taken += len(new)
        return self._notes

    @property
    def frame_range(self) -> FrameRange | None:
        return self._source.frame_range

    @property
    def ignored_masks(self) -> int:
        return self._selection.ignored_masks

    def frames(self) -> Iterator[Frame]:
        self._begin_selection()
        last_required = self._last_required_index()
        masks_ahead = deque(self._masks)
        index = self.first_index
        for index, image, seconds in self._source.pictures(self.first_index, self._mask_size()):
            if masks_ahead and masks_ahead[0] < index:
                raise TruncatedVideoError(
                    f"{short_path(self._masks[masks_ahead[0]])}: its frame is damaged and cannot "
                    "be decoded; results are for the frames before: draw it on another"
                )
            labels = None
            if index in self._masks:
                masks_ahead.popleft()
                labels = self._select_mask(index, image.shape[:2])
            yield self._frame(index, image, labels, seconds)
            if index == last_required:
                return
        self._check_end(masks_ahead, index)

    def annotations(self) -> dict[int, np.ndarray]:
        """The masks that count by position, labels uint8 [H, W], as frames() selects them.

        At most the first annotated frame is decoded. Raises InputError if a mask is wrong.
        """
        self._begin_selection()
        size = self._source.size(self.first_index, self._mask_size())
        selected = {index: self._select_mask(index, size) for index in self._masks}
        return {index: labels for index, labels in selected.items() if labels is not None}

    def annotated_frames(self) -> Iterator[Frame]:
        selected = self.annotations()
        frames = self.read_at(list(selected))
        return (dataclasses.replace(frame, labels=selected[frame.index]) for frame in frames)

    def read(self, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
        with contextlib.closing(self._source.pictures(start, self._mask_size())) as pictures:
            for index, image, seconds in pictures:
                if stop is not None and index >= stop:
                    return
                yield self._frame(index, image, None, seconds)
                if stop is not None and index == stop - 1:
                    return

    def read_at(self, positions: Sequence[int]) -> Iterator[Frame]:
        pictures = self._source.pictures_at(positions, self._mask_size())
        return (self._frame(index, image, None, seconds) for index, image, seconds in pictures)

    def _mask_size(self) -> tuple[int, int]:
        return image_sizes(self._masks[self.first_index]).stored

    def _begin_selection(self) -> None:
        self._selection = MaskSelection(self._corrections)
        self._notes, self._source_notes_taken, self._masks_described = [], 0, 0

    def _select_mask(self, index: int, size: tuple[int, int]) -> np.ndarray | None:
        """The part of a mask that counts; a note says what that is."""
        mask = self._read_mask(index, size)
        labels = self._selection.select(mask.labels, short_path(self._masks[index]))
        if labels is not None or (self._corrections and not mask.labels.any()):
            self._masks_described += 1
            self._describe_mask(index, labels, mask.note, self._masks_described)
        return labels

    def _frame(
        self, index: int, image: np.ndarray, labels: np.ndarray | None, seconds: float | None
    ) -> Frame:
        name = self._source.name_of(index)
        return Frame(
            index=index,
            name=name,
            image=image,
            labels=labels,
            required=self._required is None or name in self._required,
            seconds=seconds,
            number=int(name) if self._numbered else None,
        )

    def _last_required_index(self) -> int | None:
        """The position at which frames() may end; None: the source's end."""
        if self._required is None or self.frame_count is None:
            return None
        required = (
            index
            for index in range(self.first_index, self.frame_count)
            if self._source.name_of(index) in self._required
        )
        return max(required, default=self.first_index)

    def _check_end(self, masks_ahead: Sequence[int], last_index: int) -> None:
        """Raise TruncatedVideoError if the source ended before the frames of some masks."""
        if masks_ahead:
            raise TruncatedVideoError(
                f"{short_path(self._masks[masks_ahead[0]])}: no frame {masks_ahead[0]}; the last "
                f"one is {last_index}: name masks by frame, and give this one for another"
            )

    def _describe_mask(
        self, index: int, labels: np.ndarray | None, note: str | None, number: int
    ) -> None:
        """Add a note on what was read from a mask, the `number`-th of the video that counts."""
        if number > MASKS_NAMED:
            return
        if labels is None:
            finding = "no object: it corrects nothing, and removes nothing"
        else:
            finding = describe_objects(labels)
        mask, frame = self._masks[index].name, self._source.name_of(index)
        line = f"{self.name}: {mask} → frame {frame}: {finding}"
        self._notes.append(f"{line} ({note})" if note else line)
        if number == MASKS_NAMED:
            self._notes.append(f"{self.name}: further masks are used, but not named")

    def validate(self) -> None:
        size = self._source.size(self.first_index, self._mask_size())
        selection = MaskSelection(self._corrections)
        for number, (index, path) in enumerate(self._masks.items()):
            if number < MASKS_READ_BEFORE_START:
                selection.select(self._read_mask(index, size).labels, short_path(path))
            else:
                check_mask_header(path, size)

    def _read_mask(self, index: int, size: tuple[int, int] | None = None) -> LabelMap:
        label_map = read_label_map(self._masks[index], size, self._colours)
        if self._palette is None and index == self.first_index:
            self._palette = label_map.palette or DAVIS_PALETTE
        if self._relabel is None:
            return label_map
        return dataclasses.replace(label_map, labels=self._relabel(label_map.labels))


def describe_objects(labels: np.ndarray) -> str:
    """The objects in labels uint8 [H, W] and their shares of the image.

    For example 'objects 1 (12.1 %), 2 (3.4 %)'.
    """
    ids = present_ids(labels)
    areas = np.bincount(labels.ravel(), minlength=256)
    shares = [(object_id, 100 * areas[object_id] / labels.size) for object_id in ids]
    shown = [
        f"{object_id} ({share:.1f} %)" if share >= 0.05 else f"{object_id} (under 0.1 %)"
        for object_id, share in shares[:OBJECTS_NAMED]
    ]
    more = f" and {len(ids) - OBJECTS_NAMED} more" if len(ids) > OBJECTS_NAMED else ""
    return f"objects {', '.join(shown)}{more}"


def find_masks(masks: Path, source: FrameSource, video_stem: str | None = None) -> dict[int, Path]:
    """Position → mask file.

    Args:
        masks: a folder, whose files belong to the frames of their names; or one file, which
            belongs to the frame of its name or number. A file of any other name, or of the
            video's own name, belongs to the first frame.
        video_stem: the video's own name.

    Raises:
        InputError: there is no mask, or a mask's frame does not exist.
    """
    if masks.is_dir():
        return masks_of_folder(masks, source)
    if not os.path.lexists(masks):
        raise InputError(f"{masks}: no such mask; give a PNG of object ids, or a folder of them")
    require_file(masks, str(masks))
    return {0 if masks.stem == video_stem else source.index_of_single(masks): masks}


def masks_of_folder(folder: Path, source: FrameSource) -> dict[int, Path]:
    """Position → mask file, by the files' names.

    Raises:
        InputError: there is no mask, a mask's frame does not exist, two masks belong to one frame,
            or an image that is named as a frame is not a PNG.
    """
    masks: dict[int, Path] = {}
    for path in list_files(folder, MASK_SUFFIXES):
        other = masks.setdefault(source.index_of(path), path)
        if other is not path:
            raise InputError(
                f"{short_path(path)}: {other.name} is a mask of the same frame; keep one of them"
            )
    if not any(path.parent == folder for path in source.files):
        _refuse_masks_of_other_kinds(folder, source, {path.stem for path in masks.values()})
    if not masks:
        raise InputError(
            f"{folder}: no mask; a .png of object ids is needed for at least one frame"
        )
    return masks


def _refuse_masks_of_other_kinds(folder: Path, source: FrameSource, known: set[str]) -> None:
    """Raise InputError for an image that is named as a frame without a mask, but is not a PNG.

    Reading PNGs alone would ignore it silently.
    """
    for path in sorted(folder.iterdir()):
        if not has_suffix(path, IMAGE_SUFFIXES) or path.stem in known:
            continue
        try:
            index = source.index_of(path)
        except InputError:
            continue  # not named as a frame
        raise InputError(
            f"{short_path(path)}: named as frame {source.name_of(index)}, but no PNG; save the "
            "mask as an indexed PNG, or remove the file"
        )
