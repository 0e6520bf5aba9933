"""The rule that says which masks count. Legend: H W height and width in pixels."""

import numpy as np

from dataset.label_map import BINARY_ID, present_ids
from util.errors import InputError

_IDS_SHOWN = 5


def as_one_object(labels: np.ndarray) -> np.ndarray:
    """All ids of a mask uint8 [H, W] as one object: 255 if the mask is 0 and 255, otherwise 1."""
    ids = present_ids(labels)
    if len(ids) > 1 and BINARY_ID not in ids:
        return (labels > 0).astype(np.uint8)
    return labels


def without_void(labels: np.ndarray) -> np.ndarray:
    """A mask uint8 [H, W] in which 255, which benchmarks use for void, is background."""
    return np.where(labels == BINARY_ID, 0, labels).astype(np.uint8)


class MaskSelection:
    """Which masks of one video count.

    An id's mask counts where the id first appears; with corrections, every mask counts. A folder
    with a mask for every frame therefore leaks nothing but each object's first mask. The value 255
    is an object only if it is the video's single id.
    """

    def __init__(self, corrections: bool = False):
        self.object_ids: tuple[int, ...] = ()
        self.ignored_masks = 0
        self._corrections = corrections

    def select(self, labels: np.ndarray, source: str) -> np.ndarray | None:
        """The ids that count at this frame, with 0 elsewhere; None if none counts.

        Args:
            labels: the frame's mask, uint8 [H, W].
            source: the mask's name, for messages.

        Raises:
            InputError: the video's first mask is empty, or 255 stands beside other ids.
        """
        ids = present_ids(labels)
        if not ids and not self.object_ids:
            raise InputError(
                f"{source}: no object in the video's first mask; draw one, or remove masks that "
                "precede the first object"
            )
        known = set(self.object_ids)
        self.object_ids = _checked_ids(known.union(ids), source)
        if self._corrections:
            return labels if ids else None
        new = [i for i in ids if i not in known]
        self.ignored_masks += len(ids) - len(new)
        if not new:
            return None
        if len(new) == len(ids):
            return labels
        table = np.zeros(256, dtype=np.uint8)
        table[new] = new
        return table[labels]


def _checked_ids(ids: set[int], source: str) -> tuple[int, ...]:
    everything = tuple(sorted(ids))
    if BINARY_ID in everything and len(everything) > 1:
        others = ", ".join(str(i) for i in everything[:_IDS_SHOWN] if i != BINARY_ID)
        raise InputError(
            f"{source}: id 255 beside {others}; 255 is no object id (it means void, or smooth "
            "edges of a grey mask): use 1 to 254"
        )
    return everything
