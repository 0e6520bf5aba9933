"""Network configurations: frozen dataclasses, and the presets as values. Legend: C channels."""

import dataclasses
import math
import types
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from util.errors import InputError
from util.text import short_repr

Similarity = Literal["l2", "dot", "cosine"]

MOST_KEY_CHANNELS = 4096  # 64 is published; beyond this a query alone takes gigabytes
# Positions of a refinement window, which are compared pair by pair; 98 are published.
_MOST_WINDOW_TOKENS = 4096
_NOT_OURS = "the file was written by another version of this project, or is damaged"
_ADDED_FIELDS = {
    "fuser_attention": True,
    "floor": 0.01,
}  # added later, with what earlier versions did
_LONGEST_NAME, _LONGEST_TUPLE = 100, 16
_BOUNDS = {  # field → smallest and largest value
    "stem_channels": (1, 4096),
    "planes": (1, 4096),
    "depths": (1, 100),
    "key_channels": (1, MOST_KEY_CHANNELS),
    "value_channels": (1, 4096),
    "decoder_channels": (1, 4096),
    "attention_reduction": (1, 4096),
    "window": (1, 64),  # frames, or positions at stride 16
    "depth": (1, 100),
    "policies": (1, 6),  # the last one merges 2^6 frames into one
    "floor": (1e-6, 1),
}

Block = Literal["basic", "bottleneck", "inverted"]


class _BlockFamily(NamedTuple):
    """How the kind of block determines an encoder's sizes."""

    expansion: int  # output channels in multiples of `planes`
    stage_ends: tuple[int, int, int]  # index of the last group of blocks at strides 4, 8 and 16


_BLOCK_FAMILIES: dict[str, _BlockFamily] = {
    "basic": _BlockFamily(1, (0, 1, 2)),
    "bottleneck": _BlockFamily(4, (0, 1, 2)),
    "inverted": _BlockFamily(1, (1, 2, 4)),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """An encoder to stride 16, with features at strides 4, 8 and 16.

    `block` names the family. "basic" and "bottleneck": a ResNet (7×7 stem at stride 2, max pooling,
    three groups of torchvision's residual blocks; "bottleneck" widens `planes` by 4). "inverted":
    an EfficientNet-Lite (3×3 stem at stride 2, five groups of inverted residual blocks; see
    model/efficientnet_lite.py). `planes` and `depths`: channels and number of blocks of each group.
    Raises ValueError if their numbers do not suit the block.
    """

    block: Block
    stem_channels: int
    planes: tuple[int, ...]
    depths: tuple[int, ...]
    convolution_bias: bool = False

    def __post_init__(self) -> None:
        if self.block not in _BLOCK_FAMILIES:
            raise ValueError(f"block {self.block!r} is not one of {', '.join(_BLOCK_FAMILIES)}")
        groups = self._family.stage_ends[-1] + 1
        if not len(self.planes) == len(self.depths) == groups:
            raise ValueError(
                f"an encoder of {self.block} blocks has {groups} planes and depths; "
                f"found {list(self.planes)} and {list(self.depths)}"
            )

    @property
    def _family(self) -> _BlockFamily:
        return _BLOCK_FAMILIES[self.block]

    @property
    def channels(self) -> tuple[int, int, int]:
        """Output channels at strides 4, 8 and 16."""
        return tuple(self.planes[end] * self._family.expansion for end in self._family.stage_ends)


# To stride 16. Source: the EfficientNet-Lite models that Google published with TensorFlow.
EFFICIENTNET_LITE: dict[str, EncoderConfig] = {
    f"efficientnet-lite{number}": EncoderConfig(
        block="inverted", stem_channels=32, planes=planes, depths=depths
    )
    for number, planes, depths in (
        (0, (16, 24, 40, 80, 112), (1, 2, 2, 3, 3)),
        (1, (16, 24, 40, 80, 112), (1, 3, 3, 4, 4)),
        (2, (16, 24, 48, 88, 120), (1, 3, 3, 4, 4)),
    )
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class RefinerConfig:
    """Intra-clip refinement of the readouts (model/intra_clip_refinement.py).

    The defaults are PCVOS's, with the windows of Video Swin Transformer.
    """

    key_channels: int = 256  # of the local key
    window: tuple[int, int, int] = (2, 7, 7)  # frames, rows, columns at stride 16
    depth: int = 2  # blocks; every second one has shifted windows


@dataclasses.dataclass(frozen=True, kw_only=True)
class EnhancerConfig:
    """Foreground reinforcing of the query key (model/foreground_reinforcing.py).

    Source: REMN; the window's size is ours.
    """

    window: tuple[int, int] = (7, 7)  # rows, columns at stride 16, odd


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReducerConfig:
    """Redundancy reduction of the memory (model/redundancy_reduction.py).

    Source: REMN; the number of policies and the size of γ are ours.
    """

    policies: int = 2  # S policies merge 2, 4, …, 2^S frames into one
    floor: float = 0.01  # γ: keeps every policy's share above zero, so that all learn


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """All that is needed to build a network. The defaults are STCN's.

    A slot (refiner, enhancer, reducer) that is None passes its input through.
    """

    name: str
    key_encoder: EncoderConfig
    value_encoder: EncoderConfig
    key_channels: int
    value_channels: int
    decoder_channels: tuple[int, int, int]  # at strides 16, 8 and 4
    attention_reduction: int = 16
    fuser_attention: bool = True  # CBAM in the value encoder; STCN found it not to be essential
    similarity: Similarity = "l2"
    refiner: RefinerConfig | None = None
    enhancer: EnhancerConfig | None = None
    reducer: ReducerConfig | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain values, so that a checkpoint needs no pickled code.

        Empty slots are left out, and so are fields of _ADDED_FIELDS at their defaults: what earlier
        versions can express has the same form as theirs.
        """
        return _as_plain(self)

    @staticmethod
    def from_dict(values: dict[str, Any]) -> "NetworkConfig":
        """The inverse of as_dict, for values from a file.

        Raises InputError if a field is unknown, missing, of another type or out of bounds.
        """
        config = _read(NetworkConfig, values, "network configuration")
        config.check()
        return config

    def check(self) -> None:
        """Raise InputError for sizes out of bounds, which would exhaust time or memory."""
        _check_bounds(self, "network configuration")
        if self.refiner is not None and math.prod(self.refiner.window) > _MOST_WINDOW_TOKENS:
            window = "×".join(map(str, self.refiner.window))
            raise InputError(
                f"network configuration: refiner.window is {window}; "
                f"at most {_MOST_WINDOW_TOKENS:,} positions are possible, 2×7×7 are published"
            )


_STCN = NetworkConfig(  # as published: ResNet-50 and ResNet-18 to layer3
    name="stcn",
    key_encoder=EncoderConfig(
        block="bottleneck", stem_channels=64, planes=(64, 128, 256), depths=(3, 4, 6)
    ),
    value_encoder=EncoderConfig(
        block="basic",
        stem_channels=64,
        planes=(64, 128, 256),
        depths=(2, 2, 2),
        convolution_bias=True,
    ),
    key_channels=64,
    value_channels=512,
    decoder_channels=(512, 256, 256),
)
_STCN_SMALL = NetworkConfig(  # trained from scratch; fast enough for two CPU cores
    name="stcn_small",
    key_encoder=EncoderConfig(
        block="basic", stem_channels=32, planes=(40, 80, 192), depths=(2, 2, 2)
    ),
    value_encoder=EncoderConfig(
        block="basic",
        stem_channels=24,
        planes=(32, 64, 128),
        depths=(1, 1, 2),
        convolution_bias=True,
    ),
    key_channels=64,
    value_channels=128,
    decoder_channels=(128, 80, 64),
)
_LITE = {  # stcn_small with an EfficientNet-Lite key encoder, which starts from ImageNet weights
    number: dataclasses.replace(
        _STCN_SMALL,
        name=f"stcn_lite{number}",
        key_encoder=EFFICIENTNET_LITE[f"efficientnet-lite{number}"],
    )
    for number in (0, 1, 2)
}
_TINY = NetworkConfig(  # for tests: milliseconds a frame
    name="tiny",
    key_encoder=EncoderConfig(block="basic", stem_channels=8, planes=(8, 12, 16), depths=(1, 1, 1)),
    value_encoder=EncoderConfig(
        block="basic", stem_channels=8, planes=(8, 12, 16), depths=(1, 1, 1), convolution_bias=True
    ),
    key_channels=8,
    value_channels=16,
    decoder_channels=(16, 12, 8),
    attention_reduction=4,
)


def _without_cbam(config: NetworkConfig) -> NetworkConfig:
    return dataclasses.replace(config, name=f"{config.name}_no_cbam", fuser_attention=False)


PRESETS: dict[str, NetworkConfig] = {
    config.name: config
    for config in (
        _STCN,
        _STCN_SMALL,
        _TINY,
        *_LITE.values(),
        dataclasses.replace(_STCN, name="pcvos", refiner=RefinerConfig()),  # as published
        dataclasses.replace(
            _STCN_SMALL, name="pcvos_small", refiner=RefinerConfig(key_channels=64)
        ),
        dataclasses.replace(_LITE[0], name="pcvos_lite0", refiner=RefinerConfig(key_channels=64)),
        # Windows smaller than the smallest test frames, so that they are shifted and padded.
        dataclasses.replace(
            _TINY, name="tiny_pcvos", refiner=RefinerConfig(key_channels=8, window=(2, 2, 3))
        ),
        dataclasses.replace(_STCN, name="remn", enhancer=EnhancerConfig(), reducer=ReducerConfig()),
        dataclasses.replace(
            _STCN_SMALL, name="remn_small", enhancer=EnhancerConfig(), reducer=ReducerConfig()
        ),
        dataclasses.replace(
            _LITE[0], name="remn_lite0", enhancer=EnhancerConfig(), reducer=ReducerConfig()
        ),
        dataclasses.replace(
            _TINY, name="tiny_remn", enhancer=EnhancerConfig(window=(3, 5)), reducer=ReducerConfig()
        ),
        *map(_without_cbam, (_STCN, _LITE[0], _TINY)),
    )
}


def preset(name: str) -> NetworkConfig:
    """The preset called `name`. Raises InputError, which lists the valid names, for another."""
    if name not in PRESETS:
        raise InputError(f"network {name!r} is not known; choose one of {', '.join(PRESETS)}")
    return PRESETS[name]


def with_window(config: NetworkConfig, window: Sequence[int] | None) -> NetworkConfig:
    """The configuration with another refinement window (frames, rows, columns).

    Unchanged if it has no refinement or window is None. Raises InputError for an impossible window.
    """
    if window is None or config.refiner is None:
        return config
    largest = _BOUNDS["window"][1]
    if (
        len(window) != 3
        or min(window) < 1
        or max(window) > largest
        or math.prod(window) > _MOST_WINDOW_TOKENS
    ):
        raise InputError(
            f"window {' '.join(map(str, window))}: frames, rows and columns are needed, each "
            f"at least 1 and at most {largest}, together at most {_MOST_WINDOW_TOKENS:,} positions"
        )
    return dataclasses.replace(
        config, refiner=dataclasses.replace(config.refiner, window=tuple(window))
    )


def _as_plain(config: Any) -> dict[str, Any]:
    values = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    return {
        name: _as_plain(value) if dataclasses.is_dataclass(value) else value
        for name, value in values.items()
        if value is not None and (name not in _ADDED_FIELDS or value != _ADDED_FIELDS[name])
    }


def _check_bounds(config: Any, source: str) -> None:
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            _check_bounds(value, f"{source}: {field.name}")
        elif field.name in _BOUNDS:
            least, most = _BOUNDS[field.name]
            for number in value if isinstance(value, tuple) else (value,):
                if not least <= number <= most:
                    raise InputError(
                        f"{source}: {field.name} is {short_repr(value)}; "
                        f"{least} to {most:,} are possible"
                    )


def _read(kind: Any, value: Any, source: str) -> Any:
    """An untrusted value as `kind`.

    kind: a dataclass, int, bool, str, a Literal, a tuple of these (given as list or tuple), or one
    of them or None. Raises InputError for any other value.
    """
    arguments = get_args(kind)
    if get_origin(kind) is Literal:
        if isinstance(value, str) and value in arguments:
            return value
        choices = ", ".join(arguments)
        raise InputError(f"{source} {short_repr(value)} is not one of {choices}; {_NOT_OURS}")
    elif get_origin(kind) in (Union, types.UnionType):
        (not_none,) = (one for one in arguments if one is not type(None))
        return None if value is None else _read(not_none, value, source)
    elif get_origin(kind) is tuple:
        is_sequence = isinstance(value, (list, tuple))
        if arguments[-1] is Ellipsis and is_sequence and len(value) <= _LONGEST_TUPLE:
            arguments = arguments[:1] * len(value)
        if is_sequence and len(value) == len(arguments):
            items = zip(arguments, value, strict=True)
            return tuple(_read(one, item, source) for one, item in items)
    elif dataclasses.is_dataclass(kind):
        if isinstance(value, dict):
            return _read_fields(kind, value, source)
    elif kind is str and isinstance(value, str):
        if len(value) <= _LONGEST_NAME and value.isprintable():
            return value
    elif type(value) is kind:
        return value
    raise InputError(f"{source} is {short_repr(value)}, which is none; {_NOT_OURS}")


def _read_fields(kind: type, values: dict[Any, Any], source: str) -> Any:
    kinds = get_type_hints(kind)
    unknown = [name for name in values if name not in kinds]
    missing = [
        field.name
        for field in dataclasses.fields(kind)
        if field.default is dataclasses.MISSING and field.name not in values
    ]
    for names, wrong in ((unknown, "unknown"), (missing, "missing")):
        if names:
            raise InputError(f"{source}: {short_repr(names[0])} is {wrong}; {_NOT_OURS}")
    fields = {
        name: _read(kinds[name], value, f"{source}: {name}") for name, value in values.items()
    }
    try:
        return kind(**fields)
    except ValueError as error:
        raise InputError(f"{source}: {error}; {_NOT_OURS}") from error
