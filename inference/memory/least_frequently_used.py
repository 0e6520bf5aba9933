"""Keep what is read most often. Legend: N memory elements (pixels at stride 16).

Source: adaptive memory management (Pourganjalikhan, MSc thesis, Concordia 2022).
"""

from torch import Tensor

from inference.memory.bank import MemoryBank, most_exact_float
from inference.memory.bounded import BoundedMemory


class LeastFrequentlyUsed(BoundedMemory):
    """The elements with the lowest LFU = index / age leave. index: how often an element was among the top-k of a query position; age: frames processed since it
    was written. Published with a capacity of 2 frames; the default is 4, the thesis's best trade of accuracy for speed.
    """

    usage = "count"

    def rank(self, bank: MemoryBank) -> Tensor:
        age = (self.frame_index - bank.frames).clamp(min=1)
        return bank.uses.to(most_exact_float(age.device)) / age


class LeastFrequentlyUsedByWeight(LeastFrequentlyUsed):
    """The same with index as the sum of the softmax weights with which an element was read: the ablation that loses in the thesis."""

    usage = "weight"
