"""The choice of adaptive sampling's threshold on the masks of training videos."""

import itertools
import weakref

import numpy as np
import pytest
import torch
from toy_trees import HEIGHT, WIDTH, write_davis, write_png

from inference.memory import sampling
from inference.memory.mask_difference import Regions
from scripts import choose_sampling_threshold
from util.errors import InputError


@pytest.fixture
def run(monkeypatch):
    """Runs the script with these arguments."""

    def run_script(*arguments):
        monkeypatch.setattr("sys.argv", ["choose_sampling_threshold.py", *map(str, arguments)])
        choose_sampling_threshold.main()

    return run_script


def box_moving_by_a_tenth(video):
    """Labels of a box of 10 pixels that moves by one pixel in each frame."""
    labels = torch.zeros(len(video), 60, 80, dtype=torch.uint8)
    for index in range(len(video)):
        labels[index, 20:30, index : index + 10] = 1
    return list(labels)


def test_the_threshold_is_the_smallest_that_writes_few_enough_frames(
    tmp_path, run, monkeypatch, capsys
):
    root = write_davis(tmp_path, {"bear": 30, "dog": 25}, "2017/train.txt")
    monkeypatch.setattr(choose_sampling_threshold, "read_labels", box_moving_by_a_tenth)
    run(root, "--share", 0.3, "--step", 0.02)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 15
    assert lines[-1] == "threshold 0.30: 14 of 55 frames in 2 videos are written, one in 3.9"


def test_other_settings_count_and_each_video_is_told(tmp_path, run, monkeypatch, capsys):
    root = write_davis(tmp_path, {"bear": 30, "dog": 4}, "2017/train.txt")
    monkeypatch.setattr(choose_sampling_threshold, "read_labels", box_moving_by_a_tenth)
    run(root, "--share", 0.3, "--step", 0.1, "--per_video")
    *_, bear, dog, above = capsys.readouterr().out.splitlines()
    assert "| bear | 30 | 8 | 6 |" in bear and "| dog | 4 | 1 | 1 |" in dog
    assert above == "1 of 2 videos write more than every fifth frame"

    run(root, "--share", 0.3, "--step", 0.1, "--per_video", "--set", "memory.min_gap_frames=5")
    first, *_, bear, dog, above = capsys.readouterr().out.splitlines()
    assert first == "threshold 0.10: 7 of 34 frames in 2 videos are written, one in 4.9"
    assert "| bear | 30 | 6 | 6 |" in bear and above.startswith("0 of 2 videos")

    shape = ["--set", "memory.sampling_measure=shape", "memory.max_gap_frames=10"]
    run(root, "--share", 0.3, "--step", 0.1, *shape)
    assert capsys.readouterr().out.startswith("threshold 0.10: 4 of 34 frames")  # by the gap alone


@pytest.mark.parametrize("setting", ["memory.sampling_threshold=0.3", "top_k=5", "gap=3"])
def test_settings_that_make_no_difference_are_refused(tmp_path, run, setting):
    with pytest.raises(InputError, match=rf"--set {setting.split('=')[0]}: the settings that"):
        run(tmp_path, "--set", setting)


def test_the_training_list_is_read_with_few_masks_in_memory(tmp_path, run, monkeypatch, capsys):
    """Squares of 14 pixels that move by 3: a difference of 0.21 in each frame."""
    root = write_davis(tmp_path / "davis", {"bear": 10, "dog": 10}, "2017/train.txt")
    made = []

    class WatchedRegions(Regions):
        def __init__(self, masks, object_ids):
            alive = sum(reference() is not None for reference, _ in made)
            made.append((weakref.ref(masks), alive))
            super().__init__(masks, object_ids)

    monkeypatch.setattr(sampling, "Regions", WatchedRegions)
    run(root, "--share", 0.3)
    written = {"0.20": 18, "0.25": 10, "0.30": 10, "0.35": 10, "0.40": 10, "0.45": 6}
    expected = [
        f"threshold {threshold}: {count} of 20 frames in 2 videos are written, "
        f"one in {20 / count:.1f}"
        for threshold, count in written.items()
    ]
    assert capsys.readouterr().out.splitlines()[3:] == expected
    assert max(others for _, others in made) <= 1, "the masks of a data set would not fit"


@pytest.mark.parametrize(
    ("step", "decimals"), [(0.05, 2), (1.0, 2), (0.025, 3), (0.001, 3), (0.0125, 4), (1 / 3, 6)]
)
def test_printed_thresholds_differ(step, decimals):
    assert choose_sampling_threshold.count_decimals(step) == decimals
    first = list(itertools.islice(choose_sampling_threshold.thresholds(step), 50))
    assert len({f"{threshold:.{decimals}f}" for threshold in first}) == 50


@pytest.mark.parametrize("step", ["1e-9", "0.0009", "0", "-1", "inf", "nan"])
def test_steps_that_are_no_number_or_too_small_are_refused(tmp_path, run, step):
    with pytest.raises(InputError, match=r"--step .*: it must be a number, at least 0\.001"):
        run(tmp_path, f"--step={step}")


def test_a_share_that_no_threshold_reaches_is_refused(tmp_path, run):
    root = write_davis(tmp_path, {"bear": 4, "dog": 6}, "2017/train.txt")
    with pytest.raises(InputError, match=r"--share 0\.15: .* 2 of 10 frames .* at least 0\.2000"):
        run(root, "--share", 0.15)


def test_a_training_video_without_an_object_in_its_first_frame_is_refused(tmp_path, run):
    root = write_davis(tmp_path, {"bear": 3}, "2017/train.txt")
    write_png(root / "Annotations/480p/bear/00000.png", np.zeros((HEIGHT, WIDTH), np.uint8))
    with pytest.raises(InputError, match=r"bear/00000\.png: no object in the first frame; leave"):
        run(root)
