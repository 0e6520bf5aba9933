"""Regularisers of the affinity. Legend: K objects, N memory elements, M query positions."""

import copy

import pytest
import torch
from toy_training import rollout_of

from model.training.affinity_regularisers import (
    AffinityConfig,
    drop_connections,
    objects_at_stride_16,
    reallocate,
)


def test_the_asked_share_of_connections_is_dropped_and_the_others_stay():
    torch.manual_seed(0)
    scores = torch.randn(2, 40, 500)
    dropped = drop_connections(scores, 0.5)
    gone = dropped.isinf()
    assert gone.float().mean() == pytest.approx(0.5, abs=0.02)
    assert torch.equal(dropped[~gone], scores[~gone])
    assert (dropped.softmax(-1)[gone] == 0).all()


def test_a_query_that_would_lose_all_connections_keeps_them():
    scores = torch.randn(1, 200, 1)
    assert torch.equal(drop_connections(scores, 0.9), scores)


def test_reallocation_equals_a_plain_computation():
    torch.manual_seed(1)
    weights, inside = torch.randn(2, 1, 7, 12).softmax(-1), torch.rand(2, 3, 12) < 0.5
    inside[0, 1] = False  # an object without elements
    result = reallocate(weights, inside)
    for b in range(2):
        for k in range(3):
            own = [i for i in range(12) if inside[b, k, i]]
            by_attention = sorted(own, key=lambda i: -float(weights[b, 0, :, i].sum()))
            rank = {element: number for number, element in enumerate(by_attention, start=1)}
            for m in range(7):
                row = weights[b, 0, m]
                total, raised = (
                    sum(float(row[i]) for i in own),
                    sum(float(row[i]) * rank[i] for i in own),
                )
                for i in range(12):
                    expected = (
                        float(row[i]) * rank[i] * total / raised if i in rank else float(row[i])
                    )
                    assert float(result[b, k, m, i]) == pytest.approx(expected, rel=1e-5)


def test_reallocation_favours_what_is_attended_to_less():
    weights = torch.tensor([0.6, 0.3, 0.1]).expand(1, 1, 4, 3)
    result = reallocate(weights, torch.tensor([[[True, True, False]]]))
    assert result[0, 0, 0].tolist() == pytest.approx([0.45, 0.45, 0.1])


def test_elements_of_an_object_are_those_half_covered_by_it():
    masks = torch.zeros(1, 1, 32, 32)
    masks[..., :8, :16], masks[..., 16:, 16:] = 1, 0.4
    assert objects_at_stride_16(masks).tolist() == [[[True, False, False, False]]]


@pytest.mark.parametrize(
    "config",
    [
        AffinityConfig(dropout=0.5),
        AffinityConfig(reallocate=True),
        AffinityConfig(dropout=0.5, reallocate=True),
    ],
)
def test_regularisers_change_the_training_and_nothing_else(network, config):
    torch.manual_seed(0)
    frames, labels = (
        torch.randint(0, 256, (2, 3, 3, 48, 64), dtype=torch.uint8),
        torch.randint(0, 3, (2, 3, 3, 4), dtype=torch.uint8),
    )
    labels = labels.repeat_interleave(16, 2).repeat_interleave(16, 3)
    plain, regular = (
        rollout_of(copy.deepcopy(network)),
        rollout_of(copy.deepcopy(network), affinity=config),
    )
    batch = frames, labels, torch.tensor([2, 2])
    assert torch.equal(plain.eval()(*batch).logits, regular.eval()(*batch).logits)
    for rollout in (plain, regular):
        rollout.training = True  # the rollout alone: batch norms stay fixed
    result = regular(*batch)
    assert (result.logits - plain(*batch).logits).abs().max() > 1e-3
    result.loss.backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in regular.parameters())
