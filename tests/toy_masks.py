"""Toy masks of videos, for tests of formats. Legend: H W height and width in pixels."""

from pathlib import Path

import numpy as np
from toy_trees import write_png

from dataset.formats import MaskVideo

HEIGHT, WIDTH = 23, 37
SIZE = (HEIGHT, WIDTH)


def boxes(**places: tuple[int, int, int, int]) -> np.ndarray:
    """Labels uint8 [H, W]: id_7=(left, top, right, bottom) fills a box, whose ends are outside."""
    labels = np.zeros(SIZE, np.uint8)
    for name, (left, top, right, bottom) in places.items():
        labels[top:bottom, left:right] = int(name.removeprefix("id_"))
    return labels


VIDEOS = {
    # sparse ids, an object that joins late and leaves, an empty frame, one in two parts
    "bear": {
        "00000": boxes(id_1=(1, 1, 9, 9)),
        "00005": boxes(id_1=(2, 1, 10, 9), id_200=(20, 5, 37, 23)),
        "00010": boxes(),
        "00015": boxes(id_200=(0, 0, 37, 23), id_9=(30, 0, 37, 8)),
        "00020": boxes(id_1=(0, 0, 1, 23), id_254=(5, 0, 36, 22)),
    },
    # one object of DAVIS-2016
    "lion": {"a_1": boxes(id_255=(3, 3, 20, 20)), "a_2": boxes(id_255=(8, 3, 20, 9))},
}


def write_masks(root: Path, videos: dict[str, dict[str, np.ndarray]] | None = None) -> Path:
    """VIDEO/FRAME.png."""
    for video, frames in (VIDEOS if videos is None else videos).items():
        for frame, labels in frames.items():
            write_png(root / video / f"{frame}.png", labels)
    return root


def labels_of(videos: list[MaskVideo]) -> dict[str, dict[str, list]]:
    """The labels of every frame as lists, by video and frame."""
    return {
        video.name: {frame.name: frame.read().tolist() for frame in video.frames}
        for video in videos
    }


def as_lists(videos: dict[str, dict[str, np.ndarray]]) -> dict[str, dict[str, list]]:
    """As labels_of."""
    return {
        video: {frame: labels.tolist() for frame, labels in frames.items()}
        for video, frames in videos.items()
    }
