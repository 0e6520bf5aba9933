"""Loading and saving weights: our own files and the public checkpoints of STCN and PCVOS, by the same names."""

import dataclasses
import errno
import functools
import io
import os
import pickle
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from model.config import PRESETS, NetworkConfig, Similarity, preset, with_window
from model.network import SLOT_MODULES, VOSNetwork, build_network
from util.errors import InputError
from util.files import atomic_write

_MASK_WEIGHT = "value_encoder.conv1.weight"
_KEY_WEIGHT = "key_proj.key_proj.weight"
_NOT_LEARNED = ("relative_position_index", "n_averaged")  # a constant of the window size in public PCVOS checkpoints; a counter beside averaged weights
_OTHERS_CHANNEL = 4  # of that convolution's inputs: after the image and the object's mask, the sum of the other objects' masks
_WIPED_OUT = 0.05  # of the size of the object's channel, beside which it starts at the same and learns
_SHOWN = 3


def read_checkpoint(path: str | os.PathLike) -> dict[str, Any]:
    """The dictionary in a .pth file, on the CPU. Nothing pickled is run. Raises InputError where the file is missing or is not a checkpoint."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint file")
    with path.open("rb"):  # a file that may not be read is another matter than a damaged one
        pass
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if zipfile.is_zipfile(path) or ("weights only" in str(error).lower() and _looks_pickled(path)):
            raise InputError(f"{path}: holds pickled code, which is not run; save its state dict alone (torch.save(network.state_dict(), …))") from error
        raise InputError(f"{path}: not a checkpoint (a .pth file made by torch.save was expected)") from error
    except Exception as error:  # nothing is run, so whatever fails, the content is at fault; torch raises a dozen types for damaged files
        raise InputError(f"{path}: damaged, or not a checkpoint (a .pth file made by torch.save was expected)") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds a {type(content).__name__}; a dictionary of names and tensors was expected")
    return content


def _looks_pickled(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(1) == b"\x80"  # the opcode that starts every pickle since protocol 2


def network_state(content: dict[str, Any], path: str | os.PathLike = "checkpoint") -> dict[str, Tensor]:
    """The flat name → tensor dict of a network: bare or inside a training checkpoint (its averaged weights where it has them), with or without
    DistributedDataParallel's `module.` prefix. Raises InputError where there is none."""
    for wrapper in ("average", "network", "state_dict", "model"):
        if isinstance(content.get(wrapper), dict):
            content = content[wrapper]
            break
    unnamed = [name for name in content if not isinstance(name, str)]
    if unnamed:
        raise InputError(f"{path}: holds no network's weights ({unnamed[0]!r} is not a name)")
    state = {name.removeprefix("module."): value for name, value in content.items() if not name.endswith(_NOT_LEARNED)}
    strange = [name for name, value in state.items() if not isinstance(value, Tensor)]
    if strange or not state:
        found = f"{strange[0]!r} is not a tensor" if strange else "it is empty"
        raise InputError(f"{path}: holds no network's weights ({found})")
    return state


def recognise_preset(state: dict[str, Tensor], path: str | os.PathLike = "checkpoint", window: Sequence[int] | None = None) -> NetworkConfig:
    """The preset whose names and shapes are those of `state`, with its number of key channels. The similarity cannot be seen in them, nor can the refinement's window
    (only how many offsets it has): they are the preset's; window: where it is another.

    Raises InputError naming the first entries that fit no preset.
    """
    projection = state.get(_KEY_WEIGHT)
    channels = {} if projection is None or projection.ndim != 4 else {"key_channels": len(projection)}
    presets = {name: with_window(dataclasses.replace(config, **channels), window) for name, config in PRESETS.items()}
    misfits = {name: _misfits(state, config) for name, config in presets.items()}
    for name, wrong in misfits.items():
        if not wrong:
            return presets[name]
    nearest = min(misfits, key=lambda name: len(misfits[name]))
    wrong = misfits[nearest]
    raise InputError(f"{path}: fits no network ({', '.join(PRESETS)}); the nearest is {nearest}, entries that do not fit: {len(wrong):,}, first {'; '.join(wrong[:_SHOWN])}")


@functools.cache
def _shapes(config: NetworkConfig) -> dict[str, tuple[int, ...]]:
    """The names and shapes of a network's entries; not to be changed. Held, since a file is compared with every preset."""
    with torch.device("meta"):
        return {name: tuple(value.shape) for name, value in VOSNetwork(config).state_dict().items()}


def _misfits(state: dict[str, Tensor], config: NetworkConfig) -> list[str]:
    expected = _shapes(config)
    wrong = [f"{name} is missing" for name in expected if name not in state]
    wrong += [f"{name} is not known" for name in state if name not in expected]
    for name in [name for name in expected if name in state]:
        found = tuple(state[name].shape)
        four_channels = expected[name][:1] + (expected[name][1] - 1,) + expected[name][2:] if name == _MASK_WEIGHT else None
        if found not in (expected[name], four_channels):
            wrong.append(f"{name} is {list(found)}, not {list(expected[name])}")
    return wrong


def load_state(network: VOSNetwork, state: dict[str, Tensor], path: str | os.PathLike = "checkpoint", *, train_on: bool = False) -> tuple[str, ...]:
    """Load `state` strictly. A 4-channel first convolution of the value encoder (single-object pretraining) is widened: with zeros for inference,
    with an orthogonal initialisation if `train_on`, which also replaces a channel of the other objects
    that single-object pretraining has wiped out (by weight decay, in earlier versions).

    If `train_on`, slots of the network (SLOT_MODULES) of which the state has nothing keep their initialisation; returns their names. Raises InputError naming the
    first entries that do not fit.
    """
    fresh = _slots_without_weights(network, state) if train_on else ()
    modules = tuple(f"{module}." for slot in fresh for module in SLOT_MODULES[slot])
    state = {**state, **{name: value for name, value in network.state_dict().items() if name.startswith(modules)}} if fresh else state
    wrong = _misfits(state, network.config)
    if wrong:
        raise InputError(f"{path}: entries that do not fit network {network.config.name}: {len(wrong):,}, first {'; '.join(wrong[:_SHOWN])}")
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
    return tuple(slot for slot, modules in SLOT_MODULES.items() if getattr(network.config, slot) is not None and given.isdisjoint(modules))


def load_network(
    path: str | os.PathLike, network: str | NetworkConfig | None = None, *, similarity: Similarity | None = None, window: Sequence[int] | None = None, train_on: bool = False
) -> VOSNetwork:
    """The network in a checkpoint, on the CPU. Its preset is `network` where given, else the checkpoint's own configuration, else recognised by names and shapes.
    similarity, and window of the refinement: what it was trained with, where that is not the preset's and the file, of weights alone, does not say so."""
    content = read_checkpoint(path)
    state = network_state(content, path)
    if network is None:
        stored = content.get("network_config")
        network = NetworkConfig.from_dict(stored) if isinstance(stored, dict) else recognise_preset(state, path, window)
    config = with_window(preset(network), window) if isinstance(network, str) else network
    built = build_network(config if similarity is None else dataclasses.replace(config, similarity=similarity))
    load_state(built, state, path, train_on=train_on)
    return built


def save_weights(path: str | os.PathLike, network: nn.Module, *, half: bool = False) -> None:
    """Write the network alone as a flat name → tensor dict in the public naming, atomically. `half`: 16-bit floats and compressed, for shipping."""
    state = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    if not half:
        save_checkpoint(path, state)
        return
    whole = io.BytesIO()
    torch.save({name: value.half() if value.is_floating_point() else value for name, value in state.items()}, whole)
    with atomic_write(path) as file, zipfile.ZipFile(whole) as stored, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as compressed:
        for entry in stored.infolist():  # torch.load reads compressed entries as it reads stored ones
            compressed.writestr(entry.filename, stored.read(entry))


def save_checkpoint(path: str | os.PathLike, content: dict[str, Any]) -> None:
    """torch.save, atomically: the file is whole or absent."""
    with atomic_write(path) as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:  # how torch reports a write that failed; the system's reason is lost
            raise OSError(errno.EIO, f"could not be written whole, is the disk full? ({str(error).splitlines()[0]})", str(path)) from error


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
    files: dict[str, list[list[str]]] | None = None  # what the samples are drawn from (dataset.training_record); None in older checkpoints

    @staticmethod
    def from_checkpoint(path: str | os.PathLike) -> "TrainingState":
        """Raises InputError where the file holds only a network, or is damaged."""
        content = read_checkpoint(path)
        try:
            return TrainingState(**content)
        except TypeError as error:
            raise InputError(f"{path}: not a training checkpoint ({error}); to start from its network alone use --load_network") from error

    def save(self, path: str | os.PathLike) -> None:
        """Write atomically."""
        save_checkpoint(path, {field.name: getattr(self, field.name) for field in dataclasses.fields(self)})


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
    return sorted((path for path in folder.glob("*.pth") if path.stem.isdigit()), key=lambda path: int(path.stem))
