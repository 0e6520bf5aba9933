"""Similarity, top-k softmax and readout as pure functions.

Legend: B batch, K objects, C channels, N memory elements, M query positions.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from model.config import Similarity
from util.errors import InputError

COSINE_TEMPERATURE = 0.01
_BLOCK = 64  # elements per block of the two-step top-k


def squared_norm(memory_key: Tensor) -> Tensor:
    """|k|² of each key: memory_key [..., N, C] → [..., N]."""
    return memory_key.square().sum(-1)


def similarity(
    memory_key: Tensor,
    query_key: Tensor,
    memory_squared_norm: Tensor | None = None,
    kind: Similarity = "l2",
) -> Tensor:
    """Similarity of each query position to each memory element; higher is closer.

    memory_key [..., N, C], query_key [..., M, C]; memory_squared_norm [..., N]:
    squared_norm(memory_key) if it is known already (only l2 needs it). Returns [..., M, N]. l2: (2
    k·q - |k|²) / √C, the negative squared distance without |q|², which a softmax over the memory
    cancels. dot: k·q / √C. cosine: k·q / (0.01 |k| |q|), without √C.
    Raises InputError for another kind. Source: STCN, section 3.2 and Table 2.
    """
    scale = 1 / math.sqrt(memory_key.shape[-1])
    if kind == "l2":
        norm = squared_norm(memory_key) if memory_squared_norm is None else memory_squared_norm
        product = (query_key * (2 * scale)) @ memory_key.transpose(-1, -2)
        norm = (norm * scale).unsqueeze(-2)
        # In place if no gradient is needed: this is the largest array of inference.
        return product - norm if torch.is_grad_enabled() else product.sub_(norm)
    if kind == "dot":
        return (query_key * scale) @ memory_key.transpose(-1, -2)
    if kind == "cosine":
        return (
            F.normalize(query_key, dim=-1)
            @ F.normalize(memory_key, dim=-1).transpose(-1, -2)
            / COSINE_TEMPERATURE
        )
    raise InputError(f"similarity {kind!r} is not known; choose one of l2, dot, cosine")


def omitted_query_term(query_key: Tensor, kind: Similarity) -> Tensor | None:
    """What `similarity` leaves out since a softmax over the memory cancels it; None: nothing.

    query_key [..., M, C] → [..., M, 1], to be added where queries are compared with one another.
    """
    if kind != "l2":
        return None
    return -(squared_norm(query_key) / math.sqrt(query_key.shape[-1])).unsqueeze(-1)


def top_k(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest scores of each row, exactly.

    scores [M, N] → values and indices, both [M, min(k, N)], in no particular order. The k largest
    elements lie in the k blocks with the largest maxima; selecting those blocks first is several
    times faster than selecting among all N. Raises InputError if k < 1.
    """
    if k < 1:
        raise InputError(f"top_k is {k}; it must be at least 1")
    elements = scores.shape[1]
    blocks = elements // _BLOCK
    if blocks <= 2 * k:
        return torch.topk(scores, min(k, elements), dim=-1, sorted=False)
    whole = scores[:, : blocks * _BLOCK].unflatten(1, (blocks, _BLOCK))
    chosen = torch.topk(whole.amax(-1), k, dim=-1, sorted=False).indices
    candidates = whole.gather(1, chosen.unsqueeze(-1).expand(-1, -1, _BLOCK)).flatten(1)
    candidates = torch.cat([candidates, scores[:, blocks * _BLOCK :]], dim=1)
    values, position = torch.topk(candidates, k, dim=-1, sorted=False)
    in_block = chosen.gather(1, (position // _BLOCK).clamp(max=k - 1)) * _BLOCK + position % _BLOCK
    in_tail = blocks * _BLOCK + position - k * _BLOCK
    return values, torch.where(position < k * _BLOCK, in_block, in_tail)


def top_k_softmax(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Softmax over the k most similar memory elements; all others have weight zero.

    scores [M, N], higher is closer. Returns weights [M, k], which sum to 1 over the last axis, and
    indices [M, k]; k > N uses all N. Raises InputError if k < 1. Source: MiVOS, section 3.2.
    """
    values, indices = top_k(scores, k)
    return values.softmax(-1), indices


def sparse_readout(values: Tensor, weights: Tensor, indices: Tensor) -> Tensor:
    """Weighted sums of k values each, without an M × N matrix.

    values [N, C], weights and indices [M, k] → Σ_k weights · values[indices], [M, C].
    """
    return F.embedding_bag(indices, values, per_sample_weights=weights.to(values.dtype), mode="sum")


def dense_readout(values: Tensor, weights: Tensor) -> Tensor:
    """Readout with a weight for every memory element, as in training.

    values [B, K, N, C], weights [B, K, M, N] (or [B, 1, M, N] for all objects) → [B, K, M, C].
    """
    return weights @ values
