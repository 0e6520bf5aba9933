"""Choose memory.sampling_threshold of adaptive sampling on the true masks of training videos.

python scripts/choose_sampling_threshold.py DAVIS_ROOT [--share 0.2] [--step 0.05]
    [--set memory.sampling_measure=shape memory.min_gap_frames=5] [--per_video]

Tries increasing thresholds, prints how many frames each would write into memory, and stops at the
first one that writes at most the given share of all frames. The share is of all videos together:
single ones may write more than that (--per_video).
"""

if not __package__:  # started by path, not as a module of the project
    import _packages  # noqa: F401

import argparse
import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from dataset.training.masks import read_mask
from dataset.training.video_layouts import AnnotatedVideo, find_videos
from inference.config import system_config
from inference.memory.config import MemoryConfig
from inference.memory.sampling import Adaptive, Every
from scripts.common.tables import markdown_table
from util.errors import InputError, run_command
from util.flags import FlagParser, add_settings_flag
from util.settings import parse_settings
from util.text import counted

_SETTINGS = {"memory.sampling_measure", "memory.min_gap_frames", "memory.max_gap_frames"}
_LISTED = ", ".join(sorted(_SETTINGS))
_MIN_STEP = 0.001
_MIN_DECIMALS, _MAX_DECIMALS = 2, 6


def read_labels(video: AnnotatedVideo) -> list[Tensor]:
    """The ids of every frame, uint8 [H, W].

    Raises: InputError if the first frame shows no object.
    """
    labels = [torch.from_numpy(read_mask(video.pair(index)[1])) for index in range(len(video))]
    if not labels[0].any():
        _, first_mask = video.pair(0)
        raise InputError(
            f"{first_mask}: no object in the first frame; leave the video out of the training list"
        )
    return labels


def count_frames_written(labels: Sequence[Tensor], config: MemoryConfig) -> int:
    """Count the frames of a video that adaptive sampling writes into memory.

    The first frame counts; the last one is never written. Objects are those of the first frame.
    """
    object_ids = [i for i in labels[0].unique().tolist() if i]
    # a generator, since the masks of all frames of DAVIS would take gigabytes
    masks = ((frame == torch.tensor(object_ids)[:, None, None]).float() for frame in labels[:-1])
    sampling = Adaptive(config)
    sampling.annotated(0, next(masks), tuple(object_ids))
    return 1 + sum(
        sampling.is_due(index, mask, tuple(object_ids)) for index, mask in enumerate(masks, start=1)
    )


def thresholds(step: float) -> Iterator[float]:
    """The multiples of the step."""
    return (round(number * step, _MAX_DECIMALS) for number in itertools.count(1))


def count_decimals(step: float) -> int:
    """The number of decimals, at least 2, that distinguish the multiples of the step."""
    for decimals in range(_MIN_DECIMALS, _MAX_DECIMALS):
        if round(step, decimals) == step:
            return decimals
    return _MAX_DECIMALS


def parse_flags() -> argparse.Namespace:
    parser = FlagParser(
        prog="choose_sampling_threshold.py",
        description="Find the smallest threshold at which adaptive sampling writes few enough "
        "frames of the training videos.",
    )
    parser.add_argument(
        "root", type=Path, help="DAVIS, or a folder in its layout; the training list is used"
    )
    parser.add_argument(
        "--share", type=float, default=0.2, help="of frames written, at most (default: %(default)s)"
    )
    add_settings_flag(
        parser, "other settings of adaptive sampling, such as memory.min_gap_frames=5"
    )
    parser.add_argument(
        "--per_video", action="store_true", help="also print each video's number at the threshold"
    )
    parser.add_argument(
        "--step", type=float, default=0.05, help="between thresholds (default: %(default)s)"
    )
    flags = parser.parse_args()
    if not _MIN_STEP <= flags.step < math.inf:
        raise InputError(f"--step {flags.step}: it must be a number, at least {_MIN_STEP}")
    return flags


def check_share(share: float, videos: Sequence[Sequence[Tensor]], gap: int) -> None:
    """Refuse a share that no threshold reaches, since there is a largest gap between writes."""
    frames = sum(map(len, videos))
    sampling = Every(MemoryConfig(write_every_frames=gap))
    fewest = sum(sampling.frames_written(len(labels)) for labels in videos)
    if not share * frames >= fewest:  # also refuses nan
        raise InputError(
            f"--share {share}: at any threshold, {fewest} of {frames} frames are written, each "
            f"video's first and every {gap}th; give at least {fewest / frames:.4f}"
        )


def read_settings(texts: Sequence[str]) -> MemoryConfig:
    """The memory with adaptive sampling that KEY=VALUE texts describe.

    Raises InputError for settings that are unknown or make no difference here.
    """
    settings = dict(parse_settings(texts))
    unused = settings.keys() - _SETTINGS
    if unused:
        raise InputError(f"--set {min(unused)}: the settings that count here are {_LISTED}")
    return system_config("stcn", sampling="adaptive", **settings).memory


def print_videos(names: Sequence[str], lengths: Sequence[int], written: Sequence[int]) -> None:
    """Print how many frames of each video are written, and how many every fifth would be."""
    every = Every(MemoryConfig())
    fifths = [every.frames_written(length) for length in lengths]
    rows = zip(names, lengths, written, fifths, strict=True)
    print(markdown_table(("video", "frames", "written", "every fifth"), rows))
    above = sum(count > fifth for count, fifth in zip(written, fifths, strict=True))
    print(f"{above} of {counted(len(names), 'video')} write more than every fifth frame")


def main() -> None:
    """Try thresholds on the videos that the flags name."""
    flags = parse_flags()
    memory = read_settings(flags.set)
    sources = find_videos(flags.root)
    videos = [read_labels(video) for video in sources]
    check_share(flags.share, videos, memory.max_gap_frames)
    frames, decimals = sum(map(len, videos)), count_decimals(flags.step)
    for threshold in thresholds(flags.step):
        config = dataclasses.replace(memory, sampling_threshold=threshold)
        counts = [count_frames_written(labels, config) for labels in videos]
        written = sum(counts)
        print(
            f"threshold {threshold:.{decimals}f}: {written} of {frames} frames in "
            f"{counted(len(videos), 'video')} are written, one in {frames / written:.1f}",
            flush=True,
        )
        if written <= flags.share * frames:
            break
    if flags.per_video:
        print_videos([video.name for video in sources], list(map(len, videos)), counts)


if __name__ == "__main__":
    run_command(main)
