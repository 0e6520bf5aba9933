"""How training reads masks. Legend: H W height and width as stored."""

from pathlib import Path

import numpy as np
from PIL import Image

from dataset.image_file import load_image
from dataset.label_map import BINARY_ID, indexed_label_map, is_binary
from util.errors import InputError

_BINARY_THRESHOLD = 128


def read_mask(path: Path) -> np.ndarray:
    """Read the object ids of an indexed or grey mask, uint8 [H, W], 0 background.

    255 as the only id is one object and becomes 1; beside other ids it is void and becomes 0. A
    grey mask of one object with soft edges (see is_binary) is thresholded; other grey values are
    ids, as in evaluation.
    Raises: InputError naming the file if it is missing, damaged, coloured, of more than 8 bits, or
    indexed with smooth edges or with another background than index 0.
    """
    return decode_mask(load_image(path), path)


def decode_mask(image: Image.Image, path: Path) -> np.ndarray:
    """read_mask for an image that is already loaded; `path` names it in errors.

    Raises: InputError as read_mask.
    """
    if image.mode.startswith(("I", "F")):
        raise InputError(
            f"{path}: mask of more than 8 bits with labels up to {np.asarray(image).max()}; save "
            "it as an 8-bit indexed PNG of ids 1..254"
        )
    if image.mode == "P":
        labels = indexed_label_map(image, path).labels
    else:
        labels = _grey_values(image, path)
        if is_binary(labels):
            return (labels >= _BINARY_THRESHOLD).astype(np.uint8)
    is_255 = labels == BINARY_ID
    if is_255.any():
        has_other_ids = ((labels > 0) & ~is_255).any()
        labels[is_255] = 0 if has_other_ids else 1
    return labels


def _grey_values(image: Image.Image, path: Path) -> np.ndarray:
    """uint8 [H, W] of a grey or black-and-white image, or of RGB with three equal channels."""
    if image.mode in ("1", "L", "LA"):
        return np.array(image.convert("L"))
    pixels = np.array(image.convert("RGB"))
    if (pixels[..., :1] != pixels).any():
        raise InputError(
            f"{path}: coloured mask; training masks must be indexed PNGs of object ids, or black "
            "and white"
        )
    return np.ascontiguousarray(pixels[..., 0])
