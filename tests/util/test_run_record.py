"""What a run records: means over an interval, nothing twice after resuming, the commit; a full disk
does not end a training."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from util import run_record
from util.run_record import METRICS_NAME, MetricsLog, read_metrics


def record_steps(log: MetricsLog, iterations: range, **keywords) -> None:
    for iteration in iterations:
        log.step(
            iteration,
            0.0,
            {"loss": torch.tensor(float(iteration), requires_grad=True), "iou": 0.5},
            learning_rate=1e-5,
            **keywords,
        )


def board_events(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder))
    events.Reload()
    return events


def test_a_line_holds_the_means_since_the_last_line(tmp_path, capsys):
    log = MetricsLog(tmp_path, 5, log_every_iterations=2)
    record_steps(log, range(1, 6))
    log.close()
    lines = read_metrics(tmp_path / "metrics.jsonl")
    assert [(line["iteration"], line["loss"], line["iou"]) for line in lines] == [
        (2, 1.5, 0.5),
        (4, 3.5, 0.5),
        (5, 5.0, 0.5),
    ]
    assert all(
        line["learning_rate"] == 1e-5
        and line["steps_per_second"] > 0
        and line["peak_memory_mb"] > 10
        for line in lines
    )
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 3
    for part in (
        "2/5",
        "loss 1.5",
        "iou 0.5",
        "lr 1e-05",
        "steps/s",
        "waiting 0.0%",
        "memory",
        "MB",
    ):
        assert part in printed[0]
    assert "skipped" not in printed[0]
    assert [(event.step, event.value) for event in board_events(tmp_path).Scalars("loss")] == [
        (2, 1.5),
        (4, 3.5),
        (5, 5.0),
    ]


def test_skipped_files_are_shown_if_there_are_any(tmp_path, capsys):
    log = MetricsLog(tmp_path, 2, log_every_iterations=1)
    record_steps(log, range(1, 2))
    record_steps(log, range(2, 3), skipped_files=3)
    log.close()
    first, second = capsys.readouterr().out.splitlines()
    assert "skipped" not in first and "skipped files 3" in second
    assert [line.get("skipped_files") for line in read_metrics(tmp_path / "metrics.jsonl")] == [
        None,
        3,
    ]


def test_the_device_is_read_only_when_a_line_is_written(tmp_path):
    class Watched(torch.Tensor):
        reads = 0

        def __float__(self):
            Watched.reads += 1
            return super().__float__()

    log = MetricsLog(tmp_path, 10, log_every_iterations=5)
    for iteration in range(1, 6):
        assert Watched.reads == 0
        log.step(iteration, 0.0, {"loss": torch.tensor(2.0).as_subclass(Watched)})
    log.close()
    assert Watched.reads == 1 and read_metrics(tmp_path / "metrics.jsonl")[0]["loss"] == 2.0


def test_pauses_do_not_count_as_training_time(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("util.run_record.time.perf_counter", lambda: now[0])
    log = MetricsLog(tmp_path, 2, log_every_iterations=2)
    now[0] += 1
    log.step(1, 0.25, {"loss": 1.0})
    with log.paused():
        now[0] += 100
    now[0] += 1
    log.step(2, 0.25, {"loss": 1.0})
    log.close()
    (line,) = read_metrics(tmp_path / "metrics.jsonl")
    assert line["steps_per_second"] == 1.0 and line["waiting_share"] == 0.25


def test_resuming_drops_what_was_recorded_beyond(tmp_path):
    first = MetricsLog(tmp_path, 6, log_every_iterations=1)
    record_steps(first, range(1, 6))
    first.scalars(4, {"validation/j_and_f": 0.9})
    first.close()
    again = MetricsLog(tmp_path, 6, log_every_iterations=1, resumed_at=3)
    assert [line["iteration"] for line in read_metrics(tmp_path / "metrics.jsonl")] == [1, 2, 3]
    record_steps(again, range(4, 7))
    again.scalars(4, {"validation/j_and_f": 0.5})
    again.close()
    assert [line["iteration"] for line in read_metrics(tmp_path / "metrics.jsonl")] == [
        1,
        2,
        3,
        4,
        5,
        6,
        4,
    ]
    events = board_events(tmp_path)
    assert [event.step for event in events.Scalars("loss")] == [1, 2, 3, 4, 5, 6]
    assert [(event.step, event.value) for event in events.Scalars("validation/j_and_f")] == [
        (4, 0.5)
    ]


def test_starting_from_scratch_drops_all_of_an_earlier_run(tmp_path):
    killed = MetricsLog(tmp_path, 6, log_every_iterations=1)
    record_steps(killed, range(1, 3))
    killed.close()
    MetricsLog(tmp_path, 6, log_every_iterations=1).close()
    assert read_metrics(tmp_path / "metrics.jsonl") == []


def test_a_line_cut_short_by_a_kill_is_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"iteration": 1, "loss": 2.0}\n{"iteration": 2, "lo')
    assert [line["iteration"] for line in read_metrics(path)] == [1]
    log = MetricsLog(tmp_path, 9, log_every_iterations=1, resumed_at=1)
    record_steps(log, range(2, 3))
    log.close()
    assert [json.loads(line)["iteration"] for line in path.read_text().splitlines()] == [1, 2]


def test_a_line_that_a_full_disk_cannot_take_is_lost_with_a_warning(tmp_path, monkeypatch, caplog):
    log = MetricsLog(tmp_path, 9, log_every_iterations=1)
    record_steps(log, range(1, 2))
    real_open = Path.open

    def full(path, mode="r", *rest, **keywords):
        if "a" in mode:
            with real_open(path, mode, *rest, **keywords) as file:
                file.write('{"iterat')
            raise OSError(errno.ENOSPC, "No space left on device")
        return real_open(path, mode, *rest, **keywords)

    monkeypatch.setattr(Path, "open", full)
    record_steps(log, range(2, 3))
    monkeypatch.setattr(Path, "open", real_open)
    record_steps(log, range(3, 4))
    log.close()
    assert [line["iteration"] for line in read_metrics(tmp_path / "metrics.jsonl")] == [1, 3]
    (warning,) = caplog.messages
    assert "metrics.jsonl" in warning and "No space left" in warning


def test_a_line_that_cannot_be_printed_is_still_recorded(tmp_path, monkeypatch):
    log = MetricsLog(tmp_path, total_iterations=2, log_every_iterations=1)
    with monkeypatch.context() as patch:
        patch.setattr(
            "builtins.print",
            lambda *_, **__: (_ for _ in ()).throw(OSError(errno.EFBIG, "File too large")),
        )
        log.step(1, 0.0, {"loss": 1.0})
    log.step(2, 0.0, {"loss": 2.0})
    log.close()
    assert [entry["loss"] for entry in read_metrics(tmp_path / METRICS_NAME)] == [1.0, 2.0]


def test_after_a_full_disk_only_tensorboard_gets_no_more(tmp_path, monkeypatch, caplog):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("torch.utils.tensorboard.SummaryWriter.add_scalar", full)
    log = MetricsLog(tmp_path, 9, log_every_iterations=1)
    record_steps(log, range(1, 3))
    log.close()
    assert [line["iteration"] for line in read_metrics(tmp_path / "metrics.jsonl")] == [1, 2]
    assert len(caplog.messages) == 1


def test_pictures_and_texts_reach_tensorboard_events(tmp_path):
    log = MetricsLog(tmp_path, 9, log_every_iterations=1, resumed_at=4)
    log.image("samples", torch.zeros(3, 8, 12, dtype=torch.uint8), 5)
    log.text("configuration", "batch_size 8")
    log.close()
    events = board_events(tmp_path)
    (image,) = events.Images("samples")
    assert (image.step, image.width, image.height) == (5, 12, 8)
    (text,) = events.Tensors("configuration/text_summary")
    assert text.step == 4 and text.tensor_proto.string_val[0] == b"batch_size 8"


class BrokenRepository:
    """What gitpython meets in a checkout of another owner: git ends before it reads its input."""

    def __init__(self, *_):
        raise BrokenPipeError(32, "Broken pipe")


@pytest.mark.parametrize("problem", ["absent", "broken pipe", "another owner"])
def test_a_missing_or_broken_git_gives_no_commit_and_no_error(monkeypatch, problem, tmp_path):
    if problem == "absent":
        monkeypatch.setitem(sys.modules, "git", None)
    elif problem == "broken pipe":
        monkeypatch.setattr(pytest.importorskip("git"), "Repo", BrokenRepository)
    else:
        pytest.importorskip("git")
        monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
        monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
        subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
        monkeypatch.setattr(run_record, "__file__", str(tmp_path / "util/run_record.py"))
    assert [run_record.git_commit() for _ in range(3)] == [None] * 3


def test_reading_the_commit_leaves_no_process():
    pytest.importorskip("git")
    run_record.git_commit()
    children = subprocess.run(
        ["ps", "--ppid", str(os.getpid()), "-o", "args="], capture_output=True, text=True
    ).stdout
    assert "git " not in children


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_memory_is_the_peak_since_the_last_line(tmp_path):
    log = MetricsLog(tmp_path, 2, log_every_iterations=1, device=torch.device("cuda"))
    torch.empty(100_000_000, dtype=torch.uint8, device="cuda")
    record_steps(log, range(1, 3))
    log.close()
    first, second = read_metrics(tmp_path / "metrics.jsonl")
    assert first["peak_memory_mb"] > second["peak_memory_mb"] + 90
