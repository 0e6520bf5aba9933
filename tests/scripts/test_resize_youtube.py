"""A smaller copy of a video data set: the right sizes, ids and palettes, resumed, and honest about what cannot be read."""

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

COLOURS = bytes(value for index in range(256) for value in (index, 255 - index, index // 2))


@pytest.fixture
def source(tmp_path):
    """One large video, and one that is small already; their masks hold ids 7 and 200."""
    root = tmp_path / "YouTube"
    rng = np.random.default_rng(0)
    for video, (height, width) in {"large": (120, 160), "small": (30, 40)}.items():
        labels = np.zeros((height, width), np.uint8)
        labels[: height // 2, : width // 2], labels[height // 2 :, width // 2 :] = 7, 200
        for index in (0, 5, 10):
            write_jpg(
                root / f"train/JPEGImages/{video}/{index:05d}.jpg",
                np.repeat(rng.integers(0, 255, (height, width, 1), dtype=np.uint8), 3, 2),
            )
            write_png(root / f"train/Annotations/{video}/{index:05d}.png", labels, COLOURS)
    (root / "train/meta.json").write_text(json.dumps({"videos": {}}))
    return root


def resize(source, target, short_side=60):
    return [resize_video(task) for task in resize_tasks(source, target, short_side)]


def test_the_shorter_side_shrinks_in_proportion_and_never_grows():
    assert smaller_size((720, 1280), 480) == (480, 853)
    assert smaller_size((1280, 719), 480) == (855, 480)
    assert smaller_size((480, 854), 480) == (480, 854) and smaller_size((240, 432), 480) == (
        240,
        432,
    )


def test_frames_and_masks_get_one_size_and_masks_keep_ids_and_palette(source, tmp_path):
    results = resize(source, tmp_path / "out")
    assert [result.written for result in results] == [3, 3, 3, 3] and not any(
        result.problems for result in results
    )
    frame, mask = (
        Image.open(tmp_path / "out/train/JPEGImages/large/00005.jpg"),
        Image.open(tmp_path / "out/train/Annotations/large/00005.png"),
    )
    assert (
        frame.size == mask.size == (80, 60)
        and mask.mode == "P"
        and bytes(mask.getpalette()) == COLOURS
    )
    expected = np.zeros((60, 80), np.uint8)
    expected[:30, :40], expected[30:, 40:] = 7, 200
    assert np.array_equal(np.asarray(mask), expected)
    whole = np.asarray(Image.open(source / "train/JPEGImages/large/00005.jpg")).astype(float)
    averaged = whole.reshape(60, 2, 80, 2, 3).mean((1, 3))
    assert (
        np.abs(np.asarray(frame) - averaged).mean() < 4
    )  # noise that sampling instead of averaging would change by tens
    assert [video.name for video in find_videos(tmp_path / "out")] == ["large", "small"]
    assert (tmp_path / "out/train/meta.json").is_file()


def test_what_is_small_already_is_copied_byte_for_byte(source, tmp_path):
    resize(source, tmp_path / "out")
    for name in ("JPEGImages/small/00000.jpg", "Annotations/small/00000.png"):
        assert (tmp_path / "out/train" / name).read_bytes() == (
            source / "train" / name
        ).read_bytes()


def test_it_goes_on_where_it_stopped_and_mends_what_is_not_whole(source, tmp_path):
    resize(source, tmp_path / "out")
    folder = tmp_path / "out/train/JPEGImages/large"
    times = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    (folder / "00000.jpg").unlink()
    whole = (folder / "00005.jpg").read_bytes()
    (folder / "00005.jpg").write_bytes(whole[:-10])
    results = resize(source, tmp_path / "out")
    assert (
        sum(result.written for result in results) == 2
        and sum(result.present for result in results) == 10
    )
    assert (folder / "00005.jpg").read_bytes() == whole and (
        folder / "00010.jpg"
    ).stat().st_mtime_ns == times["00010.jpg"]
    assert (
        sum(result.written for result in resize(source, tmp_path / "out", short_side=50)) == 6
    )  # those of the large video have another size now


def test_one_split_may_be_given_by_itself(source, tmp_path):
    resize(source / "train", source / "train_480p")
    assert [video.name for video in find_videos(source)] == ["large", "small"]
    assert str(find_videos(source)[0].image_folder).startswith(str(source / "train_480p"))


def run(*arguments):
    return subprocess.run(
        [sys.executable, str(ROOT / "scripts/resize_youtube.py"), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_script_names_a_damaged_file_does_the_rest_and_ends_with_two(source, tmp_path):
    broken = source / "train/JPEGImages/large/00005.jpg"
    broken.write_bytes(broken.read_bytes()[:400])
    done = run(source, tmp_path / "out", "--short_side", 60, "--workers", 1)
    assert done.returncode == 2 and "11 files written" in done.stdout
    assert (
        "large/00005.jpg: damaged" in done.stderr
        and "1 not readable" in done.stderr
        and "Traceback" not in done.stderr
    )
    assert not (tmp_path / "out/train/JPEGImages/large/00005.jpg").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere", "JPEGImages: no such folder"),
        ("YouTube", "is the source itself"),
        ("bare", "no folder of a video"),
    ],
)
def test_a_wrong_source_is_one_line(source, tmp_path, name, message):
    for kind in ("JPEGImages", "Annotations"):
        (tmp_path / "bare" / kind).mkdir(parents=True)
    with pytest.raises(InputError, match=message) as caught:
        resize_tasks(tmp_path / name, source, 480)
    assert "\n" not in str(caught.value)
