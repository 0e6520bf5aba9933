"""Toy data sets in the public layouts, for tests of whole programs. Legend: T frames."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from model import NetworkConfig, build_network, save_weights
from util.palette import DAVIS_PALETTE

HEIGHT, WIDTH = 48, 64


def toy_frames(count: int, seed: int, ids: Sequence[int] = (1, 2)) -> tuple[np.ndarray, np.ndarray]:
    """Smooth images uint8 [T, H, W, 3], and labels uint8 [T, H, W] of squares that move right."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 255, (6, 8, 3), dtype=np.uint8)
    background = np.asarray(
        Image.fromarray(coarse).resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)
    )
    images = np.repeat(background[None], count, axis=0)
    labels = np.zeros((count, HEIGHT, WIDTH), np.uint8)
    for number, object_id in enumerate(ids):
        colour = generator.integers(0, 255, 3)
        for index in range(count):
            top, left = 6 + 20 * number, 5 + 3 * index
            labels[index, top : top + 14, left : left + 14] = object_id
            images[index][labels[index] == object_id] = colour
    return images, labels


def write_png(path: Path, labels: np.ndarray, palette: bytes = DAVIS_PALETTE) -> None:
    """Write labels uint8 [H, W] as an indexed PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(labels)
    image.putpalette(palette)
    image.save(path)


def write_jpg(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, quality=95)


def write_davis(root: Path, lengths: Mapping[str, int], split_list: str = "2017/val.txt") -> Path:
    """Write videos in the layout of DAVIS, with the masks of objects 1 and 2 in every frame.

    lengths: frames of each video. split_list: the list of their names, below ImageSets.
    """
    for seed, (name, count) in enumerate(lengths.items()):
        for index, (image, labels) in enumerate(zip(*toy_frames(count, seed), strict=True)):
            write_jpg(root / f"JPEGImages/480p/{name}/{index:05d}.jpg", image)
            write_png(root / f"Annotations/480p/{name}/{index:05d}.png", labels)
    (root / "ImageSets" / split_list).parent.mkdir(parents=True)
    (root / "ImageSets" / split_list).write_text("\n".join(lengths) + "\n")
    return root


def write_generic(
    root: Path,
    name: str,
    masks_at: Mapping[int, Sequence[int]],
    count: int = 6,
    palette: bytes = DAVIS_PALETTE,
) -> Path:
    """Write one video in plain folders.

    masks_at: for each frame with a mask, the ids that the mask shows. All of them are objects that
    every frame shows.
    """
    ids = sorted({object_id for given in masks_at.values() for object_id in given})
    images, labels = toy_frames(count, 0, ids)
    for index in range(count):
        write_jpg(root / f"JPEGImages/{name}/{index:05d}.jpg", images[index])
        if index in masks_at:
            mask = _keep_ids(labels[index], masks_at[index])
            write_png(root / f"Annotations/{name}/{index:05d}.png", mask, palette)
    return root


def write_youtube(root: Path) -> Path:
    """Write one video of 11 frames in the layout of YouTube-VOS; object 3 joins at frame 5.

    Results are required for every fifth frame.
    """
    images, labels = toy_frames(11, 0, (1, 3))
    for index in range(11):
        write_jpg(
            root / f"all_frames/valid_all_frames/JPEGImages/aa11/{index:05d}.jpg", images[index]
        )
    for index in (0, 5, 10):
        write_jpg(root / f"valid/JPEGImages/aa11/{index:05d}.jpg", images[index])
    write_png(root / "valid/Annotations/aa11/00000.png", _keep_ids(labels[0], (1,)))
    write_png(root / "valid/Annotations/aa11/00005.png", _keep_ids(labels[5], (3,)))
    objects = {
        "1": {"category": "cat", "frames": ["00000", "00005", "00010"]},
        "3": {"category": "dog", "frames": ["00005", "00010"]},
    }
    (root / "valid/meta.json").write_text(json.dumps({"videos": {"aa11": {"objects": objects}}}))
    return root


def _keep_ids(labels: np.ndarray, ids: Sequence[int]) -> np.ndarray:
    """Labels in which all other ids are background."""
    return np.where(np.isin(labels, ids), labels, 0).astype(np.uint8)


def write_tiny_weights(path: Path, seed: int = 0, network: str | NetworkConfig = "tiny") -> Path:
    """Write the weights of an untrained network."""
    torch.manual_seed(seed)
    save_weights(path, build_network(network))
    return path


def file_names(folder: Path) -> list[str]:
    """The names of everything in a folder, sorted."""
    return sorted(path.name for path in folder.iterdir())
