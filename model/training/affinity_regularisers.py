"""Regularisers of the affinity in training, off by default: they spread attention over more of the memory.

As their source found, they lose accuracy. Source: adaptive memory management (Pourganjalikhan, MSc thesis, Concordia 2022).
Legend: B batch, K objects, N memory elements, M query positions, H W image size, h w at stride 16.
"""

import dataclasses

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclasses.dataclass(frozen=True, kw_only=True)
class AffinityConfig:
    """What is done to the affinity in training; nothing by default. dropout: share of connections dropped (0.5 in the source). reallocate: weights within an object shift to the
    elements that are attended to less."""

    dropout: float = 0.0
    reallocate: bool = False


def drop_connections(scores: Tensor, share: float) -> Tensor:
    """Similarities [..., M, N] before the softmax, of which a random `share` becomes -inf, so that these connections get no weight.

    A query position that would lose all of its connections keeps them. Source: the thesis's affinity dropout.
    """
    dropped = torch.rand_like(scores) < share
    return scores.masked_fill(dropped & ~dropped.all(-1, keepdim=True), float("-inf"))


def reallocate(weights: Tensor, inside: Tensor) -> Tensor:
    """Weights [B, K, M, N] in which, for each object, its own elements change theirs among themselves: the less attended gain.

    weights [B, 1, M, N] or [B, K, M, N], each row summing to 1; inside [B, K, N] bool: the elements that lie on each object. An object's elements are ranked by
    attention, their weights' sum over all query positions (rank 1: the most attended), and W'_ij ∝ W_ij · rank_i, each query's total on them unchanged;
    other elements keep their weights.

    Ours, keeping the intent: the thesis multiplies the distance itself by rank_i / Σ rank, which, the distance being negative, would push
    every element of the object towards the maximum.
    """
    attention = (
        weights.detach().sum(2).expand_as(inside).masked_fill(~inside, float("-inf"))
    )  # elements outside come last: they take no rank from those inside
    rank = attention.argsort(-1, descending=True).argsort(-1) + 1  # [B, K, N]
    inside = inside.unsqueeze(2)
    own = weights * inside
    raised = own * rank.unsqueeze(2)
    total = own.sum(-1, keepdim=True)
    shared = raised * (
        total / raised.sum(-1, keepdim=True).clamp(min=torch.finfo(raised.dtype).tiny)
    )
    return torch.where(inside, shared, weights)


def objects_at_stride_16(masks: Tensor) -> Tensor:
    """Masks [B, K, H, W] in 0..1 → bool [B, K, h · w]: elements of which at least half lies on the object."""
    return (F.avg_pool2d(masks.detach(), 16) >= 0.5).flatten(2)
