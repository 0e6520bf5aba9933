"""What a network is made of: frozen descriptions, and the presets as values. Legend: C channels."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal, get_args

from util.errors import InputError

Similarity = Literal["l2", "dot", "cosine"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """A residual encoder to stride 16: 7×7 stem at stride 2, max pooling, three stages at strides 4, 8 and 16.

    `block` is torchvision's residual block: "bottleneck" widens `planes` by 4, "basic" by 1.
    """

    block: Literal["basic", "bottleneck"]
    stem_channels: int
    planes: tuple[int, int, int]
    depths: tuple[int, int, int]
    convolution_bias: bool = False

    @property
    def channels(self) -> tuple[int, int, int]:
        """Output channels at strides 4, 8 and 16."""
        expansion = 4 if self.block == "bottleneck" else 1
        return tuple(planes * expansion for planes in self.planes)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RefinerConfig:
    """Intra-clip refinement of the readouts (model/intra_clip_refinement.py). The defaults are published: PCVOS, with the windows of Video Swin Transformer."""

    key_channels: int = 256  # of the local key
    window: tuple[int, int, int] = (2, 7, 7)  # frames, rows, columns at stride 16
    depth: int = 2  # blocks; every second one has shifted windows


@dataclasses.dataclass(frozen=True, kw_only=True)
class EnhancerConfig:
    """Foreground reinforcing of the query key (model/foreground_reinforcing.py). Source: REMN; the window's size is ours."""

    window: tuple[int, int] = (7, 7)  # rows, columns at stride 16, odd


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReducerConfig:
    """Redundancy reduction of the memory (model/redundancy_reduction.py). Source: REMN; the number of policies is ours."""

    policies: int = 2  # S of them: 2, 4, …, 2^S frames become one


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """All that is needed to build a network. The defaults of `similarity` and the presets' sizes are STCN's."""

    name: str
    key_encoder: EncoderConfig
    value_encoder: EncoderConfig
    key_channels: int
    value_channels: int
    decoder_channels: tuple[int, int, int]  # at strides 16, 8 and 4
    attention_reduction: int = 16
    similarity: Similarity = "l2"
    refiner: RefinerConfig | None = None  # None: readouts are decoded as they are
    enhancer: EnhancerConfig | None = None  # None: keys query the memory as they are
    reducer: ReducerConfig | None = None  # None: the memory's frames stay as they are

    def as_dict(self) -> dict[str, Any]:
        """Plain values only, so that a checkpoint holding them needs no pickled code; empty slots are left out."""
        return {name: value for name, value in dataclasses.asdict(self).items() if value is not None}

    @staticmethod
    def from_dict(values: dict[str, Any]) -> "NetworkConfig":
        """The inverse of as_dict. Raises InputError where a field is unknown or missing."""

        def tuples(fields: dict[str, Any]) -> dict[str, Any]:
            return {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}

        try:
            encoders = {key: EncoderConfig(**tuples(values[key])) for key in ("key_encoder", "value_encoder")}
            slots = {slot: kind(**tuples(values[slot])) for slot, kind in SLOTS.items() if values.get(slot) is not None}
            config = NetworkConfig(**{**tuples(values), **encoders, **slots})
            known = {encoder.block for encoder in encoders.values()} <= {"basic", "bottleneck"} and config.similarity in get_args(Similarity)
            if not known:
                raise ValueError("unknown block or similarity")
            return config
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise InputError(f"network configuration: {error}; it was written by another version of this project") from error


SLOTS = {"refiner": RefinerConfig, "enhancer": EnhancerConfig, "reducer": ReducerConfig}  # parts a network may do without: fields of NetworkConfig

_STCN = NetworkConfig(  # as published: ResNet-50 and ResNet-18 to layer3
    name="stcn",
    key_encoder=EncoderConfig(block="bottleneck", stem_channels=64, planes=(64, 128, 256), depths=(3, 4, 6)),
    value_encoder=EncoderConfig(block="basic", stem_channels=64, planes=(64, 128, 256), depths=(2, 2, 2), convolution_bias=True),
    key_channels=64,
    value_channels=512,
    decoder_channels=(512, 256, 256),
)
_STCN_SMALL = NetworkConfig(  # trained from scratch, and quick enough for two CPU cores
    name="stcn_small",
    key_encoder=EncoderConfig(block="basic", stem_channels=32, planes=(40, 80, 192), depths=(2, 2, 2)),
    value_encoder=EncoderConfig(block="basic", stem_channels=24, planes=(32, 64, 128), depths=(1, 1, 2), convolution_bias=True),
    key_channels=64,
    value_channels=128,
    decoder_channels=(128, 80, 64),
)
_TINY = NetworkConfig(  # for tests: milliseconds a frame
    name="tiny",
    key_encoder=EncoderConfig(block="basic", stem_channels=8, planes=(8, 12, 16), depths=(1, 1, 1)),
    value_encoder=EncoderConfig(block="basic", stem_channels=8, planes=(8, 12, 16), depths=(1, 1, 1), convolution_bias=True),
    key_channels=8,
    value_channels=16,
    decoder_channels=(16, 12, 8),
    attention_reduction=4,
)

PRESETS: dict[str, NetworkConfig] = {
    config.name: config
    for config in (
        _STCN,
        _STCN_SMALL,
        _TINY,
        dataclasses.replace(_STCN, name="pcvos", refiner=RefinerConfig()),  # as published
        dataclasses.replace(_STCN_SMALL, name="pcvos_small", refiner=RefinerConfig(key_channels=64)),
        # windows that even the smallest frames of tests do not fill, so that they are shifted and padded
        dataclasses.replace(_TINY, name="tiny_pcvos", refiner=RefinerConfig(key_channels=8, window=(2, 2, 3))),
        dataclasses.replace(_STCN, name="remn", enhancer=EnhancerConfig(), reducer=ReducerConfig()),
        dataclasses.replace(_STCN_SMALL, name="remn_small", enhancer=EnhancerConfig(), reducer=ReducerConfig()),
        dataclasses.replace(_TINY, name="tiny_remn", enhancer=EnhancerConfig(window=(3, 5)), reducer=ReducerConfig()),
    )
}


def preset(name: str) -> NetworkConfig:
    """The configuration called `name`. Raises InputError, listing the valid names, for another."""
    if name not in PRESETS:
        raise InputError(f"network {name!r} is not known; choose one of {', '.join(PRESETS)}")
    return PRESETS[name]


_LARGEST_WINDOW = 64  # frames, or positions at stride 16; 2, 7 and 7 are published


def with_window(config: NetworkConfig, window: Sequence[int] | None) -> NetworkConfig:
    """The configuration with that window of its refinement (frames, rows, columns); as it is where it has none, or window is None. Raises InputError for sizes below 1."""
    if window is None or config.refiner is None:
        return config
    if len(window) != 3 or min(window) < 1 or max(window) > _LARGEST_WINDOW:
        raise InputError(f"window {' '.join(map(str, window))}: frames, rows and columns are needed, each at least 1 and at most {_LARGEST_WINDOW}")
    return dataclasses.replace(config, refiner=dataclasses.replace(config.refiner, window=tuple(window)))
