"""Training on a machine where things go wrong: other data, loading processes that die or hang, lost processes, a wrong environment, too little memory."""

import multiprocessing
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from toy_trees import write_davis
from training_processes import QUICK, TRAIN, Program, assert_same, read, run_by_hand

import train
from dataset.training.loading import training_batches
from dataset.training.record import describe_difference, record_files
from dataset.training.samples import MixedTrainingData
from dataset.training.sources import SampleConfig, TrainingRoots, build_training_data
from inference.scoring import score_folder
from util.errors import InputError
from util.logging import configure_logging

STAGE_3 = (
    "--stage",
    "3",
    *QUICK[:-4],
    "-b",
    "1",
    "--save_every",
    "1",
    "--log_every",
    "1",
    "--image_every",
    "0",
)


@pytest.fixture
def run(tmp_path, monkeypatch) -> Callable[..., Path]:
    """run(*flags) trains the tiny network as runs/run, here, and returns that folder."""

    def train_here(*flags: str) -> Path:
        monkeypatch.chdir(tmp_path)
        configure_logging()  # as run_command does
        monkeypatch.setattr(sys, "argv", ["train.py", "--id", "run", *flags])
        assert train.main() == 0
        return tmp_path / "runs/run"

    return train_here


@pytest.fixture
def davis(tmp_path) -> Path:
    """Two videos for training."""
    write_davis(tmp_path / "davis", {"bear": 5, "cow": 5}, "2017/train.txt")
    return tmp_path / "davis"


# The data of a training that goes on


def leave_a_video_out(davis: Path) -> list[str]:
    return ["--davis_root", str(davis), "--exclude", "cow"]


def use_a_subset(davis: Path) -> list[str]:
    (davis / "names.txt").write_text("bear\n")
    return ["--davis_root", str(davis), "--subset", str(davis / "names.txt")]


def take_another_root(davis: Path) -> list[str]:
    write_davis(davis.parent / "other", {"bear": 5, "dog": 5}, "2017/train.txt")
    return ["--davis_root", str(davis.parent / "other")]


def add_a_root(davis: Path) -> list[str]:
    write_davis(davis.parent / "more", {"dog": 5}, "2017/train.txt")
    return ["--davis_root", str(davis), str(davis.parent / "more")]


def replace_a_mask(davis: Path) -> list[str]:
    path = davis / "Annotations/480p/cow/00002.png"
    cv2.imwrite(
        str(path), 3 * (cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) > 0).astype(np.uint8)[::-1]
    )
    with path.open("ab") as file:
        file.write(b"longer")
    return ["--davis_root", str(davis)]


def remove_a_frame(davis: Path) -> list[str]:
    for kind, ending in (("JPEGImages", "jpg"), ("Annotations", "png")):
        (davis / kind / f"480p/cow/00004.{ending}").unlink()
    return ["--davis_root", str(davis)]


def list_in_another_order(davis: Path) -> list[str]:
    (davis / "ImageSets/2017/train.txt").write_text("cow\nbear\n")
    return ["--davis_root", str(davis)]


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
def test_going_on_with_other_training_data_is_refused_by_name_and_changes_nothing(
    run, davis, change, found
):
    folder = run(*STAGE_3, "-i", "1", "--davis_root", str(davis))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    flags = change(davis)
    with pytest.raises(
        InputError,
        match=rf"000001\.pth: its training data were others \(({found})\); .*--allow_other_data",
    ):
        run(*STAGE_3, "-i", "2", "--load_model", "auto", *flags)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_other_training_data_are_gone_on_with_where_that_is_asked_for(run, davis, capsys):
    run(*STAGE_3, "-i", "1", "--davis_root", str(davis))
    flags = ("--davis_root", str(davis), "--exclude", "cow")
    folder = run(*STAGE_3, "-i", "2", "--load_model", "auto", *flags, "--allow_other_data")
    assert (
        "warning: runs/run/checkpoints/000001.pth: its training data were others (video: missing cow)"
        in capsys.readouterr().err
    )
    assert [name for name, _ in read(folder / "checkpoints/000002.pth")["files"]["video"]] == [
        "bear"
    ]
    run(*STAGE_3, "-i", "3", "--load_model", "auto", *flags)  # which are its data from then on


def test_data_that_were_moved_are_the_same(run, davis, tmp_path):
    folder = run(*STAGE_3, "-i", "2", "--davis_root", str(davis))
    whole = read(folder / "weights.pth")
    for name in ("weights.pth", "checkpoints/000002.pth"):
        (folder / name).unlink()
    shutil.copytree(davis, tmp_path / "elsewhere/trainval")  # copied: the files' times are others
    shutil.rmtree(davis)
    run(*STAGE_3, "-i", "2", "--load_model", "auto", "--davis_root", "elsewhere")
    assert_same(whole, read(folder / "weights.pth"))


def test_a_checkpoint_without_a_record_of_its_data_is_gone_on_with_and_that_is_said(
    run, davis, capsys
):
    folder = run(*STAGE_3, "-i", "1", "--davis_root", str(davis))
    content = read(folder / "checkpoints/000001.pth")
    del content["files"]
    old = davis.parent / "old.pth"
    torch.save({name: value for name, value in content.items() if "sha" not in name}, old)
    run(*STAGE_3, "-i", "2", "--load_model", str(old), "--davis_root", str(davis))
    assert "old.pth: does not record its training data" in capsys.readouterr().out


def test_still_images_are_recorded_by_folder_and_only_what_samples_are_drawn_from(tmp_path, davis):
    for folder in ("a", "b"):
        (tmp_path / "stills" / folder).mkdir(parents=True)
        for name in ("x", "y"):
            cv2.imwrite(
                str(tmp_path / "stills" / folder / f"{name}.jpg"),
                np.full((32, 32, 3), 90, np.uint8),
            )
            cv2.imwrite(
                str(tmp_path / "stills" / folder / f"{name}.png"), np.eye(32, dtype=np.uint8)
            )

    def record(**mix: float) -> dict:
        roots = TrainingRoots(static=[str(tmp_path / "stills")], davis=[str(davis)])
        return record_files(
            build_training_data(
                roots, SampleConfig(crop_size=32), mix=mix, samples=1, seed=0
            ).file_sources
        )

    assert {
        kind: [name for name, _ in entries] for kind, entries in record(static=1.0).items()
    } == {"static": ["a", "b"]}
    assert list(record(video=1.0)) == ["video"] and sorted(record(synthetic=1.0)) == [
        "static",
        "video",
    ]
    before = record(synthetic=0.5, static=0.5)
    with (tmp_path / "stills/b/y.png").open("ab") as file:
        file.write(b"longer")
    assert describe_difference(before, record(synthetic=0.5, static=0.5)) == "static: changed b"
    assert describe_difference(before, before) is None and describe_difference(
        before, {}
    ).startswith("static: missing a, b; video: missing bear")


def test_many_differences_are_counted():
    names = [[f"v{number}", "1"] for number in range(9)]
    assert (
        describe_difference({"video": []}, {"video": names}) == "video: added v0, v1, v2 and 6 more"
    )
    assert (
        describe_difference({"video": names}, {"video": [*names, names[0]]}) == "video: added v0"
    )  # counts twice from now on


# Loading processes


@pytest.fixture
def made_up_data() -> MixedTrainingData:
    return build_training_data(
        TrainingRoots(), SampleConfig(crop_size=32), mix={"synthetic": 1.0}, samples=4000, seed=0
    )


def only_worker() -> multiprocessing.process.BaseProcess:
    (worker,) = [child for child in multiprocessing.active_children() if child.daemon]
    return worker


def test_a_killed_loading_process_is_one_line_at_the_next_batch_and_nowhere_else(made_up_data):
    batches = training_batches(made_up_data, 2, workers=1)
    next(batches)
    os.kill(only_worker().pid, signal.SIGKILL)
    time.sleep(0.5)  # the signal of its death arrives here, where a step would be under way
    with pytest.raises(
        InputError,
        match=r"loading: a loading process has died \(.*\), usually for lack of memory; give fewer --num_workers",
    ):
        for _ in range(20):
            next(batches)
    assert not multiprocessing.active_children()


def test_a_hung_loading_process_is_noticed_in_the_time_that_is_set(made_up_data):
    batches = training_batches(made_up_data, 2, workers=1, patience_seconds=4)
    next(batches)
    os.kill(only_worker().pid, signal.SIGSTOP)
    start = time.monotonic()
    with pytest.raises(
        InputError,
        match=r"loading: no batch came for 4 seconds: the loading processes hang; .*--worker_patience",
    ):
        for _ in range(20):
            next(batches)
    assert time.monotonic() - start < 30
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0


def test_loading_leaves_the_handlers_of_signals_as_they_were(made_up_data):
    before, children = signal.getsignal(signal.SIGALRM), set(multiprocessing.active_children())
    batches = training_batches(made_up_data, 2, workers=1)
    next(batches)
    assert signal.getsignal(signal.SIGALRM) is not before
    batches.close()
    assert signal.getsignal(signal.SIGALRM) is before
    if sys.version_info >= (
        3,
        11,
    ):  # with Python 3.10 and torch 2.4 they live on until the program ends, which ends them
        assert set(multiprocessing.active_children()) <= children


class OutOfMemory:
    """A source of samples for which there is no memory."""

    distinct_samples = None

    def sample(self, rng: np.random.Generator, progress: float) -> None:
        raise MemoryError("std::bad_alloc")


@pytest.mark.parametrize("workers", [0, 1])
def test_too_little_memory_in_a_loading_process_is_one_line(workers):
    with pytest.raises(
        InputError,
        match="loading: too little memory; give fewer --num_workers or a smaller --cache_megabytes",
    ):
        next(
            training_batches(
                MixedTrainingData([(OutOfMemory(), 1.0)], 4, seed=0), 2, workers=workers
            )
        )


def test_what_was_trained_is_saved_where_loading_fails(run, monkeypatch, capsys, tmp_path):
    flags = ("--stage", "synthetic", *QUICK, "-i", "5", "--save_every", "100")
    draw = MixedTrainingData.__getitem__

    def failing(data: MixedTrainingData, index: int):
        if index == 6:  # of iteration 3
            raise MemoryError
        return draw(data, index)

    monkeypatch.setattr(MixedTrainingData, "__getitem__", failing)
    with pytest.raises(InputError, match="loading: too little memory"):
        run(*flags)
    assert "stopped at iteration 3; resume with --load_model auto" in capsys.readouterr().err
    monkeypatch.setattr(MixedTrainingData, "__getitem__", draw)
    parts = run(*flags, "--load_model", "auto")
    assert "resuming from runs/run/checkpoints/000003.pth" in capsys.readouterr().out
    resumed = read(parts / "weights.pth")
    shutil.rmtree(tmp_path / "runs")
    assert_same(read(run(*flags) / "weights.pth"), resumed)


def test_what_a_killed_run_left_half_written_does_not_stay(run, davis):
    folder = run(*STAGE_3, "-i", "1", "--davis_root", str(davis))
    rests = [
        folder / ".weights.pth.abcdefgh.part",
        folder / ".config.json.abcdefgh.part",
        folder / "checkpoints/.000002.pth.abcdefgh.part",
    ]
    for path in rests:
        path.write_bytes(b"half")
    run(*STAGE_3, "-i", "1", "--load_model", "auto", "--davis_root", str(davis))
    assert not any(path.exists() for path in rests)


# Several processes

ONE_PROCESS_ENDS = """
import os, train
from model.training.rollout import Rollout
from util.errors import run_command
forward = Rollout.forward
def ending(self, frames, labels, num_objects, iteration=0):
    if iteration == 1 and os.environ["RANK"] == "1":
        os._exit(9)
    return forward(self, frames, labels, num_objects, iteration)
Rollout.forward = ending
run_command(train.main)
"""


def test_a_lost_process_ends_the_others_with_one_line(tmp_path):
    command = (
        "-c",
        ONE_PROCESS_ENDS,
        "--stage",
        "synthetic",
        *QUICK,
        "-i",
        "4",
        "--id",
        "run",
        "--save_every",
        "1",
    )
    ended = run_by_hand([tmp_path, tmp_path], [command, command])
    assert [process.code for process in ended] == [2, 9]
    (line,) = ended[0].error_lines
    assert (
        line.startswith("error: process 0 of 2 has lost another one (")
        and "--load_model auto" in line
    )
    assert "Traceback" not in ended[0].errors
    assert [path.name for path in (tmp_path / "runs/run/checkpoints").iterdir()] == ["000001.pth"]


def test_a_wrong_environment_is_one_line_for_a_program(tmp_path):
    ended = Program(tmp_path, (*TRAIN, "--stage", "synthetic", "--id", "run"), WORLD_SIZE="x").end()
    assert ended.code == 2 and len(ended.error_lines) == 1 and "Traceback" not in ended.errors


# Memory


def test_too_little_memory_in_scoring_is_one_line_with_a_remedy(tmp_path, monkeypatch):
    for index in range(3):
        (tmp_path / "truth/a").mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / f"truth/a/{index:05d}.png"), np.eye(32, dtype=np.uint8))

    def failing(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("inference.scoring.measurement.boundary_accuracy", failing)
    with pytest.raises(
        InputError, match="scoring: this machine has too little memory; give fewer --workers"
    ):
        score_folder(tmp_path / "truth", tmp_path / "truth")
