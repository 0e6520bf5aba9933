"""The flags of train.py that say what a training learns from, and the training data they name."""

import argparse
from collections.abc import Mapping
from pathlib import Path

from dataset.layout import read_names_text
from dataset.training.iterations import LoadingConfig
from dataset.training.samples import MixedTrainingData
from dataset.training.sources import SampleConfig, TrainingRoots, build_training_data
from util.distributed import default_workers
from util.errors import InputError
from util.ranges import INTEGER_LIMIT, check_ranges
from util.settings import select_fields
from util.text import counted


def add_data_flags(parser: argparse.ArgumentParser) -> None:
    """Add the group `data`. Flags without a default are None: the stage's value counts."""
    group = parser.add_argument_group("data")
    _add_root_flags(group)
    _add_sample_flags(group)
    _add_loading_flags(group)


def _add_root_flags(group: argparse._ArgumentGroup) -> None:
    roots = {"nargs": "+", "default": [], "metavar": "DIR"}
    group.add_argument("--static_root", **roots, help="folders of still images with masks")
    group.add_argument("--davis_root", **roots, help="DAVIS, or folders laid out like it")
    group.add_argument("--yv_root", **roots, help="YouTube-VOS")
    group.add_argument("--bl_root", **roots, help="BL30K")
    group.add_argument(
        "--video_root",
        **{**roots, "metavar": "NAME=DIR"},
        help="further folders laid out like DAVIS; NAME can be a kind in --mix",
    )
    group.add_argument(
        "--subset",
        metavar="FILE",
        help="use these training videos only: a file, one name per line",
    )
    group.add_argument(
        "--exclude",
        **{**roots, "metavar": "VIDEO"},
        help="training videos to leave out (to choose settings on)",
    )
    group.add_argument(
        "--mix",
        nargs="+",
        metavar="KIND=SHARE",
        help="kinds of samples and their shares: static=0.25 video=0.4 synthetic=0.35",
    )


def _add_sample_flags(group: argparse._ArgumentGroup) -> None:
    number = {"type": int, "metavar": "N"}
    group.add_argument(
        "--crop_size",
        **{**number, "metavar": "PIXELS"},
        help="side of the square training crop in pixels, a multiple of 16",
    )
    group.add_argument(
        "--crop_area",
        type=float,
        nargs=2,
        metavar=("LEAST", "MOST"),
        help="share of a video's frame that a crop covers",
    )
    group.add_argument("--frames", **number, help="frames of a sample")
    group.add_argument(
        "--clip_frames",
        **number,
        help="frames predicted together; after its first frame, a sample consists of whole clips",
    )
    group.add_argument(
        "--max_skip",
        **number,
        help="most frames skipped between neighbours of a sample; default: the stage's",
    )
    group.add_argument("--max_objects", **number, help="most objects of a sample")


def _add_loading_flags(group: argparse._ArgumentGroup) -> None:
    defaults = LoadingConfig(num_workers=default_workers())
    group.add_argument(
        "--num_workers",
        type=int,
        default=defaults.num_workers,
        metavar="N",
        help="loading processes beside each training process; samples do not depend on it",
    )
    group.add_argument(
        "--worker_patience",
        type=int,
        default=defaults.worker_patience,
        metavar="SECONDS",
        help="end the training if the loading processes deliver no batch for this long",
    )
    group.add_argument(
        "--cache_megabytes",
        type=int,
        default=defaults.cache_megabytes,
        metavar="MB",
        help="decoded images that each loading process keeps, in megabytes",
    )


def build_data(
    arguments: argparse.Namespace,
    config: SampleConfig,
    *,
    mix: Mapping[str, float],
    iterations: int,
    batch_size: int,
    seed: int,
) -> MixedTrainingData:
    """The samples of the whole training, drawn from the roots that the flags name.

    mix: kinds of samples and their shares. Raises InputError if a flag or the data is wrong, or
    if there are fewer samples than a batch has.
    """
    check_ranges(select_fields(LoadingConfig, arguments), integers_below=INTEGER_LIMIT)
    data = build_training_data(
        _training_roots(arguments),
        config,
        mix=mix,
        samples=iterations * batch_size,
        seed=seed,
        subset=None if arguments.subset is None else _read_names(Path(arguments.subset)),
        exclude=arguments.exclude,
        cache_megabytes=arguments.cache_megabytes,
    )
    if data.distinct_samples is not None and data.distinct_samples < batch_size:
        raise InputError(
            f"the data has {counted(data.distinct_samples, 'different sample')}, fewer than a "
            f"batch of {batch_size}; give more data or a smaller -b"
        )
    return data


def _training_roots(arguments: argparse.Namespace) -> TrainingRoots:
    named: dict[str, list[str]] = {}
    for item in arguments.video_root:
        name, _, path = item.partition("=")
        if not name or not path:
            raise InputError(f"--video_root {item}: write NAME=DIR")
        named.setdefault(name, []).append(path)
    return TrainingRoots(
        static=arguments.static_root,
        davis=arguments.davis_root,
        youtube=arguments.yv_root,
        bl=arguments.bl_root,
        named=named,
    )


def _read_names(path: Path) -> list[str]:
    names = read_names_text(path).split()
    if not names:
        raise InputError(f"{path}: holds no names of videos; write one per line")
    return names
