"""From the flags of train.py to a training's configuration."""

import argparse
import dataclasses
import sys

import pytest
import torch
from training_processes import split_flags

from model import build_network
from model.checkpoint import StoredNetwork
from model.config import PRESETS, NetworkConfig, ReducerConfig
from model.training.arguments import resolve_config
from model.training.network_choice import resolve_network
from model.training.stages import STAGES, TrainingConfig
from model.training.start import load_start
from train import parse_arguments
from util.errors import InputError

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def parse(monkeypatch):
    """parse(flags) reads a command line with --stage 3."""

    def parse_here(flags: str = "") -> argparse.Namespace:
        words = split_flags("train.py --id run --stage 3", flags)
        monkeypatch.setattr(sys, "argv", words)
        return parse_arguments()

    return parse_here


def test_without_flags_the_stages_values_count(parse):
    assert resolve_config(parse(), CUDA) == STAGES["3"]


@pytest.mark.parametrize(
    ("flags", "name", "value"),
    [
        ("-b 4", "batch_size", 4),
        ("--lr 0.5", "learning_rate", 0.5),
        ("--steps 5 9", "steps", (5, 9)),
        ("--crop_area 0.25 1", "crop_area", (0.25, 1.0)),
        ("--mix video=0.5 synthetic=0.5", "mix", (("video", 0.5), ("synthetic", 0.5))),
        ("--average_decay 0", "average_decay", None),
        ("--learn_batch_norms", "learn_batch_norms", True),
        ("--no_amp", "amp", "off"),
        ("--set dice_weight=0.5", "dice_weight", 0.5),
    ],
)
def test_flags_change_the_stages_values(parse, flags, name, value):
    config = resolve_config(parse(flags), CUDA)
    assert getattr(config, name) == value


def test_mixed_precision_is_off_on_the_cpu_unless_asked_for(parse):
    assert resolve_config(parse(), CPU).amp == "off"
    assert resolve_config(parse("--amp bf16"), CPU).amp == "bf16"


def test_a_network_without_imagenet_weights_starts_from_scratch(parse):
    assert resolve_config(parse(), CPU).backbone_weights == ("imagenet",)
    assert resolve_config(parse("--network tiny"), CPU).backbone_weights == ("none",)


def test_an_unknown_network_is_refused_with_the_known_ones(parse):
    with pytest.raises(InputError, match="network 'best' is not known; choose one of stcn"):
        resolve_config(parse("--set network=best"), CPU)


def preset_with_floor(floor: float) -> NetworkConfig:
    reducer = ReducerConfig(floor=floor)
    return dataclasses.replace(PRESETS["tiny_remn"], reducer=reducer)


def test_settings_of_the_networks_modules_are_changed_by_their_names(parse):
    network = "--network tiny_remn --frames 7 --set reduce_frames=4"
    changed = "network.enhancer.window=5,1 network.reducer.policies=1 network.reducer.floor=0.2"
    arguments = parse(f"{network} {changed} network.fuser_attention=false")
    config = resolve_network(arguments, resolve_config(arguments, CPU))
    built = build_network(config)
    assert built.foreground_reinforcing.local.kernel_size == (5, 1)
    assert built.redundancy_reduction.factors == (2,)
    assert built.value_encoder.fuser.attention is None
    assert built.redundancy_reduction.gate.floor == 0.2
    # the weights that a training starts from decide what their names and shapes do not show
    arguments = parse(network)
    kept = resolve_network(arguments, resolve_config(arguments, CPU), preset_with_floor(0.2))
    assert kept.reducer.floor == 0.2
    start = StoredNetwork(build_network(kept).state_dict(), preset_with_floor(0.2))
    (line,) = load_start(build_network(kept), start, "start.pth")
    assert line == "start.pth: was trained with γ 0.2; this training continues with 0.2"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--network tiny --set network.enhancer.window=5,5", "are network.fuser_attention"),
        ("--network tiny_remn --set network.reducer.floor=0", "floor is 0.0; 1e-06 to 1"),
        ("--network tiny_remn --set network.reducer.policies=9", "policies is 9; 1 to 6"),
        ("--network tiny_remn --set network.enhancer.window=5", "2 values separated by commas"),
        ("--network tiny_remn --set network.key_channels=9", "are network.fuser_attention"),
        ("--network tiny_pcvos --set network.refiner.window=2,2,2", "network.refiner.key_channels"),
    ],
)
def test_settings_that_a_network_does_not_have_or_allow_are_refused(parse, flags, words):
    with pytest.raises(InputError, match=words):
        resolve_network(parse(flags), resolve_config(parse(flags), CPU))


def test_flags_for_the_network_come_before_the_weights_it_starts_from(parse):
    config: TrainingConfig = resolve_config(parse("--network tiny"), CPU)
    start = resolve_network(parse("--network tiny --similarity dot"), config)
    assert start.similarity == "dot" and PRESETS["tiny"].similarity == "l2"
    assert resolve_network(parse("--network tiny"), config, start).similarity == "dot"
    cosine = parse("--network tiny --similarity cosine")
    assert resolve_network(cosine, config, start).similarity == "cosine"
