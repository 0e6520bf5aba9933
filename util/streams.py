"""Standard output and error that cannot take what is written to them: closed, a pipe whose reader has gone, a file on a full disk."""

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO


class _Messages:
    """Standard error: what cannot be written is lost, for messages are no reason to end."""

    def __init__(self, stream: TextIO | None):
        self._stream = stream if stream is not None else open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - open as long as the program runs

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError):  # ValueError: it was closed
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Output:
    """Standard output: where its reader has gone (`| head`) the rest is dropped, since nobody wants it; other errors name it."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> int:
        with self._errors():
            try:
                self._stream.write(text)
            except UnicodeEncodeError:  # a file's name that is no text in this encoding
                encoding = self._stream.encoding
                self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def flush(self) -> None:
        with self._errors():
            self._stream.flush()

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            self.discard()
        except OSError as error:
            raise OSError(error.errno, error.strerror, "standard output") from error

    def discard(self) -> None:
        """Send what was not written yet, and what comes, nowhere."""
        with contextlib.suppress(OSError, io.UnsupportedOperation):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def steady_streams() -> Iterator[None]:
    """While this context is open, a program can print whatever has become of its standard streams.

    Standard error that is closed or full loses messages; the rest of an output whose reader has gone is dropped. Another output that cannot be written raises
    OSError, naming it, when it is flushed.
    """
    for number in range(
        3
    ):  # a file that took the number of a closed stream would receive what libraries print
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    output, messages = sys.stdout, sys.stderr
    steady = None if output is None else _Output(output)
    sys.stdout, sys.stderr = steady, _Messages(messages)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = output, messages
        if steady is not None:
            try:
                steady.flush()
            except OSError:  # Python itself would flush at its end, and fail
                steady.discard()
