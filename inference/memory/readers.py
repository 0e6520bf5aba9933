"""Which elements of a memory bank each object reads.

Legend: N memory elements (rows), M elements of a frame.

An object reads the rows since it joined. Preloaded frames precede all others in the tables,
wherever they are in the video; an object reads those of them that have its values.
"""

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor


@dataclasses.dataclass(frozen=True)
class ReadingGroup:
    """Objects that read the same elements, with one top-k and one set of weights."""

    object_ids: tuple[int, ...]
    rows: slice | Tensor  # what they read; int64 if it is not contiguous
    first_frames: int  # at how many frames the objects joined

    @property
    def offset(self) -> int:
        """The row that indices of the group's reads count from."""
        return self.rows.start if isinstance(self.rows, slice) else 0


@dataclasses.dataclass
class _Member:
    """What is known of an object."""

    first_frame: int | None = None  # None: it has not joined, and is only in preloaded frames
    first_element: int = 0  # once it joined: the first row that it reads behind preloaded frames
    was_shown: bool = False  # whether an element that was not temporary has shown it
    # the frames, by their numbers among the preloaded ones, that it reads
    preloaded: frozenset[int] = frozenset()


class Readers:
    """The objects of a memory bank, and the rows that each of them reads."""

    def __init__(self):
        self.preloaded_frames: list[int] = []  # in the order of their rows
        self._members: dict[int, _Member] = {}
        self._frame_elements = 0  # of a preloaded frame

    @property
    def ids(self) -> tuple[int, ...]:
        """All objects, also those that have not joined."""
        return tuple(self._members)

    @property
    def first_frames(self) -> frozenset[int]:
        """The frames at which the objects joined."""
        first_frames = (member.first_frame for member in self._members.values())
        return frozenset(frame for frame in first_frames if frame is not None)

    @property
    def waiting_ids(self) -> tuple[int, ...]:
        """The objects that preloaded frames show and that have not joined."""
        return tuple(i for i, member in self._members.items() if member.first_frame is None)

    @property
    def first_elements(self) -> list[int]:
        """The first row of each object, in the order of `ids`; to be set when rows are evicted."""
        return [member.first_element for member in self._members.values()]

    @first_elements.setter
    def first_elements(self, first_elements: Sequence[int]) -> None:
        for member, first_element in zip(self._members.values(), first_elements, strict=True):
            member.first_element = first_element

    def first_element(self, object_id: int) -> int:
        """The first row that an object reads behind preloaded frames."""
        return self._members[object_id].first_element

    def join(self, ids: Iterable[int], frame_index: int, first_element: int) -> None:
        """Let objects join at a frame, unless they have joined before."""
        for object_id in ids:
            member = self._members.setdefault(object_id, _Member())
            if member.first_frame is None:
                member.first_frame, member.first_element = frame_index, first_element

    def remove(self, object_id: int) -> None:
        """Forget an object."""
        del self._members[object_id]

    def preload(self, frame_index: int, elements: int) -> None:
        """Note a preloaded frame, with as many elements as every other."""
        self.preloaded_frames.append(frame_index)
        self._frame_elements = elements

    def add_to_preloaded(self, ids: Iterable[int], frame_index: int) -> None:
        """Let objects read a preloaded frame that now has their values."""
        number = self.preloaded_frames.index(frame_index)
        for object_id in ids:
            self._members.setdefault(object_id, _Member()).preloaded |= {number}

    def preloaded_rows(self, frame_index: int) -> slice:
        """The rows of a preloaded frame."""
        return self._numbered_rows(self.preloaded_frames.index(frame_index))

    def note_shown(self, shown: Mapping[int, Tensor] | None) -> None:
        """Note which objects the elements of a frame show, {object id: bool [M]}."""
        for object_id, elements in (shown or {}).items():
            member = self._members[object_id]
            member.was_shown = member.was_shown or bool(elements.any())

    def was_shown(self, object_id: int) -> bool:
        """Whether an element that was not temporary has ever shown an object."""
        return self._members[object_id].was_shown

    def has_no_element(self, object_id: int, size: int) -> bool:
        """Whether an object reads none of `size` rows."""
        member = self._members[object_id]
        return not member.preloaded and member.first_element >= size

    def rows(self, object_id: int, size: int, device: torch.device) -> slice | Tensor:
        """The rows that an object reads of `size`."""
        member = self._members[object_id]
        start = size if member.first_frame is None else member.first_element
        parts = [self._numbered_rows(number) for number in sorted(member.preloaded)]
        parts.append(slice(start, size))
        if all(one.stop == next_one.start for one, next_one in itertools.pairwise(parts)):
            return slice(parts[0].start, size)
        return torch.cat([torch.arange(part.start, part.stop, device=device) for part in parts])

    def groups(
        self, object_ids: Iterable[int], size: int, device: torch.device
    ) -> list[ReadingGroup]:
        """Objects that read any of `size` rows, in groups that read the same ones."""
        by_rows: dict[tuple[int, frozenset[int]], list[int]] = {}
        for object_id in object_ids:
            if not self.has_no_element(object_id, size):
                member = self._members[object_id]
                by_rows.setdefault((member.first_element, member.preloaded), []).append(object_id)
        return [
            ReadingGroup(
                tuple(ids),
                self.rows(ids[0], size, device),
                len({self._members[i].first_frame for i in ids}),
            )
            for ids in by_rows.values()
        ]

    def _numbered_rows(self, number: int) -> slice:
        return slice(number * self._frame_elements, (number + 1) * self._frame_elements)
