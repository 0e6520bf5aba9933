"""Compare directions and permanent memory, with the masks of a few frames of each video.

python scripts/compare_directions.py ROOT [--sequences NAME …] [--masks 4] [--resolution 240]

The true masks of frames that are spread evenly over the video, the first and the last among them,
are given; J and F are means over the videos, of each over its objects and the frames whose masks
are not given. Rows: forward from the first mask alone; forward with the other masks as corrections;
both directions; and both with permanent memory. Prints a table in Markdown.
"""

if not __package__:  # started by path, not as a module of the project
    import _packages  # noqa: F401

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from dataset import Layout
from dataset.folders import MASK_SUFFIXES, list_files
from dataset.frame_range import spread
from dataset.image_file import read_image
from inference import VideoSegmenter
from inference.config import SYSTEMS
from inference.scoring import read_labels
from inference.scoring.metrics import boundary_accuracy, region_similarity
from scripts.common.circumstances import circumstances, circumstances_line
from scripts.common.tables import markdown_table
from util.device import select_device
from util.errors import InputError, run_command
from util.flags import FlagParser, at_least
from util.progress import Progress
from util.text import counted


class Method(NamedTuple):
    """A way to use the masks. first_only: give the first one alone."""

    name: str
    direction: str = "forward"
    first_only: bool = False
    permanent: bool = False


METHODS = (
    Method("forward, first mask alone", first_only=True),
    Method("forward, corrections"),
    Method("both", "both"),
    Method("both, permanent memory", "both", permanent=True),
)


class Frames(Sequence):
    """The frames of a folder, each read when it is asked for."""

    def __init__(self, paths: Sequence[Path]):
        self._paths = paths

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> np.ndarray:
        return read_image(self._paths[index], upright=False)


class ScoredVideo(NamedTuple):
    """A video with the truth of every frame. given: the frames whose masks are given."""

    name: str
    frames: Frames
    truth: Sequence[Path]
    given: Sequence[int]
    single_object: bool

    def labels(self, index: int) -> np.ndarray:
        """The true ids uint8 [H, W] of a frame."""
        return read_labels(self.truth[index], self.single_object)


def open_videos(flags: argparse.Namespace) -> list[ScoredVideo]:
    """The videos that the flags name. Raises InputError if a frame lacks its truth."""
    layout = Layout.of(flags.root)
    videos = []
    for name in flags.sequences or layout.names():
        paths = layout.frame_files(name)
        masks = {path.stem: path for path in list_files(layout.truth_folder / name, MASK_SUFFIXES)}
        missing = [path.stem for path in paths if path.stem not in masks]
        if missing or len(paths) <= flags.masks:
            raise InputError(
                f"{layout.truth_folder / name}: {counted(len(missing), 'frame')} without a mask, of"
                f" {len(paths)}; the truth of every frame is needed, and more frames than --masks"
            )
        truth = [masks[path.stem] for path in paths]
        given = spread(range(len(paths)), flags.masks)
        videos.append(ScoredVideo(name, Frames(paths), truth, given, layout.single_object))
    return videos


def score(video: ScoredVideo, results: Mapping[int, np.ndarray]) -> np.ndarray:
    """J and F, [2]: means over frames that are not given, then over objects.

    results: ids [H, W] by frame. Objects are those of the given masks.
    """
    objects = sorted({i for index in video.given for i in np.unique(video.labels(index)) if i})
    measures = []
    for index, labels in results.items():
        if index not in video.given:
            truth = video.labels(index)
            masks = [(truth == i, labels == i) for i in objects]
            measures.append([(region_similarity(*m), boundary_accuracy(*m)) for m in masks])
    return np.mean(measures, axis=(0, 1))


def run_method(
    method: Method, segmenter: VideoSegmenter, video: ScoredVideo
) -> tuple[np.ndarray, float]:
    """J and F, [2], and the seconds that the segmentation took, reading included."""
    given = video.given[:1] if method.first_only else video.given
    masks = {index: video.labels(index) for index in given}
    start_seconds = time.perf_counter()
    results = segmenter.segment(video.frames, masks, direction=method.direction)
    labels = {result.frame_index: result.labels for result in results}
    taken_seconds = time.perf_counter() - start_seconds
    return score(video, labels), taken_seconds


def compare(flags: argparse.Namespace) -> str:
    """The table of all methods, in Markdown."""
    videos = open_videos(flags)
    scores: dict[str, list[np.ndarray]] = {method.name: [] for method in METHODS}
    seconds = dict.fromkeys(scores, 0.0)
    segmenters = {permanent: _segmenter(flags, permanent) for permanent in (False, True)}
    with Progress(len(videos) * len(METHODS), "runs") as progress:
        for video in videos:
            for method in METHODS:
                measured, taken = run_method(method, segmenters[method.permanent], video)
                scores[method.name].append(measured)
                seconds[method.name] += taken
                progress.advance(status=f"{video.name}: {method.name}: J {100 * measured[0]:.1f}")
    return markdown_table(
        ("method", "J&F", "J", "F", *(video.name for video in videos), "seconds"),
        [_row(method.name, scores[method.name], seconds[method.name]) for method in METHODS],
    )


def _segmenter(flags: argparse.Namespace, permanent: bool) -> VideoSegmenter:
    settings: Mapping[str, Any] = {"resolution": flags.resolution, "permanent_memory": permanent}
    return VideoSegmenter.from_checkpoint(
        flags.model, flags.system, device=flags.device, **settings
    )


def _row(name: str, scores: Sequence[np.ndarray], seconds: float) -> list[str]:
    j, f = np.mean(scores, axis=0)
    values = (np.mean((j, f)), j, f, *(each.mean() for each in scores))
    return [name, *(f"{100 * value:.1f}" for value in values), f"{seconds:.0f}"]


def _parser() -> argparse.ArgumentParser:
    parser = FlagParser(
        prog="compare_directions.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("root", type=Path, metavar="ROOT", help="a data set with the truth of every frame")
    add("--sequences", nargs="+", metavar="NAME", help="only these videos")
    add("--masks", type=at_least(2), default=4, metavar="N", help="masks given (default: 4)")
    add("--system", choices=tuple(SYSTEMS), default="stcn", help="default: stcn")
    add("--model", type=Path, metavar="FILE", help="weights (default: those shipped)")
    resolution = "working shorter side in pixels (default: 240); -1: as stored"
    add("--resolution", type=int, default=240, metavar="N", help=resolution)
    add("--device", default="auto", help="auto (default), cpu, cuda, cuda:1 or mps")
    return parser


def main() -> int:
    """Run the comparison that the flags describe. Returns the exit code."""
    flags = _parser().parse_args()
    table = compare(flags)
    print(table)
    print()
    device = select_device(flags.device)
    print(circumstances_line(circumstances(torch.get_num_threads(), device)))
    return 0


if __name__ == "__main__":
    run_command(main)
