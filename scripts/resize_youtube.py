"""Write a copy of YouTube-VOS, or of videos in its layout, whose shorter side is 480, for training.

python scripts/resize_youtube.py SRC DST [--splits train valid] [--short_side 480] [--workers N]

SRC holds train/ (JPEGImages, Annotations, meta.json), or is such a folder itself. DST has the same
layout and can be given as --yv_root. A copy that was interrupted is resumed.
"""

if not __package__:  # started by path, not as a module of the project
    import _packages  # noqa: F401

import argparse
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2

from scripts.data_tools.resizing import resize_tasks, resize_video
from util.errors import EXIT_INPUT_ERROR, EXIT_OK, run_command
from util.flags import FlagParser, at_least
from util.progress import Progress
from util.text import counted


def parse_flags() -> argparse.Namespace:
    parser = FlagParser(
        prog="resize_youtube.py",
        description="Write a smaller copy of a video data set: frames are averaged (JPEG 95), "
        "masks keep ids and palette.",
    )
    parser.add_argument(
        "source", type=Path, metavar="SRC", help="YouTube-VOS, or one of its splits"
    )
    parser.add_argument(
        "target", type=Path, metavar="DST", help="folder of the copy; complete files are kept"
    )
    parser.add_argument(
        "--splits",
        nargs="+",
        default=["train"],
        metavar="NAME",
        help="folders of SRC to copy, unless SRC is a split itself (default: train)",
    )
    parser.add_argument(
        "--short_side",
        type=at_least(1),
        default=480,
        metavar="PIXELS",
        help="of frames and masks; smaller ones keep their size (default: 480)",
    )
    parser.add_argument(
        "--workers",
        type=at_least(1),
        default=os.cpu_count() or 1,
        metavar="N",
        help="processes (default: one for each core)",
    )
    return parser.parse_args()


def main() -> int:
    """Write the copy that the flags describe. Returns the exit code."""
    flags = parse_flags()
    tasks = resize_tasks(flags.source, flags.target, flags.short_side, flags.splits)
    written = present = unreadable = 0
    with (
        ProcessPoolExecutor(flags.workers, initializer=cv2.setNumThreads, initargs=(0,)) as pool,
        Progress(len(tasks), "folders") as progress,
    ):
        for result in pool.map(resize_video, tasks):
            written += result.written
            present += result.present
            unreadable += len(result.problems)
            for problem in result.problems:
                progress.say(problem)
            progress.advance()
    print(f"{flags.target}: {counted(written, 'file')} written, {present} there already")
    if unreadable:
        print(
            f"error: {flags.source}: {unreadable} not readable (named above); replace what is "
            "damaged and run this again",
            file=sys.stderr,
        )
        return EXIT_INPUT_ERROR
    return EXIT_OK


if __name__ == "__main__":
    run_command(main)
