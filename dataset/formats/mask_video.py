"""Masks of a video as every format is read into and written from.

Legend: H W height and width of a frame in pixels.
"""

import dataclasses
from collections.abc import Callable, Collection, Mapping

import numpy as np

from util.errors import InputError
from util.palette import DAVIS_PALETTE

LARGEST_ID = 254
"""Of an object beside others; 255 is an object only if it is the video's single id."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ObjectInfo:
    """What a file says of an object beside its masks.

    category: the name of its kind; None if the file has none. category_id, track_id: the file's own
    numbers for the kind and for the object; None if it has none. Formats that have such numbers
    write them again.
    """

    category: str | None = None
    category_id: int | None = None
    track_id: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskFrame:
    """One frame with a mask, which may be empty.

    name: the stem of its file. size: (H, W). file_name: of the image, as the source or --frames
    has it; None if unknown. read: decodes the labels, uint8 [H, W] of ids; 255 beside others is
    void. It may raise InputError.
    """

    name: str
    size: tuple[int, int]
    read: Callable[[], np.ndarray]
    file_name: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskVideo:
    """The masks of one video, decoded one frame at a time.

    name: also the name of its folder. frames: those with masks, in order, at least one; others
    have none. objects: by id, ascending, all that any frame may show; void is none of them.
    palette: 768 bytes. notes: lines for the user; reading the frames may add some.
    """

    name: str
    frames: tuple[MaskFrame, ...]
    objects: Mapping[int, ObjectInfo]
    palette: bytes = DAVIS_PALETTE
    notes: list[str] = dataclasses.field(default_factory=list)

    @property
    def object_ids(self) -> tuple[int, ...]:
        return tuple(self.objects)

    def size(self) -> tuple[int, int]:
        """(H, W) of all frames. Raises InputError if they differ."""
        sizes = {frame.size: frame for frame in self.frames}
        if len(sizes) > 1:
            (first, one), (second, other) = list(sizes.items())[:2]
            raise InputError(
                f"{self.name}: frames of {first[1]}x{first[0]} ({one.name}) and of "
                f"{second[1]}x{second[0]} ({other.name}); a video has one size: convert to png, "
                "davis or coco instead"
            )
        return self.frames[0].size

    def only(self, object_ids: Collection[int]) -> "MaskVideo":
        """The same frames with some of the objects; the others become background.

        Raises InputError if the video has none of them.
        """
        kept = {index: info for index, info in self.objects.items() if index in object_ids}
        if not kept:
            found = " ".join(map(str, self.objects)) or "none"
            raise InputError(f"{self.name}: none of the objects asked for; it has {found}")
        table = np.zeros(256, np.uint8)
        table[list(kept)] = list(kept)
        frames = tuple(
            dataclasses.replace(frame, read=lambda read=frame.read: table[read()])
            for frame in self.frames
        )
        return dataclasses.replace(self, frames=frames, objects=kept)
