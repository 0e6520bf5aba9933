"""Make a full memory shorter by what the network has learned of its redundancy. Legend: T frames, M elements of a frame, C channels.

Published (REMN; Chen, Zhang, Yang, Wu, 2023): when the memory holds N frames, these become T / 2^(S+1), by the network's gate and convolutions
(model/redundancy_reduction.py). Ours: N = 12; the frames at which objects joined are exempt and come on top of N; groups of frames that become one lie between two of
these, so that none is made of what was before an object's first frame and what came after; what is left of a stretch between two, the newest frames, stays.
"""

import itertools
import logging
from collections.abc import Collection

import torch

from inference.memory.config import MemoryConfig
from inference.memory.bank import MemoryBank
from inference.memory.every_k import EveryK
from model import VOSNetwork
from util.errors import InputError
from util.logging import note_once

_LOGGER = logging.getLogger(__name__)


class RedundancyReduced(EveryK):
    """Frames are written as every-k writes them; where `capacity_frames` of them are held beside those at which objects joined, every 2 or every 4 in a row become one.

    The capacity is rounded to a multiple of the largest reduction, which is said. A reduced frame counts as its newest, and may be reduced again. Frames that are alone
    between two at which objects joined stay: with a great many of these the memory is larger.
    """

    default_capacity_frames = 12
    slot = "reducer"

    def __init__(self, config: MemoryConfig):
        super().__init__(config)
        if config.max_megabytes is not None or config.protect_annotated:
            raise InputError(
                "memory redundancy is bounded in frames (memory_frames), objects' first ones come on top; leave max_memory_mb and memory.protect_annotated out"
            )
        self._capacity_frames = config.capacity_frames or self.default_capacity_frames

    def use_network(self, network: VOSNetwork) -> None:
        self._reduction = network.redundancy_reduction
        largest, asked = self._reduction.factors[-1], self._capacity_frames
        self._capacity_frames = max(asked // largest, 1) * largest
        if asked != self._capacity_frames:
            note_once(
                _LOGGER,
                f"memory redundancy: memory_frames is {asked}, {self._capacity_frames} are held beside objects' first ones: up to {largest} frames become one",
            )

    @property
    def capacity_frames(self) -> int:
        return self._capacity_frames

    def frames_held(self, frame_count: int | None) -> int | None:
        needed = super().frames_held(frame_count)
        return (
            self._capacity_frames + 1 if needed is None else min(self._capacity_frames + 1, needed)
        )

    def make_room(self, bank: MemoryBank, incoming: int) -> None:
        rows = {
            int(frame): slice(start, start + incoming)
            for start, frame in zip(
                range(0, bank.size, incoming), bank.frames[::incoming].tolist(), strict=True
            )
        }
        exempt = bank.first_frames
        reducible = [frame for frame in rows if frame not in exempt]
        if len(reducible) < self._capacity_frames:
            return
        keys = torch.stack([bank.keys[rows[frame]] for frame in reducible])
        groups = self._groups(list(rows), exempt, self._reduction.choose(keys))
        for factor in sorted({len(group) for group in groups}):
            self._merge(bank, [group for group in groups if len(group) == factor], incoming, factor)

    def _groups(self, frames: list[int], exempt: Collection[int], factor: int) -> list[list[int]]:
        """Frames that become one: `factor` of them in a row, from the oldest of each stretch between exempt frames on; fewer of a stretch that is shorter."""
        groups = []
        for is_exempt, stretch in itertools.groupby(frames, key=exempt.__contains__):
            run = list(stretch)
            fitting = [size for size in self._reduction.factors if size <= min(factor, len(run))]
            if not is_exempt and fitting:
                groups += [
                    run[start : start + fitting[-1]]
                    for start in range(0, len(run) - fitting[-1] + 1, fitting[-1])
                ]
        return groups

    def _merge(self, bank: MemoryBank, groups: list[list[int]], elements: int, factor: int) -> None:
        """The frames of each group, `factor` in number, become one."""
        starts = torch.searchsorted(
            bank.frames, torch.tensor(groups, device=bank.frames.device)
        )  # [groups, T]
        rows = starts.unsqueeze(-1) + torch.arange(elements, device=starts.device)
        bank.merge(
            rows,
            lambda key: self._reduction.reduce_key(key, factor).squeeze(1),
            lambda value: self._reduction.reduce_value(value, factor).squeeze(1),
        )
