"""All systems and memory policies side by side, as a study: its rows follow from SYSTEMS and
POLICIES."""

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
from scripts.studies.variants import Omission, Study, Variant, Weights
from util.errors import InputError
from util.text import counted

# capacities of bounded memories (adaptive memory management): the published one, and the best
# trade-off there
MEMORY_FRAMES = (2, 4)
_POLICY_SYSTEM = "stcn"  # that the policies run in: it adds nothing to its memory


@dataclasses.dataclass(frozen=True)
class _Candidate:
    """A possible row. weights_of: the system whose weights it runs; by default its own."""

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
    """The weights of SYSTEM=FILE texts; by default each system's shipped network.

    Raises InputError for other texts and unknown systems.
    """
    shipped = {name: WEIGHTS_FOLDER / config.shipped_weights for name, config in SYSTEMS.items()}
    return Weights(given, SYSTEMS, shipped)


def study(weights: Weights, memory_frames: Sequence[int] | None = None) -> Study:
    """Each system with its own settings, then each memory policy.

    A policy runs on STCN's network, or on the network of a system that has what the policy needs;
    a bounded policy at several capacities. A policy that is identical to a system's row is not
    repeated. If a policy can only hold another number of frames, its row shows that number.

    memory_frames: the capacities, at least 1; None: MEMORY_FRAMES, and for learned policies their
    own capacity.
    """
    variants: list[Variant] = []
    left_out: list[Omission] = []
    seen = []
    for candidate in (*_systems(), *_policies(memory_frames)):
        file = weights.find(candidate.weights_role)
        reason = (
            weights.reason_missing(candidate.weights_role)
            if file is None
            else reason_refused(file, candidate.system, candidate.settings)
        )
        if reason is not None:
            left_out.append(Omission(candidate.name, reason))
            continue
        candidate = _with_held_capacity(candidate, file)
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
        lender = _POLICY_SYSTEM if policy.slot is None else _system_with(policy.slot)
        candidate = functools.partial(_Candidate, system=_POLICY_SYSTEM, weights_of=lender)
        own_capacity = policy.default_capacity_frames
        if own_capacity is not None:
            default = MEMORY_FRAMES if policy.slot is None else (own_capacity,)
            for frames in memory_frames or default:
                settings = {"memory": name, "memory_frames": frames}
                yield candidate(_bounded_name(name, frames), name, settings=settings)
            continue
        yield candidate(f"memory-{name}", name, settings={"memory": name})
        settings = {"memory": name, "include_last": True}
        with_last = candidate(f"memory-{name}-last", f"{name} + last", settings=settings)
        if _is_valid(with_last):
            yield with_last


def _bounded_name(policy: str, frames: int) -> str:
    return f"memory-{policy}-{frames}"


def _with_held_capacity(candidate: _Candidate, file: Path) -> _Candidate:
    """The candidate at the capacity that its policy holds with the network, which may differ from
    the requested one."""
    memory = candidate.config.memory
    policy = POLICIES[memory.policy](memory)
    policy.use_network(_load(file))
    held = policy.capacity_frames
    if "memory_frames" not in candidate.settings or held == memory.capacity_frames:
        return candidate
    return dataclasses.replace(
        candidate,
        name=_bounded_name(memory.policy, held),
        settings={**candidate.settings, "memory_frames": held},
    )


def _system_with(slot: str) -> str:
    """The first system whose network fills the slot; STCN if there is none."""
    return next((name for name, config in SYSTEMS.items() if slot in config.slots), _POLICY_SYSTEM)


def _is_valid(candidate: _Candidate) -> bool:
    try:
        return candidate.config is not None
    except InputError:
        return False


def reason_refused(file: Path, system: str, settings: Mapping[str, Any]) -> str | None:
    """Why a network cannot run with a system's settings; None if it can."""
    try:
        VideoSegmenter(_load(file), system, device="cpu", **settings)
    except InputError as error:
        return str(error) if str(file) in str(error) else f"{file}: {error}"
    return None


# Most rows of one file follow each other; a policy may need another network in between.
@functools.lru_cache(maxsize=2)
def _load(file: Path) -> VOSNetwork:
    return load_network(file)


def _variant(candidate: _Candidate, file: Path) -> Variant:
    config, role = candidate.config, candidate.weights_role
    frames = config.memory.capacity_frames
    lent = "" if role == candidate.system else f", weights of {role}"
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
    text = memory.policy + (" + last" if memory.include_last else "")
    parts = [text]
    parts += [] if memory.capacity_frames is None else [counted(memory.capacity_frames, "frame")]
    parts += [f"clips of {config.clip_length}"] if config.clip_length > 1 else []
    parts += [] if memory.sampling == "every" else [f"{memory.sampling} sampling"]
    return ", ".join(parts)
