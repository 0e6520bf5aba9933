"""Frames that are read more than once, in any order, with a bounded number of them in memory.

Legend: H W frame size.
"""

import contextlib
import itertools
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from util.errors import InputError
from util.text import counted

CHUNK_BYTES = 256 * 2**20
"""Images that reading backwards holds at a time, whatever the length of the video."""


class PositionedImage(Protocol):
    """A frame. index: its position in the video. image: uint8 RGB [H, W, 3]."""

    @property
    def index(self) -> int: ...

    @property
    def image(self) -> Any: ...


class RereadableFrames(Protocol):
    """The frames of a video, by position. Frames that cannot be decoded may be missing."""

    def read(self, start: int, stop: int | None) -> Iterator[PositionedImage]:
        """The frames from `start` to before `stop` (None: the end), in order."""

    def read_at(self, positions: Sequence[int]) -> Iterator[PositionedImage]:
        """The frames at ascending positions."""


class _Image(NamedTuple):
    index: int
    image: Any


class _IndexedFrames:
    """A sequence or an array [T, H, W, 3]."""

    def __init__(self, frames: Sequence[Any]):
        self._frames = frames

    def read(self, start: int, stop: int | None) -> Iterator[PositionedImage]:
        stop = len(self._frames) if stop is None else min(stop, len(self._frames))
        return (_Image(index, self._frames[index]) for index in range(start, stop))

    def read_at(self, positions: Sequence[int]) -> Iterator[PositionedImage]:
        present = (index for index in positions if index < len(self._frames))
        return (_Image(index, self._frames[index]) for index in present)


class _IteratedFrames:
    """An iterable that begins again each time it is iterated."""

    def __init__(self, frames: Iterable[Any]):
        self._frames = frames

    def read(self, start: int, stop: int | None) -> Iterator[PositionedImage]:
        return itertools.starmap(_Image, itertools.islice(enumerate(self._frames), start, stop))

    def read_at(self, positions: Sequence[int]) -> Iterator[PositionedImage]:
        wanted = set(positions)
        frames = self.read(positions[0], positions[-1] + 1)
        return (frame for frame in frames if frame.index in wanted)


def rereadable(frames: Iterable[Any], needed_for: str) -> RereadableFrames:
    """Any iterable of frames, if it can be read again.

    needed_for: what needs that, for the message. Raises InputError for iterators and generators.
    """
    if hasattr(frames, "__len__") and hasattr(frames, "__getitem__"):
        return _IndexedFrames(frames)
    if iter(frames) is frames:
        raise InputError(
            f"frames: {needed_for} reads them more than once, and a {type(frames).__name__} can be"
            " read only once; give a list, an array, or an iterable that begins again"
        )
    return _IteratedFrames(frames)


def read_backwards(
    frames: RereadableFrames, last: int, frame_bytes: int, needed: Collection[int]
) -> Iterator[PositionedImage]:
    """The frames from position `last` down to 0, read in chunks of at most CHUNK_BYTES.

    frame_bytes: of each image. needed: positions that must be there.
    Raises InputError if one of these is missing.
    """
    chunk_frames = max(CHUNK_BYTES // frame_bytes, 1)
    for stop in range(last + 1, 0, -chunk_frames):
        start = max(stop - chunk_frames, 0)
        reading = frames.read(start, stop)
        with contextlib.ExitStack() as closing:
            if hasattr(reading, "close"):
                closing.callback(reading.close)
            chunk = list(reading)
        missing = {i for i in needed if start <= i < stop}.difference(f.index for f in chunk)
        refuse_unreadable(missing)
        while chunk:
            yield chunk.pop()


def refuse_unreadable(positions: Collection[int]) -> None:
    """Raise InputError if there are frames with masks that cannot be read."""
    if positions:
        raise InputError(
            f"masks are given for frames {sorted(positions)}, which the video does not have, or"
            " which are damaged and cannot be decoded; give masks for other frames"
        )


def require_positions(missing: Collection[int], frame_count: int) -> None:
    """Raise InputError if frames with masks are missing in a video with so many frames."""
    if missing:
        raise InputError(
            f"masks are given for frames {sorted(missing)}, but the video has"
            f" {counted(frame_count, 'frame')} (counted from 0)"
        )
