"""Whole video files: every frame in order, as FFmpeg decodes it, turned as players show it."""

import contextlib
from pathlib import Path

import av
import numpy as np
import pytest
from toy_videos import (
    H264,
    HEIGHT,
    VP8,
    WIDTH,
    assert_alike,
    indices,
    moving_bar,
    read_pictures,
    set_display_matrix,
    woven,
    write,
)

from dataset import FrameRange

INTERLACED = (1 << 18) | (1 << 29)  # FFmpeg's flags ildct and ilme
FAST_VPX = {"b": "1M", "deadline": "realtime", "cpu-used": "8"}
HIDDEN_FRAMES_VP8 = {**FAST_VPX, "auto-alt-ref": "1", "lag-in-frames": "10"}


def decode_directly(path: Path, filters: str = "null") -> np.ndarray:
    """RGB frames [T, H, W, 3] by FFmpeg's own loop over frames, through a chain of filters."""
    frames = []
    with av.open(str(path)) as video:
        stream = video.streams.video[0]
        graph = av.filter.Graph()
        chain = [graph.add_buffer(template=stream, time_base=stream.time_base)]
        scale = "scale=flags=bicubic+accurate_rnd+full_chroma_int"
        for text in [*filters.split(";"), scale, "format=rgb24", "buffersink"]:
            name, _, arguments = text.partition("=")
            chain.append(graph.add(name, arguments))
            chain[-2].link_to(chain[-1])
        graph.configure()
        for frame in [*video.decode(stream), None]:
            graph.push(frame)
            with contextlib.suppress(BlockingIOError, EOFError):
                while True:
                    frames.append(graph.pull().to_ndarray())
    return np.stack(frames)


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format", "options"),
    [
        ("a.mp4", "libx264", "yuv420p", H264),
        ("a.mkv", "libx264", "yuv420p", H264),
        ("a.ts", "libx264", "yuv420p", H264),
        ("a.flv", "libx264", "yuv420p", H264),
        ("a.264", "libx264", "yuv420p", H264),
        ("a.avi", "mpeg4", "yuv420p", {"bf": "2", "qscale": "2", "b": "2M"}),
        ("a.mpg", "mpeg2video", "yuv420p", {"bf": "2", "b": "2M"}),
        ("a.wmv", "wmv2", "yuv420p", {"b": "2M"}),
        ("a.webm", "libvpx", "yuv420p", HIDDEN_FRAMES_VP8),
        ("b.webm", "libvpx-vp9", "yuv420p", FAST_VPX),
        ("b.mp4", "libsvtav1", "yuv420p", {"preset": "12", "crf": "20", "svtav1-params": "lp=1"}),
        ("c.mkv", "ffv1", "yuv420p10le", {}),
        ("d.mkv", "mjpeg", "yuvj444p", {}),
    ],
)
def test_every_frame_of_a_whole_file_is_read_in_order_without_notes(
    tmp_path, name, codec, pixel_format, options
):
    images = moving_bar(20)
    path = write(tmp_path / name, images, codec, pixel_format, options=options)
    pictures, notes, error = read_pictures(path)
    assert_alike(pictures, images)
    assert (indices(pictures), notes, error) == (list(range(20)), [], "")
    np.testing.assert_array_equal([picture.image for picture in pictures], decode_directly(path))


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [("a.mp4", "libx264", H264), ("a.mkv", "libx264", H264), ("a.webm", "libvpx", VP8)],
)
def test_videos_of_variable_frame_rate_are_whole_and_keep_their_times(
    tmp_path, name, codec, options
):
    seconds = [0, 0.04, 0.08, 0.12, 0.16, 1.4, 1.44, 5, 5.04, 5.08, 5.12, 9]
    path = write(tmp_path / name, moving_bar(12), codec, seconds=seconds, options=options)
    pictures, notes, error = read_pictures(path)
    assert_alike(pictures, moving_bar(12))
    assert (indices(pictures), notes, error) == (list(range(12)), [], "")
    times = [picture.seconds - pictures[0].seconds for picture in pictures]
    assert times == pytest.approx(seconds, abs=0.003)


def test_a_frame_rate_that_rises_gives_each_frame_a_number_of_its_own(tmp_path):
    seconds = [0, 1, 2, 3, 4, 4.2, 4.4, 4.6, 5.6]
    path = write(tmp_path / "a.mkv", moving_bar(9), seconds=seconds, options=H264)
    pictures, notes, error = read_pictures(path)
    assert (indices(pictures), notes, error) == (list(range(9)), [], "")


@pytest.mark.parametrize(
    ("name", "codec", "options", "size"),
    [
        ("a.mp4", "libx264", {**H264, "x264-params": "interlaced=1:tff=1"}, (HEIGHT, WIDTH)),
        ("a.ts", "mpeg2video", {"b": "3M", "top": "1"}, (HEIGHT, WIDTH)),
        ("a.dv", "dvvideo", {}, (576, 720)),
    ],
)
def test_interlaced_frames_are_deinterlaced_with_one_note(tmp_path, name, codec, options, size):
    images = woven(6, 16, size)
    path = write(tmp_path / name, images, codec, options=options, flags=INTERLACED)
    with av.open(str(path)) as video:
        assert all(frame.interlaced_frame for frame in video.decode(video=0))
    pictures, notes, error = read_pictures(path)
    assert (len(pictures), error) == (6, "")
    assert notes == ["interlaced; deinterlaced (yadif), one frame for each"]
    np.testing.assert_array_equal(
        [picture.image for picture in pictures],
        decode_directly(path, "yadif=mode=send_frame:deint=interlaced"),
    )
    for picture, image in zip(pictures, images, strict=True):  # no comb remains at the bar's edges
        assert comb_strength(picture.image) < 0.4 * comb_strength(image)


def comb_strength(image: np.ndarray) -> float:
    """The mean difference between neighbouring rows of an image [H, W, 3]."""
    return np.abs(np.diff(image[..., 0].astype(int), axis=0)).mean()


@pytest.mark.parametrize(
    ("matrix", "as_shown"),
    [
        ((1, 0, 0, 1), lambda image: image),
        ((0, 1, -1, 0), lambda image: np.rot90(image, -1)),
        ((-1, 0, 0, -1), lambda image: np.rot90(image, 2)),
        ((0, -1, 1, 0), lambda image: np.rot90(image, 1)),
        ((-1, 0, 0, 1), np.fliplr),
        ((1, 0, 0, -1), np.flipud),
        ((0, 1, 1, 0), lambda image: image.swapaxes(0, 1)),
        ((0, -1, -1, 0), lambda image: np.rot90(image, 2).swapaxes(0, 1)),
    ],
)
def test_frames_are_turned_and_mirrored_as_the_file_asks(tmp_path, matrix, as_shown):
    image = np.full((HEIGHT, WIDTH, 3), 60, np.uint8)
    image[:16, :24], image[:16, 40:] = 250, 150  # three corners distinguish all eight ways
    path = write(tmp_path / "a.mp4", [image] * 2, options=H264)
    set_display_matrix(path, *matrix)
    pictures, notes, _ = read_pictures(path)
    assert_alike(pictures, [as_shown(image)] * 2)
    assert notes == []


def test_a_matrix_of_another_angle_is_noted_and_ignored(tmp_path):
    path = write(tmp_path / "a.mp4", moving_bar(2), options=H264)
    set_display_matrix(path, 1, 1, -1, 1)
    pictures, notes, _ = read_pictures(path)
    assert_alike(pictures, moving_bar(2))
    assert "no multiple of 90 degrees" in notes[0]


def test_of_several_video_streams_the_one_that_is_read_is_noted(tmp_path):
    path = tmp_path / "a.mkv"
    sizes = ((HEIGHT, WIDTH), (32, 32))
    with av.open(str(path), "w") as output:
        streams = [output.add_stream("ffv1", rate=25) for _ in sizes]
        for stream, size in zip(streams, sizes, strict=True):
            stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
        for stream, size in zip(streams, sizes, strict=True):
            for image in moving_bar(3, size=size):
                output.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            output.mux(stream.encode(None))
    pictures, notes, _ = read_pictures(path)
    assert_alike(pictures, moving_bar(3))
    assert "holds 2 video streams; stream 0 is read, of 64x48" in notes[0]


def test_an_alpha_channel_is_noted_and_left_out(tmp_path):
    rgba = np.concatenate([moving_bar(3), np.full((3, HEIGHT, WIDTH, 1), 100, np.uint8)], axis=3)
    path = write(tmp_path / "a.mkv", rgba, "ffv1", "bgra", array_format="rgba")
    pictures, notes, _ = read_pictures(path)
    assert_alike(pictures, moving_bar(3), mean=0.1)
    assert "has an alpha channel, which is left out" in notes[0]


@pytest.mark.parametrize("given", [None, FrameRange(0, 1023)])
def test_16_bit_video_is_scaled_by_its_own_range_or_the_given_one(tmp_path, given):
    ramp = np.linspace(200, 900, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH).astype(np.uint16)
    values = [ramp + 10 * index for index in range(5)]
    path = write(tmp_path / "a.mkv", values, "ffv1", "gray16le", array_format="gray16le")
    pictures, notes, _ = read_pictures(path, frame_range=given)
    low, high = (given.low, given.high) if given else (200, 940)
    expected = [np.rint((image - float(low)) * 255 / (high - low)) for image in values]
    assert_alike(pictures, [np.repeat(image[..., None], 3, axis=2) for image in expected], mean=1)
    origin = "by --frame_range" if given else "the range of 5 frames"
    assert "16-bit frames" in notes[0] and origin in notes[0]


def test_a_range_for_8_bit_video_is_noted_as_unused(tmp_path):
    path = write(tmp_path / "a.mkv", moving_bar(3), "ffv1", "bgra")
    pictures, notes, _ = read_pictures(path, frame_range=FrameRange(0, 1023))
    assert_alike(pictures, moving_bar(3), mean=0.1)
    assert any("--frame_range is not used" in note for note in notes)
