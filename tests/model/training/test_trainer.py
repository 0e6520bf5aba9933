"""Trainers: gradients of a batch divided in any way, steps, averages, batch norms.

Legend: B batch, T frames, H W image size.
"""

import copy
import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from conftest import tiny_network
from torch import Tensor
from toy_training import (
    compute_gradients,
    take_steps,
    toy_batch,
    trainer_of,
    training_config,
)
from training_processes import assert_same, run_by_hand

from dataset.training.synthetic import make_clip
from inference import VideoSegmenter
from model import Rollout, build_network, load_network, save_weights
from model.training.losses import BootstrapConfig
from model.training.stages import SlotRates
from util.errors import InputError

# The bias moves queries and memory keys alike, so that distances do not change
MOVES_NOTHING = "key_proj.key_proj.bias"


BOOTSTRAPPED = BootstrapConfig(start_iteration=0, end_iteration=0, final_fraction=0.5)


@pytest.fixture
def batch() -> dict[str, Tensor]:
    return toy_batch()


@pytest.fixture
def double(monkeypatch) -> None:
    """Compute in double what the code converts to single precision."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)


def assert_close(ours: dict[str, Tensor], theirs: dict[str, Tensor], tolerance: float) -> None:
    """Compare the gradients of every parameter, relative to its norm.

    The parameter whose gradient is only rounding is compared relative to the whole gradient.
    """
    assert ours.keys() == theirs.keys()
    whole = float(torch.stack([gradient.norm() for gradient in theirs.values()]).norm())
    for name in ours:
        norm = whole if name == MOVES_NOTHING else float(theirs[name].norm())
        assert norm > 1e-6 * whole, name
        assert float((ours[name] - theirs[name]).norm()) <= tolerance * norm, name


# A batch in parts


@pytest.mark.parametrize("accumulate", [2, 4])
def test_accumulated_parts_have_the_gradients_of_the_whole_batch(
    network, batch, double, accumulate
):
    network = copy.deepcopy(network).double()
    whole = compute_gradients(trainer_of(network, bootstrap=BOOTSTRAPPED), batch)
    assert_close(
        compute_gradients(
            trainer_of(network, bootstrap=BOOTSTRAPPED, accumulate=accumulate), batch
        ),
        whole,
        1e-10,
    )


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
            samples = slice(first, first + size)
            share = {name: values[samples] for name, values in task["batch"].items()}
            trainer.backward(trainer.forward(share).loss)
        found[dtype, accumulate] = {
            name: parameter.grad.clone() for name, parameter in trainer.network.named_parameters()
        }
torch.save(found, f"gradients{rank()}.pth")
"""


@pytest.fixture(scope="module")
def divided(network, tmp_path_factory) -> list[dict[tuple[torch.dtype, int], dict[str, Tensor]]]:
    """The gradients of two processes with half the batch each, by (precision, parts)."""
    folder = tmp_path_factory.mktemp("divided")
    configs = {
        (dtype, accumulate): training_config(accumulate=accumulate)
        for dtype, accumulate in ((torch.float32, 1), (torch.float64, 1), (torch.float64, 2))
    }
    torch.save(
        {"configs": configs, "network": network.state_dict(), "batch": toy_batch()},
        folder / "task.pth",
    )
    ended = run_by_hand([folder] * 2, [("-c", GRADIENTS_OF_A_SHARE)] * 2)
    assert [process.code for process in ended] == [0, 0], ended
    return [torch.load(folder / f"gradients{rank}.pth", weights_only=False) for rank in (0, 1)]


@pytest.mark.parametrize("accumulate", [1, 2])
def test_two_processes_with_half_the_batch_have_the_gradients_of_one_with_all_of_it(
    network, batch, divided, double, accumulate
):
    whole = compute_gradients(trainer_of(copy.deepcopy(network).double()), batch)
    for process in divided:
        assert process[torch.float64, accumulate]["key_proj.key_proj.weight"].dtype == torch.float64
        assert_close(process[torch.float64, accumulate], whole, 1e-10)


def test_in_single_precision_two_processes_have_the_gradients_of_one_up_to_rounding(
    network, batch, divided
):
    whole = compute_gradients(trainer_of(network), batch)
    for process in divided:
        assert_close(process[torch.float32, 1], whole, 1e-5)


def test_recomputed_activations_give_the_same_gradients(network, batch, double):
    network = copy.deepcopy(network).double()
    kept = compute_gradients(trainer_of(network), batch)
    assert_close(
        compute_gradients(trainer_of(network, checkpoint_activations=True), batch), kept, 1e-12
    )


def test_checkpointed_activations_are_not_kept(network, batch):
    def bytes_for_backward(**changed: Any) -> int:
        sizes = {}

        def pack(tensor: Tensor) -> Tensor:
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        trainer = trainer_of(network, **changed)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            result = trainer.forward(batch)
        assert result.loss.requires_grad
        return sum(sizes.values())

    assert bytes_for_backward(checkpoint_activations=True) < 0.6 * bytes_for_backward()


# A step


def vector(network: torch.nn.Module) -> Tensor:
    """All parameters in one row."""
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
def test_gradients_above_the_norm_limit_are_scaled_down_to_it(network, batch):
    free, bounded = trainer_of(network), trainer_of(network, clip_gradient_norm=1e-3)
    for trainer in (free, bounded):
        trainer.optimizer = torch.optim.SGD(trainer.network.parameters(), lr=1.0)
    start = vector(network)
    moves = []
    for trainer in (free, bounded):
        take_steps(trainer, batch, 1)
        moves.append(start - vector(trainer.network))
    assert float(moves[0].norm()) > 1e-2 and float(moves[1].norm()) == pytest.approx(1e-3, rel=0.01)
    assert float(torch.nn.functional.cosine_similarity(*moves, dim=0)) > 0.999


def test_the_final_network_is_the_moving_average_of_the_weights(network, batch):
    trainer = trainer_of(network, average_decay=0.9, learn_batch_norms=True)
    expected = None
    for _ in range(3):
        take_steps(trainer, batch, 1)
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
@pytest.mark.parametrize("decay", [0.9, 0.997, 0.9995])
def test_averaged_weights_predict_the_same_when_loaded_from_their_file(tmp_path, made_clip, decay):
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
                samples = slice(2 * rank(), 2 * rank() + 2)
                share = {name: values[samples] for name, values in task["batch"].items()}
                trainer.backward(trainer.forward(share).loss)
            trainer.step()
        average = None if trainer.average is None else trainer.average.state_dict()
        content = trainer.network.state_dict(), average, trainer.rollout.broadcast_buffers
        torch.save(content, f"{name}{rank()}.pth")
"""


def test_trained_batch_norms_have_the_same_statistics_in_all_processes(network, batch, tmp_path):
    """The mean of all processes' statistics, so that each validates the network that is kept."""
    learning = training_config(learn_batch_norms=True, average_decay=0.9)
    configs = {"learning": learning, "frozen": training_config(average_decay=0.9)}
    torch.save(
        {"configs": configs, "network": network.state_dict(), "batch": toy_batch()},
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


def test_frozen_stages_and_norms_of_a_pretrained_encoder_do_not_change():
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
    trainer.backward(trainer.forward(toy_batch()).loss)
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


def test_the_rollout_gets_the_configured_reduction():
    rollout = trainer_of(build_network("tiny_remn"), reduce_frames=4, reduction_weight=0.25).rollout
    assert (rollout.config.reduce_frames, rollout.config.reduction_weight) == (4, 0.25)


def test_a_failing_compiler_is_an_input_error_and_other_errors_pass(network, batch, monkeypatch):
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


def test_published_stages_freeze_batch_norm_statistics_and_train_their_scale(network, batch):
    trainer = trainer_of(network)
    norm = trainer.network.key_encoder.bn1
    mean, weight = norm.running_mean.clone(), norm.weight.detach().clone()
    take_steps(trainer, batch, 1)
    assert torch.equal(norm.running_mean, mean) and not torch.equal(norm.weight, weight)


def test_training_lowers_the_loss_on_a_clip_that_is_repeated():
    torch.manual_seed(0)
    trainer = trainer_of(
        build_network("tiny"),
        batch_size=1,
        iterations=30,
        learning_rate=3e-3,
        optimizer="adamw",
        learn_batch_norms=True,
    )
    frames, labels = make_clip(5, frames=3, height=64, width=64, objects=1)
    sample = {
        "frames": torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2)))[None],
        "labels": torch.from_numpy(labels)[None],
        "num_objects": torch.tensor([1]),
    }
    losses = []
    for _ in range(30):
        result = trainer.forward(sample)
        losses.append(float(result.loss.detach()))
        trainer.backward(result.loss)
        trainer.step()
    assert losses[-1] < 0.6 * losses[0]
    assert isinstance(trainer.rollout, Rollout)
