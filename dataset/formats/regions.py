"""Regions that annotation tools store become the masks of a video.

Legend: H W height and width of a frame in pixels.
"""

import dataclasses
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence

import numpy as np

from dataset.formats.mask_video import LARGEST_ID, MaskFrame, MaskVideo, ObjectInfo
from dataset.label_map import BINARY_ID
from util.errors import InputError
from util.text import counted

_NUMBERS_NAMED = 10


@dataclasses.dataclass(frozen=True, kw_only=True)
class FrameEntry:
    """A frame that the source lists. size: (H, W). file_name: of its image, if it says so."""

    size: tuple[int, int]
    file_name: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Region:
    """A drawn part of one object in one frame.

    frame: its name. mask: draws it, bool [H, W]. where: in the file, for messages.
    label, category_id: of the object's kind. track: the object's number in the whole video; None if
    the source does not follow objects from frame to frame. group: what regions of one object have
    in common beside the label; None if it is alone. depth: regions of larger depth lie in front.
    """

    frame: str
    mask: Callable[[], np.ndarray]
    where: str
    label: str | None = None
    category_id: int | None = None
    track: int | None = None
    group: Hashable = None
    depth: int = 0

    @property
    def key(self) -> Hashable:
        """What identifies the object."""
        if self.track is not None:
            return self.track
        return self.label, self.category_id, self.group

    @property
    def info(self) -> ObjectInfo:
        """What the source says of the object."""
        return ObjectInfo(category=self.label, category_id=self.category_id, track_id=self.track)

    @property
    def number(self) -> int | None:
        """The id that the source suggests for the object."""
        if self.track is not None:
            return self.track
        if self.group is None and self.label is not None and self.label.isdecimal():
            return int(self.label)
        return self.category_id if self.group is None else None


def note_of_left_out(kinds: Mapping[str, int]) -> list[str]:
    """The note on shapes that cover no area, by their kind; none if there are no such shapes."""
    counts = ", ".join(f"{kind} ({count})" for kind, count in sorted(kinds.items()))
    return [f"shapes without an area left out: {counts}"] if counts else []


def video_of_regions(
    name: str,
    frames: Mapping[str, FrameEntry],
    regions: Sequence[Region],
    notes: Iterable[str] = (),
) -> MaskVideo:
    """The masks of a video.

    Of regions that overlap in a frame, the one in front counts, and of equal depth the later one.
    Regions of one track are one object, in all frames. Without tracks, these are the regions of one
    label and group; if a frame has several such without a group, each is an object of its own.
    An object's id is its track, or the number that is its label, or its category's id, if these
    differ and lie in 1..254; otherwise objects are numbered in this order, which a note says.

    Args:
        frames: by name, in order; regions are of these. notes: on what was left out.

    Raises:
        InputError: there are more than 254 objects, or nothing says which regions of several
            frames are the same object.
    """
    video_notes = [f"{name}: {note}" for note in notes]
    regions = [dataclasses.replace(r, group=g) for r, g in zip(regions, _groups(name, regions))]
    order = {frame: position for position, frame in enumerate(frames)}
    first: dict[Hashable, Region] = {}  # of each object
    for region in sorted(regions, key=lambda region: order[region.frame]):
        first.setdefault(region.key, region)
    numbers = {key: region.number for key, region in first.items()}
    ids = _number_objects(name, numbers, video_notes)
    by_frame: dict[str, list[tuple[int, Region]]] = {frame: [] for frame in frames}
    for region in sorted(regions, key=lambda region: region.depth):
        by_frame[region.frame].append((ids[region.key], region))
    paste = _Pasting(name, video_notes)
    return MaskVideo(
        name=name,
        frames=tuple(
            MaskFrame(
                name=frame,
                size=entry.size,
                file_name=entry.file_name,
                read=lambda frame=frame, entry=entry: paste(frame, entry.size, by_frame[frame]),
            )
            for frame, entry in frames.items()
        ),
        objects={ids[key]: first[key].info for key in sorted(ids, key=ids.__getitem__)},
        notes=video_notes,
    )


class _Pasting:
    """Draws the regions of a frame; the first overlap of the video adds a note."""

    def __init__(self, name: str, notes: list[str]):
        self._name, self._notes = name, notes
        self._has_met_overlap = False

    def __call__(
        self, frame: str, size: tuple[int, int], regions: Sequence[tuple[int, Region]]
    ) -> np.ndarray:
        labels = np.zeros(size, np.uint8)
        for object_id, region in regions:
            mask = region.mask()
            if not self._has_met_overlap and np.setdiff1d(labels[mask], (0, object_id)).size:
                self._has_met_overlap = True
                self._notes.append(
                    f"{self._name}: objects overlap, first in frame {frame}; the one in front, or "
                    "else the later one in the file, counts"
                )
            labels[mask] = object_id
        return labels


def _groups(name: str, regions: Sequence[Region]) -> list[Hashable]:
    """The group of each region; those that are objects of their own get one each."""
    frames_of: dict[Hashable, list[str]] = {}
    for region in regions:
        if region.track is None and region.group is None:
            frames_of.setdefault(region.key, []).append(region.frame)
    repeated = {key for key, frames in frames_of.items() if len(set(frames)) < len(frames)}
    loose = [
        region.track is None and region.group is None and region.key in repeated
        for region in regions
    ]
    if any(loose) and len({region.frame for region in regions}) > 1:
        region = regions[loose.index(True)]
        raise InputError(
            f"{region.where}: a frame has several regions {region.label!r} without a track or "
            f"group, and {name} several such frames; give each object a track, a group or a label "
            "of its own"
        )
    return [
        ("region", position) if is_loose else region.group
        for position, (region, is_loose) in enumerate(zip(regions, loose))
    ]


def _number_objects(
    name: str, numbers: Mapping[Hashable, int | None], notes: list[str]
) -> dict[Hashable, int]:
    """The id of each object. numbers: what the source suggests, in order of appearance."""
    suggested = list(numbers.values())
    given = {number for number in suggested if number is not None}
    is_usable = len(given) == len(suggested) and (
        given == {BINARY_ID} or all(1 <= number <= LARGEST_ID for number in given)
    )
    if is_usable:
        return dict(numbers)
    if len(numbers) > LARGEST_ID:
        raise InputError(
            f"{name}: {counted(len(numbers), 'object')}; a mask of 8 bits holds {LARGEST_ID}: "
            "convert parts of the video"
        )
    in_order = list(numbers)
    if len(given) == len(suggested):
        in_order.sort(key=numbers.__getitem__)
    ids = {key: position for position, key in enumerate(in_order, 1)}
    named = [f"{_key_text(key)} → {index}" for key, index in ids.items()]
    more = f" and {len(named) - _NUMBERS_NAMED} more" if len(named) > _NUMBERS_NAMED else ""
    if named:
        notes.append(f"{name}: objects are numbered: {', '.join(named[:_NUMBERS_NAMED])}{more}")
    return ids


def _key_text(key: Hashable) -> str:
    if not isinstance(key, tuple):
        return f"track {key}"
    label, category_id, group = key
    text = str(category_id if label is None else label)
    is_alone = group is None or (isinstance(group, tuple) and group[0] == "region")
    return text if is_alone else f"{text} (group {group})"
