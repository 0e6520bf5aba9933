"""Learning rates of slots, weight decay and averaged buffers."""

import copy

import pytest
import torch
from torch import Tensor
from toy_training import step_with_gradients, take_steps, toy_batch, trainer_of
from training_processes import assert_same

from model import build_network
from model.training.optimizer import build_scheduler
from model.training.stages import STAGES, SlotRates

DECAYS = {
    "adam": {"optimizer": "adam", "weight_decay": 1e-7},
    "adamw": {"optimizer": "adamw", "weight_decay": 0.1},
}


@pytest.fixture
def batch() -> dict[str, Tensor]:
    return toy_batch()


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
def test_only_the_modules_of_a_slot_use_its_learning_rate():
    trainer = trainer_of(
        build_network("tiny_remn"),
        reduce_frames=4,
        slot_rates=SlotRates(enhancer=5.0),
        schedule="cosine",
    )
    start = {
        name: parameter.detach().clone() for name, parameter in trainer.network.named_parameters()
    }
    step_with_gradients(trainer)
    moved = {
        name: float((start[name] - parameter.detach()).mean())
        for name, parameter in trainer.network.named_parameters()
    }
    reinforcing = {name for name in moved if name.startswith("foreground_reinforcing.")}
    assert {round(moved[name], 5) for name in reinforcing} == {5e-3} and {
        round(moved[name], 5) for name in moved.keys() - reinforcing
    } == {1e-3}
    assert trainer.scheduler.get_last_lr()[0] < 1e-3, "the first rate, which is logged, is the base"
    assert trainer.optimizer.param_groups[1]["lr"] == pytest.approx(
        5 * trainer.optimizer.param_groups[0]["lr"]
    )


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
@pytest.mark.parametrize("chosen", [0, 1])
@pytest.mark.parametrize(
    "decay",
    [{"optimizer": "adam", "weight_decay": 1e-7}, {"optimizer": "adamw", "weight_decay": 0.01}],
    ids=lambda decay: decay["optimizer"],
)
def test_weight_decay_does_not_change_a_reduction_that_was_not_selected(batch, decay, chosen):
    trainer = trainer_of(build_network("tiny_remn"), reduce_frames=4, **decay)
    reduction = trainer.network.redundancy_reduction
    with torch.no_grad():
        reduction.gate.conv2.weight.zero_()
        reduction.gate.conv2.bias.fill_(0.3)[chosen] += 0.5
    start = copy.deepcopy(reduction)
    longer = {
        name: values[:2, [0, 1, 2, 1, 0, 2]] if values.ndim > 1 else values[:2]
        for name, values in batch.items()
    }
    for _ in range(2):
        trainer.backward(trainer.forward(longer).loss)
        trainer.step()
    for number in range(2):
        for before, now in ((start.keys, reduction.keys), (start.values, reduction.values)):
            same = [
                torch.equal(one, other)
                for one, other in zip(
                    before[number].parameters(), now[number].parameters(), strict=True
                )
            ]
            assert same == [number != chosen] * 2, "weight and bias"
    assert not torch.equal(start.gate.conv1.weight, reduction.gate.conv1.weight), "the gate learns"


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
@pytest.mark.parametrize("decay", DECAYS)
def test_samples_with_one_object_do_not_change_the_channel_of_the_others(batch, decay):
    """Its gradient is exactly zero, so that stage 0 keeps its orthogonal initialisation."""
    trainer = trainer_of(build_network("tiny"), stage="0", max_objects=1, **DECAYS[decay])
    single = {
        **batch,
        "labels": batch["labels"].clamp(max=1),
        "num_objects": torch.ones(4, dtype=torch.int64),
    }
    before = trainer.network.value_encoder.conv1.weight.detach().clone()
    take_steps(trainer, single, 3)
    after = trainer.network.value_encoder.conv1.weight.detach()
    assert torch.equal(after[:, 4], before[:, 4]) and not torch.equal(after[:, 3], before[:, 3])
    orthogonal = torch.nn.init.orthogonal_(torch.empty(8, 2, 7, 7))
    assert float(after[:, 4].std()) == pytest.approx(float(orthogonal[:, 1].std()), rel=0.3)


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
@pytest.mark.parametrize("decay", DECAYS)
def test_weight_decay_is_torchs_where_there_is_a_gradient_and_none_elsewhere(network, decay):
    ours = trainer_of(network, **DECAYS[decay])
    theirs = copy.deepcopy(ours.network)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[decay]
    optimizer = kind(
        theirs.parameters(), lr=1e-3, weight_decay=DECAYS[decay]["weight_decay"], fused=True
    )
    start = copy.deepcopy(theirs.state_dict())
    for _ in range(3):
        torch.manual_seed(0)
        for mine, plain in zip(ours.network.parameters(), theirs.parameters(), strict=True):
            gradient = torch.randn_like(mine) * 1e-6
            gradient[: len(gradient) // 2] = 0
            mine.grad, plain.grad = gradient.clone(), gradient.clone()
        ours.step()
        optimizer.step()
    assert {group["weight_decay"] for group in ours.optimizer.param_groups} == {
        DECAYS[decay]["weight_decay"]
    }
    for name, parameter in ours.network.named_parameters():
        half = len(parameter) // 2
        assert torch.equal(parameter[:half], start[name][:half]), name
        torch.testing.assert_close(
            parameter[half:], dict(theirs.named_parameters())[name][half:], rtol=1e-4, atol=1e-7
        )
    assert any(
        not torch.equal(parameter[: len(parameter) // 2], start[name][: len(parameter) // 2])
        for name, parameter in theirs.named_parameters()
    )


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
def test_a_step_with_overflown_gradients_decays_nothing(network, bad):
    trainer = trainer_of(network, amp="fp16", **DECAYS["adamw"])
    start = copy.deepcopy(trainer.network.state_dict())
    trainer.scaler.scale(torch.zeros(()))  # as a backward pass does
    for parameter in trainer.network.parameters():
        parameter.grad = torch.full_like(parameter, bad)
    trainer.step()
    assert_same(dict(trainer.network.state_dict()), dict(start))


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
def test_integer_buffers_are_copied_into_the_average():
    """An average of indices would point elsewhere, and an average of counters count too little."""
    trainer = trainer_of(
        build_network("tiny_pcvos"), clip_frames=2, average_decay=0.997, learn_batch_norms=True
    )
    for _ in range(5):
        for parameter in trainer.network.parameters():
            parameter.grad = torch.ones_like(parameter)
        trainer.network.key_encoder.bn1.num_batches_tracked += 1000
        trainer.step()
    for (name, ours), theirs in zip(
        trainer.final_network.named_buffers(), trainer.network.buffers(), strict=True
    ):
        assert torch.equal(ours, theirs) or ours.is_floating_point(), name
    assert trainer.final_network.key_encoder.bn1.num_batches_tracked == 5000


def test_learning_rate_follows_the_published_steps():
    network = build_network("tiny")
    scheduler = build_scheduler(torch.optim.SGD(network.parameters(), lr=1.0), STAGES["0"])
    factors = [scheduler.lr_lambdas[0](iteration) for iteration in (0, 149_999, 150_000, 299_999)]
    assert factors == pytest.approx([1, 1, 0.1, 0.1])
