"""Independent probabilities of objects become one distribution a pixel. Legend: K objects, H W image size."""

import torch
from torch import Tensor

_EDGE = 1e-7


def aggregate(probabilities: Tensor, object_dim: int = -3) -> Tensor:
    """Soft aggregation of object probabilities [..., K, H, W] in 0..1.

    The background's probability is the product of (1 - p); each of the K + 1 is clamped to [1e-7, 1 - 1e-7] and turned into its
    log-odds. Returns logits [..., K + 1, H, W], background first, whose softmax over the K + 1 is the aggregated distribution.
    Source: STM, section 3.4.
    """
    background = (1 - probabilities).prod(object_dim, keepdim=True)
    return torch.cat([background, probabilities], object_dim).clamp(_EDGE, 1 - _EDGE).logit()
