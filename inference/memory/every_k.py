"""Keep every frame that is sampled, by default every k-th.

Source: STM, section 3.2; STCN, section 4.
"""

from torch import Tensor

from inference.memory.config import MemoryConfig
from inference.memory.policy import MemoryPolicy, Write
from inference.memory.sampling import SAMPLINGS


class EveryK(MemoryPolicy):
    """Keeps sampled frames permanently; `include_last` also holds the previous frame."""

    def __init__(self, config: MemoryConfig):
        super().__init__(config)
        self._sampling = SAMPLINGS[config.sampling](config)

    def annotated(self, frame_index: int, masks: Tensor, object_ids: tuple[int, ...]) -> None:
        self._sampling.annotated(frame_index, masks, object_ids)

    def memorise(self, frame_index: int, masks: Tensor, object_ids: tuple[int, ...]) -> Write:
        if self._sampling.is_due(frame_index, masks, object_ids):
            return Write.KEEP
        return Write.TEMPORARY if self.config.include_last else Write.NO

    @property
    def needs_every_frame(self) -> bool:
        return (
            super().needs_every_frame
            or self.config.include_last
            or self._sampling.needs_every_frame
        )

    def is_scheduled(self, frame_index: int) -> bool:
        return self._sampling.is_scheduled(frame_index)

    def frames_until_write(self, frame_index: int) -> int:
        return 1 if self.config.include_last else self._sampling.frames_until_write(frame_index)

    def frames_held(self, frame_count: int | None) -> int | None:
        written = None if frame_count is None else self._sampling.frames_written(frame_count)
        return None if written is None else written + int(self.config.include_last)
