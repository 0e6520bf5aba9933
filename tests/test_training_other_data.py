"""Resuming a training with other data than it had."""

import functools
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from toy_trees import write_davis
from training_processes import assert_same, read, train_here

from util.errors import InputError


@pytest.fixture
def run(tmp_path, monkeypatch) -> Callable[..., Path]:
    """run(*flags) trains the tiny network as runs/run, and returns that folder."""
    stage = "--stage 3 -b 1 --save_every 1"
    return functools.partial(train_here, monkeypatch, tmp_path, stage)


@pytest.fixture
def davis(tmp_path) -> Path:
    """Two videos for training."""
    return write_davis(tmp_path / "davis", {"bear": 5, "cow": 5}, "2017/train.txt")


def leave_a_video_out(davis: Path) -> str:
    return "--davis_root davis --exclude cow"


def use_a_subset(davis: Path) -> str:
    (davis / "names.txt").write_text("bear\n")
    return "--davis_root davis --subset davis/names.txt"


def take_another_root(davis: Path) -> str:
    write_davis(davis.parent / "other", {"bear": 5, "dog": 5}, "2017/train.txt")
    return "--davis_root other"


def add_a_root(davis: Path) -> str:
    write_davis(davis.parent / "more", {"dog": 5}, "2017/train.txt")
    return "--davis_root davis more"


def replace_a_mask(davis: Path) -> str:
    path = davis / "Annotations/480p/cow/00002.png"
    mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) > 0
    cv2.imwrite(str(path), 3 * mask.astype(np.uint8)[::-1])
    with path.open("ab") as file:
        file.write(b"longer")
    return "--davis_root davis"


def remove_a_frame(davis: Path) -> str:
    for kind, ending in (("JPEGImages", "jpg"), ("Annotations", "png")):
        (davis / kind / f"480p/cow/00004.{ending}").unlink()
    return "--davis_root davis"


def list_in_another_order(davis: Path) -> str:
    (davis / "ImageSets/2017/train.txt").write_text("cow\nbear\n")
    return "--davis_root davis"


CHANGES = [
    (leave_a_video_out, "video: missing cow"),
    (use_a_subset, "video: missing cow"),
    (
        take_another_root,
        "video: changed bear, missing cow, added dog|video: missing cow, added dog",
    ),
    (add_a_root, "video: added dog"),
    (replace_a_mask, "video: changed cow"),
    (remove_a_frame, "video: changed cow"),
    (list_in_another_order, "video: another order"),
]


@pytest.mark.parametrize(
    ("change", "found"), CHANGES, ids=lambda value: getattr(value, "__name__", "")
)
def test_resuming_with_other_training_data_is_refused_and_changes_nothing(
    run, davis, change, found
):
    folder = run("-i 1 --davis_root davis")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    flags = change(davis)
    words = rf"000001\.pth: its training data were others \(({found})\); .*--allow_other_data"
    with pytest.raises(InputError, match=words):
        run("-i 2 --load_model auto", flags)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_allow_other_data_resumes_with_them_and_warns(run, davis, capsys):
    run("-i 1 --davis_root davis")
    flags = "--davis_root davis --exclude cow"
    folder = run("-i 2 --load_model auto --allow_other_data", flags)
    warning = "000001.pth: its training data were others (video: missing cow)"
    assert f"warning: runs/run/checkpoints/{warning}" in capsys.readouterr().err
    recorded = read(folder / "checkpoints/000002.pth")["files"]["video"]
    assert [name for name, _ in recorded] == ["bear"]
    run("-i 3 --load_model auto", flags)  # these are its data from then on


def test_data_may_be_moved(run, davis, tmp_path):
    folder = run("-i 2 --davis_root davis")
    whole = read(folder / "weights.pth")
    for name in ("weights.pth", "checkpoints/000002.pth"):
        (folder / name).unlink()
    shutil.copytree(davis, tmp_path / "elsewhere/trainval")  # changes the files' times
    shutil.rmtree(davis)
    run("-i 2 --load_model auto --davis_root elsewhere")
    assert_same(whole, read(folder / "weights.pth"))


def test_a_checkpoint_without_a_record_of_its_data_is_resumed_and_reported(run, davis, capsys):
    folder = run("-i 1 --davis_root davis")
    content = read(folder / "checkpoints/000001.pth")
    del content["files"]
    old = davis.parent / "old.pth"
    torch.save({name: value for name, value in content.items() if "sha" not in name}, old)
    run(f"-i 2 --load_model {old} --davis_root davis")
    assert "old.pth: does not record its training data" in capsys.readouterr().out
