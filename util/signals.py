"""Being asked to stop: schedulers, torchrun and Ctrl-C send signals, and a step should be finished and saved, or what is half done removed, before the process ends."""

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NoReturn


class StopSignals:
    """While this context is open, SIGTERM and SIGINT only set `received`. A second SIGINT interrupts at once, as Ctrl-C does otherwise.

    said: what is told of the first. heard: called at each, inside the signal handler. For the main thread alone, as signals are.
    """

    def __init__(
        self, said: str = "stopping after this iteration", heard: Callable[[], None] = lambda: None
    ):
        self._said, self._heard = said, heard
        self.received: signal.Signals | None = None
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> "StopSignals":
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, kind, error, traceback) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received == signal.SIGINT == number:
            raise KeyboardInterrupt
        self.received = signal.Signals(number)
        with contextlib.suppress(
            OSError, ValueError, AttributeError
        ):  # standard error is closed or full
            os.write(
                sys.stderr.fileno(), f"{self.received.name}: {self._said}\n".encode()
            )  # print may be what was interrupted
        self._heard()


@contextlib.contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """While this context is open, SIGTERM ends the process as an exception does: what is half done is undone, and what was started is ended too.

    For the main thread alone, as signals are.
    """

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
