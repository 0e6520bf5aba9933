"""Regularisers of the affinity in training, off by default: they spread attention over more memory.

Their source found that they lose accuracy.
Source: adaptive memory management (Pourganjalikhan, MSc thesis, Concordia 2022).
Legend: B batch, K objects, N memory elements, M query positions, H W image size, h w at stride 16.
"""

import dataclasses

import torch
import torch.nn.functional as F
from torch import Tensor

from util.ranges import bounded


@dataclasses.dataclass(frozen=True, kw_only=True)
class AffinityConfig:
    """What is done to the affinity in training; nothing by default."""

    dropout: float = bounded(0.0, at_least=0, below=1)  # share of connections; 0.5 in the source
    reallocate: bool = False  # within an object, weights shift to less attended elements


def drop_connections(scores: Tensor, share: float) -> Tensor:
    """Set a random `share` of the similarities to -inf, so that these connections get no weight.

    scores: [..., M, N], before the softmax. A query position that would lose all of its
    connections keeps them. Source: the thesis's affinity dropout.
    """
    dropped = torch.rand_like(scores) < share
    return scores.masked_fill(dropped & ~dropped.all(-1, keepdim=True), float("-inf"))


def reallocate(weights: Tensor, inside: Tensor) -> Tensor:
    """Shift the weights within each object towards its less attended elements.

    weights: [B, 1, M, N] or [B, K, M, N], each row summing to 1. inside: [B, K, N] bool, the
    elements that lie on each object. An object's elements are ranked by attention, the sum of
    their weights over all query positions (rank 1: the most attended). Then W'_ij ∝ W_ij · rank_i,
    with each query's total weight on the object unchanged. Other elements keep their weights.

    Returns: weights [B, K, M, N].

    Ours, keeping the intent: the thesis multiplies the distance by rank_i / Σ rank. As the
    distance is negative, that would push every element of the object towards the maximum.
    """
    attention = weights.detach().sum(2).expand_as(inside)
    # elements outside the object are ranked last, so that they take no rank from those inside
    attention = attention.masked_fill(~inside, float("-inf"))
    rank = attention.argsort(-1, descending=True).argsort(-1) + 1  # [B, K, N]
    inside = inside.unsqueeze(2)
    own = weights * inside
    raised = own * rank.unsqueeze(2)
    raised_total = raised.sum(-1, keepdim=True).clamp(min=torch.finfo(raised.dtype).tiny)
    shared = raised * (own.sum(-1, keepdim=True) / raised_total)
    return torch.where(inside, shared, weights)


def objects_at_stride_16(masks: Tensor) -> Tensor:
    """Masks [B, K, H, W] in 0..1 → bool [B, K, h · w]: elements at least half on the object."""
    return (F.avg_pool2d(masks.detach(), 16) >= 0.5).flatten(2)
