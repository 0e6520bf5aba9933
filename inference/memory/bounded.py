"""Memories of a fixed capacity: what they share. Legend: N memory elements (pixels at stride 16), K objects."""

import abc
import logging
import math

import torch
from torch import Tensor

from inference.memory.config import MemoryConfig
from inference.memory.bank import MemoryBank
from inference.memory.every_k import EveryK
from inference.memory.policy import Write
from util.errors import InputError
from util.logging import note_once
from util.text import counted

_LOGGER = logging.getLogger(__name__)


class BoundedMemory(EveryK):
    """Frames are written as every-k writes them; once the memory is full, exactly as many elements leave as a new frame needs: those ranked lowest, whichever
    frames they are of. A policy of this kind is its `rank`.

    Capacity: `capacity_frames` frames' worth of elements, or what `max_megabytes` hold, which depends on how many objects there are: each has values of its own.
    What progressive matching adds while a clip lasts comes on top of the frames, and out of the megabytes. The frame being written stays in any case.
    `protect_annotated`: what was written with a given mask leaves only when nothing else is left to.
    """

    default_capacity_frames = 4

    def __init__(self, config: MemoryConfig):
        super().__init__(config)
        self._capacity_frames = config.capacity_frames
        if self._capacity_frames is None and config.max_megabytes is None:
            self._capacity_frames = self.default_capacity_frames
        if self._capacity_frames == 1 and config.protect_annotated:
            raise InputError(
                "memory.protect_annotated with memory_frames 1: the frame being written takes it all; give at least 2 frames"
            )
        self.frame_index = 0  # of the latest processed frame
        self._annotated_frames: list[int] = []

    @abc.abstractmethod
    def rank(self, bank: MemoryBank) -> Tensor:
        """A number for each element [N]: the lowest leave first; of equal ones, the older."""

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
        megabytes, passing = (
            self.config.max_megabytes,
            self.config.progressive_frames * frame_elements,
        )
        capacity = int(megabytes * 1e6 // element_bytes) - passing
        if capacity < frame_elements:
            needed = (frame_elements + passing) * element_bytes
            raise InputError(
                f"max_memory_mb is {megabytes:g}, but one frame with its objects takes {needed / 1e6:.3g} MB; give at least {math.ceil(needed / 1e4) / 100:g}"
            )
        return capacity

    def make_room(self, bank: MemoryBank, incoming: int) -> None:
        capacity = self.capacity_elements(incoming, bank.element_bytes)
        if self.config.max_megabytes is not None:
            objects = counted(len(bank.object_ids), "object")
            note_once(
                _LOGGER,
                f"memory: {self.config.max_megabytes:g} MB hold {capacity:,} elements, {capacity / incoming:.1f} frames' worth, with {objects}",
            )
        surplus = bank.size + incoming - capacity
        if surplus > 0:
            leaving_first = torch.sort(self.rank(bank), stable=True).indices
            if self.config.protect_annotated:
                annotated = torch.tensor(self._annotated_frames, device=bank.frames.device)
                leaving_first = leaving_first[
                    torch.sort(
                        torch.isin(bank.frames[leaving_first], annotated), stable=True
                    ).indices
                ]
            bank.keep(leaving_first[surplus:].sort().values)
        bank.limit(capacity + self.config.progressive_frames * incoming)
