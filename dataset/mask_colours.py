"""Colours of masks and the object ids that they stand for.

Legend: H W height and width in pixels. A colour code is red << 16 | green << 8 | blue. A palette
is 768 bytes: red, green, blue of ids 0 to 255.
"""

from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from dataset.folders import require_file, short_path
from dataset.image_file import load_image
from util.errors import InputError
from util.files import read_text
from util.palette import DAVIS_PALETTE

WHITE_CODE = 0xFFFFFF


class ColourNumbering:
    """Ids for the colours of one video's RGB masks, numbered as the masks are added.

    In the first mask, the background becomes 0 and the other colours follow by size; later masks
    add their new colours. The background is black if black is present, otherwise the colour of
    most border pixels.
    """

    def __init__(self) -> None:
        self.ids: dict[int, int] = {}

    def add(self, codes: np.ndarray) -> None:
        """Number the new colours of a mask. codes: int [H, W]."""
        present, counts = np.unique(codes, return_counts=True)
        by_size = sorted(
            zip(present.tolist(), counts.tolist(), strict=True),
            key=lambda pair: (-pair[1], pair[0]),
        )
        order = [code for code, _ in by_size]
        if not self.ids:
            background = 0 if 0 in order else _border_code(codes)
            order.remove(background)
            order.insert(0, background)
        for code in order:
            self.ids.setdefault(code, len(self.ids))

    def labels_of(self, codes: np.ndarray) -> np.ndarray:
        """Ids uint8 [H, W] of colours that were added, at most 256."""
        return map_codes(codes, self.ids)

    @property
    def palette(self) -> bytes:
        """The palette of the colours added so far."""
        return full_palette(bytes(channel for code in self.ids for channel in channels_of(code)))

    def __str__(self) -> str:
        return ", ".join(
            f"{channels_of(code)} → {index or 'background'}" for code, index in self.ids.items()
        )


Colours = bytes | ColourNumbering | None
"""How RGB masks become ids: by a palette, by numbering, or (None) only black and white do."""


def full_palette(colours: bytes) -> bytes:
    """A palette of the colours given, with DAVIS's colours for the ids beyond them."""
    return (bytes(colours) + DAVIS_PALETTE[len(colours) :])[:768]


def palette_array(palette: bytes) -> np.ndarray:
    """A palette as uint8 [256, 3]."""
    return np.frombuffer(palette, np.uint8).reshape(256, 3)


def read_palette(path: str | Path) -> bytes | Literal["auto"]:
    """The palette for RGB masks that --palette names.

    Args:
        path: an indexed PNG, a .txt of lines 'red green blue' with id 0 first, 'davis', or 'auto'.

    Returns:
        A palette, or 'auto' unchanged: each video numbers its colours (see ColourNumbering).

    Raises:
        InputError: the file holds no palette.
    """
    if str(path) == "auto":
        return "auto"
    if str(path) == "davis":
        return DAVIS_PALETTE
    path = Path(path)
    if path.suffix.lower() == ".txt":
        return _read_palette_text(path)
    image = load_image(path)
    if image.mode != "P":
        raise InputError(
            f"{short_path(path)}: {image.mode} image without a palette; give an indexed PNG, or a "
            ".txt of lines 'red green blue'"
        )
    return full_palette(bytes(image.getpalette("RGB")))


def _read_palette_text(path: Path) -> bytes:
    require_file(path)
    try:
        text = read_text(path, "a line 'red green blue' for each id")
        rows = [
            [int(word) for word in line.replace(",", " ").split()]
            for line in text.splitlines()
            if line.strip()
        ]
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(
            f"{short_path(path)}: cannot be read as lines 'red green blue' ({error})"
        ) from error
    if not 2 <= len(rows) <= 256 or not all(
        len(row) == 3 and all(0 <= value <= 255 for value in row) for row in rows
    ):
        raise InputError(
            f"{short_path(path)}: a palette is 2 to 256 lines of three numbers 0..255, id 0 first"
        )
    return full_palette(bytes(value for row in rows for value in row))


def colour_codes(image: Image.Image) -> np.ndarray:
    """The colour code of each pixel, int32 [H, W]."""
    weights = np.array([1 << 16, 1 << 8, 1], dtype=np.int32)
    return np.asarray(image.convert("RGB")).astype(np.int32) @ weights


def channels_of(code: int) -> tuple[int, int, int]:
    """(red, green, blue) of a colour code."""
    return code >> 16, code >> 8 & 255, code & 255


def palette_ids(palette: bytes) -> dict[int, int]:
    """Colour code → id. A colour that the palette holds twice is the lower id."""
    triples = palette_array(full_palette(palette)).tolist()
    codes = [red << 16 | green << 8 | blue for red, green, blue in triples]
    return {code: index for index, code in reversed(list(enumerate(codes)))}


def map_codes(codes: np.ndarray, ids: dict[int, int]) -> np.ndarray:
    """Colour codes int [H, W] as ids uint8 [H, W]; `ids` holds every code."""
    present, positions = np.unique(codes, return_inverse=True)
    table = np.array([ids[code] for code in present.tolist()], dtype=np.uint8)
    return table[positions.reshape(codes.shape)]


def _border_code(codes: np.ndarray) -> int:
    """The code of most pixels on the border of int [H, W]."""
    border = np.concatenate((codes[0], codes[-1], codes[:, 0], codes[:, -1]))
    present, counts = np.unique(border, return_counts=True)
    return int(present[counts.argmax()])
