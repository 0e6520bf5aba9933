"""A damaged file met in training is skipped, counted and named; too many are not. Small data sets are made on the fly."""

import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from repository import ROOT
from toy_trees import toy_frames, write_davis, write_jpg, write_png

import dataset.training.cache
from dataset.training.augmentation import ClipAugmentation, StaticAugmentation
from dataset.training.samples import MixedTrainingData, training_batches
from dataset.training.skipped_files import MAX_NAMED_MASKS, SkipLog, SkippedFile
from dataset.training.sources import SampleConfig, TrainingRoots, build_training_data
from dataset.training.stills import StaticDataset
from dataset.training.video_clips import VideoClipDataset, find_videos
from util.errors import InputError

SIDE = 32


@pytest.fixture
def static_root(tmp_path):
    root = tmp_path / "static"
    images, labels = toy_frames(8, seed=0)
    for index in range(8):
        write_jpg(root / f"{index}.jpg", images[index])
        write_png(root / f"{index}.png", labels[index])
    return root


def stills(root, samples=12, seed=0):
    return build_training_data(
        TrainingRoots(static=[root]),
        SampleConfig(crop_size=SIDE),
        mix={"static": 1.0},
        samples=samples,
        seed=seed,
    )


def cut_short(path):
    path.write_bytes(path.read_bytes()[:300])


def write_16_bit(path, highest):
    Image.fromarray(np.linspace(0, highest, 48 * 64).reshape(48, 64).astype(np.uint16)).save(path)


def write_small_mask(path):
    write_png(path, np.ones((10, 10), np.uint8))


def write_coloured(path):
    Image.fromarray(np.full((48, 64, 3), (255, 0, 0), np.uint8)).save(path)


DAMAGE = [
    ("3.jpg", cut_short, "damaged or unreadable"),
    ("3.png", cut_short, "damaged or unreadable"),
    ("3.jpg", lambda path: path.write_text("no image"), "not an image"),
    ("3.jpg", lambda path: path.unlink(), "no such file"),
    ("3.png", write_small_mask, "mask is 10x10 but 3.jpg is 64x48"),
    ("3.png", lambda path: write_16_bit(path, 300), "more than 8 bits with labels up to 300"),
    ("3.png", write_coloured, "coloured mask"),
]


@pytest.mark.parametrize(("name", "damage", "reason"), DAMAGE)
def test_a_damaged_file_is_passed_over_and_named_with_its_reason(static_root, name, damage, reason):
    data = stills(static_root)
    damage(static_root / name)
    items = [data[index] for index in range(12)]
    skipped = [file for item in items for file in item.skipped]
    assert skipped and all(
        file.path == static_root / name and file.damaged and reason in file.reason
        for file in skipped
    )
    assert all(
        item.tensors["frames"].shape == (3, 3, SIDE, SIDE) and item.tensors["num_objects"] >= 1
        for item in items
    )
    assert "\n" not in str(skipped[0]) and str(skipped[0]).count("3.") == (
        2 if "3.jpg is" in reason else 1
    )


def test_a_mask_without_objects_is_passed_over_and_named_but_is_no_damage(static_root):
    write_png(static_root / "3.png", np.zeros((48, 64), np.uint8))
    data = stills(static_root)
    skipped = [file for index in range(12) for file in data[index].skipped]
    assert {(file.path, file.reason, file.damaged) for file in skipped} == {
        (static_root / "3.png", "mask without objects", False)
    }
    log = SkipLog(data.total_files)
    log.add(skipped)
    log.check()


def test_items_that_met_damage_are_the_same_in_every_order_and_with_any_number_of_workers(
    static_root,
):
    for number in (0, 2, 7):
        cut_short(static_root / f"{number}.jpg")
    write_png(static_root / "5.png", np.zeros((48, 64), np.uint8))
    alone = [stills(static_root)[index] for index in reversed(range(12))][::-1]
    batches = list(training_batches(stills(static_root), 3, workers=2))
    assert sum(len(item.skipped) for item in alone) >= 2
    assert [file for batch in batches for file in batch.skipped] == [
        file for item in alone for file in item.skipped
    ]
    for name in ("frames", "labels", "num_objects"):
        assert torch.equal(
            torch.cat([batch.tensors[name] for batch in batches]),
            torch.stack([item.tensors[name] for item in alone]),
        )


def test_items_that_meet_no_damage_do_not_change_when_another_file_breaks(static_root):
    before = [stills(static_root)[index] for index in range(12)]
    cut_short(static_root / "2.jpg")
    after = [stills(static_root)[index] for index in range(12)]
    untouched = [index for index in range(12) if not after[index].skipped]
    assert 4 < len(untouched) < 12
    assert all(
        torch.equal(before[index].tensors["frames"], after[index].tensors["frames"])
        for index in untouched
    )


def test_frames_of_two_sizes_in_one_video_are_damage(tmp_path):
    root = write_davis(tmp_path, {"bear": 4, "boat": 4}, "2017/train.txt")
    write_jpg(root / "JPEGImages/480p/bear/00002.jpg", np.zeros((24, 32, 3), np.uint8))
    write_png(root / "Annotations/480p/bear/00002.png", np.ones((24, 32), np.uint8))
    data = MixedTrainingData(
        [(VideoClipDataset(find_videos(root), augmentation=ClipAugmentation(crop_size=SIDE)), 1.0)],
        samples=20,
        seed=0,
    )
    skipped = [file for index in range(20) for file in data[index].skipped]
    assert skipped and all(
        "bear" in str(file.path) and "one size" in file.reason for file in skipped
    )


def test_damage_under_made_up_clips_is_passed_over_too(tmp_path, static_root):
    root = write_davis(tmp_path / "davis", {"bear": 4, "boat": 4}, "2017/train.txt")
    cut_short(root / "JPEGImages/480p/bear/00001.jpg")
    cut_short(static_root / "0.jpg")
    data = build_training_data(
        TrainingRoots(static=[static_root], davis=[root]),
        SampleConfig(crop_size=SIDE),
        mix={"synthetic": 1.0},
        samples=30,
        seed=0,
        cache_megabytes=1,
    )
    assert {file.path.name for index in range(30) for file in data[index].skipped} == {
        "00001.jpg",
        "0.jpg",
    }
    assert data.total_files == 16 + 16


def test_a_root_of_nothing_but_damage_ends_with_one_line_not_an_endless_loop(static_root):
    for path in static_root.glob("*.jpg"):
        cut_short(path)
    with pytest.raises(InputError, match=r"\.jpg: damaged or unreadable") as caught:
        stills(static_root)[0]
    assert "\n" not in str(caught.value) and "verify_data.py" in str(caught.value)


def skipped_file(number, damaged=True):
    return SkippedFile(path=Path(f"set/{number}.png"), reason="found", damaged=damaged)


def test_each_file_is_named_once_and_counted_once():
    log = SkipLog(1000)
    assert log.add([skipped_file(1), skipped_file(1)]) == ["skipped set/1.png: found"]
    assert log.add([skipped_file(1), skipped_file(2, damaged=False)]) == [
        "skipped set/2.png: found"
    ]
    assert len(log.files) == 2 and [str(file.path) for file in log.damaged] == ["set/1.png"]


def test_more_than_one_percent_of_damaged_files_is_fatal_and_names_three():
    log = SkipLog(400)
    log.add(
        [skipped_file(number) for number in range(4)]
        + [skipped_file(number, damaged=False) for number in range(100, 200)]
    )
    log.check()
    log.add([skipped_file(4)])
    with pytest.raises(
        InputError, match=r"set/0\.png, set/1\.png, set/2\.png: 5 of the 400 files .* more than 1%"
    ):
        log.check()


def test_of_many_masks_without_objects_the_first_are_named_and_damage_always_is():
    log = SkipLog(1000)
    lines = log.add([skipped_file(number, damaged=False) for number in range(3 * MAX_NAMED_MASKS)])
    assert len(lines) == MAX_NAMED_MASKS + 1 and "not named" in lines[-1]
    assert log.add([skipped_file(999)]) == ["skipped set/999.png: found"]
    assert len(log.files) == 3 * MAX_NAMED_MASKS + 1


def test_batches_are_shared_among_processes_and_parts_without_changing_what_is_in_them(
    static_root, monkeypatch
):
    whole = [
        batch.tensors["frames"]
        for batch in training_batches(stills(static_root, samples=16), 8, workers=0)
    ]
    monkeypatch.setenv("WORLD_SIZE", "2")
    for iteration in (0, 1):
        parts = []
        for rank in (0, 1):
            monkeypatch.setenv("RANK", str(rank))
            batches = list(
                training_batches(
                    stills(static_root, samples=16), 8, iteration, workers=0, accumulate=2
                )
            )
            assert len(batches) == 2 * (2 - iteration)
            parts += [batch.tensors["frames"] for batch in batches[:2]]
        assert torch.equal(torch.cat(parts), whole[iteration])


def test_a_batch_that_does_not_divide_is_refused(static_root):
    with pytest.raises(InputError, match="batch size 4: 1 process x 3"):
        training_batches(stills(static_root), 4, accumulate=3)


def test_distinct_samples_are_stills_and_first_frames_and_without_end_where_made_up(
    tmp_path, static_root
):
    root = write_davis(tmp_path / "davis", {"bear": 4, "boat": 6}, "2017/train.txt")
    roots, config = TrainingRoots(static=[static_root], davis=[root]), SampleConfig(crop_size=SIDE)
    counts = [
        build_training_data(roots, config, mix=mix, samples=4, seed=0).distinct_samples
        for mix in (
            {"static": 1.0},
            {"video": 1.0},
            {"static": 1.0, "video": 1.0},
            {"static": 1.0, "video": 0.0},
            {"static": 1.0, "synthetic": 1.0},
        )
    ]
    assert counts == [8, 2 + 4, 8 + 6, 8, None]


def test_a_worker_decodes_a_file_once_while_its_cache_has_room(tmp_path, monkeypatch):
    """The same worker serves the whole training, and clips take their frames from its cache."""
    root, log = (
        write_davis(tmp_path / "davis", {"bear": 4}, "2017/train.txt"),
        tmp_path / "decoded.txt",
    )
    read_image = dataset.image_cache.read_image

    def read_and_tell(path):
        with log.open("a") as file:
            file.write(f"{os.getpid()} {path.name}\n")
        return read_image(path)

    monkeypatch.setattr(dataset.image_cache, "read_image", read_and_tell)
    data = build_training_data(
        TrainingRoots(davis=[root]),
        SampleConfig(crop_size=SIDE),
        mix={"video": 1.0},
        samples=40,
        seed=0,
    )
    assert len(list(training_batches(data, 4, workers=1))) == 10
    decoded = log.read_text().split("\n")[:-1]
    assert sorted(line.split()[1] for line in decoded) == [
        "00000.jpg",
        "00001.jpg",
        "00002.jpg",
        "00003.jpg",
    ]
    assert {line.split()[0] for line in decoded} != {str(os.getpid())}


def test_workers_outlive_the_signals_a_scheduler_sends_to_all(static_root):
    batches = iter(training_batches(stills(static_root, samples=400), 2, workers=1))
    first = next(batches)
    (worker,) = [child for child in multiprocessing.active_children() if child.daemon]
    for number in (signal.SIGTERM, signal.SIGINT):
        os.kill(worker.pid, number)
    assert sum(1 for _ in batches) == 199 and first.tensors["frames"].shape[0] == 2


CRASH = """
import sys
from dataset.training.sources import SampleConfig, TrainingRoots, build_training_data
from dataset.training.samples import training_batches
data = build_training_data(TrainingRoots(), SampleConfig(crop_size=32), mix={"synthetic": 1.0}, samples=400, seed=0)
batches = iter(training_batches(data, 2, workers=1))
next(batches)
raise RuntimeError("a defect")
"""


def test_a_crash_of_the_main_process_does_not_wait_for_workers_that_ignore_signals():
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", CRASH], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1 and done.stderr.rstrip().endswith("RuntimeError: a defect")


def test_a_still_dataset_by_itself_raises_for_a_damaged_file(static_root):
    for path in static_root.glob("*.png"):
        cut_short(path)
    with pytest.raises(InputError, match="damaged or unreadable"):
        StaticDataset([static_root], augmentation=StaticAugmentation(crop_size=SIDE)).sample(
            np.random.default_rng(0)
        )
