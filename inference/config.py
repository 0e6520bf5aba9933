"""The systems, side by side: rows of one table. Everything a run can change has its name here."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal

from util.errors import InputError
from util.settings import with_setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class MemoryConfig:
    """What is remembered of a video. `policy` names a row of inference.memory.POLICIES, `sampling` one of inference.memory.SAMPLINGS."""

    policy: str = "every-k"
    sampling: str = "every"  # which predicted frames are written
    sampling_threshold: float = 0.45  # of adaptive sampling: how much masks must differ
    min_gap_frames: int = 1  # of the same: frames from one written to the next, at least,
    max_gap_frames: int = 25  # and at most
    write_every_frames: int = 5
    include_last: bool = False  # also hold the previous frame, which the next write replaces
    segment_frames: int | None = (
        None  # progressive matching: a clip reads its own frames too, after every so many of them; None: the memory alone
    )
    capacity_frames: int | None = (
        None  # of policies with a bounded memory: how many frames' worth of elements it holds
    )
    max_megabytes: float | None = (
        None  # of the same: how many 10^6 bytes it takes, instead of capacity_frames
    )
    protect_annotated: bool = False  # of the same: what was written with a given mask goes last
    seed: int = 0  # of memory random: what decides which elements go

    @property
    def progressive_frames(self) -> int:
        """How many of a clip's frames are in memory beside the others while it lasts; it is as long as writes are apart."""
        return (
            0
            if self.segment_frames is None
            else (self.write_every_frames - 1) // self.segment_frames
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class SystemConfig:
    """One system: which network it was published with, and how it runs. The defaults are STCN's (section 4)."""

    name: str
    memory: MemoryConfig = MemoryConfig()
    clip_length: int = 1  # frames predicted together before the memory is updated
    refine: bool = False  # refine the readouts of a clip's frames together, which takes a network that has learned to
    enhance: bool = False  # enhance each frame's query by the previous frame's masks, which takes a network that has learned to
    top_k: int = 20
    resolution: int = -1  # the shorter side frames are resized to, in pixels; -1: as they are
    amp: bool = False  # mixed precision
    amp_dtype: Literal["auto", "fp16", "bf16"] = (
        "auto"  # of mixed precision; auto: fp16 on CUDA, bf16 elsewhere
    )
    tf32: bool = (
        False  # float32 convolutions and products in TF32 on CUDA: faster, a little less exact
    )
    shipped_weights: str = (
        "stcn_lite0.pth"  # in weights/: the small network that runs where no checkpoint is named
    )

    @property
    def frame_by_frame(self) -> bool:
        """Each frame needs the masks of the one before: frames cannot be computed as one batch."""
        return self.enhance

    @property
    def needs_every_frame(self) -> bool:
        """Frames whose results nobody wants change those that are wanted: by their masks, or as members of a clip whose frames are refined or matched together."""
        return self.enhance or (
            self.clip_length > 1 and (self.refine or self.memory.progressive_frames > 0)
        )

    @property
    def writes_by_count(self) -> bool:
        """memory.write_every_frames says when frames are written: not clips, and not the masks."""
        return self.clip_length == 1 and self.memory.sampling == "every"

    @property
    def slots(self) -> dict[str, str]:
        """The slots of a network (model.network.SLOTS) that are used, each with the setting that leaves it out."""
        from inference.memory import POLICIES  # this table needs MemoryConfig first

        used = {
            "refiner": self.refine and "refine=false",
            "enhancer": self.enhance and "enhance=false",
            POLICIES[self.memory.policy].slot: "memory.policy=every-k",
        }
        return {slot: setting for slot, setting in used.items() if slot and setting}

    def as_dict(self) -> dict[str, Any]:
        """Plain values only, of what a result depends on."""
        return {
            name: value
            for name, value in dataclasses.asdict(self).items()
            if name != "shipped_weights"
        }


SYSTEMS: dict[str, SystemConfig] = {
    config.name: config
    for config in (
        SystemConfig(name="stcn"),
        # adaptive memory management; the published bank holds 2 frames, the best trade found there is 4
        SystemConfig(name="lfu", memory=MemoryConfig(policy="lfu", capacity_frames=4)),
        SystemConfig(
            name="pcvos",
            clip_length=5,
            refine=True,
            memory=MemoryConfig(segment_frames=5),
            shipped_weights="pcvos_small.pth",
        ),  # PCVOS, section 4
        SystemConfig(
            name="remn",
            enhance=True,
            memory=MemoryConfig(policy="redundancy", sampling="adaptive", capacity_frames=12),
            shipped_weights="remn_small.pth",
        ),
    )
}

MAX_WORKING_PIXELS = 1 << 25  # a frame of 8K UHD has about as many
_FIXED = ("name", "shipped_weights")
_ADAPTIVE = (
    "memory.sampling_threshold",
    "memory.min_gap_frames",
    "memory.max_gap_frames",
)  # what no other sampling asks

# short names of settings: the flags of the command line and the keywords of VideoSegmenter
SHORT_NAMES = {
    "mem_every": "memory.write_every_frames",
    "include_last": "memory.include_last",
    "memory": "memory.policy",
    "memory_frames": "memory.capacity_frames",
    "max_memory_mb": "memory.max_megabytes",
    "sampling": "memory.sampling",
    "top_k": "top_k",
    "clip_length": "clip_length",
    "resolution": "resolution",
    "amp": "amp",
    "tf32": "tf32",
}


def system_config(system: str, **overrides: Any) -> SystemConfig:
    """The settings of a system with some of them changed, checked.

    Overrides are short names (mem_every=3, memory="first-and-latest", top_k=50) or full ones ("memory.write_every_frames"); values
    may be texts, as from a command line. Raises InputError for an unknown system or setting (listing the valid ones), a value of the
    wrong type or out of range.
    """
    if system not in SYSTEMS:
        raise InputError(f"system {system!r} is not known; choose one of {', '.join(SYSTEMS)}")
    config = SYSTEMS[system]
    full_names = {SHORT_NAMES.get(name, name): value for name, value in overrides.items()}
    for name, value in full_names.items():
        config = with_setting(config, name, value, fixed=_FIXED)
    config = dataclasses.replace(config, memory=_sampled(config.memory, full_names))
    _check(config)
    if config.clip_length > 1:  # a clip system's memory is updated once a clip
        every = full_names.get("memory.write_every_frames")
        if every is not None and config.memory.write_every_frames != config.clip_length:
            raise InputError(
                f"mem_every is {every} and clip_length {config.clip_length}; a clip system's memory is updated once a clip: give one of them, or the same"
            )
        config = with_setting(config, "memory.write_every_frames", config.clip_length)
    return dataclasses.replace(config, memory=_bounded(config.memory, full_names))


def check_resolution(resolution: int) -> None:
    """Raise InputError for what is no working resolution, or too large for frames of any shape. Those of one shape are checked when the first is seen (see Geometry)."""
    largest = math.isqrt(MAX_WORKING_PIXELS)
    if resolution != -1 and not 16 <= resolution <= largest:
        bound = "at least 16" if resolution < 16 else f"at most {largest}"
        raise InputError(
            f"resolution is {resolution}; it is the shorter side in pixels, {bound}, or -1 for frames as they are"
        )


def _sampled(memory: MemoryConfig, asked_for: Mapping[str, Any]) -> MemoryConfig:
    """With the sampling that holds: the system's counts only for policies that sample. Raises InputError where frames would be counted and not counted."""
    from inference.memory import POLICIES

    if (
        memory.policy in POLICIES
        and not POLICIES[memory.policy].samples
        and "memory.sampling" not in asked_for
    ):
        memory = dataclasses.replace(memory, sampling="every")
    unused = [
        name for name in _ADAPTIVE if memory.sampling == "every" and asked_for.get(name) is not None
    ]
    if unused:
        raise InputError(
            f"{unused[0]} is {asked_for[unused[0]]}, but sampling every counts frames and looks at no masks: leave it out, or give sampling adaptive"
        )
    if memory.sampling != "every" and asked_for.get("memory.write_every_frames") is not None:
        raise InputError(
            f"mem_every is {memory.write_every_frames}, but sampling {memory.sampling} writes by what is seen, not by count: leave it out, or give sampling every"
        )
    return memory


def _bounded(memory: MemoryConfig, asked_for: Mapping[str, Any]) -> MemoryConfig:
    """With the bound that holds: the one asked for, or else the system's, or else the policy's own. Raises InputError for two, or for a policy that takes none."""
    from inference.memory import POLICIES

    bounds = {
        "memory.capacity_frames": memory.capacity_frames,
        "memory.max_megabytes": memory.max_megabytes,
        "memory.protect_annotated": memory.protect_annotated or None,
    }
    given = [name for name, value in bounds.items() if name in asked_for and value is not None]
    if POLICIES[memory.policy].default_capacity_frames is None:
        if given:
            bounded = [
                name
                for name, policy in POLICIES.items()
                if policy.default_capacity_frames is not None
            ]
            raise InputError(
                f"{_short_name(given[0])}: memory {memory.policy} has no bound to set; leave it out, or choose memory {', '.join(bounded)}"
            )
        return dataclasses.replace(
            memory, capacity_frames=None, max_megabytes=None, protect_annotated=False
        )
    if {"memory.capacity_frames", "memory.max_megabytes"} <= set(given):
        raise InputError(
            f"memory_frames is {memory.capacity_frames} and max_memory_mb {memory.max_megabytes:g}; give one of them"
        )
    if memory.max_megabytes is not None:
        return dataclasses.replace(memory, capacity_frames=None)
    return dataclasses.replace(
        memory,
        capacity_frames=memory.capacity_frames or POLICIES[memory.policy].default_capacity_frames,
    )


def _short_name(full_name: str) -> str:
    return next((short for short, full in SHORT_NAMES.items() if full == full_name), full_name)


def _check(config: SystemConfig) -> None:
    from inference.memory import POLICIES, SAMPLINGS  # these tables need MemoryConfig first

    counts = {
        "top_k": config.top_k,
        "memory.write_every_frames": config.memory.write_every_frames,
        "memory.segment_frames": config.memory.segment_frames,
        "memory.min_gap_frames": config.memory.min_gap_frames,
        "memory.capacity_frames": config.memory.capacity_frames,
        "clip_length": config.clip_length,
    }
    for name, value in counts.items():
        if value is not None and value < 1:
            raise InputError(f"{name} is {value}; it must be at least 1")
    if config.memory.max_megabytes is not None and not 0 < config.memory.max_megabytes < math.inf:
        raise InputError(
            f"max_memory_mb is {config.memory.max_megabytes:g}; it is a number of megabytes above 0"
        )
    check_resolution(config.resolution)
    if config.frame_by_frame and config.clip_length > 1:
        raise InputError(
            f"clip_length is {config.clip_length}; enhancing a frame's query by the masks before it goes frame by frame: leave it out (enhance=false), or clips"
        )
    if config.memory.policy not in POLICIES:
        raise InputError(
            f"memory {config.memory.policy!r} is not known; choose one of {', '.join(POLICIES)}"
        )
    if config.memory.sampling not in SAMPLINGS:
        raise InputError(
            f"sampling {config.memory.sampling!r} is not known; choose one of {', '.join(SAMPLINGS)}"
        )
    if config.memory.max_gap_frames < config.memory.min_gap_frames:
        raise InputError(
            f"memory.max_gap_frames is {config.memory.max_gap_frames}, less than memory.min_gap_frames, {config.memory.min_gap_frames}"
        )
    if not config.memory.sampling_threshold >= 0:
        raise InputError(
            f"memory.sampling_threshold is {config.memory.sampling_threshold}; it is a difference of masks, 0 or above"
        )
    POLICIES[config.memory.policy](config.memory)
