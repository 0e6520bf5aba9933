"""Decoded frames become RGB arrays as players show them: deinterlaced, turned, mirrored.

Legend: H W height and width in pixels.
"""

import itertools
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from dataset.video.pyav import av

_SCALE_FLAGS = "flags=bicubic+accurate_rnd+full_chroma_int"  # as the ffmpeg program converts
_DEINTERLACE_FLAGS = "mode=send_frame:parity=auto:deint=interlaced"
_CAMERA_BITS = 16
# Formats of a colour signal, in which black and white are defined, by the beginnings of their
# names (YUV of any layout, CIE XYZ).
_SIGNAL_FORMATS = ("yuv", "p0", "p2", "p4", "y2", "xyz")


def is_deep(pixel_format: Any) -> bool:
    """Whether a pixel format holds 16-bit values in a range of the camera's or program's own.

    False for a colour signal, in which black and white are defined.
    """
    if pixel_format is None or pixel_format.name.startswith(_SIGNAL_FORMATS):
        return False
    return max(component.bits for component in pixel_format.components) == _CAMERA_BITS


class ConvertedFrame(NamedTuple):
    """A frame as RGB.

    number: the frame's number. seconds: when it is shown; None if unknown.
    display_matrix: [3, 3] as FFmpeg stores it, how players turn the frame; None: as stored.
    pixels: as stored, [H, W, 3], uint8, or uint16 if the format is deep.
    """

    number: int
    seconds: float | None
    display_matrix: np.ndarray | None
    pixels: np.ndarray


class _Pending(NamedTuple):
    """A frame inside the filters. number: -1 for one that was returned before."""

    number: int
    seconds: float | None
    display_matrix: np.ndarray | None


class FrameConverter:
    """Converts decoded frames to RGB by FFmpeg's filters, and deinterlaces them if necessary.

    Once a frame is marked as interlaced, each frame is returned only when the next one is
    converted, since yadif looks at both neighbours.

    was_interlaced: whether any frame was interlaced so far.
    """

    def __init__(self):
        self.was_interlaced = False
        self._graph: Any = None
        self._format: tuple[int, int, str] | None = None  # width, height, pixel format
        self._pending: deque[_Pending] = deque()
        self._last_frame: Any = None

    def convert(self, number: int, frame: Any) -> Iterator[ConvertedFrame]:
        """The frames that are ready after this one.

        number: the frame's number. frame: a decoded av.VideoFrame, deinterlaced if it is marked
        as interlaced or an earlier one was.
        """
        frame_format = (frame.width, frame.height, frame.format.name)
        starts_interlacing = frame.interlaced_frame and not self.was_interlaced
        if self._graph is None or frame_format != self._format or starts_interlacing:
            yield from self.flush()
            self._configure(frame, frame_format)
        self._graph.push(frame)
        self._pending.append(_Pending(number, frame.time, _display_matrix(frame)))
        self._last_frame = frame
        yield from self._ready()

    def flush(self) -> Iterator[ConvertedFrame]:
        """The frames that are still inside the filters, at the end of the video."""
        if self._graph is not None:
            self._graph.push(None)
            yield from self._ready()
            self._graph = None
            self._pending.clear()

    def _configure(self, frame: Any, frame_format: tuple[int, int, str]) -> None:
        """Build the filters for frames of this format."""
        had_same_format = frame_format == self._format
        self._format = frame_format
        self.was_interlaced = self.was_interlaced or bool(frame.interlaced_frame)
        graph = av.filter.Graph()
        width, height, pixel_format = frame_format
        rgb_format = "rgb48le" if is_deep(frame.format) else "rgb24"
        filters = [
            graph.add_buffer(
                width=width, height=height, format=pixel_format, time_base=frame.time_base
            )
        ]
        if self.was_interlaced:
            filters.append(graph.add("yadif", _DEINTERLACE_FLAGS))
        filters.append(graph.add("scale", _SCALE_FLAGS))
        filters.append(graph.add("format", f"pix_fmts={rgb_format}"))
        filters.append(graph.add("buffersink"))
        for one, following in itertools.pairwise(filters):
            one.link_to(following)
        graph.configure()
        self._graph = graph
        if self.was_interlaced and had_same_format and self._last_frame is not None:
            # The neighbour of the first interlaced frame, which was returned already.
            graph.push(self._last_frame)
            self._pending.append(_Pending(-1, None, None))

    def _ready(self) -> Iterator[ConvertedFrame]:
        while True:
            try:
                converted = self._graph.pull()
            except (BlockingIOError, EOFError):
                return
            if not self._pending:
                return  # yadif repeats the last frame if two frames have the same time
            frame = self._pending.popleft()
            if frame.number >= 0:
                yield ConvertedFrame(*frame, converted.to_ndarray())


def _display_matrix(frame: Any) -> np.ndarray | None:
    data = frame.side_data.get("DISPLAYMATRIX")
    return None if data is None else np.frombuffer(bytes(data), np.int32).reshape(3, 3)


def turn_as_shown(pixels: np.ndarray, display_matrix: np.ndarray) -> np.ndarray | None:
    """Turn and mirror pixels as a display matrix asks.

    A point (x, y) is shown at (a x + c y, b x + d y), with a b the first row of the matrix and c d
    the second one, in units of 2^-16. Source: ISO 14496-12, 6.2.2.

    Args:
        pixels: as stored, [H, W, ...].
        display_matrix: [3, 3] as FFmpeg stores it.

    Returns:
        Pixels as shown; None if the matrix asks for anything else than multiples of 90 degrees.
    """
    (a, b), (c, d) = display_matrix[:2, :2].astype(np.int64).tolist()
    straight, crossed = max(abs(a), abs(d)), max(abs(b), abs(c))
    tolerance = max(straight, crossed) // 100
    if straight > 0 and crossed <= tolerance and min(abs(a), abs(d)) > 0:
        x, y = a, d
    elif crossed > 0 and straight <= tolerance and min(abs(b), abs(c)) > 0:
        pixels, x, y = pixels.swapaxes(0, 1), c, b
    else:
        return pixels if straight == crossed == 0 else None
    return np.ascontiguousarray(pixels[:: -1 if y < 0 else 1, :: -1 if x < 0 else 1])
