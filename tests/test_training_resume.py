"""Resuming a training: after signals and kills, from damaged checkpoints, bit by bit the same."""

import functools
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from training_processes import (
    QUICK,
    TRAIN,
    Ended,
    Program,
    Stop,
    assert_same,
    logged_iterations,
    read,
    saved_iterations,
    train_here,
    training_state,
)

from model.training.run import locked_run
from util.errors import InputError
from util.run_record import read_metrics

ITERATIONS = 40  # a signal sent at a line of metrics arrives long before the end
SYNTHETIC = ("--stage", "synthetic", *QUICK)


class StoppedRun(NamedTuple):
    """Two runs with the same settings: one uninterrupted, one stopped and resumed three times."""

    whole: Path
    parts: Path
    sigterm: Stop
    sigint: Stop
    sigkill: Stop
    last: Ended


@pytest.fixture(scope="module")
def stopped_run(tmp_path_factory) -> StoppedRun:
    folder = tmp_path_factory.mktemp("one_process")
    flags = (*TRAIN, *SYNTHETIC, "--num_workers", "1", "-i", str(ITERATIONS), "--save_every", "2")
    assert Program(folder, (*flags, "--id", "whole")).end().code == 0
    flags = (*flags, "--id", "parts", "--load_model", "auto")

    def stopped(number: signal.Signals, iteration: int) -> Stop:
        program = Program(folder, flags)
        program.wait_for_line(f"{iteration}/{ITERATIONS} ")
        program.send_to_group(number)
        return Stop.of(program.end(), folder / "runs/parts")

    stops = [stopped(signal.SIGTERM, 3), stopped(signal.SIGINT, 13), stopped(signal.SIGKILL, 24)]
    return StoppedRun(
        folder / "runs/whole", folder / "runs/parts", *stops, Program(folder, flags).end()
    )


def test_a_stopped_training_ends_with_the_code_of_its_signal(stopped_run):
    assert stopped_run.sigterm.ended.code == 128 + signal.SIGTERM == 143
    assert stopped_run.sigint.ended.code == 128 + signal.SIGINT == 130
    assert stopped_run.sigkill.ended.code == -signal.SIGKILL
    assert stopped_run.last.code == 0, stopped_run.last.errors


@pytest.mark.parametrize("name", ["sigterm", "sigint"])
def test_a_stopped_training_saves_its_last_iteration_and_says_how_to_resume(stopped_run, name):
    stop = getattr(stopped_run, name)
    assert stop.iteration in stop.checkpoints and not stop.finished
    assert "Traceback" not in stop.ended.errors and stop.ended.error_lines == []


def test_a_training_resumes_where_it_stopped(stopped_run):
    assert "starting from scratch" in stopped_run.sigterm.ended.output
    assert (
        f"resuming from runs/parts/checkpoints/{stopped_run.sigterm.iteration:06d}.pth"
        in stopped_run.sigint.ended.output
    )
    assert (
        f"resuming from runs/parts/checkpoints/{stopped_run.sigint.iteration:06d}.pth"
        in stopped_run.sigkill.ended.output
    )
    assert (
        not stopped_run.sigkill.finished and 22 <= max(stopped_run.sigkill.checkpoints) < ITERATIONS
    )
    assert (
        f"resuming from runs/parts/checkpoints/{max(stopped_run.sigkill.checkpoints):06d}.pth"
        in stopped_run.last.output
    )


def test_a_training_stopped_anywhere_gives_the_same_weights_bit_for_bit(stopped_run):
    assert_same(read(stopped_run.whole / "weights.pth"), read(stopped_run.parts / "weights.pth"))


def test_a_training_stopped_anywhere_gives_the_same_last_checkpoint_bit_for_bit(stopped_run):
    last = f"checkpoints/{ITERATIONS:06d}.pth"
    whole, parts = (training_state(run / last) for run in (stopped_run.whole, stopped_run.parts))
    assert {
        "network",
        "average",
        "optimizer",
        "scheduler",
        "scaler",
        "iteration",
        "random_states",
    } <= whole.keys()
    assert whole["iteration"] == ITERATIONS
    assert_same(whole, parts)


def test_metrics_of_a_stopped_training_are_those_of_an_uninterrupted_one(stopped_run):
    whole, parts = (
        read_metrics(run / "metrics.jsonl") for run in (stopped_run.whole, stopped_run.parts)
    )
    assert [entry["iteration"] for entry in parts] == list(range(1, ITERATIONS + 1))
    for name in ("iteration", "loss", "iou", "learning_rate"):
        assert [entry[name] for entry in whole] == [entry[name] for entry in parts]


def test_both_runs_keep_the_newest_checkpoints_and_nothing_half_written(stopped_run):
    for run in (stopped_run.whole, stopped_run.parts):
        names = sorted(path.name for path in (run / "checkpoints").iterdir())
        assert names == [
            f"{iteration:06d}.pth" for iteration in (ITERATIONS - 4, ITERATIONS - 2, ITERATIONS)
        ]


# Checkpoints


@pytest.fixture
def run(tmp_path, monkeypatch) -> Callable[..., Path]:
    """run(flags) trains the tiny network as runs/run, and returns that folder."""
    return functools.partial(train_here, monkeypatch, tmp_path, "--stage synthetic")


def test_a_run_is_locked_and_its_id_stays_below_runs(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with (
        locked_run("run"),
        pytest.raises(InputError, match=r"runs/run: another run .*choose another --id"),
        locked_run("run"),
    ):
        pass
    outside = ("../victim", "..", "", "/tmp/victim", "a/../../victim")
    for name in (*outside, ".hidden", os.fsdecode(b"a\xff")):
        with pytest.raises(InputError, match="--id"), locked_run(name):
            pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kept", [1, 2, 0])
def test_the_newest_checkpoints_are_kept(run, kept):
    folder = run(f"-i 4 --save_every 1 --keep_checkpoints {kept}")
    assert saved_iterations(folder) == [1, 2, 3, 4][-kept:]


def zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)


def zero_a_page(path: Path) -> None:
    """As after a power cut."""
    content = path.read_bytes()
    path.write_bytes(content[:8192] + bytes(4096) + content[12288:])


@pytest.mark.parametrize("damage", [truncate, zero, empty, flip_a_bit, zero_a_page])
def test_a_damaged_checkpoint_is_skipped_for_the_one_before(run, capsys, damage):
    flags = "-i 3 --save_every 1"
    folder = run(flags)
    expected = read(folder / "weights.pth")
    damage(folder / "checkpoints/000003.pth")
    (folder / "weights.pth").unlink()
    capsys.readouterr()
    run(flags, "--load_model auto")
    printed = capsys.readouterr()
    (warning,) = [line for line in printed.err.splitlines() if line.startswith("warning: ")]
    assert "checkpoints/000003.pth" in warning and "skipped" in warning
    assert "resuming from runs/run/checkpoints/000002.pth" in printed.out
    assert_same(expected, read(folder / "weights.pth"))
    assert training_state(folder / "checkpoints/000003.pth")["iteration"] == 3


def test_with_damaged_checkpoints_only_training_starts_from_scratch_and_says_so(run, capsys):
    flags = "-i 2 --save_every 1"
    folder = run(flags)
    expected = read(folder / "weights.pth")
    for path in (folder / "checkpoints").iterdir():
        truncate(path)
    capsys.readouterr()
    run(flags, "--load_model auto")
    printed = capsys.readouterr()
    assert printed.err.count("skipped") == 2 and "starting from scratch" in printed.out
    assert_same(expected, read(folder / "weights.pth"))
    assert logged_iterations(folder) == [1, 2]


def test_a_damaged_checkpoint_does_not_displace_undamaged_ones(run):
    """A damaged file of a later iteration must not count as the newest of those kept."""
    folder = run("-i 2 --save_every 2")
    (folder / "checkpoints/000009.pth").write_bytes(b"")
    (folder / "checkpoints/000002.pth").unlink()
    run("-i 2 --save_every 2 --keep_checkpoints 1 --load_model auto")
    assert training_state(folder / "checkpoints/000002.pth")["iteration"] == 2


def test_half_written_files_of_a_killed_run_are_removed(run):
    folder = run("-i 1 --save_every 1")
    rests = [
        folder / ".weights.pth.abcdefgh.part",
        folder / ".config.json.abcdefgh.part",
        folder / "checkpoints/.000002.pth.abcdefgh.part",
    ]
    for path in rests:
        path.write_bytes((folder / "checkpoints/000001.pth").read_bytes()[:5000])
    run("-i 2 --save_every 1 --load_model auto")
    assert not any(path.exists() for path in rests)
    assert saved_iterations(folder) == [1, 2]


def test_load_model_auto_starts_from_scratch_without_a_checkpoint_and_says_so(run, capsys):
    run("-i 1 --load_model auto")
    assert "starting from scratch" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ("--network stcn_small", "network"),
        ("--similarity cosine", "similarity"),
        ("--key_channels 16", "key_channels"),
        ("--lr 0.5", "learning_rate"),
        ("--seed 3", "seed"),
        ("--stage 3 --mix synthetic=1", "stage"),
    ],
)
def test_resuming_with_other_settings_is_refused_by_name_and_changes_nothing(run, flags, named):
    folder = run("-i 1")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=rf"made with .*\b{named}\b"):
        run("-i 1 --load_model auto", flags)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
