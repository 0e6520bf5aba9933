"""The systems, side by side: rows of one table. Every setting of a run has its name here."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal

from inference.memory import POLICIES, SAMPLINGS, MemoryConfig, ReadingConfig
from util.errors import InputError
from util.ranges import bounded, check_ranges
from util.settings import with_setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class SystemConfig:
    """One system: how it runs a network, and its shipped weights.

    The defaults are STCN's (STCN, section 4).
    """

    name: str
    memory: MemoryConfig = dataclasses.field(default_factory=MemoryConfig)
    clip_length: int = bounded(1, at_least=1)  # frames predicted together between memory writes
    # refine the readouts of a clip's frames together; the network needs the slot
    refine: bool = False
    # enhance the query of a frame by the masks of the previous one; the network needs the slot
    enhance: bool = False
    top_k: int = bounded(20, at_least=1)
    reading: ReadingConfig = dataclasses.field(default_factory=ReadingConfig)
    resolution: int = -1  # shorter side that frames are resized to, in pixels; -1: as stored
    amp: bool = False  # mixed precision
    # the type used in mixed precision; auto: fp16 on CUDA, bf16 elsewhere
    amp_dtype: Literal["auto", "fp16", "bf16"] = "auto"
    # float32 convolutions and products in TF32 on CUDA: faster, slightly less exact
    tf32: bool = False
    # in weights/: the small network that runs if no checkpoint is given
    shipped_weights: str = "stcn_lite0.pth"

    @property
    def frame_by_frame(self) -> bool:
        """Whether each frame needs the masks of the one before, so that none can be batched."""
        return self.enhance

    @property
    def needs_every_frame(self) -> bool:
        """Whether frames whose results are not wanted change those that are.

        They do by their masks, or as members of a clip that is refined or matched together.
        """
        joint_clips = self.refine or self.memory.progressive_frames > 0
        return self.enhance or (self.clip_length > 1 and joint_clips)

    @property
    def writes_by_count(self) -> bool:
        """Whether memory.write_every_frames schedules the writes, not clips or masks."""
        return self.clip_length == 1 and self.memory.sampling == "every"

    @property
    def slots(self) -> dict[str, str]:
        """The slots of a network (model.network.SLOTS) that are used, each with the setting that
        turns it off."""
        used = {
            "refiner": self.refine and "refine=false",
            "enhancer": self.enhance and "enhance=false",
            POLICIES[self.memory.policy].slot: "memory.policy=every-k",
        }
        return {slot: setting for slot, setting in used.items() if slot and setting}

    def as_dict(self) -> dict[str, Any]:
        """What a result depends on, as plain values."""
        values = dataclasses.asdict(self)
        del values["shipped_weights"]
        return values


SYSTEMS: dict[str, SystemConfig] = {
    config.name: config
    for config in (
        SystemConfig(name="stcn"),
        # adaptive memory management; published with 2 frames, 4 are the best trade-off there
        SystemConfig(name="lfu", memory=MemoryConfig(policy="lfu", capacity_frames=4)),
        # PCVOS, section 4
        SystemConfig(
            name="pcvos",
            clip_length=5,
            refine=True,
            memory=MemoryConfig(segment_frames=5),
            shipped_weights="pcvos_lite0.pth",
        ),
        SystemConfig(
            name="remn",
            enhance=True,
            memory=MemoryConfig(policy="redundancy", sampling="adaptive", capacity_frames=12),
            shipped_weights="remn_lite0.pth",
        ),
    )
}

MAX_WORKING_PIXELS = 1 << 25  # a frame of 8K UHD has about as many
_MIN_RESOLUTION, _MAX_RESOLUTION = 16, math.isqrt(MAX_WORKING_PIXELS)
_FIXED = ("name", "shipped_weights")
# settings of adaptive sampling alone
_ADAPTIVE = (
    "memory.sampling_measure",
    "memory.sampling_threshold",
    "memory.min_gap_frames",
    "memory.max_gap_frames",
)

# short names of settings: the flags of the command line and the keywords of VideoSegmenter
SHORT_NAMES = {
    "mem_every": "memory.write_every_frames",
    "include_last": "memory.include_last",
    "memory": "memory.policy",
    "memory_frames": "memory.capacity_frames",
    "max_memory_mb": "memory.max_megabytes",
    "permanent_memory": "memory.permanent",
    "sampling": "memory.sampling",
    "top_k": "top_k",
    "clip_length": "clip_length",
    "resolution": "resolution",
    "amp": "amp",
    "tf32": "tf32",
}


def system_config(system: str, **overrides: Any) -> SystemConfig:
    """The settings of a system with some of them changed, checked and resolved.

    overrides: by short names (mem_every=3, memory="first-and-latest", top_k=50) or full ones
    ("memory.write_every_frames"); values may be texts, as from a command line.
    Raises InputError for an unknown system or setting (listing the valid ones), a value of the
    wrong type or out of range, and settings that contradict one another.
    """
    if system not in SYSTEMS:
        raise InputError(f"system {system!r} is not known; choose one of {', '.join(SYSTEMS)}")
    config = SYSTEMS[system]
    given = {SHORT_NAMES.get(name, name): value for name, value in overrides.items()}
    for name, value in given.items():
        config = with_setting(config, name, value, fixed=_FIXED)
    _check_values(config)
    config = _with_clip_schedule(config, given)
    memory = _with_bound(_with_sampling(config.memory, given), given)
    POLICIES[memory.policy](memory)  # raises InputError for settings that the policy does not take
    return dataclasses.replace(config, memory=memory)


def check_resolution(resolution: int) -> None:
    """Raise InputError for a working resolution that is too small, or too large for any frame.

    For frames of a given shape, `Geometry.of` checks it.
    """
    if resolution == -1 or _MIN_RESOLUTION <= resolution <= _MAX_RESOLUTION:
        return
    too_small = resolution < _MIN_RESOLUTION
    bound = f"at least {_MIN_RESOLUTION}" if too_small else f"at most {_MAX_RESOLUTION}"
    raise InputError(
        f"resolution is {resolution}; it is the shorter side in pixels, {bound}, or -1 for frames"
        " as stored"
    )


def _check_values(config: SystemConfig) -> None:
    """Check each value by itself, and those that bound one another."""
    memory = config.memory
    for name, value, table in (
        ("memory", memory.policy, POLICIES),
        ("sampling", memory.sampling, SAMPLINGS),
    ):
        if value not in table:
            raise InputError(f"{name} {value!r} is not known; choose one of {', '.join(table)}")
    check_ranges(config)
    check_resolution(config.resolution)
    if memory.max_gap_frames < memory.min_gap_frames:
        raise InputError(
            f"memory.max_gap_frames is {memory.max_gap_frames}, less than memory.min_gap_frames,"
            f" {memory.min_gap_frames}"
        )
    if config.frame_by_frame and config.clip_length > 1:
        raise InputError(
            f"clip_length is {config.clip_length}, but enhancing queries by the previous masks"
            " works frame by frame: leave clips out, or the enhancement (enhance=false)"
        )


def _with_clip_schedule(config: SystemConfig, given: Mapping[str, Any]) -> SystemConfig:
    """With the schedule of a clip system, whose memory is written once per clip."""
    if config.clip_length == 1:
        return config
    every = config.memory.write_every_frames
    if given.get("memory.write_every_frames") is not None and every != config.clip_length:
        raise InputError(
            f"mem_every is {every} and clip_length {config.clip_length}; a clip system's memory is"
            " written once per clip: give one of them, or the same number"
        )
    return with_setting(config, "memory.write_every_frames", config.clip_length)


def _with_sampling(memory: MemoryConfig, given: Mapping[str, Any]) -> MemoryConfig:
    """With the sampling that holds: the system's own is only for policies that sample."""
    if not POLICIES[memory.policy].samples and "memory.sampling" not in given:
        memory = dataclasses.replace(memory, sampling="every")
    unused = [name for name in _ADAPTIVE if given.get(name) is not None]
    if memory.sampling == "every" and unused:
        raise InputError(
            f"{unused[0]} is {given[unused[0]]}, but sampling every counts frames and does not look"
            " at masks: leave it out, or give sampling adaptive"
        )
    if memory.sampling != "every" and given.get("memory.write_every_frames") is not None:
        raise InputError(
            f"mem_every is {memory.write_every_frames}, but sampling {memory.sampling} decides by"
            " the masks, not by count: leave it out, or give sampling every"
        )
    return memory


def _with_bound(memory: MemoryConfig, given: Mapping[str, Any]) -> MemoryConfig:
    """With the bound that holds: the one given, or else the system's, or else the policy's own."""
    bounds = {
        "memory.capacity_frames": memory.capacity_frames,
        "memory.max_megabytes": memory.max_megabytes,
        "memory.protect_annotated": memory.protect_annotated or None,
    }
    asked_for = [name for name, value in bounds.items() if name in given and value is not None]
    default_frames = POLICIES[memory.policy].default_capacity_frames
    if default_frames is None:
        if asked_for:
            bounded_policies = [
                name
                for name, policy in POLICIES.items()
                if policy.default_capacity_frames is not None
            ]
            raise InputError(
                f"{_short_name(asked_for[0])}: memory {memory.policy} has no bound to set; leave it"
                f" out, or choose memory {', '.join(bounded_policies)}"
            )
        return dataclasses.replace(
            memory, capacity_frames=None, max_megabytes=None, protect_annotated=False
        )
    if {"memory.capacity_frames", "memory.max_megabytes"} <= set(asked_for):
        raise InputError(
            f"memory_frames is {memory.capacity_frames} and max_memory_mb"
            f" {memory.max_megabytes:g}; give one of them"
        )
    frames = None if memory.max_megabytes else memory.capacity_frames or default_frames
    return dataclasses.replace(memory, capacity_frames=frames)


def _short_name(full_name: str) -> str:
    return next((short for short, full in SHORT_NAMES.items() if full == full_name), full_name)
