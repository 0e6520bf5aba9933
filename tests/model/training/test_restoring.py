"""Checkpoints of a trainer: resuming takes the same steps, and what does not fit is refused."""

import copy
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from toy_training import step_with_gradients, take_steps, toy_batch, trainer_of
from training_processes import assert_same, read

from model import VOSNetwork, build_network
from model.config import PRESETS
from model.training.checkpoints import TrainingState
from model.training.losses import BootstrapConfig
from model.training.trainer import Trainer
from util.errors import InputError

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


BOOTSTRAPPED = BootstrapConfig(start_iteration=0, end_iteration=0, final_fraction=0.5)


@pytest.fixture
def batch() -> dict[str, Tensor]:
    return toy_batch()


def stored(trainer: Trainer, path: Path) -> TrainingState:
    """The trainer's state, written and read."""
    trainer.state({"flags": {}}).save(path)
    return TrainingState.from_checkpoint(path)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_trainer_restored_from_a_file_takes_the_same_steps(network, batch, tmp_path, recipe):
    whole = trainer_of(network, **RECIPES[recipe])
    take_steps(whole, batch, 3)
    parts = trainer_of(build_network("tiny"), **RECIPES[recipe])
    parts.restore(stored(whole, tmp_path / "state.pth"))
    for trainer in (whole, parts):
        take_steps(trainer, batch, 3)
    assert parts.iteration == 6
    for name in ("network", "average", "optimizer", "scheduler", "scaler"):
        assert_same(getattr(whole.state({}), name), getattr(parts.state({}), name), name)


def in_format(network: VOSNetwork, memory_format: torch.memory_format, **changed: Any) -> Trainer:
    trainer = trainer_of(network, **changed)
    trainer.network.to(memory_format=memory_format)
    return trainer


FORMATS = {"contiguous": torch.contiguous_format, "channels last": torch.channels_last}


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
@pytest.mark.parametrize(
    "recipe",
    [{}, {"optimizer": "adamw", "average_decay": 0.9, "schedule": "cosine"}],
    ids=["adam", "adamw"],
)
@pytest.mark.parametrize("start", FORMATS)
def test_resuming_in_another_memory_format_and_back_takes_the_same_steps(
    network, tmp_path, start, recipe
):
    """Otherwise the moments of a convolution are taken for those of other weights of it."""
    there, elsewhere = FORMATS[start], next(kind for name, kind in FORMATS.items() if name != start)
    whole = in_format(network, there, **recipe)
    for number in range(6):
        step_with_gradients(whole, number)
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
        step_with_gradients(moved, number)
    for name in ("network", "average", "optimizer"):
        assert_same(getattr(whole.state({}), name), getattr(moved.state({}), name), name)


def test_the_scale_of_half_precision_gradients_is_restored(network, tmp_path):
    whole, parts = (trainer_of(network, amp="fp16") for _ in range(2))
    whole.scaler.load_state_dict(
        {**whole.scaler.state_dict(), "scale": 1024.0, "_growth_tracker": 7}
    )
    parts.restore(stored(whole, tmp_path / "state.pth"))
    assert (
        parts.scaler.state_dict() == whole.scaler.state_dict()
        and parts.scaler.get_scale() == 1024.0
    )


def test_run_length_and_speed_options_may_change_on_resume(network, tmp_path):
    state = stored(trainer_of(network), tmp_path / "state.pth")
    trainer_of(network, iterations=20, checkpoint_activations=True, amp="bf16").restore(state)


def test_a_setting_that_an_older_checkpoint_lacks_has_its_default(network, tmp_path):
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


def test_a_nested_setting_that_an_older_checkpoint_lacks_has_its_default(network, tmp_path):
    state = stored(trainer_of(network), tmp_path / "state.pth")
    rates = {
        name: value
        for name, value in state.training_config["slot_rates"].items()
        if name != "reducer"
    }
    trainer_of(network).restore(
        dataclasses.replace(state, training_config={**state.training_config, "slot_rates": rates})
    )


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
def test_options_of_the_optimiser_come_from_the_configuration(network, tmp_path):
    """Whatever a version of torch, or somebody, wrote into the checkpoint."""
    trainer, other = trainer_of(network), trainer_of(network)
    step_with_gradients(trainer, 0)
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
        step_with_gradients(one, 1)
    for name in ("network", "optimizer", "scheduler"):
        assert_same(getattr(trainer.state({}), name), getattr(other.state({}), name), name)


def test_a_checkpoint_holds_no_pickled_code(network, batch, tmp_path):
    trainer = trainer_of(network, average_decay=0.9)
    take_steps(trainer, batch, 1)
    trainer.state({"flags": {"steps": [1, 2], "lr": None}}).save(tmp_path / "state.pth")
    content = read(tmp_path / "state.pth")  # refuses pickled code
    assert content["record"]["flags"] == {"steps": [1, 2], "lr": None} and content["iteration"] == 1
    assert (
        content["training_config"]["stage"] == "3" and content["network_config"]["name"] == "tiny"
    )


# Checkpoints that are refused


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
def test_a_checkpoint_with_other_settings_is_refused_by_their_names(
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
def test_a_checkpoint_of_another_network_is_refused_by_the_difference(network, tmp_path, changed):
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


def test_a_checkpoint_beyond_the_end_of_the_training_is_refused(network, tmp_path):
    trainer = trainer_of(network, iterations=20)
    trainer.iteration = trainer.scheduler.last_epoch = 12
    with pytest.raises(
        InputError, match="of iteration 12, the training ends at 10: raise --iterations"
    ):
        trainer_of(network).restore(stored(trainer, tmp_path / "state.pth"))


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
    step_with_gradients(trainer, 0)
    state = copy.deepcopy(trainer.state({}))
    DAMAGED_OPTIMIZERS[damage](state.optimizer)
    with pytest.raises(InputError, match="checkpoint is damaged inside") as refused:
        trainer_of(network).restore(state)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 400


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
