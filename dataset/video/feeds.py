"""Where the images of a live source come from: a camera, a network stream, or a video file played
at its own rate.

Legend: H W height and width in pixels.
"""

import os
import time
import urllib.parse
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from dataset.video.base import TruncatedVideoError
from dataset.video.file_source import FileSource, is_image_file
from dataset.video.reader import DecodedFrame, VideoReader
from util.errors import InputError
from util.text import counted, without_secrets

MAX_STALL_SECONDS = 86_400.0
"""The longest wait for an image: a day."""
# FFmpeg gives up this much later than LiveSource, so that the thread that waits in it ends too.
_EXTRA_TIMEOUT_SECONDS = 1.0
_MIN_CAMERA_RATE, _MAX_CAMERA_RATE = 1, 1000
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
# These and what they need; not files.
_STREAM_PROTOCOLS = ",".join(
    (*_STREAM_SCHEMES, "tls", "crypto", "httpproxy", "rtmpt", "rtmpe", "srtp")
)


def is_live_address(text: str | None) -> bool:
    """Whether a --video flag names a camera (0, 1, ...) or a stream (rtsp://..., http://...).

    False for an existing file or folder, a file's URL, and None.
    """
    if text is None or text.lower().startswith("file:"):
        return False
    # Path.exists raises OSError for URLs longer than a name may be.
    if os.path.exists(text):  # noqa: PTH110
        return False
    return (text.isascii() and text.isdigit()) or "://" in text


class Feed(ABC):
    """The images of a live source, used from one thread.

    address: how messages and records name it, without passwords.
    frames_per_second: known once it is open; None if unknown.
    files: the files that images are read from.
    lost_frames: the number of damaged frames so far, whose numbers are skipped.
    """

    address: str
    frames_per_second: float | None = None
    files: Sequence[Path] = ()
    lost_frames: int = 0

    @property
    def notes(self) -> list[str]:
        """Lines for the user on how the images are read."""
        return []

    @abstractmethod
    def open(self) -> None:
        """Open the device, connection or file. Raises InputError if that fails."""

    @abstractmethod
    def read(self) -> np.ndarray | None:
        """Wait for the next image, RGB uint8 [H, W, 3]; None at the end. Raises
        TruncatedVideoError if the size of a file's or stream's images changes."""

    @abstractmethod
    def close(self) -> None:
        """Release the device, connection or file. Does nothing if it is not open."""

    @abstractmethod
    def check_end(self, frames_read: int) -> None:
        """Raise TruncatedVideoError if an end after so many frames is not the proper one."""


class CameraFeed(Feed):
    """A camera, by its number. It has no proper end.

    OpenCV reads it, which numbers cameras on every system. FFmpeg needs each system's own name of
    the device, and PyAV's wheels lack some of its inputs.
    """

    def __init__(self, number: str):
        self._number = number
        self._capture: cv2.VideoCapture | None = None
        self.address = f"camera {number.lstrip('0') or '0'}"

    def open(self) -> None:
        _silence_opencv()
        refusal = (
            f"{self.address}: cannot be opened; check that it is there, and that no other program "
            "uses it"
        )
        try:
            self._capture = cv2.VideoCapture(int(self._number))
        except (cv2.error, ValueError, OverflowError):  # a number that no camera can have
            raise InputError(refusal) from None
        if not self._capture.isOpened():
            raise InputError(refusal)
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        if _MIN_CAMERA_RATE <= rate <= _MAX_CAMERA_RATE:
            self.frames_per_second = rate

    def read(self) -> np.ndarray | None:
        is_read, image = self._capture.read()
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB) if is_read else None

    def close(self) -> None:
        if self._capture is not None:
            self._capture.release()

    def check_end(self, frames_read: int) -> None:
        raise _unexpected_end(self.address, frames_read)


def _silence_opencv() -> None:
    """Stop OpenCV from printing about damage, which return values report. A user who has set
    its variable still sees it."""
    if "OPENCV_LOG_LEVEL" in os.environ:
        return
    if hasattr(cv2.utils, "logging"):
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    else:  # before OpenCV 4.13
        cv2.setLogLevel(0)


def _unexpected_end(address: str, frames_read: int) -> TruncatedVideoError:
    return TruncatedVideoError(
        f"{address}: ended after {counted(frames_read, 'frame')}; results are for these: check "
        "the source and start again"
    )


class _DecodedFeed(Feed):
    """Images that a VideoReader decodes. A subclass's open() calls _start."""

    _reader: VideoReader | None = None
    _frames: Iterator[DecodedFrame]
    _read_count = 0

    @property
    def notes(self) -> list[str]:
        return [] if self._reader is None else self._reader.notes

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()

    def _start(self, reader: VideoReader) -> None:
        self._reader, self._frames = reader, reader.frames()

    def read(self) -> np.ndarray | None:
        frame = next(self._frames, None)
        if frame is None:
            return None
        self._wait_for(frame)
        self.lost_frames = frame.index - self._read_count
        self._read_count += 1
        return frame.image

    def _wait_for(self, frame: DecodedFrame) -> None:
        """Wait until the frame is due."""


class StreamFeed(_DecodedFeed):
    """A network stream, by its URL. It has no proper end."""

    def __init__(self, url: str, stall_seconds: float):
        """stall_seconds: how long to wait for an image. Raises InputError if the URL is not
        that of a stream."""
        self.address = without_secrets(url)
        try:
            scheme = urllib.parse.urlsplit(url).scheme.lower()
        except ValueError as error:  # the URL itself, which may hold a password, is not shown
            raise InputError(
                f"--video {url.partition('://')[0]}://…: not a URL ({error}); write it as "
                "rtsp://HOST/PATH"
            ) from None
        if scheme not in _STREAM_SCHEMES:
            schemes = ", ".join(f"{name}://" for name in _STREAM_SCHEMES)
            raise InputError(
                f"--video {self.address}: no stream that is read; its URL begins with one of "
                f"{schemes}"
            )
        self._url = url
        self._timeout_seconds = stall_seconds + _EXTRA_TIMEOUT_SECONDS

    def open(self) -> None:
        self._start(
            VideoReader.open_stream(
                self._url, self.address, self._timeout_seconds, _STREAM_PROTOCOLS
            )
        )
        self.frames_per_second = self._reader.frames_per_second

    def check_end(self, frames_read: int) -> None:
        raise _unexpected_end(self.address, frames_read)


class FileFeed(_DecodedFeed):
    """A video file at its own rate: each image comes when a player would show it."""

    def __init__(self, path: Path):
        """Raises InputError if the file cannot be read or has no rate."""
        self.address = str(path)
        if is_image_file(path):
            raise InputError(f"{path}: images have no rate to be played at; leave --realtime out")
        self._source = FileSource(path)
        self.files = self._source.files
        self._start_seconds = 0.0
        self._first_frame_seconds: float | None = None
        self.frames_per_second = self._source.frames_per_second
        if self.frames_per_second is None:
            raise InputError(
                f"{path}: states no frame rate to be played at; leave --realtime out, or convert "
                "the video"
            )

    def open(self) -> None:
        self._start(self._source.open())
        self._start_seconds = time.monotonic()

    def _wait_for(self, frame: DecodedFrame) -> None:
        seconds = frame.seconds
        if seconds is None:
            seconds = frame.index / self.frames_per_second
        if self._first_frame_seconds is None:
            self._first_frame_seconds = seconds
        delay_seconds = min(seconds - self._first_frame_seconds, MAX_STALL_SECONDS)
        time.sleep(max(self._start_seconds + delay_seconds - time.monotonic(), 0))

    def check_end(self, frames_read: int) -> None:
        self._source.check_end(self._reader, self._read_count)
