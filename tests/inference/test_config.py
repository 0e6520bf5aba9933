"""Settings of systems: short and full names, types, ranges, and what is refused."""

import pytest
import torch

from inference import SYSTEMS, system_config
from inference.config import SHORT_NAMES
from util.errors import InputError
from util.settings import setting_names


@pytest.mark.parametrize("system", list(SYSTEMS))
def test_every_system_holds_without_overrides_and_knows_its_name(system):
    assert system_config(system) == SYSTEMS[system]
    assert SYSTEMS[system].name == system
    assert SYSTEMS[system].as_dict()["memory"]["policy"] == SYSTEMS[system].memory.policy


def test_short_and_full_names_and_texts_mean_the_same():
    assert system_config("stcn", mem_every=3) == system_config(
        "stcn", **{"memory.write_every_frames": "3"}
    )
    assert system_config("stcn", include_last=True) == system_config("stcn", include_last="yes")
    assert system_config("stcn", memory="first-and-latest").memory.policy == "first-and-latest"
    assert system_config("stcn", top_k=50, resolution=480, amp=True).as_dict()["top_k"] == 50


def test_short_names_lead_to_settings_that_are_there():
    assert set(SHORT_NAMES.values()) <= set(setting_names(SYSTEMS["stcn"]))


def test_the_table_of_systems_is_not_changed_by_overrides():
    system_config("stcn", mem_every=9)
    assert SYSTEMS["stcn"].memory.write_every_frames == 5


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"memory_size": 4}, "memory_size.*memory.write_every_frames.*top_k"),
        ({"memory.capacity": 4}, "memory.capacity.*memory.policy"),
        ({"name": "mine"}, "'name'"),
        ({"name.x": "mine"}, "name.x"),
        ({"top_k.x": 3}, "top_k.x"),
        ({"mem_every": 0}, "at least 1"),
        ({"top_k": 0}, "at least 1"),
        ({"top_k": -5}, "at least 1"),
        ({"clip_length": 0}, "clip_length is 0; it must be at least 1"),
        ({"memory.segment_frames": 0}, "memory.segment_frames is 0; it must be at least 1"),
        ({"resolution": 0}, "at least 16"),
        ({"resolution": 15}, "at least 16"),
        ({"mem_every": "five"}, "whole number"),
        ({"mem_every": 2.5}, "whole number"),
        ({"mem_every": True}, "whole number"),
        ({"amp": "maybe"}, "true or false"),
        ({"amp": 1}, "true or false"),
        ({"memory": "lru"}, "lru.*every-k, first-and-latest"),
        ({"memory": "first-and-latest", "include_last": True}, "holds the last frame already"),
        ({"clip_length": 5, "mem_every": 3}, "mem_every is 3 and clip_length 5"),
    ],
)
def test_settings_that_cannot_hold_are_refused_in_one_line(overrides, message):
    with pytest.raises(InputError, match=message) as refusal:
        system_config("stcn", **overrides)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", ["mem_every", "top_k", "clip_length"])
def test_a_count_beyond_any_video_means_never_or_all_and_is_taken(name):
    config = system_config("stcn", **{name: 10**10})
    assert 10**10 in (config.memory.write_every_frames, config.top_k)


@pytest.mark.parametrize("seed", [-(2**63), -5, 10**11, 2**64 - 1])
def test_every_seed_that_torch_takes_is_a_seed_of_the_random_memory(seed):
    memory = system_config("stcn", memory="random", **{"memory.seed": seed}).memory
    assert torch.Generator().manual_seed(memory.seed).initial_seed() == seed % 2**64


def test_an_unknown_system_is_refused_with_the_valid_ones():
    with pytest.raises(InputError, match=r"xmem.*stcn"):
        system_config("xmem")


def test_a_clip_system_updates_its_memory_once_a_clip():
    assert system_config("stcn", clip_length=8).memory.write_every_frames == 8
    assert system_config("stcn", clip_length=8, mem_every=8).memory.write_every_frames == 8
    assert system_config("pcvos").memory.write_every_frames == 5
    assert system_config("pcvos", clip_length=25).memory.write_every_frames == 25


def test_progressive_matching_is_turned_off_by_none():
    assert system_config("pcvos").memory.segment_frames == 5
    assert system_config("pcvos", **{"memory.segment_frames": "none"}).memory.segment_frames is None
