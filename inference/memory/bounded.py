"""What policies with a fixed capacity share. Legend: N elements (pixels at stride 16)."""

import abc
import logging
import math
from collections.abc import Collection

import torch
from torch import Tensor

from inference.memory.bank import MemoryBank
from inference.memory.config import MemoryConfig
from inference.memory.every_k import EveryK
from inference.memory.policy import Write
from util.errors import InputError
from util.logging import note_once
from util.text import counted

_LOGGER = logging.getLogger(__name__)


class BoundedMemory(EveryK):
    """Writes frames as every-k does, and evicts exactly as many elements as a new frame needs.

    The elements that `rank` gives the lowest numbers are evicted, whichever frames they are from.
    A policy of this kind is its `rank`.

    Capacity: `capacity_frames` frames' worth of elements, or as many as fit into `max_megabytes`,
    which depends on the number of objects, since each has values of its own. The frames that
    progressive matching adds during a clip come on top of the frames, but count in the megabytes.
    The frame being written is never evicted. With `protect_annotated`, the elements of annotated
    frames are evicted only if no others are left. Permanent frames count against the capacity.
    """

    default_capacity_frames = 4

    def __init__(self, config: MemoryConfig):
        super().__init__(config)
        self._capacity_frames = config.capacity_frames
        if self._capacity_frames is None and config.max_megabytes is None:
            self._capacity_frames = self.default_capacity_frames
        if self._capacity_frames == 1 and config.protect_annotated:
            raise InputError(
                "memory.protect_annotated with memory_frames 1: the frame being written takes it"
                " all; give at least 2 frames"
            )
        if self._capacity_frames == 1 and config.permanent:
            raise InputError(
                "permanent_memory with memory_frames 1: the annotated frame leaves no room for"
                " another; give at least 2 frames"
            )
        self.frame_index = 0  # of the latest processed frame
        self._annotated_frames: list[int] = []

    @abc.abstractmethod
    def rank(self, bank: MemoryBank) -> Tensor:
        """A number for each element, [N]: the lowest are evicted; ties evict the older element."""

    def annotated(self, frame_index: int, masks: Tensor, object_ids: tuple[int, ...]) -> None:
        super().annotated(frame_index, masks, object_ids)
        self.frame_index = frame_index
        self._annotated_frames.append(frame_index)

    def memorise(self, frame_index: int, masks: Tensor, object_ids: tuple[int, ...]) -> Write:
        self.frame_index = frame_index
        return super().memorise(frame_index, masks, object_ids)

    @property
    def capacity_frames(self) -> int | None:
        return self._capacity_frames

    def frames_held(self, frame_count: int | None) -> int | None:
        needed = super().frames_held(frame_count)
        if self._capacity_frames is None or needed is None:
            return self._capacity_frames or needed
        return min(self._capacity_frames, needed)

    def capacity_elements(self, frame_elements: int, element_bytes: int) -> int:
        if self._capacity_frames is not None:
            return self._capacity_frames * frame_elements
        megabytes = self.config.max_megabytes
        clip_elements = self.config.progressive_frames * frame_elements
        capacity = int(megabytes * 1e6 // element_bytes) - clip_elements
        if capacity < frame_elements:
            needed = (frame_elements + clip_elements) * element_bytes
            raise InputError(
                f"max_memory_mb is {megabytes:g}, but one frame with its objects takes"
                f" {needed / 1e6:.3g} MB; give at least {math.ceil(needed / 1e4) / 100:g}"
            )
        return capacity

    def require_permanent_room(
        self, permanent_frames: int, frame_elements: int, element_bytes: int
    ) -> None:
        capacity = self.capacity_elements(frame_elements, element_bytes)
        if not permanent_frames or (permanent_frames + 1) * frame_elements <= capacity:
            return
        if self._capacity_frames is not None:
            bound, least = f"memory_frames is {self._capacity_frames}", f"{permanent_frames + 1}"
        else:
            frames = permanent_frames + 1 + self.config.progressive_frames
            bytes_needed = frames * frame_elements * element_bytes
            bound = f"max_memory_mb is {self.config.max_megabytes:g}"
            least = f"{math.ceil(bytes_needed / 1e4) / 100:g}"
        raise InputError(
            f"{bound}, but {counted(permanent_frames, 'annotated frame')} stay in memory"
            f" (permanent_memory) and the frame being written needs room beside them; give at least"
            f" {least}, or leave permanent_memory out"
        )

    def make_room(self, bank: MemoryBank, incoming: int) -> None:
        capacity = self.capacity_elements(incoming, bank.element_bytes)
        if self.config.max_megabytes is not None:
            self._note_capacity(capacity, incoming, len(bank.object_ids))
        surplus = bank.size + incoming - capacity
        if surplus > 0:
            evicted = self._eviction_order(bank)[:surplus]
            assert len(evicted) == surplus, "room beside permanent frames is required of each mask"
            stays = torch.ones(bank.size, dtype=torch.bool, device=evicted.device)
            stays[evicted] = False
            bank.keep(stays.nonzero().squeeze(1))
        bank.limit(capacity + self.config.progressive_frames * incoming)

    def _eviction_order(self, bank: MemoryBank) -> Tensor:
        """The rows of the elements in the order in which they are evicted, int64 [N].

        Those of permanent frames are left out.
        """
        rows = torch.sort(self.rank(bank), stable=True).indices
        if self.config.protect_annotated:
            is_annotated = _is_of(self._annotated_frames, bank.frames[rows])
            rows = rows[torch.sort(is_annotated, stable=True).indices]
        if self.permanent_frames:
            rows = rows[~_is_of(self.permanent_frames, bank.frames[rows])]
        return rows

    def _note_capacity(self, capacity: int, frame_elements: int, objects: int) -> None:
        frames = capacity / frame_elements
        note_once(
            _LOGGER,
            f"memory: {self.config.max_megabytes:g} MB hold {capacity:,} elements,"
            f" {frames:.1f} frames' worth, with {counted(objects, 'object')}",
        )


def _is_of(frame_indices: Collection[int], frames: Tensor) -> Tensor:
    """Which of `frames`, int64 [N], are among the indices; bool [N]."""
    return torch.isin(frames, torch.tensor(list(frame_indices), device=frames.device))
