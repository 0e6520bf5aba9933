"""Longer videos, made by playing others back and forth: lengths, masks and lists."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from repository import ROOT
from toy_trees import file_names, write_davis, write_generic

from dataset import DavisDataset, GenericDataset
from inference.scoring import score_folder
from scripts.studies.playing import back_and_forth, from_the_start, write_played
from util.errors import InputError


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


@pytest.mark.parametrize(
    ("frames", "length", "order"),
    [
        (4, 9, [0, 1, 2, 3, 2, 1, 0, 1, 2]),
        (4, 3, [0, 1, 2]),
        (2, 5, [0, 1, 0, 1, 0]),
        (1, 3, [0, 0, 0]),
    ],
)
def test_order_turns_at_both_ends_without_repeating_them(frames, length, order):
    assert back_and_forth(frames, length) == order


def test_a_repeated_video_starts_again_after_its_last_frame(tmp_path):
    assert from_the_start(3, 7) == [0, 1, 2, 0, 1, 2, 0]
    root = write_davis(tmp_path / "davis", {"bear": 3})
    repeated = write_played(root, tmp_path / "repeated", times=2, order="repeat")
    turned = write_played(root, tmp_path / "turned", times=2)
    for kind, suffix in (("JPEGImages", "jpg"), ("Annotations", "png")):
        fourth = Path(kind) / f"480p/bear/00003.{suffix}"
        first = pixels(root / kind / f"480p/bear/00000.{suffix}")
        assert np.array_equal(pixels(repeated / fourth), first)
        assert not np.array_equal(pixels(turned / fourth), first)
    with pytest.raises(InputError, match="made with order repeat, not back-and-forth"):
        write_played(root, tmp_path / "repeated", times=2)


def test_truth_follows_the_frames_of_a_davis_tree(tmp_path):
    root = write_davis(tmp_path / "davis", {"bear": 4, "dog": 3})
    out = write_played(root, tmp_path / "long", times=3)
    for name, count in {"bear": 4, "dog": 3}.items():
        order = back_and_forth(count, 3 * count)
        assert file_names(out / "JPEGImages/480p" / name) == [
            f"{index:05d}.jpg" for index in range(3 * count)
        ]
        for index, source in enumerate(order):
            for folder, suffix in (("JPEGImages", "jpg"), ("Annotations", "png")):
                assert np.array_equal(
                    pixels(out / folder / f"480p/{name}/{index:05d}.{suffix}"),
                    pixels(root / folder / f"480p/{name}/{source:05d}.{suffix}"),
                )
    dataset = DavisDataset(out)
    assert dataset.names == ("bear", "dog") and [video.frame_count for video in dataset] == [12, 9]
    assert score_folder(out, out / "Annotations/480p").overall.jf_mean == 1


def test_lists_in_the_format_of_davis_2016_keep_only_the_chosen_names(tmp_path):
    root = write_davis(tmp_path / "davis", {"bear": 3, "dog": 3}, "480p/val.txt")
    lines = [
        f"/JPEGImages/480p/{name}/{index:05d}.jpg /Annotations/480p/{name}/{index:05d}.png"
        for name in ("bear", "dog")
        for index in range(3)
    ]
    (root / "ImageSets/480p/val.txt").write_text("\n".join(lines))
    out = write_played(root, tmp_path / "long", frames=7, sequences=["dog"])
    assert DavisDataset(out, "2016val").names == ("dog",)
    assert not (out / "JPEGImages/480p/bear").exists()


def test_masks_and_truth_of_a_generic_tree_follow_its_frames(tmp_path):
    root = write_generic(tmp_path / "data", "clip", {2: (1,), 4: (5,)})
    write_generic(tmp_path / "whole", "clip", dict.fromkeys(range(6), (1, 5)))
    (tmp_path / "whole/Annotations").rename(root / "Truth")
    out = write_played(root, tmp_path / "long", frames=9)
    assert file_names(out / "Annotations/clip") == [
        "00002.png",
        "00004.png",
        "00006.png",
        "00008.png",
    ]
    assert len(file_names(out / "Truth/clip")) == 9
    assert np.array_equal(
        pixels(out / "Annotations/clip/00006.png"), pixels(root / "Annotations/clip/00004.png")
    )
    assert GenericDataset(out)[0].first_index == 2


def test_an_earlier_result_is_kept_and_other_folders_are_refused(tmp_path):
    root = write_davis(tmp_path / "davis", {"bear": 3})
    out = write_played(root, tmp_path / "long", frames=5)
    made = (out / "JPEGImages/480p/bear/00004.jpg").lstat().st_mtime_ns
    assert (
        write_played(root, out, frames=5) == out
        and (out / "JPEGImages/480p/bear/00004.jpg").lstat().st_mtime_ns == made
    )
    with pytest.raises(InputError, match="made with frames 5, not 6"):
        write_played(root, out, frames=6)
    with pytest.raises(InputError, match="was not made by playing videos"):
        write_played(root, root, frames=6)
    with pytest.raises(InputError, match="no sequence 'cat'; there are: bear"):
        write_played(root, tmp_path / "other", frames=6, sequences=["cat"])
    assert file_names(tmp_path) == ["davis", "long"]


def test_folders_with_similar_names_are_kept_and_a_failure_leaves_no_files(tmp_path):
    root = write_davis(tmp_path / "davis", {"bear": 3})
    (tmp_path / "long.part").mkdir()
    (tmp_path / "long.part/thesis.txt").write_text("mine")
    out = write_played(root, tmp_path / "long", frames=5)
    assert (
        tmp_path / "long.part/thesis.txt"
    ).read_text() == "mine" and out.stat().st_mode == root.stat().st_mode
    (root / "JPEGImages/480p/cow").mkdir()
    with pytest.raises(InputError, match="cow: no frames"):
        write_played(root, tmp_path / "other", frames=5)
    assert file_names(tmp_path) == ["davis", "long", "long.part"]


def test_a_video_with_a_missing_frame_is_refused(tmp_path):
    lost = (
        write_generic(tmp_path / "data", "clip", {0: (1,)}, count=8) / "JPEGImages/clip/00003.jpg"
    )
    lost.unlink()
    link = (
        lambda: lost.symlink_to(tmp_path / "nowhere.jpg"),
        "a link to .*nowhere.jpg, which is not there",
    )
    for leave, found in ((lambda: None, "frame missing between 00002.jpg and 00004.jpg"), link):
        leave()
        with pytest.raises(InputError, match=rf"clip/00003.jpg: {found}"):
            write_played(tmp_path / "data", tmp_path / "long", frames=9)
    assert file_names(tmp_path) == ["data"]


@pytest.mark.parametrize("folder", ["JPEGImages", "Annotations", "Truth"])
def test_folders_inside_the_data_set_are_refused(tmp_path, folder):
    root = write_generic(tmp_path / "data", "clip", {0: (1,)})
    (root / "Truth").mkdir()
    held = file_names(root / folder)
    for out in (root / folder / "long", root / folder / "clip", root / folder):
        with pytest.raises(
            InputError, match=f"{out}: is inside {root / folder}, where the data set's videos are"
        ):
            write_played(root, out, frames=9)
    assert file_names(root / folder) == held
    (tmp_path / "link").symlink_to(root / folder)
    with pytest.raises(InputError, match="is inside"):
        write_played(root, tmp_path / "link/long", frames=9)
    assert write_played(root, root / "long", frames=9).is_dir()


@pytest.mark.parametrize("record", ["[]", "{}", '"long"', '{"root": 1}', "{"])
def test_a_folder_with_another_record_is_refused(tmp_path, record):
    (tmp_path / "long").mkdir()
    (tmp_path / "long/played.json").write_text(record)
    with pytest.raises(InputError, match="was not made by playing videos"):
        write_played(write_davis(tmp_path / "davis", {"bear": 3}), tmp_path / "long", frames=5)


@pytest.mark.parametrize("folder", ["JPEGImages", "JPEGImages/480p"])
def test_a_data_set_without_videos_is_refused(tmp_path, folder):
    (tmp_path / "data" / folder).mkdir(parents=True)
    with pytest.raises(InputError, match=f"no videos in .*{folder}"):
        write_played(tmp_path / "data", tmp_path / "long", frames=5)
    assert file_names(tmp_path) == ["data"]


@pytest.mark.parametrize(
    "length",
    [
        {},
        {"frames": 3, "times": 2},
        {"frames": 0},
        {"times": 0},
        {"frames": -2},
        {"times": math.nan},
        {"times": math.inf},
        {"times": 1e308},
        {"times": 1e5},
    ],
)
def test_wrong_lengths_are_refused(tmp_path, length):
    with pytest.raises(InputError):
        write_played(write_davis(tmp_path / "davis", {"bear": 3}), tmp_path / "long", **length)


def test_the_script_reports_what_it_made_and_refuses_in_one_line(tmp_path):
    root = write_davis(tmp_path / "davis", {"bear": 3, "dog": 4})

    def run(*arguments: object) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, ROOT / "scripts/make_long.py", *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            check=False,
        )

    done = run("davis", "long", "--times", 2)
    assert (done.returncode, done.stdout) == (0, "long: 2 videos, 14 frames\n")
    wrong = run(tmp_path, "other", "--frames", 9)
    assert (
        wrong.returncode == 2
        and wrong.stderr.startswith("error: ")
        and wrong.stderr.count("\n") == 1
    )
    assert "no JPEGImages/480p or JPEGImages here" in wrong.stderr
    assert np.array_equal(
        pixels(tmp_path / "long/JPEGImages/480p/dog/00006.jpg"),
        pixels(root / "JPEGImages/480p/dog/00000.jpg"),
    )
