"""How programs put things to people."""

import reprlib
from typing import Any


def counted(count: int, noun: str, ending: str = "s") -> str:
    """A number of things: '1 frame', '2 frames', '1,500 frames'. ending: of the plural, added to the noun ('es': '2 processes')."""
    return f"{count:,} {noun}" + ending * (count != 1)


def shown(value: Any) -> str:
    """A value out of a file, which may be anything, as a short text of one line."""
    try:
        return " ".join(_SHORT.repr(value).split())
    except ValueError:  # Python writes no number of thousands of digits
        return f"a {type(value).__name__} of very many digits"


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80
_SHORT.maxlevel = 2
