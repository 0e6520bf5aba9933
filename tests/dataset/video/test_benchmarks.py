"""MOSE, LVOS and VOST, as their authors lay them out."""

import shutil
from pathlib import Path

import pytest
from media_trees import check_refused, labelled
from toy_benchmarks import (
    lvos_name,
    vost_name,
    write_lvos,
    write_mose,
    write_viposeg,
    write_vost,
)

from dataset import BenchmarkDataset


@pytest.fixture
def mose(tmp_path) -> Path:
    return write_mose(tmp_path / "MOSE", {"0a1b": 3, "2c3d": 2})


@pytest.fixture
def lvos(tmp_path) -> Path:
    return write_lvos(tmp_path / "LVOS")


@pytest.fixture
def vost(tmp_path) -> Path:
    return write_vost(tmp_path / "VOST")


def test_mose_gives_the_first_frames_masks(mose):
    dataset = BenchmarkDataset(mose, "mose")
    assert (dataset.split, dataset.names) == ("valid", ("0a1b", "2c3d"))
    assert labelled(dataset[0]) == {0: [1, 2]}
    assert [frame.name for frame in dataset[0].frames()] == ["00000", "00001", "00002"]


def test_lvos_gives_an_objects_mask_where_it_first_appears_though_all_masks_are_there(lvos):
    video = BenchmarkDataset(lvos, "lvos").open("aaa")
    assert labelled(video) == {0: [1], 3: [2]}
    assert video.ignored_masks == 6  # 1 in frames 1, 3, 4, 5, and 2 in frames 4, 5
    assert [frame.name for frame in video.frames()] == [lvos_name(index) for index in range(6)]


def test_vost_gives_the_first_frames_objects_without_void_and_no_later_one(vost):
    dataset = BenchmarkDataset(vost, "vost")
    assert labelled(dataset.open("1_cut_onion")) == {0: [1, 2]}


def test_vost_is_read_at_10_frames_per_second_if_all_videos_of_the_split_have_them(vost):
    def frames_read() -> tuple[str, list[str]]:
        dataset = BenchmarkDataset(vost, "vost")
        return dataset.frames_read, [frame.name for frame in dataset[0].frames()]

    assert frames_read() == ("JPEGImages_10fps", [vost_name(index) for index in range(9)])
    shutil.rmtree(vost / "JPEGImages_10fps/1_cut_onion")
    assert frames_read() == ("JPEGImages", [vost_name(index) for index in range(0, 9, 2)])
    assert "frames of" in BenchmarkDataset(vost, "vost").notes[0]


def test_viposeg_gives_the_masks_of_objects_that_join(tmp_path):
    dataset = BenchmarkDataset(write_viposeg(tmp_path), "viposeg")
    assert labelled(dataset.open("1_abc")) == {0: [1], 2: [2]}
    assert dataset.truth_folder() == tmp_path / "valid/Annotations_gt"


def test_the_splits_own_folder_may_be_the_root(lvos):
    assert BenchmarkDataset(lvos / "val", "lvos").names == ("aaa", "bbb")


def test_truth_and_meta_are_found_where_they_are_public(lvos, mose, vost):
    dataset = BenchmarkDataset(lvos, "lvos")
    assert dataset.truth_folder() == lvos / "val/Annotations"
    assert dataset.meta_file() == lvos / "val/val_meta.json"
    assert BenchmarkDataset(vost, "vost").meta_file() is None


def without(folder: Path, name: str):
    """A copy's root without one of its files or folders."""
    path = folder / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    return folder


REFUSED = {
    "another split": (
        lambda data: BenchmarkDataset(data / "MOSE", "mose", "val"),
        "no split 'val' of MOSE; there are: valid test train",
    ),
    "a split that is not there": (
        lambda data: BenchmarkDataset(data / "LVOS", "lvos", "test"),
        "LVOS/test: no Annotations in it; --data_path is the folder of LVOS",
    ),
    "no list of the split": (
        lambda data: BenchmarkDataset(data / "VOST", "vost", "test"),
        r"test\.txt: no such list of videos; VOST has one for each split",
    ),
    "no video": (
        lambda data: BenchmarkDataset(empty(data / "LVOS/val/Annotations", data), "lvos"),
        "Annotations: no video in it",
    ),
    "no frames of a video": (
        lambda data: BenchmarkDataset(without(data / "LVOS", "val/JPEGImages/bbb"), "lvos"),
        "JPEGImages/bbb: no such folder; the copy of LVOS val is incomplete",
    ),
    "another video": (
        lambda data: BenchmarkDataset(data / "MOSE", "mose", sequences=["bear"]),
        "no sequence 'bear'; there are: 0a1b 2c3d",
    ),
    "no first mask": (
        lambda data: BenchmarkDataset(
            without(data / "VOST", f"Annotations/1_cut_onion/{vost_name(0)}.png"), "vost"
        ).open("1_cut_onion"),
        r"frame00000\.png: no such mask; VOST gives the first frame's",
    ),
    "truth that is not public": (
        lambda data: BenchmarkDataset(data / "MOSE", "mose").truth_folder(),
        "the truth of MOSE valid is not public; submit the results, or score --split train",
    ),
    "no meta file": (
        lambda data: BenchmarkDataset(
            without(data / "LVOS", "val/val_meta.json"), "lvos"
        ).meta_file(),
        r"val_meta\.json: no such file, which scores need; the authors publish it beside",
    ),
}


def empty(folder: Path, data: Path) -> Path:
    """The root of LVOS, a folder of which is emptied."""
    shutil.rmtree(folder)
    folder.mkdir()
    return data / "LVOS"


@pytest.mark.parametrize("name", REFUSED)
def test_an_incomplete_copy_is_refused(tmp_path, mose, lvos, vost, name):
    call, words = REFUSED[name]
    check_refused(lambda: call(tmp_path), words)
