"""Settings of the memory of a video, and of reading it."""

import dataclasses
from typing import Literal

from util.ranges import bounded


@dataclasses.dataclass(frozen=True, kw_only=True)
class MemoryConfig:
    """What is remembered of a video. `inference.config.system_config` resolves and checks it."""

    policy: str = "every-k"  # a row of inference.memory.POLICIES
    sampling: str = "every"  # which predicted frames are written: a row of SAMPLINGS
    write_every_frames: int = bounded(5, at_least=1)  # of sampling every
    # of sampling adaptive: in what (a row of MEASURES) and by how much masks must differ, and the
    # frames between two writes
    sampling_measure: Literal["largest", "mean", "shape", "in-place"] = "largest"
    sampling_threshold: float = bounded(0.45, at_least=0)
    min_gap_frames: int = bounded(1, at_least=1)
    max_gap_frames: int = bounded(25, at_least=1)
    include_last: bool = False  # also hold the previous frame, which the next write replaces
    # progressive matching: the frames of a clip also read the last frame of each earlier segment of
    # so many of its frames; None: they read the memory alone
    segment_frames: int | None = bounded(None, at_least=1)
    # of bounded policies: how many frames' worth of elements are held, or how many 10^6 bytes
    capacity_frames: int | None = bounded(None, at_least=1)
    max_megabytes: float | None = bounded(None, above=0)
    protect_annotated: bool = False  # of bounded policies: evict annotated frames last
    # of policy redundancy: frames at which objects joined are never merged
    exempt_joins: bool = True
    permanent: bool = False  # annotated frames enter before the first prediction, and stay
    # of policy random, as torch.Generator takes it
    seed: int = bounded(0, at_least=-(2**63), below=2**64)

    @property
    def progressive_frames(self) -> int:
        """How many frames of a clip are held in addition while it lasts: a clip is as long as the
        distance of writes."""
        if self.segment_frames is None:
            return 0
        return (self.write_every_frames - 1) // self.segment_frames


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReadingConfig:
    """How the memory is read, beside the number of elements (top_k)."""

    # kernelized reading: the Gaussian's standard deviation in positions at stride 16; 7 is
    # published; None: positions do not matter
    kernel_sigma: float | None = bounded(None, at_least=0.1)
