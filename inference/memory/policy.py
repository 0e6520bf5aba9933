"""What a memory policy answers. Legend: K objects, H W frame size, h w at stride 16."""

import abc
import enum
from typing import ClassVar

from torch import Tensor

from inference.memory.config import MemoryConfig
from inference.memory.bank import MemoryBank, Usage
from model import VOSNetwork


class Write(enum.Enum):
    """Whether a frame enters the memory."""

    NO = "no"
    TEMPORARY = "for now"  # until the next write
    KEEP = "for good"  # until the policy makes room


class MemoryPolicy(abc.ABC):
    """Decides; the bank obeys. One instance lives for one video.

    The engine asks `memorise` of each frame that may enter the memory, in order: the last of those predicted together, and others that are scheduled. Annotated frames
    are always kept, and the policy hears of them through `annotated`. Both get the frame's masks, probabilities [K, 16h, 16w] of the objects `object_ids`. Frames are
    counted by their own indices in the video: some may be left out, or skipped.
    """

    usage: ClassVar[Usage | None] = (
        None  # what the bank counts of its reads: how often an element is read, or with what weight; None: nothing
    )
    slot: ClassVar[str | None] = (
        None  # of the network (model.network.SLOTS), whose weights it decides with
    )
    samples: ClassVar[bool] = True  # writes the frames that the sampling chooses
    default_capacity_frames: ClassVar[int | None] = (
        None  # where no bound is set; None: a policy that takes none
    )

    def __init__(self, config: MemoryConfig):
        self.config = config

    def use_network(self, network: VOSNetwork) -> None:  # noqa: B027 most decide without
        """Before the first frame: the network that runs, which has the policy's slot."""

    @property
    def needs_every_frame(self) -> bool:
        """Whether frames that are neither wanted nor written change what is kept, by what they read or by their masks: then none is skipped."""
        return self.usage is not None

    @property
    def capacity_frames(self) -> int | None:
        """How many frames' worth of elements are held before any must leave, with this network; None: no bound in frames."""
        return None

    @abc.abstractmethod
    def annotated(self, frame_index: int, masks: Tensor, object_ids: tuple[int, ...]) -> None:
        """A frame was kept since masks were given for it."""

    @abc.abstractmethod
    def memorise(self, frame_index: int, masks: Tensor, object_ids: tuple[int, ...]) -> Write:
        """Whether this predicted frame enters the memory."""

    def is_scheduled(self, frame_index: int) -> bool:
        """Whether this predicted frame is kept whatever its masks are."""
        return False

    @abc.abstractmethod
    def frames_until_write(self, frame_index: int) -> int:
        """How many frames from `frame_index` on may be predicted from the memory as it is: the last of them is the next that may enter it. At least 1."""

    @abc.abstractmethod
    def frames_held(self, frame_count: int | None) -> int | None:
        """At most how many frames' worth of elements are held at a time in a video of `frame_count` frames (None: unknown) with one annotated frame; None: no bound."""

    def capacity_elements(self, frame_elements: int, element_bytes: int) -> int | None:
        """How many elements are held at most, of frames of `frame_elements` and `element_bytes` each; None: no bound. Raises InputError where a frame's do not fit."""
        return None

    def make_room(self, bank: MemoryBank, incoming: int) -> None:  # noqa: B027 a policy without bound has nothing to do
        """Before `incoming` elements are written: decide which rows stay, by `bank.keep(rows)`. Elements held for now are gone already."""
