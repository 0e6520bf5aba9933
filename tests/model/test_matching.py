"""Similarity, top-k and readout against plain formulas.

Legend: N memory elements, M query positions, C channels.
"""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from model.matching import (
    dense_readout,
    similarity,
    sparse_readout,
    squared_norm,
    top_k,
    top_k_softmax,
)
from model.soft_aggregation import aggregate
from util.errors import InputError


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def assert_top_k_is_exact(scores: torch.Tensor, k: int) -> None:
    """The values are torch.topk's, each at the place its index says, and no place twice."""
    values, indices = top_k(scores, k)
    expected = torch.topk(scores, min(k, scores.shape[1]), dim=1)
    torch.testing.assert_close(
        values.sort(1, descending=True).values, expected.values, rtol=0, atol=0
    )
    torch.testing.assert_close(scores.gather(1, indices), values, rtol=0, atol=0)
    ordered = indices.sort(1).values
    assert (ordered[:, 1:] > ordered[:, :-1]).all(), "an element was chosen twice"
    if all(len(row.unique()) == len(row) for row in scores):
        assert torch.equal(ordered, expected.indices.sort(1).values)


SIZES = [
    (1, 1),
    (5, 20),
    (20, 20),
    (64, 1),
    (65, 1),
    (128, 1),
    (129, 1),
    (191, 1),
    (192, 1),
    (1000, 5),
]  # elements, k
SIZES += [
    (2559, 20),
    (2560, 20),
    (2561, 20),
    (2624, 20),
    (2687, 20),
    (7000, 20),
]  # around the size from which blocks are chosen first


@pytest.mark.parametrize(("elements", "k"), SIZES)
def test_top_k_chooses_the_elements_torch_chooses(elements, k):
    assert_top_k_is_exact(random(37, elements, seed=elements + k), k)


@settings(max_examples=150, deadline=None)
@given(
    elements=st.integers(1, 1200),
    k=st.integers(1, 30),
    levels=st.sampled_from([1, 2, 3, 10, 1000]),
    seed=st.integers(0, 2**32 - 1),
)
def test_top_k_is_exact_with_any_size_and_ties(elements, k, levels, seed):
    scores = np.random.default_rng(seed).integers(0, levels, (5, elements)).astype(np.float32)
    assert_top_k_is_exact(torch.from_numpy(scores), k)


@pytest.mark.parametrize(
    "place", [0, 63, 64, 639, 640, 660]
)  # in blocks, at their edges, and in the tail behind the last whole block
def test_top_k_finds_the_best_elements_wherever_they_lie_together(place):
    scores = random(4, 700)
    scores[:, place : place + 3] += 100
    assert set(top_k(scores, 3)[1][0].tolist()) == {place, place + 1, place + 2}


def test_top_k_handles_a_view_into_a_larger_table():
    scores = random(6, 900)
    assert_top_k_is_exact(scores[:, 137:], 3)
    values, indices = top_k(scores[:, 137:], 3)
    same_values, same_indices = top_k(scores[:, 137:].contiguous(), 3)
    assert torch.equal(values, same_values)
    assert torch.equal(indices, same_indices)


@pytest.mark.parametrize("k", [0, -3])
def test_top_k_below_one_is_refused(k):
    with pytest.raises(InputError, match="at least 1"):
        top_k_softmax(random(2, 5), k)


@settings(max_examples=60, deadline=None)
@given(
    elements=st.integers(1, 400),
    k=st.integers(1, 40),
    scale=st.sampled_from([0.01, 1.0, 1e4]),
    seed=st.integers(0, 2**32 - 1),
)
def test_softmax_weights_sum_to_one(elements, k, scale, seed):
    weights, indices = top_k_softmax(random(7, elements, seed=seed) * scale, k)
    assert weights.shape == indices.shape == (7, min(k, elements))
    torch.testing.assert_close(weights.sum(1), torch.ones(7))
    assert (weights >= 0).all()


@pytest.mark.parametrize(("elements", "k"), [(12, 20), (300, 20), (2000, 20), (2000, 3)])
def test_sparse_readout_equals_dense_readout_of_the_scattered_weights(elements, k):
    scores, values = random(50, elements, seed=1), random(elements, 6, seed=2)
    weights, indices = top_k_softmax(scores, k)
    dense = torch.zeros_like(scores).scatter_(1, indices, weights)
    torch.testing.assert_close(
        sparse_readout(values, weights, indices), dense @ values, rtol=1e-5, atol=1e-6
    )
    torch.testing.assert_close(
        dense_readout(values[None, None], dense[None])[0, 0], dense @ values, rtol=1e-5, atol=1e-6
    )


def test_reading_all_elements_equals_a_full_softmax():
    scores, values = random(9, 30, seed=3), random(30, 4, seed=4)
    torch.testing.assert_close(
        sparse_readout(values, *top_k_softmax(scores, 1000)),
        scores.softmax(1) @ values,
        rtol=1e-5,
        atol=1e-6,
    )


def test_l2_similarity_is_the_negative_squared_distance_up_to_a_term_of_the_query():
    memory, query = random(11, 8, seed=5), random(7, 8, seed=6)
    distance = (query[:, None] - memory[None]).square().sum(-1)
    expected = -(distance - query.square().sum(-1, keepdim=True)) / math.sqrt(8)
    torch.testing.assert_close(similarity(memory, query), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        similarity(memory, query, squared_norm(memory)), expected, rtol=1e-4, atol=1e-5
    )


def test_dot_and_cosine_similarities_follow_their_formulas():
    memory, query = random(11, 8, seed=5), random(7, 8, seed=6)
    torch.testing.assert_close(
        similarity(memory, query, kind="dot"), query @ memory.T / math.sqrt(8)
    )
    cosine = F.cosine_similarity(query[:, None], memory[None], dim=-1)
    torch.testing.assert_close(
        similarity(memory, query, kind="cosine"), cosine / 0.01, rtol=1e-4, atol=1e-3
    )


@pytest.mark.parametrize("kind", ["l2", "dot", "cosine"])
def test_similarity_is_the_same_with_and_without_gradients_and_leaves_its_inputs_alone(kind):
    memory, query = random(2, 11, 8, seed=5), random(2, 7, 8, seed=6)
    copies = memory.clone(), query.clone(), squared_norm(memory)
    with_gradients = similarity(memory, query, copies[2], kind)
    with torch.no_grad():
        without = similarity(memory, query, copies[2], kind)
    assert torch.equal(with_gradients, without)
    assert torch.equal(memory, copies[0])
    assert torch.equal(query, copies[1])
    assert torch.equal(copies[2], squared_norm(memory))


def test_an_unknown_similarity_is_refused_with_the_valid_ones():
    with pytest.raises(InputError, match=r"manhattan.*l2, dot, cosine"):
        similarity(random(3, 2), random(3, 2), kind="manhattan")


def test_soft_aggregation_follows_its_formula():
    probabilities = torch.rand(
        2, 3, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    q = torch.cat([(1 - probabilities).prod(1, keepdim=True), probabilities], 1).clamp(
        1e-7, 1 - 1e-7
    )
    logits = aggregate(probabilities)
    torch.testing.assert_close(logits, torch.log(q / (1 - q)))
    torch.testing.assert_close(
        logits.softmax(1), (q / (1 - q)) / (q / (1 - q)).sum(1, keepdim=True)
    )


def test_soft_aggregation_of_certain_masks_is_finite_and_nearly_certain():
    masks = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])[:, None]  # objects 1, 2, neither
    result = aggregate(masks).softmax(0)
    assert torch.isfinite(result).all()
    torch.testing.assert_close(
        result[:, 0],
        torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]),
        rtol=0,
        atol=1e-6,
    )
