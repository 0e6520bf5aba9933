"""Pictures of a result: masks over the video, as a file that browsers play, and a sheet of a few frames. Legend: H W height and width in pixels."""

import contextlib
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dataset.label_map import BINARY_ID
from dataset.video.pyav import DECODING_ERRORS, Nameless, WrittenFile, av, require_av
from inference.output.background import BackgroundPool, TaskGroup
from util.errors import InputError
from util.files import atomic_write
from util.palette import DAVIS_PALETTE

# H.264 in MP4 is played by every browser and every program; an FFmpeg built without its encoder writes VP9 or VP8 in WebM, which browsers play
_ENCODERS = {
    "libx264": (".mp4", {"preset": "veryfast", "crf": "23"}),
    "libvpx-vp9": (".webm", {"deadline": "realtime", "cpu-used": "8", "crf": "32"}),
    "libvpx": (".webm", {"deadline": "realtime", "cpu-used": "8", "crf": "10"}),
}
VIDEO_SUFFIXES = (".mp4", ".webm")
_TICKS_PER_SECOND = 90_000
_WEBM_TICKS_PER_SECOND = 1000
_LONGEST_SIDE_PIXELS = 854
_DEFAULT_RATE = 24.0
_FILL = 0.5
_DARKEST_COLOUR = 32
_SHEET_FRAMES, _SHEET_COLUMNS, _THUMBNAIL_PIXELS, _SHEET_GAP_PIXELS = 8, 4, 427, 4


def draw_overlay(
    image: np.ndarray, labels: np.ndarray, palette: bytes = DAVIS_PALETTE
) -> np.ndarray:
    """The image half covered by each object's colour inside the object, with its outline in the same colour at full brightness.

    image RGB uint8 [H, W, 3]; labels ids [H, W] in 0..255; palette 768 bytes, whose near-black entries are replaced by DAVIS's, that of id 255 by red. Returns RGB uint8 [H, W, 3].
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
    fill[BINARY_ID] = davis[
        1
    ]  # the one object of 0/255 masks: their palettes give it white or a pale grey, which is hard to see
    brightness = np.maximum(fill.max(axis=1, keepdims=True), 1)
    return fill, (fill.astype(np.float32) * 255 / brightness).astype(np.uint8)


def require_encoder() -> str:
    """The name of the first encoder that is there. Raises InputError where PyAV, or each of them, is missing."""
    require_av("--overlay writes a video, which")
    for name in _ENCODERS:
        if name in av.codecs_available:
            return name
    raise InputError(
        f"--overlay: this FFmpeg has no encoder of {', '.join(_ENCODERS)}; install PyAV's own wheel (pip install av), or leave --overlay out"
    )


class OverlayWriter:
    """Writes FOLDER/NAME.mp4 (or .webm, see require_encoder) and FOLDER/NAME.png (a sheet of up to eight frames from all over the video) as frames come, in a thread.

    frames_per_second: of the playback where frames come without times, 24 where unknown. Frames whose longer side exceeds 854 pixels are reduced to it. Memory is
    bounded whatever the length. Used as a context manager: leaving it without an error gives the files their names, otherwise nothing remains. Raises OSError where a
    file cannot be written, InputError where there is no encoder.
    """

    def __init__(
        self, folder: str | Path, name: str, palette: bytes, frames_per_second: float | None = None
    ):
        folder = Path(folder)
        self._encoder = require_encoder()
        suffix = _ENCODERS[self._encoder][0]
        self.video_path = folder / f"{name}{suffix}"
        self.sheet_path = folder / f"{name}.png"
        self._part = folder / f".{name}.part{suffix}"
        self._palette = palette
        self._rate = (
            frames_per_second
            if frames_per_second and 1 <= frames_per_second <= 240
            else _DEFAULT_RATE
        )
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
        """One frame and its result: RGB uint8 [H, W, 3] and ids [H, W], which must not be changed afterwards. seconds: when it is shown; later than the one before."""
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
        picture = draw_overlay(
            cv2.resize(image, size, interpolation=cv2.INTER_AREA), small_labels, self._palette
        )
        if self._video is None:
            self._size, self._video = (
                size,
                _VideoFile(self._part, self.video_path, self._encoder, self._rate, size),
            )
        self._video.write(picture, seconds)
        self._sheet.add(frame_name, picture)

    def _publish(self) -> None:
        encoded = cv2.imencode(".png", cv2.cvtColor(self._sheet.picture(), cv2.COLOR_RGB2BGR))[1]
        with atomic_write(self.sheet_path) as file:
            file.write(encoded.tobytes())
        self._part.replace(self.video_path)


class _VideoFile:
    """A video being written. Raises OSError, naming `shown`, where that cannot be done."""

    def __init__(self, path: Path, shown: Path, encoder: str, rate: float, size: tuple[int, int]):
        suffix, options = _ENCODERS[encoder]
        self._shown = shown
        self._rate = rate
        self._path = path
        # an MP4 is opened once more at its end, to move the index to its front, where browsers look for it
        self._file = path.open("wb", buffering=0)
        self._written = WrittenFile(self._file)
        container_options = {"movflags": "faststart"} if suffix == ".mp4" else {}
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
        self._ticks = _TICKS_PER_SECOND if suffix == ".mp4" else _WEBM_TICKS_PER_SECOND
        self._stream.codec_context.time_base = Fraction(1, self._ticks)
        self._latest = -1
        self._first_seconds: float | None = None

    def write(self, picture: np.ndarray, seconds: float | None) -> None:
        """RGB uint8 [H, W, 3], of the video's size."""
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts = self._latest = max(self._time(seconds), self._latest + 1)
        frame.time_base = Fraction(1, self._ticks)
        self._mux(frame)

    def finish(self) -> None:
        """Write what is left, and the index."""
        self._mux(None)
        try:
            self._container.close()
            self._file.close()
        except (OSError, *DECODING_ERRORS) as error:
            raise self._failure(error) from error
        self._check()

    def abandon(self) -> None:
        """Close what is open; the file is no whole video."""
        with contextlib.suppress(OSError, *DECODING_ERRORS):
            self._container.close()
        with contextlib.suppress(OSError):
            self._file.close()

    def _time(self, seconds: float | None) -> int:
        if seconds is None:
            return 0 if self._latest < 0 else self._latest + round(self._ticks / self._rate)
        if self._first_seconds is None:
            self._first_seconds = seconds
        return round((seconds - self._first_seconds) * self._ticks)

    def _mux(self, frame: Any) -> None:
        try:
            for packet in self._stream.encode(frame):
                self._container.mux(packet)
        except (OSError, *DECODING_ERRORS) as error:
            raise self._failure(error) from error
        self._check()

    def _check(self) -> None:
        if self._written.error is not None:
            raise self._failure(self._written.error)

    def _open_again(self, url: str, flags: int, options: dict) -> Nameless:
        return Nameless(self._path.open("rb"))

    def _failure(self, error: Exception) -> OSError:
        return OSError(
            f"{self._shown}: could not be written whole ({getattr(error, 'strerror', None) or error}); the disk may be full: make room, or leave --overlay out"
        )


def _playable_size(height: int, width: int) -> tuple[int, int]:
    """(width, height), reduced to the longest side allowed and even, as the encoder's half-resolution colours need."""
    scale = min(1.0, _LONGEST_SIDE_PIXELS / max(height, width))
    return max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)


class ContactSheet:
    """A few frames, the first, the last and others evenly between, of a video of unknown length, side by side. At most four times as many small pictures are held at any time."""

    def __init__(self, frames: int = _SHEET_FRAMES):
        self._wanted = frames
        self._stride = 1
        self._seen = 0
        self._held: dict[int, np.ndarray] = {}  # by position in the video: every `stride`-th
        self._latest: tuple[str, np.ndarray] | None = None

    def add(self, frame_name: str, picture: np.ndarray) -> None:
        """The next frame, RGB uint8 [H, W, 3]; its name is written into the corner."""
        if self._seen % self._stride == 0:
            if (
                len(self._held) == 4 * self._wanted
            ):  # every second one goes, and every second one will be passed over
                self._stride *= 2
                self._held = {
                    position: thumbnail
                    for position, thumbnail in self._held.items()
                    if position % self._stride == 0
                }
            if self._seen % self._stride == 0:
                self._held[self._seen] = _thumbnail(frame_name, picture)
        self._latest = frame_name, picture
        self._seen += 1

    def picture(self) -> np.ndarray:
        """The sheet as RGB uint8: rows of four, on white. Raises ValueError where no frame was added."""
        if self._latest is None:
            raise ValueError("a sheet of no frames")
        held = self._held | {self._seen - 1: _thumbnail(*self._latest)}
        positions = np.array(list(held))
        nearest = {
            int(positions[np.abs(positions - wanted).argmin()])
            for wanted in np.linspace(0, self._seen - 1, self._wanted)
        }
        thumbnails = [held[position] for position in sorted(nearest)]
        columns = min(_SHEET_COLUMNS, len(thumbnails))
        rows = math.ceil(len(thumbnails) / columns)
        height, width = (side + _SHEET_GAP_PIXELS for side in thumbnails[0].shape[:2])
        sheet = np.full(
            (rows * height - _SHEET_GAP_PIXELS, columns * width - _SHEET_GAP_PIXELS, 3),
            255,
            dtype=np.uint8,
        )
        for position, thumbnail in enumerate(thumbnails):
            top, left = position // columns * height, position % columns * width
            sheet[top : top + thumbnail.shape[0], left : left + thumbnail.shape[1]] = thumbnail
        return sheet


def _thumbnail(frame_name: str, picture: np.ndarray) -> np.ndarray:
    scale = min(1.0, _THUMBNAIL_PIXELS / max(picture.shape[:2]))
    size = max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale))
    thumbnail = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    frame_name = frame_name.encode(
        "ascii", "backslashreplace"
    ).decode()  # all that OpenCV can draw; names of other bytes would end the process
    (text_width, text_height), _ = cv2.getTextSize(frame_name, cv2.FONT_HERSHEY_SIMPLEX, 0.45, 1)
    cv2.rectangle(
        thumbnail, (2, 2), (text_width + 9, text_height + 9), (0, 0, 0), cv2.FILLED
    )  # white on black: legible on anything
    cv2.putText(
        thumbnail,
        frame_name,
        (6, text_height + 5),
        cv2.FONT_HERSHEY_SIMPLEX,
        0.45,
        (255, 255, 255),
        1,
        cv2.LINE_AA,
    )
    return thumbnail
