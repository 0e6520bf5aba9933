"""The memory of a video: the bank stores, a policy decides.

A new policy is a file here and a row of POLICIES; a new choice of the frames to write is a row of
SAMPLINGS.
"""

from inference.memory.bank import MemoryBank
from inference.memory.baselines import FirstInFirstOut, RandomEviction
from inference.memory.bounded import BoundedMemory
from inference.memory.config import MemoryConfig, ReadingConfig
from inference.memory.every_k import EveryK
from inference.memory.first_and_latest import FirstAndLatest
from inference.memory.least_frequently_used import LeastFrequentlyUsed, LeastFrequentlyUsedByWeight
from inference.memory.policy import MemoryPolicy, Write
from inference.memory.redundancy import RedundancyReduced
from inference.memory.sampling import SAMPLINGS, Sampling
from inference.memory.similarities import PositionKernel
from inference.memory.tables import element_bytes

POLICIES: dict[str, type[MemoryPolicy]] = {
    "every-k": EveryK,
    "first-and-latest": FirstAndLatest,
    "lfu": LeastFrequentlyUsed,
    "lfu-weight": LeastFrequentlyUsedByWeight,
    "redundancy": RedundancyReduced,
    "fifo": FirstInFirstOut,
    "random": RandomEviction,
}

__all__ = [
    "POLICIES",
    "SAMPLINGS",
    "BoundedMemory",
    "MemoryBank",
    "MemoryConfig",
    "MemoryPolicy",
    "PositionKernel",
    "ReadingConfig",
    "Sampling",
    "Write",
    "element_bytes",
]
