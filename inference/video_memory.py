"""The memory of one video: the bank, its policy, and the frames that wait to be written.

Legend: K objects, M elements of a frame, h w at stride 16.
"""

import dataclasses
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from inference.config import SystemConfig
from inference.frames import Geometry
from inference.memory import POLICIES, MemoryBank, element_bytes
from inference.prediction import ClipPredictor, PredictedFrame
from model import VOSNetwork
from model.network import STRIDE

# At most so many frames' worth of memory is reserved at first: a file may state any number of
# frames, and the tables grow if they have to.
_MAX_RESERVED_FRAMES = 40


@dataclasses.dataclass(frozen=True)
class _ScheduledFrame:
    """A frame that is written when the next clip begins."""

    frame: PredictedFrame
    masks: Tensor  # [1, K, 16h, 16w]
    object_ids: tuple[int, ...]
    temporary: bool


class VideoMemory:
    """Writes frames as the policy of the settings decides.

    A scheduled frame is written when the next clip comes to read it, so that the last frame of a
    video is never encoded. frame_count: of the video, if known; the tables are then allocated once.
    """

    def __init__(self, network: VOSNetwork, config: SystemConfig, frame_count: int | None):
        self._network_config, self._config = network.config, config
        self._frame_count = frame_count
        self._scheduled: list[_ScheduledFrame] = []
        self.policy = POLICIES[config.memory.policy](config.memory)
        self.policy.use_network(network)
        self.bank: MemoryBank | None = None  # None: nothing is written yet
        self.frames_memorised = 0  # frames written so far, without temporary ones

    @property
    def lost_object_ids(self) -> tuple[int, ...]:
        """Objects that no element shows any more and that no scheduled frame will show."""
        if self.bank is None:
            return ()
        scheduled = {i for scheduled in self._scheduled for i in scheduled.object_ids}
        return tuple(i for i in self.bank.lost_object_ids if i not in scheduled)

    def require_capacity(self, geometry: Geometry, objects: int) -> None:
        """Raise InputError if one frame of this geometry and number of objects does not fit."""
        bytes_needed = element_bytes(
            self._network_config.key_channels,
            self._network_config.value_channels,
            objects,
            value_bytes=2 if self._config.amp else 4,
            usage=self.policy.usage,
        )
        self.policy.capacity_elements(math.prod(geometry.grid), bytes_needed)

    def schedule(
        self, frame: PredictedFrame, masks: Tensor, object_ids: tuple[int, ...], *, temporary: bool
    ) -> None:
        """Have a frame written before the next clip. masks: [1, K, 16h, 16w] of `object_ids`."""
        self._scheduled.append(_ScheduledFrame(frame, masks, object_ids, temporary))

    def write_scheduled(self, predictor: ClipPredictor) -> None:
        """Encode and write the frames that are scheduled."""
        scheduled, self._scheduled = self._scheduled, []
        with predictor.arithmetic():
            for one in scheduled:
                self._write(one, predictor)

    def forget_lost_objects(self) -> tuple[int, ...]:
        """Drop the values of lost objects and return their ids.

        What is predicted of a lost object, nothing, must not be memorised as its appearance.
        """
        lost = () if self.bank is None else self.bank.lost_object_ids
        for object_id in lost:
            self.bank.remove_object(object_id)
        return lost

    def clear(self) -> None:
        """Free all elements, since no object is left."""
        self.bank = None

    def _write(self, scheduled: _ScheduledFrame, predictor: ClipPredictor) -> None:
        frame, masks, object_ids = scheduled.frame, scheduled.masks, scheduled.object_ids
        values = predictor.encode_values(frame, masks, object_ids)
        if self.bank is None:
            self.bank = MemoryBank(
                similarity_kind=self._network_config.similarity,
                capacity=self._reserved_frames() * math.prod(predictor.geometry.grid),
                usage=self.policy.usage,
            )
        key = frame.memory_key
        self.bank.drop_temporary()
        self.bank.prepare(key, values)
        self.policy.make_room(self.bank, len(key))
        shown = None
        if self.policy.default_capacity_frames is not None:  # only a bounded memory loses objects
            shown = dict(zip(object_ids, shown_elements(masks[0]), strict=True))
        self.bank.write(frame.frame_index, key, values, temporary=scheduled.temporary, shown=shown)
        self.frames_memorised += not scheduled.temporary

    def _reserved_frames(self) -> int:
        """Frames' worth of memory allocated at first: what the video needs, if that is known."""
        frames_held = self.policy.frames_held(self._frame_count)
        if frames_held is None:
            return 0
        return min(frames_held, _MAX_RESERVED_FRAMES) + self._config.memory.progressive_frames


def shown_elements(masks: Tensor) -> Tensor:
    """Which elements show an object: it is the most probable one at any pixel of theirs.

    masks: probabilities [K, 16h, 16w]. Returns bool [K, M].
    """
    best = torch.maximum(masks.amax(0), 1 - masks.sum(0))
    return F.max_pool2d((masks == best).to(masks.dtype), STRIDE).flatten(1) > 0
