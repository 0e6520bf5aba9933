"""The memory of one video. Legend: K objects, L frames of a clip, C channels, N memory elements (pixels at stride 16), M query positions (of a frame).

The bank stores and reads; what enters and what stays is a policy's business. Keys exist once, however many objects there are; each
object has a table of values beside them. Rows are in order of time, so an object that joined late reads the rows from its first frame on.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from model.config import Similarity
from model.matching import similarity, sparse_readout, squared_norm, top_k_softmax
from util.errors import InputError

Usage = Literal["count", "weight"]

# similarities held at a time, whatever the memory's size: 32 MB in float32 on a CPU, whose caches small pieces suit;
# 512 MB on a GPU, where each piece costs a launch of every kernel
_CHUNK_ELEMENTS = {"cpu": 2**23}
_CHUNK_ELEMENTS_OF_GPU = 2**27
_GROWTH = 1.5
_USE_BYTES = 8
_WEIGHT_UNITS = (
    2**32
)  # summed weights are whole numbers of these: sums then do not depend on the order, also on a GPU


def element_bytes(
    key_channels: int,
    value_channels: int,
    objects: int,
    *,
    value_bytes: int = 4,
    usage: Usage | None = None,
) -> int:
    """Bytes that one element takes in a bank of `objects` objects: key, norm, frame, position, use where it is counted, the objects' values and whether it shows them."""
    return (
        4 * key_channels
        + 4
        + 8
        + 8
        + (0 if usage is None else _USE_BYTES)
        + objects * (value_channels * value_bytes + 1)
    )


def most_exact_float(device: torch.device) -> torch.dtype:
    """float64 where the device has it."""
    return torch.float32 if device.type == "mps" else torch.float64


@dataclasses.dataclass(frozen=True)
class ObjectGroup:
    """Objects that read the same elements, those from `first_element` on, with one top-k and one set of weights. joined_at: how many frames they joined at."""

    object_ids: tuple[int, ...]
    first_element: int
    joined_at: int


@dataclasses.dataclass
class _Membership:
    """Since when an object is here."""

    first_frame: int
    first_element: int  # the first row it reads
    shown: bool = False  # whether any element written for good has shown it


class MemoryBank:
    """Keys, their squared norms, each element's frame, position and use, and per-object values, in tables of which the first `size` rows are in use.

    capacity: elements to make room for at first (known for bounded policies and videos of known length); the tables grow if that is passed.
    usage: what is counted of the reads in `uses`.
    """

    def __init__(
        self, *, similarity_kind: Similarity = "l2", capacity: int = 0, usage: Usage | None = None
    ):
        self.similarity_kind = similarity_kind
        self.usage = usage
        self.size = 0
        self._temporary_from: int | None = None  # rows from here on leave with the next write
        self._reserved = capacity
        self._limit: int | None = None
        self._shared: dict[
            str, Tensor
        ] = {}  # keys, norms, frames, positions and uses: a row an element
        self._values: dict[int, Tensor] = {}
        self._shown: dict[int, Tensor] = {}  # whether an element shows an object
        self._lost: tuple[int, ...] | None = None  # None: to be found out
        self._members: dict[int, _Membership] = {}

    @property
    def object_ids(self) -> tuple[int, ...]:
        """Ids that have values here, in the order they joined."""
        return tuple(self._values)

    @property
    def first_frames(self) -> frozenset[int]:
        """The frames at which the objects that are here joined."""
        return frozenset(member.first_frame for member in self._members.values())

    @property
    def lost_object_ids(self) -> tuple[int, ...]:
        """Ids of which no element is left: all that were written since they joined, or all of these that showed them, have been dropped."""
        if self._lost is None:
            self._lost = tuple(
                i
                for i, member in self._members.items()
                if self._is_unread(i)
                or (member.shown and not self._shown[i][member.first_element : self.size].any())
            )
        return self._lost

    @property
    def keys(self) -> Tensor:
        """The elements' keys [N, C^k]; a view, not to be changed."""
        return self._view("keys")

    @property
    def frames(self) -> Tensor:
        """The frame each element was written with, int64 [N]; a view, not to be changed."""
        return self._view("frames")

    @property
    def positions(self) -> Tensor:
        """Which pixel of its frame each element is, counted row by row at stride 16, int64 [N]; a view, not to be changed."""
        return self._view("positions")

    @property
    def uses(self) -> Tensor:
        """How much each element has been read, [N]; not to be changed. Raises InputError where nothing is counted, `usage` being None.

        count: how often it was among the top-k of a query position, int64; weight: the sum of its softmax weights, floating. Summed over positions, frames and the
        frames at which objects joined, each of which means a top-k of its own. Source: adaptive memory management (Pourganjalikhan 2022).
        """
        if self.usage is None:
            from inference.memory import POLICIES  # the policies need the bank first

            raise InputError(
                f"memory counts no uses; choose {' or '.join(name for name, policy in POLICIES.items() if policy.usage is not None)}"
            )
        uses = self._view("uses")
        return (
            uses
            if self.usage == "count"
            else uses.to(most_exact_float(uses.device)) / _WEIGHT_UNITS
        )

    @property
    def frame_indices(self) -> list[int]:
        """Frames of which elements are held, in order of time."""
        return self.frames.unique(sorted=True).tolist()

    @property
    def element_bytes(self) -> int:
        """Bytes that one element takes in all tables."""
        return sum(table.element_size() * math.prod(table.shape[1:]) for table in self._tables())

    @property
    def megabytes(self) -> float:
        """Memory of the tables, in 10^6 bytes."""
        return sum(table.numel() * table.element_size() for table in self._tables()) / 1e6

    def prepare(self, key: Tensor, values: Mapping[int, Tensor]) -> None:
        """Take note of what a write is about to bring, as given to `write`: `element_bytes` then counts it."""
        if not self._shared:
            whole = {"dtype": torch.int64, "device": key.device}
            self._shared = {
                "keys": key.new_empty(0, key.shape[1]),
                "norms": key.new_empty(0),
                "frames": torch.empty(0, **whole),
                "positions": torch.empty(0, **whole),
            }
            if self.usage is not None:
                self._shared["uses"] = torch.empty(0, **whole)
        for object_id, value in values.items():
            if object_id not in self._values:
                self._values[object_id] = value.new_empty(0, value.shape[1])
                self._shown[object_id] = torch.empty(0, dtype=torch.bool, device=value.device)

    def write(
        self,
        frame_index: int,
        key: Tensor,
        values: Mapping[int, Tensor],
        *,
        temporary: bool = False,
        shown: Mapping[int, Tensor] | None = None,
    ) -> None:
        """Append the elements of a frame: key [N, C^k], values {object id: [N, C^v]}; a new id joins at this frame.

        shown: {object id: bool [N]}, which elements show an object; None: all do, as far as is known.
        Temporary elements are replaced by the next write. Every object in the bank must have values, and there must be room below the limit (assertions).
        """
        assert set(values) >= set(self._values), (
            "an object without values would read rows never written"
        )
        self.drop_temporary()
        if temporary:
            self._temporary_from = self.size
        self._append(frame_index, key, values, shown)
        for object_id, member in self._members.items():
            member.shown = member.shown or (
                shown is not None and not temporary and bool(shown[object_id].any())
            )

    def drop_temporary(self) -> None:
        """Forget the temporary elements, if any."""
        if self._temporary_from is not None:
            self._lost = None
            self.size, self._temporary_from = self._temporary_from, None

    def keep(self, rows: Tensor) -> None:
        """Forget all elements but `rows`, int64 and ascending: one index operation a table, in place, so that rows stay in order of time."""
        starts = [member.first_element for member in self._members.values()] + [
            self.size if self._temporary_from is None else self._temporary_from
        ]
        *firsts, temporary_from = torch.searchsorted(
            rows, torch.tensor(starts, device=rows.device)
        ).tolist()
        for member, first in zip(self._members.values(), firsts, strict=True):
            member.first_element = first
        if self._temporary_from is not None:
            self._temporary_from = temporary_from
        for table in self._tables():
            if len(table):  # an object that is about to join has no rows yet
                table[: len(rows)] = table[rows]
        self.size, self._lost = len(rows), None

    def merge(
        self,
        rows: Tensor,
        of_keys: Callable[[Tensor], Tensor],
        of_values: Callable[[Tensor], Tensor],
    ) -> None:
        """Make one frame of several, for G groups of T frames with M elements each: rows int64 [G, T, M], in order of time, of_keys and of_values make [G, M, C] of [G, T, M, C].

        The new elements take the place, the frame and the position of the last frame's, the others leave; their uses add up. No group may reach across an object's
        first element (assertion), since nothing of the object was there before.
        """
        for member in self._members.values():
            assert ((rows < member.first_element).flatten(1).sum(1) % rows[0].numel() == 0).all(), (
                "a merged frame would be half of a time before an object"
            )
        last = rows[:, -1]
        self._shared["keys"][last] = of_keys(self._shared["keys"][rows])
        self._shared["norms"][last] = squared_norm(self._shared["keys"][last])
        if self.usage is not None:
            self._shared["uses"][last] = self._shared["uses"][rows].sum(1)
        for values in self._values.values():
            if len(values):  # an object that is about to join has no rows yet
                values[last] = of_values(values[rows])
        for shown in self._shown.values():
            if len(shown):
                shown[last] = shown[rows].any(1)
        stays = torch.ones(self.size, dtype=torch.bool, device=rows.device)
        stays[rows[:, :-1].flatten()] = False
        self.keep(stays.nonzero().squeeze(1))

    def limit(self, capacity: int) -> None:
        """From now on the tables have room for `capacity` elements at most; larger ones shrink. No fewer than are held (assertion)."""
        assert self.size <= capacity, "elements must leave before their room does"
        self._limit = capacity
        if self._capacity > capacity:
            self._resize(capacity)

    def remove_object(self, object_id: int) -> None:
        """Forget an object and free its values."""
        del self._values[object_id], self._shown[object_id], self._members[object_id]
        self._lost = None

    def read(self, query_key: Tensor, object_ids: Sequence[int], top_k: int) -> Tensor:
        """Readout [K, M, C^v] of `object_ids` for query_key [M, C^k]: softmax over the top_k most similar memory elements since each object's first frame.

        Of an object that reads no element, zeros. Similarities are computed once for all objects, in chunks of bounded size. Source: STCN, section 3.2; MiVOS, section 3.2.
        """
        readout = query_key.new_empty(
            len(object_ids), query_key.shape[0], self._values[object_ids[0]].shape[1]
        )
        slot = {object_id: number for number, object_id in enumerate(object_ids)}
        for object_id in object_ids:
            if self._is_unread(object_id):
                readout[slot[object_id]] = 0
        groups = self._groups(object_ids)
        chunk = max(
            _CHUNK_ELEMENTS.get(query_key.device.type, _CHUNK_ELEMENTS_OF_GPU) // max(self.size, 1),
            1,
        )
        with torch.autocast(
            query_key.device.type, enabled=False
        ):  # differences of squares need the keys' own precision
            for start in range(0, query_key.shape[0] if groups else 0, chunk):
                queries = slice(start, start + chunk)
                scores = similarity(
                    self._view("keys"),
                    query_key[queries],
                    self._view("norms"),
                    self.similarity_kind,
                )
                for group in groups:
                    weights, indices = top_k_softmax(scores[:, group.first_element :], top_k)
                    self._count(group, weights, indices)
                    for object_id in group.object_ids:
                        values = self._values[object_id][group.first_element : self.size]
                        readout[slot[object_id], queries] = sparse_readout(values, weights, indices)
        return readout

    def read_progressively(
        self,
        query_key: Tensor,
        object_ids: Sequence[int],
        top_k: int,
        *,
        frame_indices: Sequence[int],
        segment_frames: int,
    ) -> Tensor:
        """Readout [K, L * M, C^v] of `object_ids` for the keys [L, M, C^k] of a clip's frames, segment by segment of `segment_frames`.

        Of each segment the last frame's key, with its readout as value, is read by the segments after it, and leaves with the clip. `object_ids` are all that
        are here. Source: PCVOS, progressive matching.
        """
        size = self.size
        first, *others = query_key.split(segment_frames)
        readouts = [self.read(first.flatten(0, 1), object_ids, top_k)]
        try:
            for number, segment in enumerate(others, start=1):
                latest = number * segment_frames - 1
                values = readouts[-1][:, -query_key.shape[1] :]
                self._append(
                    frame_indices[latest],
                    query_key[latest],
                    dict(zip(object_ids, values, strict=True)),
                )
                readouts.append(self.read(segment.flatten(0, 1), object_ids, top_k))
        finally:
            self.size, self._lost = size, None
        return torch.cat(readouts, dim=1) if others else readouts[0]

    @property
    def _capacity(self) -> int:
        return len(self._shared["keys"]) if self._shared else 0

    def _tables(self) -> list[Tensor]:
        return [*self._shared.values(), *self._values.values(), *self._shown.values()]

    def _view(self, name: str) -> Tensor:
        return (
            self._shared[name][: self.size] if self._shared else torch.empty(0, dtype=torch.int64)
        )

    def _is_unread(self, object_id: int) -> bool:
        return self._members[object_id].first_element >= self.size

    def _groups(self, object_ids: Sequence[int]) -> list[ObjectGroup]:
        by_first: dict[int, list[int]] = {}
        for object_id in object_ids:
            if not self._is_unread(object_id):
                by_first.setdefault(self._members[object_id].first_element, []).append(object_id)
        return [
            ObjectGroup(tuple(ids), first, len({self._members[i].first_frame for i in ids}))
            for first, ids in by_first.items()
        ]

    def _count(self, group: ObjectGroup, weights: Tensor, indices: Tensor) -> None:
        """Add a read's weights [M, k], or ones, to the uses of the elements indices [M, k], counted from the group's first."""
        if self.usage is None:
            return
        uses = self._view("uses")[group.first_element :]
        if self.usage == "count":
            amount = torch.ones_like(indices)
        else:
            amount = (weights.to(most_exact_float(weights.device)) * _WEIGHT_UNITS).round().long()
        uses.scatter_add_(0, indices.flatten(), (amount * group.joined_at).flatten())

    def _append(
        self,
        frame_index: int,
        key: Tensor,
        values: Mapping[int, Tensor],
        shown: Mapping[int, Tensor] | None = None,
    ) -> None:
        self.prepare(key, values)
        rows = slice(self.size, self.size + key.shape[0])
        self._ensure_room(rows.stop)
        content = {
            "keys": key,
            "norms": squared_norm(key),
            "frames": frame_index,
            "positions": torch.arange(key.shape[0], device=key.device),
            "uses": 0,
        }
        for name, table in self._shared.items():
            table[rows] = content[name]
        for object_id, value in values.items():
            self._values[object_id][rows] = value
            self._shown[object_id][rows] = True if shown is None else shown[object_id]
            self._members.setdefault(object_id, _Membership(frame_index, rows.start))
        self.size, self._lost = rows.stop, None

    def _ensure_room(self, needed: int) -> None:
        assert self._limit is None or needed <= self._limit, "room must be made before a write"
        capacity = self._capacity
        if needed > capacity:
            capacity = max(needed, int(capacity * _GROWTH), self._reserved)
            capacity = capacity if self._limit is None else min(capacity, self._limit)
        self._resize(capacity)

    def _resize(self, capacity: int) -> None:
        """Give every table `capacity` rows: one at a time, so that only one old table lives beside its successor."""
        for tables in (self._shared, self._values, self._shown):
            for name, table in tables.items():
                if len(table) != capacity:
                    tables[name] = table.new_empty(capacity, *table.shape[1:])
                    held = min(self.size, len(table))
                    tables[name][:held] = table[:held]
