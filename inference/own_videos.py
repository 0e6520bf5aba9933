"""The videos of eval_generic.py: a folder of them, a benchmark, one video, or a live source."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataset import (
    BENCHMARKS,
    BenchmarkDataset,
    FrameRange,
    GenericDataset,
    SingleVideoDataset,
    VideoDataset,
    VideoFile,
    is_live_address,
    local_path,
    open_live,
)
from inference.cli import require_truth
from inference.flags import read_palette_flag
from inference.propagation import DIRECTIONS
from inference.scoring import ScoringRules
from util.errors import InputError


@dataclass(frozen=True, kw_only=True)
class ScoringRequest:
    """What results are scored against: the truth VIDEO/FRAME.png, and the protocol with its file
    (see score_folder)."""

    truth: Path
    protocol: str
    meta: Path | None = None


@dataclass(frozen=True, kw_only=True)
class OwnVideos:
    """The videos that the flags name.

    data: what config.json records of them beside their root. subfolder: of OUT, for the results.
    scoring: None if results are not scored.
    """

    dataset: VideoDataset
    data: dict[str, Any]
    subfolder: str = "."
    scoring: ScoringRequest | None = None


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that name the videos and what their results are scored against."""
    add = parser.add_argument
    root = "holds JPEGImages/VIDEO/*.jpg and Annotations/VIDEO/*.png, or VIDEO.mp4 and VIDEO.png"
    add("--data_path", type=Path, metavar="ROOT", help=root)
    add("--sequences", nargs="+", metavar="NAME", help="only these videos of --data_path")
    benchmark = "--data_path is this benchmark, as its authors lay it out: %(choices)s"
    add("--benchmark", choices=tuple(BENCHMARKS), help=benchmark)
    splits = "; ".join(f"{name}: {' '.join(row.splits)}" for name, row in BENCHMARKS.items())
    split = f"of --benchmark (default: the first): {splits}"
    add("--split", metavar="SPLIT", help=split)
    video = (
        "a video file, a stack of images, or a folder of frames; or a camera's number or a "
        "stream's URL (rtsp://…), which is segmented until Ctrl-C"
    )
    add("--video", metavar="FILE_OR_FOLDER", help=video)
    mask = (
        "the mask of the first frame, or of the frame that it is named after, or a folder of masks "
        "named after their frames"
    )
    add("--mask", type=Path, metavar="PNG_OR_FOLDER", help=mask)
    frame_range = (
        "values of 16-bit frames that become black and white (default: each video's own range)"
    )
    add("--frame_range", type=int, nargs=2, metavar=("LOW", "HIGH"), help=frame_range)
    realtime = (
        "drop frames that arrive while another is segmented; a video file is played at its own rate"
    )
    add("--realtime", action="store_true", help=realtime)
    direction = (
        "find objects in the frames after their masks (forward, default), in those before them "
        "(backward), or in both, with the two predictions averaged between two masks of an object; "
        "later masks of an object count only with --corrections"
    )
    add("--direction", choices=DIRECTIONS, default="forward", help=direction)
    stall = "end a live source that gives no frame for S seconds (default: %(default)g)"
    add("--stall_seconds", type=float, default=10.0, metavar="S", help=stall)
    score = "score the results of --benchmark, if the split's truth is public"
    add("--score", action="store_true", help=score)
    truth = "score the results against VIDEO/FRAME.png, the truth of every frame"
    add("--truth", type=Path, metavar="DIR", help=truth)
    protocol = (
        "protocol for --truth and --score (default: the benchmark's; otherwise strict, which also "
        "scores objects that join late)"
    )
    add("--protocol", choices=("strict", "davis", "vost"), help=protocol)


def open_videos(flags: argparse.Namespace) -> OwnVideos:
    """The videos that the flags name.

    Raises InputError for flags that do not go together, and for data or truth that is missing.
    """
    _check_combination(flags)
    if flags.benchmark is not None:
        return _open_benchmark(flags)
    dataset, data = _open_dataset(flags)
    scoring = None
    if flags.truth is not None:
        require_truth(flags.truth, dataset.names, "--truth")
        scoring = ScoringRequest(truth=flags.truth, protocol=flags.protocol or "strict")
    return OwnVideos(dataset=dataset, data=data, scoring=scoring)


def _open_benchmark(flags: argparse.Namespace) -> OwnVideos:
    dataset = BenchmarkDataset(
        flags.data_path,
        flags.benchmark,
        flags.split,
        flags.sequences,
        colours=read_palette_flag(flags),
    )
    benchmark, scoring = dataset.benchmark, None
    if flags.score or flags.truth is not None:
        protocol = flags.protocol or benchmark.protocol
        scoring = ScoringRequest(
            truth=flags.truth or dataset.truth_folder(),
            protocol=protocol,
            meta=dataset.meta_file() if protocol == benchmark.protocol else None,
        )
        require_truth(scoring.truth, dataset.names, "--score" if flags.score else "--truth")
        ScoringRules.resolve(protocol, meta=scoring.meta)  # refuses wrong files before the run
    data = {
        "direction": flags.direction,
        "benchmark": flags.benchmark,
        "split": dataset.split,
        "frames": dataset.frames_read,
    }
    return OwnVideos(dataset=dataset, data=data, subfolder=benchmark.subfolder, scoring=scoring)


def _open_dataset(flags: argparse.Namespace) -> tuple[VideoDataset, dict[str, Any]]:
    """The user's own videos, and what config.json records of them beside their root."""
    colours = read_palette_flag(flags)
    frame_range = None if flags.frame_range is None else FrameRange(*flags.frame_range)
    data = {"direction": flags.direction}
    if frame_range is not None:
        data["frame_range"] = flags.frame_range
    if flags.video is None:
        dataset = GenericDataset(
            flags.data_path,
            flags.sequences,
            flags.corrections,
            colours=colours,
            frame_range=frame_range,
        )
        return dataset, data
    data = {"mask": str(flags.mask.resolve()), **data}
    if _is_live(flags):
        video = open_live(
            flags.video,
            flags.mask,
            newest_only=flags.realtime,
            stall_seconds=flags.stall_seconds,
            corrections=flags.corrections,
            colours=colours,
        )
        data |= {"data_root": video.address, "realtime": flags.realtime}
        return SingleVideoDataset(video, flags.video), data
    video = VideoFile(
        flags.video, flags.mask, flags.corrections, colours=colours, frame_range=frame_range
    )
    return SingleVideoDataset(video, local_path(flags.video)), data


def _is_live(flags: argparse.Namespace) -> bool:
    return flags.realtime or is_live_address(flags.video)


def _check_combination(flags: argparse.Namespace) -> None:
    """Raise InputError for flags that do not go together."""
    one_source = (flags.data_path is None) != (flags.video is None)
    if not one_source or (flags.video is None) != (flags.mask is None):
        raise InputError("eval_generic.py: give either --data_path, or --video and --mask")
    if _is_live(flags):
        if flags.video is None or flags.truth is not None:
            raise InputError(
                "--realtime and live sources: go with --video alone, without --truth, because "
                "frames may be dropped"
            )
        if flags.direction != "forward":
            raise InputError(
                f"--direction {flags.direction}: reads frames more than once, which --realtime and "
                "live sources cannot; leave it out, or record the video first"
            )
        if flags.frame_range is not None:
            raise InputError(
                "--frame_range: not for --realtime and live sources, whose 16-bit frames are read "
                "at their full range; leave it out"
            )
    if flags.video is not None and flags.sequences is not None:
        raise InputError(
            "--sequences: chooses among the videos of --data_path; leave it out with --video"
        )
    _check_benchmark_flags(flags)


def _check_benchmark_flags(flags: argparse.Namespace) -> None:
    """Raise InputError for flags that need a benchmark, or do not go with one."""
    if flags.benchmark is None:
        if flags.split is not None or flags.score:
            flag = "--score" if flags.score else "--split"
            raise InputError(f"{flag}: goes with --benchmark; give it, or leave {flag} out")
        return
    if flags.video is not None:
        raise InputError("--benchmark: is read from --data_path; leave --video and --mask out")
    if flags.score and flags.truth is not None:
        raise InputError("--score and --truth: give one of them")
    for flag in ("corrections", "frame_range"):
        if getattr(flags, flag):
            raise InputError(f"--{flag}: not for a benchmark, whose rules are fixed; leave it out")
