"""A few frames of a video side by side, chosen while the video is still running.

Legend: H W height and width of a picture in pixels.
"""

import math

import cv2
import numpy as np

_FRAMES, _COLUMNS, _THUMBNAIL_PIXELS, _GAP_PIXELS = 8, 4, 427, 4
_FONT, _FONT_SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.45


class ContactSheet:
    """The first frame, the last, and others evenly between, of a video of unknown length.

    frames: how many the sheet shows. At most four times as many thumbnails are held at any time.
    """

    def __init__(self, frames: int = _FRAMES):
        self._frames = frames
        self._stride = 1
        self._seen = 0
        self._held: dict[int, np.ndarray] = {}  # by position in the video: every `stride`-th
        self._latest: tuple[str, np.ndarray] | None = None

    @property
    def held_count(self) -> int:
        """How many thumbnails are held."""
        return len(self._held)

    def add(self, frame_name: str, picture: np.ndarray) -> None:
        """Add the next frame, RGB uint8 [H, W, 3]; its name is written into the corner."""
        if self._seen % self._stride == 0:
            if len(self._held) == 4 * self._frames:
                self._double_stride()
            if self._seen % self._stride == 0:
                self._held[self._seen] = _thumbnail(frame_name, picture)
        self._latest = frame_name, picture
        self._seen += 1

    def picture(self) -> np.ndarray:
        """The sheet, RGB uint8: rows of four on white. Raises ValueError if no frame was added."""
        if self._latest is None:
            raise ValueError("a contact sheet needs at least one frame")
        held = self._held | {self._seen - 1: _thumbnail(*self._latest)}
        positions = np.array(list(held))
        nearest = {
            int(positions[np.abs(positions - wanted).argmin()])
            for wanted in np.linspace(0, self._seen - 1, self._frames)
        }
        return _arrange([held[position] for position in sorted(nearest)])

    def _double_stride(self) -> None:
        self._stride *= 2
        self._held = {
            position: thumbnail
            for position, thumbnail in self._held.items()
            if position % self._stride == 0
        }


def _arrange(thumbnails: list[np.ndarray]) -> np.ndarray:
    columns = min(_COLUMNS, len(thumbnails))
    rows = math.ceil(len(thumbnails) / columns)
    height, width = (side + _GAP_PIXELS for side in thumbnails[0].shape[:2])
    shape = (rows * height - _GAP_PIXELS, columns * width - _GAP_PIXELS, 3)
    sheet = np.full(shape, 255, dtype=np.uint8)
    for position, thumbnail in enumerate(thumbnails):
        top, left = position // columns * height, position % columns * width
        sheet[top : top + thumbnail.shape[0], left : left + thumbnail.shape[1]] = thumbnail
    return sheet


def _thumbnail(frame_name: str, picture: np.ndarray) -> np.ndarray:
    scale = min(1.0, _THUMBNAIL_PIXELS / max(picture.shape[:2]))
    size = max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale))
    thumbnail = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    # OpenCV draws ASCII only; a name of other bytes would end the process
    text = frame_name.encode("ascii", "backslashreplace").decode()
    (text_width, text_height), _ = cv2.getTextSize(text, _FONT, _FONT_SCALE, 1)
    # white on black is legible on any picture
    cv2.rectangle(thumbnail, (2, 2), (text_width + 9, text_height + 9), (0, 0, 0), cv2.FILLED)
    origin, white = (6, text_height + 5), (255, 255, 255)
    cv2.putText(thumbnail, text, origin, _FONT, _FONT_SCALE, white, 1, cv2.LINE_AA)
    return thumbnail
