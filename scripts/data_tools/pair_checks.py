"""Checks of an image and its mask. Legend: H W height and width in pixels."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from dataset.folders import without_path
from dataset.image_file import image_sizes, load_image, open_image, read_image, size_text
from dataset.label_map import BINARY_ID, present_ids
from dataset.training.masks import decode_mask
from scripts.data_tools.reports import Finding
from util.errors import InputError

Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class PairCheck:
    """What was found in an image and its mask.

    size: (H, W) of the image; None if it cannot be read. has_objects: None if the mask cannot be
    read, or was not decoded.
    """

    findings: list[Finding]
    size: tuple[int, int] | None = None
    has_objects: bool | None = None


@dataclass(frozen=True, kw_only=True)
class _Mask:
    """A mask's (H, W), and whether it has objects; None if it was not decoded."""

    size: tuple[int, int]
    has_objects: bool | None = None


def check_pair(image: Path, mask: Path, fast: bool) -> PairCheck:
    """Check an image and its mask. fast: read their headers only."""
    findings: list[Finding] = []
    read_size = _size_in_header if fast else _size_of_pixels
    size = _attempt(image, findings, lambda: read_size(image))
    found = _attempt(
        mask, findings, lambda: _mask_header(mask) if fast else _mask_content(mask, findings)
    )
    if size is not None and found is not None and found.size != size:
        sizes = f"mask of {size_text(found.size)} for an image of {size_text(size)}"
        findings.append(Finding(text=f"{mask}: {sizes}", is_damage=True))
    has_objects = None if found is None else found.has_objects
    return PairCheck(findings=findings, size=size, has_objects=has_objects)


def _attempt(path: Path, findings: list[Finding], read: Callable[[], Result]) -> Result | None:
    """What `read` returns; None, and a finding, if it refuses the file."""
    try:
        return read()
    except InputError as error:
        text = f"{path}: {without_path(error, path)}"
        findings.append(Finding(text=text, is_damage=True))
        return None


def _size_in_header(path: Path) -> tuple[int, int]:
    return image_sizes(path).shown


def _size_of_pixels(path: Path) -> tuple[int, int]:
    return read_image(path).shape[:2]


def _mask_header(path: Path) -> _Mask:
    with open_image(path) as image:
        if image.mode.startswith(("I", "F")):
            raise InputError(
                f"{path}: mask of more than 8 bits; save it as an 8-bit indexed PNG of ids 1..254"
            )
        return _Mask(size=(image.height, image.width))


def _mask_content(path: Path, findings: list[Finding]) -> _Mask:
    image = load_image(path)
    labels = decode_mask(image, path)
    stored_ids = present_ids(np.asarray(image)) if image.mode == "P" else ()
    if BINARY_ID in stored_ids and len(stored_ids) > 1:
        text = f"{path}: id {BINARY_ID} beside others counts as void"
        findings.append(Finding(text=text, is_problem=False))
    return _Mask(size=labels.shape, has_objects=bool(labels.any()))
