"""Probabilities on disk: ROOT/VIDEO/ID/FRAME.png, grey PNGs of 8 bits; id 0 is the background.

A file per object and frame, so that objects may join late, any viewer shows them, and PNG's
prediction from neighbouring pixels makes them small. The background is written too: computed as 1
minus the objects, it would carry the rounding errors of all of them.

Legend: K objects, H W frame size.
"""

from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from inference.output.background import BackgroundPool
from inference.output.writer import FolderWriter
from inference.results import FrameResult

LEVELS = 255  # the value of probability 1


class SoftWriter:
    """Writes ROOT/VIDEO/ID/FRAME.png for one video after another, as ResultWriter label maps.

    threads: encode and write. capacity: if so many frames wait to be written, `write` waits.
    """

    def __init__(self, root: Path, threads: int = 2, capacity: int = 4):
        self._root = root
        self._pool = BackgroundPool(threads, capacity)

    def video(self, name: str) -> "SoftVideoWriter":
        """A context manager that writes one video."""
        return SoftVideoWriter(self._root / name, self._pool)

    def close(self) -> None:
        """Wait for the threads to end."""
        self._pool.close()

    def __enter__(self) -> "SoftWriter":
        return self

    def __exit__(self, *exception) -> None:
        self.close()


class SoftVideoWriter(FolderWriter):
    """The probabilities of one video, whole or absent."""

    def write(self, frame_name: str, result: FrameResult) -> None:
        """Queue the probabilities of a frame. Raises the error of an earlier frame that failed."""
        levels = to_levels(result.probabilities)
        ids = (0, *result.object_ids)

        def write_frame() -> None:
            for object_id, level in zip(ids, levels, strict=True):
                self._write_png(f"{object_id}/{frame_name}.png", Image.fromarray(level))

        self._submit(write_frame, files=len(ids))


def to_levels(probabilities: Tensor) -> np.ndarray:
    """Probabilities [K + 1, H, W] as uint8: 255 is 1. The error is at most 1/510."""
    return probabilities.mul(LEVELS).round_().byte().cpu().numpy()
