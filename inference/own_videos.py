"""The user's own videos for eval_generic.py: a folder of them, one video, or a live source."""

import argparse
from pathlib import Path
from typing import Any

from dataset import (
    FrameRange,
    GenericDataset,
    SingleVideoDataset,
    VideoDataset,
    VideoFile,
    is_live_address,
    local_path,
    open_live,
)
from inference.flags import read_palette_flag
from inference.propagation import DIRECTIONS
from util.errors import InputError


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that name the videos."""
    add = parser.add_argument
    root = "holds JPEGImages/VIDEO/*.jpg and Annotations/VIDEO/*.png, or VIDEO.mp4 and VIDEO.png"
    add("--data_path", type=Path, metavar="ROOT", help=root)
    add("--sequences", nargs="+", metavar="NAME", help="only these videos of --data_path")
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


def open_dataset(flags: argparse.Namespace) -> tuple[VideoDataset, dict[str, Any]]:
    """The videos that the flags name, and what config.json records of them beside their root.

    Raises InputError for flags that do not go together, and for data that is missing.
    """
    _check_combination(flags)
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
