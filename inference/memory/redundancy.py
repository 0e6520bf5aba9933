"""Merge frames of a full memory by the network's redundancy reduction.

Legend: G groups, T frames, M elements of a frame, C channels.

Published (REMN; Chen, Zhang, Yang, Wu, 2023): when the memory holds N frames, they become
T / 2^(S+1) frames, by the network's gate and convolutions (model/redundancy_reduction.py).
Ours: N = 12. The frames at which objects joined are exempt and come on top of N, unless
memory.exempt_joins is false; permanent frames always are. Merged frames lie between two exempt ones
or two frames at which objects joined, so that none mixes frames from before and after an object
joined. The newest frames of such a stretch stay unmerged if they do not fill a group.
"""

import bisect
import itertools
import logging
from collections.abc import Collection

import torch
from torch import Tensor

from inference.memory.bank import MemoryBank
from inference.memory.config import MemoryConfig
from inference.memory.every_k import EveryK
from model import VOSNetwork
from util.errors import InputError
from util.logging import note_once

_LOGGER = logging.getLogger(__name__)


class RedundancyReduced(EveryK):
    """Writes frames as every-k does; when the memory is full, merges every 2 or every 4 frames.

    It is full when it holds `capacity_frames` frames besides those at which objects joined. The
    capacity is rounded to a multiple of the largest reduction, with a note. A merged frame counts
    as its newest one, and may be merged again. A frame that is alone between two exempt ones stays:
    with very many of these, the memory is larger.
    """

    default_capacity_frames = 12
    slot = "reducer"
    merges = True

    def __init__(self, config: MemoryConfig):
        super().__init__(config)
        if config.max_megabytes is not None or config.protect_annotated:
            raise InputError(
                "memory redundancy is bounded in frames (memory_frames), besides those at which"
                " objects join; leave max_memory_mb and memory.protect_annotated out"
            )
        self._capacity_frames = config.capacity_frames or self.default_capacity_frames

    def use_network(self, network: VOSNetwork) -> None:
        self._reduction = network.redundancy_reduction
        largest, asked_for = self._reduction.factors[-1], self._capacity_frames
        self._capacity_frames = max(asked_for // largest, 1) * largest
        if asked_for != self._capacity_frames:
            note_once(
                _LOGGER,
                f"memory redundancy: memory_frames is {asked_for}, but {self._capacity_frames} are"
                f" held besides those at which objects join: up to {largest} frames become one",
            )

    @property
    def capacity_frames(self) -> int:
        return self._capacity_frames

    def frames_held(self, frame_count: int | None) -> int | None:
        needed, most = super().frames_held(frame_count), self._capacity_frames + 1
        return most if needed is None else min(most, needed)

    def make_room(self, bank: MemoryBank, incoming: int) -> None:
        # all frames have as many elements as the incoming one
        frames = bank.frames[::incoming].tolist()
        stretches = self._stretches(frames, bank.first_frames)
        if sum(map(len, stretches)) < self._capacity_frames:
            return
        rows = self._rows(bank, [frame for run in stretches for frame in run], incoming)
        keys = bank.keys[rows]
        groups = self._groups(stretches, self._reduction.choose(keys))
        for factor in sorted({len(group) for group in groups}):
            self._merge(bank, [group for group in groups if len(group) == factor], incoming, factor)

    def _stretches(self, frames: list[int], first_frames: Collection[int]) -> list[list[int]]:
        """Those of the frames in memory that may be merged, one list per stretch.

        first_frames: at which objects joined. They begin a new stretch even if they are not in
        their place in time, as preloaded frames are not.
        """
        joins, exempt = sorted(first_frames), set(self.permanent_frames)
        if self.config.exempt_joins:
            exempt |= first_frames

        def stretch_of(frame: int) -> int | None:
            return None if frame in exempt else bisect.bisect(joins, frame)

        grouped = itertools.groupby(frames, key=stretch_of)
        return [list(run) for stretch, run in grouped if stretch is not None]

    def _groups(self, stretches: list[list[int]], factor: int) -> list[list[int]]:
        """The frames that become one, as lists of `factor` frames in a row.

        Groups begin at the oldest frame of each stretch. A stretch shorter than the factor is
        merged by the largest factor that fits.
        """
        groups = []
        for run in stretches:
            fitting = [size for size in self._reduction.factors if size <= min(factor, len(run))]
            if fitting:
                size = fitting[-1]
                groups += [
                    run[start : start + size] for start in range(0, len(run) - size + 1, size)
                ]
        return groups

    def _merge(self, bank: MemoryBank, groups: list[list[int]], elements: int, factor: int) -> None:
        """Merge groups of `factor` frames with so many elements each."""
        rows = self._rows(bank, [frame for group in groups for frame in group], elements)
        bank.merge(
            rows.unflatten(0, (len(groups), factor)),
            lambda key: self._reduction.reduce_key(key, factor).squeeze(1),
            lambda value: self._reduction.reduce_value(value, factor).squeeze(1),
        )

    @staticmethod
    def _rows(bank: MemoryBank, frames: list[int], elements: int) -> Tensor:
        """The rows of frames with so many elements each, int64 [T, M]."""
        number_of = {frame: number for number, frame in enumerate(bank.frames[::elements].tolist())}
        starts = torch.tensor([number_of[frame] for frame in frames]) * elements
        rows = starts.unsqueeze(-1) + torch.arange(elements)
        return rows.to(bank.frames.device)
