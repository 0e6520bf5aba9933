"""When a predicted frame is written: one question, asked by the policies. A new answer is a row of SAMPLINGS. Legend: K objects, h w at stride 16."""

import abc

from torch import Tensor

from inference.config import MemoryConfig


class Sampling(abc.ABC):
    """Chooses the frames that are written for good. One instance lives for one video; it is told of frames as a MemoryPolicy is."""

    def __init__(self, config: MemoryConfig):
        self.config = config

    @abc.abstractmethod
    def annotated(self, frame_index: int, masks: Tensor, object_ids: tuple[int, ...]) -> None:
        """A frame is written since masks were given for it."""

    @abc.abstractmethod
    def is_due(self, frame_index: int, masks: Tensor, object_ids: tuple[int, ...]) -> bool:
        """Whether this predicted frame is to be written; it is, where this says so. masks: probabilities [K, 16h, 16w] of `object_ids`."""

    @abc.abstractmethod
    def frames_until_write(self, frame_index: int) -> int:
        """How many frames from `frame_index` on there are up to the next that may be due, itself counted. At least 1."""

    @abc.abstractmethod
    def frames_written(self, frame_count: int) -> int:
        """At most how many frames of a video of `frame_count` are written, the annotated first one counted; its last frame is not, as no frame would read it."""


class Every(Sampling):
    """Whenever `write_every_frames` have passed since the last frame written; the count starts anew at an annotated frame. Source: STM, section 3.2; STCN, section 4."""

    def __init__(self, config: MemoryConfig):
        super().__init__(config)
        self._last_written = 0

    def annotated(self, frame_index: int, masks: Tensor, object_ids: tuple[int, ...]) -> None:
        self._last_written = frame_index

    def is_due(self, frame_index: int, masks: Tensor, object_ids: tuple[int, ...]) -> bool:
        due = frame_index - self._last_written >= self.config.write_every_frames
        if due:
            self._last_written = frame_index
        return due

    def frames_until_write(self, frame_index: int) -> int:
        return max(self._last_written + self.config.write_every_frames - frame_index + 1, 1)

    def frames_written(self, frame_count: int) -> int:
        return 1 + max(frame_count - 2, 0) // self.config.write_every_frames


SAMPLINGS: dict[str, type[Sampling]] = {"every": Every}
