"""A video file or a folder of frames with its masks."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from media_trees import HEIGHT, WIDTH, labelled, make_generic, save_mask

from dataset import TruncatedVideoError, VideoFile
from dataset.video.container_end import is_cut_off
from util.errors import InputError


def write_video(path: Path, frames: int = 12) -> None:
    writer = cv2.VideoWriter(
        str(path), cv2.CAP_OPENCV_MJPEG, cv2.VideoWriter_fourcc(*"MJPG"), 10, (WIDTH, HEIGHT)
    )
    assert writer.isOpened()
    for index in range(frames):
        writer.write(np.full((HEIGHT, WIDTH, 3), 8 * index, np.uint8))  # blue, green, red alike
    writer.release()


def test_a_video_file_is_read_in_rgb_with_masks_named_by_frame_number(tmp_path):
    path = tmp_path / "film.avi"
    write_video(path)
    save_mask(tmp_path / "masks/00003.png", 5)
    save_mask(tmp_path / "masks/7.png", 5, 9)
    video = VideoFile(path, tmp_path / "masks")
    video.validate()
    frames = list(video.frames())
    assert (video.name, video.frame_count, video.frames_per_second, video.first_index) == (
        "film",
        12,
        10,
        3,
    )
    assert [frame.name for frame in frames] == [f"{index:05d}" for index in range(3, 12)]
    assert [round(float(frame.image.mean()) / 8) for frame in frames] == list(range(3, 12))
    assert labelled(video) == {3: [5], 7: [9]}


def test_a_video_files_colours_are_rgb(tmp_path):
    writer = cv2.VideoWriter(
        str(tmp_path / "red.avi"),
        cv2.CAP_OPENCV_MJPEG,
        cv2.VideoWriter_fourcc(*"MJPG"),
        10,
        (WIDTH, HEIGHT),
    )
    writer.write(np.full((HEIGHT, WIDTH, 3), (0, 0, 255), np.uint8))
    writer.release()
    save_mask(tmp_path / "mask.png", 1)
    (frame,) = VideoFile(tmp_path / "red.avi", tmp_path / "mask.png").frames()
    np.testing.assert_allclose(frame.image[5, 5], (255, 0, 0), atol=20)


def test_a_video_file_that_ends_early_delivers_its_frames_and_then_says_so(tmp_path):
    path = tmp_path / "film.avi"
    write_video(path, frames=30)
    os.truncate(path, path.stat().st_size * 6 // 10)
    save_mask(tmp_path / "mask.png", 1)
    read = []
    with pytest.raises(TruncatedVideoError, match=r"film\.avi: ends after (\d+) of 30 frames"):
        for frame in VideoFile(path, tmp_path / "mask.png").frames():
            read.append(frame.index)
    assert read == list(range(len(read)))
    assert 5 < len(read) < 30


def test_what_is_no_video_is_refused_without_a_word_from_ffmpeg(tmp_path, capfd):
    (tmp_path / "film.mp4").write_bytes(b"no video")
    save_mask(tmp_path / "mask.png", 1)
    with pytest.raises(InputError, match=r"film\.mp4: cannot be opened"):
        VideoFile(tmp_path / "film.mp4", tmp_path / "mask.png")
    with pytest.raises(InputError, match=r"none\.mp4: no such video"):
        VideoFile(tmp_path / "none.mp4", tmp_path / "mask.png")
    with pytest.raises(InputError, match="still image"):
        VideoFile(tmp_path / "mask.png", tmp_path / "mask.png")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("mask_name", "message"),
    [
        ("first", "not the number of a frame"),
        ("12", "no frame 12 in film.avi, which has 12 frames"),
    ],
)
def test_masks_of_a_video_file_named_for_no_frame_are_refused(tmp_path, mask_name, message):
    write_video(tmp_path / "film.avi")
    save_mask(tmp_path / f"masks/{mask_name}.png", 1)
    with pytest.raises(InputError, match=message):
        VideoFile(tmp_path / "film.avi", tmp_path / "masks")


def test_a_folder_of_frames_takes_one_mask_for_its_first_frame_or_the_frame_of_its_name(tmp_path):
    make_generic(tmp_path, {"00000": (1,), "00002": (2,)})
    save_mask(tmp_path / "mine.png", 3)
    frames = tmp_path / "JPEGImages/clip"
    assert labelled(VideoFile(frames, tmp_path / "mine.png")) == {0: [3]}
    assert labelled(VideoFile(frames, tmp_path / "Annotations/clip/00002.png")) == {2: [2]}
    assert labelled(
        VideoFile(frames, tmp_path / "Annotations/clip", corrections=True, name="x")
    ) == {0: [1], 2: [2]}
    with pytest.raises(InputError, match="no such mask"):
        VideoFile(frames, tmp_path / "none.png")


def test_a_file_that_is_shorter_than_its_container_says_is_cut_off(tmp_path):
    def box(kind: bytes, content: bytes) -> bytes:
        return (8 + len(content)).to_bytes(4, "big") + kind + content

    def chunk(kind: bytes, content: bytes) -> bytes:
        return kind + len(content).to_bytes(4, "little") + content

    ebml = bytes.fromhex("1a45dfa384") + bytes(4)
    asf_properties = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365") + bytes(24)
    asf = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c") + bytes(14) + asf_properties
    asf += (len(asf) + 8 + 56 + 100).to_bytes(8, "little") + bytes(56 + 100)
    whole = {
        "mp4": box(b"ftyp", b"isom")
        + box(b"moov", box(b"elst", bytes(20)))
        + box(b"mdat", bytes(100)),
        "mp4 of 64 bits": box(b"ftyp", b"isom")
        + (1).to_bytes(4, "big")
        + b"mdat"
        + (116).to_bytes(8, "big")
        + bytes(100),
        "avi": chunk(b"RIFF", b"AVI " + bytes(100)) + chunk(b"RIFF", b"AVIX" + bytes(50)),
        "mkv": ebml + bytes.fromhex("18538067") + bytes.fromhex("4064") + bytes(100),
        "wmv": asf,
    }
    for name, content in whole.items():
        path = tmp_path / "film"
        path.write_bytes(content)
        assert not is_cut_off(path), name
        path.write_bytes(content[:-1])
        assert is_cut_off(path), name
    unfinished = {
        "avi": b"RIFF" + bytes(4) + b"AVI " + bytes(9),
        "mkv": ebml + bytes.fromhex("18538067") + bytes.fromhex("01ffffffffffffff") + bytes(10),
        "ts": b"G" * 99,
        "none": b"",
    }
    for name, content in unfinished.items():
        path.write_bytes(content)
        assert not is_cut_off(path), name
