"""Baselines for bounded policies that consider the use of elements. Legend: N elements."""

import torch
from torch import Tensor

from inference.memory.bank import MemoryBank
from inference.memory.bounded import BoundedMemory
from inference.memory.config import MemoryConfig


class FirstInFirstOut(BoundedMemory):
    """Evicts the oldest elements: the memory is a window of the latest frames written."""

    def rank(self, bank: MemoryBank) -> Tensor:
        return bank.frames


class RandomEviction(BoundedMemory):
    """Evicts elements at random, the same ones in every run with the same `memory.seed`."""

    def __init__(self, config: MemoryConfig):
        super().__init__(config)
        self._generator = torch.Generator().manual_seed(config.seed)

    def rank(self, bank: MemoryBank) -> Tensor:
        return torch.rand(bank.size, generator=self._generator).to(bank.frames.device)
