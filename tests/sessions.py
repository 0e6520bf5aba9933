"""Playing videos through sessions."""

from collections.abc import Iterable, Mapping
from typing import Any

from inference import FrameResult, SegmentationSession


def run_session(
    session: SegmentationSession, frames: Iterable[Any], masks: Mapping[int, Any] | None = None
) -> list[FrameResult]:
    """All results of a session, in order. masks: {position among the frames: ids}."""
    masks = masks or {}
    results = [session.step(frame, masks.get(index)) for index, frame in enumerate(frames)]
    return [result for result in results if result is not None] + session.flush()
