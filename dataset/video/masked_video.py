"""A video of images from one source and masks from files. Legend: H W height and width in pixels."""

import dataclasses
import os
from collections import deque
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from dataset.folders import IMAGE_SUFFIXES, MASK_SUFFIXES, list_files, require_file, short_path
from dataset.frame_range import FrameRange
from dataset.image_file import image_sizes
from dataset.label_map import (
    BINARY_ID,
    ColourNumbering,
    Colours,
    LabelMap,
    check_mask_header,
    present_ids,
    read_label_map,
)
from dataset.video.base import Frame, MaskSelection, TruncatedVideoError, Video
from dataset.video.frame_source import FrameSource
from dataset.video.inputs import InputFiles
from util.errors import InputError
from util.palette import DAVIS_PALETTE

MASKS_READ_BEFORE_START = 500
"""Of one video, that are decoded before it is begun; of further ones, as a folder with a mask for every frame has, the header alone is read."""
MASKS_NAMED, OBJECTS_NAMED = 20, 20
"""Of one video's masks, and of one mask's objects, in the lines that say what was read."""


class MaskedVideo(Video):
    """Frames from a source, ids from mask files.

    masks: position → file, at least one. corrections: masks given again count too. required: names of the frames whose results are wanted, None for all.
    numbered: frames' names are the numbers of their own indices in the video, of which some are not here.
    colours: the palette for RGB masks, or 'auto' (see read_palette). single_object: all ids are one object, 255 where masks are 0/255, otherwise 1 (DAVIS-2016).
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
        single_object: bool = False,
    ):
        if not masks:
            raise InputError(f"{name}: no mask; at least one object of one frame must be given")
        self.name = name
        self.frame_count = source.count
        self.frames_per_second = source.frames_per_second
        self.first_index = min(masks)
        self._source = source
        self._masks = masks
        self._corrections = corrections
        self._required = required
        self._numbered = numbered
        self._colours: Colours = ColourNumbering() if colours == "auto" else colours
        self._single_object = single_object
        self._palette: bytes | None = None
        self._selection = MaskSelection()
        self._notes: list[str] = []
        self._source_notes = 0  # how many of these are the source's

    @property
    def inputs(self) -> InputFiles:
        return InputFiles(
            frames=self._source.files,
            masks=[self._masks[index] for index in sorted(self._masks)],
            wanted=self._required,
        )

    @property
    def palette(self) -> bytes:
        if (
            self._palette is None
        ):  # not validated, as another process does of a video that this one segments
            numbering = isinstance(self._colours, ColourNumbering)
            for index in sorted(self._masks)[: MASKS_READ_BEFORE_START if numbering else 1]:
                self._read(index)
        return (
            self._colours.palette
            if isinstance(self._colours, ColourNumbering) and self._colours.ids
            else self._palette
        )

    @property
    def object_ids(self) -> tuple[int, ...]:
        return self._selection.object_ids

    @property
    def notes(self) -> list[str]:
        """Lines on how the frames are read, and on what was read of which mask."""
        new = self._source.notes[self._source_notes :]
        self._notes += new
        self._source_notes += len(new)
        return self._notes

    @property
    def frame_range(self) -> FrameRange | None:
        return self._source.frame_range

    @property
    def ignored_masks(self) -> int:
        return self._selection.ignored_masks

    def frames(self) -> Iterator[Frame]:
        self._selection = selection = MaskSelection(self._corrections)
        self._notes, self._source_notes = [], 0
        masks_told = 0
        mask_size = image_sizes(self._masks[self.first_index])[0]
        last = self._last_required()
        to_come = deque(sorted(self._masks))
        index = self.first_index
        for index, image, seconds in self._source.pictures(self.first_index, mask_size):
            labels = None
            if to_come and to_come[0] < index:
                raise TruncatedVideoError(
                    f"{short_path(self._masks[to_come[0]])}: its frame is damaged and cannot be decoded; results are for the frames before: draw it on another"
                )
            if index in self._masks:
                to_come.popleft()
                label_map = self._read(index, image.shape[:2])
                labels = selection.select(label_map.labels, short_path(self._masks[index]))
                if labels is not None or (self._corrections and not label_map.labels.any()):
                    masks_told += 1
                    self._tell(index, labels, label_map.note, masks_told)
            name = self._source.name_of(index)
            required, number = (
                self._required is None or name in self._required,
                int(name) if self._numbered else None,
            )
            yield Frame(
                index=index,
                name=name,
                image=image,
                labels=labels,
                required=required,
                seconds=seconds,
                number=number,
            )
            if index == last:
                return
        if to_come and not self.is_live:  # a live source may be stopped before the frame comes
            found = f"no frame {to_come[0]}; the last one is {index}"
            raise TruncatedVideoError(
                f"{short_path(self._masks[to_come[0]])}: {found}: name masks by frame, and give this one for another"
            )

    def _last_required(self) -> int | None:
        """The last position that frames() reaches; None: that of the last frame."""
        if self._required is None or self.frame_count is None:
            return None
        wanted = (
            index
            for index in range(self.first_index, self.frame_count)
            if self._source.name_of(index) in self._required
        )
        return max(wanted, default=self.first_index)

    def _tell(self, index: int, labels: np.ndarray | None, note: str | None, number: int) -> None:
        """Note what was read of a mask; of many masks in one video, the first."""
        if number > MASKS_NAMED:
            return
        found = (
            "no object: it corrects nothing, and removes nothing"
            if labels is None
            else describe_objects(labels)
        )
        line = (
            f"{self.name}: {self._masks[index].name} → frame {self._source.name_of(index)}: {found}"
        )
        self._notes.append(f"{line} ({note})" if note else line)
        if number == MASKS_NAMED:
            self._notes.append(f"{self.name}: further masks are used, but not named")

    def validate(self) -> None:
        first = self._masks[self.first_index]
        size = self._source.size(self.first_index, image_sizes(first)[0])
        selection = MaskSelection(self._corrections)
        for number, index in enumerate(sorted(self._masks)):
            if number < MASKS_READ_BEFORE_START:
                selection.select(self._read(index, size).labels, short_path(self._masks[index]))
            else:
                check_mask_header(self._masks[index], size)

    def _read(self, index: int, size: tuple[int, int] | None = None) -> LabelMap:
        label_map = read_label_map(self._masks[index], size, self._colours)
        if self._palette is None and index == self.first_index:
            self._palette = label_map.palette or DAVIS_PALETTE
        if (
            self._single_object
            and len(ids := present_ids(label_map.labels)) > 1
            and BINARY_ID not in ids
        ):
            return dataclasses.replace(label_map, labels=(label_map.labels > 0).astype(np.uint8))
        return label_map


def describe_objects(labels: np.ndarray) -> str:
    """The objects in a label map uint8 [H, W] and the share of the image that each covers: 'objects 1 (12.1 %), 2 (3.4 %)'."""
    ids = present_ids(labels)
    areas = np.bincount(labels.ravel(), minlength=256)
    shares = [(object_id, 100 * areas[object_id] / labels.size) for object_id in ids]
    shown = [
        f"{object_id} ({share:.1f} %)" if share >= 0.05 else f"{object_id} (under 0.1 %)"
        for object_id, share in shares[:OBJECTS_NAMED]
    ]
    return f"objects {', '.join(shown)}" + (
        f" and {len(ids) - OBJECTS_NAMED} more" if len(ids) > OBJECTS_NAMED else ""
    )


def find_masks(masks: Path, source: FrameSource, video_stem: str | None = None) -> dict[int, Path]:
    """Position → mask file: those of a folder, by their names, or one file.

    One file belongs to the frame of its name or number; a file of another name, or of the video's own name, `video_stem`, belongs to the first frame.
    Raises InputError where there is no mask, or where the one is named by a frame that is not there.
    """
    if masks.is_dir():
        return masks_of_folder(masks, source)
    if not os.path.lexists(masks):
        raise InputError(f"{masks}: no such mask; give a PNG of object ids, or a folder of them")
    require_file(masks, str(masks))
    return {0 if masks.stem == video_stem else source.position_of(masks): masks}


def masks_of_folder(folder: Path, source: FrameSource) -> dict[int, Path]:
    """Position → mask file, by the files' names. Raises InputError where there is no mask, one without its frame, or one for a frame that is no PNG."""
    masks: dict[int, Path] = {}
    for path in list_files(folder, MASK_SUFFIXES):
        other = masks.setdefault(source.index_of(path), path)
        if other is not path:
            raise InputError(
                f"{short_path(path)}: {other.name} is a mask of the same frame; keep one of them"
            )
    if not any(path.parent == folder for path in source.files):
        _refuse_lost_masks(folder, source, {path.stem for path in masks.values()})
    if not masks:
        raise InputError(
            f"{folder}: no mask; a .png of object ids is needed for at least one frame"
        )
    return masks


def _refuse_lost_masks(folder: Path, source: FrameSource, known: set[str]) -> None:
    """Raise InputError for an image of another kind that is named as a frame without a mask; it would be left out in silence."""
    for path in sorted(folder.iterdir()):
        if (
            path.suffix.lower() not in IMAGE_SUFFIXES
            or path.name.startswith(".")
            or path.stem in known
        ):
            continue
        try:
            index = source.index_of(path)
        except InputError:
            continue  # no frame's
        raise InputError(
            f"{short_path(path)}: named as frame {source.name_of(index)}, but no PNG; save the mask as an indexed PNG, or remove the file"
        )
