"""Soft aggregation: independent object probabilities to one distribution per pixel.

Legend: K objects, H W image size.
"""

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor

_EDGE = 1e-7


def aggregate(probabilities: Tensor, object_dim: int = -3) -> Tensor:
    """Soft aggregation of object probabilities [..., K, H, W] in 0..1.

    The background's probability is the product of (1 - p). Each of the K + 1 probabilities is
    clamped to [1e-7, 1 - 1e-7] and turned into its log-odds. Returns logits [..., K + 1, H, W],
    background first, whose softmax over the K + 1 is the aggregated distribution. Source: STM,
    section 3.4.
    """
    # Multiplied one by one, since the gradient of torch.prod makes the host wait for the GPU.
    background = functools.reduce(torch.mul, (1 - probabilities).split(1, object_dim))
    return torch.cat([background, probabilities], object_dim).clamp(_EDGE, 1 - _EDGE).logit()


def aggregate_logits(logits: Tensor, object_dim: int = -3) -> Tensor:
    """`aggregate(logits.sigmoid())`, computed from the logits.

    For a certain object 1 - p underflows in float32; log-space arithmetic keeps it.
    logits [..., K, H, W] → [..., K + 1, H, W], background first. Source: STM, section 3.4.
    """
    limit = math.log1p(-_EDGE) - math.log(_EDGE)
    background = (
        F.logsigmoid(-logits)
        .sum(object_dim, keepdim=True)
        .clamp(math.log(_EDGE), math.log1p(-_EDGE))
    )
    return torch.cat(
        [background - torch.log(-torch.expm1(background)), logits.clamp(-limit, limit)], object_dim
    )
