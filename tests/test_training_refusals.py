"""Requests that train.py refuses: the flags, and the words of the line. Nothing is left of them."""

import functools
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from toy_trees import write_davis
from training_processes import train_here

from util.errors import InputError

SYNTHETIC = "--stage synthetic"
VIDEOS = "--stage 3 -i 1 --davis_root davis"
REMN = "--stage remn --davis_root davis --network tiny_remn"


@pytest.fixture
def run(tmp_path, monkeypatch) -> Callable[..., Path]:
    """run(*flags) trains the tiny network as runs/run."""
    return functools.partial(train_here, monkeypatch, tmp_path)


@pytest.fixture
def davis(tmp_path) -> Path:
    """A video, without lists, so that it could be trained on and validated on."""
    root = write_davis(tmp_path / "davis", {"bear": 6})
    shutil.rmtree(root / "ImageSets")
    return root


REQUESTS = [
    # data
    ("--stage 3", "--davis_root"),
    ("--stage 0", "--static_root"),
    (f"{SYNTHETIC} --mix films=1", "films"),
    (f"{SYNTHETIC} --mix video", "KIND=SHARE"),
    (f"{SYNTHETIC} --mix synthetic=-1", "weights"),
    (f"{SYNTHETIC} --num_workers -1", "num_workers is -1; it must be at least 0"),
    (f"{SYNTHETIC} --num_workers {2**40}", f"num_workers is {2**40}; .* below 2,147,483,648"),
    (f"{SYNTHETIC} --worker_patience 0", "worker_patience is 0; it must be at least 1"),
    (f"{VIDEOS} -b 100", "4 different samples, fewer than a batch of 100"),
    (f"{VIDEOS} --exclude boar", "boar: named in --exclude"),
    (f"{VIDEOS} --mix others=1", "'others' is not known"),
    (f"{VIDEOS} --video_root others", "NAME=DIR"),
    (f"{VIDEOS} --val_root davis", "trained on and validated on.*--exclude bear"),
    # values
    (f"{SYNTHETIC} -b 0", "batch_size is 0; it must be at least 1"),
    (f"{SYNTHETIC} --crop_size 100", "multiple of 16"),
    (f"{SYNTHETIC} --crop_size 100000", "at most 5,792"),
    (f"{SYNTHETIC} --crop_area 2 1", "crop_area is 2.0 to 1.0"),
    (f"{SYNTHETIC} --save_every 0", "save_every is 0; it must be at least 1"),
    (f"{SYNTHETIC} --keep_checkpoints -1", "keep_checkpoints is -1; it must be at least 0"),
    (f"{SYNTHETIC} --clip_gradient_norm -1", r"clip_gradient_norm is -1\.0; it must be above 0"),
    (f"{SYNTHETIC} --average_decay 3", r"average_decay is 3\.0; it must be above 0 and below 1"),
    (f"{SYNTHETIC} --gamma nan", "gamma is nan"),
    (f"{SYNTHETIC} --max_skip -3", "max_skip is -3; it must be at least 0"),
    (f"{SYNTHETIC} --seed {2**64}", f"seed is {2**64}; it must be at least 0 and below"),
    (f"{SYNTHETIC} --set dice_weight=nan", "dice_weight is nan; it must be at least 0"),
    (
        f"{SYNTHETIC} --set affinity.dropout=1",
        r"affinity\.dropout is 1\.0; it must be at least 0 and below 1",
    ),
    (
        f"{SYNTHETIC} --set bootstrap.final_fraction=0",
        r"bootstrap\.final_fraction is 0\.0; it must be above 0 and at most 1",
    ),
    (f"{SYNTHETIC} --accumulate 3", "batch size 2 over 1 process in 3 parts"),
    # flags
    (f"{SYNTHETIC} --films", "not known; the flags are"),
    (f"{SYNTHETIC} --set bootstrap.fraction=1", r"bootstrap\.final_fraction"),
    (f"{SYNTHETIC} --set learning_rate=1 --lr 1", "'learning_rate' is not known"),
    # networks
    (f"{SYNTHETIC} --load_network nowhere.pth", r"nowhere\.pth"),
    (f"{SYNTHETIC} --key_channels 0", "key_channels is 0"),
    (
        f"{SYNTHETIC} --key_channels 100000000000",
        "key_channels is 100000000000; it must be at least 1 and at most 4,096",
    ),
    (f"{SYNTHETIC} --window 1 3 3", "--window: network tiny has no refinement"),
    (f"{SYNTHETIC} --backbone_weights imagenet", "encoders of network tiny"),
    (f"{SYNTHETIC} --set system=best", "system 'best' is not known"),
    (
        f"{SYNTHETIC} --set slot_rates.enhancer=5",
        r"slot_rates\.enhancer is 5, but network tiny has no foreground reinforcing",
    ),
    # networks and samples that do not go together
    (f"{SYNTHETIC} --clip_frames 3 --frames 6", "6 frames a sample .*7 frames make two"),
    (
        f"{VIDEOS} --network tiny_remn",
        r"reduce_frames is None.*multiple of 4 \(--stage remn has it\)",
    ),
    (
        "--stage remn --davis_root davis --network tiny",
        "tiny has no redundancy reduction; reduce_frames is 4",
    ),
    (
        f"{REMN} --frames 5",
        r"5 frames a sample \(--frames\), reduce_frames 4: .* never read; 6 frames",
    ),
    (
        f"{REMN} --frames 16 --clip_frames 3",
        "foreground reinforcing goes frame by frame; clip_frames is 3",
    ),
]


@pytest.mark.parametrize(("flags", "words"), REQUESTS)
def test_a_wrong_request_is_one_clear_line_and_leaves_nothing(run, davis, tmp_path, flags, words):
    with pytest.raises(InputError, match=words) as refused:
        run(flags)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "runs").exists()


def test_a_subset_that_is_not_text_is_refused(run, davis, tmp_path):
    (tmp_path / "subset.txt").write_bytes(b"\xff\xfe\x00a")
    with pytest.raises(InputError, match=r"subset\.txt: not a text of UTF-8"):
        run(VIDEOS, "--subset subset.txt")
    assert not (tmp_path / "runs").exists()


def test_an_empty_subset_is_refused(run, davis, tmp_path):
    (tmp_path / "subset.txt").write_text("\n")
    with pytest.raises(InputError, match=r"subset\.txt: holds no names"):
        run(VIDEOS, "--subset subset.txt")


def test_validation_by_a_system_whose_modules_the_network_lacks_is_refused_at_the_start(
    run, davis, tmp_path
):
    shutil.copytree(davis, tmp_path / "held_out")
    with pytest.raises(InputError, match="validation of network tiny: no weights of") as refused:
        run(
            "--stage remn --davis_root davis --frames 6 -b 1 --set reduce_frames=none",
            "--val_root held_out",
        )
    assert "train a network that has them, or without validation" in str(refused.value)
    assert not (tmp_path / "runs/run").exists()
