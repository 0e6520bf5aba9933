"""Keep the elements that are read most often. Legend: N memory elements (pixels at stride 16).

Source: adaptive memory management (Pourganjalikhan, MSc thesis, Concordia 2022).
"""

from torch import Tensor

from inference.memory.bank import MemoryBank, most_exact_float
from inference.memory.bounded import BoundedMemory


class LeastFrequentlyUsed(BoundedMemory):
    """Evicts the elements with the lowest LFU = index / age.

    index: how often an element was among the top-k of a query position. age: frames processed
    since it was written. Published with a capacity of 2 frames; the default, 4, is the best
    trade-off of accuracy and speed in the thesis.
    """

    usage = "count"

    def rank(self, bank: MemoryBank) -> Tensor:
        age = (self.frame_index - bank.frames).clamp(min=1)
        return bank.uses.to(most_exact_float(age.device)) / age


class LeastFrequentlyUsedByWeight(LeastFrequentlyUsed):
    """The same with the sum of an element's softmax weights as index.

    This is the ablation that is less accurate in the thesis.
    """

    usage = "weight"
