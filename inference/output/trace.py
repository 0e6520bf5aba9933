"""What a run took, frame by frame: JSON lines, appended as the results come, so that a run that is stopped and goes on loses nothing of it."""

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
    """One result as it came out. seconds: inside the engine, of its video so far. memory_elements, memory_mb: held by the bank then. frames_memorised: written to
    memory so far, for good, of its video. peak_memory_mb: of the process so far.

    With results computed several at a time, the first of them has their time, and all the memory as it is after them.
    """

    video: str
    frame: str  # its file stem
    position: int  # among the results of its video
    seconds: float
    memory_elements: int
    memory_mb: float
    frames_memorised: int
    peak_memory_mb: float


class Trace:
    """Appends to FILE, one write a frame, so that several processes may share it. path None: nothing is written.

    Entering it raises InputError for a file that holds anything but a trace; both that and add() raise OSError naming the file.
    """

    def __init__(self, path: Path | None):
        self._path = path
        self._file: int | None = None

    def __enter__(self) -> "Trace":
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if self._path.is_file() and not _begins_as_trace(self._path):
                raise InputError(
                    f"--trace {self._path}: is there already, and is no trace; name another file"
                )
            self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
            self._write(b"\n")  # ends a line that an earlier run left cut short
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
    def wanted(self) -> bool:
        """Whether anything is written."""
        return self._path is not None

    def add(self, frame: FrameTrace) -> None:
        """One line. Frames of a video come in order, from position 0."""
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
    """video → its frames in order. A video begun several times is what it was the last time; lines that are cut short, and what is not there, are left out."""
    videos: dict[str, list[FrameTrace]] = {}
    with contextlib.suppress(FileNotFoundError):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValueError, TypeError, RecursionError):
                frame = FrameTrace(**json.loads(line))
                if frame.position == 0:
                    videos[frame.video] = []
                videos.setdefault(frame.video, []).append(frame)
    return videos
