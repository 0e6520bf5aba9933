"""Values of JSON objects that other programs wrote, checked as they are read."""

import math
from typing import Any

from util.errors import InputError
from util.text import short_repr

_REQUIRED: Any = object()
_MAX_PIXELS = 1 << 28


class Fields:
    """One JSON object. Every method raises InputError, naming `where`, for a value of another kind,
    and for a missing one without a default. null counts as missing.
    """

    def __init__(self, value: Any, where: str):
        """where: the file and the place in it, for messages."""
        if not isinstance(value, dict):
            raise InputError(f"{where}: {short_repr(value)}; an object with named values is needed")
        self._value = value
        self.where = where

    def has(self, name: str) -> bool:
        return self._value.get(name) is not None

    def any(self, name: str) -> Any:
        """The value, unchecked; None if it is missing."""
        return self._value.get(name)

    def integer(self, name: str, default: Any = _REQUIRED) -> int:
        value = self._get(name, (int, float), "a whole number", default)
        if isinstance(value, float):
            if not value.is_integer():
                raise self.error(name, "a whole number is needed")
            return int(value)
        return value

    def identifier(self, name: str) -> int | str:
        """A whole number or a text that entries refer to one another by."""
        return self._get(name, (int, str), "a whole number or a text", _REQUIRED)

    def number(self, name: str, default: Any = _REQUIRED) -> float:
        value = self._get(name, (int, float), "a number", default)
        if value is not None and not math.isfinite(value):
            raise self.error(name, "a finite number is needed")
        return value

    def text(self, name: str, default: Any = _REQUIRED) -> str:
        return self._get(name, (str,), "a text", default)

    def array(self, name: str, default: Any = _REQUIRED) -> list:
        return self._get(name, (list,), "a list", default)

    def size(self, height: str = "height", width: str = "width") -> tuple[int, int]:
        """(H, W) in pixels."""
        return checked_size((self.integer(height), self.integer(width)), self.where)

    def entries(self, name: str, noun: str, default: Any = _REQUIRED) -> "list[Fields]":
        """The objects of a list. noun: what messages call one of them."""
        values = self.array(name, default)
        return [Fields(value, f"{self.where}, {noun} {n}") for n, value in enumerate(values)]

    def error(self, name: str, remedy: str) -> InputError:
        found = short_repr(self._value[name]) if self.has(name) else "missing"
        return InputError(f"{self.where}: {name!r} is {found}; {remedy}")

    def _get(self, name: str, kinds: tuple[type, ...], noun: str, default: Any) -> Any:
        value = self._value.get(name)
        if value is None and default is not _REQUIRED:
            return default
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise self.error(name, f"{noun} is needed")
        return value


def checked_size(size: tuple[int, int], where: str) -> tuple[int, int]:
    """A frame's (H, W). Raises InputError if it is empty or beyond 268 megapixels."""
    if min(size) < 1 or size[0] * size[1] > _MAX_PIXELS:
        raise InputError(
            f"{where}: frame of {size[1]}x{size[0]}; 1 to {_MAX_PIXELS:,} pixels are possible"
        )
    return size
