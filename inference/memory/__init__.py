"""Memory: the bank stores, a policy decides. A new policy is a file here and a row of POLICIES."""

from inference.memory.bank import MemoryBank
from inference.memory.every_k import EveryK
from inference.memory.first_and_latest import FirstAndLatest
from inference.memory.policy import MemoryPolicy, Write

POLICIES: dict[str, type[MemoryPolicy]] = {"every-k": EveryK, "first-and-latest": FirstAndLatest}

__all__ = ["POLICIES", "MemoryBank", "MemoryPolicy", "Write"]
