"""Hold the annotated frames and the previous frame.

Source: STM, section 4.3 (Table 4: first & previous).
"""

from torch import Tensor

from inference.memory.config import MemoryConfig
from inference.memory.policy import MemoryPolicy, Write
from util.errors import InputError


class FirstAndLatest(MemoryPolicy):
    """Keeps annotated frames; every frame replaces the one before it.

    With one annotated frame, two frames' worth of memory.
    """

    samples = False
    needs_every_frame = True

    def __init__(self, config: MemoryConfig):
        super().__init__(config)
        if config.include_last:
            raise InputError(
                "memory first-and-latest holds the last frame already; leave --include_last out"
            )
        if config.sampling != "every":
            raise InputError(
                f"memory first-and-latest writes every frame; leave sampling {config.sampling!r}"
                " out"
            )

    def annotated(self, frame_index: int, masks: Tensor, object_ids: tuple[int, ...]) -> None:
        pass

    def memorise(self, frame_index: int, masks: Tensor, object_ids: tuple[int, ...]) -> Write:
        return Write.TEMPORARY

    def frames_until_write(self, frame_index: int) -> int:
        return 1

    def frames_held(self, frame_count: int | None) -> int | None:
        return 2
