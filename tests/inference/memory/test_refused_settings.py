"""Settings of the memory that are refused: what is given, and the words that matter."""

import pytest

from inference import MemoryConfig, system_config
from inference.memory import POLICIES
from util.errors import InputError

REFUSED = [
    # out of range, or not known
    ("stcn", {"mem_every": 0}, "memory.write_every_frames is 0.*at least 1"),
    ("stcn", {"memory.segment_frames": 0}, "memory.segment_frames is 0.*at least 1"),
    ("lfu", {"memory_frames": 0}, "memory.capacity_frames is 0.*at least 1"),
    ("lfu", {"max_memory_mb": 0}, "memory.max_megabytes is 0.*above 0"),
    ("lfu", {"max_memory_mb": "nan"}, "memory.max_megabytes is nan.*above 0"),
    ("remn", {"memory.min_gap_frames": 0}, "memory.min_gap_frames is 0"),
    ("remn", {"memory.sampling_threshold": -1}, "memory.sampling_threshold is -1"),
    ("remn", {"memory.sampling_measure": "area"}, "memory.sampling_measure.*largest.*in-place"),
    ("stcn", {"memory.sampling_measure": "shape"}, "give sampling adaptive"),
    ("stcn", {"memory": "random", "memory.seed": 2**70}, "memory.seed is"),
    ("lfu", {"memory": "lru"}, "lru.*every-k, first-and-latest, lfu"),
    ("lfu", {"sampling": "never"}, "never.*every"),
    ("stcn", {"sampling": "often"}, "sampling 'often' is not known; choose one of every, adaptive"),
    # a bound that does not hold
    ("stcn", {"memory_frames": 4}, "every-k has no bound to set.*lfu, lfu-weight.*fifo.*random"),
    (
        "lfu",
        {"memory": "first-and-latest", "max_memory_mb": 4},
        "max_memory_mb: memory first-and-latest has no bound",
    ),
    (
        "stcn",
        {"memory.protect_annotated": True},
        "memory.protect_annotated: .*every-k has no bound",
    ),
    ("lfu", {"memory_frames": 1, "memory.protect_annotated": True}, "at least 2 frames"),
    (
        "lfu",
        {"memory_frames": 2, "max_memory_mb": 9},
        "memory_frames is 2.*max_memory_mb 9.*one of",
    ),
    ("remn", {"max_memory_mb": 50}, "memory redundancy is bounded in frames"),
    ("remn", {"memory.protect_annotated": True}, "memory redundancy is bounded in frames"),
    ("lfu", {"memory.exempt_joins": False}, "memory lfu merges no frames.*memory redundancy"),
    # sampling by count and by masks
    ("stcn", {"mem_every": 3, "sampling": "adaptive"}, "mem_every is 3.*sampling adaptive.*masks"),
    (
        "remn",
        {"memory.max_gap_frames": 2, "memory.min_gap_frames": 4},
        "memory.max_gap_frames is 2, less than memory.min_gap_frames, 4",
    ),
    (
        "stcn",
        {"memory.sampling_threshold": 0.3},
        "memory.sampling_threshold is 0.3, but sampling every.*give sampling adaptive",
    ),
    ("remn", {"sampling": "every", "memory.sampling_threshold": 0.3}, "give sampling adaptive"),
    (
        "remn",
        {"memory": "first-and-latest", "memory.sampling_threshold": 0.3},
        "give sampling adaptive",
    ),
    (
        "stcn",
        {"memory": "first-and-latest", "sampling": "adaptive"},
        "first-and-latest writes every frame",
    ),
    (
        "stcn",
        {"memory": "first-and-latest", "include_last": True},
        "holds the last frame already",
    ),
]


@pytest.mark.parametrize(("system", "overrides", "words"), REFUSED)
def test_settings_of_the_memory_that_cannot_hold_are_refused_in_one_line(system, overrides, words):
    with pytest.raises(InputError, match=words) as refusal:
        system_config(system, **overrides)
    assert "\n" not in str(refusal.value)


def test_a_policy_that_is_created_directly_refuses_settings_that_it_does_not_take():
    with pytest.raises(InputError, match="holds the last frame already"):
        POLICIES["first-and-latest"](MemoryConfig(policy="first-and-latest", include_last=True))
