"""Small video files of many kinds, written by PyAV, for tests of the reader. Legend: T frames, H W height and width in pixels."""

from collections.abc import Collection, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

HEIGHT, WIDTH = 48, 64
TICKS_PER_SECOND = 1000


def moving_bar(
    count: int, step: float = 4, size: tuple[int, int] = (HEIGHT, WIDTH), start: float = 0
) -> np.ndarray:
    """Grey images uint8 [T, H, W, 3], each with a bright bar `step` pixels further to the right, on a ground that differs from frame to frame."""
    images = np.empty((count, *size, 3), np.uint8)
    for index in range(count):
        images[index] = 40 + 3 * (index % 8)
        left = round(start + step * index) % (size[1] - 12)
        images[index, :, left : left + 12] = 210
    return images


def woven(count: int, step: float = 8, size: tuple[int, int] = (HEIGHT, WIDTH)) -> np.ndarray:
    """Interlaced images: the upper field of each as in moving_bar, the lower one half a frame later."""
    images, later = moving_bar(count, step, size), moving_bar(count, step, size, start=step / 2)
    images[:, 1::2] = later[:, 1::2]
    return images


def write(
    path: Path,
    images: np.ndarray | Sequence[np.ndarray],
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    *,
    array_format: str = "rgb24",
    seconds: Sequence[float] | None = None,
    rate: int = 25,
    options: dict[str, str] | None = None,
    container: str | None = None,
    flags: int = 0,
) -> Path:
    """A video file. seconds: when each frame is shown, evenly by `rate` where None. Skips the test where FFmpeg lacks the encoder."""
    if codec not in av.codecs_available:
        pytest.skip(f"this FFmpeg has no encoder {codec}")
    with av.open(str(path), "w", format=container) as output:
        stream = output.add_stream(codec, rate=rate, options=options or {})
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = pixel_format
        stream.codec_context.flags |= flags
        if seconds is not None:
            stream.codec_context.time_base = Fraction(1, TICKS_PER_SECOND)
        for index, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format=array_format)
            frame.pts = index if seconds is None else round(seconds[index] * TICKS_PER_SECOND)
            frame.time_base = (
                Fraction(1, rate) if seconds is None else Fraction(1, TICKS_PER_SECOND)
            )
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def damage(path: Path, packets: Collection[int]) -> list[int]:
    """Overwrite the content of some packets, by their position in the file, and return the numbers that their frames have in the whole video."""
    with av.open(str(path)) as video:
        found = [
            (packet.pos, packet.size, packet.pts) for packet in video.demux(video=0) if packet.size
        ]
    content = bytearray(path.read_bytes())
    order = sorted(time for _, _, time in found)
    for number in packets:
        position, size, _ = found[number]
        content[position : position + size] = b"\xff" * size
    path.write_bytes(content)
    return sorted(order.index(found[number][2]) for number in packets)


def set_display_matrix(path: Path, a: int, b: int, c: int, d: int) -> None:
    """Have an MP4 shown by this matrix (ISO 14496-12, 8.3.2)."""
    content = bytearray(path.read_bytes())
    start = content.index(b"tkhd") + 4 + 40  # version 0: what comes before has 40 bytes
    values = (a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    content[start : start + 36] = b"".join(
        value.to_bytes(4, "big", signed=True) for value in values
    )
    path.write_bytes(content)
