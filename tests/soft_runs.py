"""What tests of probabilities and of their merging segment: two networks, two toy videos."""

from pathlib import Path

import numpy as np
from conftest import tiny_network
from PIL import Image
from toy_trees import write_generic

from model import save_weights

PALETTE = bytes(range(256)) * 3


def save_two_networks(folder: Path) -> list[Path]:
    """Weights of two networks that predict every object of a toy video."""
    paths = [folder / f"{scale}.pth" for scale in (0.5, 2)]
    for path, scale in zip(paths, (0.5, 2)):
        save_weights(path, tiny_network(scale))
    return paths


def write_two_videos(root: Path) -> Path:
    """bear, whose object 3 joins at frame 2, and lion, whose ids have another palette."""
    write_generic(root, "bear", {0: (1,), 2: (3,)}, count=5)
    return write_generic(root, "lion", {0: (7, 200)}, count=4, palette=PALETTE)


def read(path: Path) -> np.ndarray:
    """The values of an image file."""
    with Image.open(path) as image:
        return np.array(image)
