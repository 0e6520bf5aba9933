"""How far a long run is, on stderr: a bar on a terminal; elsewhere a line per finished part, and one now and then."""

import collections
import io
import sys
import time
from typing import TextIO

try:
    import progressbar
except ImportError:  # a machine prepared by others; lines then tell how far a run is
    progressbar = None

_RATE_SECONDS = 10.0  # the rate is that of about so long
_SAMPLE_SECONDS = 0.5


class Progress:
    """Counts `unit`s towards a total (None: unknown), showing how many there are a second lately, and, on a terminal, the time left.

    Used as a context manager. The rate counts everything: reading, computing, writing. line_seconds: where stderr is no terminal, a line is said when so
    long nothing was.
    """

    def __init__(
        self,
        total: int | None,
        unit: str = "frames",
        stream: TextIO | None = None,
        *,
        line_seconds: float = 30.0,
    ):
        self._stream = stream or sys.stderr or io.StringIO()  # a closed standard error is None
        self._total = total
        self._unit = unit
        self._line_seconds = line_seconds
        self._done = 0
        self._said_at = time.perf_counter()
        self._samples = collections.deque([(self._said_at, 0)])  # when how many were done
        self._text: progressbar.FormatCustomText | None = None
        self._bar: progressbar.ProgressBar | None = None

    def __enter__(self) -> "Progress":
        if progressbar is not None and self._stream.isatty():
            self._text = progressbar.FormatCustomText("%(text)s", {"text": ""})
            known = [
                progressbar.Percentage(),
                " ",
                progressbar.Bar(),
                " ",
                self._text,
                "  ",
                progressbar.ETA(),
            ]
            unknown = [
                progressbar.Counter(),
                f" {self._unit} ",
                progressbar.AnimatedMarker(),
                " ",
                self._text,
            ]
            widgets, maximum = (
                (unknown, progressbar.UnknownLength)
                if self._total is None
                else (known, self._total)
            )
            self._bar = progressbar.ProgressBar(
                max_value=maximum, widgets=widgets, fd=self._stream
            ).start()
        return self

    def advance(self, count: int = 1, status: str = "") -> None:
        """So many more are done. status: what else is to be known at this moment; shown after the rate."""
        self._done += count
        now = time.perf_counter()
        if self._bar is None and now - self._said_at < self._line_seconds:
            self._sample(now)
            return
        text = ", ".join(filter(None, (f"{self._rate(now):.1f} {self._unit}/s", status)))
        self._sample(now)
        if self._bar is None:
            self.say(
                f"{self._done:,} {self._unit}{'' if self._total is None else f' of {self._total:,}'}, {text}"
            )
        else:
            self._text.update_mapping(text=text)
            self._bar.update(self._done if self._total is None else min(self._done, self._total))

    def say(self, text: str) -> None:
        """A line of its own, above the bar where there is one."""
        if self._bar is not None:
            text = f"\r\033[K{text}"  # the bar's line is cleared and drawn anew below
        print(text, file=self._stream, flush=True)
        self._said_at = time.perf_counter()
        if self._bar is not None:
            self._bar.update(force=True)

    def _sample(self, now: float) -> None:
        if now - self._samples[-1][0] >= _SAMPLE_SECONDS:
            self._samples.append((now, self._done))
            while now - self._samples[1][0] > _RATE_SECONDS:
                self._samples.popleft()

    def _rate(self, now: float) -> float:
        then, done = self._samples[0]
        return (self._done - done) / max(now - then, 1e-9)

    def __exit__(self, kind, error, traceback) -> None:
        if self._bar is not None:
            self._bar.finish(dirty=kind is not None)
