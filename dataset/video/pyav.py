"""PyAV, FFmpeg for Python: reads and writes video files. It may be missing where frames come as images and no overlay is drawn."""

import errno
from types import ModuleType
from typing import BinaryIO

from util.errors import InputError

try:
    import av
except ImportError:
    av = None

DECODING_ERRORS: tuple[type[Exception], ...] = () if av is None else (av.FFmpegError,)


def require_av(purpose: str) -> ModuleType:
    """The module av. purpose: what needs it, for the message. Raises InputError where it is not installed."""
    if av is None:
        raise InputError(f"{purpose} needs PyAV, which is not installed here: pip install av")
    return av


class WrittenFile:
    """A file for PyAV to write, without a name, as Nameless.

    error: what ended the writing, None so far. It is kept here, and what follows is thrown away, since an error inside FFmpeg's calls can end the process.
    """

    def __init__(self, file: BinaryIO):
        self._file = file
        self.seek, self.tell = file.seek, file.tell
        self.error: OSError | None = None

    def write(self, content: bytes) -> int:
        if self.error is None:
            try:
                self._file.write(content)
            except OSError as error:
                self.error = error
        return len(content)


class Nameless:
    """A file for PyAV to read, whose name FFmpeg does not see: it would have to be UTF-8, and would tell it what to expect, or be an address to it (a:b.mp4)."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self.read, self.tell, self.close = file.read, file.tell, file.close

    def seek(self, offset: int, whence: int = 0) -> int:
        """The new position; FFmpeg's code for a wrong one where a damaged file sends it there."""
        try:
            return self._file.seek(offset, whence)
        except (OSError, ValueError, OverflowError):
            return -errno.EINVAL
