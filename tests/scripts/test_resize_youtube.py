"""Smaller copies of video data sets."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from repository import ROOT
from toy_trees import write_jpg, write_png

from dataset.training.video_layouts import find_videos
from scripts.data_tools.resizing import resize_tasks, resize_video, smaller_size
from util.errors import InputError

PALETTE = bytes(value for index in range(256) for value in (index, 255 - index, index // 2))


@pytest.fixture
def source(tmp_path):
    """One large and one small video of noise; the masks hold ids 7 and 200 in two quarters."""
    root = tmp_path / "YouTube"
    rng = np.random.default_rng(0)
    for video, (height, width) in {"large": (120, 160), "small": (30, 40)}.items():
        labels = np.zeros((height, width), np.uint8)
        labels[: height // 2, : width // 2], labels[height // 2 :, width // 2 :] = 7, 200
        for index in (0, 5, 10):
            grey = rng.integers(0, 255, (height, width, 1), dtype=np.uint8)
            write_jpg(root / f"train/JPEGImages/{video}/{index:05d}.jpg", np.repeat(grey, 3, 2))
            write_png(root / f"train/Annotations/{video}/{index:05d}.png", labels, PALETTE)
    (root / "train/meta.json").write_text(json.dumps({"videos": {}}))
    return root


def resize(source, target, short_side=60):
    return [resize_video(task) for task in resize_tasks(source, target, short_side)]


def video_names(root):
    return [video.name for video in find_videos(root)]


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((720, 1280), (480, 853)),
        ((1280, 719), (855, 480)),
        ((480, 854), (480, 854)),
        ((240, 432), (240, 432)),
    ],
)
def test_the_shorter_side_shrinks_in_proportion_and_never_grows(size, expected):
    assert smaller_size(size, 480) == expected


def test_frames_and_masks_get_one_size_and_masks_keep_ids_and_palette(source, tmp_path):
    target = tmp_path / "out"
    results = resize(source, target)
    assert [result.written for result in results] == [3, 3, 3, 3]
    assert not any(result.problems for result in results)
    mask = Image.open(target / "train/Annotations/large/00005.png")
    assert mask.size == (80, 60) and mask.mode == "P" and bytes(mask.getpalette()) == PALETTE
    expected = np.zeros((60, 80), np.uint8)
    expected[:30, :40], expected[30:, 40:] = 7, 200
    assert np.array_equal(np.asarray(mask), expected)
    frame = np.asarray(Image.open(target / "train/JPEGImages/large/00005.jpg"))
    whole = np.asarray(Image.open(source / "train/JPEGImages/large/00005.jpg")).astype(float)
    averaged = whole.reshape(60, 2, 80, 2, 3).mean((1, 3))
    # sampling the noise instead of averaging it would change it by tens
    assert np.abs(frame - averaged).mean() < 4
    assert video_names(target) == ["large", "small"]
    assert (target / "train/meta.json").is_file()


@pytest.mark.parametrize("name", ["JPEGImages/small/00000.jpg", "Annotations/small/00000.png"])
def test_small_files_are_copied_byte_for_byte(source, tmp_path, name):
    resize(source, tmp_path / "out")
    assert (tmp_path / "out/train" / name).read_bytes() == (source / "train" / name).read_bytes()


def test_an_interrupted_copy_is_resumed_and_incomplete_files_are_written_again(source, tmp_path):
    target = tmp_path / "out"
    resize(source, target)
    folder = target / "train/JPEGImages/large"
    time_of_last = (folder / "00010.jpg").stat().st_mtime_ns
    (folder / "00000.jpg").unlink()
    whole = (folder / "00005.jpg").read_bytes()
    (folder / "00005.jpg").write_bytes(whole[:-10])
    results = resize(source, target)
    assert sum(result.written for result in results) == 2
    assert sum(result.present for result in results) == 10
    assert (folder / "00005.jpg").read_bytes() == whole
    assert (folder / "00010.jpg").stat().st_mtime_ns == time_of_last
    # now the files of the large video have another size
    assert sum(result.written for result in resize(source, target, short_side=50)) == 6


def test_a_split_may_be_given_by_itself(source, tmp_path):
    target = source / "train_480p"
    resize(source / "train", target)
    assert video_names(source) == ["large", "small"]
    assert find_videos(source)[0].image_folder.is_relative_to(target)


def test_the_script_names_a_damaged_file_copies_the_others_and_exits_with_two(source, tmp_path):
    name = "train/JPEGImages/large/00005.jpg"
    (source / name).write_bytes((source / name).read_bytes()[:400])
    script, target = ROOT / "scripts/resize_youtube.py", tmp_path / "out"
    done = subprocess.run(
        [sys.executable, script, source, target, "--short_side", "60", "--workers", "1"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2 and "11 files written" in done.stdout
    assert "large/00005.jpg: damaged" in done.stderr and "1 not readable" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (target / name).exists()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nowhere", "JPEGImages: no such folder"),
        ("YouTube", "is the source itself"),
        ("bare", "no folder of a video"),
    ],
)
def test_a_wrong_source_is_one_line(source, tmp_path, name, words):
    for kind in ("JPEGImages", "Annotations"):
        (tmp_path / "bare" / kind).mkdir(parents=True)
    with pytest.raises(InputError, match=words) as caught:
        resize_tasks(tmp_path / name, source, 480)
    assert "\n" not in str(caught.value)
