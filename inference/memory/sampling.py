"""When a predicted frame is written: one question, asked by the policies. A new answer is a row of SAMPLINGS. Legend: K objects, h w at stride 16."""

import abc
from typing import ClassVar

from torch import Tensor

from inference.memory.config import MemoryConfig
from inference.memory.mask_difference import Regions


class Sampling(abc.ABC):
    """Chooses the frames that are written for good. One instance lives for one video; it is told of frames as a MemoryPolicy is.

    needs_every_frame: it looks at the masks of frames that it then does not choose.
    """

    needs_every_frame: ClassVar[bool]

    def __init__(self, config: MemoryConfig):
        self.config = config

    @abc.abstractmethod
    def annotated(self, frame_index: int, masks: Tensor, object_ids: tuple[int, ...]) -> None:
        """A frame is written since masks were given for it."""

    @abc.abstractmethod
    def is_due(self, frame_index: int, masks: Tensor, object_ids: tuple[int, ...]) -> bool:
        """Whether this predicted frame is to be written; it is, where this says so. masks: probabilities [K, 16h, 16w] of `object_ids`."""

    @abc.abstractmethod
    def is_scheduled(self, frame_index: int) -> bool:
        """Whether this predicted frame is written whatever its masks are."""

    @abc.abstractmethod
    def frames_until_write(self, frame_index: int) -> int:
        """How many frames from `frame_index` on there are up to the next that may be due, itself counted. At least 1."""

    @abc.abstractmethod
    def frames_written(self, frame_count: int) -> int | None:
        """At most how many frames of a video of `frame_count` are written, the annotated first one counted; its last frame is not, as no frame would read it. None:
        nothing near the truth is known beforehand."""


class Every(Sampling):
    """Whenever `write_every_frames` of the video have passed since the last frame written, also where some were left out or skipped; the count starts anew at an
    annotated frame. Source: STM, section 3.2; STCN, section 4."""

    needs_every_frame = False

    def __init__(self, config: MemoryConfig):
        super().__init__(config)
        self._last_written = 0

    def annotated(self, frame_index: int, masks: Tensor, object_ids: tuple[int, ...]) -> None:
        self._last_written = frame_index

    def is_due(self, frame_index: int, masks: Tensor, object_ids: tuple[int, ...]) -> bool:
        due = self.is_scheduled(frame_index)
        if due:
            self._last_written = frame_index
        return due

    def is_scheduled(self, frame_index: int) -> bool:
        return frame_index - self._last_written >= self.config.write_every_frames

    def frames_until_write(self, frame_index: int) -> int:
        return max(self._last_written + self.config.write_every_frames - frame_index + 1, 1)

    def frames_written(self, frame_count: int) -> int:
        return 1 + max(frame_count - 2, 0) // self.config.write_every_frames


class Adaptive(Sampling):
    """When a frame's masks differ enough from those of the latest frame written, by more than `sampling_threshold` (see mask_difference.py), but no
    sooner than `min_gap_frames` after it, and after `max_gap_frames` in any case. Annotated frames are written whatever their masks.

    Source: REMN. The measure, the gaps and the threshold are ours. The threshold, 0.45, is the smallest multiple of 0.05 at which at most one frame in five is written of
    the 30 training sequences of DAVIS-2016, judged by their truth masks (398 of 2079 frames): `python scripts/choose_sampling_threshold.py DAVIS`.
    """

    needs_every_frame = True

    def __init__(self, config: MemoryConfig):
        super().__init__(config)
        self._last_written = 0
        self._written: Regions | None = None

    def annotated(self, frame_index: int, masks: Tensor, object_ids: tuple[int, ...]) -> None:
        self._last_written, self._written = frame_index, Regions(masks, object_ids)

    def is_due(self, frame_index: int, masks: Tensor, object_ids: tuple[int, ...]) -> bool:
        gap = frame_index - self._last_written
        if gap < self.config.min_gap_frames:
            return False
        regions = Regions(masks, object_ids)
        due = (
            self.is_scheduled(frame_index)
            or regions.difference_from(self._written) > self.config.sampling_threshold
        )
        if due:
            self._last_written, self._written = frame_index, regions
        return due

    def is_scheduled(self, frame_index: int) -> bool:
        return frame_index - self._last_written >= self.config.max_gap_frames

    def frames_until_write(self, frame_index: int) -> int:
        return max(self._last_written + self.config.min_gap_frames - frame_index + 1, 1)

    def frames_written(self, frame_count: int) -> None:
        return None


SAMPLINGS: dict[str, type[Sampling]] = {"every": Every, "adaptive": Adaptive}
