"""Tiny trees of frames and masks, in the layouts the readers know."""

from pathlib import Path

import numpy as np
from PIL import Image

from util.palette import DAVIS_PALETTE

HEIGHT, WIDTH = 24, 40


def save_frame(path: Path, value: int = 90, size: tuple[int, int] = (WIDTH, HEIGHT)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, 60, 30)).save(path)


def make_labels(*ids: int, size: tuple[int, int] = (WIDTH, HEIGHT)) -> np.ndarray:
    """One vertical stripe of four columns per id."""
    labels = np.zeros(size[::-1], np.uint8)
    for position, object_id in enumerate(ids):
        labels[4:12, 4 * position : 4 * position + 4] = object_id
    return labels


def save_mask(
    path: Path,
    *ids: int,
    palette: bytes | None = DAVIS_PALETTE,
    size: tuple[int, int] = (WIDTH, HEIGHT),
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(make_labels(*ids, size=size))
    if palette is not None:
        image.putpalette(palette)
    image.save(path)


def make_generic(
    root: Path, masks: dict[str, tuple[int, ...]], frames: int = 4, name: str = "clip"
) -> Path:
    for index in range(frames):
        save_frame(root / "JPEGImages" / name / f"{index:05d}.jpg", index)
    for stem, ids in masks.items():
        save_mask(root / "Annotations" / name / f"{stem}.png", *ids)
    return root


def labelled(video) -> dict[int, list[int]]:
    """Frame index → the ids given there."""
    return {
        frame.index: np.unique(frame.labels)[1:].tolist()
        for frame in video.frames()
        if frame.labels is not None
    }
