"""Masks as the texts of COCO's tools, which BURST's files hold.

A mask is read column by column. The lengths of its runs, of background first, are written as
differences from the length before last (from the fourth run on), and each number as characters of
five bits, the lowest first, with a sixth bit while more follow. Legend: H W height and width.
"""

import numpy as np

_FIRST_CHARACTER = 48
_BITS, _MORE, _SIGN = 5, 0x20, 0x10
_LOWEST = (1 << _BITS) - 1
_FIRST_DIFFERENCE = 3  # the run from which on differences are written


def mask_of(text: str, height: int, width: int) -> np.ndarray:
    """The mask bool [H, W] of a text. Raises ValueError if the text is not one of this size."""
    runs: list[int] = []
    for number in _numbers_of(text):
        before = runs[-2] if len(runs) >= _FIRST_DIFFERENCE else 0
        runs.append(number + before)
    if min(runs, default=0) < 0 or sum(runs) != height * width:
        raise ValueError(f"its runs do not cover {width}x{height} pixels")
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape(width, height).T


def text_of(mask: np.ndarray) -> str:
    """The text of a mask bool [H, W]."""
    pixels = mask.T.ravel()
    starts = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    runs = np.diff([0, *starts, pixels.size]).tolist()
    if pixels[0]:
        runs.insert(0, 0)
    differences = [
        run - runs[index - 2] if index >= _FIRST_DIFFERENCE else run
        for index, run in enumerate(runs)
    ]
    return "".join(map(_characters_of, differences))


def _numbers_of(text: str) -> list[int]:
    numbers, value, shift = [], 0, 0
    for character in text:
        code = ord(character) - _FIRST_CHARACTER
        if not 0 <= code <= _MORE | _LOWEST:
            raise ValueError(f"{character!r} is no character of a mask")
        value |= (code & _LOWEST) << shift
        shift += _BITS
        if not code & _MORE:
            if code & _SIGN:
                value -= 1 << shift
            numbers.append(value)
            value, shift = 0, 0
    if shift:
        raise ValueError("it ends inside a number")
    return numbers


def _characters_of(number: int) -> str:
    characters = []
    more = True
    while more:
        code = number & _LOWEST
        number >>= _BITS
        more = number != (-1 if code & _SIGN else 0)
        characters.append(chr(_FIRST_CHARACTER + (code | _MORE if more else code)))
    return "".join(characters)
