"""How far a long run is, on stderr: a bar on a terminal, a line per finished part elsewhere."""

import sys
import time
from typing import TextIO

import progressbar


class Progress:
    """Counts `unit`s towards a total (None: unknown), showing their rate and the time left where stderr is a terminal.

    Used as a context manager. The rate counts everything: reading, computing, writing.
    """

    def __init__(self, total: int | None, unit: str = "frames", stream: TextIO | None = None):
        self._stream = stream or sys.stderr
        self._total = total
        self._unit = unit
        self._done = 0
        self._start_seconds = time.perf_counter()
        self._rate = progressbar.FormatCustomText(f"%(rate).1f {unit}/s", {"rate": 0.0})
        self._bar: progressbar.ProgressBar | None = None

    def __enter__(self) -> "Progress":
        if self._stream.isatty():
            known = [progressbar.Percentage(), " ", progressbar.Bar(), " ", self._rate, "  ", progressbar.ETA()]
            unknown = [progressbar.Counter(), f" {self._unit} ", progressbar.AnimatedMarker(), " ", self._rate]
            widgets, maximum = (unknown, progressbar.UnknownLength) if self._total is None else (known, self._total)
            self._bar = progressbar.ProgressBar(max_value=maximum, widgets=widgets, fd=self._stream).start()
        return self

    def advance(self, count: int = 1) -> None:
        """So many more are done."""
        self._done += count
        if self._bar is not None:
            self._rate.update_mapping(rate=self._done / max(time.perf_counter() - self._start_seconds, 1e-9))
            self._bar.update(self._done if self._total is None else min(self._done, self._total))

    def say(self, text: str) -> None:
        """A line of its own, above the bar where there is one."""
        if self._bar is not None:
            text = f"\r\033[K{text}"  # the bar's line is cleared and drawn anew below
        print(text, file=self._stream, flush=True)
        if self._bar is not None:
            self._bar.update(force=True)

    def __exit__(self, kind, error, traceback) -> None:
        if self._bar is not None:
            self._bar.finish(dirty=kind is not None)
