"""Loading and saving weights: our own files and the public checkpoints of STCN and PCVOS, by the same names."""

import dataclasses
import functools
import math
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from model.archive import read_archive, write_archive
from model.config import MOST_KEY_CHANNELS, PRESETS, NetworkConfig, Similarity, preset, with_window
from model.network import SLOT_MODULES, VOSNetwork, build_network
from util.errors import InputError
from util.text import short_repr

_MASK_WEIGHT = "value_encoder.conv1.weight"
_KEY_WEIGHT = "key_proj.key_proj.weight"
_NOT_LEARNED = (
    "relative_position_index",
    "n_averaged",
)  # a constant of the window size in public PCVOS checkpoints; a counter beside averaged weights
_OTHERS_CHANNEL = 4  # of that convolution's inputs: after the image and the object's mask, the sum of the other objects' masks
_WIPED_OUT = (
    0.05  # of the size of the object's channel, beside which it starts at the same and learns
)
_COUNTERS = ("num_batches_tracked", "n_averaged")  # entries of whole numbers
_LARGEST_VARIANCE = 1e12  # of features that a batch norm divides by; some thousands are seen
_MOST_VALUES = 500_000_000  # of a network: 2 GB in single precision; 54 million are published
_SHOWN = 3


def read_checkpoint(path: str | os.PathLike) -> dict[str, Any]:
    """The dictionary in a .pth file, on the CPU. Nothing pickled is run. Raises InputError where the file is missing, damaged or no checkpoint."""
    content, _ = read_archive(Path(path))
    return _dictionary(content, path)


def _dictionary(content: Any, path: str | os.PathLike) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise InputError(
            f"{path}: holds a {type(content).__name__}; a dictionary of names and tensors was expected"
        )
    return content


@dataclasses.dataclass(frozen=True)
class StoredNetwork:
    """A network as a file holds it."""

    state: dict[str, Tensor]
    config: (
        NetworkConfig | None
    )  # None: the file, of another program or of an earlier version of this one, does not say


def read_network(path: str | os.PathLike) -> StoredNetwork:
    """The weights in a file and what the file says of their network. Raises InputError as read_checkpoint and network_state do, and for a network that none can be."""
    content, description = read_archive(Path(path))
    content = _dictionary(content, path)
    state = network_state(content, path)
    stored = description.get("network", content.get("network_config"))
    try:
        return StoredNetwork(
            state, None if stored is None else _possible(NetworkConfig.from_dict(stored))
        )
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _possible(config: NetworkConfig) -> NetworkConfig:
    values = sum(map(math.prod, _shapes(config).values()))
    if values > _MOST_VALUES:
        raise InputError(
            f"network configuration: {values:,} values; at most {_MOST_VALUES:,} are possible"
        )
    return config


def network_state(
    content: dict[str, Any], path: str | os.PathLike = "checkpoint"
) -> dict[str, Tensor]:
    """The flat name → tensor dict of a network: bare or inside a training checkpoint (its averaged weights where it has them), with or without
    DistributedDataParallel's `module.` prefix. Raises InputError where there is none."""
    for wrapper in ("average", "network", "state_dict", "model"):
        if isinstance(content.get(wrapper), dict):
            content = content[wrapper]
            break
    unnamed = [name for name in content if not isinstance(name, str)]
    if unnamed:
        raise InputError(
            f"{path}: holds no network's weights ({short_repr(unnamed[0])} is not a name)"
        )
    state = {
        name.removeprefix("module."): value
        for name, value in content.items()
        if not name.endswith(_NOT_LEARNED)
    }
    strange = [name for name, value in state.items() if not isinstance(value, Tensor)]
    if strange or not state:
        found = f"{short_repr(strange[0])} is not a tensor" if strange else "it is empty"
        raise InputError(f"{path}: holds no network's weights ({found})")
    return state


def check_values(state: Mapping[str, Tensor], path: str | os.PathLike = "checkpoint") -> None:
    """Raise InputError, naming the first entry, for weights that are no weights: of another type than floating-point numbers, not finite in single precision, variances
    of batch norms below zero or beyond all bounds. Counters of batches may be whole numbers."""
    wrong = _first_wrong(state)
    if wrong is not None:
        raise InputError(
            f"{path}: {wrong}; the file is damaged, or its training had gone wrong: use another checkpoint"
        )


def _first_wrong(state: Mapping[str, Tensor]) -> str | None:
    found = ((name, _wrong_values(name, value)) for name, value in state.items())
    return next((f"{name:.200} {wrong}" for name, wrong in found if wrong is not None), None)


def _wrong_values(name: str, value: Tensor) -> str | None:
    if value.is_meta or value.layout != torch.strided or value.is_quantized or value.is_nested:
        return "is no plain tensor of numbers"
    if not value.is_floating_point() and (
        value.is_complex() or value.dtype == torch.bool or not name.endswith(_COUNTERS)
    ):
        return f"is of type {str(value.dtype).removeprefix('torch.')}; weights are floating-point numbers"
    if not value.numel():
        return None
    least, most = (float(bound) for bound in value.detach().to(torch.float32).aminmax())
    if not (math.isfinite(least) and math.isfinite(most)):
        return "is not finite"
    if name.endswith("running_var") and not 0 <= least <= most <= _LARGEST_VARIANCE:
        return f"holds a variance of {least if least < 0 else most:g}; from 0 to {_LARGEST_VARIANCE:g} are possible"
    return None


def recognise_preset(
    state: dict[str, Tensor],
    path: str | os.PathLike = "checkpoint",
    window: Sequence[int] | None = None,
) -> NetworkConfig:
    """The preset whose names and shapes are those of `state`, with its number of key channels. The similarity cannot be seen in them, nor can the refinement's window
    (only how many offsets it has): they are the preset's; window: where it is another.

    Raises InputError naming the first entries that fit no preset.
    """
    projection = state.get(_KEY_WEIGHT)
    channels = (
        {}
        if projection is None or projection.ndim != 4 or len(projection) > MOST_KEY_CHANNELS
        else {"key_channels": len(projection)}
    )
    presets = {
        name: with_window(dataclasses.replace(config, **channels), window)
        for name, config in PRESETS.items()
    }
    misfits = {name: _misfits(state, config) for name, config in presets.items()}
    for name, wrong in misfits.items():
        if not wrong:
            return presets[name]
    nearest = min(misfits, key=lambda name: len(misfits[name]))
    wrong = misfits[nearest]
    raise InputError(
        f"{path}: fits no network ({', '.join(PRESETS)}); the nearest is {nearest}, entries that do not fit: {len(wrong):,}, first {'; '.join(wrong[:_SHOWN])}"
    )


@functools.cache
def _shapes(config: NetworkConfig) -> dict[str, tuple[int, ...]]:
    """The names and shapes of a network's entries; not to be changed. Held, since a file is compared with every preset."""
    with torch.device("meta"):
        return {name: tuple(value.shape) for name, value in VOSNetwork(config).state_dict().items()}


def _misfits(state: dict[str, Tensor], config: NetworkConfig) -> list[str]:
    expected = _shapes(config)
    wrong = [f"{name} is missing" for name in expected if name not in state]
    wrong += [f"{name:.200} is not known" for name in state if name not in expected]
    for name in [name for name in expected if name in state]:
        found = tuple(state[name].shape)
        four_channels = (
            expected[name][:1] + (expected[name][1] - 1,) + expected[name][2:]
            if name == _MASK_WEIGHT
            else None
        )
        if found not in (expected[name], four_channels):
            wrong.append(f"{name} is {list(found)}, not {list(expected[name])}")
    return wrong


def load_state(
    network: VOSNetwork,
    state: dict[str, Tensor],
    path: str | os.PathLike = "checkpoint",
    *,
    train_on: bool = False,
) -> tuple[str, ...]:
    """Load `state` strictly. A 4-channel first convolution of the value encoder (single-object pretraining) is widened: with zeros for inference,
    with an orthogonal initialisation if `train_on`, which also replaces a channel of the other objects
    that single-object pretraining has wiped out (by weight decay, in earlier versions).

    If `train_on`, slots of the network (SLOT_MODULES) of which the state has nothing keep their initialisation; returns their names. Raises InputError naming the
    first entries that do not fit.
    """
    fresh = _slots_without_weights(network, state) if train_on else ()
    modules = tuple(f"{module}." for slot in fresh for module in SLOT_MODULES[slot])
    state = (
        {
            **state,
            **{
                name: value
                for name, value in network.state_dict().items()
                if name.startswith(modules)
            },
        }
        if fresh
        else state
    )
    wrong = _misfits(state, network.config)
    if wrong:
        raise InputError(
            f"{path}: entries that do not fit network {network.config.name}: {len(wrong):,}, first {'; '.join(wrong[:_SHOWN])}"
        )
    check_values(state, path)
    state = {**state, _MASK_WEIGHT: _with_others_channel(state[_MASK_WEIGHT], train_on)}
    network.load_state_dict(state)
    return fresh


def _with_others_channel(weight: Tensor, train_on: bool) -> Tensor:
    """The value encoder's first convolution, [C, 4 or 5, 7, 7], with five input channels."""
    learned, others = weight[:, :_OTHERS_CHANNEL], weight[:, _OTHERS_CHANNEL:]
    if others.shape[1] == 0:
        others = torch.zeros_like(learned[:, :1])
    elif not train_on or others.float().norm() > _WIPED_OUT * learned[:, -1].float().norm():
        return weight
    if train_on:
        others = nn.init.orthogonal_(others.float().contiguous())  # needs single precision
    return torch.cat([learned.float(), others.float()], dim=1)


def _slots_without_weights(network: VOSNetwork, state: dict[str, Tensor]) -> tuple[str, ...]:
    given = {name.split(".")[0] for name in state}
    return tuple(
        slot
        for slot, modules in SLOT_MODULES.items()
        if getattr(network.config, slot) is not None and given.isdisjoint(modules)
    )


def load_network(
    path: str | os.PathLike,
    network: str | NetworkConfig | None = None,
    *,
    similarity: Similarity | None = None,
    window: Sequence[int] | None = None,
    train_on: bool = False,
) -> VOSNetwork:
    """The network in a checkpoint, on the CPU, as the file says; where it does not: of preset `network`, or else recognised by names and shapes, with `similarity`, and
    `window` of its refinement, where they are not the preset's. Raises InputError where what is given contradicts what the file says, or its refinement is none."""
    stored = read_network(path)
    given = {
        "network": network,
        "similarity": similarity,
        "window": None if window is None else tuple(window),
    }
    config = (
        _assumed(stored.state, path, **given)
        if stored.config is None
        else _agreed(stored.config, path, **given)
    )
    built = build_network(config)
    load_state(built, stored.state, path, train_on=train_on)
    return built


def _assumed(
    state: dict[str, Tensor],
    path: str | os.PathLike,
    *,
    network: str | NetworkConfig | None,
    similarity: Similarity | None,
    window: tuple[int, ...] | None,
) -> NetworkConfig:
    """What the file does not say, as given, or as in the presets."""
    if network is None:
        config = recognise_preset(state, path, window)
    else:
        config = with_window(preset(network) if isinstance(network, str) else network, window)
    if window is not None and config.refiner is None:
        raise InputError(f"{path}: {_without_refinement(config)}")
    return config if similarity is None else dataclasses.replace(config, similarity=similarity)


def _agreed(
    stored: NetworkConfig,
    path: str | os.PathLike,
    *,
    network: str | NetworkConfig | None,
    similarity: Similarity | None,
    window: tuple[int, ...] | None,
) -> NetworkConfig:
    """What the file says, if nothing that is given contradicts it."""
    if isinstance(network, NetworkConfig):
        differs = dataclasses.replace(network, name=stored.name) != stored
        network = network.name
    else:
        differs = network not in (None, stored.name)
    if differs:
        raise InputError(
            f"{path}: holds network {stored.name}, not {network} as asked for; leave that out (--network)"
        )
    if similarity not in (None, stored.similarity):
        raise InputError(
            f"{path}: was trained with similarity {stored.similarity}, not {similarity} as asked for; leave that out (--similarity)"
        )
    if window is not None and stored.refiner is None:
        raise InputError(f"{path}: {_without_refinement(stored)}")
    if window is not None and window != stored.refiner.window:
        ours, asked = ("×".join(map(str, sides)) for sides in (stored.refiner.window, window))
        raise InputError(
            f"{path}: was trained with windows of {ours}, not {asked} as asked for; leave that out (--window)"
        )
    return stored


def _without_refinement(config: NetworkConfig) -> str:
    return f"is a network without refinement ({config.name}), which has no windows; leave them out (--window)"


def save_weights(path: str | os.PathLike, network: VOSNetwork, *, half: bool = False) -> None:
    """Write the network alone as a flat name → tensor dict in the public naming, atomically, with its configuration and a checksum beside the entries (model/archive.py).

    half: 16-bit floats and compressed, for shipping. Raises InputError for weights that are not finite, or are beyond what 16-bit floats hold.
    """
    state = {
        name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()
    }
    wrong = _first_wrong(state)
    if wrong is not None:
        raise InputError(f"{path}: not written, since {wrong}")
    if half:
        state = {
            name: value.half() if value.is_floating_point() else value
            for name, value in state.items()
        }
        overflows = [name for name, value in state.items() if not value.isfinite().all()]
        if overflows:
            raise InputError(
                f"{path}: not written, since {overflows[0]} holds numbers that 16-bit floats cannot; leave out --half"
            )
    write_archive(path, state, {"network": network.config.as_dict()}, compress=half)


def save_checkpoint(path: str | os.PathLike, content: dict[str, Any]) -> None:
    """torch.save with a checksum, atomically: the file is whole or absent."""
    write_archive(path, content)


@dataclasses.dataclass(frozen=True)
class TrainingState:
    """Everything needed to go on training where it stopped."""

    network: dict[str, Tensor]
    average: dict[str, Tensor] | None
    optimizer: dict[str, Any]
    scheduler: dict[str, Any]
    scaler: dict[str, Any]
    iteration: int  # steps done; the data position follows from it
    random_states: list[dict[str, Any]]  # of each process
    network_config: dict[str, Any]
    training_config: dict[str, Any]
    record: dict[str, Any]  # what else the run says of itself: roots, git commit, package versions
    files: dict[str, list[list[str]]] | None = (
        None  # what the samples are drawn from (dataset.training.record); None in older checkpoints
    )

    @staticmethod
    def from_checkpoint(path: str | os.PathLike) -> "TrainingState":
        """Raises InputError where the file holds only a network, or is damaged."""
        content = read_checkpoint(path)
        try:
            state = TrainingState(**content)
        except TypeError as error:
            raise InputError(
                f"{path}: not a training checkpoint ({error}); to start from its network alone use --load_network"
            ) from error
        for name in ("network", "average"):
            if getattr(state, name) is not None:
                check_values(network_state({name: getattr(state, name)}, path), path)
        return state

    def save(self, path: str | os.PathLike) -> None:
        """Write atomically. Raises InputError for weights that are not finite: earlier checkpoints stay as they are."""
        wrong = _first_wrong(self.network) or _first_wrong(self.average or {})
        if wrong is not None:
            raise InputError(
                f"{path}: not written, since {wrong}: this training has gone wrong; go on with an earlier checkpoint, at a lower --lr"
            )
        save_checkpoint(
            path, {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        )


def save_in_turn(folder: Path, state: TrainingState, keep: int) -> None:
    """Save as FOLDER/ITERATION.pth and remove all but the newest `keep` checkpoints up to this iteration (0: none), once the new one is whole."""
    state.save(folder / f"{state.iteration:06d}.pth")
    earlier = [path for path in _by_iteration(folder) if int(path.stem) <= state.iteration]
    for path in earlier[:-keep] if keep else []:
        path.unlink()


def set_aside_beyond(folder: Path, iteration: int) -> list[Path]:
    """Rename checkpoints of later iterations than the one training goes on from, damaged ones or those of a course that was given up, so that none of them
    is taken for its own. Returns their new names."""
    later = [path for path in _by_iteration(folder) if int(path.stem) > iteration]
    return [path.replace(path.with_suffix(".pth.aside")) for path in later]


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint of a run's folder of them; damaged ones are passed over with a warning on stderr. None where there is none."""
    for path in reversed(_by_iteration(folder)):
        try:
            TrainingState.from_checkpoint(path)
            return path
        except InputError as error:
            print(f"warning: {error}; passed over", file=sys.stderr)
    return None


def _by_iteration(folder: Path) -> list[Path]:
    return sorted(
        (path for path in folder.glob("*.pth") if path.stem.isdigit()),
        key=lambda path: int(path.stem),
    )
