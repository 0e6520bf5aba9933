"""Video files that are damaged, cut off, or never written to their end."""

import contextlib
import os
from pathlib import Path

import av
import numpy as np
import pytest
from media_trees import save_mask
from toy_videos import (
    H264,
    HEIGHT,
    WIDTH,
    assert_alike,
    damage,
    indices,
    moving_bar,
    read_pictures,
    remux,
    write,
)

from dataset import TruncatedVideoError, VideoFile, open_live
from dataset.video.container_end import is_cut_off
from util.errors import InputError

TRANSPORT_PACKET_BYTES = 188
MJPEG = ("mjpeg", "yuvj420p")
H264_CODEC = ("libx264", "yuv420p")


@pytest.mark.parametrize(
    ("name", "codec", "options", "packets"),
    [
        ("a.mp4", H264_CODEC, H264, [8]),
        ("a.mp4", H264_CODEC, H264, [8, 9]),
        ("a.mkv", H264_CODEC, {**H264, "g": "30"}, [20]),
        ("a.avi", MJPEG, {}, [5, 6, 12]),
        ("a.mkv", MJPEG, {}, [7]),
    ],
)
def test_damaged_frames_are_skipped_and_the_others_keep_their_numbers(
    tmp_path, name, codec, options, packets
):
    images = moving_bar(30)
    path = write(tmp_path / name, images, *codec, options=options)
    if name == "a.mkv":  # damage destroys the remainder of a Matroska cluster: make them small
        path = remux(path, tmp_path / "b.mkv", {"cluster_time_limit": "200"})
    damaged = damage(path, packets)
    pictures, notes, error = read_pictures(path)
    read = indices(pictures)
    assert error == "" and len(read) < 30 and read == sorted(read)
    assert set(read).isdisjoint(damaged) and read[-1] == 29
    assert "damaged frame" in notes[0] and "(number " in notes[0]
    intact = [
        picture
        for picture in pictures
        if picture.index > max(damaged) + 8 or picture.index < min(damaged) - 3
    ]
    assert_alike(intact, images[indices(intact)])


def test_damage_at_the_end_ends_the_video_early(tmp_path):
    path = write(tmp_path / "a.mp4", moving_bar(30), options=H264)
    damage(path, [29])
    pictures, _, error = read_pictures(path)
    assert 25 < len(pictures) < 30
    assert f"ends after {len(pictures)} frames, since the rest is damaged" in error


@pytest.mark.parametrize(
    ("name", "codec", "states_count"), [("a.avi", "mpeg4", True), ("a.mpg", "mpeg1video", False)]
)
@pytest.mark.parametrize("filler", [b"\0", b"\xff"])
def test_an_end_that_was_never_written_is_detected(tmp_path, name, codec, states_count, filler):
    """As an interrupted download that has reserved its space leaves it."""
    path = write(tmp_path / name, moving_bar(160), codec)
    content = path.read_bytes()
    kept = int(0.6 * len(content))
    path.write_bytes(content[:kept] + filler * (len(content) - kept))
    pictures, notes, error = read_pictures(path)
    assert 40 < len(pictures) < 150
    if states_count:
        assert "the rest is damaged" in error
    else:
        assert any("% of the file are empty" in note for note in notes)


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
def test_a_file_that_is_cut_off_yields_its_frames_and_an_error(tmp_path, name, codec):
    noise = np.random.default_rng(0).integers(  # in packets of some size
        0, 255, (30, HEIGHT, WIDTH, 3), dtype=np.uint8
    )
    path = write(tmp_path / name, noise, codec, options={"g": "5"})
    if name == "a.mp4":  # the index must precede the frames
        path = remux(path, tmp_path / "b.mp4", {"movflags": "faststart"})
    os.truncate(path, path.stat().st_size * 7 // 10)
    pictures, _, error = read_pictures(path)
    count = len(pictures)
    assert 2 < count < 30
    assert (
        f"ends after {count} of 30 frames" in error or f"is cut off after {count} frames" in error
    )


def iso_box(kind: bytes, content: bytes) -> bytes:
    return (8 + len(content)).to_bytes(4, "big") + kind + content


def riff_chunk(kind: bytes, content: bytes) -> bytes:
    return kind + len(content).to_bytes(4, "little") + content


def asf_file() -> bytes:
    properties = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365") + bytes(24)
    start = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c") + bytes(14) + properties
    behind = bytes(56 + 100)
    return start + (len(start) + 8 + len(behind)).to_bytes(8, "little") + behind


EBML = bytes.fromhex("1a45dfa384") + bytes(4)
SEGMENT = bytes.fromhex("18538067")
FILE_TYPE = iso_box(b"ftyp", b"isom")


@pytest.mark.parametrize(
    "content",
    [
        FILE_TYPE + iso_box(b"moov", iso_box(b"elst", bytes(20))) + iso_box(b"mdat", bytes(100)),
        FILE_TYPE + (1).to_bytes(4, "big") + b"mdat" + (116).to_bytes(8, "big") + bytes(100),
        riff_chunk(b"RIFF", b"AVI " + bytes(100)) + riff_chunk(b"RIFF", b"AVIX" + bytes(50)),
        EBML + SEGMENT + bytes.fromhex("4064") + bytes(100),
        asf_file(),
    ],
    ids=["mp4", "mp4 of 64 bits", "avi", "mkv", "wmv"],
)
def test_a_file_that_is_shorter_than_its_container_states_is_cut_off(tmp_path, content):
    path = tmp_path / "video"
    path.write_bytes(content)
    assert not is_cut_off(path)
    path.write_bytes(content[:-1])
    assert is_cut_off(path)


@pytest.mark.parametrize(
    "content",
    [
        b"RIFF" + bytes(4) + b"AVI " + bytes(9),
        EBML + SEGMENT + bytes.fromhex("01ffffffffffffff") + bytes(10),
        b"G" * 99,
        b"",
    ],
    ids=["avi", "mkv", "ts", "empty"],
)
def test_a_file_of_open_length_is_not_cut_off(tmp_path, content):
    path = tmp_path / "video"
    path.write_bytes(content)
    assert not is_cut_off(path)


def test_a_broadcast_that_starts_between_key_frames_begins_with_its_first_decodable_frame(tmp_path):
    options = {**H264, "g": "10", "bf": "0", "sc_threshold": "0"}
    path = write(tmp_path / "a.ts", moving_bar(30), options=options)
    content = path.read_bytes()
    with av.open(str(path)) as video:
        positions = [packet.pos for packet in video.demux(video=0) if packet.size]
    first_kept = positions[4] // TRANSPORT_PACKET_BYTES * TRANSPORT_PACKET_BYTES
    path.write_bytes(content[: TRANSPORT_PACKET_BYTES * 3] + content[first_kept:])
    pictures, notes, error = read_pictures(path)
    assert (len(pictures), pictures[0].index, error) == (20, 0, "")
    assert_alike(pictures, moving_bar(30)[10:])
    assert notes == ["starts between key frames; frame 0 is the first that can be decoded"]


def test_a_change_of_size_ends_the_video(tmp_path):
    first = write(tmp_path / "a.264", moving_bar(5), options=H264).read_bytes()
    second = write(tmp_path / "b.264", moving_bar(5, size=(64, 80)), options=H264).read_bytes()
    (tmp_path / "c.264").write_bytes(first + second)
    pictures, _, error = read_pictures(tmp_path / "c.264")
    assert len(pictures) == 5 and "frames of 80x64 after 64x48 at frame 5" in error


def test_a_mask_whose_frame_is_damaged_or_missing_is_refused(tmp_path):
    path = write(tmp_path / "a.avi", moving_bar(12), *MJPEG)
    save_mask(tmp_path / "masks/00000.png", 1, size=(WIDTH, HEIGHT))
    save_mask(tmp_path / "masks/00005.png", 2, size=(WIDTH, HEIGHT))
    damage(path, [5])
    with pytest.raises(TruncatedVideoError, match=r"masks/00005\.png: its frame is damaged"):
        list(VideoFile(path, tmp_path / "masks").frames())
    (tmp_path / "masks/00005.png").rename(tmp_path / "masks/00012.png")
    with pytest.raises(InputError, match=r"masks/00012\.png: no frame 12 .* has 12 frames"):
        VideoFile(path, tmp_path / "masks")


def test_a_damaged_file_that_is_played_at_its_rate_keeps_its_numbers(tmp_path):
    path = write(tmp_path / "a.avi", moving_bar(12), *MJPEG, rate=100)
    damage(path, [5])
    save_mask(tmp_path / "mask.png", 1, size=(WIDTH, HEIGHT))
    video = open_live(str(path), tmp_path / "mask.png", newest_only=False, stall_seconds=20)
    assert [frame.index for frame in video.frames()] == [0, 1, 2, 3, 4, *range(6, 12)]
    assert any("(number 5)" in note for note in video.notes)


def test_damage_anywhere_yields_frames_or_one_line(tmp_path):
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
            length = random.integers(len(content) // 2, len(content) + 1)
            (tmp_path / name).write_bytes(damaged[:length])
            with contextlib.suppress(InputError):
                pictures, _, _ = read_pictures(Path(tmp_path / name))
                assert len(pictures) <= 14
