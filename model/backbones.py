"""Encoders that start from torchvision's ImageNet weights, as published, where a network's encoders are its ResNets."""

import contextlib
import http.client
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlparse

import torch
from torch import Tensor, nn
from torchvision import models

from model.checkpoint import network_state, read_checkpoint
from model.config import NetworkConfig
from model.encoders import ResidualEncoder
from model.network import VOSNetwork
from util.errors import InputError

IMAGENET, NONE = "imagenet", "none"
_IMAGENET_WEIGHTS = {"resnet50": models.ResNet50_Weights.IMAGENET1K_V1, "resnet18": models.ResNet18_Weights.IMAGENET1K_V1}  # those STCN was published with
_STAGES = ("layer1", "layer2", "layer3")
_LEARNED = {nn.Conv2d: ("weight",), nn.BatchNorm2d: ("weight", "bias", "running_mean", "running_var")}  # torchvision's convolutions have no biases
_IMAGE_CHANNELS = 3
_TIMEOUT_SECONDS = 20.0


def has_imagenet_weights(config: NetworkConfig) -> bool:
    """Whether an encoder of such a network is one that torchvision has ImageNet weights of."""
    with torch.device("meta"):
        return bool(_imagenet_names(VOSNetwork(config)))


def fetch_backbones(network: VOSNetwork, source: Sequence[str]) -> None:
    """Download what load_backbones will read, where that is ImageNet weights which are not there yet; one process of each machine is enough.

    Raises InputError, naming the file and where to put it, where the network cannot be reached; and as load_backbones does.
    """
    if _kind(source) == IMAGENET:
        _refuse_without_weights(network)
        missing = [name for name in _imagenet_names(network).values() if not _cached(name).is_file()]
        for number, name in enumerate(missing):
            _fetch(name, missing[number:])


def load_backbones(network: VOSNetwork, source: Sequence[str]) -> list[str]:
    """Load the encoders' convolutions and batch norms; returns a line for each encoder that says from where.

    source: ("none",), ("imagenet",), or files of torchvision's state dicts, each recognised by the encoder that it fits. Of the value encoder's first convolution
    the image's channels are loaded, the masks' stay as they are, and so do all biases. Nothing random is drawn. Raises InputError where ImageNet has no weights
    of these encoders, a file cannot be fetched, or one fits no encoder or the same as another.
    """
    kind = _kind(source)
    encoders = _encoders(network)
    if kind == NONE:
        return [f"{place}: not pretrained" for place in encoders]
    origins: dict[str, str] = {}
    if kind == IMAGENET:
        fetch_backbones(network, source)
        for place, name in _imagenet_names(network).items():
            path = _cached(name)
            _load(encoders[place], network_state(read_checkpoint(path), path))
            origins[place] = f"{name} of ImageNet, {path}"
    else:
        for path in source:
            state = network_state(read_checkpoint(path), path)
            place = _place_of(state, network, path)
            if place in origins:
                raise InputError(f"{path}: fits the {place}, for which {origins[place]} is given; give one file for each encoder")
            _load(encoders[place], state)
            origins[place] = path
    return [f"{place}: {origins.get(place, 'not pretrained')}" for place in encoders]


def _kind(source: Sequence[str]) -> str | None:
    """imagenet, none, or None for files."""
    words = [word for word in source if word in (IMAGENET, NONE)]
    if words and len(source) > 1:
        raise InputError(f"--backbone_weights {' '.join(source)}: give {IMAGENET}, {NONE}, or files")
    return words[0] if words else None


def _encoders(network: VOSNetwork) -> dict[str, ResidualEncoder]:
    return {"key encoder": network.key_encoder, "value encoder": network.value_encoder}


def _imagenet_names(network: VOSNetwork) -> dict[str, str]:
    """Encoder → the model of torchvision that it is, for those that are one."""
    with torch.device("meta"):
        known = {name: models.get_model(name).state_dict() for name in _IMAGENET_WEIGHTS}
    return {place: name for place, encoder in _encoders(network).items() for name, state in known.items() if _fits(encoder, state)}


def _refuse_without_weights(network: VOSNetwork) -> None:
    if not _imagenet_names(network):
        known = ", ".join(_IMAGENET_WEIGHTS)
        raise InputError(f"--backbone_weights {IMAGENET}: the encoders of network {network.config.name} are none of {known}; use --backbone_weights {NONE}")


def _place_of(state: Mapping[str, Tensor], network: VOSNetwork, path: str) -> str:
    """The encoder that a file is for."""
    for place, encoder in _encoders(network).items():
        if _fits(encoder, state):
            return place
    raise InputError(f"{path}: fits neither encoder of network {network.config.name}; a state dict of torchvision's ResNet of the same blocks is needed")


def _entries(encoder: ResidualEncoder) -> dict[str, str]:
    """Our name → torchvision's, of all that is pretrained."""
    heads = {"conv1": "conv1", "bn1": "bn1", **dict(zip(encoder.stage_names, _STAGES, strict=True))}
    entries = {}
    for name, module in encoder.named_modules():
        head, dot, rest = name.partition(".")
        for entry in _LEARNED.get(type(module), ()) if head in heads else ():
            entries[f"{name}.{entry}"] = f"{heads[head]}{dot}{rest}.{entry}"
    return entries


def _fits(encoder: ResidualEncoder, state: Mapping[str, Tensor]) -> bool:
    """Whether a state dict of torchvision has all of the encoder's entries, of their shapes, and no further ones up to the last stage used."""
    entries, own = _entries(encoder), encoder.state_dict()
    found = {name for name in state if name.split(".")[0] in ("conv1", "bn1", *_STAGES) and not name.endswith("num_batches_tracked")}
    return found == set(entries.values()) and all(_pretrained_part(own, ours).shape == state[theirs].shape for ours, theirs in entries.items())


def _load(encoder: ResidualEncoder, state: Mapping[str, Tensor]) -> None:
    own = encoder.state_dict()  # shares the encoder's memory
    for ours, theirs in _entries(encoder).items():
        _pretrained_part(own, ours).copy_(state[theirs])


def _pretrained_part(own: Mapping[str, Tensor], name: str) -> Tensor:
    """An entry, or of the first convolution what acts on the image: the masks' channels come after it."""
    return own[name][:, :_IMAGE_CHANNELS] if name == "conv1.weight" else own[name]


def _cached(name: str) -> Path:
    """Where torch keeps the file of a model's ImageNet weights."""
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(_IMAGENET_WEIGHTS[name].url).path).name


def _fetch(name: str, missing: Sequence[str]) -> None:
    """Download a model's ImageNet weights. missing: all models whose files are needed, for the error."""
    url, path = _IMAGENET_WEIGHTS[name].url, _cached(name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _socket_timeout(_TIMEOUT_SECONDS):
            torch.hub.download_url_to_file(url, str(path), hash_prefix=path.stem.split("-")[1])
    except (OSError, http.client.HTTPException, RuntimeError) as error:  # RuntimeError: what came is another file
        reason = getattr(error, "reason", None) or error
        wanted = " and ".join(_cached(other).name for other in missing)
        raise InputError(
            f"{url}: could not be fetched ({reason}); put {wanted} into {path.parent}, name such files by --backbone_weights, or train without by --backbone_weights {NONE}"
        ) from error


@contextlib.contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """torch.hub sets none, so that behind some firewalls it would wait for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
