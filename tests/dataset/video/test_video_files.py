"""Video files as users give them: names and URLs, masks, what is no video, missing PyAV."""

import os
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from media_trees import (
    HEIGHT,
    WIDTH,
    labelled,
    make_generic,
    save_mask,
    write_by_opencv,
    write_mjpeg,
)
from repository import ROOT
from toy_videos import H264, moving_bar, write

import dataset.video.pyav
from dataset import TruncatedVideoError, VideoFile
from dataset.video.reader import VideoReader
from util.errors import InputError

PLAYLISTS = {
    "list.mp4": "ffconcat version 1.0\nfile a.ts\n",
    "hls.mp4": "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:2,\na.ts\n#EXT-X-ENDLIST\n",
    "net.m3u8": (
        "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:2,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n"
    ),
    "session.mp4": (
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
        "m=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n"
    ),
}
TEXTS = {
    "text.txt": "a text\n" * 400,
    "ansi.txt": "\x1b[31mred\x1b[0m text\n" * 400,
    "empty.mp4": "",
}


def test_masks_of_a_video_file_are_named_by_frame_number(tmp_path):
    path = tmp_path / "film.avi"
    write_mjpeg(path)
    save_mask(tmp_path / "masks/00003.png", 5)
    save_mask(tmp_path / "masks/7.png", 5, 9)
    video = VideoFile(path, tmp_path / "masks")
    video.validate()
    frames = list(video.frames())
    assert (video.name, video.frame_count) == ("film", 12)
    assert (video.frames_per_second, video.first_index) == (10, 3)
    assert [frame.name for frame in frames] == [f"{index:05d}" for index in range(3, 12)]
    assert [round(float(frame.image.mean()) / 8) for frame in frames] == list(range(3, 12))
    assert labelled(video) == {3: [5], 7: [9]}


def test_the_colours_of_a_video_file_are_rgb(tmp_path):
    write_by_opencv(tmp_path / "red.avi", [np.full((HEIGHT, WIDTH, 3), (0, 0, 255), np.uint8)])
    save_mask(tmp_path / "mask.png", 1)
    (frame,) = VideoFile(tmp_path / "red.avi", tmp_path / "mask.png").frames()
    np.testing.assert_allclose(frame.image[5, 5], (255, 0, 0), atol=20)


def test_a_video_file_that_ends_early_yields_its_frames_before_the_error(tmp_path):
    path = tmp_path / "film.avi"
    write_mjpeg(path, frames=30)
    os.truncate(path, path.stat().st_size * 6 // 10)
    save_mask(tmp_path / "mask.png", 1)
    read = []
    with pytest.raises(TruncatedVideoError, match=r"film\.avi: ends after (\d+) of 30 frames"):
        for frame in VideoFile(path, tmp_path / "mask.png").frames():
            read.append(frame.index)
    assert read == list(range(len(read)))
    assert 5 < len(read) < 30


@pytest.mark.parametrize(
    ("mask_name", "message"),
    [
        ("first", "not the number of a frame"),
        ("12", "no frame 12 in film.avi, which has 12 frames"),
    ],
)
def test_a_mask_that_names_no_frame_of_a_video_file_is_refused(tmp_path, mask_name, message):
    write_mjpeg(tmp_path / "film.avi")
    save_mask(tmp_path / f"masks/{mask_name}.png", 1)
    with pytest.raises(InputError, match=message):
        VideoFile(tmp_path / "film.avi", tmp_path / "masks")


def test_a_single_mask_belongs_to_the_frame_of_its_name_or_the_first(tmp_path):
    make_generic(tmp_path, {"00000": (1,), "00002": (2,)})
    save_mask(tmp_path / "mine.png", 3)
    frames, masks = tmp_path / "JPEGImages/clip", tmp_path / "Annotations/clip"
    assert labelled(VideoFile(frames, tmp_path / "mine.png")) == {0: [3]}
    assert labelled(VideoFile(frames, masks / "00002.png")) == {2: [2]}
    assert labelled(VideoFile(frames, masks, corrections=True, name="x")) == {0: [1], 2: [2]}
    with pytest.raises(InputError, match="no such mask"):
        VideoFile(frames, tmp_path / "none.png")


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
def test_a_file_name_is_never_taken_for_an_address(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write(Path("plain.mp4"), moving_bar(3, size=(HEIGHT, WIDTH)), options=H264).rename(name)
    save_mask(tmp_path / "mask.png", 1)
    video = VideoFile(name, "mask.png")
    video.validate()
    assert len(list(video.frames())) == 3


def test_a_file_may_be_given_by_its_url(tmp_path):
    path = write(tmp_path / "a b.mp4", moving_bar(3, size=(HEIGHT, WIDTH)), options=H264)
    save_mask(tmp_path / "mask.png", 1)
    assert len(list(VideoFile(path.as_uri(), tmp_path / "mask.png").frames())) == 3
    with pytest.raises(InputError, match="a file of another machine"):
        VideoFile("file://host/a.mp4", tmp_path / "mask.png")


def test_what_is_no_video_is_refused_without_a_message_of_ffmpeg(tmp_path, capfd):
    (tmp_path / "film.mp4").write_bytes(b"no video")
    save_mask(tmp_path / "mask.png", 1)
    for name, message in (
        ("film.mp4", r"film\.mp4: cannot be opened"),
        ("none.mp4", r"none\.mp4: no such video"),
        ("mask.png", "still image"),
    ):
        with pytest.raises(InputError, match=message):
            VideoFile(tmp_path / name, tmp_path / "mask.png")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(("name", "content"), [*PLAYLISTS.items(), *TEXTS.items()])
def test_playlists_and_texts_are_no_videos_and_open_nothing_else(tmp_path, name, content):
    write(tmp_path / "a.ts", moving_bar(3), options=H264)
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match="cannot be opened as a video"):
        VideoReader.open_file(tmp_path / name)


def test_a_sound_file_holds_no_video(tmp_path):
    with av.open(str(tmp_path / "sound.m4a"), "w", format="mp4") as output:
        stream = output.add_stream("aac", rate=8000)
        for index in range(4):
            silence = np.zeros((1, 1024), np.float32)
            frame = av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 8000, 1024 * index
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    with pytest.raises(InputError, match="holds no video"):
        VideoReader.open_file(tmp_path / "sound.m4a")


def test_without_pyav_everything_but_video_files_works(tmp_path, monkeypatch):
    path = write(tmp_path / "a.mp4", moving_bar(3, size=(HEIGHT, WIDTH)), options=H264)
    save_mask(tmp_path / "mask.png", 1)
    monkeypatch.setattr(dataset.video.pyav, "av", None)
    with pytest.raises(InputError, match=r"a\.mp4: .*pip install av"):
        VideoFile(path, tmp_path / "mask.png")
    code = (
        "import sys; sys.modules['av'] = None; import dataset, inference.runner; "
        "from dataset.video.pyav import DECODING_ERRORS; assert DECODING_ERRORS == ()"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_messages_of_ffmpeg_never_reach_pythons_logging(tmp_path):
    """torchvision 0.19 turns them on. A decoding thread that logs can wait forever."""
    write_mjpeg(tmp_path / "film.avi")
    save_mask(tmp_path / "mask.png", 1)
    av.logging.set_level(av.logging.ERROR)
    list(VideoFile(tmp_path / "film.avi", tmp_path / "mask.png").frames())
    assert av.logging.get_level() is None
