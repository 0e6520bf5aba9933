"""What the system does to a program: signals that ask it to stop, standard streams that fail.

Schedulers, torchrun and Ctrl-C send signals; a program should then finish and save its current
step, or remove what is half done, before it ends. Standard streams may be closed, lead to a pipe
whose reader has ended, or to a file on a full disk.
"""

import contextlib
import io
import os
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NoReturn, TextIO


class StopSignals:
    """While this context is open, SIGTERM and SIGINT only set `received`.

    A second SIGINT raises KeyboardInterrupt, as Ctrl-C does otherwise. For the main thread only,
    as all signal handlers.

    message: printed on standard error after the signal's name.
    on_signal: called at each signal, inside the signal handler.
    """

    def __init__(
        self,
        message: str = "stopping after this iteration",
        on_signal: Callable[[], None] = lambda: None,
    ):
        self._message, self._on_signal = message, on_signal
        self.received: signal.Signals | None = None
        self._previous_handlers: dict[signal.Signals, object] = {}

    def __enter__(self) -> "StopSignals":
        for number in (signal.SIGTERM, signal.SIGINT):
            self._previous_handlers[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, kind, error, traceback) -> None:
        for number, handler in self._previous_handlers.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received == signal.SIGINT == number:
            raise KeyboardInterrupt
        self.received = signal.Signals(number)
        line = f"{self.received.name}: {self._message}\n".encode()
        # os.write, since the signal may have interrupted a print; stderr may be closed or full.
        with contextlib.suppress(OSError, ValueError, AttributeError):
            os.write(sys.stderr.fileno(), line)
        self._on_signal()


@contextlib.contextmanager
def exit_on_sigterm() -> Iterator[None]:
    """While this context is open, SIGTERM raises SystemExit, so that `finally` blocks and context
    managers undo what is half done and end child processes. For the main thread only."""

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


@contextlib.contextmanager
def tolerate_broken_streams() -> Iterator[None]:
    """While this context is open, a program can print whatever happens to its standard streams.

    Messages that standard error cannot take are dropped, and so is output whose reader has ended
    (`| head`). Standard output that fails otherwise raises OSError, naming it, when flushed.
    """
    _occupy_closed_descriptors()
    output, messages = sys.stdout, sys.stderr
    tolerant = None if output is None else _TolerantOutput(output)
    sys.stdout, sys.stderr = tolerant, _TolerantMessages(messages)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = output, messages
        if tolerant is not None:
            try:
                tolerant.flush()
            except OSError:  # Python itself would flush at its end, and fail
                tolerant.discard()


def _occupy_closed_descriptors() -> None:
    """Open /dev/null in place of closed standard streams: a file opened later would otherwise take
    their number and receive what libraries print."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number


class _TolerantMessages:
    """Standard error. What cannot be written is dropped: it must not end the program."""

    def __init__(self, stream: TextIO | None):
        if stream is None:  # stays open as long as the program runs
            stream = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError):  # ValueError: it was closed
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _TolerantOutput:
    """Standard output. If its reader has ended, further output is dropped; other errors name it."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> int:
        with self._errors():
            try:
                self._stream.write(text)
            except UnicodeEncodeError:  # a file name that this encoding cannot express
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
        """Redirect pending and further output to /dev/null."""
        with contextlib.suppress(OSError, io.UnsupportedOperation):
            devnull = os.open(os.devnull, os.O_WRONLY)
            os.dup2(devnull, self._stream.fileno())
            os.close(devnull)
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
