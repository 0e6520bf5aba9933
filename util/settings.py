"""Changing one setting of a frozen configuration by its full name and, as from a command line, by a text."""

import dataclasses
import types
import typing
from typing import Any, Literal, TypeVar, Union

from util.errors import InputError
from util.text import short_repr

Config = TypeVar("Config")
_TRUTH = {
    "1": True,
    "true": True,
    "yes": True,
    "on": True,
    "0": False,
    "false": False,
    "no": False,
    "off": False,
}
_EXPECTED = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


def setting_names(config: Any, prefix: str = "") -> list[str]:
    """Full names of all settings of a dataclass and of those in it: `memory.policy`."""
    names = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        names += (
            setting_names(value, f"{prefix}{field.name}.")
            if dataclasses.is_dataclass(value)
            else [prefix + field.name]
        )
    return names


def with_setting(
    config: Config, name: str, value: Any, *, fixed: typing.Collection[str] = ()
) -> Config:
    """The configuration with one setting changed. value: of the setting's type, or a text of it (`0.2,0.8` for a pair, `none` where it may be None).

    fixed: names that cannot be changed. Raises InputError for an unknown name, with the valid ones, or a value of another type.
    """
    valid = [known for known in setting_names(config) if known not in fixed]
    if name not in valid:
        raise InputError(f"setting {name!r} is not known; the settings are {', '.join(valid)}")
    return _replaced(config, name.split("."), value, name)


def parse_settings(items: typing.Iterable[str]) -> list[tuple[str, str]]:
    """KEY=VALUE texts as pairs. Raises InputError where one is not of that form."""
    settings = []
    for item in items:
        name, equals, value = item.partition("=")
        if not equals or not name:
            raise InputError(f"--set {item}: KEY=VALUE is needed")
        settings.append((name, value))
    return settings


_MOST_VALUES, _DEEPEST, _LONGEST_TEXT = 10_000, 20, 10_000


def check_plain_values(values: Any) -> None:
    """Raise InputError for a configuration out of a file that is no nesting of dictionaries, lists, texts and numbers of a size that people write: comparing or showing
    another might never end."""
    waiting, count = [(values, 0)], 0
    while waiting:
        value, depth = waiting.pop()
        count += 1
        if isinstance(value, (dict, list, tuple)):
            items = list(value) + list(value.values()) if isinstance(value, dict) else value
            waiting += ((item, depth + 1) for item in items)
        elif (
            not isinstance(value, (str, int, float, type(None)))
            or (isinstance(value, str) and len(value) > _LONGEST_TEXT)
            or (isinstance(value, int) and abs(value) >> 64)
        ):
            raise InputError(
                f"a configuration in the checkpoint holds {short_repr(value)}, which no configuration does; the file is damaged"
            )
        if count + len(waiting) > _MOST_VALUES or depth > _DEEPEST:
            raise InputError(
                "a configuration in the checkpoint is larger, or nested deeper, than any is; the file is damaged"
            )


def _replaced(config: Any, path: list[str], value: Any, name: str) -> Any:
    head, *rest = path
    if rest:
        return dataclasses.replace(
            config, **{head: _replaced(getattr(config, head), rest, value, name)}
        )
    return dataclasses.replace(
        config, **{head: _typed(value, typing.get_type_hints(type(config))[head], name)}
    )


def _typed(value: Any, kind: Any, name: str) -> Any:
    """`value` as one of `kind`: bool, int, float, str, a Literal, a tuple of these, or one of them and None."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Union, types.UnionType):
        if value is None or (isinstance(value, str) and value.lower() == "none"):
            return None
        return _typed(value, next(one for one in arguments if one is not type(None)), name)
    if origin is Literal:
        if value not in arguments:
            raise InputError(
                f"setting {name}={value!r}: one of {', '.join(map(str, arguments))} is expected"
            )
        return value
    if origin is tuple:
        parts = value.split(",") if isinstance(value, str) else value
        kinds = [arguments[0]] * len(parts) if arguments[-1] is Ellipsis else arguments
        if len(parts) != len(kinds):
            raise InputError(
                f"setting {name}={value!r}: {len(kinds)} values separated by commas are expected"
            )
        return tuple(_typed(part, one, name) for part, one in zip(parts, kinds, strict=True))
    if kind not in _EXPECTED:
        raise InputError(f"setting {name}: it has a flag of its own")
    if isinstance(value, str) and kind is not str:
        value = _read(value, kind)
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        raise InputError(f"setting {name}={value!r}: {_EXPECTED[kind]} is expected")
    return value


def _read(text: str, kind: type) -> Any:
    """The text as one of `kind`; the text itself where it is none."""
    if kind is bool:
        return _TRUTH.get(text.lower(), text)
    try:
        return kind(text)
    except ValueError:
        return text
