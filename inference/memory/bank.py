"""The memory of one video. Legend: K objects, L frames of a clip, C channels, N memory elements (pixels at stride 16), M query positions (of a frame).

The bank stores and reads; what enters and what stays is a policy's business. Keys exist once, however many objects there are; each
object has a table of values beside them. Rows are in order of time, so an object that joined late reads the rows from its first frame on.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from model.config import Similarity
from model.matching import similarity, sparse_readout, squared_norm, top_k_softmax

_CHUNK_ELEMENTS = 8 * 1024 * 1024  # similarities held at a time (32 MB in float32), whatever the memory's size
_GROWTH = 1.5


@dataclasses.dataclass(frozen=True)
class ObjectGroup:
    """Objects that joined at the same frame: they read the same elements, with one top-k and one set of weights."""

    object_ids: tuple[int, ...]
    first_element: int


class MemoryBank:
    """Keys, their squared norms, each element's frame and position, and per-object values, in preallocated tables of which the first `size` rows are in use.

    capacity: elements to make room for at first (known for bounded policies and videos of known length); the tables grow if that is passed.
    """

    def __init__(self, *, similarity_kind: Similarity = "l2", capacity: int = 0):
        self.similarity_kind = similarity_kind
        self.size = 0
        self._temporary_from: int | None = None  # rows from here on leave with the next write
        self._reserved = capacity
        self._shared: dict[str, Tensor] = {}  # keys, norms, frames, positions: a row an element
        self._values: dict[int, Tensor] = {}
        self._first_frames: dict[int, int] = {}

    @property
    def object_ids(self) -> tuple[int, ...]:
        """Ids that have values here, in the order they joined."""
        return tuple(self._values)

    @property
    def frames(self) -> Tensor:
        """The frame each element was written with, int64 [N]; a view, not to be changed."""
        return self._view("frames")

    @property
    def positions(self) -> Tensor:
        """Which pixel of its frame each element is, counted row by row at stride 16, int64 [N]; a view, not to be changed."""
        return self._view("positions")

    @property
    def frame_indices(self) -> list[int]:
        """Frames of which elements are held, in order of time."""
        return self.frames.unique(sorted=True).tolist()

    @property
    def megabytes(self) -> float:
        """Memory of the tables, in 10^6 bytes."""
        return sum(table.numel() * table.element_size() for table in (*self._shared.values(), *self._values.values())) / 1e6

    def write(self, frame_index: int, key: Tensor, values: Mapping[int, Tensor], *, temporary: bool = False) -> None:
        """Append the elements of a frame: key [N, C^k], values {object id: [N, C^v]}; a new id joins at this frame.

        Temporary elements are replaced by the next write. Every object in the bank must have values (assertion).
        """
        assert set(values) >= set(self._values), "an object without values would read rows never written"
        self.drop_temporary()
        if temporary:
            self._temporary_from = self.size
        self._append(frame_index, key, values)

    def drop_temporary(self) -> None:
        """Forget the temporary elements, if any."""
        if self._temporary_from is not None:
            self.size, self._temporary_from = self._temporary_from, None

    def keep(self, rows: Tensor) -> None:
        """Forget all elements but `rows`, int64 and ascending: one index operation a table, in place, so that rows stay in order of time."""
        if self._temporary_from is not None:
            self._temporary_from = int((rows < self._temporary_from).sum())
        for table in (*self._shared.values(), *self._values.values()):
            table[: len(rows)] = table[rows]
        self.size = len(rows)

    def remove_object(self, object_id: int) -> None:
        """Forget an object and free its values."""
        del self._values[object_id], self._first_frames[object_id]

    def read(self, query_key: Tensor, object_ids: Sequence[int], top_k: int) -> Tensor:
        """Readout [K, M, C^v] of `object_ids` for query_key [M, C^k]: softmax over the top_k most similar elements since each object's first frame.

        Similarities are computed once for all objects, in chunks of bounded size. Source: STCN, section 3.2; MiVOS, section 3.2.
        """
        readout = query_key.new_empty(len(object_ids), query_key.shape[0], self._values[object_ids[0]].shape[1])
        slot = {object_id: number for number, object_id in enumerate(object_ids)}
        groups = self._groups(object_ids)
        chunk = max(_CHUNK_ELEMENTS // self.size, 1)
        with torch.autocast(query_key.device.type, enabled=False):  # differences of squares need the keys' own precision
            for start in range(0, query_key.shape[0], chunk):
                queries = slice(start, start + chunk)
                scores = similarity(self._view("keys"), query_key[queries], self._view("norms"), self.similarity_kind)
                for group in groups:
                    weights, indices = top_k_softmax(scores[:, group.first_element :], top_k)
                    for object_id in group.object_ids:
                        values = self._values[object_id][group.first_element : self.size]
                        readout[slot[object_id], queries] = sparse_readout(values, weights, indices)
        return readout

    def read_progressively(self, query_key: Tensor, object_ids: Sequence[int], top_k: int, *, first_frame: int, segment_frames: int) -> Tensor:
        """Readout [K, L * M, C^v] of `object_ids` for a clip's keys [L, M, C^k], frame `first_frame` being its first, segment by segment of `segment_frames`.

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
                self._append(first_frame + latest, query_key[latest], dict(zip(object_ids, values, strict=True)))
                readouts.append(self.read(segment.flatten(0, 1), object_ids, top_k))
        finally:
            self.size = size
        return torch.cat(readouts, dim=1) if others else readouts[0]

    def _append(self, frame_index: int, key: Tensor, values: Mapping[int, Tensor]) -> None:
        rows = slice(self.size, self.size + key.shape[0])
        self._make_room(key, values, rows.stop)
        positions = torch.arange(key.shape[0], device=key.device)
        for name, content in {"keys": key, "norms": squared_norm(key), "frames": frame_index, "positions": positions}.items():
            self._shared[name][rows] = content
        for object_id, value in values.items():
            self._values[object_id][rows] = value
            self._first_frames.setdefault(object_id, frame_index)
        self.size = rows.stop

    def _view(self, name: str) -> Tensor:
        return self._shared[name][: self.size] if self._shared else torch.empty(0, dtype=torch.int64)

    def _groups(self, object_ids: Sequence[int]) -> list[ObjectGroup]:
        by_first: dict[int, list[int]] = {}
        for object_id in object_ids:
            by_first.setdefault(self._first_frames[object_id], []).append(object_id)
        return [ObjectGroup(tuple(ids), int(torch.searchsorted(self.frames, first))) for first, ids in by_first.items()]

    def _make_room(self, key: Tensor, values: Mapping[int, Tensor], needed: int) -> None:
        if not self._shared:
            capacity = max(needed, self._reserved)
            self._shared = {
                "keys": key.new_empty(capacity, key.shape[1]),
                "norms": key.new_empty(capacity),
                "frames": torch.empty(capacity, dtype=torch.int64, device=key.device),
                "positions": torch.empty(capacity, dtype=torch.int64, device=key.device),
            }
        elif needed > len(self._shared["keys"]):
            capacity = max(needed, int(len(self._shared["keys"]) * _GROWTH))
            for tables in (self._shared, self._values):  # one table at a time, so that only one old table lives beside its successor
                for name in tables:
                    tables[name] = self._grown(tables[name], capacity)
        for object_id, value in values.items():
            if object_id not in self._values:
                self._values[object_id] = value.new_empty(len(self._shared["keys"]), value.shape[1])

    def _grown(self, table: Tensor, capacity: int) -> Tensor:
        larger = table.new_empty(capacity, *table.shape[1:])
        larger[: self.size] = table[: self.size]
        return larger
