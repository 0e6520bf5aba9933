"""A video file being encoded by FFmpeg, through PyAV.

Legend: H W height and width of a picture in pixels.
"""

import contextlib
import dataclasses
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from dataset.video.pyav import DECODING_ERRORS, Nameless, WrittenFile, av

MP4, WEBM, MOV = ".mp4", ".webm", ".mov"
_TICKS_PER_SECOND = {MP4: 90_000, WEBM: 1000, MOV: 90_000}
_BT709 = 1  # ITU-T H.273: of the matrix, the primaries and the transfer
_DEFAULT_RATE = 24.0
_RATES = 1, 240  # frames per second; others are taken for wrong


@dataclasses.dataclass(frozen=True, kw_only=True)
class Encoding:
    """How a video is encoded.

    encoder, options, pixel_format: FFmpeg's. suffix: of the file, one of MP4, WEBM and MOV.
    metadata: of the stream. is_bt709: convert colours by ITU-R BT.709 and say so in the file;
    otherwise they are FFmpeg's default, which players guess from the size.
    """

    encoder: str
    suffix: str
    options: Mapping[str, str]
    pixel_format: str = "yuv420p"
    metadata: Mapping[str, str] = dataclasses.field(default_factory=dict)
    is_bt709: bool = False

    @property
    def is_available(self) -> bool:
        """Whether this FFmpeg has the encoder."""
        return self.encoder in av.codecs_available


def playback_rate(frames_per_second: float | None) -> float:
    """The rate of a video file, or 24 if it is unknown or not plausible."""
    is_plausible = frames_per_second and _RATES[0] <= frames_per_second <= _RATES[1]
    return frames_per_second if is_plausible else _DEFAULT_RATE


class VideoFile:
    """A video being written to `path`. Raises OSError naming `shown_path` if that fails.

    rate: frames per second. size: width and height in pixels. remedy: what to do if the disk is
    full, for messages. As a context manager it is finished at the end, and abandoned on an error.
    """

    def __init__(
        self,
        path: Path,
        shown_path: Path,
        *,
        encoding: Encoding,
        rate: float,
        size: tuple[int, int],
        remedy: str,
    ):
        self._encoding, self._remedy = encoding, remedy
        self._shown_path = shown_path
        self._rate = rate
        self._path = path
        self._file = path.open("wb", buffering=0)
        self._written = WrittenFile(self._file)
        # An MP4 is opened again at its end, to move the index to its start, where browsers look.
        container_options = {"movflags": "faststart"} if encoding.suffix == MP4 else {}
        self._container = av.open(
            self._written,
            "w",
            format=encoding.suffix[1:],
            container_options=container_options,
            io_open=self._open_again,
        )
        self._stream = self._container.add_stream(
            encoding.encoder,
            rate=Fraction(rate).limit_denominator(1001),
            options=dict(encoding.options),
        )
        self._stream.width, self._stream.height = size
        self._stream.pix_fmt = encoding.pixel_format
        self._stream.metadata.update(encoding.metadata)
        if encoding.is_bt709:
            context = self._stream.codec_context
            context.colorspace = context.color_primaries = context.color_trc = _BT709
        self._ticks = _TICKS_PER_SECOND[encoding.suffix]
        self._stream.codec_context.time_base = Fraction(1, self._ticks)
        self._latest_tick = -1
        self._first_seconds: float | None = None

    def __enter__(self) -> "VideoFile":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None:
            self.abandon()
            return
        try:
            self.finish()
        except BaseException:
            self.abandon()
            raise

    def write(self, picture: np.ndarray, seconds: float | None) -> None:
        """Add a frame.

        picture: uint8 of the video's size, RGB [H, W, 3] or RGBA [H, W, 4] with straight alpha.
        seconds: when it is shown; None: one frame of the rate after the frame before.
        """
        pixels = "rgb24" if picture.shape[2] == 3 else "rgba"
        frame = av.VideoFrame.from_ndarray(picture, format=pixels)
        if self._encoding.is_bt709:
            frame = frame.reformat(format=self._encoding.pixel_format, dst_colorspace=_BT709)
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
            f"full: free some space, or {self._remedy}"
        )
