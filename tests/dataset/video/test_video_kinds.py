"""Video files as the field has them: every frame, in order, as FFmpeg gives it, and what is not whole said."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from media_trees import save_mask
from repository import ROOT
from toy_videos import HEIGHT, WIDTH, damage, moving_bar, set_display_matrix, woven, write

import dataset.video.pyav
from dataset import FrameRange, TruncatedVideoError, VideoFile, open_live
from dataset.video.file_source import open_source
from dataset.video.reader import VideoReader
from util.errors import InputError

INTERLACED = (1 << 18) | (1 << 29)  # FFmpeg's flags ildct and ilme
H264 = {"g": "6", "bf": "2", "crf": "10", "preset": "veryfast"}


def read(path: Path, **settings) -> tuple[list, list[str], str]:
    """Pictures of a video file, its notes, and the error that ended it."""
    source, pictures, error = open_source(path, **settings), [], ""
    try:
        pictures += source.pictures(0, (0, 0))
    except TruncatedVideoError as raised:
        error = str(raised)
    return pictures, source.notes, error


def assert_alike(pictures, images, mean: float = 4) -> None:
    assert len(pictures) == len(images)
    for picture, image in zip(pictures, images, strict=True):
        assert np.abs(picture.image.astype(int) - image).mean() < mean, picture.index


def own_frames(path: Path, filters: str = "null") -> np.ndarray:
    """What FFmpeg gives for a file, by another way: its own loop over frames, through a chain of filters."""
    frames = []
    with av.open(str(path)) as video:
        stream = video.streams.video[0]
        graph = av.filter.Graph()
        chain = [graph.add_buffer(template=stream, time_base=stream.time_base)]
        for text in [
            *filters.split(";"),
            "scale=flags=bicubic+accurate_rnd+full_chroma_int",
            "format=rgb24",
            "buffersink",
        ]:
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
        (
            "a.webm",
            "libvpx",
            "yuv420p",
            {
                "b": "1M",
                "auto-alt-ref": "1",
                "lag-in-frames": "10",
                "deadline": "realtime",
                "cpu-used": "8",
            },
        ),
        ("b.webm", "libvpx-vp9", "yuv420p", {"b": "1M", "deadline": "realtime", "cpu-used": "8"}),
        ("b.mp4", "libsvtav1", "yuv420p", {"preset": "12", "crf": "20", "svtav1-params": "lp=1"}),
        ("c.mkv", "ffv1", "yuv420p10le", {}),
        ("d.mkv", "mjpeg", "yuvj444p", {}),
    ],
)
def test_every_frame_of_a_whole_file_is_read_in_order_and_nothing_is_said(
    tmp_path, name, codec, pixel_format, options
):
    images = moving_bar(20)
    path = write(tmp_path / name, images, codec, pixel_format, options=options)
    pictures, notes, error = read(path)
    assert_alike(pictures, images)
    assert [picture.index for picture in pictures] == list(range(20)) and (notes, error) == ([], "")
    np.testing.assert_array_equal([picture.image for picture in pictures], own_frames(path))


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.mp4", "libx264", H264),
        ("a.mkv", "libx264", H264),
        ("a.webm", "libvpx", {"b": "1M", "cpu-used": "8"}),
    ],
)
def test_variable_frame_rates_are_whole_and_their_times_are_kept(tmp_path, name, codec, options):
    seconds = [0, 0.04, 0.08, 0.12, 0.16, 1.4, 1.44, 5, 5.04, 5.08, 5.12, 9]
    pictures, notes, error = read(
        write(tmp_path / name, moving_bar(12), codec, seconds=seconds, options=options)
    )
    assert_alike(pictures, moving_bar(12))
    assert (
        error == "" and [picture.index for picture in pictures] == list(range(12)) and notes == []
    )
    assert [picture.seconds - pictures[0].seconds for picture in pictures] == pytest.approx(
        seconds, abs=0.003
    )


def test_a_frame_rate_that_rises_gives_each_frame_a_number_of_its_own(tmp_path):
    seconds = [0, 1, 2, 3, 4, 4.2, 4.4, 4.6, 5.6]
    pictures, notes, error = read(
        write(tmp_path / "a.mkv", moving_bar(9), seconds=seconds, options=H264)
    )
    assert ([picture.index for picture in pictures], notes, error) == (list(range(9)), [], "")


@pytest.mark.parametrize(
    ("name", "codec", "options", "size"),
    [
        ("a.mp4", "libx264", {**H264, "x264-params": "interlaced=1:tff=1"}, (HEIGHT, WIDTH)),
        ("a.ts", "mpeg2video", {"b": "3M", "top": "1"}, (HEIGHT, WIDTH)),
        ("a.dv", "dvvideo", {}, (576, 720)),
    ],
)
def test_interlaced_frames_are_deinterlaced_one_for_each_and_it_is_said_once(
    tmp_path, name, codec, options, size
):
    images = woven(6, 16, size)
    path = write(tmp_path / name, images, codec, options=options, flags=INTERLACED)
    with av.open(str(path)) as video:
        assert all(frame.interlaced_frame for frame in video.decode(video=0))
    pictures, notes, error = read(path)
    assert (len(pictures), error) == (6, "")
    assert [note.removeprefix(f"{path}: ") for note in notes] == [
        "interlaced; deinterlaced (yadif), one frame for each"
    ]
    np.testing.assert_array_equal(
        [picture.image for picture in pictures],
        own_frames(path, "yadif=mode=send_frame:deint=interlaced"),
    )
    for picture, image in zip(pictures, images, strict=True):  # no comb is left at the bar's edges
        assert (
            np.abs(np.diff(picture.image[..., 0].astype(int), axis=0)).mean()
            < 0.4 * np.abs(np.diff(image[..., 0].astype(int), axis=0)).mean()
        )


@pytest.mark.parametrize(
    ("matrix", "shown"),
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
def test_frames_are_turned_and_mirrored_as_the_file_asks(tmp_path, matrix, shown):
    image = np.full((HEIGHT, WIDTH, 3), 60, np.uint8)
    image[:16, :24], image[:16, 40:] = 250, 150  # three corners tell all eight ways apart
    path = write(tmp_path / "a.mp4", [image] * 2, options=H264)
    set_display_matrix(path, *matrix)
    pictures, notes, _ = read(path)
    assert_alike(pictures, [shown(image)] * 2)
    assert notes == []


def test_a_matrix_that_turns_by_another_angle_is_said(tmp_path):
    path = write(tmp_path / "a.mp4", moving_bar(2), options=H264)
    set_display_matrix(path, 1, 1, -1, 1)
    pictures, notes, _ = read(path)
    assert_alike(pictures, moving_bar(2))
    assert "no multiple of 90 degrees" in notes[0]


@pytest.mark.parametrize(
    ("name", "codec", "options", "packets"),
    [
        ("a.mp4", "libx264", H264, [8]),
        ("a.mp4", "libx264", H264, [8, 9]),
        ("a.mkv", "libx264", {**H264, "g": "30"}, [20]),
        ("a.avi", "mjpeg", {}, [5, 6, 12]),
        ("a.mkv", "mjpeg", {}, [7]),
    ],
)
def test_damaged_frames_are_passed_over_and_the_others_keep_their_numbers(
    tmp_path, name, codec, options, packets
):
    images = moving_bar(30)
    path = write(
        tmp_path / name,
        images,
        codec,
        "yuvj420p" if codec == "mjpeg" else "yuv420p",
        options=options,
    )
    if name == "a.mkv":  # in Matroska, small clusters: damage costs the rest of one
        path = write(
            path, images, codec, "yuvj420p" if codec == "mjpeg" else "yuv420p", options=options
        )
        with (
            av.open(str(path)) as whole,
            av.open(str(tmp_path / "b.mkv"), "w", options={"cluster_time_limit": "200"}) as output,
        ):
            stream = output.add_stream_from_template(whole.streams.video[0])
            for packet in whole.demux(video=0):
                if packet.size:
                    packet.stream = stream
                    output.mux(packet)
        path = tmp_path / "b.mkv"
    damaged = damage(path, packets)
    pictures, notes, error = read(path)
    indices = [picture.index for picture in pictures]
    assert error == "" and len(indices) < 30 and indices == sorted(indices)
    assert set(indices).isdisjoint(damaged) and indices[-1] == 29
    assert "damaged frame" in notes[0] and "passed over (number " in notes[0]
    bars = [
        picture
        for picture in pictures
        if picture.index > max(damaged) + 8 or picture.index < min(damaged) - 3
    ]
    assert_alike(bars, images[[picture.index for picture in bars]])


def test_damage_at_the_end_ends_the_video_early(tmp_path):
    path = write(tmp_path / "a.mp4", moving_bar(30), options=H264)
    damage(path, [29])
    pictures, _, error = read(path)
    assert (
        25 < len(pictures) < 30
        and f"ends after {len(pictures)} frames, since the rest is damaged" in error
    )


@pytest.mark.parametrize(
    ("name", "codec", "stated"), [("a.avi", "mpeg4", True), ("a.mpg", "mpeg1video", False)]
)
@pytest.mark.parametrize("filler", [b"\0", b"\xff"])
def test_an_end_that_was_never_written_is_told(tmp_path, name, codec, stated, filler):
    """As an interrupted download leaves it, whose space was reserved at once."""
    path = tmp_path / name
    write(path, moving_bar(160), codec, "yuv420p")
    content = path.read_bytes()
    kept = int(0.6 * len(content))
    path.write_bytes(content[:kept] + filler * (len(content) - kept))
    pictures, notes, ended = read(path)
    assert 40 < len(pictures) < 150
    assert (
        "the rest is damaged" in ended
        if stated
        else any("% of the file are empty" in note for note in notes)
    )


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mp4", "libx264"),
        ("a.mkv", "libx264"),
        ("a.webm", "libvpx"),
        ("a.avi", "mpeg4"),
        ("a.wmv", "wmv2"),
        ("a.flv", "libx264"),
    ],
)
def test_a_file_cut_short_gives_its_frames_and_says_so(tmp_path, name, codec):
    options = {"movflags": "faststart"} if name == "a.mp4" else {}
    noise = np.random.default_rng(0).integers(
        0, 255, (30, HEIGHT, WIDTH, 3), dtype=np.uint8
    )  # in packets of some size
    path = write(tmp_path / name, noise, codec, options={"g": "5"})
    if options:  # the index comes first
        with (
            av.open(str(path)) as whole,
            av.open(str(tmp_path / "b.mp4"), "w", options=options) as output,
        ):
            stream = output.add_stream_from_template(whole.streams.video[0])
            for packet in whole.demux(video=0):
                if packet.size:
                    packet.stream = stream
                    output.mux(packet)
        path = tmp_path / "b.mp4"
    os.truncate(path, path.stat().st_size * 7 // 10)
    pictures, _, error = read(path)
    assert 2 < len(pictures) < 30
    assert (
        f"ends after {len(pictures)} of 30 frames" in error
        or f"is cut off after {len(pictures)} frames" in error
    )


def test_a_broadcast_that_starts_between_key_frames_begins_with_the_first_that_can_be_decoded(
    tmp_path,
):
    path = write(
        tmp_path / "a.ts",
        moving_bar(30),
        options={**H264, "g": "10", "bf": "0", "sc_threshold": "0"},
    )
    content = path.read_bytes()
    with av.open(str(path)) as video:
        positions = [packet.pos for packet in video.demux(video=0) if packet.size]
    path.write_bytes(content[: 188 * 3] + content[positions[4] // 188 * 188 :])
    pictures, notes, error = read(path)
    assert (len(pictures), pictures[0].index, error) == (20, 0, "")
    assert_alike(pictures, moving_bar(30)[10:])
    assert [note.removeprefix(f"{path}: ") for note in notes] == [
        "starts between key frames; frame 0 is the first that can be decoded"
    ]


def test_a_mask_whose_frame_is_damaged_or_not_there_is_no_mask_that_counts_nowhere(tmp_path):
    path = write(tmp_path / "a.avi", moving_bar(12), "mjpeg", "yuvj420p")
    save_mask(tmp_path / "masks/00000.png", 1, size=(WIDTH, HEIGHT))
    save_mask(tmp_path / "masks/00005.png", 2, size=(WIDTH, HEIGHT))
    damage(path, [5])
    frames = []
    with pytest.raises(TruncatedVideoError, match=r"masks/00005\.png: its frame is damaged"):
        frames += iter(VideoFile(path, tmp_path / "masks").frames())
    (tmp_path / "masks/00005.png").rename(tmp_path / "masks/00012.png")
    with pytest.raises(
        InputError, match=r"masks/00012\.png: no frame 12 in a\.avi, which has 12 frames"
    ):
        VideoFile(path, tmp_path / "masks")


def test_a_change_of_size_ends_the_video(tmp_path):
    first = write(tmp_path / "a.264", moving_bar(5), options=H264).read_bytes()
    second = write(tmp_path / "b.264", moving_bar(5, size=(64, 80)), options=H264).read_bytes()
    (tmp_path / "c.264").write_bytes(first + second)
    pictures, _, error = read(tmp_path / "c.264")
    assert len(pictures) == 5 and "frames of 80x64 after 64x48 at frame 5" in error


def test_of_several_streams_one_is_read_and_that_is_said(tmp_path):
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as output:
        streams = [output.add_stream("ffv1", rate=25) for _ in range(2)]
        for stream, size in zip(streams, ((HEIGHT, WIDTH), (32, 32)), strict=True):
            stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
        for stream, size in zip(streams, ((HEIGHT, WIDTH), (32, 32)), strict=True):
            for image in moving_bar(3, size=size):
                output.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            output.mux(stream.encode(None))
    pictures, notes, _ = read(path)
    assert_alike(pictures, moving_bar(3))
    assert "holds 2 video streams; stream 0 is read, of 64x48" in notes[0]


def test_what_is_left_out_of_the_colours_is_said(tmp_path):
    rgba = np.concatenate([moving_bar(3), np.full((3, HEIGHT, WIDTH, 1), 100, np.uint8)], axis=3)
    pictures, notes, _ = read(write(tmp_path / "a.mkv", rgba, "ffv1", "bgra", array_format="rgba"))
    assert_alike(pictures, moving_bar(3), mean=0.1)
    assert "has an alpha channel, which is left out" in notes[0]


@pytest.mark.parametrize("given", [None, FrameRange(0, 1023)])
def test_16_bit_video_is_scaled_by_its_own_range_or_the_one_given(tmp_path, given):
    values = np.linspace(200, 900, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH).astype(np.uint16)
    path = write(
        tmp_path / "a.mkv",
        [values + 10 * index for index in range(5)],
        "ffv1",
        "gray16le",
        array_format="gray16le",
    )
    pictures, notes, _ = read(path, frame_range=given)
    expected = [
        np.rint(
            (values + 10.0 * index - (given.low if given else 200))
            * 255
            / ((given.high if given else 940) - (given.low if given else 200))
        )
        for index in range(5)
    ]
    assert_alike(pictures, [np.repeat(image[..., None], 3, axis=2) for image in expected], mean=1)
    assert (
        "16-bit frames" in notes[0]
        and ("by --frame_range" if given else "the range of 5 frames") in notes[0]
    )


def test_a_range_given_for_8_bit_video_is_said_to_be_unused(tmp_path):
    path = write(tmp_path / "a.mkv", moving_bar(3), "ffv1", "bgra")
    pictures, notes, _ = read(path, frame_range=FrameRange(0, 1023))
    assert_alike(pictures, moving_bar(3), mean=0.1)
    assert any("--frame_range is not used" in note for note in notes)


@pytest.mark.parametrize(
    "name",
    [
        "12:30:05.mp4",
        "a:b.mp4",
        "-x.mp4",
        "%05d.mp4",
        "pipe:",
        "concat:a|b.mp4",
        "subfile,,start,0,end,0,,:a.mp4",
        os.fsdecode(b"a\xff.mp4"),
        "0",
    ],
)
def test_no_name_is_an_address(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write(Path("plain.mp4"), moving_bar(3), options=H264).rename(name)
    save_mask(tmp_path / "mask.png", 1, size=(WIDTH, HEIGHT))
    video = VideoFile(name, "mask.png")
    video.validate()
    assert len(list(video.frames())) == 3


def test_a_file_may_be_given_by_its_url(tmp_path):
    path = write(tmp_path / "a b.mp4", moving_bar(3), options=H264)
    save_mask(tmp_path / "mask.png", 1, size=(WIDTH, HEIGHT))
    assert len(list(VideoFile(path.as_uri(), tmp_path / "mask.png").frames())) == 3
    with pytest.raises(InputError, match="a file of another machine"):
        VideoFile("file://host/a.mp4", tmp_path / "mask.png")


def test_a_playlist_opens_nothing_else_and_texts_and_sounds_are_no_videos(tmp_path):
    write(tmp_path / "a.ts", moving_bar(3), options=H264)
    lists = {
        "list.mp4": "ffconcat version 1.0\nfile a.ts\n",
        "hls.mp4": "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:2,\na.ts\n#EXT-X-ENDLIST\n",
        "net.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:2,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n",
        "session.mp4": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
        "text.txt": "a text\n" * 400,
        "ansi.txt": "\x1b[31mred\x1b[0m text\n" * 400,
        "empty.mp4": "",
    }
    for name, content in lists.items():
        (tmp_path / name).write_text(content)
        with pytest.raises(InputError, match="cannot be opened as a video"):
            VideoReader.open_file(tmp_path / name)
    with av.open(str(tmp_path / "sound.m4a"), "w", format="mp4") as output:
        stream = output.add_stream("aac", rate=8000)
        for index in range(4):
            frame = av.AudioFrame.from_ndarray(
                np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
            )
            frame.sample_rate, frame.pts = 8000, 1024 * index
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    with pytest.raises(InputError, match="holds no video"):
        VideoReader.open_file(tmp_path / "sound.m4a")


def test_damage_anywhere_ends_in_frames_or_in_words(tmp_path):
    codecs = {"a.mp4": "libx264", "a.mkv": "mpeg4", "a.avi": "mpeg4", "a.ts": "mpeg2video"}
    whole = {
        name: write(tmp_path / name, moving_bar(12), codec).read_bytes()
        for name, codec in codecs.items()
    }
    random = np.random.default_rng(0)
    for name, content in whole.items():
        for _ in range(40):
            damaged = bytearray(content)
            for position in random.integers(0, len(content), 4):
                damaged[position] = random.integers(0, 256)
            (tmp_path / name).write_bytes(
                damaged[: random.integers(len(content) // 2, len(content) + 1)]
            )
            with contextlib.suppress(InputError):
                assert len(read(tmp_path / name)[0]) <= 14


def test_without_pyav_everything_but_video_files_works(tmp_path, monkeypatch):
    path = write(tmp_path / "a.mp4", moving_bar(3), options=H264)
    save_mask(tmp_path / "mask.png", 1, size=(WIDTH, HEIGHT))
    monkeypatch.setattr(dataset.video.pyav, "av", None)
    with pytest.raises(InputError, match=r"a\.mp4: .*pip install av"):
        VideoFile(path, tmp_path / "mask.png")
    code = "import sys; sys.modules['av'] = None; import dataset, inference.runner; from dataset.video.pyav import DECODING_ERRORS; assert DECODING_ERRORS == ()"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_a_file_played_at_its_rate_keeps_numbers_over_damage_too(tmp_path):
    path = write(tmp_path / "a.avi", moving_bar(12), "mjpeg", "yuvj420p", rate=100)
    damage(path, [5])
    save_mask(tmp_path / "mask.png", 1, size=(WIDTH, HEIGHT))
    video = open_live(str(path), tmp_path / "mask.png", newest_only=False, stall_seconds=20)
    assert [frame.index for frame in video.frames()] == [0, 1, 2, 3, 4, *range(6, 12)]
    assert any("passed over (number 5)" in note for note in video.notes)


@pytest.mark.parametrize(
    "address", ["rstp://me:secret@host/x", "file2://me:secret@host/x", "concat://me:secret@host/x"]
)
def test_only_streams_of_known_protocols_are_opened(tmp_path, address):
    save_mask(tmp_path / "mask.png", 1)
    with pytest.raises(InputError, match="no stream that is read") as error:
        open_live(address, tmp_path / "mask.png", newest_only=True, stall_seconds=1)
    assert "secret" not in str(error.value)
