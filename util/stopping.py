"""Being asked to stop: schedulers, torchrun and Ctrl-C send signals, and a step should be finished and saved before the process ends."""

import os
import signal
import sys
from types import FrameType


class StopSignals:
    """While this context is open, SIGTERM and SIGINT only set `received`. A second SIGINT interrupts at once, as Ctrl-C does otherwise."""

    def __init__(self):
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
        os.write(sys.stderr.fileno(), f"{self.received.name}: stopping after this iteration\n".encode())  # print may be what was interrupted
