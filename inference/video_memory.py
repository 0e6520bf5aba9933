"""The memory of one video: the bank, its policy, and the frames that wait to be written.

Legend: K objects, M elements of a frame, h w at stride 16.
"""

import dataclasses
import math
from collections.abc import Collection

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

    def require_capacity(
        self, geometry: Geometry, object_ids: Collection[int], annotated_frame: int | None = None
    ) -> None:
        """Raise InputError if the next frame to be written does not fit.

        object_ids: of the video so far. annotated_frame: is about to be memorised with its mask.
        """
        waiting = () if self.bank is None else self.bank.waiting_ids
        bytes_needed = element_bytes(
            self._network_config.key_channels,
            self._network_config.value_channels,
            len(set(object_ids).union(waiting)),
            value_bytes=2 if self._config.amp else 4,
            usage=self.policy.usage,
        )
        elements = math.prod(geometry.grid)
        self.policy.capacity_elements(elements, bytes_needed)
        permanent_frames = set(self.policy.permanent_frames)
        if annotated_frame is not None and self._config.memory.permanent:
            permanent_frames.add(annotated_frame)
        self.policy.require_permanent_room(len(permanent_frames), elements, bytes_needed)

    def preload(
        self,
        frame: PredictedFrame,
        masks: Tensor,
        object_ids: tuple[int, ...],
        predictor: ClipPredictor,
    ) -> None:
        """Write an annotated frame before any other. masks: [1, K, 16h, 16w] of `object_ids`."""
        values = predictor.encode_values(frame, masks, object_ids)
        bank, key = self._bank_for(predictor), frame.memory_key
        bank.prepare(key, values)
        self.policy.make_room(bank, len(key))  # evicts nothing, but limits what is allocated
        bank.preload(frame.frame_index, key, values, shown=self._shown(masks, object_ids))
        self.policy.permanent_frames.add(frame.frame_index)
        self.frames_memorised += 1

    def schedule(
        self,
        frame: PredictedFrame,
        masks: Tensor,
        object_ids: tuple[int, ...],
        *,
        temporary: bool,
        annotated: bool = False,
    ) -> None:
        """Have a frame written before the next clip. masks: [1, K, 16h, 16w] of `object_ids`."""
        self._scheduled.append(_ScheduledFrame(frame, masks, object_ids, temporary))
        if annotated and self._config.memory.permanent:
            self.policy.permanent_frames.add(frame.frame_index)

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
        """Free all elements, since no object is left, unless one is still to join."""
        if self.bank is not None and not self.bank.object_ids:
            self.bank = None
            self.policy.permanent_frames.clear()

    def _write(self, scheduled: _ScheduledFrame, predictor: ClipPredictor) -> None:
        frame, masks, object_ids = scheduled.frame, scheduled.masks, scheduled.object_ids
        values = predictor.encode_values(frame, masks, object_ids)
        bank, key = self._bank_for(predictor), frame.memory_key
        shown = self._shown(masks, object_ids)
        is_preloaded = frame.frame_index in bank.preloaded_frames and not scheduled.temporary
        # a removed object that joins again at a preloaded frame needs room for its values
        needs_room = not is_preloaded or not values.keys() <= set(bank.object_ids)
        bank.drop_temporary()
        bank.prepare(key, values)
        if needs_room:
            self.policy.make_room(bank, len(key))
        if is_preloaded:
            bank.rewrite(frame.frame_index, key, values, shown=shown)
            return
        bank.write(frame.frame_index, key, values, temporary=scheduled.temporary, shown=shown)
        self.frames_memorised += not scheduled.temporary

    def _bank_for(self, predictor: ClipPredictor) -> MemoryBank:
        if self.bank is None:
            self.bank = MemoryBank(
                similarity_kind=self._network_config.similarity,
                capacity=self._reserved_frames() * math.prod(predictor.geometry.grid),
                usage=self.policy.usage,
            )
        return self.bank

    def _shown(self, masks: Tensor, object_ids: tuple[int, ...]) -> dict[int, Tensor] | None:
        """Which elements show each object; None if no object can be lost.

        Only a bounded memory loses objects.
        """
        if self.policy.default_capacity_frames is None:
            return None
        return dict(zip(object_ids, shown_elements(masks[0]), strict=True))

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
