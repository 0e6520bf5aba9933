"""The objects of one video: their ids, who joins, who is corrected, who is lost.

Legend: B batch, K objects, H W height and width.
"""

import dataclasses
import math
from collections.abc import Collection

from torch import Tensor

from inference.frames import ObjectMask
from model.soft_aggregation import aggregate
from util.errors import InputError

MAX_OBJECTS = 254


@dataclasses.dataclass(frozen=True)
class VideoObjects:
    """Which objects are being segmented, and which of them the memory still knows.

    A value: `joined`, `without` and `with_lost` return another one. An object is lost if no memory
    element shows it any more; its mask is empty from then on, until a new mask is given for it.
    """

    ids: tuple[int, ...] = ()  # original ids, in the order the objects joined
    lost: frozenset[int] = frozenset()

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def known_ids(self) -> tuple[int, ...]:
        """The objects that the memory is read for: those that are not lost."""
        return tuple(i for i in self.ids if i not in self.lost) if self.lost else self.ids

    def joined(self, given: Collection[int]) -> "VideoObjects":
        """With the objects of a mask: new ones join at the end, lost ones are known again."""
        new = tuple(i for i in given if i not in self.ids)
        return VideoObjects(self.ids + new, self.lost.difference(given))

    def without(self, object_id: int) -> "VideoObjects":
        """Without one object."""
        return VideoObjects(tuple(i for i in self.ids if i != object_id), self.lost - {object_id})

    def with_lost(self, ids: Collection[int]) -> "VideoObjects":
        """With some of the objects lost, in addition to those that already are."""
        return dataclasses.replace(self, lost=self.lost.union(ids))

    def require_room(self, given: Collection[int], source: str) -> None:
        """Raise InputError if there would be too many objects with those of a mask of `source`."""
        count = len(set(self.ids).union(given))
        if count > MAX_OBJECTS:
            raise InputError(f"{source}: {count} objects; at most {MAX_OBJECTS} can be segmented")

    def require_present(self, object_id: int) -> None:
        """Raise InputError if an object is not being segmented."""
        if object_id not in self.ids:
            present = ", ".join(map(str, self.ids)) or "none"
            raise InputError(f"object {object_id} is not being segmented; present are {present}")

    def known_masks(self, masks: Tensor) -> Tensor:
        """Of masks [B, K, H, W] of all objects, those of `known_ids`."""
        return masks[:, self._rows(self.known_ids)] if self.lost else masks

    def masks_without(self, masks: Tensor, object_id: int) -> Tensor:
        """Of masks [B, K, H, W] of all objects, those of the other objects."""
        return masks[:, self._rows(self.without(object_id).ids)]

    def complete_logits(self, known_logits: Tensor) -> Tensor:
        """Logits [B, K, H, W] of all objects from those of `known_ids`: -inf for lost objects."""
        if not self.lost:
            return known_logits
        batch, _, *size = known_logits.shape
        complete = known_logits.new_full((batch, len(self.ids), *size), -math.inf)
        complete[:, self._rows(self.known_ids)] = known_logits
        return complete

    def merge_mask(self, probabilities: Tensor, mask: ObjectMask, before: "VideoObjects") -> Tensor:
        """Replace what was predicted of a frame by a mask that is given for it.

        Where the mask shows an object, the predictions of all others become zero; then all objects
        are aggregated again.

        probabilities: predicted, [1, 1 + len(before), H, W]. mask: in the same size, its objects
        have joined. before: the objects before they joined.
        Returns probabilities [1, 1 + K, H, W].
        Source: STCN, section 4 (YouTube-VOS). Ours: a mask of a present object is a correction,
        merged in the same way.
        """
        labels = mask.labels
        merged = probabilities.new_zeros(1, len(self.ids), *labels.shape)
        merged[:, : len(before.ids)] = probabilities[:, 1:] * (labels == 0)
        for object_id in mask.object_ids:
            merged[0, self.ids.index(object_id)] = labels == object_id
        return aggregate(merged).softmax(1)

    def _rows(self, ids: Collection[int]) -> list[int]:
        return [self.ids.index(i) for i in ids]
