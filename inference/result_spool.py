"""Results that wait on disk until another pass over the video comes to their frames.

Legend: K objects, H W frame size.
"""

import tempfile
import zlib
from typing import NamedTuple

import numpy as np
import torch

from inference.results import FrameResult
from util.files import name_path_in_errors

_MAX_BYTES_IN_MEMORY = 64 * 2**20  # beyond, a temporary file holds them
_COMPRESSION = 1  # masks compress well at any level, and higher ones are much slower
_STEPS = 0xFFFF  # probabilities are held at 16 bits


class _Entry(NamedTuple):
    offset: int
    size: int
    shape: tuple[int, ...]
    object_ids: tuple[int, ...]
    device: torch.device


class ResultSpool:
    """A context manager that holds results, by frame index, out of memory.

    Probabilities are held in steps of 1/65535 and compressed, in a temporary file once they take
    more than 64 MB. Raises OSError, naming the folder of that file, if the disk is full.
    """

    def __init__(self):
        self._entries: dict[int, _Entry] = {}

    def __enter__(self) -> "ResultSpool":
        self._file = tempfile.SpooledTemporaryFile(_MAX_BYTES_IN_MEMORY)
        self._end = 0
        return self

    def __exit__(self, *exception) -> None:
        self._file.close()

    def add(self, result: FrameResult) -> None:
        """Hold a result."""
        probabilities = result.probabilities
        steps = (probabilities * _STEPS).round().cpu().numpy().astype("<u2")
        content = zlib.compress(steps.tobytes(), _COMPRESSION)
        with name_path_in_errors(tempfile.gettempdir()):
            self._file.seek(self._end)
            self._file.write(content)
        self._entries[result.frame_index] = _Entry(
            self._end, len(content), steps.shape, result.object_ids, probabilities.device
        )
        self._end += len(content)

    def take(self, frame_index: int) -> FrameResult | None:
        """The result of a frame, which is then no longer held; None if there is none."""
        entry = self._entries.pop(frame_index, None)
        if entry is None:
            return None
        with name_path_in_errors(tempfile.gettempdir()):  # seeking writes what is buffered
            self._file.seek(entry.offset)
            content = self._file.read(entry.size)
        steps = np.frombuffer(zlib.decompress(content), "<u2")
        values = (steps.astype(np.float32) / _STEPS).reshape(entry.shape)
        probabilities = torch.from_numpy(values).to(entry.device)
        return FrameResult.of(frame_index, entry.object_ids, probabilities)
