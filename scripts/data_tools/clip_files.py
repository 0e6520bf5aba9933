"""Writes a clip whose truth is known: frames, the masks that are given, and the truth.

Legend: T frames, H W height and width in pixels.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dataset.label_map import indexed_image, present_ids
from dataset.layout import FRAMES, MASKS
from dataset.video.layout import TRUTH
from util.files import atomic_write


def write_clip(
    root: Path,
    name: str,
    rendered: Iterable[tuple[np.ndarray, np.ndarray]],
    *,
    jpeg_quality: int,
    all_masks: bool = False,
) -> int:
    """Write ROOT/JPEGImages/NAME, Annotations/NAME and Truth/NAME; the same pixels, the same bytes.

    rendered: T frames RGB uint8 [H, W, 3] with their labels uint8 [H, W]. Annotations hold each
    object's mask where it first appears, Truth those of every frame. all_masks: Annotations hold
    every frame's instead, as training needs them, and there is no Truth.
    Returns T.
    """
    known: set[int] = set()
    count = 0
    for count, (image, labels) in enumerate(rendered, 1):
        file_name = f"{count - 1:05d}"
        path = root / FRAMES / name / f"{file_name}.jpg"
        _save(Image.fromarray(image), path, "JPEG", quality=jpeg_quality)
        masks = {MASKS if all_masks else TRUTH: labels}
        new_ids = set(present_ids(labels)) - known
        if new_ids and not all_masks:
            known |= new_ids
            masks[MASKS] = np.where(np.isin(labels, list(new_ids)), labels, np.uint8(0))
        for folder, mask in masks.items():
            path = root / folder / name / f"{file_name}.png"
            _save(indexed_image(mask), path, "PNG", optimize=True)
    return count


def _save(image: Image.Image, path: Path, format_name: str, **options: Any) -> None:
    with atomic_write(path) as file:
        image.save(file, format_name, **options)
