"""Live sources: a camera, a network stream, or a video file played at its own rate. Legend: H W height and width in pixels.

A thread of the source's own takes frames as they come and hands them to the one that segments them. Never more than a few are held: either the thread
waits, or, where only the newest frame counts, the one that nobody has taken yet is dropped.
"""

import atexit
import collections
import datetime
import os
import re
import threading
import time
import urllib.parse
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from dataset.image_file import size_text
from dataset.video.base import TruncatedVideoError
from dataset.video.file_source import FileSource, is_image_file
from dataset.video.frame_source import NumberedSource, Picture, refuse_tiny
from dataset.video.generic import local_path
from dataset.video.masked_video import MaskedVideo, find_masks
from dataset.video.reader import DecodedFrame, VideoReader
from util.errors import InputError
from util.text import counted, without_secrets

DEFAULT_STALL_SECONDS = 10.0
_LONGEST_STALL_SECONDS = 86_400  # a day
_FRAMES_AHEAD = 4
_POLL_SECONDS = 0.1  # how soon a wait for a frame notices that it is to end
_TIMEOUT_SECONDS = 1.0  # how much later FFmpeg gives up than we do, so that the thread ends too
_LONGEST_NAME = 100  # of a video, before the time
_CLOSING_SECONDS = (
    15.0  # longest wait for the thread: cameras on Linux give up after 10 seconds by themselves
)
_STREAM_SCHEMES = (
    "rtsp",
    "rtsps",
    "rtmp",
    "rtmps",
    "http",
    "https",
    "udp",
    "rtp",
    "tcp",
    "srt",
    "mmsh",
    "mmst",
)
_STREAM_PROTOCOLS = ",".join(
    (*_STREAM_SCHEMES, "tls", "crypto", "httpproxy", "rtmpt", "rtmpe", "srtp")
)  # what these need; not files


def is_live_address(text: str | None) -> bool:
    """Whether --video names a camera (0, 1, …) or a stream (rtsp://…, http://…), not a file or folder that is there. None, no --video, is neither."""
    if text is None or text.lower().startswith("file:"):
        return False
    return not os.path.exists(text) and ((text.isascii() and text.isdigit()) or "://" in text)  # noqa: PTH110 - Path.exists raises for URLs longer than a name may be


class Feed(ABC):
    """Where a live source's images come from; used from one thread. address: how it is called in messages and records.

    frames_per_second: known once open, else None. lost_frames: how many were damaged so far and have left their numbers empty.
    """

    address: str
    frames_per_second: float | None = None
    files: Sequence[Path] = ()
    lost_frames: int = 0

    @property
    def notes(self) -> list[str]:
        """Lines on how the images are read, for the user."""
        return []

    @abstractmethod
    def open(self) -> None:
        """Raises InputError where that cannot be done."""

    @abstractmethod
    def read(self) -> np.ndarray | None:
        """The next image, RGB uint8 [H, W, 3], when it has come; None at the end."""

    @abstractmethod
    def close(self) -> None:
        """Give the device, connection or file free."""

    @abstractmethod
    def check_end(self, frames_read: int) -> None:
        """Raise TruncatedVideoError where an end after so many frames is not the proper one."""


class CameraFeed(Feed):
    """A camera by its number. It has no end of its own.

    Read by OpenCV, which finds cameras by number on every system. FFmpeg wants each system's own name of the device, and PyAV's wheels lack some of its inputs.
    """

    def __init__(self, number: str):
        self._number = number
        self._capture: cv2.VideoCapture | None = None
        self.address = f"camera {number.lstrip('0') or '0'}"

    def open(self) -> None:
        _silence_opencv()
        refusal = f"{self.address}: cannot be opened; check that it is there, and that no other program uses it"
        try:
            self._capture = cv2.VideoCapture(int(self._number))
        except (cv2.error, ValueError, OverflowError):  # a number that no camera can have
            raise InputError(refusal) from None
        if not self._capture.isOpened():
            raise InputError(refusal)
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.frames_per_second = rate if 1 <= rate <= 1000 else None

    def read(self) -> np.ndarray | None:
        read, image = self._capture.read()
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB) if read else None

    def close(self) -> None:
        if self._capture is not None:
            self._capture.release()

    def check_end(self, frames_read: int) -> None:
        raise _ended(self.address, frames_read)


def _silence_opencv() -> None:
    """Damage is told by return values and said in one line; OpenCV would add some. Who sets its variable sees them."""
    if "OPENCV_LOG_LEVEL" in os.environ:
        return
    if hasattr(cv2.utils, "logging"):
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    else:  # before OpenCV 4.13
        cv2.setLogLevel(0)


def _ended(address: str, frames_read: int, why: str = "") -> TruncatedVideoError:
    return TruncatedVideoError(
        f"{address}: ended after {counted(frames_read, 'frame')}{why}; results are for these: check the source and start again"
    )


class StreamFeed(Feed):
    """A network stream by its URL. It has no end of its own. The URL's user, password and query stay out of `address`."""

    def __init__(self, url: str, stall_seconds: float = DEFAULT_STALL_SECONDS):
        self.address = without_secrets(url)
        try:
            scheme = urllib.parse.urlsplit(url).scheme.lower()
        except ValueError as error:  # the URL itself may hold a password
            raise InputError(
                f"--video {url.partition('://')[0]}://…: not a URL ({error}); write it as rtsp://HOST/PATH"
            ) from None
        if scheme not in _STREAM_SCHEMES:
            raise InputError(
                f"--video {self.address}: no stream that is read; its URL begins with one of {', '.join(f'{name}://' for name in _STREAM_SCHEMES)}"
            )
        self._url = url
        self._timeout_seconds = stall_seconds + _TIMEOUT_SECONDS
        self._reader: VideoReader | None = None
        self._frames: Iterator[DecodedFrame] | None = None
        self._read = 0

    @property
    def notes(self) -> list[str]:
        return [] if self._reader is None else self._reader.notes

    def open(self) -> None:
        self._reader = VideoReader.of_stream(
            self._url, self.address, self._timeout_seconds, _STREAM_PROTOCOLS
        )
        self._frames = self._reader.frames()
        self.frames_per_second = self._reader.frames_per_second

    def read(self) -> np.ndarray | None:
        frame = next(self._frames, None)
        if frame is None:
            return None
        self.lost_frames, self._read = frame.index - self._read, self._read + 1
        return frame.image

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()

    def check_end(self, frames_read: int) -> None:
        raise _ended(self.address, frames_read)


class FileFeed(Feed):
    """A video file at its own rate: each image comes when it would be shown."""

    def __init__(self, path: Path):
        self.address = str(path)
        if is_image_file(path):
            raise InputError(f"{path}: images have no rate to be played at; leave --realtime out")
        self._source = FileSource(path)
        self.files = self._source.files
        self._reader: VideoReader | None = None
        self._frames: Iterator[DecodedFrame] | None = None
        self._read = 0
        self._start_seconds = 0.0
        self._first_seconds: float | None = None
        self.frames_per_second = self._source.frames_per_second
        if self.frames_per_second is None:
            raise InputError(
                f"{path}: states no frame rate to be played at; leave --realtime out, or convert the video"
            )

    @property
    def notes(self) -> list[str]:
        return [] if self._reader is None else self._reader.notes

    def open(self) -> None:
        self._reader = self._source.open()
        self._frames = self._reader.frames()
        self._start_seconds = time.monotonic()

    def read(self) -> np.ndarray | None:
        frame = next(self._frames, None)
        if frame is None:
            return None
        seconds = (
            frame.seconds if frame.seconds is not None else frame.index / self.frames_per_second
        )
        if self._first_seconds is None:
            self._first_seconds = seconds
        time.sleep(
            max(
                self._start_seconds
                + min(seconds - self._first_seconds, _LONGEST_STALL_SECONDS)
                - time.monotonic(),
                0,
            )
        )
        self.lost_frames, self._read = frame.index - self._read, self._read + 1
        return frame.image

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()

    def check_end(self, frames_read: int) -> None:
        self._source.check_end(self._reader, self._read)


class LiveSource(NumberedSource):
    """A feed's images, by position among all that came; read once. count is unknown.

    newest_only: an image that was not taken before the next one came is dropped, but for the positions in `kept` (those with masks), which is to be set before
    anything is read. stall_seconds: how long to wait for an image. Images are RGB uint8 [H, W, 3]; where their size changes, the video ends.
    """

    count = None

    def __init__(
        self, feed: Feed, *, newest_only: bool, stall_seconds: float = DEFAULT_STALL_SECONDS
    ):
        self.feed = feed
        self.files = feed.files
        self.kept: frozenset[int] = frozenset()
        self.dropped_frames = 0
        self.newest_only = newest_only
        self._stall_seconds = stall_seconds
        self._first_wanted = 0
        self._changed = threading.Condition()
        self._waiting: collections.deque[tuple[int, np.ndarray]] = collections.deque()
        self._arrived = 0
        self._ended = False
        self._error: BaseException | None = None
        self._stopped = False
        self._thread: threading.Thread | None = None

    @property
    def notes(self) -> list[str]:
        return self.feed.notes

    def stop(self) -> None:
        """End pictures() before its next image. May be called from a signal handler."""
        self._stopped = True

    def size(self, index: int, mask_size: tuple[int, int]) -> tuple[int, int]:
        self._begin(index)
        first = self._await()
        if first is None:
            raise InputError(f"{self.feed.address}: was stopped before its first frame")
        refuse_tiny(first[1].shape[:2], self.feed.address)
        return first[1].shape[:2]

    def images(self, start: int, mask_size: tuple[int, int]) -> Iterator[np.ndarray]:
        return (image for _, image, _ in self.pictures(start, mask_size))

    def pictures(self, start: int, mask_size: tuple[int, int]) -> Iterator[Picture]:
        size = self.size(start, mask_size)
        try:
            while (item := self._await()) is not None:
                with self._changed:
                    self._waiting.popleft()
                    self._changed.notify_all()
                index, image = item
                if image.shape[:2] != size:
                    found = f"frames of {size_text(image.shape[:2])} after {size_text(size)}"
                    raise TruncatedVideoError(
                        f"{self.feed.address}: {found} at frame {index}; results are for the frames before: start again"
                    )
                yield Picture(index, image)
                del item, image
        finally:
            self._close()

    def _begin(self, first_wanted: int) -> None:
        if self._thread is None:
            self._first_wanted = first_wanted
            self._thread = threading.Thread(target=self._read_all, name="live", daemon=True)
            self._thread.start()
            atexit.register(
                self._close
            )  # a thread inside OpenCV or FFmpeg when Python ends would abort the process

    def _close(self) -> None:
        self.stop()
        self._thread.join(_CLOSING_SECONDS)
        atexit.unregister(self._close)

    def _await(self) -> tuple[int, np.ndarray] | None:
        """The next item, left where it is; None where the source was stopped or came to its proper end. Raises what ended it otherwise, a stall too."""
        deadline = time.monotonic() + self._stall_seconds
        arrived = self._arrived
        with self._changed:
            while not self._stopped and not self._waiting:
                if self._ended:
                    if self._error is not None:
                        raise self._error
                    return None
                if self._arrived != arrived:  # frames that are passed over are a sign of life too
                    deadline, arrived = time.monotonic() + self._stall_seconds, self._arrived
                elif time.monotonic() > deadline:
                    raise self._stalled()
                self._changed.wait(_POLL_SECONDS)
            return None if self._stopped else self._waiting[0]

    def _stalled(self) -> InputError:
        waited = (
            f"{self.feed.address}: no frame for {self._stall_seconds:g} seconds (--stall_seconds)"
        )
        if self._arrived == 0:
            return InputError(f"{waited}; check that it is there and sends")
        return TruncatedVideoError(
            f"{waited} after {counted(self._arrived, 'frame')}; results are for these: check the source and start again"
        )

    def _read_all(self) -> None:
        """The thread's work."""
        error = None
        try:
            self.feed.open()
            while not self._stopped and (image := self.feed.read()) is not None:
                self._put(image)
            if not self._stopped and self._arrived == 0:
                raise InputError(
                    f"{self.feed.address}: gave no frame; check that it is there and sends"
                )
            if not self._stopped:
                self.feed.check_end(self._arrived)
        except BaseException as raised:  # handed over, whatever it is: the consumer decides
            error = raised
        finally:
            self.feed.close()
        with self._changed:
            self._error, self._ended = error, True
            self._changed.notify_all()

    def _put(self, image: np.ndarray) -> None:
        with self._changed:
            index, self._arrived = self._arrived + self.feed.lost_frames, self._arrived + 1
            if index < self._first_wanted:
                return
            if self.newest_only:
                untaken = len(self._waiting)
                self._waiting = collections.deque(
                    item for item in self._waiting if item[0] in self.kept
                )
                self.dropped_frames += untaken - len(self._waiting)
            while (
                len(self._waiting) >= _FRAMES_AHEAD and not self.newest_only and not self._stopped
            ):
                self._changed.wait(_POLL_SECONDS)
            self._waiting.append((index, image))
            self._changed.notify_all()


class LiveVideo(MaskedVideo):
    """A live source with masks from files; its frames() can be read once, and are named by number, so that dropped ones leave gaps.

    masks: one PNG, for the first frame that comes unless a number names another, or a folder of them, named 00000.png and so on; their frames are never dropped. newest_only and
    stall_seconds: see LiveSource. What was read until the source failed counts: frames() then raises TruncatedVideoError. Raises InputError for masks that are not right.
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
        _check_stall(stall_seconds)
        self._live = LiveSource(feed, newest_only=newest_only, stall_seconds=stall_seconds)
        positions = find_masks(Path(masks), self._live)
        self._live.kept = frozenset(positions)
        super().__init__(name, self._live, positions, corrections=corrections, colours=colours)

    @property
    def address(self) -> str:
        """What is read, without passwords."""
        return self._live.feed.address

    @property
    def newest_only(self) -> bool:
        """Whether frames are dropped that come while another is segmented."""
        return self._live.newest_only

    @property
    def dropped_frames(self) -> int:
        """How many frames were dropped so far."""
        return self._live.dropped_frames

    def stop(self) -> None:
        """End frames() before its next frame. May be called from a signal handler."""
        self._live.stop()

    def _check_end(self, masks_ahead: Sequence[int], last_index: int) -> None:
        """Nothing to check: a live source may be stopped before the frames of some masks come."""

    def validate(self) -> None:
        """Open the source, wait for its first frame, and look at every mask: a wrong one must not end a recording that cannot be made again."""
        super().validate()
        self.frames_per_second = self._live.feed.frames_per_second


def open_live(
    address: str,
    masks: str | Path,
    *,
    newest_only: bool,
    stall_seconds: float,
    corrections: bool = False,
    colours: bytes | None = None,
) -> LiveVideo:
    """A camera by its number, a stream by its URL, or a video file to be played at its own rate.

    A camera's or stream's video is named by what it is and the time, since it cannot be made again: camera0_20261121-140501. Raises InputError for a folder,
    for a file that cannot be read and for masks that are not right; nothing is opened for good before frames() or validate().
    """
    _check_stall(stall_seconds)
    if is_live_address(address):
        feed: Feed = (
            CameraFeed(address) if address.isdigit() else StreamFeed(address, stall_seconds)
        )
        name = f"{_as_name(feed.address)}_{datetime.datetime.now():%Y%m%d-%H%M%S}"
    elif local_path(address).is_dir():
        raise InputError(
            f"{address}: a folder of frames has no rate of its own; --realtime is for cameras, streams and video files"
        )
    else:
        feed, name = FileFeed(local_path(address)), local_path(address).resolve().stem
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
    if not 0 < seconds <= _LONGEST_STALL_SECONDS:  # nan is neither
        raise InputError(
            f"--stall_seconds {seconds:g}: must be above 0 and at most {_LONGEST_STALL_SECONDS}, a day"
        )


def _as_name(address: str) -> str:
    """Letters, digits, dots and hyphens; the rest is one underscore, and 'camera 0' is camera0."""
    return (
        re.sub(
            r"[^A-Za-z0-9.-]+", "_", address.partition("://")[2] or address.replace(" ", "")
        ).strip("_.")[:_LONGEST_NAME]
        or "stream"
    )
