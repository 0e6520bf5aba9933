"""Unusable files are skipped, counted and named; too many damaged ones end the training."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from toy_trees import toy_frames, write_davis, write_jpg, write_png

from dataset.training.augmentation import ClipAugmentation
from dataset.training.loading import training_batches
from dataset.training.samples import MixedTrainingData
from dataset.training.skipped_files import MAX_REPORTED_MASKS, SkipLog, SkippedFile
from dataset.training.sources import SampleConfig, TrainingRoots, build_training_data
from dataset.training.video_clips import VideoClips
from dataset.training.video_layouts import find_videos
from util.errors import InputError

SIDE, HEIGHT, WIDTH = 32, 48, 64
SAMPLES = 12


@pytest.fixture
def static_root(tmp_path):
    root = tmp_path / "static"
    images, labels = toy_frames(8, seed=0)
    for index in range(8):
        write_jpg(root / f"{index}.jpg", images[index])
        write_png(root / f"{index}.png", labels[index])
    return root


def build_stills(root):
    return build_training_data(
        TrainingRoots(static=[root]),
        SampleConfig(crop_size=SIDE),
        mix={"static": 1.0},
        samples=SAMPLES,
        seed=0,
    )


def skipped_files(data):
    return [file for index in range(len(data)) for file in data[index].skipped]


def truncate(path):
    path.write_bytes(path.read_bytes()[:300])


def write_16_bit(path):
    values = np.linspace(0, 300, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)
    Image.fromarray(values.astype(np.uint16)).save(path)


def write_small_mask(path):
    write_png(path, np.ones((10, 10), np.uint8))


def write_coloured(path):
    Image.fromarray(np.full((HEIGHT, WIDTH, 3), (255, 0, 0), np.uint8)).save(path)


DAMAGE = [
    ("3.jpg", truncate, "damaged or unreadable"),
    ("3.png", truncate, "damaged or unreadable"),
    ("3.jpg", lambda path: path.write_text("no image"), "not an image"),
    ("3.jpg", lambda path: path.unlink(), "no such file"),
    ("3.png", write_small_mask, "mask is 10x10 but 3.jpg is 64x48"),
    ("3.png", write_16_bit, "more than 8 bits with labels up to 300"),
    ("3.png", write_coloured, "coloured mask"),
]


@pytest.mark.parametrize(("name", "damage", "reason"), DAMAGE)
def test_a_damaged_file_is_skipped_and_named_with_its_reason(static_root, name, damage, reason):
    data = build_stills(static_root)
    damage(static_root / name)
    items = [data[index] for index in range(SAMPLES)]
    skipped = [file for item in items for file in item.skipped]
    assert skipped
    for file in skipped:
        assert file.path == static_root / name and file.damaged and reason in file.reason
    for item in items:
        assert item.tensors["frames"].shape == (3, 3, SIDE, SIDE)
        assert item.tensors["num_objects"] >= 1
    line = str(skipped[0])
    assert "\n" not in line and line.count("3.") == (2 if "3.jpg is" in reason else 1)


def test_a_mask_without_objects_is_skipped_and_named_but_not_damaged(static_root):
    write_png(static_root / "3.png", np.zeros((HEIGHT, WIDTH), np.uint8))
    data = build_stills(static_root)
    skipped = skipped_files(data)
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
        truncate(static_root / f"{number}.jpg")
    write_png(static_root / "5.png", np.zeros((HEIGHT, WIDTH), np.uint8))
    alone = [build_stills(static_root)[index] for index in reversed(range(SAMPLES))][::-1]
    batches = list(training_batches(build_stills(static_root), 3, workers=2))
    skipped = [file for item in alone for file in item.skipped]
    assert len(skipped) >= 2
    assert [file for batch in batches for file in batch.skipped] == skipped
    for name in ("frames", "labels", "num_objects"):
        loaded = torch.cat([batch.tensors[name] for batch in batches])
        assert torch.equal(loaded, torch.stack([item.tensors[name] for item in alone]))


def test_items_that_meet_no_damage_do_not_change_when_another_file_breaks(static_root):
    before = [build_stills(static_root)[index] for index in range(SAMPLES)]
    truncate(static_root / "2.jpg")
    after = [build_stills(static_root)[index] for index in range(SAMPLES)]
    untouched = [index for index in range(SAMPLES) if not after[index].skipped]
    assert 4 < len(untouched) < SAMPLES
    for index in untouched:
        assert torch.equal(before[index].tensors["frames"], after[index].tensors["frames"])


def test_frames_of_two_sizes_in_one_video_are_damage(tmp_path):
    root = write_davis(tmp_path, {"bear": 4, "boat": 4}, "2017/train.txt")
    write_jpg(root / "JPEGImages/480p/bear/00002.jpg", np.zeros((24, 32, 3), np.uint8))
    write_png(root / "Annotations/480p/bear/00002.png", np.ones((24, 32), np.uint8))
    clips = VideoClips(find_videos(root), augmentation=ClipAugmentation(crop_size=SIDE))
    skipped = skipped_files(MixedTrainingData([(clips, 1.0)], samples=20, seed=0))
    assert skipped
    for file in skipped:
        assert "bear" in str(file.path) and "one size" in file.reason


def test_damage_below_synthetic_clips_is_skipped_too(tmp_path, static_root):
    root = write_davis(tmp_path / "davis", {"bear": 4, "boat": 4}, "2017/train.txt")
    truncate(root / "JPEGImages/480p/bear/00001.jpg")
    truncate(static_root / "0.jpg")
    data = build_training_data(
        TrainingRoots(static=[static_root], davis=[root]),
        SampleConfig(crop_size=SIDE),
        mix={"synthetic": 1.0},
        samples=30,
        seed=0,
        cache_megabytes=1,
    )
    assert {file.path.name for file in skipped_files(data)} == {"00001.jpg", "0.jpg"}
    assert data.total_files == 16 + 16


def test_a_root_with_only_damaged_images_ends_with_one_line_not_an_endless_loop(static_root):
    for path in static_root.glob("*.jpg"):
        truncate(path)
    with pytest.raises(InputError, match=r"\.jpg: damaged or unreadable") as caught:
        build_stills(static_root)[0]
    assert "\n" not in str(caught.value) and "verify_data.py" in str(caught.value)


def skipped_file(number, damaged=True):
    return SkippedFile(path=Path(f"set/{number}.png"), reason="found", damaged=damaged)


def test_each_file_is_named_once_and_counted_once():
    log = SkipLog(1000)
    empty_mask = skipped_file(2, damaged=False)
    assert log.add([skipped_file(1), skipped_file(1)]) == ["skipped set/1.png: found"]
    assert log.add([skipped_file(1), empty_mask]) == ["skipped set/2.png: found"]
    assert len(log.files) == 2 and [str(file.path) for file in log.damaged] == ["set/1.png"]


def test_more_than_one_percent_of_damaged_files_is_fatal_and_names_three():
    log = SkipLog(400)
    log.add([skipped_file(number) for number in range(4)])
    log.add([skipped_file(number, damaged=False) for number in range(100, 200)])
    log.check()
    log.add([skipped_file(4)])
    words = r"set/0\.png, set/1\.png, set/2\.png: 5 of the 400 files .* more than 1%"
    with pytest.raises(InputError, match=words):
        log.check()


def test_the_first_masks_without_objects_are_named_and_damage_always_is():
    log = SkipLog(1000)
    count = 3 * MAX_REPORTED_MASKS
    lines = log.add([skipped_file(number, damaged=False) for number in range(count)])
    assert len(lines) == MAX_REPORTED_MASKS + 1 and "not named" in lines[-1]
    assert log.add([skipped_file(999)]) == ["skipped set/999.png: found"]
    assert len(log.files) == count + 1
