"""All that is written of the results of one video."""

import contextlib
from types import TracebackType

from dataset import Frame
from inference.output.overlay import OverlayWriter
from inference.output.soft import SoftVideoWriter
from inference.output.writer import VideoWriter
from inference.results import FrameResult


class VideoOutputs:
    """Label maps and, unless they are None, probabilities and an overlay.

    Label maps get their name first: if a run is stopped before the others have theirs, a later run
    makes all of them again.
    """

    def __init__(
        self,
        label_maps: VideoWriter,
        probabilities: SoftVideoWriter | None = None,
        overlay: OverlayWriter | None = None,
    ):
        self._label_maps, self._probabilities, self._overlay = label_maps, probabilities, overlay
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "VideoOutputs":
        with contextlib.ExitStack() as stack:  # left in reverse
            for writer in (self._overlay, self._probabilities, self._label_maps):
                if writer is not None:
                    stack.enter_context(writer)
            self._stack = stack.pop_all()
        return self

    def write(self, frame: Frame, result: FrameResult) -> None:
        """Queue the result of a frame. Raises the error of an earlier frame that failed."""
        self._label_maps.write(frame.name, result.labels)
        if self._probabilities is not None:
            self._probabilities.write(frame.name, result)
        if self._overlay is not None:
            self._overlay.add(frame.name, frame.image, result.labels, frame.seconds)

    def mark_incomplete(self, reason: str) -> None:
        """See VideoWriter."""
        self._label_maps.mark_incomplete(reason)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, traceback)
