"""A propagation in a thread of its own: live results, progress, cancelling."""

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from annotator.bounded_cache import BoundedCache
from annotator.encoding import packed_labels
from inference.interactive import InteractiveProject
from util.errors import InputError, reason_in_one_line

_LIVE_BYTES = 32_000_000  # of compressed labels; the oldest ones are forgotten
_PATIENCE_SECONDS = 60.0  # a frame at a time is computed, and then the thread looks up


class _Cancelled(Exception):
    """Ends a propagation from its progress callback."""


class BackgroundPropagation:
    """Makes the pending results of a project without holding up anyone.

    changed: called, from the thread, after each frame and at the end.
    """

    def __init__(self, project: InteractiveProject, changed: Callable[[], None]):
        self._project, self._changed = project, changed
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._cancelled = threading.Event()
        self._live: BoundedCache[int] = BoundedCache(_LIVE_BYTES)
        self._status: dict[str, Any] = {"running": False, "error": None}

    @property
    def is_running(self) -> bool:
        """Whether the thread is at work."""
        return self._status["running"]

    @property
    def status(self) -> dict[str, Any]:
        """running; error (None: none); and once frames are done: done, total (frames of all
        passes), frame (the latest), frames_per_second, seconds_left."""
        return self._status

    def live_labels(self, frame: int) -> bytes | None:
        """The labels of a frame that was made in this propagation, packed; None if it was not."""
        return self._live.get(frame)

    def start(self) -> None:
        """Begin. Raises InputError if it runs already or no frame is annotated."""
        with self._lock:
            if self.is_running:
                raise InputError("a propagation is running already; wait, or cancel it")
            results = self._project.propagate(progress=self._advance)
            self._cancelled.clear()
            self._began = time.monotonic()
            self._status = {"running": True, "error": None, "done": 0, "total": 0, "frame": None}
            self._thread = threading.Thread(target=self._run, args=(results,), daemon=True)
            self._thread.start()
        self._changed()

    def cancel(self) -> None:
        """End it after the frame that is being computed; stretches that are finished stay."""
        self._cancelled.set()

    def close(self) -> None:
        """Cancel, and wait until the thread has ended."""
        self.cancel()
        if self._thread is not None:
            self._thread.join(_PATIENCE_SECONDS)

    def _run(self, results) -> None:
        error = None
        try:
            with contextlib.closing(results):
                for result in results:
                    labels = np.asarray(result.labels).astype(np.uint8)
                    self._live.put(result.frame_index, packed_labels(labels))
                    self._status = {**self._status, "frame": result.frame_index}
                    self._changed()
        except _Cancelled:
            pass
        except Exception as problem:
            error = reason_in_one_line(problem)
            if error is None:
                error = "the propagation ended with a defect of the program; see the terminal"
                raise
        finally:
            self._status = {"running": False, "error": error}
            self._live.clear()
            self._changed()

    def _advance(self, done: int, total: int) -> None:
        if self._cancelled.is_set():
            raise _Cancelled
        pace = done / max(time.monotonic() - self._began, 1e-6)
        self._status = {
            **self._status,
            "done": done,
            "total": total,
            "frames_per_second": round(pace, 2),
            "seconds_left": round((total - done) / pace, 1),
        }
        self._changed()
