"""Flags of the eval scripts become settings, which are resolved once and passed on as a value."""

import pytest
from conftest import tiny_network

from inference import VideoSegmenter, system_config
from inference.config import SystemConfig
from inference.flags import evaluation_parser, resolve_settings

DEFAULTS = {"resolution": 480, "mem_every": 3}  # of a data set


def settings_of(*flags: str) -> SystemConfig:
    parser = evaluation_parser("eval_test.py", "A test.")
    return resolve_settings(parser.parse_args(["--output", "out", *flags]), DEFAULTS)


def test_flags_come_before_the_defaults_of_a_data_set_and_these_before_the_systems():
    assert settings_of() == system_config("stcn", resolution=480, mem_every=3)
    flags = ["--mem_every", "7", "--set", "resolution=-1", "memory.include_last=true"]
    expected = system_config("stcn", mem_every=7, resolution=-1, include_last=True)
    assert settings_of(*flags) == expected


@pytest.mark.parametrize("flags", [["--system", "pcvos"], ["--system", "remn"]])
def test_a_distance_between_writes_is_no_default_if_clips_or_masks_decide(flags):
    assert settings_of(*flags) == system_config(flags[1], resolution=480)


def test_a_segmenter_takes_resolved_settings_unchanged():
    config = settings_of("--top_k", "5")
    segmenter = VideoSegmenter(tiny_network(), config, device="cpu")
    assert segmenter.config is config
    with pytest.raises(ValueError, match="resolved settings take none"):
        VideoSegmenter(tiny_network(), config, device="cpu", top_k=6)
