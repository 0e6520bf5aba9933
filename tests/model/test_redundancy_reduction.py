"""Redundancy reduction of a memory: gate, reduction, selection and loss.

Legend: B batch, K objects, T frames, M elements of a frame, C channels, S policies.
"""

import pytest
import torch
import torch.nn.functional as F
from deterministic import fill

from model import ReducerConfig
from model.redundancy_reduction import RedundancyReduction, divergence, select
from util.errors import InputError


def draw(frames=8, batch=2, objects=3, elements=6):
    random = torch.Generator().manual_seed(frames)
    key = torch.randn(batch, frames, elements, 4, generator=random)
    return key, torch.randn(batch, objects, frames, elements, 5, generator=random)


def module_of(policies=2, filled=True):
    torch.manual_seed(0)
    module = RedundancyReduction(ReducerConfig(policies=policies), 4, 5)
    return (fill(module) if filled else module).eval()


@torch.no_grad()
def test_untrained_reductions_are_averages_over_time_pixel_by_pixel():
    key, value = draw()
    reduced = module_of(filled=False)(key, value)
    for number, factor in enumerate((2, 4)):
        torch.testing.assert_close(reduced.keys[number], key.unflatten(1, (-1, factor)).mean(2))
        torch.testing.assert_close(reduced.values[number], value.unflatten(2, (-1, factor)).mean(3))
    torch.testing.assert_close(reduced.divergence, torch.zeros(2, 3), rtol=0, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("policies", [1, 2, 3])
def test_a_reduction_is_a_3d_convolution_of_its_temporal_stride(policies):
    module, (key, value) = module_of(policies), draw(16)
    reduced = module(key, value)
    assert module.factors == tuple(2 ** (s + 1) for s in range(policies))
    for number, factor in enumerate(module.factors):
        convolution = module.keys[number].conv
        volume = key.permute(0, 3, 1, 2).unflatten(3, (2, 3))  # [B, C, T, h, w]
        expected = F.conv3d(
            volume, convolution.weight[..., None, None], convolution.bias, stride=(factor, 1, 1)
        )
        torch.testing.assert_close(
            reduced.keys[number].permute(0, 3, 1, 2).unflatten(3, (2, 3)),
            expected,
            rtol=1e-5,
            atol=1e-5,
        )
        assert reduced.keys[number].shape == (2, 16 // factor, 6, 4)
        assert reduced.values[number].shape == (2, 3, 16 // factor, 6, 5)
        torch.testing.assert_close(
            module.reduce_key(key[0], factor), reduced.keys[number][0], rtol=1e-5, atol=1e-5
        )
        torch.testing.assert_close(
            module.reduce_value(value[0, 1], factor),
            reduced.values[number][0, 1],
            rtol=1e-5,
            atol=1e-5,
        )


@torch.no_grad()
def test_the_gate_follows_its_formula_and_inference_chooses_as_training_does():
    module, (key, value) = module_of(), draw()
    gate = module.gate
    pooled = key.mean(2).transpose(1, 2)
    hidden = F.conv1d(pooled, gate.conv1.weight, gate.conv1.bias, padding=1)
    norm = (hidden - gate.bn1.running_mean[:, None]) / (
        gate.bn1.running_var[:, None] + 1e-5
    ).sqrt() * gate.bn1.weight[:, None] + gate.bn1.bias[:, None]
    worth = (
        F.conv1d(norm.clamp(min=0), gate.conv2.weight, gate.conv2.bias, padding=1)
        .mean(2)
        .tanh()
        .clamp(min=0)
        + 0.01
    )
    torch.testing.assert_close(gate(key), worth)
    assert (worth > 0).all()
    selection = module(key, value).selection
    assert selection.sum(1).tolist() == [1, 1] and set(selection.flatten().tolist()) == {0, 1}
    for b in range(2):
        assert (
            module.factors.index(module.choose(key[b]))
            == int(selection[b].argmax())
            == int(worth[b].argmax())
        )


def test_gamma_changes_the_shares_that_the_gate_learns_from_but_no_choice():
    key, _ = draw()
    torch.manual_seed(0)
    modules = [RedundancyReduction(ReducerConfig(floor=floor), 4, 5) for floor in (0.01, 0.5)]
    modules[1].load_state_dict(modules[0].state_dict())
    small, large = (module.eval().gate(key) for module in modules)
    torch.testing.assert_close(large - small, torch.full_like(small, 0.49))
    assert torch.equal(select(small).argmax(-1), select(large).argmax(-1))
    gradients = [
        torch.autograd.grad(select(worth)[:, 0].sum(), worth)[0].abs().sum()
        for worth in (small, large)
    ]
    assert gradients[1] < 0.8 * gradients[0]


def test_the_gate_can_choose_either_policy():
    module, (key, _) = module_of(filled=False), draw()
    for policy in range(2):
        with torch.no_grad():
            module.gate.conv2.bias.copy_(F.one_hot(torch.tensor(policy), 2) * 5.0)
        assert module.choose(key[0]) == (2, 4)[policy]


@torch.no_grad()
def test_the_untrained_gate_has_a_slope_for_every_policy():
    for seed in range(5):
        torch.manual_seed(seed)
        worth = RedundancyReduction(ReducerConfig(), 64, 128).eval().gate(torch.randn(2, 12, 6, 64))
        assert (worth > 0.02).all() and (worth < 0.95).all(), "above the floor, below saturation"


def test_a_reduction_without_policies_is_refused():
    assert ReducerConfig().policies == 2, "÷2 and ÷4"
    with pytest.raises(InputError, match="policies is 0; it must be at least 1"):
        RedundancyReduction(ReducerConfig(policies=0), 4, 5)


def test_selection_is_hard_and_its_gradient_that_of_the_shares():
    worth = torch.tensor([[0.2, 0.6], [0.5, 0.3]], requires_grad=True)
    selection = select(worth)
    assert selection.tolist() == [[0, 1], [1, 0]]
    weights = torch.tensor([[3.0, -1.0], [2.0, 5.0]])
    (selection * weights).sum().backward()
    again = worth.detach().clone().requires_grad_()
    (again / again.sum(-1, keepdim=True) * weights).sum().backward()
    torch.testing.assert_close(worth.grad, again.grad)
    assert (worth.grad != 0).all()


@pytest.mark.parametrize("policy", [0, 1])
@pytest.mark.parametrize("filled", [True, False])
def test_gradients_reach_the_gate_and_the_convolutions_of_the_policy_chosen(filled, policy):
    module, (key, value) = module_of(filled=filled), draw()
    with torch.no_grad():
        module.gate.conv2.bias[policy] = module.gate.conv2.bias.max() + 0.5
    reduced = module(key, value)
    assert reduced.selection[:, policy].tolist() == [1, 1]
    read = [
        keys.square().sum((1, 2, 3)) + values.square().sum((1, 2, 3, 4))
        for keys, values in zip(reduced.keys, reduced.values)
    ]
    (
        sum(share * one for share, one in zip(reduced.selection.unbind(1), read)).sum()
        + reduced.divergence.sum()
    ).backward()
    gradients = {
        name: parameter.grad.abs().sum().item() for name, parameter in module.named_parameters()
    }
    assert all(
        gradients[name] > 0
        for name in gradients
        if name.startswith(("gate", f"keys.{policy}", f"values.{policy}"))
    )
    assert all(
        gradients[name] == 0
        for name in gradients
        if name.startswith((f"keys.{1 - policy}", f"values.{1 - policy}"))
    )


def test_divergence_of_identical_features_is_zero_and_of_others_the_formula():
    key, _ = draw()
    before, after = key.flatten(1, 2), key.flatten(1, 2)[:, :7] * 2
    assert torch.equal(divergence(before, before), torch.zeros(2))
    p, q = before.mean(1).softmax(-1), after.mean(1).softmax(-1)
    torch.testing.assert_close(divergence(before, after), (p * (p / q).log()).sum(-1))
    assert (divergence(before, after) > 0).all()
    moved = key.clone().requires_grad_()
    divergence(before, moved.flatten(1, 2) * 2).sum().backward()
    assert moved.grad.any()


def test_half_precision_keys_are_reduced_in_full_precision():
    module, (key, value) = module_of(), draw()
    with torch.autocast("cpu", torch.bfloat16):
        mixed = module(key, value)
    torch.testing.assert_close(mixed.keys[0], module(key, value).keys[0])
    assert module.reduce_value(value[0, 0].bfloat16(), 2).dtype == torch.bfloat16


@torch.no_grad()
def test_mixed_precision_around_it_changes_nothing(reinforced_network):
    module = reinforced_network.redundancy_reduction
    key = 3 * torch.randn(4, 6, 8)
    with torch.autocast("cpu", torch.bfloat16):
        ours, factor = module.reduce_key(key, 4), module.choose(key)
    assert torch.equal(ours, module.reduce_key(key, 4)) and factor == module.choose(key)
