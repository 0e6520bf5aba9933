"""Progress of long runs on standard error: a bar on a terminal, otherwise a line now and then."""

import collections
import io
import sys
import time
from typing import TextIO

try:
    import progressbar
except ImportError:  # progress is then shown as lines
    progressbar = None

_RATE_SECONDS = 10.0  # the rate is the average over about this time
_SAMPLE_SECONDS = 0.5


class Progress:
    """Counts units towards a total and shows the recent rate, and on a terminal the time left.

    A context manager. The rate includes reading, computing and writing.

    total: None if unknown. unit: plural noun. stream: standard error unless given.
    line_seconds: without a terminal, the time after which a line is printed if none was.
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
        self._last_line_seconds = time.perf_counter()
        self._samples = collections.deque([(self._last_line_seconds, 0)])  # (seconds, units done)
        self._text: progressbar.FormatCustomText | None = None
        self._bar: progressbar.ProgressBar | None = None

    def __enter__(self) -> "Progress":
        if progressbar is not None and self._stream.isatty():
            self._text = progressbar.FormatCustomText("%(text)s", {"text": ""})
            self._bar = self._new_bar().start()
        return self

    def __exit__(self, kind, error, traceback) -> None:
        if self._bar is not None:
            self._bar.finish(dirty=kind is not None)

    def _new_bar(self) -> "progressbar.ProgressBar":
        if self._total is None:
            start = [progressbar.Counter(), f" {self._unit} ", progressbar.AnimatedMarker()]
            end = []
        else:
            start = [progressbar.Percentage(), " ", progressbar.Bar()]
            end = ["  ", progressbar.ETA()]
        return progressbar.ProgressBar(
            max_value=progressbar.UnknownLength if self._total is None else self._total,
            widgets=[*start, " ", self._text, *end],
            fd=self._stream,
        )

    def advance(self, count: int = 1, status: str = "") -> None:
        """Add `count` finished units. status: further information, shown after the rate."""
        self._done += count
        now = time.perf_counter()
        if self._bar is None and now - self._last_line_seconds < self._line_seconds:
            self._sample(now)
            return
        text = ", ".join(filter(None, (f"{self._rate(now):.1f} {self._unit}/s", status)))
        self._sample(now)
        if self._bar is None:
            of_total = "" if self._total is None else f" of {self._total:,}"
            self.say(f"{self._done:,} {self._unit}{of_total}, {text}")
        else:
            self._text.update_mapping(text=text)
            self._bar.update(self._done if self._total is None else min(self._done, self._total))

    def say(self, text: str) -> None:
        """Print a line, above the bar if there is one."""
        if self._bar is not None:
            text = f"\r\033[K{text}"  # clear the bar's line; the bar is drawn again below
        print(text, file=self._stream, flush=True)
        self._last_line_seconds = time.perf_counter()
        if self._bar is not None:
            self._bar.update(force=True)

    def _sample(self, now: float) -> None:
        if now - self._samples[-1][0] >= _SAMPLE_SECONDS:
            self._samples.append((now, self._done))
            while now - self._samples[1][0] > _RATE_SECONDS:
                self._samples.popleft()

    def _rate(self, now: float) -> float:
        start, done = self._samples[0]
        return (self._done - done) / max(now - start, 1e-9)
