"""A video of images from one source and masks from files. Legend: H W height and width in pixels."""

from collections import deque
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np

from dataset.frame_range import FrameRange
from dataset.frame_source import FrameSource
from dataset.image_file import MASK_SUFFIXES, image_sizes, list_files, place
from dataset.inputs import InputFiles
from dataset.label_map import BINARY_ID, LabelMap, present_ids, read_label_map
from dataset.video import Frame, MaskSelection, TruncatedVideoError, Video
from util.errors import InputError
from util.palette import DAVIS_PALETTE


class MaskedVideo(Video):
    """Frames from a source, ids from mask files.

    masks: position → file, at least one. corrections: masks given again count too. required: names of the frames whose results are wanted, None for all.
    numbered: frames' names are the numbers of their own indices in the video, of which some are not here. colours: the palette for RGB masks (see
    read_label_map). single_object: all ids are one object, 255 where masks are 0/255, otherwise 1 (DAVIS-2016).
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
        colours: bytes | None = None,
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
        self._colours = colours
        self._single_object = single_object
        self._palette: bytes | None = None
        self._selection = MaskSelection()

    @property
    def inputs(self) -> InputFiles:
        return InputFiles(frames=self._source.files, masks=[self._masks[index] for index in sorted(self._masks)], wanted=self._required)

    @property
    def palette(self) -> bytes:
        if self._palette is None:
            self._palette = self._read(self.first_index).palette or DAVIS_PALETTE
        return self._palette

    @property
    def object_ids(self) -> tuple[int, ...]:
        return self._selection.object_ids

    @property
    def notes(self) -> list[str]:
        return self._source.notes

    @property
    def frame_range(self) -> FrameRange | None:
        return self._source.frame_range

    @property
    def ignored_masks(self) -> int:
        return self._selection.ignored_masks

    def frames(self) -> Iterator[Frame]:
        self._selection = selection = MaskSelection(self._corrections)
        mask_size = image_sizes(self._masks[self.first_index])[0]
        last = self._last_required()
        to_come = deque(sorted(self._masks))
        index = self.first_index
        for index, image, seconds in self._source.pictures(self.first_index, mask_size):
            labels = None
            if to_come and to_come[0] < index:
                raise TruncatedVideoError(f"{place(self._masks[to_come[0]])}: its frame is damaged and cannot be decoded; results are for the frames before: draw it on another")
            if index in self._masks:
                to_come.popleft()
                labels = selection.select(self._read(index, image.shape[:2]).labels, place(self._masks[index]))
            name = self._source.name_of(index)
            required, number = self._required is None or name in self._required, int(name) if self._numbered else None
            yield Frame(index=index, name=name, image=image, labels=labels, required=required, seconds=seconds, number=number)
            if index == last:
                return
        if to_come and not self.is_live:  # a live source may be stopped before the frame comes
            found = f"no frame {to_come[0]}; the last one is {index}"
            raise TruncatedVideoError(f"{place(self._masks[to_come[0]])}: {found}: name masks by frame, and give this one for another")

    def _last_required(self) -> int | None:
        """The last position that frames() reaches; None: that of the last frame."""
        if self._required is None or self.frame_count is None:
            return None
        wanted = (index for index in range(self.first_index, self.frame_count) if self._source.name_of(index) in self._required)
        return max(wanted, default=self.first_index)

    def validate(self) -> None:
        first = self._masks[self.first_index]
        size = self._source.size(self.first_index, image_sizes(first)[0])
        MaskSelection().select(self._read(self.first_index, size).labels, place(first))

    def _read(self, index: int, size: tuple[int, int] | None = None) -> LabelMap:
        label_map = read_label_map(self._masks[index], size, self._colours)
        if self._palette is None and index == self.first_index:
            self._palette = label_map.palette or DAVIS_PALETTE
        if self._single_object and len(ids := present_ids(label_map.labels)) > 1 and BINARY_ID not in ids:
            return LabelMap(labels=(label_map.labels > 0).astype(np.uint8), palette=label_map.palette)
        return label_map


def find_masks(masks: Path, source: FrameSource, position: int = 0) -> dict[int, Path]:
    """Position → mask file: those of a folder, by their names, or one file, for the frame at `position`. Raises InputError where there is none."""
    if masks.is_dir():
        return masks_of_folder(masks, source)
    if not masks.is_file():
        raise InputError(f"{masks}: no such mask; give a PNG of object ids, or a folder of them")
    return {position: masks}


def masks_of_folder(folder: Path, source: FrameSource) -> dict[int, Path]:
    """Position → mask file, by the files' names. Raises InputError where there is no mask, or one without its frame."""
    masks: dict[int, Path] = {}
    for path in list_files(folder, MASK_SUFFIXES):
        other = masks.setdefault(source.index_of(path), path)
        if other is not path:
            raise InputError(f"{place(path)}: {other.name} is a mask of the same frame; keep one of them")
    if not masks:
        raise InputError(f"{folder}: no mask; a .png of object ids is needed for at least one frame")
    return masks
