"""Results: predicted in the network's size, returned in the frame's own.

Legend: K objects, H W frame size, h w at stride 16.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from inference.frames import Geometry


@dataclasses.dataclass(frozen=True)
class FrameResult:
    """The segmentation of one frame, in the frame's own size."""

    # the index given with the frame, or its position among the frames of the session, from 0
    frame_index: int
    # [H, W] original ids, 0 for background; uint8, or int32 if an id is above 255
    labels: np.ndarray
    # the objects of probabilities[1:], in this order
    object_ids: tuple[int, ...]
    # float32 [K + 1, H, W], background first
    probabilities: Tensor

    @staticmethod
    def of(frame_index: int, object_ids: tuple[int, ...], probabilities: Tensor) -> "FrameResult":
        """With the labels that the probabilities [K + 1, H, W] give."""
        largest = max(object_ids, default=0)
        ids = np.array((0, *object_ids), dtype=np.uint8 if largest <= 255 else np.int32)
        labels = ids[most_probable(probabilities[None])[0].cpu().numpy()]
        return FrameResult(frame_index, labels, object_ids, probabilities.contiguous())


@dataclasses.dataclass(frozen=True)
class DueResult:
    """A result until it is returned.

    It holds probabilities in the network's size: those of a large frame in its own size may take
    many times as much memory.
    """

    frame_index: int
    object_ids: tuple[int, ...]
    probabilities: Tensor  # [1, K + 1, 16h, 16w], the objects before a mask of the frame is merged
    geometry: Geometry
    # merges the mask that was given for the frame, in the frame's own size; None: there is none
    merge_mask: Callable[[Tensor], Tensor] | None = None

    def in_frame_size(self) -> Tensor:
        """Probabilities [1, K + 1, H, W]."""
        probabilities = self.geometry.from_network(self.probabilities)
        return probabilities if self.merge_mask is None else self.merge_mask(probabilities)

    def finish(self, probabilities: Tensor) -> FrameResult:
        """The result, from what `in_frame_size` returned."""
        return FrameResult.of(self.frame_index, self.object_ids, probabilities[0])


def most_probable(probabilities: Tensor) -> Tensor:
    """Arg-max of [B, K + 1, H, W] over the objects, uint8 [B, H, W].

    Compares map by map, since torch's own arg-max over a strided axis is slow on the CPU.
    """
    best = probabilities[:, 0]
    index = torch.zeros_like(best, dtype=torch.uint8)
    for number in range(1, probabilities.shape[1]):
        candidate = probabilities[:, number]
        index.masked_fill_(candidate > best, number)
        best = torch.maximum(best, candidate)
    return index
