"""Which predicted frames are written. Legend: K objects, h w at stride 16.

A new choice is a class here and a row of SAMPLINGS; policies ask it.
"""

import abc
from typing import ClassVar

from torch import Tensor

from inference.memory.config import MemoryConfig
from inference.memory.mask_difference import Regions


class Sampling(abc.ABC):
    """Chooses the frames that are kept. One instance lives for one video.

    It is informed of frames as a MemoryPolicy is: masks are probabilities [K, 16h, 16w] of the
    objects `object_ids`.
    """

    # whether it looks at the masks of frames that it then does not choose
    needs_every_frame: ClassVar[bool]

    def __init__(self, config: MemoryConfig):
        self.config = config
        self._last_written = 0

    @abc.abstractmethod
    def annotated(self, frame_index: int, masks: Tensor, object_ids: tuple[int, ...]) -> None:
        """Note a frame that is written since masks were given for it."""

    @abc.abstractmethod
    def is_due(self, frame_index: int, masks: Tensor, object_ids: tuple[int, ...]) -> bool:
        """Whether to write a predicted frame; if so, it is noted as written."""

    @abc.abstractmethod
    def is_scheduled(self, frame_index: int) -> bool:
        """Whether a predicted frame is written regardless of its masks."""

    @abc.abstractmethod
    def frames_until_write(self, frame_index: int) -> int:
        """How many frames there are from `frame_index` to the next that may be due, both counted.

        At least 1.
        """

    @abc.abstractmethod
    def frames_written(self, frame_count: int) -> int | None:
        """At most how many frames of a video are written; None: no useful bound is known.

        The annotated first frame counts; the last frame is not written, as no frame would read it.
        """


class Every(Sampling):
    """Writes once `write_every_frames` of the video have passed since the last frame written.

    Frames that are left out or skipped count; the count restarts at annotated frames.
    Source: STM, section 3.2; STCN, section 4.
    """

    needs_every_frame = False

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
    """Writes a frame whose masks differ enough from those of the latest frame written.

    The difference (see mask_difference.py) must exceed `sampling_threshold`. A frame is written no
    sooner than `min_gap_frames` after the last one, and after `max_gap_frames` in any case.
    Annotated frames are always written.

    Source: REMN. Ours: the measure, the gaps and the threshold. 0.45 is the smallest multiple of
    0.05 that writes at most one frame in five of the 30 training sequences of DAVIS-2016, judged by
    their truth masks (398 of 2079 frames): `python scripts/choose_sampling_threshold.py DAVIS`.
    That is an average: videos of fast or articulated objects are written more often. With a
    smallest gap of 5, none is written more often than every fifth frame (see the docs' page
    "Systems and memory").
    """

    needs_every_frame = True

    def __init__(self, config: MemoryConfig):
        super().__init__(config)
        self._written: Regions | None = None  # of the latest frame written

    def annotated(self, frame_index: int, masks: Tensor, object_ids: tuple[int, ...]) -> None:
        self._last_written, self._written = frame_index, Regions(masks, object_ids)

    def is_due(self, frame_index: int, masks: Tensor, object_ids: tuple[int, ...]) -> bool:
        if frame_index - self._last_written < self.config.min_gap_frames:
            return False
        regions = Regions(masks, object_ids)
        due = (
            self.is_scheduled(frame_index)
            or self._difference(regions) > self.config.sampling_threshold
        )
        if due:
            self._last_written, self._written = frame_index, regions
        return due

    def _difference(self, regions: Regions) -> float:
        return regions.difference_from(self._written, self.config.sampling_measure)

    def is_scheduled(self, frame_index: int) -> bool:
        return frame_index - self._last_written >= self.config.max_gap_frames

    def frames_until_write(self, frame_index: int) -> int:
        return max(self._last_written + self.config.min_gap_frames - frame_index + 1, 1)

    def frames_written(self, frame_count: int) -> None:
        return None


SAMPLINGS: dict[str, type[Sampling]] = {"every": Every, "adaptive": Adaptive}
