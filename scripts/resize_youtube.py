"""Write a copy of YouTube-VOS (or any JPEGImages/VIDEO with Annotations/VIDEO) whose shorter side is 480, for training.

python scripts/resize_youtube.py SRC DST [--splits train valid] [--short_side 480] [--workers N]

SRC holds train/ (JPEGImages, Annotations, meta.json), or is that folder itself; DST is laid out alike and serves as --yv_root. Goes on where it stopped.
"""

if not __package__:  # started by path, not as a module of the project
    import _packages  # noqa: F401

import os
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2

from scripts.data_tools.resizing import resize_tasks, resize_video
from util.errors import EXIT_INPUT_ERROR, EXIT_OK, InputError, run_command
from util.flags import FlagParser
from util.progress import Progress
from util.text import counted


def main() -> int:
    """Flags, folders, summary. Exit code 2 where a file could not be read."""
    parser = FlagParser(
        prog="resize_youtube.py",
        description="Write a smaller copy of a video data set: frames averaged (JPEG 95), masks nearest with ids and palette.",
    )
    parser.add_argument(
        "source", type=Path, metavar="SRC", help="YouTube-VOS, or one of its splits"
    )
    parser.add_argument(
        "target", type=Path, metavar="DST", help="where the copy goes; what is there whole is kept"
    )
    parser.add_argument(
        "--splits",
        nargs="+",
        default=["train"],
        metavar="NAME",
        help="folders of SRC to do, where it is not a split itself (default: train)",
    )
    parser.add_argument(
        "--short_side",
        type=int,
        default=480,
        metavar="PIXELS",
        help="of frames and masks; smaller ones stay as they are (default: 480)",
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=os.cpu_count() or 1,
        metavar="N",
        help="processes (default: one a core)",
    )
    flags = parser.parse_args()
    for name in ("short_side", "workers"):
        if getattr(flags, name) < 1:
            raise InputError(f"--{name} {getattr(flags, name)}: it must be at least 1")
    tasks = resize_tasks(flags.source, flags.target, flags.short_side, tuple(flags.splits))
    written = present = unreadable = 0
    with (
        ProcessPoolExecutor(flags.workers, initializer=cv2.setNumThreads, initargs=(0,)) as pool,
        Progress(len(tasks), "folders") as progress,
    ):
        for result in pool.map(resize_video, tasks):
            written, present, unreadable = (
                written + result.written,
                present + result.present,
                unreadable + len(result.problems),
            )
            for problem in result.problems:
                progress.say(problem)
            progress.advance()
    print(f"{flags.target}: {counted(written, 'file')} written, {present} there already")
    if unreadable:
        print(
            f"error: {flags.source}: {unreadable} not readable (named above); replace what is damaged and run this again",
            file=sys.stderr,
        )
    return EXIT_INPUT_ERROR if unreadable else EXIT_OK


if __name__ == "__main__":
    run_command(main)
