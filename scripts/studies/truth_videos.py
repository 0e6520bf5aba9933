"""Videos whose truth is known in every frame, and the score of results against it.

Legend: H W height and width of a frame in pixels.
"""

import argparse
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from dataset import Layout
from dataset.folders import MASK_SUFFIXES, list_files
from dataset.image_file import read_image
from inference.config import SYSTEMS
from inference.scoring import read_labels
from inference.scoring.metrics import boundary_accuracy, region_similarity
from util.errors import InputError
from util.text import counted


class Frames(Sequence):
    """The frames of a folder, uint8 [H, W, 3], each read when it is asked for."""

    def __init__(self, paths: Sequence[Path]):
        self._paths = paths

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> np.ndarray:
        return read_image(self._paths[index], upright=False)


@dataclasses.dataclass(frozen=True)
class TruthVideo:
    """A video with the truth of every frame."""

    name: str
    frames: Frames
    truth: Sequence[Path]
    single_object: bool

    def __len__(self) -> int:
        return len(self.truth)

    def labels(self, index: int) -> np.ndarray:
        """The true ids uint8 [H, W] of a frame."""
        return read_labels(self.truth[index], self.single_object)

    def object_ids(self, frames: Iterable[int]) -> list[int]:
        """The ids that the truth of these frames shows, ascending."""
        return sorted({int(i) for index in frames for i in np.unique(self.labels(index)) if i})


def open_truth_videos(
    root: Path,
    sequences: Sequence[str] | None = None,
    *,
    fewest_frames: int,
    max_frames: int | None = None,
) -> list[TruthVideo]:
    """The videos of a data set.

    sequences: None: all. fewest_frames: that each must have. max_frames: only so many of the first
    ones. Raises InputError if a frame lacks its truth, or a video has too few frames.
    """
    layout = Layout.of(root)
    videos = []
    for name in sequences or layout.names():
        paths = layout.frame_files(name)[:max_frames]
        masks = {path.stem: path for path in list_files(layout.truth_folder / name, MASK_SUFFIXES)}
        missing = [path.stem for path in paths if path.stem not in masks]
        if missing or len(paths) < fewest_frames:
            raise InputError(
                f"{layout.truth_folder / name}: {counted(len(missing), 'frame')} without a mask, of"
                f" {len(paths)}; the truth of every frame is needed, and at least"
                f" {counted(fewest_frames, 'frame')}"
            )
        truth = [masks[path.stem] for path in paths]
        videos.append(TruthVideo(name, Frames(paths), truth, layout.single_object))
    return videos


def measure(
    video: TruthVideo, results: Mapping[int, np.ndarray], object_ids: Sequence[int]
) -> np.ndarray:
    """J and F in 0..1, [frames, objects, 2], in the order of the results.

    results: ids [H, W] by frame. Raises InputError if the truth has another size.
    """
    measures = []
    for index, labels in results.items():
        truth = video.labels(index)
        if truth.shape != labels.shape:
            raise InputError(
                f"{video.truth[index]}: {truth.shape[1]}×{truth.shape[0]} pixels, and its frame has"
                f" {labels.shape[1]}×{labels.shape[0]}; give the truth in the frame's size"
            )
        masks = [(truth == i, labels == i) for i in object_ids]
        measures.append([(region_similarity(*m), boundary_accuracy(*m)) for m in masks])
    return np.array(measures).reshape(len(results), len(object_ids), 2)


def add_network_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that choose the network, its working size and its device."""
    add = parser.add_argument
    add("--system", choices=tuple(SYSTEMS), default="stcn", help="default: stcn")
    add("--model", type=Path, metavar="FILE", help="weights (default: those shipped)")
    resolution = "working shorter side in pixels (default: 240); -1: as stored"
    add("--resolution", type=int, default=240, metavar="N", help=resolution)
    add("--device", default="auto", help="auto (default), cpu, cuda, cuda:1 or mps")
