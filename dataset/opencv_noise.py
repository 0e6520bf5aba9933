"""Keeping OpenCV's own remarks off the user's screen."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2

# Damage and full disks are found by return values and raised, in one line; OpenCV and its FFmpeg would add a line a frame. Who sets these variables sees them.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
if "OPENCV_LOG_LEVEL" not in os.environ:
    getattr(cv2.utils, "logging", cv2).setLogLevel(0)  # silent; OpenCV before 4.13 has the function at its top


@contextlib.contextmanager
def opencv_silenced() -> Iterator[None]:
    """Nothing written to the process's standard error by native code is shown inside the block.

    OpenCV prints some remarks there directly (codec tags), whatever its log level. For short blocks: the stream belongs to the whole process.
    """
    try:
        sys.stderr.flush()
        kept = os.dup(2)
    except (OSError, AttributeError):  # no standard error at all (a windowed program): nothing to silence
        yield
        return
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
