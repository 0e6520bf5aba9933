"""What the affinity of a frame costs, counted as in STCN's Table 2.

Legend: T memory frames, N = T · h · w memory elements, M = h · w query positions, h w at stride 16,
C key channels.

The paper gives 3.13, 3.20, 6.26 and 6.33 GFLOPs (dot product and L2, 64 and 128 channels) and 4.35
and 8.70 MB, without the way of counting. Ours, which gives exactly these: frames of 480×854 pixels
with one memory of T = 10 frames; a multiplication and an addition are two operations; L2 also
doubles the product, subtracts both squared norms, and computes them; the division by √C and the
softmax are left out; keys are of the memory and of the query's frame, in float32; G and M are
binary, 2^30 and 2^20. Cosine, which has no published figure, divides each key by its norm.
"""

import dataclasses

from model.config import Similarity
from model.network import STRIDE

GIGA, MEGA = 2**30, 2**20
_BYTES = 4  # of a number in float32
_PAIR_OPERATIONS = {"dot": 0, "l2": 3, "cosine": 0}  # beside the product
_NORM_OPERATIONS = {"dot": 0, "l2": 2, "cosine": 3}  # for each channel of a key


@dataclasses.dataclass(frozen=True, kw_only=True)
class AffinityCost:
    """Of one query frame. key_bytes: of the keys of the memory and of the query's frame."""

    operations: int
    key_bytes: int

    @property
    def gigaflops(self) -> float:
        """In 2^30."""
        return self.operations / GIGA

    @property
    def megabytes(self) -> float:
        """In 2^20 bytes."""
        return self.key_bytes / MEGA


def affinity_cost(
    similarity: Similarity,
    key_channels: int,
    *,
    memory_frames: int = 10,
    height: int = 480,
    width: int = 854,
) -> AffinityCost:
    """The cost of a query frame. height, width: in pixels, padded to whole positions."""
    positions = -(-height // STRIDE) * -(-width // STRIDE)
    elements = memory_frames * positions
    pairs, keys = elements * positions, elements + positions
    products = 2 * key_channels * pairs
    beside = _PAIR_OPERATIONS[similarity] * pairs
    norms = _NORM_OPERATIONS[similarity] * key_channels * keys
    return AffinityCost(
        operations=products + beside + norms, key_bytes=_BYTES * key_channels * keys
    )
