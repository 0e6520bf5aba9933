"""The memory bank of one video.

Legend: K objects, G groups, T frames, L frames of a clip, C channels, N memory elements (pixels at
stride 16), M query positions (elements of a frame).

The bank stores and reads; a policy decides what is written and what is evicted. Keys exist once,
however many objects there are; each object has a table of values beside them. Rows are in order of
time, so that an object that joined late reads the rows since its first frame. Preloaded frames,
which are annotated frames from anywhere in the video, precede them; an object reads those whose
masks show it.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from inference.memory.readers import Readers, ReadingGroup
from inference.memory.similarities import PositionKernel, SimilaritySource
from inference.memory.tables import ElementTables, Usage
from model.config import Similarity
from model.matching import sparse_readout, squared_norm, top_k_softmax

# Summed weights are whole numbers of this unit, so that a sum does not depend on the order of its
# terms, on a GPU either.
_UNITS_PER_WEIGHT = 2**32


def most_exact_float(device: torch.device) -> torch.dtype:
    """float64, or float32 on devices without it."""
    return torch.float32 if device.type == "mps" else torch.float64


class MemoryBank:
    """Elements of a video, each with a key, the frame and the position it is from, and values.

    similarity_kind: what `read` compares keys by. capacity: rows allocated at first; the tables
    grow beyond it if no limit is set. usage: what `uses` counts of the reads; None: nothing.
    """

    def __init__(
        self, *, similarity_kind: Similarity = "l2", capacity: int = 0, usage: Usage | None = None
    ):
        self.similarity_kind = similarity_kind
        self.usage = usage
        self._tables = ElementTables(capacity)
        self._readers = Readers()
        self._temporary_from: int | None = None  # the next write drops the rows from here on
        self._lost: tuple[int, ...] | None = None  # cached `lost_object_ids`

    @property
    def size(self) -> int:
        """How many elements are held."""
        return self._tables.size

    @property
    def object_ids(self) -> tuple[int, ...]:
        """The objects that have values here, in the order in which they joined."""
        return tuple(self._tables.values)

    @property
    def first_frames(self) -> frozenset[int]:
        """The frames at which the objects joined."""
        return self._readers.first_frames

    @property
    def preloaded_frames(self) -> tuple[int, ...]:
        """The frames given to `preload`."""
        return tuple(self._readers.preloaded_frames)

    @property
    def waiting_ids(self) -> tuple[int, ...]:
        """The objects that preloaded frames show and that have not joined."""
        return self._readers.waiting_ids

    @property
    def lost_object_ids(self) -> tuple[int, ...]:
        """Objects without an element: all since they joined, or all that showed them, are gone."""
        if self._lost is None:
            self._lost = tuple(i for i in self._readers.ids if self._is_lost(i))
        return self._lost

    @property
    def keys(self) -> Tensor:
        """The keys of the elements, [N, C^k]; a view, not to be changed."""
        return self._tables.in_use("keys")

    @property
    def norms(self) -> Tensor:
        """The squared norms of the keys, [N]; a view, not to be changed."""
        return self._tables.in_use("norms")

    @property
    def frames(self) -> Tensor:
        """The frame of each element, int64 [N]; a view, not to be changed."""
        return self._tables.in_use("frames")

    @property
    def positions(self) -> Tensor:
        """The pixel of its frame that each element is, row by row at stride 16, int64 [N].

        A view, not to be changed.
        """
        return self._tables.in_use("positions")

    @property
    def uses(self) -> Tensor:
        """How much each element has been read, [N]; not to be changed.

        With usage "count": how often it was among the top-k of a query position, int64. With usage
        "weight": the sum of its softmax weights, floating. Summed over positions, over frames, and
        over the frames at which objects joined, each of which has a top-k of its own.
        Raises ValueError if usage is None.
        Source: adaptive memory management (Pourganjalikhan, 2022).
        """
        if self.usage is None:
            raise ValueError(
                "this memory counts no uses; give the bank a usage, or choose a policy that has"
                " one, such as lfu or lfu-weight"
            )
        uses = self._tables.in_use("uses")
        if self.usage == "count":
            return uses
        return uses.to(most_exact_float(uses.device)) / _UNITS_PER_WEIGHT

    @property
    def frame_indices(self) -> list[int]:
        """The frames of which elements are held, in order."""
        return self.frames.unique(sorted=True).tolist()

    @property
    def element_bytes(self) -> int:
        """Bytes that one element takes in all tables."""
        return self._tables.element_bytes

    @property
    def megabytes(self) -> float:
        """Memory that the tables take, in 10^6 bytes."""
        return self._tables.megabytes

    @property
    def tables(self) -> tuple[Tensor, ...]:
        """Every table with all its rows, used or reserved; to be measured, not to be changed."""
        return tuple(self._tables.all())

    def first_element(self, object_id: int) -> int:
        """The first row that an object reads behind preloaded frames."""
        return self._readers.first_element(object_id)

    def values(self, object_id: int) -> Tensor:
        """The values of an object in the rows that it reads, [N - first_element, C^v].

        If it also reads preloaded frames, theirs come first. Not to be changed.
        """
        return self._tables.values[object_id][self._rows(object_id)]

    def prepare(self, key: Tensor, values: Mapping[int, Tensor]) -> None:
        """Create the tables for a write, so that `element_bytes` counts its new objects.

        key, values: as given to `write`.
        """
        if not self._tables.shared:
            whole = torch.empty(0, dtype=torch.int64, device=key.device)
            self._tables.shared = {
                "keys": key.new_empty(0, key.shape[1]),
                "norms": key.new_empty(0),
                "frames": whole,
                "positions": whole.clone(),
            }
            if self.usage is not None:
                self._tables.shared["uses"] = whole.clone()
        for object_id, value in values.items():
            if object_id not in self._tables.values:
                self._tables.add_object(object_id, value)

    def write(
        self,
        frame_index: int,
        key: Tensor,
        values: Mapping[int, Tensor],
        *,
        temporary: bool = False,
        shown: Mapping[int, Tensor] | None = None,
    ) -> None:
        """Append the elements of a frame; the next write replaces them if they are temporary.

        key: [M, C^k]. values: {object id: [M, C^v]}, for every object of the bank; a new id joins
        at this frame. shown: {object id: bool [M]}, whether an element shows an object; None: not
        known, so that no object can be lost by eviction of what showed it.
        There must be room below the limit (assertion).
        """
        assert set(values) >= set(self._tables.values).difference(self.waiting_ids), (
            "an object without values would read rows never written"
        )
        self.drop_temporary()
        if temporary:
            self._temporary_from = self.size
        self._append(frame_index, key, values, shown)
        if not temporary:
            self._readers.note_shown(shown)

    def preload(
        self,
        frame_index: int,
        key: Tensor,
        values: Mapping[int, Tensor],
        *,
        shown: Mapping[int, Tensor] | None = None,
    ) -> None:
        """Put an annotated frame before all that is written; no policy may evict it.

        Only the objects in `values` read it, until `rewrite` gives the values of others.
        Arguments: as `write`. Nothing may have been written yet (assertion).
        """
        assert self.size == len(self.preloaded_frames) * len(key), (
            "frames are preloaded before any is written"
        )
        self.prepare(key, values)
        self._append_rows(frame_index, key, values, shown)
        self._readers.preload(frame_index, len(key))
        self._readers.add_to_preloaded(values, frame_index)
        self._readers.note_shown(shown)
        self._lost = None

    def rewrite(
        self,
        frame_index: int,
        key: Tensor,
        values: Mapping[int, Tensor],
        *,
        shown: Mapping[int, Tensor] | None = None,
    ) -> None:
        """Give a preloaded frame the values of all objects; new objects join at it.

        Arguments: as `write`. Temporary elements are dropped.
        """
        self.drop_temporary()
        self.prepare(key, values)
        self._tables.fill_up()
        rows = self._readers.preloaded_rows(frame_index)
        for object_id, value in values.items():
            self._tables.values[object_id][rows] = value
            self._tables.shown[object_id][rows] = True if shown is None else shown[object_id]
        self._readers.join(values, frame_index, self.size)
        self._readers.add_to_preloaded(values, frame_index)
        self._readers.note_shown(shown)
        self._lost = None

    def drop_temporary(self) -> None:
        """Drop the temporary elements, if there are any."""
        if self._temporary_from is not None:
            self._truncate(self._temporary_from)
            self._temporary_from = None

    def keep(self, rows: Tensor) -> None:
        """Evict all elements but `rows`, int64 and ascending: one indexing operation per table.

        Those of preloaded frames may not be evicted.
        """
        temporary_from = self.size if self._temporary_from is None else self._temporary_from
        starts = [*self._readers.first_elements, temporary_from]
        starts = torch.searchsorted(rows, torch.tensor(starts, device=rows.device)).tolist()
        self._readers.first_elements = starts[:-1]
        if self._temporary_from is not None:
            self._temporary_from = starts[-1]
        self._tables.keep(rows)
        self._lost = None

    def merge(
        self,
        rows: Tensor,
        merge_keys: Callable[[Tensor], Tensor],
        merge_values: Callable[[Tensor], Tensor],
    ) -> None:
        """Merge groups of frames into one frame each.

        rows: int64 [G, T, M], in order of time: G groups of T frames with M elements.
        merge_keys, merge_values: make [G, M, C] of [G, T, M, C].
        The merged elements take row, frame and position of the last frame of their group; uses add
        up. No group may contain frames from before and after an object joined (assertion).
        """
        for first_element in self._readers.first_elements:
            before = (rows < first_element).flatten(1).sum(1)
            assert (before % rows[0].numel() == 0).all(), (
                "a merged frame would mix frames from before and after an object joined"
            )
        last, tables = rows[:, -1], self._tables
        tables.shared["keys"][last] = merge_keys(tables.shared["keys"][rows])
        tables.shared["norms"][last] = squared_norm(tables.shared["keys"][last])
        if self.usage is not None:
            tables.shared["uses"][last] = tables.shared["uses"][rows].sum(1)
        for values in tables.values.values():
            if len(values):  # an object that is about to join has no rows yet
                values[last] = merge_values(values[rows])
        for shown in tables.shown.values():
            if len(shown):
                shown[last] = shown[rows].any(1)
        stays = torch.ones(self.size, dtype=torch.bool, device=rows.device)
        stays[rows[:, :-1].flatten()] = False
        self.keep(stays.nonzero().squeeze(1))

    def limit(self, capacity: int) -> None:
        """Hold at most `capacity` elements from now on, and free the memory beyond.

        No more may be held already (assertion).
        """
        self._tables.limit(capacity)

    def remove_object(self, object_id: int) -> None:
        """Forget an object and free its values."""
        self._tables.remove_object(object_id)
        self._readers.remove(object_id)
        self._lost = None

    def read(
        self,
        query_key: Tensor,
        object_ids: Sequence[int],
        top_k: int,
        kernel: PositionKernel | None = None,
    ) -> Tensor:
        """Read the values of objects for the positions of queries.

        query_key: [M, C^k]; with a kernel, of whole frames. Each position takes a softmax over the
        top_k most similar elements since the first frame of an object. Similarities are computed
        once for all objects, in pieces of bounded size. kernel: damps similarities by position.
        Returns readouts [K, M, C^v]; zeros for an object without elements.
        Source: STCN, section 3.2; MiVOS, section 3.2.
        """
        positions, value_channels = len(query_key), self._tables.values[object_ids[0]].shape[1]
        readout = query_key.new_empty(len(object_ids), positions, value_channels)
        number_of = {object_id: number for number, object_id in enumerate(object_ids)}
        for object_id in object_ids:
            if self._readers.has_no_element(object_id, self.size):
                readout[number_of[object_id]] = 0
        groups = self._readers.groups(object_ids, self.size, query_key.device)
        if not groups:
            return readout
        source = SimilaritySource(self.keys, self.norms, self.similarity_kind)
        # differences of squares need the precision of the keys
        with torch.autocast(query_key.device.type, enabled=False):
            for queries, scores in source.pieces(query_key, kernel):
                for group in groups:
                    weights, indices = top_k_softmax(scores[:, group.rows], top_k)
                    if isinstance(group.rows, Tensor):
                        indices = group.rows[indices]
                    self._count(group, weights, indices)
                    for object_id in group.object_ids:
                        values = self._tables.values[object_id][group.offset : self.size]
                        readout[number_of[object_id], queries] = sparse_readout(
                            values, weights, indices
                        )
        return readout

    def read_progressively(
        self,
        query_key: Tensor,
        object_ids: Sequence[int],
        top_k: int,
        *,
        frame_indices: Sequence[int],
        segment_frames: int,
        kernel: PositionKernel | None = None,
    ) -> Tensor:
        """Read for the frames of a clip, segment by segment of `segment_frames` frames.

        query_key: [L, M, C^k] of the frames `frame_indices`. object_ids: all that are here. The
        last frame of each segment joins the memory, with its readout as value, until the clip
        ends, so that later segments retrieve it too. Returns readouts [K, L * M, C^v].
        Source: PCVOS, progressive matching.
        """
        size, elements = self.size, query_key.shape[1]
        first, *others = query_key.split(segment_frames)
        readouts = [self.read(first.flatten(0, 1), object_ids, top_k, kernel)]
        try:
            for number, segment in enumerate(others, start=1):
                latest = number * segment_frames - 1
                values = zip(object_ids, readouts[-1][:, -elements:], strict=True)
                self._append(frame_indices[latest], query_key[latest], dict(values))
                readouts.append(self.read(segment.flatten(0, 1), object_ids, top_k, kernel))
        finally:
            self._truncate(size)
        return torch.cat(readouts, dim=1) if others else readouts[0]

    def _is_lost(self, object_id: int) -> bool:
        if self._readers.has_no_element(object_id, self.size):
            return True
        shown = self._tables.shown[object_id][self._rows(object_id)]
        return self._readers.was_shown(object_id) and not bool(shown.any())

    def _rows(self, object_id: int) -> slice | Tensor:
        """The rows that an object reads."""
        return self._readers.rows(object_id, self.size, self.keys.device)

    def _count(self, group: ReadingGroup, weights: Tensor, indices: Tensor) -> None:
        """Add the uses of a read: weights, indices [M, k], counted from the group's offset."""
        if self.usage is None:
            return
        uses = self._tables.in_use("uses")[group.offset :]
        if self.usage == "count":
            amount = torch.ones_like(indices)
        else:
            exact_weights = weights.to(most_exact_float(weights.device))
            amount = (exact_weights * _UNITS_PER_WEIGHT).round().long()
        uses.scatter_add_(0, indices.flatten(), (amount * group.first_frames).flatten())

    def _append(
        self,
        frame_index: int,
        key: Tensor,
        values: Mapping[int, Tensor],
        shown: Mapping[int, Tensor] | None = None,
    ) -> None:
        self.prepare(key, values)
        first_element = self.size
        self._append_rows(frame_index, key, values, shown)
        self._readers.join(values, frame_index, first_element)
        self._lost = None

    def _append_rows(
        self,
        frame_index: int,
        key: Tensor,
        values: Mapping[int, Tensor],
        shown: Mapping[int, Tensor] | None,
    ) -> None:
        shared = {
            "keys": key,
            "norms": squared_norm(key),
            "frames": frame_index,
            "positions": torch.arange(len(key), device=key.device),
            "uses": 0,
        }
        self._tables.append(len(key), shared, values, shown)

    def _truncate(self, size: int) -> None:
        """Drop the rows from `size` on."""
        self._tables.size = size
        self._lost = None
