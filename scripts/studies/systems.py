"""Every system and every memory policy side by side, as a study: its rows follow from SYSTEMS and POLICIES."""

import dataclasses
import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from inference import VideoSegmenter
from inference.config import SYSTEMS, SystemConfig, system_config
from inference.memory import POLICIES
from inference.segmenter import WEIGHTS_FOLDER
from model import VOSNetwork, load_network
from util.errors import InputError
from util.text import counted

from .variants import LeftOut, Study, Variant, Weights

MEMORY_FRAMES = (
    2,
    4,
)  # of bounded memories: the published number, and the best trade found there (adaptive memory management)
_PLAIN = "stcn"  # by which the policies run: the system that is nothing but its memory


@dataclasses.dataclass(frozen=True)
class _Candidate:
    """A row that there may be, on the weights of a system, by default its own."""

    name: str
    line: str
    system: str
    settings: dict[str, Any]
    weights_of: str = ""

    @property
    def weights_role(self) -> str:
        return self.weights_of or self.system

    @property
    def config(self) -> SystemConfig:
        return system_config(self.system, **self.settings)


def weights_of(given: Iterable[str]) -> Weights:
    """The files given by SYSTEM=FILE; each system's shipped network is the default. Raises InputError."""
    return Weights(
        given,
        SYSTEMS,
        {name: WEIGHTS_FOLDER / config.shipped_weights for name, config in SYSTEMS.items()},
    )


def study(weights: Weights, memory_frames: Sequence[int] | None = None) -> Study:
    """Each system as it is; each policy on STCN's network, or on that of a system which has what the policy needs, bounded ones at several capacities.
    A policy's row that a system's equals is left to that, and one that holds another number of frames than asked for is the row of that number.
    memory_frames: the capacities; None: MEMORY_FRAMES, and for policies that are learned their own.

    Raises InputError for capacities that are none.
    """
    if any(frames < 1 for frames in memory_frames or ()):
        raise InputError(
            f"--memory_frames {' '.join(map(str, memory_frames))}: at least one frame is held"
        )
    variants: list[Variant] = []
    left_out: list[LeftOut] = []
    seen = []
    for candidate in (*_systems(), *_policies(memory_frames)):
        file = weights.file(candidate.weights_role)
        reason = (
            weights.missing(candidate.weights_role)
            if file is None
            else refusal(file, candidate.system, candidate.settings)
        )
        if reason is not None:
            left_out.append(LeftOut(candidate.name, reason))
            continue
        candidate = _as_held(candidate, file)
        identity = (file, dataclasses.replace(candidate.config, name="", shipped_weights=""))
        if identity not in seen:
            seen.append(identity)
            variants.append(_variant(candidate, file))
    return Study(
        name="compare",
        title="Systems and memory policies",
        variants=variants,
        left_out=left_out,
        labels="capacity of bounded memories, in frames",
    )


def _systems() -> Iterator[_Candidate]:
    for name in SYSTEMS:
        yield _Candidate(name, name, name, {})


def _policies(memory_frames: Sequence[int] | None) -> Iterator[_Candidate]:
    for name, policy in POLICIES.items():
        lender = _PLAIN if policy.slot is None else _lender(policy.slot)
        if policy.default_capacity_frames is not None:
            for frames in memory_frames or (
                MEMORY_FRAMES if policy.slot is None else (policy.default_capacity_frames,)
            ):
                yield _Candidate(
                    _bounded_name(name, frames),
                    name,
                    _PLAIN,
                    {"memory": name, "memory_frames": frames},
                    lender,
                )
            continue
        yield _Candidate(f"memory-{name}", name, _PLAIN, {"memory": name}, lender)
        with_last = _Candidate(
            f"memory-{name}-last",
            f"{name} + last",
            _PLAIN,
            {"memory": name, "include_last": True},
            lender,
        )
        if _accepted(with_last):
            yield with_last


def _bounded_name(policy: str, frames: int) -> str:
    return f"memory-{policy}-{frames}"


def _as_held(candidate: _Candidate, file: Path) -> _Candidate:
    """At the capacity that its policy holds with the network, which may be another than was asked for."""
    memory = candidate.config.memory
    policy = POLICIES[memory.policy](memory)
    policy.use_network(_network(file))
    held = policy.capacity_frames
    if "memory_frames" not in candidate.settings or held == memory.capacity_frames:
        return candidate
    return dataclasses.replace(
        candidate,
        name=_bounded_name(memory.policy, held),
        settings={**candidate.settings, "memory_frames": held},
    )


def _lender(slot: str) -> str:
    """The system whose network has what fills the slot; the plain one where no system uses it."""
    return next((name for name, config in SYSTEMS.items() if slot in config.slots), _PLAIN)


def _accepted(candidate: _Candidate) -> bool:
    try:
        return candidate.config is not None
    except InputError:
        return False


def refusal(file: Path, system: str, settings: Mapping[str, Any]) -> str | None:
    """Why a network cannot run so; None where it can."""
    try:
        VideoSegmenter(_network(file), system, device="cpu", **settings)
    except InputError as error:
        return str(error) if str(file) in str(error) else f"{file}: {error}"
    return None


@functools.lru_cache(
    maxsize=2
)  # rows of one file come one after another, but for a policy on another network
def _network(file: Path) -> VOSNetwork:
    return load_network(file)


def _variant(candidate: _Candidate, file: Path) -> Variant:
    config = candidate.config
    frames = config.memory.capacity_frames
    lent = (
        ""
        if candidate.weights_role == candidate.system
        else f", weights of {candidate.weights_role}"
    )
    return Variant(
        name=candidate.name,
        line=candidate.line,
        label="" if frames is None else f"{frames}",
        columns={"system": candidate.system + lent, "memory": _memory_text(config)},
        weights=file,
        system=candidate.system,
        settings=candidate.settings,
    )


def _memory_text(config: SystemConfig) -> str:
    memory = config.memory
    parts = [memory.policy]
    parts += ["+ last"] if memory.include_last else []
    parts += [] if memory.capacity_frames is None else [counted(memory.capacity_frames, "frame")]
    parts += [f"clips of {config.clip_length}"] if config.clip_length > 1 else []
    parts += [] if memory.sampling == "every" else [f"{memory.sampling} sampling"]
    return ", ".join(parts).replace(", +", " +")
