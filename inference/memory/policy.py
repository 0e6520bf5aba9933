"""What a memory policy decides. Legend: K objects, N elements, h w at stride 16."""

import abc
import enum
from typing import ClassVar

from torch import Tensor

from inference.memory.bank import MemoryBank
from inference.memory.config import MemoryConfig
from inference.memory.tables import Usage
from model import VOSNetwork
from util.errors import InputError


class Write(enum.Enum):
    """Whether a frame enters the memory."""

    NO = "no"
    TEMPORARY = "until the next write"
    KEEP = "until the policy evicts it"


class MemoryPolicy(abc.ABC):
    """Decides which frames are written and which elements are evicted; the bank obeys.

    One instance lives for one video. The session asks `memorise` of each frame that may enter the
    memory, in order: the last one of those predicted together, and others that are scheduled.
    Annotated frames are always kept; `annotated` tells the policy of them. Both get the masks of
    the frame, probabilities [K, 16h, 16w] of the objects `object_ids`, and its index in the video:
    frames may be left out or skipped.

    The constructor raises InputError for settings that the policy does not take.
    """

    # what the bank counts of its reads: how often, or with what weight, an element is read
    usage: ClassVar[Usage | None] = None
    # a slot of the network (model.network.SLOTS) that the policy decides with
    slot: ClassVar[str | None] = None
    # whether it writes the frames that the sampling of the settings chooses
    samples: ClassVar[bool] = True
    # whether it merges frames, so that some must be exempt
    merges: ClassVar[bool] = False
    # the bound if none is set; None: the policy is not bounded
    default_capacity_frames: ClassVar[int | None] = None

    def __init__(self, config: MemoryConfig):
        if not (config.exempt_joins or self.merges):
            raise InputError(
                f"memory.exempt_joins is false, but memory {config.policy} merges no frames; leave"
                " it out, or choose memory redundancy"
            )
        self.config = config
        self.permanent_frames: set[int] = set()  # never evicted; the video's memory adds to them

    def use_network(self, network: VOSNetwork) -> None:  # noqa: B027 most policies need none
        """Take the network that runs, which has the policy's slot, before the first frame."""

    @property
    def needs_every_frame(self) -> bool:
        """Whether frames that are neither wanted nor written change what is kept.

        They do by their reads or by their masks; then none is skipped.
        """
        return self.usage is not None

    @property
    def capacity_frames(self) -> int | None:
        """Frames' worth of elements held before any is evicted; None: no bound in frames."""
        return None

    @abc.abstractmethod
    def annotated(self, frame_index: int, masks: Tensor, object_ids: tuple[int, ...]) -> None:
        """Note a frame that is kept since masks were given for it."""

    @abc.abstractmethod
    def memorise(self, frame_index: int, masks: Tensor, object_ids: tuple[int, ...]) -> Write:
        """Decide whether a predicted frame enters the memory."""

    def is_scheduled(self, frame_index: int) -> bool:
        """Whether a predicted frame is kept regardless of its masks."""
        return False

    @abc.abstractmethod
    def frames_until_write(self, frame_index: int) -> int:
        """How many frames from `frame_index` on may be predicted from the present memory.

        The last of them is the next that may enter it. At least 1.
        """

    @abc.abstractmethod
    def frames_held(self, frame_count: int | None) -> int | None:
        """At most how many frames' worth of elements are held at a time; None: no bound.

        frame_count: of a video with one annotated frame; None: unknown.
        """

    def capacity_elements(self, frame_elements: int, element_bytes: int) -> int | None:
        """How many elements are held at most, besides temporary clip frames; None: no bound.

        frame_elements: of a frame. element_bytes: of each element.
        Raises InputError if the elements of one frame do not fit.
        """
        return None

    def require_permanent_room(  # noqa: B027 most are unbounded
        self, permanent_frames: int, frame_elements: int, element_bytes: int
    ) -> None:
        """Raise InputError if so many permanent frames leave no room for another frame.

        frame_elements, element_bytes: as `capacity_elements`.
        """

    def make_room(self, bank: MemoryBank, incoming: int) -> None:  # noqa: B027 most are unbounded
        """Evict elements by `bank.keep(rows)` before `incoming` ones are written.

        Temporary elements are dropped already. Those of `permanent_frames` must stay.
        """
