"""Memorise every k-th frame. Source: STM, section 3.2; STCN, section 4."""

from inference.config import MemoryConfig
from inference.memory.policy import MemoryPolicy, Write


class EveryK(MemoryPolicy):
    """A frame is kept whenever `write_every_frames` have passed since the last that was; the count starts anew at an annotated frame.

    `include_last` also holds the previous frame for now.
    """

    def __init__(self, config: MemoryConfig):
        super().__init__(config)
        self._last_kept = 0

    def annotated(self, frame_index: int) -> None:
        self._last_kept = frame_index

    def memorise(self, frame_index: int) -> Write:
        if frame_index - self._last_kept >= self.config.write_every_frames:
            self._last_kept = frame_index
            return Write.KEEP
        return Write.TEMPORARY if self.config.include_last else Write.NO

    def frames_until_write(self, frame_index: int) -> int:
        if self.config.include_last:
            return 1
        return max(self._last_kept + self.config.write_every_frames - frame_index + 1, 1)

    def frames_held(self, frame_count: int | None) -> int | None:
        if frame_count is None:
            return None
        kept = 1 + max(frame_count - 2, 0) // self.config.write_every_frames  # the video's last frame is never needed
        return kept + int(self.config.include_last)
