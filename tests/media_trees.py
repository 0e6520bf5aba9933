"""Tiny trees of frames and masks in the layouts that the readers know."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from util.errors import InputError
from util.palette import DAVIS_PALETTE

HEIGHT, WIDTH = 24, 40


def save_frame(path: Path, value: int = 90, size: tuple[int, int] = (WIDTH, HEIGHT)) -> None:
    """An image of one colour. size: width, height."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, 60, 30)).save(path)


def make_labels(*ids: int, size: tuple[int, int] = (WIDTH, HEIGHT)) -> np.ndarray:
    """uint8 [H, W] with one vertical stripe of four columns per id."""
    labels = np.zeros(size[::-1], np.uint8)
    for position, object_id in enumerate(ids):
        labels[4:12, 4 * position : 4 * position + 4] = object_id
    return labels


def with_palette(labels: np.ndarray, colours: bytes | Iterable[tuple[int, ...]]) -> Image.Image:
    """An indexed image of ids."""
    image = Image.fromarray(labels)
    if not isinstance(colours, bytes):
        colours = bytes(channel for colour in colours for channel in colour)
    image.putpalette(colours)
    return image


def save_mask(
    path: Path,
    *ids: int,
    palette: bytes | None = DAVIS_PALETTE,
    size: tuple[int, int] = (WIDTH, HEIGHT),
) -> None:
    """A PNG of stripes (see make_labels): indexed, or grey if palette is None."""
    path.parent.mkdir(parents=True, exist_ok=True)
    labels = make_labels(*ids, size=size)
    image = Image.fromarray(labels) if palette is None else with_palette(labels, palette)
    image.save(path)


def make_generic(
    root: Path, masks: Mapping[str, tuple[int, ...]], frames: int = 4, name: str = "clip"
) -> Path:
    """One video in JPEGImages and Annotations. masks: the ids by a mask's stem."""
    for index in range(frames):
        save_frame(root / "JPEGImages" / name / f"{index:05d}.jpg", index)
    for stem, ids in masks.items():
        save_mask(root / "Annotations" / name / f"{stem}.png", *ids)
    return root


def make_davis(
    root: Path,
    ids: tuple[int, ...] = (1, 2),
    list_file: str = "2017/val.txt",
    line: str = "bear",
    palette: bytes | None = DAVIS_PALETTE,
) -> Path:
    """One sequence of three frames, 'bear', with a list that holds `line`."""
    for index in range(3):
        save_frame(root / f"JPEGImages/480p/bear/{index:05d}.jpg", index)
        save_mask(root / f"Annotations/480p/bear/{index:05d}.png", *ids, palette=palette)
    (root / "ImageSets" / list_file).parent.mkdir(parents=True)
    (root / "ImageSets" / list_file).write_text(line + "\n")
    return root


def labelled(video) -> dict[int, list[int]]:
    """Frame index → the ids given there."""
    return {
        frame.index: np.unique(frame.labels)[1:].tolist()
        for frame in video.frames()
        if frame.labels is not None
    }


def check_refused(call: Callable[[], object], words: str) -> None:
    """Assert that a call raises InputError with these words (a pattern) in one line."""
    with pytest.raises(InputError, match=words) as refused:
        call()
    assert "\n" not in str(refused.value)


def write_mjpeg(path: Path, frames: int = 12) -> None:
    """A video at 10 frames per second by OpenCV, frame i of the grey value 8 i."""
    images = [np.full((HEIGHT, WIDTH, 3), 8 * index, np.uint8) for index in range(frames)]
    write_by_opencv(path, images)


def write_by_opencv(path: Path, images: list[np.ndarray]) -> None:
    """images: blue, green, red [H, W, 3]."""
    codec = cv2.VideoWriter_fourcc(*"MJPG")
    writer = cv2.VideoWriter(str(path), cv2.CAP_OPENCV_MJPEG, codec, 10, (WIDTH, HEIGHT))
    assert writer.isOpened()
    for image in images:
        writer.write(image)
    writer.release()
