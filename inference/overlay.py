"""Pictures of a result: masks over the video, as a file that browsers play, and a sheet of a few frames. Legend: H W height and width in pixels."""

import math
from pathlib import Path

import cv2
import numpy as np

from dataset.label_map import BINARY_ID
from dataset.opencv_noise import opencv_silenced
from inference.background import BackgroundPool, TaskGroup
from util.files import atomic_write
from util.palette import DAVIS_PALETTE

# VP8 in WebM: the one format that OpenCV's wheels write on every system and that every current browser plays. Their FFmpeg has no encoder for H.264 or
# AV1 on Linux; VP9 takes three times as long; MPEG-4 part 2 ('mp4v') is played by no browser.
_CODEC, VIDEO_SUFFIX = cv2.VideoWriter_fourcc(*"VP80"), ".webm"
_LONGEST_SIDE_PIXELS = 854
_DEFAULT_RATE = 24.0
_FILL = 0.5
_DARKEST_COLOUR = 32
_SHEET_FRAMES, _SHEET_COLUMNS, _THUMBNAIL_PIXELS, _SHEET_GAP_PIXELS = 8, 4, 427, 4


def draw_overlay(image: np.ndarray, labels: np.ndarray, palette: bytes = DAVIS_PALETTE) -> np.ndarray:
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
    fill[BINARY_ID] = davis[1]  # the one object of 0/255 masks: their palettes give it white or a pale grey, which is hard to see
    brightness = np.maximum(fill.max(axis=1, keepdims=True), 1)
    return fill, (fill.astype(np.float32) * 255 / brightness).astype(np.uint8)


class OverlayWriter:
    """Writes FOLDER/NAME.webm and FOLDER/NAME.png (a sheet of up to eight frames from all over the video) as frames come, in a background thread.

    frames_per_second: of the playback, 24 where unknown. Frames whose longer side exceeds 854 pixels are reduced to it. Memory is bounded whatever the
    length. Used as a context manager: leaving it without an error gives the files their names, otherwise nothing remains. Raises OSError where a file cannot
    be written.
    """

    def __init__(self, folder: str | Path, name: str, palette: bytes, frames_per_second: float | None = None):
        folder = Path(folder)
        self.video_path = folder / f"{name}{VIDEO_SUFFIX}"
        self.sheet_path = folder / f"{name}.png"
        self._part = folder / f".{name}.part{VIDEO_SUFFIX}"
        self._palette = palette
        self._rate = frames_per_second if frames_per_second and 1 <= frames_per_second <= 240 else _DEFAULT_RATE
        self._video: cv2.VideoWriter | None = None
        self._size: tuple[int, int] | None = None
        self._sheet = ContactSheet()
        self._frames_written = 0

    def __enter__(self) -> "OverlayWriter":
        self._part.parent.mkdir(parents=True, exist_ok=True)
        self._pool = BackgroundPool(threads=1, capacity=4)
        self._tasks = TaskGroup(self._pool)
        return self

    def add(self, frame_name: str, image: np.ndarray, labels: np.ndarray) -> None:
        """One frame and its result: RGB uint8 [H, W, 3] and ids [H, W], which must not be changed afterwards."""
        self._tasks.submit(lambda: self._draw(frame_name, image, labels))

    def __exit__(self, kind, error, traceback) -> None:
        try:
            failure = self._tasks.wait()
            self._pool.close()
            if self._video is not None:
                self._video.release()
            if kind is not None:
                return
            if failure is not None:
                raise failure
            if self._frames_written:
                self._publish()
        finally:
            self._part.unlink(missing_ok=True)

    def _draw(self, frame_name: str, image: np.ndarray, labels: np.ndarray) -> None:
        size = self._size or _playable_size(*labels.shape)
        small_labels = cv2.resize(np.ascontiguousarray(labels, dtype=np.uint8), size, interpolation=cv2.INTER_NEAREST)
        picture = draw_overlay(cv2.resize(image, size, interpolation=cv2.INTER_AREA), small_labels, self._palette)
        if self._video is None:
            self._size, self._video = size, self._open(size)
        self._video.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        self._frames_written += 1
        self._sheet.add(frame_name, picture)

    def _open(self, size: tuple[int, int]) -> cv2.VideoWriter:
        with opencv_silenced():
            video = cv2.VideoWriter(str(self._part), cv2.CAP_FFMPEG, _CODEC, self._rate, size)
        if not video.isOpened():
            raise OSError(f"{self.video_path}: OpenCV cannot write a WebM video here; leave --overlay out")
        return video

    def _publish(self) -> None:
        # OpenCV reports no failed write; a file cut short by a full disk lacks its closing part, and with it the duration
        with opencv_silenced():
            capture = cv2.VideoCapture(str(self._part), cv2.CAP_FFMPEG)
            whole = capture.isOpened() and capture.get(cv2.CAP_PROP_FRAME_COUNT) >= self._frames_written - 1
            capture.release()
        if not whole:
            raise OSError(f"{self.video_path}: could not be written whole; the disk may be full")
        encoded = cv2.imencode(".png", cv2.cvtColor(self._sheet.picture(), cv2.COLOR_RGB2BGR))[1]
        with atomic_write(self.sheet_path) as file:
            file.write(encoded.tobytes())
        self._part.replace(self.video_path)


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
            if len(self._held) == 4 * self._wanted:  # every second one goes, and every second one will be passed over
                self._stride *= 2
                self._held = {position: thumbnail for position, thumbnail in self._held.items() if position % self._stride == 0}
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
        nearest = {int(positions[np.abs(positions - wanted).argmin()]) for wanted in np.linspace(0, self._seen - 1, self._wanted)}
        thumbnails = [held[position] for position in sorted(nearest)]
        columns = min(_SHEET_COLUMNS, len(thumbnails))
        rows = math.ceil(len(thumbnails) / columns)
        height, width = (side + _SHEET_GAP_PIXELS for side in thumbnails[0].shape[:2])
        sheet = np.full((rows * height - _SHEET_GAP_PIXELS, columns * width - _SHEET_GAP_PIXELS, 3), 255, dtype=np.uint8)
        for position, thumbnail in enumerate(thumbnails):
            top, left = position // columns * height, position % columns * width
            sheet[top : top + thumbnail.shape[0], left : left + thumbnail.shape[1]] = thumbnail
        return sheet


def _thumbnail(frame_name: str, picture: np.ndarray) -> np.ndarray:
    scale = min(1.0, _THUMBNAIL_PIXELS / max(picture.shape[:2]))
    size = max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale))
    thumbnail = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    (text_width, text_height), _ = cv2.getTextSize(frame_name, cv2.FONT_HERSHEY_SIMPLEX, 0.45, 1)
    cv2.rectangle(thumbnail, (2, 2), (text_width + 9, text_height + 9), (0, 0, 0), cv2.FILLED)  # white on black: legible on anything
    cv2.putText(thumbnail, frame_name, (6, text_height + 5), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 255), 1, cv2.LINE_AA)
    return thumbnail
