"""To which frame a mask belongs by its name, where the name is not just the frame's."""

import re
from collections.abc import Sequence

_NUMBER = re.compile(r"[0-9]+")
_PADDED = re.compile(
    r"(?<![0-9])0[0-9]{3,}(?![0-9])"
)  # how programs write a frame's number: 000003


def number_in(stem: str) -> int | None:
    """The frame number a mask's stem states: its digits where there is nothing else, or a single number of four digits or more that begins with 0; else None."""
    if stem.isascii() and stem.isdigit():
        return int(stem)
    padded = _PADDED.findall(stem)
    return int(padded[0]) if len(padded) == 1 else None


def position_in(stem: str, names: Sequence[str]) -> int | None:
    """The position of the frame that a mask's stem names, in whole or with words around it, or whose number it states; None where it names none.

    Raises ValueError where it states a number that no frame, or more than one, has.
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
    numbers = [int(found[-1]) if (found := _NUMBER.findall(name)) else None for name in names]
    if number in numbers and numbers.count(number) == 1:
        return numbers.index(number)
    if all(other is None for other in numbers):
        return None
    raise ValueError(number)
