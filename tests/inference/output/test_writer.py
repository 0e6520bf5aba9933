"""Results on disk: exact files, and a video whole or absent."""

import errno
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inference.output.background import BackgroundPool
from inference.output.writer import ResultWriter
from util.palette import DAVIS_PALETTE

PALETTE = bytes(range(256)) * 3


def write_video(root: Path, name: str, *maps: np.ndarray, palette: bytes = DAVIS_PALETTE) -> None:
    with ResultWriter(root) as writer, writer.video(name, palette) as video:
        for index, labels in enumerate(maps):
            video.write(f"{index:05d}", labels)


def test_pngs_are_8_bit_indexed_with_the_palette_the_ids_and_the_size_given(tmp_path):
    labels = np.random.default_rng(0).choice(np.array([0, 7, 200, 255]), size=(33, 47))
    write_video(tmp_path / "out", "bear", labels, np.zeros((33, 47), np.uint8), palette=PALETTE)
    folder = tmp_path / "out" / "bear"
    assert sorted(path.name for path in folder.iterdir()) == ["00000.png", "00001.png"]
    for path, expected in (
        (folder / "00000.png", labels),
        (folder / "00001.png", np.zeros((33, 47))),
    ):
        bit_depth, colour_type = path.read_bytes()[24:26]
        assert (bit_depth, colour_type) == (8, 3)  # 8 bits, indexed
        with Image.open(path) as image:
            np.testing.assert_array_equal(np.array(image), expected)
            assert bytes(image.getpalette()) == PALETTE


def test_frame_names_are_kept_exactly(tmp_path):
    with ResultWriter(tmp_path) as writer, writer.video("v.1", DAVIS_PALETTE) as video:
        for name in ("2", "10", "frame.0001", "a b"):
            video.write(name, np.ones((16, 16), np.uint8))
        assert video.frame_count == 4
    names = {path.name for path in (tmp_path / "v.1").iterdir()}
    assert names == {"2.png", "10.png", "frame.0001.png", "a b.png"}


def test_a_video_appears_only_when_it_is_whole(tmp_path):
    labels = np.ones((16, 16), np.uint8)
    with ResultWriter(tmp_path) as writer:
        with writer.video("bear", DAVIS_PALETTE) as video:
            video.write("00000", labels)
            assert not (tmp_path / "bear").exists()
        assert [path.name for path in tmp_path.iterdir()] == ["bear"]
        with (
            pytest.raises(RuntimeError, match="the session's"),
            writer.video("lion", DAVIS_PALETTE) as video,
        ):
            video.write("00000", labels)
            raise RuntimeError("the session's")
    assert [path.name for path in tmp_path.iterdir()] == ["bear"]


def test_a_video_written_again_is_replaced_whole_and_leftovers_are_removed(tmp_path):
    write_video(tmp_path, "bear", *[np.ones((16, 16), np.uint8)] * 3)
    (tmp_path / ".bear.part").mkdir()
    (tmp_path / ".bear.part" / "00009.png").write_bytes(b"of a killed run")
    write_video(tmp_path, "bear", np.full((16, 16), 2, np.uint8))
    assert [path.name for path in tmp_path.iterdir()] == ["bear"]
    assert [path.name for path in (tmp_path / "bear").iterdir()] == ["00000.png"]
    assert (np.array(Image.open(tmp_path / "bear" / "00000.png")) == 2).all()


def test_labels_may_be_reused_by_the_caller_at_once(tmp_path):
    labels = np.zeros((16, 16), np.uint8)
    with ResultWriter(tmp_path) as writer, writer.video("bear", DAVIS_PALETTE) as video:
        for index in range(20):
            labels[:] = index
            video.write(f"{index:05d}", labels)
    for index in range(20):
        assert (np.array(Image.open(tmp_path / "bear" / f"{index:05d}.png")) == index).all()


@pytest.mark.parametrize("when", ["at the last frame", "early"])
def test_a_full_disk_is_an_error_naming_the_file_and_leaves_nothing(tmp_path, monkeypatch, when):
    full_from = 3 if when == "early" else 19
    write = Path.write_bytes

    def write_until_full(path, data):
        if int(path.stem) >= full_from:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", write_until_full)
    with pytest.raises(
        OSError, match=rf"No space left on device: '.*bear/000{full_from:02d}\.png'"
    ):
        write_video(tmp_path, "bear", *[np.ones((16, 16), np.uint8)] * 20)
    assert list(tmp_path.iterdir()) == []


def test_an_earlier_frames_failure_stops_later_writes(tmp_path, monkeypatch):
    def fail(path, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", fail)
    written = 0
    with (
        pytest.raises(OSError, match="No space"),
        ResultWriter(tmp_path, capacity=2) as writer,
        writer.video("bear", DAVIS_PALETTE) as video,
    ):
        for written in range(100):
            video.write(f"{written:05d}", np.ones((16, 16), np.uint8))
    assert written < 10


@pytest.mark.parametrize(
    "labels",
    [
        np.full((16, 16), 256),
        np.full((16, 16), -1),
        np.zeros((16, 16), np.float32),
        np.zeros((1, 16, 16), np.uint8),
    ],
    ids=["too high", "negative", "float", "three axes"],
)
def test_labels_that_a_png_cannot_hold_are_refused(tmp_path, labels):
    with pytest.raises(ValueError, match=r"ids|labels"):
        write_video(tmp_path, "bear", labels)
    assert list(tmp_path.iterdir()) == []


def test_the_background_queue_is_bounded():
    pool = BackgroundPool(threads=1, capacity=2)
    gate, submitted = threading.Event(), []

    def submit_five():
        for index in range(5):
            pool.submit(gate.wait)
            submitted.append(index)

    submitter = threading.Thread(target=submit_five)
    submitter.start()
    submitter.join(timeout=0.2)
    assert submitted == [0, 1]
    gate.set()
    submitter.join(timeout=10)
    pool.close()
    assert submitted == [0, 1, 2, 3, 4]
