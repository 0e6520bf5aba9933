"""Overlays: masks drawn over the video, as a file that browsers play and a sheet of a few frames.

Legend: H W height and width in pixels.
"""

from pathlib import Path

import cv2
import numpy as np

from dataset.label_map import BINARY_ID
from dataset.video.pyav import require_av
from inference.output.background import BackgroundPool, TaskGroup
from inference.output.contact_sheet import ContactSheet
from inference.output.paths import PART
from inference.output.video_file import MP4, WEBM, Encoding, VideoFile, playback_rate
from util.errors import InputError
from util.files import atomic_write
from util.palette import DAVIS_PALETTE

# Every browser and every player plays H.264 in MP4. An FFmpeg built without its encoder writes VP9
# or VP8 in WebM, which browsers play.
_ENCODERS = {
    row.encoder: row
    for row in (
        Encoding(encoder="libx264", suffix=MP4, options={"preset": "veryfast", "crf": "23"}),
        Encoding(
            encoder="libvpx-vp9",
            suffix=WEBM,
            options={"deadline": "realtime", "cpu-used": "8", "crf": "32"},
        ),
        Encoding(
            encoder="libvpx",
            suffix=WEBM,
            options={"deadline": "realtime", "cpu-used": "8", "crf": "10"},
        ),
    )
}
_LONGEST_SIDE_PIXELS = 854
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
    for name, encoding in _ENCODERS.items():
        if encoding.is_available:
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
        self._encoding = _ENCODERS[require_encoder()]
        suffix = self._encoding.suffix
        self.video_path = folder / f"{name}{suffix}"
        self.sheet_path = folder / f"{name}.png"
        self._part = folder / f".{name}.{PART}{suffix}"
        self._palette = palette
        self._rate = playback_rate(frames_per_second)
        self._video: VideoFile | None = None
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
            self._video = VideoFile(
                self._part,
                self.video_path,
                encoding=self._encoding,
                rate=self._rate,
                size=size,
                remedy="leave --overlay out",
            )
        self._video.write(picture, seconds)
        self._sheet.add(frame_name, picture)

    def _publish(self) -> None:
        encoded = cv2.imencode(".png", cv2.cvtColor(self._sheet.picture(), cv2.COLOR_RGB2BGR))[1]
        with atomic_write(self.sheet_path) as file:
            file.write(encoded.tobytes())
        self._part.replace(self.video_path)


def _playable_size(height: int, width: int) -> tuple[int, int]:
    """(width, height), reduced to the longest side allowed.

    Both are even, as the half-resolution colours of the encoders need.
    """
    scale = min(1.0, _LONGEST_SIDE_PIXELS / max(height, width))
    return max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)
