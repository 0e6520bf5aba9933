"""Videos from live sources, whose frames come at their own pace.

A thread of the source takes images from its feed and passes them to the thread that segments them.
Few are held at a time: either the source waits, or, if only the newest frame matters, an image
that nobody has taken is dropped when the next one comes.

Legend: H W height and width in pixels. A position is an image's index among all that came.
"""

import atexit
import collections
import datetime
import re
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from dataset.image_file import size_text
from dataset.video.base import Frame, TruncatedVideoError
from dataset.video.feeds import (
    MAX_STALL_SECONDS,
    CameraFeed,
    Feed,
    FileFeed,
    StreamFeed,
    is_live_address,
)
from dataset.video.frame_source import NumberedSource, Picture, check_frame_size
from dataset.video.generic import local_path
from dataset.video.masked_video import MaskedVideo, find_masks
from util.errors import InputError
from util.text import counted

DEFAULT_STALL_SECONDS = 10.0
_MAX_WAITING_IMAGES = 4
_POLL_SECONDS = 0.1  # how soon a wait for an image notices that it should end
# Cameras on Linux give up by themselves after 10 seconds.
_MAX_CLOSING_SECONDS = 15.0
_MAX_NAME_CHARACTERS = 100  # of a video, without the time

# A position and the image, RGB uint8 [H, W, 3].
_Item = tuple[int, np.ndarray]


class LiveSource(NumberedSource):
    """The images of a feed, which can be read once. If their size changes, the video ends.

    dropped_frames: the number of images dropped so far.
    """

    count = None

    def __init__(
        self, feed: Feed, *, newest_only: bool, stall_seconds: float = DEFAULT_STALL_SECONDS
    ):
        """
        Args:
            newest_only: drop an image that was not taken before the next one came.
            stall_seconds: how long to wait for an image.
        """
        self.feed = feed
        self.files = feed.files
        self.dropped_frames = 0
        self.newest_only = newest_only
        self._stall_seconds = stall_seconds
        self._never_dropped: frozenset[int] = frozenset()
        self._first_wanted = 0
        self._stopped = False
        self._thread: threading.Thread | None = None
        # What follows is shared by the two threads, guarded by the condition.
        self._changed = threading.Condition()
        self._waiting: collections.deque[_Item] = collections.deque()
        self._arrived_count = 0
        self._has_ended = False
        self._error: BaseException | None = None

    @property
    def notes(self) -> list[str]:
        return self.feed.notes

    def never_drop(self, positions: frozenset[int]) -> None:
        """Exempt positions, such as those with masks, from dropping. To be called before anything
        is read."""
        self._never_dropped = positions

    def stop(self) -> None:
        """End pictures() before its next image. May be called from a signal handler."""
        self._stopped = True

    def size(self, index: int, mask_size: tuple[int, int]) -> tuple[int, int]:
        self._start(index)
        first = self._wait_for_item()
        if first is None:
            raise InputError(f"{self.feed.address}: was stopped before its first frame")
        size = first[1].shape[:2]
        check_frame_size(size, self.feed.address)
        return size

    def pictures(self, start: int, mask_size: tuple[int, int]) -> Iterator[Picture]:
        size = self.size(start, mask_size)
        try:
            while (item := self._wait_for_item()) is not None:
                with self._changed:
                    self._waiting.popleft()
                    self._changed.notify_all()
                index, image = item
                if image.shape[:2] != size:
                    raise TruncatedVideoError(
                        f"{self.feed.address}: frames of {size_text(image.shape[:2])} after "
                        f"{size_text(size)} at frame {index}; results are for the frames before: "
                        "start again"
                    )
                yield Picture(index, image)
                del item, image  # not held while the next one is awaited
        finally:
            self._close()

    def _start(self, first_wanted: int) -> None:
        if self._thread is None:
            self._first_wanted = first_wanted
            self._thread = threading.Thread(target=self._read_all, name="live", daemon=True)
            self._thread.start()
            # A thread inside OpenCV or FFmpeg when Python ends would abort the process.
            atexit.register(self._close)

    def _close(self) -> None:
        self.stop()
        self._thread.join(_MAX_CLOSING_SECONDS)
        atexit.unregister(self._close)

    def _wait_for_item(self) -> _Item | None:
        """The next item, which stays in the queue; None if the source was stopped or has ended
        properly. Raises the error that ended it otherwise, or one for a stall."""
        deadline = time.monotonic() + self._stall_seconds
        arrived_count = self._arrived_count
        with self._changed:
            while not self._stopped and not self._waiting:
                if self._has_ended:
                    if self._error is not None:
                        raise self._error
                    return None
                # Images that are skipped or dropped are a sign of life too.
                if self._arrived_count != arrived_count:
                    deadline = time.monotonic() + self._stall_seconds
                    arrived_count = self._arrived_count
                elif time.monotonic() > deadline:
                    raise self._stall_error()
                self._changed.wait(_POLL_SECONDS)
            return None if self._stopped else self._waiting[0]

    def _stall_error(self) -> InputError:
        waited = (
            f"{self.feed.address}: no frame for {self._stall_seconds:g} seconds (--stall_seconds)"
        )
        if self._arrived_count == 0:
            return InputError(f"{waited}; check that it is there and sends")
        return TruncatedVideoError(
            f"{waited} after {counted(self._arrived_count, 'frame')}; results are for these: check "
            "the source and start again"
        )

    def _read_all(self) -> None:
        """What the source's thread does."""
        error = None
        try:
            self.feed.open()
            while not self._stopped and (image := self.feed.read()) is not None:
                self._put(image)
            if not self._stopped and self._arrived_count == 0:
                raise InputError(
                    f"{self.feed.address}: gave no frame; check that it is there and sends"
                )
            if not self._stopped:
                self.feed.check_end(self._arrived_count)
        except BaseException as raised:  # passed on to the thread that segments
            error = raised
        finally:
            self.feed.close()
        with self._changed:
            self._error, self._has_ended = error, True
            self._changed.notify_all()

    def _put(self, image: np.ndarray) -> None:
        with self._changed:
            index = self._arrived_count + self.feed.lost_frames
            self._arrived_count += 1
            if index < self._first_wanted:
                return
            if self.newest_only:
                self._drop_waiting()
            else:
                while len(self._waiting) >= _MAX_WAITING_IMAGES and not self._stopped:
                    self._changed.wait(_POLL_SECONDS)
            self._waiting.append((index, image))
            self._changed.notify_all()

    def _drop_waiting(self) -> None:
        kept = [item for item in self._waiting if item[0] in self._never_dropped]
        self.dropped_frames += len(self._waiting) - len(kept)
        self._waiting = collections.deque(kept)


class LiveVideo(MaskedVideo):
    """A live source with masks from files.

    Its frames() can be read once, and are named by number, so that dropped ones leave gaps. If the
    source fails, frames() raises TruncatedVideoError after the last frame that came.
    """

    def __init__(
        self,
        feed: Feed,
        masks: str | Path,
        name: str,
        *,
        newest_only: bool,
        stall_seconds: float = DEFAULT_STALL_SECONDS,
        corrections: bool = False,
        colours: bytes | None = None,
    ):
        """
        Args:
            masks: one PNG, for the first frame that comes unless a number names another, or a
                folder of PNGs, named 00000.png, ... The frames of masks are never dropped.
            name: of the video.
            newest_only, stall_seconds: see LiveSource.
            corrections, colours: see MaskedVideo.

        Raises:
            InputError: a mask is wrong.
        """
        _check_stall(stall_seconds)
        self._live = LiveSource(feed, newest_only=newest_only, stall_seconds=stall_seconds)
        positions = find_masks(Path(masks), self._live)
        self._live.never_drop(frozenset(positions))
        super().__init__(name, self._live, positions, corrections=corrections, colours=colours)

    @property
    def address(self) -> str:
        """The source, without passwords."""
        return self._live.feed.address

    @property
    def newest_only(self) -> bool:
        """Whether frames are dropped that come while another is segmented."""
        return self._live.newest_only

    @property
    def dropped_frames(self) -> int:
        """The number of frames dropped so far."""
        return self._live.dropped_frames

    def stop(self) -> None:
        """End frames() before its next frame. May be called from a signal handler."""
        self._live.stop()

    def validate(self) -> None:
        """Open the source, wait for its first frame, and check every mask: a wrong one must not end
        a recording that cannot be repeated."""
        super().validate()
        self.frames_per_second = self._live.feed.frames_per_second

    def annotated_frames(self) -> Iterator[Frame]:
        """No frames for a single mask, since no frame before it shows an object.

        Raises InputError for several masks, since their frames cannot be read before they come.
        """
        if len(self._masks) > 1:
            raise InputError(
                f"{self.address}: several masks, whose frames cannot be memorised before they come;"
                " give one mask, or leave --permanent_memory out"
            )
        return iter(())

    def read(self, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
        """Raises InputError, since a live source cannot be read again."""
        raise InputError(f"{self.address}: a live source is read only once, forward")

    def _check_end(self, masks_ahead: Sequence[int], last_index: int) -> None:
        """Nothing to check: a live source may be stopped before the frames of some masks come."""


def open_live(
    address: str,
    masks: str | Path,
    *,
    newest_only: bool,
    stall_seconds: float,
    corrections: bool = False,
    colours: bytes | None = None,
) -> LiveVideo:
    """A camera, a stream, or a video file that is played at its own rate.

    The source is opened by validate() or frames(). The video of a camera or stream is named after
    it and the time, since it cannot be repeated: camera0_20261121-140501.

    Args:
        address: the camera's number, the stream's URL, or the file.
        masks, newest_only, stall_seconds, corrections, colours: see LiveVideo.

    Raises:
        InputError: the address is a folder or an unreadable file, or a mask is wrong.
    """
    _check_stall(stall_seconds)
    if is_live_address(address):
        is_camera = address.isdigit()
        feed: Feed = CameraFeed(address) if is_camera else StreamFeed(address, stall_seconds)
        name = f"{_as_name(feed.address)}_{datetime.datetime.now():%Y%m%d-%H%M%S}"
    elif local_path(address).is_dir():
        raise InputError(
            f"{address}: a folder of frames has no rate of its own; --realtime is for cameras, "
            "streams and video files"
        )
    else:
        path = local_path(address)
        feed, name = FileFeed(path), path.resolve().stem
    return LiveVideo(
        feed,
        masks,
        name,
        newest_only=newest_only,
        stall_seconds=stall_seconds,
        corrections=corrections,
        colours=colours,
    )


def _check_stall(seconds: float) -> None:
    if not 0 < seconds <= MAX_STALL_SECONDS:  # false for nan too
        raise InputError(
            f"--stall_seconds {seconds:g}: must be above 0 and at most {MAX_STALL_SECONDS:.0f}, a "
            "day"
        )


def _as_name(address: str) -> str:
    """A file name of letters, digits, dots, hyphens and underscores; 'camera 0' is camera0."""
    text = address.partition("://")[2] or address.replace(" ", "")
    name = re.sub(r"[^A-Za-z0-9.-]+", "_", text).strip("_.")
    return name[:_MAX_NAME_CHARACTERS] or "stream"
