"""What a training shows of itself: means over an interval, nothing twice after going on, and a full disk that does not end it."""

import errno
import json
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from util.run_record import METRICS_NAME, MetricsLog, read_metrics


def steps(log: MetricsLog, iterations: range, **keywords) -> None:
    for iteration in iterations:
        log.step(
            iteration,
            0.0,
            {"loss": torch.tensor(float(iteration), requires_grad=True), "iou": 0.5},
            learning_rate=1e-5,
            **keywords,
        )


def board(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder))
    events.Reload()
    return events


def test_a_line_gives_the_means_since_the_line_before(tmp_path, capsys):
    log = MetricsLog(tmp_path, 5, every=2)
    steps(log, range(1, 6))
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
    assert [(event.step, event.value) for event in board(tmp_path).Scalars("loss")] == [
        (2, 1.5),
        (4, 3.5),
        (5, 5.0),
    ]


def test_skipped_files_are_shown_once_there_are_some(tmp_path, capsys):
    log = MetricsLog(tmp_path, 2, every=1)
    steps(log, range(1, 2))
    steps(log, range(2, 3), skipped_files=3)
    log.close()
    first, second = capsys.readouterr().out.splitlines()
    assert "skipped" not in first and "skipped files 3" in second
    assert [line.get("skipped_files") for line in read_metrics(tmp_path / "metrics.jsonl")] == [
        None,
        3,
    ]


def test_the_device_is_read_at_the_line_alone(tmp_path):
    class Watched(torch.Tensor):
        reads = 0

        def __float__(self):
            Watched.reads += 1
            return super().__float__()

    log = MetricsLog(tmp_path, 10, every=5)
    for iteration in range(1, 6):
        assert Watched.reads == 0
        log.step(iteration, 0.0, {"loss": torch.tensor(2.0).as_subclass(Watched)})
    log.close()
    assert Watched.reads == 1 and read_metrics(tmp_path / "metrics.jsonl")[0]["loss"] == 2.0


def test_waiting_share_counts_the_training_alone(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("util.run_record.time.perf_counter", lambda: now[0])
    log = MetricsLog(tmp_path, 2, every=2)
    now[0] += 1
    log.step(1, 0.25, {"loss": 1.0})
    with log.paused():
        now[0] += 100
    now[0] += 1
    log.step(2, 0.25, {"loss": 1.0})
    log.close()
    (line,) = read_metrics(tmp_path / "metrics.jsonl")
    assert line["steps_per_second"] == 1.0 and line["waiting_share"] == 0.25


def test_going_on_drops_what_was_recorded_beyond(tmp_path):
    first = MetricsLog(tmp_path, 6, every=1)
    steps(first, range(1, 6))
    first.scalars(4, {"validation/j_and_f": 0.9})
    first.close()
    again = MetricsLog(tmp_path, 6, every=1, resumed_at=3)
    assert [line["iteration"] for line in read_metrics(tmp_path / "metrics.jsonl")] == [1, 2, 3]
    steps(again, range(4, 7))
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
    events = board(tmp_path)
    assert [event.step for event in events.Scalars("loss")] == [1, 2, 3, 4, 5, 6]
    assert [(event.step, event.value) for event in events.Scalars("validation/j_and_f")] == [
        (4, 0.5)
    ]


def test_starting_afresh_in_the_folder_of_a_run_killed_early_leaves_nothing_of_it(tmp_path):
    killed = MetricsLog(tmp_path, 6, every=1)
    steps(killed, range(1, 3))
    killed.close()
    MetricsLog(tmp_path, 6, every=1).close()
    assert read_metrics(tmp_path / "metrics.jsonl") == []


def test_a_line_cut_short_by_a_kill_is_left_out(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"iteration": 1, "loss": 2.0}\n{"iteration": 2, "lo')
    assert [line["iteration"] for line in read_metrics(path)] == [1]
    log = MetricsLog(tmp_path, 9, every=1, resumed_at=1)
    steps(log, range(2, 3))
    log.close()
    assert [json.loads(line)["iteration"] for line in path.read_text().splitlines()] == [1, 2]


def test_a_full_disk_costs_a_line_and_says_so(tmp_path, monkeypatch, capsys):
    log = MetricsLog(tmp_path, 9, every=1)
    steps(log, range(1, 2))
    real_open = Path.open

    def full(path, mode="r", *rest, **keywords):
        if "a" in mode:
            with real_open(path, mode, *rest, **keywords) as file:
                file.write('{"iterat')
            raise OSError(errno.ENOSPC, "No space left on device")
        return real_open(path, mode, *rest, **keywords)

    monkeypatch.setattr(Path, "open", full)
    steps(log, range(2, 3))
    monkeypatch.setattr(Path, "open", real_open)
    steps(log, range(3, 4))
    log.close()
    assert [line["iteration"] for line in read_metrics(tmp_path / "metrics.jsonl")] == [1, 3]
    warning = capsys.readouterr().err
    assert (
        "metrics.jsonl" in warning and "No space left" in warning and len(warning.splitlines()) == 1
    )


def test_a_line_that_cannot_be_printed_costs_that_line_alone(tmp_path, monkeypatch):
    log = MetricsLog(tmp_path, total=2, every=1)
    with monkeypatch.context() as patch:
        patch.setattr(
            "builtins.print",
            lambda *_, **__: (_ for _ in ()).throw(OSError(errno.EFBIG, "File too large")),
        )
        log.step(1, 0.0, {"loss": 1.0})
    log.step(2, 0.0, {"loss": 2.0})
    log.close()
    assert [entry["loss"] for entry in read_metrics(tmp_path / METRICS_NAME)] == [1.0, 2.0]


def test_a_full_disk_ends_what_is_written_for_tensorboard_and_nothing_else(
    tmp_path, monkeypatch, capsys
):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("torch.utils.tensorboard.SummaryWriter.add_scalar", full)
    log = MetricsLog(tmp_path, 9, every=1)
    steps(log, range(1, 3))
    log.close()
    assert [line["iteration"] for line in read_metrics(tmp_path / "metrics.jsonl")] == [1, 2]
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_pictures_and_texts_reach_tensorboard(tmp_path):
    log = MetricsLog(tmp_path, 9, every=1, resumed_at=4)
    log.image("samples", torch.zeros(3, 8, 12, dtype=torch.uint8), 5)
    log.text("configuration", "batch_size 8")
    log.close()
    events = board(tmp_path)
    (image,) = events.Images("samples")
    assert (image.step, image.width, image.height) == (5, 12, 8)
    (text,) = events.Tensors("configuration/text_summary")
    assert text.step == 4 and text.tensor_proto.string_val[0] == b"batch_size 8"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_memory_of_a_gpu_is_the_peak_since_the_line_before(tmp_path):
    log = MetricsLog(tmp_path, 2, every=1, device=torch.device("cuda"))
    torch.empty(100_000_000, dtype=torch.uint8, device="cuda")
    steps(log, range(1, 3))
    log.close()
    first, second = read_metrics(tmp_path / "metrics.jsonl")
    assert first["peak_memory_mb"] > second["peak_memory_mb"] + 90
