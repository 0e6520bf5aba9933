"""Small training sets whose objects have known colours. Legend: H W height and width in pixels."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 72, 100
BACKGROUND = 20, 120, 30
OBJECT_COLOURS = (230, 20, 20), (20, 20, 230)

PALETTE = [value for index in range(256) for value in (index, 255 - index, index // 2)]
GREY_PALETTE = [index for index in range(256) for _ in range(3)]


def write_pair(
    image_path: Path, mask_path: Path, shift: int = 0, ids: Sequence[int] = (1, 2), seed: int = 0
) -> None:
    """A red block with id ids[0] and a blue one with ids[1], if given, on noisy green.

    shift: moves both to the right by so many pixels.
    """
    noise = np.random.default_rng(seed).integers(0, 20, (HEIGHT, WIDTH, 1), dtype=np.uint8)
    image = np.full((HEIGHT, WIDTH, 3), BACKGROUND, np.uint8) + noise
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    for number, (object_id, colour) in enumerate(zip(ids, OBJECT_COLOURS, strict=False)):
        block = np.s_[15 + 25 * number : 35 + 25 * number, 20 + shift : 50 + shift]
        image[block], labels[block] = colour, object_id
    image_path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(image_path, quality=95)
    write_mask(mask_path, labels)


def write_mask(path: Path, labels: np.ndarray, palette: Sequence[int] = PALETTE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = Image.fromarray(labels)
    mask.putpalette(palette)
    mask.save(path)


def write_videos(images: Path, masks: Path, lengths: dict[str, int], ids: Sequence[int]) -> None:
    """Videos in which both blocks move to the right by two pixels a frame."""
    for name, length in lengths.items():
        for index in range(length):
            write_pair(
                images / name / f"{index:05d}.jpg",
                masks / name / f"{index:05d}.png",
                shift=2 * index,
                ids=ids,
            )


def make_davis(root: Path) -> Path:
    """Two videos of eight frames, `bear` and `boat`, with objects 7 and 200."""
    lengths = {"bear": 8, "boat": 8}
    write_videos(root / "JPEGImages/480p", root / "Annotations/480p", lengths, ids=(7, 200))
    (root / "ImageSets/2017").mkdir(parents=True)
    (root / "ImageSets/2017/train.txt").write_text("bear\nboat\n")
    return root


def make_bl(root: Path) -> Path:
    """One video of four frames, `v1`."""
    write_videos(root / "JPEGImages", root / "Annotations", {"v1": 4}, ids=(1, 2))
    return root


def make_stills(root: Path) -> Path:
    """Three images with masks."""
    for index in range(3):
        write_pair(root / f"set/{index}.jpg", root / f"set/{index}.png", seed=index)
    return root
