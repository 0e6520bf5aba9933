"""Loading and saving weights.

Our own files and the public checkpoints of STCN and PCVOS have the same names of entries.
"""

import dataclasses
import functools
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from model.archive import read_archive, write_archive
from model.config import MOST_KEY_CHANNELS, PRESETS, NetworkConfig, Similarity, preset, with_window
from model.network import SLOTS, VOSNetwork, build_network
from util.errors import InputError
from util.text import short_repr

_MASK_WEIGHT = "value_encoder.conv1.weight"
_KEY_WEIGHT = "key_proj.key_proj.weight"
# A constant of the window size in public PCVOS checkpoints; a counter beside averaged weights.
_NOT_LEARNED = ("relative_position_index", "n_averaged")
# Input channel of the value encoder: after the image and the object's mask, the other objects'
# masks.
_OTHERS_CHANNEL = 4
# Relative norm of that channel's weights below which single-object pretraining has wiped it out.
_WIPED_OUT = 0.05
_COUNTERS = ("num_batches_tracked", "n_averaged")  # entries of whole numbers
_LARGEST_VARIANCE = 1e12  # of a batch norm; some thousands occur
_MOST_VALUES = 500_000_000  # parameters: 2 GB in single precision; 54 million are published
_SHOWN = 3


def read_checkpoint(path: str | os.PathLike) -> dict[str, Any]:
    """The dictionary in a .pth file, on the CPU. Pickled code is never run.

    Raises InputError if the file is missing, damaged or not a checkpoint.
    """
    content, _ = read_archive(Path(path))
    return _as_dictionary(content, path)


def _as_dictionary(content: Any, path: str | os.PathLike) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise InputError(
            f"{path}: holds a {type(content).__name__}; "
            "a dictionary of names and tensors was expected"
        )
    return content


@dataclasses.dataclass(frozen=True)
class StoredNetwork:
    """A network as stored in a file.

    config is None if the file was written by another program or an earlier version, without it.
    """

    state: dict[str, Tensor]
    config: NetworkConfig | None


def read_network(path: str | os.PathLike) -> StoredNetwork:
    """The weights in a file and, if the file holds it, their network's configuration.

    Raises InputError like read_checkpoint and network_state, and for an impossible configuration.
    """
    content, description = read_archive(Path(path))
    content = _as_dictionary(content, path)
    state = network_state(content, path)
    stored = description.get("network", content.get("network_config"))
    if stored is None:
        return StoredNetwork(state, None)
    try:
        config = NetworkConfig.from_dict(stored)
        values = sum(map(math.prod, _shapes(config).values()))
        if values > _MOST_VALUES:
            raise InputError(
                f"network configuration: {values:,} values; at most {_MOST_VALUES:,} are possible"
            )
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return StoredNetwork(state, config)


def network_state(
    content: dict[str, Any], path: str | os.PathLike = "checkpoint"
) -> dict[str, Tensor]:
    """The flat name → tensor dict of a network in a file's content.

    It may be bare or inside a training checkpoint, whose averaged weights come first, and its names
    may have DistributedDataParallel's prefix `module.`. Raises InputError if there is none.
    """
    for wrapper in ("average", "network", "state_dict", "model"):
        if isinstance(content.get(wrapper), dict):
            content = content[wrapper]
            break
    unnamed = [name for name in content if not isinstance(name, str)]
    if unnamed:
        raise InputError(
            f"{path}: holds no network weights ({short_repr(unnamed[0])} is not a name)"
        )
    state = {
        name.removeprefix("module."): value
        for name, value in content.items()
        if not name.endswith(_NOT_LEARNED)
    }
    strange = [name for name, value in state.items() if not isinstance(value, Tensor)]
    if strange or not state:
        found = f"{short_repr(strange[0])} is not a tensor" if strange else "it is empty"
        raise InputError(f"{path}: holds no network weights ({found})")
    return state


def check_values(state: Mapping[str, Tensor], path: str | os.PathLike = "checkpoint") -> None:
    """Raise InputError, naming the first wrong entry, for values that cannot be weights.

    Weights are floating-point numbers, finite in single precision; variances of batch norms are
    neither negative nor huge. Only counters of batches are whole numbers.
    """
    wrong = find_wrong_value(state)
    if wrong is not None:
        raise InputError(
            f"{path}: {wrong}; the file is damaged or its training diverged: use another checkpoint"
        )


def find_wrong_value(state: Mapping[str, Tensor]) -> str | None:
    """Name and finding of the first entry that check_values refuses, or None."""
    found = ((name, _wrong_values(name, value)) for name, value in state.items())
    return next((f"{name:.200} {wrong}" for name, wrong in found if wrong is not None), None)


def _wrong_values(name: str, value: Tensor) -> str | None:
    if value.is_meta or value.layout != torch.strided or value.is_quantized or value.is_nested:
        return "is not a plain tensor of numbers"
    is_whole = not value.is_complex() and value.dtype != torch.bool
    if not value.is_floating_point() and not (is_whole and name.endswith(_COUNTERS)):
        dtype = str(value.dtype).removeprefix("torch.")
        return f"is of type {dtype}; weights are floating-point numbers"
    if not value.numel():
        return None
    least, most = (float(bound) for bound in value.detach().to(torch.float32).aminmax())
    if not (math.isfinite(least) and math.isfinite(most)):
        return "is not finite"
    if name.endswith("running_var") and not 0 <= least <= most <= _LARGEST_VARIANCE:
        found = least if least < 0 else most
        return f"holds a variance of {found:g}; 0 to {_LARGEST_VARIANCE:g} are possible"
    return None


def recognise_preset(
    state: dict[str, Tensor],
    path: str | os.PathLike = "checkpoint",
    window: Sequence[int] | None = None,
) -> NetworkConfig:
    """The preset with the names and shapes of `state`, and with its number of key channels.

    Names and shapes show neither the similarity nor the refinement window (only its number of
    offsets): these are the preset's; `window` overrides the latter. Raises InputError, naming the
    first entries that do not fit, if there is no such preset.
    """
    projection = state.get(_KEY_WEIGHT)
    channels = {}
    if projection is not None and projection.ndim == 4 and len(projection) <= MOST_KEY_CHANNELS:
        channels = {"key_channels": len(projection)}
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
        f"{path}: fits no network ({', '.join(PRESETS)}); the nearest is {nearest}, entries that "
        f"do not fit: {len(wrong):,}, first {'; '.join(wrong[:_SHOWN])}"
    )


@functools.cache
def _shapes(config: NetworkConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a network's entries, cached to compare files with every preset."""
    with torch.device("meta"):
        return {name: tuple(value.shape) for name, value in VOSNetwork(config).state_dict().items()}


def _misfits(state: dict[str, Tensor], config: NetworkConfig) -> list[str]:
    expected = _shapes(config)
    wrong = [f"{name} is missing" for name in expected if name not in state]
    wrong += [f"{name:.200} is not known" for name in state if name not in expected]
    for name in [name for name in expected if name in state]:
        found = tuple(state[name].shape)
        possible = {expected[name]}
        if name == _MASK_WEIGHT:  # without the other objects' channel: single-object pretraining
            out_channels, in_channels, *kernel = expected[name]
            possible.add((out_channels, in_channels - 1, *kernel))
        if found not in possible:
            wrong.append(f"{name} is {list(found)}, not {list(expected[name])}")
    return wrong


def load_state(
    network: VOSNetwork,
    state: dict[str, Tensor],
    path: str | os.PathLike = "checkpoint",
    *,
    train_on: bool = False,
) -> tuple[str, ...]:
    """Load `state` strictly; returns the names of slots that were initialised from scratch.

    A 4-channel first convolution of the value encoder (single-object pretraining) is widened by a
    channel for the other objects: zeros for inference; an orthogonal initialisation if `train_on`,
    which also replaces a channel that weight decay has wiped out in single-object pretraining. If
    `train_on`, slots (SLOTS) missing from the state keep their initialisation. Raises InputError,
    naming the first entries that do not fit.
    """
    missing = _slots_without_weights(network, state) if train_on else ()
    modules = tuple(f"{module}." for slot in missing for module in SLOTS[slot].modules)
    own = network.state_dict() if missing else {}
    state = {**state, **{name: own[name] for name in own if name.startswith(modules)}}
    wrong = _misfits(state, network.config)
    if wrong:
        raise InputError(
            f"{path}: entries that do not fit network {network.config.name}: {len(wrong):,}, "
            f"first {'; '.join(wrong[:_SHOWN])}"
        )
    check_values(state, path)
    state = {**state, _MASK_WEIGHT: _with_others_channel(state[_MASK_WEIGHT], train_on)}
    network.load_state_dict(state)
    return missing


def _with_others_channel(weight: Tensor, train_on: bool) -> Tensor:
    """The value encoder's first convolution [C, 4 or 5, 7, 7] with five input channels."""
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
        name
        for name, slot in SLOTS.items()
        if getattr(network.config, name) is not None and given.isdisjoint(slot.modules)
    )


def load_network(
    path: str | os.PathLike,
    network: str | NetworkConfig | None = None,
    *,
    similarity: Similarity | None = None,
    window: Sequence[int] | None = None,
    train_on: bool = False,
) -> VOSNetwork:
    """The network in a checkpoint, on the CPU.

    The file's own configuration counts. A file without one is of preset `network`, or is recognised
    by names and shapes; `similarity` and `window` (of its refinement) override the preset's.
    train_on: see load_state. Raises InputError if an argument contradicts the file.
    """
    stored = read_network(path)
    window = None if window is None else tuple(window)
    if stored.config is None:
        config = _assumed_config(stored.state, path, network, similarity, window)
    else:
        config = stored.config
        _check_agreement(config, path, network, similarity, window)
    built = build_network(config)
    load_state(built, stored.state, path, train_on=train_on)
    return built


def _assumed_config(
    state: dict[str, Tensor],
    path: str | os.PathLike,
    network: str | NetworkConfig | None,
    similarity: Similarity | None,
    window: tuple[int, ...] | None,
) -> NetworkConfig:
    """The configuration of a file that does not hold it: from the arguments and the presets."""
    if network is None:
        config = recognise_preset(state, path, window)
    else:
        config = with_window(preset(network) if isinstance(network, str) else network, window)
    if window is not None and config.refiner is None:
        raise InputError(f"{path}: {_without_refinement(config)}")
    return config if similarity is None else dataclasses.replace(config, similarity=similarity)


def _check_agreement(
    stored: NetworkConfig,
    path: str | os.PathLike,
    network: str | NetworkConfig | None,
    similarity: Similarity | None,
    window: tuple[int, ...] | None,
) -> None:
    """Raise InputError if an argument contradicts the file's configuration."""
    if isinstance(network, NetworkConfig):
        differs = dataclasses.replace(network, name=stored.name) != stored
        network = network.name
    else:
        differs = network not in (None, stored.name)
    if differs:
        raise InputError(
            f"{path}: holds network {stored.name}, not {network} as asked for; leave out --network"
        )
    if similarity not in (None, stored.similarity):
        raise InputError(
            f"{path}: was trained with similarity {stored.similarity}, not {similarity} as asked "
            "for; leave out --similarity"
        )
    if window is not None and stored.refiner is None:
        raise InputError(f"{path}: {_without_refinement(stored)}")
    if window is not None and window != stored.refiner.window:
        ours, asked = ("×".join(map(str, sides)) for sides in (stored.refiner.window, window))
        raise InputError(
            f"{path}: was trained with windows of {ours}, not {asked} as asked for; "
            "leave out --window"
        )


def _without_refinement(config: NetworkConfig) -> str:
    return f"is a network without refinement ({config.name}) and has no windows; leave out --window"


def save_weights(path: str | os.PathLike, network: VOSNetwork, *, half: bool = False) -> None:
    """Write the network alone, atomically, as a flat name → tensor dict with the public names.

    The configuration and a checksum travel beside the entries (model/archive.py). half: 16-bit
    floats, compressed, for shipping. Raises InputError for weights that are not finite or overflow
    16 bits.
    """
    state = {
        name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()
    }
    wrong = find_wrong_value(state)
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
                f"{path}: not written, since {overflows[0]} overflows 16-bit floats; "
                "leave out --half"
            )
    write_archive(path, state, {"network": network.config.as_dict()}, compress=half)
