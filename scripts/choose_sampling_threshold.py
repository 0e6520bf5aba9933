"""How many frames adaptive sampling writes at each threshold, on the truth masks of training videos: how memory.sampling_threshold was chosen.

python scripts/choose_sampling_threshold.py DAVIS_ROOT [--share 0.2] [--step 0.05]
"""

if not __package__:  # started by path, not as a module of the project
    import _packages  # noqa: F401

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from dataset.training.masks import read_mask
from dataset.training.video_layouts import AnnotatedVideo, find_videos
from inference.memory.config import MemoryConfig
from inference.memory.sampling import Adaptive, Every
from util.errors import InputError, run_command
from util.flags import FlagParser
from util.text import counted

_SMALLEST_STEP = 0.001  # to 1, above which few differences lie, a thousand of them
_MOST_DECIMALS = 6


def labels_of(video: AnnotatedVideo) -> list[Tensor]:
    """Ids uint8 [H, W] of every frame. Raises InputError where the first shows no object."""
    labels = [torch.from_numpy(read_mask(video.pair(index)[1])) for index in range(len(video))]
    if not labels[0].any():
        raise InputError(
            f"{video.pair(0)[1]}: no object in the first frame; leave the video out of the training list"
        )
    return labels


def frames_written(labels: Sequence[Tensor], config: MemoryConfig) -> int:
    """How many of a video's frames are written, the first one counted; the last one never is. Objects are those of the first frame."""
    object_ids = [i for i in labels[0].unique().tolist() if i]
    masks = (
        (one == torch.tensor(object_ids)[:, None, None]).float() for one in labels[:-1]
    )  # one frame's at a time: all of DAVIS's take gigabytes
    sampling = Adaptive(config)
    sampling.annotated(0, next(masks), tuple(object_ids))
    return 1 + sum(
        sampling.is_due(index, mask, tuple(object_ids)) for index, mask in enumerate(masks, start=1)
    )


def thresholds(step: float) -> Iterator[float]:
    """Multiples of the step."""
    return (round(number * step, _MOST_DECIMALS) for number in itertools.count(1))


def decimals_of(step: float) -> int:
    """How many tell the multiples of the step apart, at least 2."""
    return next(
        decimals
        for decimals in range(2, _MOST_DECIMALS + 1)
        if decimals == _MOST_DECIMALS or round(step, decimals) == step
    )


def main() -> None:
    parser = FlagParser(
        prog="choose_sampling_threshold.py",
        description="The smallest threshold at which adaptive sampling writes few enough frames of training videos.",
    )
    parser.add_argument(
        "root", type=Path, help="DAVIS, or a folder laid out like it; its training list counts"
    )
    parser.add_argument(
        "--share", type=float, default=0.2, help="of frames written, at most (default: %(default)s)"
    )
    parser.add_argument(
        "--step", type=float, default=0.05, help="between thresholds (default: %(default)s)"
    )
    flags = parser.parse_args()
    if not _SMALLEST_STEP <= flags.step < math.inf:  # nan is neither
        raise InputError(f"--step {flags.step}: it must be a number, at least {_SMALLEST_STEP}")
    videos = [labels_of(video) for video in find_videos(flags.root)]
    frames, gap = sum(map(len, videos)), MemoryConfig().max_gap_frames
    fewest = sum(
        Every(MemoryConfig(write_every_frames=gap)).frames_written(len(labels)) for labels in videos
    )
    if not flags.share * frames >= fewest:
        every = f"each video's first and every {gap}th"
        raise InputError(
            f"--share {flags.share}: whatever the threshold, {fewest} of {frames} frames are written, {every}; give at least {fewest / frames:.4f}"
        )
    decimals = decimals_of(flags.step)
    for threshold in thresholds(flags.step):
        config = dataclasses.replace(
            MemoryConfig(), sampling="adaptive", sampling_threshold=threshold
        )
        written = sum(frames_written(labels, config) for labels in videos)
        print(
            f"threshold {threshold:.{decimals}f}: {written} of {frames} frames in {counted(len(videos), 'video')} are written, one in {frames / written:.1f}",
            flush=True,
        )
        if written <= flags.share * frames:
            return


if __name__ == "__main__":
    run_command(main)
