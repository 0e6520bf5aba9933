"""Foreground reinforcing and redundancy reduction in the training rollout.

Legend: B batch, K objects, T frames, H W image size.
"""

import copy

import pytest
import torch
from deterministic import fill
from toy_training import double_rollout, rollout_gradients, rollout_of, toy_batch

from model import VOSNetwork
from model.training.rollout import _Memory
from util.errors import InputError


@pytest.fixture
def long_batch() -> tuple[torch.Tensor, ...]:
    """Frames, labels and numbers of objects of four samples with 7 frames each."""
    return tuple(toy_batch(frames=7, seed=1).values())


def choosing(network: VOSNetwork, policy: int) -> VOSNetwork:
    """A copy of the network whose gate selects one policy."""
    network = copy.deepcopy(network)
    with torch.no_grad():
        network.redundancy_reduction.gate.conv2.weight.mul_(0.1)  # the bias decides
        network.redundancy_reduction.gate.conv2.bias.fill_(0.3)[policy] += 0.5
    return network


@pytest.mark.parametrize("policy", [0, 1])
def test_gradients_reach_reinforcing_the_gate_and_the_selected_reduction(
    reinforced_network, long_batch, monkeypatch, policy
):
    rollout = double_rollout(choosing(reinforced_network, policy), monkeypatch, reduce_frames=4)
    _, gradients = rollout_gradients(rollout, long_batch, slice(None), 0)
    unused = tuple(
        f"network.redundancy_reduction.{kind}.{1 - policy}" for kind in ("keys", "values")
    )
    without = [name for name, gradient in gradients.items() if not gradient.any()]
    assert [name for name in without if not name.startswith(unused)] == []
    assert all(torch.isfinite(gradient).all() for gradient in gradients.values())


def test_queries_are_enhanced_by_the_previous_soft_masks_and_memory_keys_stay_plain(
    reinforced_network, long_batch, monkeypatch
):
    rollout = double_rollout(reinforced_network, monkeypatch, reduce_frames=4)
    seen, memorised = [], []
    enhance, reduce = rollout.network.enhance_query, rollout.network.reduce_memory

    def recording_enhance(key, masks):
        seen.append((key, masks))
        return enhance(key, masks)

    def recording_reduce(key, value):
        memorised.append(key)
        return reduce(key, value)

    monkeypatch.setattr(rollout.network, "enhance_query", recording_enhance)
    monkeypatch.setattr(rollout.network, "reduce_memory", recording_reduce)
    frames, labels, counts = (part[2:3] for part in long_batch)
    logits = rollout(frames, labels, counts).logits
    truth = torch.nn.functional.one_hot(labels[:, 0].long(), 4).movedim(-1, 1)[:, 1:]
    masks = [truth.double(), *logits[:, :-1].softmax(2)[:, :, 1:].unbind(1)]
    assert len(seen) == 6
    for (_, given), expected in zip(seen, masks, strict=True):
        torch.testing.assert_close(given, expected, rtol=0, atol=1e-10)
    assert not seen[0][1].requires_grad and all(given.requires_grad for _, given in seen[1:]), (
        "gradients flow through predicted masks"
    )
    for frame, key in enumerate(memorised[0].unbind(1)):  # frames 1 to 4
        torch.testing.assert_close(
            key, seen[frame][0].flatten(2).transpose(1, 2), rtol=0, atol=1e-10
        )


def test_the_gate_learns_from_the_readout_without_a_loss_of_its_own(
    reinforced_network, long_batch, monkeypatch
):
    rollout = double_rollout(
        choosing(reinforced_network, 0), monkeypatch, reduce_frames=4, reduction_weight=0.0
    )
    _, gradients = rollout_gradients(rollout, long_batch, slice(None), 0)
    gate = [gradient for name, gradient in gradients.items() if ".gate." in name]
    assert len(gate) == 6 and all(gradient.any() for gradient in gate)


def test_untrained_modules_predict_as_stcn_until_the_memory_is_reduced(
    network, reinforced_network, long_batch, monkeypatch
):
    untrained = copy.deepcopy(reinforced_network)
    with torch.no_grad():
        untrained.foreground_reinforcing.gain.zero_()
    ours = double_rollout(untrained, monkeypatch, reduce_frames=4)(*long_batch).logits
    theirs = double_rollout(network, monkeypatch)(*long_batch).logits
    torch.testing.assert_close(ours[:, :4], theirs[:, :4], rtol=0, atol=1e-9)
    finite = torch.isfinite(theirs[:, 4:])
    assert (ours[:, 4:][finite] - theirs[:, 4:][finite]).abs().max() > 1e-4, "nothing was reduced"


@torch.no_grad()
@pytest.mark.parametrize("policy", [0, 1])
def test_a_reduced_memory_holds_the_first_frame_and_averages_of_the_others(
    reinforced_network, policy
):
    rollout = rollout_of(choosing(reinforced_network, policy).eval(), reduce_frames=4)
    random = torch.Generator().manual_seed(0)
    memory = _Memory(
        keys=[torch.randn(2, 8, 6, generator=random) for _ in range(5)],
        values=[torch.randn(2, 3, 16, 6, generator=random) for _ in range(5)],
    )
    memories, divergence = rollout._reduced(memory)
    assert divergence.shape == (2, 3)
    for one, factor in zip(memories, (2, 4), strict=True):
        for ours, theirs in ((one.keys, memory.keys), (one.values, memory.values)):
            assert ours[0] is theirs[0]
            torch.testing.assert_close(
                torch.stack(ours[1:]), torch.stack(theirs[1:]).unflatten(0, (-1, factor)).mean(1)
            )
    query = torch.randn(2, 1, 8, 2, 3, generator=random)
    torch.testing.assert_close(
        rollout._read(memories, query), rollout._read_one(memories[policy], query)
    )


@torch.no_grad()
def test_reduced_elements_lie_on_an_object_if_half_of_their_sources_did(
    reinforced_network,
):
    rollout = rollout_of(reinforced_network, reduce_frames=4)
    inside = torch.tensor(
        [[0, 0, 1, 1], [0, 1, 1, 0], [0, 0, 1, 0], [0, 1, 1, 0], [1, 0, 1, 0]]
    ).bool()[:, None, None]  # [5, 1, 1, 4]: of frames 0 to 4, one object
    memory = _Memory(
        keys=[torch.randn(1, 8, 4) for _ in range(5)],
        values=[torch.randn(1, 1, 16, 4) for _ in range(5)],
        objects=list(inside),
    )
    by_two, by_four = (
        torch.stack(one.objects)[:, 0, 0].int().tolist() for one in rollout._reduced(memory)[0]
    )
    assert by_two == [[0, 0, 1, 1], [0, 1, 1, 0], [1, 1, 1, 0]] and by_four == [
        [0, 0, 1, 1],
        [0, 1, 1, 0],
    ]


def test_the_loss_of_the_reduction_is_weighted_and_a_mean_over_present_objects(
    reinforced_network, long_batch
):
    network = fill(copy.deepcopy(reinforced_network)).eval()  # reductions that are not averages
    once, twice = (
        rollout_of(network, reduce_frames=4, reduction_weight=weight)(*long_batch)
        for weight in (1.0, 2.0)
    )
    assert set(once.parts) == {"cross_entropy", "reduction"} and once.parts["reduction"] > 0
    torch.testing.assert_close(twice.parts["reduction"], 2 * once.parts["reduction"])
    torch.testing.assert_close(once.loss, sum(once.parts.values()))
    rollout = rollout_of(network, reduce_frames=4)
    alone = torch.stack(
        [rollout(*(part[b : b + 1] for part in long_batch)).parts["reduction"] for b in range(4)]
    )
    torch.testing.assert_close(alone.mean(), once.parts["reduction"], rtol=1e-4, atol=1e-6)


def test_a_memory_of_clips_is_reduced_once_it_holds_enough_of_their_last_frames(
    network_of_slots, long_batch
):
    frames, labels, counts = (part[1:2] for part in long_batch)
    rollout = rollout_of(
        copy.deepcopy(network_of_slots(("reducer",))).eval(), clip_frames=3, reduce_frames=4
    )
    order = [0, 1, 2, 3, 4, 5, 6, 5, 4, 3, 2, 1, 0, 1, 2, 3]
    result = rollout(frames[:, order], labels[:, order], counts)
    assert result.logits.shape[1] == 15 and set(result.parts) == {"cross_entropy", "reduction"}
    with pytest.raises(InputError, match=r"13 frames a sample .*16 frames or more are needed"):
        rollout(frames[:, order[:13]], labels[:, order[:13]], counts)


def test_the_loss_of_the_reduction_is_finite_for_a_sample_without_objects(reinforced_network):
    frames = torch.randint(0, 256, (2, 7, 3, 32, 48), dtype=torch.uint8)
    labels = torch.zeros(2, 7, 32, 48, dtype=torch.uint8)
    labels[0, :, 8:24, 8:24] = 1
    result = rollout_of(copy.deepcopy(reinforced_network).eval(), reduce_frames=4)(
        frames, labels, [1, 0]
    )
    assert all(torch.isfinite(part) for part in result.parts.values())
