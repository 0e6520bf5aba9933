"""Label maps of squares, for tests of scores. Legend: H W height and width in pixels."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from util.palette import DAVIS_PALETTE

HEIGHT, WIDTH = 24, 32
_COLUMNS = {1: 0, 2: 1, 4: 2, 9: 3, 255: 1}  # of each id


def labels_with(*ids: int) -> np.ndarray:
    """Labels uint8 [H, W] with a square of 6 by 6 pixels for each id, at a position of its own."""
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    for object_id in ids:
        left = _COLUMNS[object_id] * 8
        labels[8:14, left : left + 6] = object_id
    return labels


def write_maps(
    folder: Path, frames: Sequence[np.ndarray] | Mapping[str, np.ndarray], indexed: bool = True
) -> None:
    """Write label maps as FOLDER/00000.png and on, or under the names given with them."""
    folder.mkdir(parents=True, exist_ok=True)
    if not isinstance(frames, Mapping):
        frames = {f"{index:05d}": labels for index, labels in enumerate(frames)}
    for name, labels in frames.items():
        image = Image.fromarray(np.asarray(labels, dtype=np.uint8))
        if indexed:
            image.putpalette(DAVIS_PALETTE)
        image.save(folder / f"{name}.png")
