"""What the user is told about a video while another thread reads it."""

import types

import numpy as np

from inference.video_messages import VideoMessages


class ProgressThatTakesTime:
    """Collects lines; while it shows the first one, the reader finds something else to note."""

    def __init__(self, notes: list[str]):
        self.lines: list[str] = []
        self._notes = notes

    def say(self, line: str) -> None:
        if not self.lines:
            self._notes.append("mask of frame 4")
        self.lines.append(line)


def test_a_note_that_is_added_while_another_is_shown_is_shown_next():
    notes = ["mask of frame 0"]
    video = types.SimpleNamespace(name="clip", notes=notes)
    session = types.SimpleNamespace(lost_object_ids=())
    progress = ProgressThatTakesTime(notes)
    messages = VideoMessages(video, session, progress)
    for name in ("00000", "00001", "00002"):
        messages.result(types.SimpleNamespace(name=name), np.ones((2, 2), np.uint8))
    assert progress.lines == ["mask of frame 0", "mask of frame 4"]
