"""Run-length codes become masks, and masks COCO's compressed codes.

A mask is read column by column (COCO) or row by row (CVAT); its runs are the lengths of its parts
outside and inside in turn. COCO's compressed code writes each number as characters of five bits,
the lowest first, with a sixth bit while more follow; from the fourth run on, the number is the
difference to the run before the last. Source: maskApi.c of the COCO API.

Legend: H W height and width of a frame in pixels. A mask is bool [H, W].
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from dataset.image_file import size_text
from util.errors import InputError
from util.text import short_repr

_CHUNK_BITS, _MORE, _SIGN, _FIRST_CHARACTER = 5, 0x20, 0x10, 48
_LOWEST = _MORE - 1
_FIRST_DIFFERENCE = 3  # the run from which on differences are written
_MAX_RUN = 1 << 40


def encode_mask(mask: np.ndarray) -> dict[str, Any]:
    """A mask as COCO's run-length code: {'size': [H, W], 'counts': text}."""
    return {"size": list(mask.shape), "counts": coco_counts(mask)}


def coco_counts(mask: np.ndarray) -> str:
    """COCO's compressed code of a mask with at least one pixel."""
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


def _characters_of(number: int) -> str:
    characters = []
    more = True
    while more:
        code = number & _LOWEST
        number >>= _CHUNK_BITS
        more = number != (-1 if code & _SIGN else 0)
        characters.append(chr(_FIRST_CHARACTER + (code | _MORE if more else code)))
    return "".join(characters)


def coco_mask_of(counts: str, size: tuple[int, int], where: str) -> np.ndarray:
    """The mask of COCO's compressed code. size: (H, W). Raises InputError as runs_mask."""
    return runs_mask(coco_runs(counts, where), size, "F", where)


def runs_mask(
    runs: Sequence[int], size: tuple[int, int], order: Literal["C", "F"], where: str
) -> np.ndarray:
    """Lengths of runs of pixels, outside and inside in turn, as a mask.

    order: 'F' counts down the columns, as COCO does; 'C' along the rows, as CVAT.
    Raises InputError if the runs are not whole numbers that fill the frame exactly. (pycocotools
    2.0.11 fills what is missing with unrelated memory, and writes beyond it for damaged codes.)
    """
    if not all(isinstance(run, int) and 0 <= run <= _MAX_RUN for run in runs):
        raise InputError(f"{where}: runs {short_repr(list(runs))}; whole numbers are needed")
    if sum(runs) != size[0] * size[1]:
        raise InputError(
            f"{where}: runs of {sum(runs):,} pixels in all for {size_text(size)}, which has "
            f"{size[0] * size[1]:,}; export the masks again at the frames' size"
        )
    inside = np.arange(len(runs)) % 2 == 1
    return np.ascontiguousarray(np.repeat(inside, runs).reshape(size, order=order))


def coco_runs(counts: str, where: str) -> list[int]:
    """The runs that COCO's compressed code stands for. Raises InputError if it is damaged.

    where: for the message.
    """
    runs: list[int] = []
    value = bits = 0
    for character in counts:
        code = ord(character) - _FIRST_CHARACTER
        if not 0 <= code < 2 * _MORE:
            raise InputError(
                f"{where}: {character!r} in a compressed run-length code; copy it again"
            )
        value |= (code & _LOWEST) << bits
        bits += _CHUNK_BITS
        if code & _MORE:
            if bits > 60:
                raise InputError(f"{where}: a run too long for any frame; copy the code again")
            continue
        if code & _SIGN:
            value -= 1 << bits
        runs.append(value + runs[-2] if len(runs) >= _FIRST_DIFFERENCE else value)
        value = bits = 0
    if bits:
        raise InputError(f"{where}: a compressed run-length code that is cut off; copy it again")
    return runs
