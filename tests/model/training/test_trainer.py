"""What a Trainer computes: the gradients of a batch however it is divided, states that survive a file, and when a loss has gone wrong.

Legend: B batch, T frames, H W image size.
"""

import copy
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import tiny_network
from torch import Tensor
from training_processes import assert_same, read, run_by_hand

from inference import VideoSegmenter
from model import VOSNetwork, build_network, load_network, save_weights
from model.checkpoint import TrainingState
from model.config import PRESETS
from model.training.loss_monitor import LossMonitor
from model.training.losses import BootstrapConfig
from model.training.stages import SlotRates, TrainingConfig
from model.training.trainer import Trainer
from util.errors import InputError

CPU = torch.device("cpu")
MOVES_NOTHING = "key_proj.key_proj.bias"  # queries and memory keys move by it alike, so that their distances stay
BOOTSTRAPPED = BootstrapConfig(start_iteration=0, end_iteration=0, final_fraction=0.5)


def config(**changed: Any) -> TrainingConfig:
    """Batch norms frozen, no mixed precision."""
    settings = {
        "stage": "3",
        "network": "tiny",
        "mix": (),
        "batch_size": 4,
        "iterations": 10,
        "learning_rate": 1e-3,
        "amp": "off",
    } | changed
    return TrainingConfig(**settings)


def make_batch() -> dict[str, Tensor]:
    """Four samples of 1, 2, 3 and 1 objects: frames [4, 3, 3, 32, 48], labels [4, 3, 32, 48], num_objects [4]."""
    random = np.random.default_rng(0)
    counts = [1, 2, 3, 1]
    labels = np.stack(
        [
            np.kron(random.integers(0, count + 1, (3, 4, 6)), np.ones((8, 8), int))
            for count in counts
        ]
    )
    frames = random.integers(0, 256, (4, 3, 3, 32, 48))
    return {
        "frames": torch.from_numpy(frames.astype(np.uint8)),
        "labels": torch.from_numpy(labels.astype(np.uint8)),
        "num_objects": torch.tensor(counts),
    }


@pytest.fixture
def batch() -> dict[str, Tensor]:
    return make_batch()


@pytest.fixture
def double(monkeypatch) -> None:
    """What the code raises to single precision goes to double here."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)


def trainer_of(network: VOSNetwork, **changed: Any) -> Trainer:
    return Trainer(copy.deepcopy(network), config(**changed), CPU)


def gradients(trainer: Trainer, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Of the batch, in the parts the trainer is configured for."""
    size = len(batch["frames"]) // trainer.config.accumulate
    for part in range(trainer.config.accumulate):
        trainer.backward(
            trainer.forward(
                {name: values[part * size : (part + 1) * size] for name, values in batch.items()}
            ).loss
        )
    return {
        name: parameter.grad.detach().clone()
        for name, parameter in trainer.network.named_parameters()
    }


def assert_close(ours: dict[str, Tensor], theirs: dict[str, Tensor], tolerance: float) -> None:
    """Of every parameter: the norm of the difference within `tolerance` of the norm; where that is rounding alone, of the whole gradient's norm."""
    assert ours.keys() == theirs.keys()
    whole = float(torch.stack([gradient.norm() for gradient in theirs.values()]).norm())
    for name in ours:
        norm = whole if name == MOVES_NOTHING else float(theirs[name].norm())
        assert norm > 1e-6 * whole, name
        assert float((ours[name] - theirs[name]).norm()) <= tolerance * norm, name


# However a batch is divided

GRADIENTS_OF_A_SHARE = """
import torch
from model import build_network
from model.training.trainer import Trainer
from model.training.stages import TrainingConfig
from util.distributed import process_group, rank
task = torch.load("task.pth", weights_only=False)
torch.set_num_threads(1)
single = torch.Tensor.float
with process_group(torch.device("cpu")):
    found = {}
    for (dtype, accumulate), config in task["configs"].items():
        torch.Tensor.float = torch.Tensor.double if dtype is torch.float64 else single
        network = build_network("tiny")
        network.load_state_dict(task["network"])
        trainer = Trainer(network.to(dtype), config, torch.device("cpu"))
        size = 2 // accumulate
        for part in range(accumulate):
            first = 2 * rank() + part * size
            trainer.backward(trainer.forward({name: values[first : first + size] for name, values in task["batch"].items()}).loss)
        found[dtype, accumulate] = {name: parameter.grad.detach().clone() for name, parameter in trainer.network.named_parameters()}
torch.save(found, f"gradients{rank()}.pth")
"""


@pytest.fixture(scope="module")
def divided(network, tmp_path_factory) -> list[dict[tuple[torch.dtype, int], dict[str, Tensor]]]:
    """Of each of two processes the gradients by (precision, accumulated parts), which come of half of the batch in each."""
    folder = tmp_path_factory.mktemp("divided")
    configs = {
        (dtype, accumulate): config(accumulate=accumulate)
        for dtype, accumulate in ((torch.float32, 1), (torch.float64, 1), (torch.float64, 2))
    }
    torch.save(
        {"configs": configs, "network": network.state_dict(), "batch": make_batch()},
        folder / "task.pth",
    )
    ended = run_by_hand([folder] * 2, [("-c", GRADIENTS_OF_A_SHARE)] * 2)
    assert [process.code for process in ended] == [0, 0], ended
    return [torch.load(folder / f"gradients{rank}.pth", weights_only=False) for rank in (0, 1)]


@pytest.mark.parametrize("accumulate", [1, 2])
def test_two_processes_of_half_the_batch_each_have_the_gradients_of_one_with_the_whole(
    network, batch, divided, double, accumulate
):
    whole = gradients(trainer_of(copy.deepcopy(network).double()), batch)
    for process in divided:
        assert process[torch.float64, accumulate]["key_proj.key_proj.weight"].dtype == torch.float64
        assert_close(process[torch.float64, accumulate], whole, 1e-10)


def test_in_single_precision_two_processes_have_the_gradients_of_one_up_to_rounding(
    network, batch, divided
):
    whole = gradients(trainer_of(network), batch)
    for process in divided:
        assert_close(process[torch.float32, 1], whole, 1e-5)


@pytest.mark.parametrize("accumulate", [2, 4])
def test_accumulated_parts_have_the_gradients_of_the_whole_batch(
    network, batch, double, accumulate
):
    network = copy.deepcopy(network).double()
    whole = gradients(trainer_of(network, bootstrap=BOOTSTRAPPED), batch)
    assert_close(
        gradients(trainer_of(network, bootstrap=BOOTSTRAPPED, accumulate=accumulate), batch),
        whole,
        1e-10,
    )


def test_activations_computed_again_give_the_same_gradients(network, batch, double):
    network = copy.deepcopy(network).double()
    kept = gradients(trainer_of(network), batch)
    assert_close(gradients(trainer_of(network, checkpoint_activations=True), batch), kept, 1e-12)


def test_activations_computed_again_are_not_kept(network, batch):
    """The bytes that the backward pass holds on to."""

    def held(**changed: Any) -> int:
        sizes = {}

        def pack(tensor: Tensor) -> Tensor:
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        trainer = trainer_of(network, **changed)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            result = trainer.forward(batch)
        assert result.loss.requires_grad
        return sum(sizes.values())

    assert held(checkpoint_activations=True) < 0.6 * held()


def test_activations_computed_again_are_refused_where_batch_norms_learn(network):
    with pytest.raises(InputError, match="checkpoint_activations"):
        trainer_of(network, checkpoint_activations=True, learn_batch_norms=True)


# A step


def vector(network: torch.nn.Module) -> Tensor:
    """All its parameters in one row."""
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def steps(trainer: Trainer, batch: dict[str, Tensor], count: int) -> None:
    for _ in range(count):
        gradients(trainer, batch)
        trainer.step()


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
def test_a_gradient_longer_than_allowed_is_shortened_to_that(network, batch):
    free, bounded = trainer_of(network), trainer_of(network, clip_gradient_norm=1e-3)
    for trainer in (free, bounded):
        trainer.optimizer = torch.optim.SGD(trainer.network.parameters(), lr=1.0)
    start = vector(network)
    moves = []
    for trainer in (free, bounded):
        steps(trainer, batch, 1)
        moves.append(start - vector(trainer.network))
    assert float(moves[0].norm()) > 1e-2 and float(moves[1].norm()) == pytest.approx(1e-3, rel=0.01)
    assert float(torch.nn.functional.cosine_similarity(*moves, dim=0)) > 0.999


def test_the_average_of_weights_is_what_is_kept_and_follows_them_slowly(network, batch):
    trainer = trainer_of(network, average_decay=0.9, learn_batch_norms=True)
    expected = None
    for _ in range(3):
        steps(trainer, batch, 1)
        now = vector(trainer.network)
        expected = now if expected is None else 0.9 * expected + 0.1 * now
    kept = vector(trainer.final_network)
    assert trainer.final_network is not trainer.network
    torch.testing.assert_close(kept, expected, rtol=1e-5, atol=1e-6)
    statistics = trainer.final_network.key_encoder.bn1.running_mean
    assert not torch.equal(
        statistics, trainer.network.key_encoder.bn1.running_mean
    ) and not torch.equal(statistics, network.key_encoder.bn1.running_mean)


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
def test_what_is_no_floating_point_number_has_no_average():
    """An index that is averaged points elsewhere, and a counter counts too little: the network that is validated was not the one in its file."""
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


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
@pytest.mark.parametrize("decay", [0.9, 0.997, 0.9995])
def test_averaged_weights_predict_what_their_file_does(tmp_path, made_clip, decay):
    trainer = trainer_of(tiny_network(name="tiny_pcvos"), clip_frames=2, average_decay=decay)
    for _ in range(4):
        for parameter in trainer.network.parameters():
            parameter.grad = torch.ones_like(parameter)
        trainer.step()
    save_weights(tmp_path / "weights.pth", trainer.final_network)
    ours, theirs = (
        VideoSegmenter(network, "pcvos", device="cpu")
        for network in (trainer.final_network, load_network(tmp_path / "weights.pth"))
    )
    for one, other in zip(
        *(
            segmenter.segment(made_clip.frames[:6], made_clip.labels[0])
            for segmenter in (ours, theirs)
        ),
        strict=True,
    ):
        assert torch.equal(one.probabilities, other.probabilities)


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
def test_modules_of_a_slot_move_by_their_own_rate_and_the_rest_does_not():
    trainer = trainer_of(
        build_network("tiny_remn"),
        reduce_frames=4,
        slot_rates=SlotRates(enhancer=5.0),
        schedule="cosine",
    )
    start = {
        name: parameter.detach().clone() for name, parameter in trainer.network.named_parameters()
    }
    for parameter in trainer.network.parameters():
        parameter.grad = torch.ones_like(parameter)
    trainer.step()
    moved = {
        name: float((start[name] - parameter.detach()).mean())
        for name, parameter in trainer.network.named_parameters()
    }
    reinforcing = {name for name in moved if name.startswith("foreground_reinforcing.")}
    assert {round(moved[name], 5) for name in reinforcing} == {5e-3} and {
        round(moved[name], 5) for name in moved.keys() - reinforcing
    } == {1e-3}
    assert trainer.scheduler.get_last_lr()[0] < 1e-3, (
        "the first rate is the rest's: it is the one that is logged"
    )
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
def test_a_reduction_that_is_not_chosen_stays_as_it_is_whatever_the_weight_decay(
    batch, decay, chosen
):
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
    assert not torch.equal(start.gate.conv1.weight, reduction.gate.conv1.weight), (
        "the gate learns of both"
    )


DECAYS = {
    "adam": {"optimizer": "adam", "weight_decay": 1e-7},
    "adamw": {"optimizer": "adamw", "weight_decay": 0.1},
}


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
@pytest.mark.parametrize("decay", DECAYS)
def test_samples_of_one_object_leave_the_channel_of_the_other_objects_as_it_starts(batch, decay):
    """Its gradient is exactly zero: stage 0 hands it on orthogonal, whatever the weight decay and however long."""
    trainer = trainer_of(build_network("tiny"), stage="0", max_objects=1, **DECAYS[decay])
    single = {
        **batch,
        "labels": batch["labels"].clamp(max=1),
        "num_objects": torch.ones(4, dtype=torch.int64),
    }
    before = trainer.network.value_encoder.conv1.weight.detach().clone()
    steps(trainer, single, 3)
    after = trainer.network.value_encoder.conv1.weight.detach()
    assert torch.equal(after[:, 4], before[:, 4]) and not torch.equal(after[:, 3], before[:, 3])
    orthogonal = torch.nn.init.orthogonal_(torch.empty(8, 2, 7, 7))
    assert float(after[:, 4].std()) == pytest.approx(float(orthogonal[:, 1].std()), rel=0.3)


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
@pytest.mark.parametrize("decay", DECAYS)
def test_weight_decay_moves_only_what_has_a_gradient_and_that_as_torch_does(network, decay):
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
def test_a_step_whose_half_precision_gradients_overflowed_decays_nothing(network, bad):
    trainer = trainer_of(network, amp="fp16", **DECAYS["adamw"])
    start = copy.deepcopy(trainer.network.state_dict())
    trainer.scaler.scale(torch.zeros(()))  # as a backward pass does
    for parameter in trainer.network.parameters():
        parameter.grad = torch.full_like(parameter, bad)
    trainer.step()
    assert_same(dict(trainer.network.state_dict()), dict(start))


STATISTICS_OF_SHARES = """
import torch
from model.config import PRESETS
from model import build_network
from model.training.trainer import Trainer
from model.training.stages import TrainingConfig
from util.distributed import process_group, rank
task = torch.load("task.pth", weights_only=False)
torch.set_num_threads(1)
with process_group(torch.device("cpu")):
    for name, config in task["configs"].items():
        network = build_network("tiny")
        network.load_state_dict(task["network"])
        trainer = Trainer(network, config, torch.device("cpu"))
        for _ in range(2):
            for part in range(config.accumulate):
                share = {name: values[2 * rank() : 2 * rank() + 2] for name, values in task["batch"].items()}
                trainer.backward(trainer.forward(share).loss)
            trainer.step()
        average = None if trainer.average is None else trainer.average.state_dict()
        torch.save((trainer.network.state_dict(), average, trainer.rollout.broadcast_buffers), f"{name}{rank()}.pth")
"""


def test_processes_whose_batch_norms_learn_have_the_same_statistics_and_averages(
    network, batch, tmp_path
):
    """The mean of all processes' statistics, so that each validates the network that is kept."""
    learning = config(learn_batch_norms=True, average_decay=0.9)
    configs = {"learning": learning, "frozen": config(average_decay=0.9)}
    torch.save(
        {"configs": configs, "network": network.state_dict(), "batch": make_batch()},
        tmp_path / "task.pth",
    )
    ended = run_by_hand([tmp_path] * 2, [("-c", STATISTICS_OF_SHARES)] * 2)
    assert [process.code for process in ended] == [0, 0], ended
    found = {
        name: [torch.load(tmp_path / f"{name}{rank}.pth", weights_only=False) for rank in (0, 1)]
        for name in configs
    }
    for one, other in found.values():
        assert_same(dict(one[0]), dict(other[0]))
        assert_same(dict(one[1]), dict(other[1]))
        assert not one[2] and not other[2], "buffers are not sent at every forward"
    halves = []
    for rank in (0, 1):
        alone = trainer_of(network, batch_size=2, learn_batch_norms=True)
        with torch.no_grad():
            alone.forward({name: values[2 * rank : 2 * rank + 2] for name, values in batch.items()})
        halves.append(alone.network.key_encoder.bn1.running_mean)
    first = torch.stack(halves).mean(0)
    assert not torch.allclose(*halves, rtol=1e-3)
    momentum, kept = 0.1, found["learning"][0][0]["key_encoder.bn1.running_mean"]
    start = network.key_encoder.bn1.running_mean
    after_two = first + (1 - momentum) * (
        first - start
    )  # the images are the same, the stem hardly moved
    torch.testing.assert_close(kept, after_two, rtol=0.05, atol=0.01)
    assert torch.equal(found["frozen"][0][0]["key_encoder.bn1.running_mean"], start)


def test_what_reducing_the_memory_costs_is_weighted_as_the_configuration_says():
    rollout = trainer_of(build_network("tiny_remn"), reduce_frames=4, reduction_weight=0.25).rollout
    assert (rollout.reduce_frames, rollout.reduction_weight) == (4, 0.25)


# A state


RECIPES = {
    "published": {},
    "from scratch": {
        "optimizer": "adamw",
        "schedule": "cosine",
        "warmup_iterations": 3,
        "clip_gradient_norm": 5.0,
        "learn_batch_norms": True,
        "average_decay": 0.9,
    },
    "accumulated": {"accumulate": 2, "steps": (3, 5)},
    "bf16": {"amp": "bf16"},
}


def stored(trainer: Trainer, path: Path) -> TrainingState:
    """The trainer's state, written and read."""
    trainer.state({"flags": {}}).save(path)
    return TrainingState.from_checkpoint(path)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_trainer_restored_from_a_file_takes_the_same_steps(network, batch, tmp_path, recipe):
    whole = trainer_of(network, **RECIPES[recipe])
    steps(whole, batch, 3)
    parts = trainer_of(build_network("tiny"), **RECIPES[recipe])
    parts.restore(stored(whole, tmp_path / "state.pth"))
    for trainer in (whole, parts):
        steps(trainer, batch, 3)
    assert parts.iteration == 6
    for name in ("network", "average", "optimizer", "scheduler", "scaler"):
        assert_same(getattr(whole.state({}), name), getattr(parts.state({}), name), name)


def in_format(network: VOSNetwork, memory_format: torch.memory_format, **changed: Any) -> Trainer:
    trainer = trainer_of(network, **changed)
    trainer.network.to(memory_format=memory_format)
    return trainer


def take_step(trainer: Trainer, number: int) -> None:
    """By gradients of the parameters' own memory format, the same numbers in any."""
    random = torch.Generator().manual_seed(number)
    for parameter in trainer.network.parameters():
        parameter.grad = torch.empty_like(parameter).copy_(
            torch.randn(parameter.shape, generator=random)
        )
    trainer.step()


FORMATS = {"contiguous": torch.contiguous_format, "channels last": torch.channels_last}


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
@pytest.mark.parametrize(
    "recipe",
    [{}, {"optimizer": "adamw", "average_decay": 0.9, "schedule": "cosine"}],
    ids=["adam", "adamw"],
)
@pytest.mark.parametrize("start", FORMATS)
def test_going_on_in_another_memory_format_and_back_takes_the_same_steps(
    network, tmp_path, start, recipe
):
    """Otherwise the moments of a convolution are taken for those of other weights of it."""
    there, elsewhere = FORMATS[start], next(kind for name, kind in FORMATS.items() if name != start)
    whole = in_format(network, there, **recipe)
    for number in range(6):
        take_step(whole, number)
    moved = in_format(network, there, **recipe)
    for number in range(6):
        if number in (2, 4):
            state = stored(moved, tmp_path / "state.pth")
            moved = in_format(build_network("tiny"), elsewhere if number == 2 else there, **recipe)
            moved.restore(state)
            for parameter, moments in moved.optimizer.state.items():
                assert (
                    moments["exp_avg"].stride()
                    == moments["exp_avg_sq"].stride()
                    == parameter.stride()
                )
        take_step(moved, number)
    for name in ("network", "average", "optimizer"):
        assert_same(getattr(whole.state({}), name), getattr(moved.state({}), name), name)


def test_the_scale_of_half_precision_gradients_goes_on(network, tmp_path):
    whole, parts = (trainer_of(network, amp="fp16") for _ in range(2))
    whole.scaler.load_state_dict(
        {**whole.scaler.state_dict(), "scale": 1024.0, "_growth_tracker": 7}
    )
    parts.restore(stored(whole, tmp_path / "state.pth"))
    assert (
        parts.scaler.state_dict() == whole.scaler.state_dict()
        and parts.scaler.get_scale() == 1024.0
    )


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"stage": "0"}, "stage 3 (now 0)"),
        ({"learning_rate": 0.5}, "learning_rate 0.001 (now 0.5)"),
        ({"batch_size": 8}, "batch_size 4 (now 8)"),
        ({"accumulate": 2}, "accumulate 1 (now 2)"),
        ({"seed": 1}, "seed 0 (now 1)"),
        ({"average_decay": 0.9}, "average_decay None (now 0.9)"),
        ({"bootstrap": BOOTSTRAPPED}, "bootstrap"),
    ],
)
def test_a_checkpoint_of_other_settings_is_refused_by_their_names(
    network, tmp_path, changed, named
):
    state = stored(trainer_of(network), tmp_path / "state.pth")
    other = trainer_of(network, **changed)
    before = copy.deepcopy(other.network.state_dict())
    with pytest.raises(InputError) as refused:
        other.restore(state)
    assert named in str(refused.value) and "\n" not in str(refused.value)
    assert_same(dict(other.network.state_dict()), dict(before))


@pytest.mark.parametrize("changed", [{"similarity": "cosine"}, {"key_channels": 16}])
def test_a_checkpoint_of_another_network_is_refused_by_what_differs(network, tmp_path, changed):
    state = stored(trainer_of(network), tmp_path / "state.pth")
    ((name, value),) = changed.items()
    other = trainer_of(build_network(dataclasses.replace(PRESETS["tiny"], **changed)))
    with pytest.raises(
        InputError, match=rf"{name} {getattr(PRESETS['tiny'], name)} \(now {value}\)"
    ):
        other.restore(state)


def test_a_checkpoint_of_another_number_of_processes_is_refused(network, tmp_path):
    state = stored(trainer_of(network), tmp_path / "state.pth")
    with pytest.raises(InputError, match=r"processes 2 \(now 1\)"):
        trainer_of(network).restore(
            dataclasses.replace(state, random_states=state.random_states * 2)
        )


def test_how_long_and_how_fast_may_change_on_the_way(network, tmp_path):
    state = stored(trainer_of(network), tmp_path / "state.pth")
    trainer_of(network, iterations=20, checkpoint_activations=True, amp="bf16").restore(state)


def test_a_checkpoint_older_than_a_setting_means_its_default(network, tmp_path):
    state = stored(trainer_of(network), tmp_path / "state.pth")
    older = dataclasses.replace(
        state,
        training_config={
            name: value
            for name, value in state.training_config.items()
            if name not in {"slot_rates", "gamma"}
        },
    )
    trainer_of(network).restore(older)
    with pytest.raises(InputError, match=r"gamma 0.1 \(now 0.5\)"):
        trainer_of(network, gamma=0.5).restore(older)


def test_a_checkpoint_older_than_one_of_a_settings_own_settings_means_its_default(
    network, tmp_path
):
    state = stored(trainer_of(network), tmp_path / "state.pth")
    rates = {
        name: value
        for name, value in state.training_config["slot_rates"].items()
        if name != "reducer"
    }
    trainer_of(network).restore(
        dataclasses.replace(state, training_config={**state.training_config, "slot_rates": rates})
    )


DAMAGE = {
    "training_config": None,
    "optimizer": {},
    "scheduler": {},
    "random_states": [{}],
    "network": {},
    "iteration": "7",
}


@pytest.mark.parametrize("part", DAMAGE)
def test_a_checkpoint_that_is_damaged_inside_is_refused_in_one_line(network, tmp_path, part):
    state = dataclasses.replace(
        stored(trainer_of(network), tmp_path / "state.pth"), **{part: DAMAGE[part]}
    )
    with pytest.raises(InputError, match=r"checkpoint is (damaged inside|of iteration)") as refused:
        trainer_of(network).restore(state)
    assert "\n" not in str(refused.value)


def changed_moments(change: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], None]:
    """Change what is stored of one parameter."""
    return lambda optimizer: optimizer["state"].__setitem__(3, change(optimizer["state"][3]))


DAMAGED_OPTIMIZERS = {
    "a moment of another shape": changed_moments(
        lambda moments: {**moments, "exp_avg": torch.zeros(1)}
    ),
    "a moment of fewer numbers": changed_moments(
        lambda moments: {**moments, "exp_avg_sq": moments["exp_avg_sq"][:1]}
    ),
    "a moment of the same number of numbers": changed_moments(
        lambda moments: {**moments, "exp_avg": moments["exp_avg"].flatten()}
    ),
    "a moment of whole numbers": changed_moments(
        lambda moments: {**moments, "exp_avg": moments["exp_avg"].long()}
    ),
    "a moment that is no tensor": changed_moments(lambda moments: {**moments, "exp_avg": 0.5}),
    "a moment that is not finite": changed_moments(
        lambda moments: {**moments, "exp_avg": moments["exp_avg"] * float("nan")}
    ),
    "a square below zero": changed_moments(
        lambda moments: {**moments, "exp_avg_sq": moments["exp_avg_sq"] - 1}
    ),
    "steps of a vector": changed_moments(lambda moments: {**moments, "step": torch.zeros(5)}),
    "steps that are no number": changed_moments(lambda moments: {**moments, "step": "3"}),
    "steps below zero": changed_moments(lambda moments: {**moments, "step": torch.tensor(-1.0)}),
    "no moments": changed_moments(lambda moments: {}),
    "one moment": changed_moments(
        lambda moments: {"step": moments["step"], "exp_avg": moments["exp_avg"]}
    ),
    "a list of moments": changed_moments(lambda moments: list(moments.values())),
    "an unknown parameter": lambda optimizer: optimizer["state"].__setitem__(
        10**6, optimizer["state"][3]
    ),
    "numbered twice": lambda optimizer: optimizer["param_groups"][0]["params"].__setitem__(0, 1),
    "a parameter too few": lambda optimizer: optimizer["param_groups"][0]["params"].pop(),
    "a group more": lambda optimizer: optimizer["param_groups"].append(
        optimizer["param_groups"][0]
    ),
    "groups of something": lambda optimizer: optimizer.__setitem__("param_groups", 5),
    "a rate that is no number": lambda optimizer: optimizer["param_groups"][0].__setitem__(
        "lr", "fast"
    ),
    "a rate that is not finite": lambda optimizer: optimizer["param_groups"][0].__setitem__(
        "lr", float("nan")
    ),
    "a state of something": lambda optimizer: optimizer.__setitem__("state", [1]),
}


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
@pytest.mark.parametrize("damage", DAMAGED_OPTIMIZERS)
def test_moments_that_do_not_fit_are_refused_in_one_line(network, damage):
    """torch's fused step reads and writes beyond the memory of some of them."""
    trainer = trainer_of(network)
    take_step(trainer, 0)
    state = copy.deepcopy(trainer.state({}))
    DAMAGED_OPTIMIZERS[damage](state.optimizer)
    with pytest.raises(InputError, match="checkpoint is damaged inside") as refused:
        trainer_of(network).restore(state)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 400


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
def test_options_of_the_optimiser_are_those_of_the_configuration(network, tmp_path):
    """Whatever a version of torch, or somebody, wrote into the checkpoint."""
    trainer, other = trainer_of(network), trainer_of(network)
    take_step(trainer, 0)
    state = copy.deepcopy(trainer.state({}))
    state.optimizer["param_groups"][0] |= {
        "fused": False,
        "amsgrad": True,
        "weight_decay": 3.0,
        "betas": (0, 0),
        "unknown": 1,
    }
    state.scheduler.update({"base_lrs": [9.0], "lr_lambdas": [5], "step": 3})
    other.restore(state)
    for one in (trainer, other):
        take_step(one, 1)
    for name in ("network", "optimizer", "scheduler"):
        assert_same(getattr(trainer.state({}), name), getattr(other.state({}), name), name)


ENDLESS: list = []
for _ in range(60):
    ENDLESS = [ENDLESS, ENDLESS]


@pytest.mark.parametrize("part", ["training_config", "network_config", "scheduler", "scaler"])
@pytest.mark.parametrize(
    "value",
    [ENDLESS, "x" * 10**6, 10**5000, torch.zeros(3), list(range(10**5))],
    ids=["endless", "long", "many digits", "a tensor", "many"],
)
def test_a_strange_configuration_in_a_checkpoint_is_refused_in_one_short_line(network, part, value):
    state = trainer_of(network).state({})
    state = dataclasses.replace(state, **{part: {**getattr(state, part), "strange": value}})
    with pytest.raises(InputError) as refused:
        trainer_of(network).restore(state)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 400


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
def test_a_checkpoint_of_weights_that_are_not_finite_is_not_written(network, tmp_path):
    trainer = trainer_of(network, average_decay=0.9)
    with torch.no_grad():
        trainer.final_network.decoder.pred.bias.fill_(float("inf"))
    with pytest.raises(
        InputError, match=r"not written, since module\.decoder\.pred\.bias is not finite"
    ):
        trainer.state({}).save(tmp_path / "state.pth")
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_beyond_the_end_of_the_training_is_refused(network, tmp_path):
    trainer = trainer_of(network, iterations=20)
    trainer.iteration = trainer.scheduler.last_epoch = 12
    with pytest.raises(
        InputError, match="of iteration 12, the training ends at 10: raise --iterations"
    ):
        trainer_of(network).restore(stored(trainer, tmp_path / "state.pth"))


def test_a_compiler_that_fails_is_one_line_and_other_errors_stay_what_they_are(
    network, batch, monkeypatch
):
    from torch._dynamo.exc import TorchDynamoException

    trainer = trainer_of(network)
    trainer.config = dataclasses.replace(trainer.config, compile=True)

    def failing(error: Exception):
        def rollout(*_: Any, **__: Any) -> None:
            raise error

        return rollout

    monkeypatch.setattr(
        trainer,
        "rollout",
        failing(
            TorchDynamoException("\nInvalidCxxCompiler: No working C++ compiler found\nmany lines")
        ),
    )
    with pytest.raises(
        InputError, match=r"^--compile: .*No working C\+\+ compiler found.*train without --compile$"
    ):
        trainer.forward(batch)
    monkeypatch.setattr(trainer, "rollout", failing(RuntimeError("of ours")))
    with pytest.raises(RuntimeError, match=r"^of ours$"):
        trainer.forward(batch)


def test_a_state_holds_no_pickled_code_and_copies_nothing_of_the_network_twice(
    network, batch, tmp_path
):
    trainer = trainer_of(network, average_decay=0.9)
    steps(trainer, batch, 1)
    trainer.state({"flags": {"steps": [1, 2], "lr": None}}).save(tmp_path / "state.pth")
    content = read(tmp_path / "state.pth")  # refuses pickled code
    assert content["record"]["flags"] == {"steps": [1, 2], "lr": None} and content["iteration"] == 1
    assert (
        content["training_config"]["stage"] == "3" and content["network_config"]["name"] == "tiny"
    )


# A loss that goes wrong


def first_trouble(losses: np.ndarray) -> int | None:
    """Number of the first iteration at which the monitor finds a problem, from 0."""
    monitor = LossMonitor()
    for iteration, loss in enumerate(torch.from_numpy(losses)):
        monitor.add(iteration, [loss])
    found = monitor.check()
    return None if found is None else found[0]


def noisy(means: np.ndarray, seed: int = 0) -> np.ndarray:
    """Losses as batches give them: log-normal about their means, a hard batch now and then four times as high."""
    random = np.random.default_rng(seed)
    return (
        means
        * random.lognormal(0, 0.5, len(means))
        * np.where(random.random(len(means)) < 0.02, 4.0, 1.0)
    )


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), float("-inf")])
def test_a_loss_that_is_no_number_is_trouble_at_once(loss):
    assert first_trouble(np.array([1.0, 0.9, loss])) == 2


@pytest.mark.parametrize("seed", range(5))
def test_a_training_that_learns_is_no_trouble(seed):
    falling = 0.05 + 2.2 * np.exp(-np.arange(3000) / 300)
    assert first_trouble(noisy(falling, seed)) is None


@pytest.mark.parametrize("seed", range(5))
def test_the_loss_that_rises_as_only_hard_pixels_count_is_no_trouble(seed):
    """Bootstrapping to 15 % of the pixels makes the same predictions cost up to 1 / 0.15 times as much."""
    learned = 0.05 + 2.2 * np.exp(-np.arange(6000) / 300)
    rising = learned / np.interp(np.arange(6000), [2000, 4000], [1.0, 0.15])
    assert rising[4000] / rising[2000] > 6
    assert first_trouble(noisy(rising, seed)) is None


@pytest.mark.parametrize("exploded", [10.0, 100.0, 1e6])
def test_an_exploding_loss_is_found_within_as_many_iterations_as_the_mean_is_of(exploded):
    losses = noisy(np.concatenate([np.full(500, 0.3), np.full(200, exploded)]))
    assert 500 <= first_trouble(losses) < 560


def test_one_bad_batch_is_no_trouble():
    losses = np.full(500, 0.3)
    losses[300] = 100.0
    assert first_trouble(losses) is None


def test_trouble_says_what_was_found():
    monitor = LossMonitor(window=2)
    found = []
    for iteration, loss in enumerate((1.0, 1.0, 50.0, float("nan"))):
        monitor.add(iteration, [torch.tensor(loss)])
        found.append(monitor.check())
    assert found[:2] == [None, None]
    assert found[2][0] == 2 and "explodes" in found[2][1]
    assert found[3] == (3, "the loss is nan")


def test_a_pretrained_encoder_keeps_its_statistics_learns_slower_and_its_frozen_stages_not_at_all():
    torch.manual_seed(0)
    network = build_network("tiny")
    parts = {
        "frozen": ("key_encoder.conv1", "key_encoder.bn1", "key_encoder.res2"),
        "frozen_norms": ("key_encoder",),
    }
    trainer = trainer_of(
        network,
        learn_batch_norms=True,
        slot_rates=SlotRates(key_encoder=0.25),
        optimizer="adamw",
        weight_decay=0.01,
        **parts,
    )
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert sorted(group["lr"] for group in trainer.optimizer.param_groups) == [0.25e-3, 1e-3]
    trainer.backward(trainer.forward(make_batch()).loss)
    trainer.step()
    moved = {
        name
        for name, value in trainer.network.state_dict().items()
        if not torch.equal(value, before[name])
    }
    assert not any(name.startswith(parts["frozen"]) for name in moved), (
        "nor does weight decay move them"
    )
    assert not any(name.startswith("key_encoder") and "running" in name for name in moved)
    assert {
        "key_encoder.layer2.0.conv1.weight",
        "key_encoder.layer2.0.bn1.weight",
        "value_encoder.bn1.running_mean",
    } <= moved


@pytest.mark.parametrize(
    ("setting", "names", "message"),
    [
        (
            "frozen",
            ("key_encoder", "backbone"),
            "frozen names 'backbone', which network tiny does not have; its modules are key_encoder, value_encoder",
        ),
        ("frozen_norms", ("",), "frozen_norms names ''"),
        (
            "frozen",
            ("key_encoder", "value_encoder", "key_proj", "key_comp", "decoder"),
            "no part of network tiny is left to train",
        ),
    ],
)
def test_modules_to_freeze_that_a_network_lacks_or_that_are_all_it_has_are_refused(
    setting, names, message
):
    with pytest.raises(InputError, match=message):
        trainer_of(build_network("tiny"), **{setting: names})
