"""Messages to the user about one video while it is segmented, a line each."""

import numpy as np

from dataset import Frame, LiveVideo, Video
from inference.propagation import Propagation
from inference.session import SegmentationSession
from util.progress import Progress
from util.text import counted


class VideoMessages:
    """Prints what happens to a video above the progress bar, each message once.

    session: segments the video. progress: of all videos of this process.
    """

    def __init__(
        self, video: Video, session: SegmentationSession | Propagation, progress: Progress
    ):
        self._video, self._session, self._progress = video, session, progress
        self._notes_told = 0
        self._lost: tuple[int, ...] = ()  # the objects reported as lost
        self._empty_since: str | None = None  # the frame since which no result holds an object

    def say(self, text: str) -> None:
        """Print a line that begins with the video's name."""
        self._progress.say(f"{self._video.name}: {text}")

    def advance(self) -> None:
        """Advance the progress bar by a frame, and show what the memory holds."""
        bank = self._session.memory
        parts = [] if bank is None else [f"memory {bank.size:,} elements, {bank.megabytes:.1f} MB"]
        if drops_frames(self._video):
            parts.append(f"{counted(self._video.dropped_frames, 'frame')} dropped")
        self._progress.advance(status=", ".join(parts))

    def result(self, frame: Frame, labels: np.ndarray) -> None:
        """Report objects that are lost, and notes of the reader, after a result was written.

        labels: of the result, ids [H, W].
        """
        lost = self._session.lost_object_ids
        for object_id in set(lost).difference(self._lost):
            self.say(
                f"object {object_id} is lost by frame {frame.name}: nothing of it is left in the "
                "memory; a new mask brings it back (--corrections)"
            )
        self._lost = lost
        self._tell_notes()
        if labels.any():
            self._empty_since = None
        elif self._empty_since is None:
            self._empty_since = frame.name

    def end(self, seconds: float) -> None:
        """Report how many results there are, and what was left out, once they are complete.

        seconds: spent inside the session for this video.
        """
        video, session = self._video, self._session
        self._tell_notes()
        frames = session.frames_given - session.frames_skipped
        line = f"{counted(frames, 'frame')}, {frames / max(seconds, 1e-9):.2f} frames/s"
        if session.frames_skipped:
            line += f", {session.frames_skipped} skipped (neither asked for nor memorised)"
        self.say(line)
        if video.ignored_masks:
            self.say(
                f"{counted(video.ignored_masks, 'later mask')} ignored; --corrections uses them"
            )
        if drops_frames(video):
            self.say(f"{counted(video.dropped_frames, 'frame')} dropped to keep up")
        if self._empty_since is not None:
            self.say(f"no object left from {self._empty_since} on")

    def _tell_notes(self) -> None:
        new = self._video.notes[self._notes_told :]  # the thread that reads ahead adds to them
        for note in new:
            self._progress.say(note)
        self._notes_told += len(new)


def drops_frames(video: Video) -> bool:
    """Whether frames of a live source that arrive while another is segmented are dropped."""
    return isinstance(video, LiveVideo) and video.newest_only
