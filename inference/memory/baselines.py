"""What a bounded memory that weighs the use of its elements is compared with. Legend: N memory elements (pixels at stride 16)."""

import torch
from torch import Tensor

from inference.memory.config import MemoryConfig
from inference.memory.bank import MemoryBank
from inference.memory.bounded import BoundedMemory


class FirstInFirstOut(BoundedMemory):
    """The oldest elements leave: a window of the latest frames written."""

    def rank(self, bank: MemoryBank) -> Tensor:
        return bank.frames


class RandomEviction(BoundedMemory):
    """Any elements leave, the same ones in every run with the same `memory.seed`."""

    def __init__(self, config: MemoryConfig):
        super().__init__(config)
        self._generator = torch.Generator().manual_seed(config.seed)

    def rank(self, bank: MemoryBank) -> Tensor:
        return torch.rand(bank.size, generator=self._generator).to(bank.frames.device)
