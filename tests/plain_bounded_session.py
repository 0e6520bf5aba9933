"""PlainSession with a bounded memory: a list of elements, each of which is handled by itself.

Bounded policies must agree with it element for element.
"""

import dataclasses
from fractions import Fraction

import torch
from plain_session import PlainSession
from torch import Tensor


@dataclasses.dataclass
class Element:
    """One pixel of a memorised frame.

    uses: how often it was among the most similar elements, or the sum of its weights.
    """

    frame: int
    position: int
    key: Tensor  # [C^k]
    values: dict[int, Tensor]  # [C^v] of each object
    annotated: bool
    shows: set[int]  # ids of the objects that it shows any pixel of
    uses: float = 0


@dataclasses.dataclass
class PlainBoundedSession(PlainSession):
    """Holds `capacity_frames` frames' worth of elements and evicts those of the lowest use / age.

    Ties evict the older element. by: uses are a count or a sum of weights. Each frame at which
    objects joined adds the uses of a top-k of its own.
    """

    capacity_frames: int = 2
    by: str = "count"
    protect_annotated: bool = False

    def __post_init__(self):
        super().__post_init__()
        self.elements: list[Element] = []
        self.joined: dict[int, int] = {}
        self.shown: set[int] = set()  # ids that an element has shown since they joined
        self.evicted = 0  # how many elements

    def step(self, frame, mask=None):
        """Process a frame.

        An object that elements have shown, and none shows any more, is lost: its mask is empty, and
        nothing of it is memorised.
        """
        for object_id in [
            i
            for i in self.ids
            if i in self.shown and not any(i in element.shows for element in self.elements)
        ]:
            self.forget(object_id)
            self.lost.add(object_id)
        return super().step(frame, mask)

    def join(self, probabilities, labels, given):
        self.lost -= set(given)
        return super().join(probabilities, labels, given)

    def read(self, query: Tensor, object_id: int) -> Tensor:
        if object_id in self.lost:
            return query.new_zeros(1, self.network.config.value_channels, *query.shape[-2:])
        held = [element for element in self.elements if object_id in element.values]
        counts = object_id == next(
            i for i in self.ids if i not in self.lost and self.joined[i] == self.joined[object_id]
        )
        readout = query.new_zeros(query[0, 0].numel(), len(held[0].values[object_id]))
        for number, pixel in enumerate(query[0].flatten(1).T):
            distances = [
                (pixel - element.key).square().sum() / len(pixel) ** 0.5 for element in held
            ]
            nearest = sorted(range(len(held)), key=distances.__getitem__)[: self.top_k]
            closeness = [(distances[nearest[0]] - distances[index]).exp() for index in nearest]
            for index, one in zip(nearest, closeness, strict=True):
                weight = one / sum(closeness)
                readout[number] += weight * held[index].values[object_id]
                if counts:
                    held[index].uses += 1 if self.by == "count" else weight.item()
        return readout.T.reshape(1, -1, *query.shape[-2:])

    def memorise(self, image: Tensor, features, masks: list[Tensor], *, annotated: bool) -> None:
        self.memory = []
        # what it writes is taken apart here
        super().memorise(image, features, masks, annotated=annotated)
        if set(self.ids) <= self.lost:
            return
        labels = torch.stack([1 - sum(masks), *masks]).argmax(0)
        cells = [cell for row in labels.split(16) for cell in row.split(16, dim=1)]
        for write in self.memory:
            values_of = {
                object_id: value
                for object_id, value in write.values.items()
                if object_id not in self.lost
            }
            for object_id in values_of:
                self.joined.setdefault(object_id, write.frame)
            self.make_room(len(write.key))
            for position, key in enumerate(write.key):
                values = {object_id: value[position] for object_id, value in values_of.items()}
                shows = {
                    self.ids[number - 1] for number in cells[position].unique().tolist() if number
                } & set(values)
                self.elements.append(Element(write.frame, position, key, values, annotated, shows))
                self.shown |= shows

    def make_room(self, incoming: int) -> None:
        surplus = len(self.elements) + incoming - self.capacity_frames * incoming
        leaving = sorted(
            self.elements,
            key=lambda element: (
                element.annotated and self.protect_annotated,
                self.frequency(element),
                element.frame,
                element.position,
            ),
        )
        self.evicted += max(surplus, 0)
        gone = {id(element) for element in leaving[: max(surplus, 0)]}
        self.elements = [element for element in self.elements if id(element) not in gone]

    def frequency(self, element: Element) -> Fraction:
        return Fraction(element.uses) / (self.frame - element.frame)

    def remove_object(self, object_id: int) -> None:
        super().remove_object(object_id)
        self.forget(object_id)
        self.lost.discard(object_id)
        if not self.ids:
            self.elements = []

    def forget(self, object_id: int) -> None:
        self.joined.pop(object_id, None)
        self.shown.discard(object_id)
        for element in self.elements:
            element.values.pop(object_id, None)
            element.shows.discard(object_id)
