"""Overlays: masks drawn over the video, as a file that browsers play and a sheet of a few frames.

Legend: H W height and width in pixels.
"""

import contextlib
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dataset.label_map import BINARY_ID
from dataset.video.pyav import DECODING_ERRORS, Nameless, WrittenFile, av, require_av
from inference.output.background import BackgroundPool, TaskGroup
from inference.output.contact_sheet import ContactSheet
from inference.output.paths import OVERLAY_VIDEO_SUFFIXES, PART
from util.errors import InputError
from util.files import atomic_write
from util.palette import DAVIS_PALETTE

# Every browser and every player plays H.264 in MP4. An FFmpeg built without its encoder writes VP9
# or VP8 in WebM, which browsers play.
_MP4, _WEBM = OVERLAY_VIDEO_SUFFIXES
_ENCODERS = {
    "libx264": (_MP4, {"preset": "veryfast", "crf": "23"}),
    "libvpx-vp9": (_WEBM, {"deadline": "realtime", "cpu-used": "8", "crf": "32"}),
    "libvpx": (_WEBM, {"deadline": "realtime", "cpu-used": "8", "crf": "10"}),
}
_TICKS_PER_SECOND = {_MP4: 90_000, _WEBM: 1000}
_LONGEST_SIDE_PIXELS = 854
_DEFAULT_RATE = 24.0
_RATES = 1, 240  # frames per second; others are taken for wrong
_FILL = 0.5
_DARKEST_COLOUR = 32


def draw_overlay(
    image: np.ndarray, labels: np.ndarray, palette: bytes = DAVIS_PALETTE
) -> np.ndarray:
    """Blend each object half with its colour, and outline it in that colour at full brightness.

    image: RGB uint8 [H, W, 3]. labels: ids [H, W] in 0..255. palette: 768 bytes; DAVIS's colours
    replace its near-black entries, and red that of id 255. Returns RGB uint8 [H, W, 3].
    """
    labels = np.ascontiguousarray(labels, dtype=np.uint8)
    fill, outline = _colour_tables(palette)
    inside = labels > 0
    result = image.copy()
    result[inside] = (image[inside] * (1 - _FILL) + fill[labels[inside]] * _FILL).astype(np.uint8)
    around = np.ones((3, 3), dtype=np.uint8)
    edge = inside & ((cv2.erode(labels, around) != labels) | (cv2.dilate(labels, around) != labels))
    result[edge] = outline[labels[edge]]
    return result


def _colour_tables(palette: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Colours by id, uint8 [256, 3]: for filling, and for outlines."""
    fill = np.frombuffer(palette, dtype=np.uint8).reshape(256, 3)
    davis = np.frombuffer(DAVIS_PALETTE, dtype=np.uint8).reshape(256, 3)
    fill = np.where(fill.max(axis=1, keepdims=True) < _DARKEST_COLOUR, davis, fill)
    # palettes of 0/255 masks show the object in white or a pale grey, which is hard to see
    fill[BINARY_ID] = davis[1]
    brightness = np.maximum(fill.max(axis=1, keepdims=True), 1)
    return fill, (fill.astype(np.float32) * 255 / brightness).astype(np.uint8)


def require_encoder() -> str:
    """The name of the first encoder available. Raises InputError if PyAV or all are missing."""
    require_av("--overlay writes a video, which")
    for name in _ENCODERS:
        if name in av.codecs_available:
            return name
    raise InputError(
        f"--overlay: this FFmpeg has no encoder of {', '.join(_ENCODERS)}; install PyAV's own "
        "wheel (pip install av), or leave --overlay out"
    )


class OverlayWriter:
    """Writes FOLDER/NAME.mp4 (or .webm, see require_encoder) and FOLDER/NAME.png on a thread.

    NAME.png is a sheet of up to eight frames from all over the video.
    palette: 768 bytes. frames_per_second: of the playback if frames come without times; 24 if
    unknown. Frames are reduced to a longer side of 854 pixels. Memory use does not depend on the
    number of frames.

    If the block of this context manager ends without an error, the files get their names, otherwise
    nothing remains. Raises OSError if a file cannot be written, InputError if there is no encoder.
    """

    def __init__(
        self, folder: str | Path, name: str, palette: bytes, frames_per_second: float | None = None
    ):
        folder = Path(folder)
        self._encoder = require_encoder()
        suffix, _ = _ENCODERS[self._encoder]
        self.video_path = folder / f"{name}{suffix}"
        self.sheet_path = folder / f"{name}.png"
        self._part = folder / f".{name}.{PART}{suffix}"
        self._palette = palette
        is_plausible = frames_per_second and _RATES[0] <= frames_per_second <= _RATES[1]
        self._rate = frames_per_second if is_plausible else _DEFAULT_RATE
        self._video: _VideoFile | None = None
        self._size: tuple[int, int] | None = None
        self._sheet = ContactSheet()

    def __enter__(self) -> "OverlayWriter":
        self._part.parent.mkdir(parents=True, exist_ok=True)
        self._pool = BackgroundPool(threads=1, capacity=4)
        self._tasks = TaskGroup(self._pool)
        return self

    def add(
        self, frame_name: str, image: np.ndarray, labels: np.ndarray, seconds: float | None = None
    ) -> None:
        """Queue a frame and its result, which must not be changed afterwards.

        image: RGB uint8 [H, W, 3]. labels: ids [H, W]. seconds: when the frame is shown, later than
        the frame before.
        """
        self._tasks.submit(lambda: self._draw(frame_name, image, labels, seconds))

    def __exit__(self, kind, error, traceback) -> None:
        try:
            failure = self._tasks.wait()
            self._pool.close()
            if kind is None and failure is not None:
                raise failure
            if self._video is not None:
                video, self._video = self._video, None
                if kind is None:
                    video.finish()
                    self._publish()
                else:
                    video.abandon()
        finally:
            if self._video is not None:
                self._video.abandon()
            self._part.unlink(missing_ok=True)

    def _draw(
        self, frame_name: str, image: np.ndarray, labels: np.ndarray, seconds: float | None
    ) -> None:
        size = self._size or _playable_size(*labels.shape)
        small_labels = cv2.resize(
            np.ascontiguousarray(labels, dtype=np.uint8), size, interpolation=cv2.INTER_NEAREST
        )
        small_image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        picture = draw_overlay(small_image, small_labels, self._palette)
        if self._video is None:
            self._size = size
            self._video = _VideoFile(
                self._part, self.video_path, encoder=self._encoder, rate=self._rate, size=size
            )
        self._video.write(picture, seconds)
        self._sheet.add(frame_name, picture)

    def _publish(self) -> None:
        encoded = cv2.imencode(".png", cv2.cvtColor(self._sheet.picture(), cv2.COLOR_RGB2BGR))[1]
        with atomic_write(self.sheet_path) as file:
            file.write(encoded.tobytes())
        self._part.replace(self.video_path)


class _VideoFile:
    """A video being written to `path`. Raises OSError naming `shown_path` if that fails.

    rate: frames per second. size: width and height in pixels.
    """

    def __init__(
        self, path: Path, shown_path: Path, *, encoder: str, rate: float, size: tuple[int, int]
    ):
        suffix, options = _ENCODERS[encoder]
        self._shown_path = shown_path
        self._rate = rate
        self._path = path
        self._file = path.open("wb", buffering=0)
        self._written = WrittenFile(self._file)
        # An MP4 is opened again at its end, to move the index to its start, where browsers look.
        container_options = {"movflags": "faststart"} if suffix == _MP4 else {}
        self._container = av.open(
            self._written,
            "w",
            format=suffix[1:],
            container_options=container_options,
            io_open=self._open_again,
        )
        self._stream = self._container.add_stream(
            encoder, rate=Fraction(rate).limit_denominator(1001), options=options
        )
        self._stream.width, self._stream.height = size
        self._stream.pix_fmt = "yuv420p"
        self._ticks = _TICKS_PER_SECOND[suffix]
        self._stream.codec_context.time_base = Fraction(1, self._ticks)
        self._latest_tick = -1
        self._first_seconds: float | None = None

    def write(self, picture: np.ndarray, seconds: float | None) -> None:
        """picture: RGB uint8 [H, W, 3] of the video's size. seconds: when it is shown."""
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts = self._latest_tick = max(self._tick(seconds), self._latest_tick + 1)
        frame.time_base = Fraction(1, self._ticks)
        self._mux(frame)

    def finish(self) -> None:
        """Write what is buffered, and the index."""
        self._mux(None)
        try:
            self._container.close()
            self._file.close()
        except (OSError, *DECODING_ERRORS) as error:
            raise self._failure(error) from error
        self._check_written()

    def abandon(self) -> None:
        """Close what is open; the file is not a complete video."""
        with contextlib.suppress(OSError, *DECODING_ERRORS):
            self._container.close()
        with contextlib.suppress(OSError):
            self._file.close()

    def _tick(self, seconds: float | None) -> int:
        if seconds is None:
            is_first = self._latest_tick < 0
            return 0 if is_first else self._latest_tick + round(self._ticks / self._rate)
        if self._first_seconds is None:
            self._first_seconds = seconds
        return round((seconds - self._first_seconds) * self._ticks)

    def _mux(self, frame: Any) -> None:
        try:
            for packet in self._stream.encode(frame):
                self._container.mux(packet)
        except (OSError, *DECODING_ERRORS) as error:
            raise self._failure(error) from error
        self._check_written()

    def _check_written(self) -> None:
        if self._written.error is not None:
            raise self._failure(self._written.error)

    def _open_again(self, url: str, flags: int, options: dict) -> Nameless:
        return Nameless(self._path.open("rb"))

    def _failure(self, error: Exception) -> OSError:
        reason = getattr(error, "strerror", None) or error
        return OSError(
            f"{self._shown_path}: could not be written completely ({reason}); the disk may be "
            "full: free some space, or leave --overlay out"
        )


def _playable_size(height: int, width: int) -> tuple[int, int]:
    """(width, height), reduced to the longest side allowed.

    Both are even, as the half-resolution colours of the encoders need.
    """
    scale = min(1.0, _LONGEST_SIDE_PIXELS / max(height, width))
    return max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)
