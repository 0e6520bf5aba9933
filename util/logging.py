"""Messages of library code, shown by programs.

Modules log with `logging.getLogger(__name__)` and print nothing. A program calls
`configure_logging` once (`run_command` does), which shows their notes and warnings on standard
error; in a notebook they follow the notebook's own logging configuration.
"""

import contextlib
import functools
import logging
import sys

PACKAGES = ("util", "model", "dataset", "inference", "annotator", "scripts")
_PREFIXES = {logging.INFO: "note: ", logging.WARNING: "warning: ", logging.ERROR: "error: "}


def configure_logging() -> None:
    """Show what the project's modules log at level INFO or above on standard error, a line each.

    A line reads "note: …" (INFO), "warning: …" or "error: …". Further calls change nothing, and
    the loggers of other packages are left alone. Each line is one write, so that the lines of
    several processes do not mix; a line that standard error cannot take is dropped.
    """
    for package in PACKAGES:
        logger = logging.getLogger(package)
        logger.setLevel(logging.INFO)
        if _HANDLER not in logger.handlers:
            logger.addHandler(_HANDLER)


@functools.cache
def note_once(logger: logging.Logger, text: str) -> None:
    """Log a note (INFO) the first time that this process asks for it, however many videos it
    applies to."""
    logger.info(text)


class _ConsoleHandler(logging.Handler):
    """Writes to what `sys.stderr` is at that moment, which tests and `run_command` replace."""

    def emit(self, record: logging.LogRecord) -> None:
        stream = sys.stderr
        if stream is None:  # it was closed when the program started
            return
        with contextlib.suppress(OSError, ValueError):  # a full disk; a stream closed since
            stream.write(f"{_PREFIXES.get(record.levelno, '')}{record.getMessage()}\n")
            stream.flush()


_HANDLER = _ConsoleHandler(level=logging.INFO)
