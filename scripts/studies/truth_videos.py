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
from dataset.image_file import read_image, size_text
from inference import VideoSegmenter
from inference.config import SYSTEMS
from inference.scoring import read_labels
from inference.scoring.measurement import region_and_boundary
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
                f"{video.truth[index]}: {size_text(truth.shape)} pixels, and its frame has"
                f" {size_text(labels.shape)}; give the truth in the frame's size"
            )
        by_object = region_and_boundary(truth, labels, object_ids)
        measures.append([by_object[object_id] for object_id in object_ids])
    return np.array(measures).reshape(len(results), len(object_ids), 2)


def add_network_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that open_segmenter reads: the network, its working size and its device."""
    add = parser.add_argument
    add("--system", choices=tuple(SYSTEMS), default="stcn", help="default: stcn")
    add("--model", type=Path, metavar="FILE", help="weights (default: those shipped)")
    resolution = "working shorter side in pixels (default: 240); -1: as stored"
    add("--resolution", type=int, default=240, metavar="N", help=resolution)
    add("--device", default="auto", help="auto (default), cpu, cuda, cuda:1 or mps")


def open_segmenter(flags: argparse.Namespace, *, permanent_memory: bool) -> VideoSegmenter:
    """The segmenter that the flags of add_network_flags describe."""
    return VideoSegmenter.from_checkpoint(
        flags.model,
        flags.system,
        device=flags.device,
        resolution=flags.resolution,
        permanent_memory=permanent_memory,
    )
