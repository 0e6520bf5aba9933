"""Which of the user's own videos eval_generic.py is asked for: a folder of them, one video, or a live source."""

import argparse
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
from inference import cli
from util.errors import InputError


def open_dataset(flags: argparse.Namespace) -> tuple[VideoDataset, dict[str, Any]]:
    """The videos asked for, and what config.json says of them beside their root. Raises InputError for flags that do not go together."""
    if (flags.data_path is None) == (flags.video is None) or (flags.video is None) != (
        flags.mask is None
    ):
        raise InputError("eval_generic.py: give either --data_path, or --video and --mask")
    colours = cli.palette_of(flags)
    frame_range = None if flags.frame_range is None else FrameRange(*flags.frame_range)
    scale = {} if frame_range is None else {"frame_range": flags.frame_range}
    if (live := flags.realtime or is_live_address(flags.video)) and (
        flags.video is None or flags.truth is not None
    ):
        raise InputError(
            "--realtime and live sources: go with --video alone, without --truth, since frames may be left out"
        )
    if live and frame_range is not None:
        raise InputError(
            "--frame_range: not for --realtime and live sources, whose 16-bit frames are read by their full range; leave it out"
        )
    if flags.video is None:
        return GenericDataset(
            flags.data_path,
            flags.sequences,
            flags.corrections,
            colours=colours,
            frame_range=frame_range,
        ), scale
    if flags.sequences is not None:
        raise InputError(
            "--sequences: chooses among the videos of --data_path; leave it out with --video"
        )
    if live:
        video = open_live(
            flags.video,
            flags.mask,
            newest_only=flags.realtime,
            stall_seconds=flags.stall_seconds,
            corrections=flags.corrections,
            colours=colours,
        )
        return SingleVideoDataset(video, flags.video), {
            "mask": str(flags.mask.resolve()),
            "data_root": video.address,
            "realtime": flags.realtime,
        }
    video = VideoFile(
        flags.video, flags.mask, flags.corrections, colours=colours, frame_range=frame_range
    )
    return SingleVideoDataset(video, local_path(flags.video)), {
        "mask": str(flags.mask.resolve()),
        **scale,
    }
