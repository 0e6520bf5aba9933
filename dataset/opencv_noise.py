"""Keeping OpenCV's own remarks off the user's screen."""

import contextlib
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def opencv_silenced() -> Iterator[None]:
    """Nothing written to the process's standard error by native code is shown inside the block.

    OpenCV prints there directly (codec tags, missing headers), below any log level it offers; whatever matters is found by its return values and raised as
    one line. For short blocks: the stream belongs to the whole process.
    """
    try:
        sys.stderr.flush()
        kept = os.dup(2)
    except (OSError, AttributeError):  # no standard error at all (a windowed program): nothing to silence
        yield
        return
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
