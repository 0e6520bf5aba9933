"""The frame that a mask belongs to by its name, if the name is not simply the frame's."""

import re
from collections.abc import Sequence

_NUMBER = re.compile(r"[0-9]+")
_PADDED = re.compile(r"(?<![0-9])0[0-9]{3,}(?![0-9])")  # as programs number frames: 000003


def is_number(stem: str) -> bool:
    """Whether a stem consists of digits alone, 0 to 9."""
    return stem.isascii() and stem.isdigit()


def number_in(stem: str) -> int | None:
    """The frame number that a mask's stem states, or None.

    That is a stem of digits alone, or the only number of at least four digits that begins with 0.
    """
    if is_number(stem):
        return int(stem)
    padded = _PADDED.findall(stem)
    return int(padded[0]) if len(padded) == 1 else None


def position_in(stem: str, names: Sequence[str]) -> int | None:
    """The position of the frame that a mask's stem names, or None.

    A stem names a frame if it is or contains the frame's name as a word, or states its number.

    Raises:
        ValueError: the stem states a number that no frame has, or several frames.
    """
    if stem in names:
        return names.index(stem)
    contained = [
        name for name in names if re.search(rf"(?<![^\W_]){re.escape(name)}(?![0-9])", stem)
    ]
    if contained:
        return names.index(max(contained, key=len))
    number = number_in(stem)
    if number is None:
        return None
    numbers = [int(digits[-1]) if (digits := _NUMBER.findall(name)) else None for name in names]
    if numbers.count(number) == 1:
        return numbers.index(number)
    if all(other is None for other in numbers):
        return None
    raise ValueError(number)
