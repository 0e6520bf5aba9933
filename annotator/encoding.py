"""Frames and labels as the page receives and sends them.

Legend: H W frame size.
"""

import io
import zlib

import numpy as np
from PIL import Image

from util.errors import InputError

_JPEG_QUALITY = 90


def jpeg(image: np.ndarray) -> bytes:
    """A frame, uint8 RGB [H, W, 3], as a JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return buffer.getvalue()


def packed_labels(labels: np.ndarray) -> bytes:
    """Labels uint8 [H, W], row by row, as zlib compresses them (Content-Encoding: deflate)."""
    return zlib.compress(np.ascontiguousarray(labels).tobytes(), 1)


def mask_bytes(size: tuple[int, int]) -> int:
    """The length of a mask of this size (H, W) as `unpacked_mask` reads it."""
    return -(-size[0] * size[1] // 8)


def unpacked_mask(content: bytes, size: tuple[int, int]) -> np.ndarray:
    """A mask, bool [H, W], from a bit a pixel, row by row, the first pixel in the highest bit.

    Raises InputError for another length.
    """
    if len(content) != mask_bytes(size):
        raise InputError(
            f"mask of {len(content)} bytes; {size[1]}×{size[0]} pixels take {mask_bytes(size)}"
        )
    bits = np.unpackbits(np.frombuffer(content, np.uint8), count=size[0] * size[1])
    return bits.astype(bool).reshape(size)
