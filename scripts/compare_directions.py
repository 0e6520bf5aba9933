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
from typing import NamedTuple

import numpy as np
import torch

from dataset.frame_range import spread
from inference import VideoSegmenter
from scripts.common.circumstances import circumstances, circumstances_line
from scripts.common.tables import markdown_table
from scripts.studies.truth_videos import (
    TruthVideo,
    add_network_flags,
    measure,
    open_segmenter,
    open_truth_videos,
)
from util.device import select_device
from util.errors import run_command
from util.flags import FlagParser, at_least
from util.progress import Progress


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


class GivenMasks(NamedTuple):
    """A video, and the frames whose masks are given."""

    video: TruthVideo
    given: Sequence[int]


def open_videos(flags: argparse.Namespace) -> list[GivenMasks]:
    """The videos that the flags name. Raises InputError if a frame lacks its truth."""
    videos = open_truth_videos(flags.root, flags.sequences, fewest_frames=flags.masks + 1)
    return [GivenMasks(video, spread(range(len(video)), flags.masks)) for video in videos]


def score(task: GivenMasks, results: Mapping[int, np.ndarray]) -> np.ndarray:
    """J and F, [2]: means over frames that are not given, then over objects.

    results: ids [H, W] by frame. Objects are those of the given masks.
    """
    objects = task.video.object_ids(task.given)
    predicted = {index: labels for index, labels in results.items() if index not in task.given}
    return measure(task.video, predicted, objects).mean(axis=(0, 1))


def run_method(
    method: Method, segmenter: VideoSegmenter, task: GivenMasks
) -> tuple[np.ndarray, float]:
    """J and F, [2], and the seconds that the segmentation took, reading included."""
    given = task.given[:1] if method.first_only else task.given
    masks = {index: task.video.labels(index) for index in given}
    start_seconds = time.perf_counter()
    results = segmenter.segment(task.video.frames, masks, direction=method.direction)
    labels = {result.frame_index: result.labels for result in results}
    taken_seconds = time.perf_counter() - start_seconds
    return score(task, labels), taken_seconds


def compare(flags: argparse.Namespace) -> str:
    """The table of all methods, in Markdown."""
    tasks = open_videos(flags)
    scores: dict[str, list[np.ndarray]] = {method.name: [] for method in METHODS}
    seconds = dict.fromkeys(scores, 0.0)
    segmenters = {
        permanent: open_segmenter(flags, permanent_memory=permanent) for permanent in (False, True)
    }
    with Progress(len(tasks) * len(METHODS), "runs") as progress:
        for task in tasks:
            for method in METHODS:
                measured, taken = run_method(method, segmenters[method.permanent], task)
                scores[method.name].append(measured)
                seconds[method.name] += taken
                progress.advance(
                    status=f"{task.video.name}: {method.name}: J {100 * measured[0]:.1f}"
                )
    return markdown_table(
        ("method", "J&F", "J", "F", *(task.video.name for task in tasks), "seconds"),
        [_row(method.name, scores[method.name], seconds[method.name]) for method in METHODS],
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
    add_network_flags(parser)
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
