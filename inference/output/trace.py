"""What each frame of a run took: JSON lines, appended as results come.

A run that is stopped and resumed loses none of them.
"""

import contextlib
import dataclasses
import json
import os
from pathlib import Path
from types import TracebackType

from util.errors import InputError
from util.files import name_path_in_errors


@dataclasses.dataclass(frozen=True, kw_only=True)
class FrameTrace:
    """One result when it was produced.

    frame: its file stem. position: among the results of its video, from 0.
    seconds: spent inside the session, for its video so far.
    memory_elements, memory_mb: held by the memory bank then (10^6 bytes).
    frames_memorised: permanently written to memory, for its video so far.
    peak_memory_mb: of the process so far (10^6 bytes).

    If several results are computed together, the first of them accounts for the time of all, and
    each shows the memory after all of them.
    """

    video: str
    frame: str
    position: int
    seconds: float
    memory_elements: int
    memory_mb: float
    frames_memorised: int
    peak_memory_mb: float


class Trace:
    """Appends to a file, one write per frame, so that several processes may share it.

    path: None writes nothing. Entering the context raises InputError if the file holds anything
    but a trace. Entering it and `add` raise OSError naming the file.
    """

    def __init__(self, path: Path | None):
        self._path = path
        self._file: int | None = None

    def __enter__(self) -> "Trace":
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if self._path.is_file() and not _begins_as_trace(self._path):
                raise InputError(
                    f"--trace {self._path}: is there already and is no trace; name another file"
                )
            self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
            self._write(b"\n")  # ends a line that an earlier run wrote only in part
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    @property
    def is_written(self) -> bool:
        """Whether there is a file to write to."""
        return self._path is not None

    def add(self, frame: FrameTrace) -> None:
        """Append a line. Frames of a video come in order, from position 0."""
        if self._file is not None:
            self._write((json.dumps(dataclasses.asdict(frame)) + "\n").encode())

    def _write(self, line: bytes) -> None:
        with name_path_in_errors(self._path):
            os.write(self._file, line)


def _begins_as_trace(path: Path) -> bool:
    expected = b'{"video": "'
    with path.open("rb") as file:
        beginning = file.read(64).lstrip(b"\n")[: len(expected)]
    return expected.startswith(beginning)


def read_trace(path: Path) -> dict[str, list[FrameTrace]]:
    """The frames of each video, by name and in order; empty if there is no file.

    For a video that was begun several times, the last time counts. Incomplete lines are skipped.
    """
    videos: dict[str, list[FrameTrace]] = {}
    with contextlib.suppress(FileNotFoundError):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValueError, TypeError, RecursionError):
                frame = FrameTrace(**json.loads(line))
                if frame.position == 0:
                    videos[frame.video] = []
                videos.setdefault(frame.video, []).append(frame)
    return videos
