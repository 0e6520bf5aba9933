"""The record of the files that samples are drawn from."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from toy_trees import write_davis

from dataset.training.record import (
    FilesRecord,
    check_same_files,
    describe_difference,
    record_files,
)
from dataset.training.sources import SampleConfig, TrainingRoots, build_training_data
from util.errors import InputError


@pytest.fixture
def roots(tmp_path) -> TrainingRoots:
    """Two videos, and still images in two folders."""
    davis = write_davis(tmp_path / "davis", {"bear": 5, "cow": 5}, "2017/train.txt")
    stills = tmp_path / "stills"
    for folder in ("a", "b"):
        (stills / folder).mkdir(parents=True)
        for name in ("x", "y"):
            image = np.full((32, 32, 3), 90, np.uint8)
            cv2.imwrite(str(stills / folder / f"{name}.jpg"), image)
            cv2.imwrite(str(stills / folder / f"{name}.png"), np.eye(32, dtype=np.uint8))
    return TrainingRoots(static=[str(stills)], davis=[str(davis)])


def record(roots: TrainingRoots, **mix: float) -> FilesRecord:
    data = build_training_data(roots, SampleConfig(crop_size=32), mix=mix, samples=1, seed=0)
    return record_files(data.file_sources)


def test_still_images_are_recorded_by_folder(roots):
    found = record(roots, static=1.0)
    assert [name for name, _ in found["static"]] == ["a", "b"]


def test_only_what_samples_are_drawn_from_is_recorded(roots):
    assert list(record(roots, static=1.0)) == ["static"]
    assert list(record(roots, video=1.0)) == ["video"]
    assert sorted(record(roots, synthetic=1.0)) == ["static", "video"]


def test_a_changed_file_is_a_difference_of_its_folder(roots):
    before = record(roots, synthetic=0.5, static=0.5)
    with Path(roots.static[0], "b/y.png").open("ab") as file:
        file.write(b"longer")
    after = record(roots, synthetic=0.5, static=0.5)
    assert describe_difference(before, after) == "static: changed b"
    assert describe_difference(before, before) is None
    missing = "static: missing a, b; video: missing bear"
    assert describe_difference(before, {}).startswith(missing)


def test_many_differences_are_counted():
    names = [[f"v{number}", "1"] for number in range(9)]
    found = describe_difference({"video": []}, {"video": names})
    assert found == "video: added v0, v1, v2 and 6 more"


def test_a_video_that_counts_twice_is_a_difference():
    names = [["bear", "1"], ["cow", "1"]]
    found = describe_difference({"video": names}, {"video": [*names, names[0]]})
    assert found == "video: added bear"


@pytest.mark.parametrize("damaged", [{"video": 5}, {"video": [["bear"]]}, {"video": [5]}, [1]])
def test_a_damaged_record_is_refused_in_one_line(damaged):
    with pytest.raises(InputError, match="the checkpoint is damaged inside"):
        check_same_files(damaged, {"video": []}, Path("000001.pth"), allow_others=True)
