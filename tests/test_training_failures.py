"""Trainings that fail: full disks, losses that are not finite, too little memory, damaged data."""

import functools
import os
import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from toy_trees import write_davis
from training_processes import (
    assert_same,
    logged_iterations,
    read,
    saved_iterations,
    train_here,
)

from dataset.training.samples import MixedTrainingData
from model import load_network
from model.training.rollout import Rollout
from util.errors import InputError, run_command


@pytest.fixture
def run(tmp_path, monkeypatch) -> Callable[..., Path]:
    """run(*flags) trains the tiny network as runs/run, and returns that folder."""
    return functools.partial(train_here, monkeypatch, tmp_path, "--stage synthetic")


@pytest.fixture
def small_files() -> Iterator[Callable[[int], None]]:
    """small_files(bytes) limits the size of files until the test ends, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda most_bytes: resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_on_a_full_disk_checkpoints_are_skipped_with_a_warning_and_the_old_one_is_kept(
    run, small_files, capsys
):
    folder = run("-i 1 --save_every 1")
    before = (folder / "checkpoints/000001.pth").read_bytes()
    assert (folder / "weights.pth").stat().st_size < 600_000 < len(before)
    (folder / "weights.pth").unlink()
    small_files(600_000)
    capsys.readouterr()
    run("-i 3 --save_every 1 --load_model auto")
    lines = capsys.readouterr().err.splitlines()
    second, third = (line for line in lines if line.startswith("warning: "))
    assert "checkpoint of iteration 2" in second and "checkpoint of iteration 3" in third
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["000001.pth"]
    assert (folder / "checkpoints/000001.pth").read_bytes() == before
    assert logged_iterations(folder) == [1, 2, 3]
    load_network(folder / "weights.pth")


def test_a_training_stopped_on_a_full_disk_says_that_its_last_iteration_is_lost(
    run, small_files, monkeypatch, capfd, tmp_path
):
    run("-i 1")
    forward = Rollout.forward

    def interrupted(self, *batch, iteration=0):
        if iteration == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return forward(self, *batch, iteration=iteration)

    monkeypatch.setattr(Rollout, "forward", interrupted)
    small_files(200_000)
    with pytest.raises(SystemExit) as ended:
        run("-i 9 --load_model auto")
    assert ended.value.code == 128 + signal.SIGTERM
    assert "stopped at iteration 3, without a checkpoint of it" in capfd.readouterr().err
    assert saved_iterations(tmp_path / "runs/run") == [1]


def test_without_space_for_the_weights_the_end_is_one_line_and_nothing_half_written(
    run, small_files, capsys
):
    folder = run("-i 1 --save_every 1")
    (folder / "weights.pth").unlink()
    small_files(200_000)
    with pytest.raises(SystemExit) as ended:
        run_command(lambda: run("-i 2 --save_every 1 --load_model auto") and 0)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert ended.value.code == 2 and len(lines) == 1 and "weights.pth" in lines[0]
    assert not (folder / "weights.pth").exists() and not list(folder.glob(".*.part"))


class Broken(NamedTuple):
    """A network, and the batch whose loss is not finite."""

    network: torch.nn.Module
    frames: torch.Tensor  # of the batch


@pytest.fixture(params=["nan", "inf"])
def broken_at_third(request, monkeypatch) -> list[Broken]:
    """Make the loss of the third iteration infinite or nan."""
    broken: list[Broken] = []
    forward = Rollout.forward

    def breaking(self, frames, labels, num_objects, iteration=0):
        result = forward(self, frames, labels, num_objects, iteration)
        if iteration == 2:
            broken.append(Broken(self.network, frames.clone()))
            result.loss.data.fill_(float(request.param))
        return result

    monkeypatch.setattr(Rollout, "forward", breaking)
    return broken


def test_a_loss_that_is_not_finite_ends_the_training_before_it_reaches_the_weights(
    run, broken_at_third, tmp_path, capsys
):
    with pytest.raises(SystemExit) as ended:
        run_command(lambda: run("-i 5 --save_every 1 --average_decay 0") and 0)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    folder = tmp_path / "runs/run"
    (kept,) = folder.glob("bad_batch*.pth")
    assert ended.value.code == 2 and "iteration 2" in line and kept.name in line
    ((network, frames),) = broken_at_third
    batch = read(kept)
    assert torch.equal(batch["parts"][0]["frames"], frames) and batch["iteration"] == 2
    assert {"frames", "labels", "num_objects"} <= batch["parts"][0].keys()
    assert saved_iterations(folder) == [1, 2] and not (folder / "weights.pth").exists()
    before = read(folder / "checkpoints/000002.pth")["network"]
    assert all(
        torch.equal(parameter, before[name]) for name, parameter in network.named_parameters()
    )


def test_a_huge_learning_rate_ends_the_training_with_one_line_that_names_it(run, tmp_path):
    with pytest.raises(InputError, match=r"loss.*--lr"):
        run("-i 20 --lr 1e30 --warmup_iterations 0 --clip_gradient_norm 1e30")
    assert not (tmp_path / "runs/run/weights.pth").exists()


def test_too_little_memory_for_a_batch_is_one_line(run, monkeypatch):
    def forward(*_: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: 99 bytes were asked for")

    monkeypatch.setattr("model.training.trainer.Trainer.forward", forward)
    batch = r"\(2 samples of 3 frames at 64 pixels on network tiny\)"
    with pytest.raises(InputError, match=rf"cpu has too little memory for a batch {batch}; --acc"):
        run("-i 1")


def test_a_damaged_image_met_in_a_loading_process_is_one_line(run, tmp_path):
    davis = write_davis(tmp_path / "davis", {"bear": 6}, "2017/train.txt")
    for path in (davis / "JPEGImages/480p/bear").iterdir():
        path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match="bear/0000") as refused:
        run("--stage 3 -i 1 --davis_root davis --num_workers 1")
    assert "\n" not in str(refused.value)


def test_iterations_are_saved_if_loading_fails(run, monkeypatch, capsys, tmp_path):
    flags = "-i 5 --save_every 100"
    draw = MixedTrainingData.__getitem__

    def failing(data: MixedTrainingData, index: int):
        if index == 6:  # of iteration 3
            raise MemoryError
        return draw(data, index)

    monkeypatch.setattr(MixedTrainingData, "__getitem__", failing)
    with pytest.raises(InputError, match="loading: too little memory"):
        run(flags)
    assert "stopped at iteration 3; resume with --load_model auto" in capsys.readouterr().err
    monkeypatch.setattr(MixedTrainingData, "__getitem__", draw)
    parts = run(flags, "--load_model auto")
    assert "resuming from runs/run/checkpoints/000003.pth" in capsys.readouterr().out
    resumed = read(parts / "weights.pth")
    shutil.rmtree(tmp_path / "runs")
    assert_same(read(run(flags) / "weights.pth"), resumed)
