"""PyAV, FFmpeg for Python, which reads and writes video files.

It may be missing if frames are images and no overlay is drawn.
"""

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
    """The module av, which passes no message of FFmpeg to Python's logging from now on.

    torchvision 0.19 makes it do so. FFmpeg's decoding threads then call Python, and can wait
    forever for the lock of its logging module (seen with av 15).

    Args:
        purpose: what needs it, for the message.

    Raises:
        InputError: it is not installed.
    """
    if av is None:
        raise InputError(f"{purpose} needs PyAV, which is not installed here: pip install av")
    av.logging.set_level(None)
    return av


class Nameless:
    """A file for PyAV to read without its name.

    FFmpeg requires names in UTF-8, guesses formats from them, and takes some for addresses
    (a:b.mp4).
    """

    def __init__(self, file: BinaryIO):
        self._file = file
        self.read, self.tell, self.close = file.read, file.tell, file.close

    def seek(self, offset: int, whence: int = 0) -> int:
        """The new position; FFmpeg's error code if a damaged file asks for an impossible one."""
        try:
            return self._file.seek(offset, whence)
        except (OSError, ValueError, OverflowError):
            return -errno.EINVAL


class WrittenFile:
    """A file for PyAV to write, without its name, as Nameless.

    error: the first error, None so far. It is not raised, since an exception inside FFmpeg's calls
    can end the process; everything after it is discarded.
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
