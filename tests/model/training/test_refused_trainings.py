"""Settings that a network cannot be trained with, and the words of the line that refuses them."""

import dataclasses

import pytest
from toy_training import rollout_of, toy_batch, trainer_of, training_config

from model import build_network
from model.training.stages import TrainingConfig
from util.errors import InputError

ALL_MODULES = ("key_encoder", "value_encoder", "key_proj", "key_comp", "decoder")


@pytest.mark.parametrize(
    ("network", "settings", "words"),
    [
        ("tiny", {"reduce_frames": 4}, "tiny has no redundancy reduction"),
        (
            "tiny_remn",
            {"clip_frames": 3, "reduce_frames": 4},
            "tiny_remn: foreground reinforcing goes frame by frame; clip_frames is 3",
        ),
        ("tiny_remn", {}, "reduce_frames is None, it must be a multiple of 4"),
        ("tiny_remn", {"reduce_frames": 3}, "reduce_frames is 3, it must be a multiple of 4"),
        ("tiny_remn", {"reduce_frames": 6}, "reduce_frames is 6, it must be a multiple of 4"),
        (
            "tiny",
            {"checkpoint_activations": True, "learn_batch_norms": True},
            "checkpoint_activations.*--no-learn_batch_norms",
        ),
        (
            "tiny",
            {"frozen": ("key_encoder", "backbone")},
            "frozen names 'backbone', which network tiny does not have; "
            "its modules are key_encoder, value_encoder",
        ),
        ("tiny", {"frozen_norms": ("",)}, "frozen_norms names ''"),
        ("tiny", {"frozen": ALL_MODULES}, "no part of network tiny is left to train"),
    ],
)
def test_settings_that_do_not_suit_the_network_are_refused(network, settings, words):
    with pytest.raises(InputError, match=words):
        trainer_of(build_network(network), **settings)


@pytest.mark.parametrize(
    ("network", "frames", "settings", "words"),
    [
        (
            "tiny",
            3,
            {"clip_frames": 3},
            r"3 frames a sample \(--frames\), clips of 3 \(--clip_frames\): .*7 frames make two",
        ),
        (
            "tiny_remn",
            5,
            {"reduce_frames": 4},
            r"5 frames a sample.*reduce_frames 4: .*never read; 6 frames or more are needed",
        ),
    ],
)
def test_samples_with_too_few_frames_are_refused(network, frames, settings, words):
    with pytest.raises(InputError, match=words):
        rollout_of(build_network(network), **settings)(*toy_batch(frames).values())


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("batch_size", 0, "batch_size is 0; it must be at least 1"),
        ("iterations", 2**31, "iterations is 2147483648; .*below 2,147,483,648"),
        ("seed", -(10**400), "seed is -1000"),
        ("crop_size", 8, "crop_size is 8; it must be a multiple of 16, at least 16"),
        ("learning_rate", 0.0, "learning_rate is 0.0; it must be above 0"),
        ("learning_rate", float("inf"), "learning_rate is inf"),
        ("gamma", float("nan"), "gamma is nan; it must be above 0 and at most 1"),
        ("average_decay", 1.0, "average_decay is 1.0; it must be above 0 and below 1"),
        ("max_skip", -1, "max_skip is -1; it must be at least 0"),
        ("crop_area", (0.5, 0.25), "crop_area is 0.5 to 0.25"),
    ],
)
def test_values_out_of_their_range_are_refused(name, value, words):
    with pytest.raises(InputError, match=words) as refused:
        training_config(**{name: value}).check()
    assert "\n" not in str(refused.value)


def test_nested_values_out_of_their_range_are_refused_by_their_full_name():
    config = training_config()
    bootstrap = dataclasses.replace(config.bootstrap, final_fraction=0.0)
    with pytest.raises(InputError, match=r"bootstrap\.final_fraction is 0\.0; it must be above 0"):
        dataclasses.replace(config, bootstrap=bootstrap).check()


def test_optional_values_may_be_absent():
    config: TrainingConfig = training_config(average_decay=None, max_skip=None)
    config.check()
