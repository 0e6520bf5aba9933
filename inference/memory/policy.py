"""What a memory policy answers."""

import abc
import enum

from inference.config import MemoryConfig


class Write(enum.Enum):
    """Whether a frame enters the memory."""

    NO = "no"
    TEMPORARY = "for now"  # until the next write
    KEEP = "for good"


class MemoryPolicy(abc.ABC):
    """Decides; the bank obeys. One instance lives for one video.

    The engine tells the policy of every processed frame in order, by asking `memorise`; annotated frames are always kept, and the
    policy hears of them through `annotated`.
    """

    def __init__(self, config: MemoryConfig):
        self.config = config

    @abc.abstractmethod
    def annotated(self, frame_index: int) -> None:
        """A frame was kept since masks were given for it."""

    @abc.abstractmethod
    def memorise(self, frame_index: int) -> Write:
        """Whether this predicted frame enters the memory."""

    @abc.abstractmethod
    def frames_until_write(self, frame_index: int) -> int:
        """How many frames from `frame_index` on may be predicted from the memory as it is: the last of them is the next that may enter it. At least 1."""

    @abc.abstractmethod
    def frames_held(self, frame_count: int | None) -> int | None:
        """At most how many frames' worth of elements are held at a time in a video of `frame_count` frames (None: unknown) with one annotated frame; None: no bound."""
