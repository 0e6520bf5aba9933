"""Small video files of many kinds, written by PyAV, and how tests read them.

Legend: T frames, H W height and width in pixels.
"""

from collections.abc import Collection, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from dataset import TruncatedVideoError
from dataset.video.file_source import open_source
from dataset.video.frame_source import Picture

HEIGHT, WIDTH = 48, 64
TICKS_PER_SECOND = 1000
H264 = {"g": "6", "bf": "2", "crf": "10", "preset": "veryfast"}
VP8 = {"b": "1M", "cpu-used": "8"}
_MATRIX_OFFSET_BYTES = 40  # from the start of a track header of version 0


def moving_bar(
    count: int, step: float = 4, size: tuple[int, int] = (HEIGHT, WIDTH), start: float = 0
) -> np.ndarray:
    """Grey images uint8 [T, H, W, 3] with a bright bar that moves `step` pixels to the right.

    The background differs from frame to frame.
    """
    images = np.empty((count, *size, 3), np.uint8)
    for index in range(count):
        images[index] = 40 + 3 * (index % 8)
        left = round(start + step * index) % (size[1] - 12)
        images[index, :, left : left + 12] = 210
    return images


def woven(count: int, step: float = 8, size: tuple[int, int] = (HEIGHT, WIDTH)) -> np.ndarray:
    """Interlaced images: upper fields as in moving_bar, lower fields half a frame later."""
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
    """Write a video file. Skips the test if FFmpeg lacks the encoder.

    seconds: when each frame is shown; by default evenly, by `rate`.
    """
    if codec not in av.codecs_available:
        pytest.skip(f"this FFmpeg has no encoder {codec}")
    tick = Fraction(1, rate if seconds is None else TICKS_PER_SECOND)
    with av.open(str(path), "w", format=container) as output:
        stream = output.add_stream(codec, rate=rate, options=options or {})
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = pixel_format
        stream.codec_context.flags |= flags
        if seconds is not None:
            stream.codec_context.time_base = tick
        for index, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format=array_format)
            frame.pts = index if seconds is None else round(seconds[index] * TICKS_PER_SECOND)
            frame.time_base = tick
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def remux(path: Path, target: Path, options: dict[str, str]) -> Path:
    """Copy a video's packets into a container that is written with other options."""
    with av.open(str(path)) as video, av.open(str(target), "w", options=options) as output:
        stream = output.add_stream_from_template(video.streams.video[0])
        for packet in video.demux(video=0):
            if packet.size:
                packet.stream = stream
                output.mux(packet)
    return target


def damage(path: Path, packets: Collection[int]) -> list[int]:
    """Overwrite the content of packets, given by their positions in the file.

    Returns the numbers that their frames have in the whole video.
    """
    with av.open(str(path)) as video:
        spans = [
            (packet.pos, packet.size, packet.pts) for packet in video.demux(video=0) if packet.size
        ]
    content = bytearray(path.read_bytes())
    times = sorted(time for _, _, time in spans)
    for number in packets:
        position, size, _ = spans[number]
        content[position : position + size] = b"\xff" * size
    path.write_bytes(content)
    return sorted(times.index(spans[number][2]) for number in packets)


def set_display_matrix(path: Path, a: int, b: int, c: int, d: int) -> None:
    """Set the display matrix of an MP4 (ISO 14496-12, 8.3.2)."""
    content = bytearray(path.read_bytes())
    start = content.index(b"tkhd") + 4 + _MATRIX_OFFSET_BYTES
    values = (a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    content[start : start + 36] = b"".join(
        value.to_bytes(4, "big", signed=True) for value in values
    )
    path.write_bytes(content)


def read_pictures(path: Path, **settings) -> tuple[list[Picture], list[str], str]:
    """The pictures of a video file, the notes without the file's name, and the error that ended
    the video early."""
    source, pictures, error = open_source(path, **settings), [], ""
    try:
        pictures += source.pictures(0, (0, 0))
    except TruncatedVideoError as raised:
        error = str(raised)
    return pictures, [note.removeprefix(f"{path}: ") for note in source.notes], error


def indices(pictures: Sequence[Picture]) -> list[int]:
    return [picture.index for picture in pictures]


def assert_alike(
    pictures: Sequence[Picture], images: Sequence[np.ndarray], mean: float = 4
) -> None:
    """Check that pictures are these images [H, W, 3], but for a mean difference."""
    assert len(pictures) == len(images)
    for picture, image in zip(pictures, images, strict=True):
        assert np.abs(picture.image.astype(int) - image).mean() < mean, picture.index
