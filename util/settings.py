"""Settings of frozen configurations, changed by their full names (`memory.policy`) and, from a
command line, by texts."""

import dataclasses
import types
import typing
from typing import Any, Literal, TypeVar, Union

from util.errors import InputError
from util.text import short_repr

Config = TypeVar("Config")
_TRUTH_VALUES = {
    **dict.fromkeys(("1", "true", "yes", "on"), True),
    **dict.fromkeys(("0", "false", "no", "off"), False),
}
_EXPECTED = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
_MAX_CHECKPOINT_VALUES, _MAX_CHECKPOINT_DEPTH, _MAX_CHECKPOINT_CHARACTERS = 10_000, 20, 10_000


def setting_names(config: Any, prefix: str = "") -> list[str]:
    """The full names of all settings of a dataclass and of the dataclasses in it."""
    names = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            names += setting_names(value, f"{prefix}{field.name}.")
        else:
            names.append(prefix + field.name)
    return names


def select_fields(kind: type[Config], source: Any) -> Config:
    """A configuration whose fields are the attributes of the same names of `source`, such as the
    flags of a command line or a larger configuration."""
    return kind(**{field.name: getattr(source, field.name) for field in dataclasses.fields(kind)})


def parse_settings(items: typing.Iterable[str]) -> list[tuple[str, str]]:
    """KEY=VALUE texts as pairs. Raises InputError if one has another form."""
    settings = []
    for item in items:
        name, equals, value = item.partition("=")
        if not equals or not name:
            raise InputError(f"--set {item}: KEY=VALUE is needed")
        settings.append((name, value))
    return settings


def with_setting(
    config: Config, name: str, value: Any, *, fixed: typing.Collection[str] = ()
) -> Config:
    """A copy of the configuration with one setting changed.

    name: the full name. value: of the setting's type, or a text of it (`0.2,0.8` for a pair,
    `none` for an optional one). fixed: names that cannot be changed.
    Raises: InputError for an unknown name, naming the valid ones, and for a value of another type.
    """
    valid = [known for known in setting_names(config) if known not in fixed]
    if name not in valid:
        raise InputError(f"setting {name!r} is not known; the settings are {', '.join(valid)}")
    return _with_value(config, name.split("."), value, name)


def _with_value(config: Any, path: list[str], value: Any, name: str) -> Any:
    field, *inner = path
    if inner:
        changed = _with_value(getattr(config, field), inner, value, name)
    else:
        changed = _as_type(value, typing.get_type_hints(type(config))[field], name)
    return dataclasses.replace(config, **{field: changed})


def _as_type(value: Any, kind: Any, name: str) -> Any:
    """The value as bool, int, float, str, a Literal, a tuple of these, or an optional one."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Union, types.UnionType):
        if value is None or (isinstance(value, str) and value.lower() == "none"):
            return None
        return _as_type(value, next(one for one in arguments if one is not type(None)), name)
    if origin is Literal:
        if value not in arguments:
            valid = ", ".join(map(str, arguments))
            raise InputError(f"setting {name}={value!r}: one of {valid} is expected")
        return value
    if origin is tuple:
        return _as_tuple(value, arguments, name)
    if kind not in _EXPECTED:
        raise InputError(f"setting {name}: it has a flag of its own")
    if isinstance(value, str) and kind is not str:
        value = _parse(value, kind)
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        raise InputError(f"setting {name}={value!r}: {_EXPECTED[kind]} is expected")
    return value


def _as_tuple(value: Any, arguments: tuple[Any, ...], name: str) -> tuple[Any, ...]:
    parts = value.split(",") if isinstance(value, str) else value
    kinds = [arguments[0]] * len(parts) if arguments[-1] is Ellipsis else arguments
    if len(parts) != len(kinds):
        raise InputError(
            f"setting {name}={value!r}: {len(kinds)} values separated by commas are expected"
        )
    return tuple(_as_type(part, kind, name) for part, kind in zip(parts, kinds, strict=True))


def _parse(text: str, kind: type) -> Any:
    """The text as a value of `kind`, or the text itself if it does not express one."""
    if kind is bool:
        return _TRUTH_VALUES.get(text.lower(), text)
    try:
        return kind(text)
    except ValueError:
        return text


def check_plain_values(values: Any) -> None:
    """Check that a configuration read from a file consists of dictionaries, lists, texts and
    numbers of ordinary size. Comparing or showing anything else might never end.

    Raises: InputError otherwise.
    """
    waiting, count = [(values, 0)], 0
    while waiting:
        value, depth = waiting.pop()
        count += 1
        if isinstance(value, dict):
            waiting += ((item, depth + 1) for item in [*value, *value.values()])
        elif isinstance(value, (list, tuple)):
            waiting += ((item, depth + 1) for item in value)
        elif not _is_ordinary(value):
            raise InputError(
                f"a configuration in the checkpoint holds {short_repr(value)}, which no "
                "configuration does; the file is damaged"
            )
        if count + len(waiting) > _MAX_CHECKPOINT_VALUES or depth > _MAX_CHECKPOINT_DEPTH:
            raise InputError(
                "a configuration in the checkpoint is larger, or nested deeper, than any is; "
                "the file is damaged"
            )


def _is_ordinary(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= _MAX_CHECKPOINT_CHARACTERS
    if isinstance(value, int):
        return not abs(value) >> 64
    return isinstance(value, (float, type(None)))
