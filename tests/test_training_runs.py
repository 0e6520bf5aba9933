"""Training as a lab runs it: stopped by schedulers and killed anywhere, on several processes and machines, on disks that fill up and with losses that explode."""

import json
import os
import re
import resource
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import pytest
import torch
from toy_trees import write_davis
from training_processes import (
    QUICK,
    TRAIN,
    Ended,
    Program,
    assert_same,
    free_port,
    launcher,
    read,
    run_by_hand,
    training_state,
)

import train
from dataset.training.synthetic import make_clip
from model import build_network, load_network, save_weights
from model.checkpoint import recognise_preset
from model.config import PRESETS, with_window
from model.training.rollout import Rollout
from model.training.run import locked_run
from util.errors import InputError, run_command
from util.logging import configure_logging
from util.run_record import read_metrics

ITERATIONS = 40  # so many that a signal sent at a line of metrics arrives long before the end
PAIR_ITERATIONS = 24
SYNTHETIC = ("--stage", "synthetic", *QUICK)
STOPPED = re.compile(r"^stopped at iteration (\d+); resume with --load_model auto$", re.MULTILINE)


def checkpoints(run: Path) -> list[int]:
    """The iterations of which a run has checkpoints."""
    return sorted(int(path.stem) for path in (run / "checkpoints").glob("*.pth"))


def iterations(run: Path) -> list[int]:
    return [entry["iteration"] for entry in read_metrics(run / "metrics.jsonl")]


# One process, stopped


class Stop(NamedTuple):
    """A run as a signal left it."""

    ended: Ended
    checkpoints: list[int]
    finished: bool  # it has its weights

    @property
    def iteration(self) -> int:
        """The one it says it stopped at."""
        (iteration,) = STOPPED.findall(self.ended.errors)
        return int(iteration)


class StoppedRun(NamedTuple):
    """Two runs of the same settings: one uninterrupted, one stopped three times, each time gone on with."""

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
        return Stop(
            program.end(),
            checkpoints(folder / "runs/parts"),
            (folder / "runs/parts/weights.pth").exists(),
        )

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
def test_a_stopped_training_saves_its_last_iteration_and_says_how_to_go_on(stopped_run, name):
    stop = getattr(stopped_run, name)
    assert stop.iteration in stop.checkpoints and not stop.finished
    assert "Traceback" not in stop.ended.errors and stop.ended.error_lines == []


def test_a_training_goes_on_where_it_stopped(stopped_run):
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


def test_metrics_of_a_stopped_training_hold_every_iteration_once_as_if_uninterrupted(stopped_run):
    whole, parts = (
        read_metrics(run / "metrics.jsonl") for run in (stopped_run.whole, stopped_run.parts)
    )
    assert [entry["iteration"] for entry in parts] == list(range(1, ITERATIONS + 1))
    for name in ("iteration", "loss", "iou", "learning_rate"):
        assert [entry[name] for entry in whole] == [entry[name] for entry in parts]


def test_the_newest_checkpoints_are_kept_of_both_and_nothing_half_written(stopped_run):
    for run in (stopped_run.whole, stopped_run.parts):
        names = sorted(path.name for path in (run / "checkpoints").iterdir())
        assert names == [
            f"{iteration:06d}.pth" for iteration in (ITERATIONS - 4, ITERATIONS - 2, ITERATIONS)
        ]


def test_two_trainings_of_one_id_do_not_mix_and_ids_stay_below_runs(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with (
        locked_run("run"),
        pytest.raises(
            InputError,
            match=r"runs/run: another run \(process \d+ on .*\) is writing here; .* choose another --id",
        ),
        locked_run("run"),
    ):
        pass
    for name in (
        "../victim",
        "..",
        "",
        "/tmp/victim",
        "a/../../victim",
        ".hidden",
        os.fsdecode(b"a\xff"),
    ):
        with pytest.raises(InputError, match="--id"), locked_run(name):
            pass
    assert list(tmp_path.iterdir()) == []


# Two processes


class PairOfRuns(NamedTuple):
    """Two runs of the same settings by two processes: one on two machines (of which this one plays both), one on one machine, killed and stopped."""

    nodes: Path
    parts: Path
    node_codes: list[int]
    killed: list[int]  # checkpoints after SIGKILL
    stopped: Stop
    last: Ended


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> PairOfRuns:
    folder = tmp_path_factory.mktemp("two_processes")
    flags = (
        *TRAIN,
        *SYNTHETIC,
        "-i",
        str(PAIR_ITERATIONS),
        "--save_every",
        "2",
        "--keep_checkpoints",
        "0",
    )
    port = free_port()
    node = (
        "-m",
        "torch.distributed.run",
        "--nnodes=2",
        "--nproc_per_node=1",
        "--master_addr=127.0.0.1",
        f"--master_port={port}",
    )
    nodes = [
        Program(folder, (*node, f"--node_rank={number}", *flags, "--id", "nodes"))
        for number in (0, 1)
    ]
    node_codes = [program.end().code for program in nodes]
    flags = (*flags, "--id", "parts", "--load_model", "auto")
    parts = folder / "runs/parts"

    program = Program(folder, (*launcher(2), *flags))
    program.wait_for_line(f"4/{PAIR_ITERATIONS} ")
    program.kill_all()
    program.end()
    killed = checkpoints(parts)

    program = Program(folder, (*launcher(2), *flags))
    program.wait_for_line(f"9/{PAIR_ITERATIONS} ")
    program.send(signal.SIGTERM)
    stopped = Stop(program.end(), checkpoints(parts), (parts / "weights.pth").exists())
    return PairOfRuns(
        folder / "runs/nodes",
        parts,
        node_codes,
        killed,
        stopped,
        Program(folder, (*launcher(2), *flags)).end(),
    )


def test_two_machines_of_one_process_train_as_one_machine_of_two(pair):
    assert pair.node_codes == [0, 0]
    assert_same(
        training_state(pair.nodes / "checkpoints/000002.pth"),
        training_state(pair.parts / "checkpoints/000002.pth"),
    )


def test_sigterm_to_the_launcher_leaves_a_checkpoint_of_the_last_iteration(pair):
    assert (
        pair.stopped.iteration >= 9
        and pair.stopped.iteration == max(pair.stopped.checkpoints)
        and not pair.stopped.finished
    )
    assert (
        training_state(pair.parts / f"checkpoints/{pair.stopped.iteration:06d}.pth")["iteration"]
        == pair.stopped.iteration
    )


def test_two_processes_killed_and_stopped_go_on_bit_for_bit(pair):
    assert pair.last.code == 0, pair.last.errors
    assert pair.killed[-1] in (2, 4, 6) and "starting from scratch" not in pair.stopped.ended.output
    assert_same(read(pair.nodes / "weights.pth"), read(pair.parts / "weights.pth"))
    last = f"checkpoints/{PAIR_ITERATIONS:06d}.pth"
    whole, parts = (training_state(run / last) for run in (pair.nodes, pair.parts))
    assert len(whole["random_states"]) == 2
    assert_same(whole, parts)
    assert iterations(pair.parts) == list(range(1, PAIR_ITERATIONS + 1))


def test_processes_of_different_command_lines_end_naming_the_difference(tmp_path):
    flags = (*TRAIN, *SYNTHETIC, "-i", "1", "--id", "run", "--lr")
    ended = run_by_hand([tmp_path, tmp_path], [(*flags, "1e-3"), (*flags, "1e-4")])
    assert [process.code for process in ended] == [2, 2]
    (line,) = [line for process in ended for line in process.error_lines]
    assert "learning_rate" in line and "0.001" in line and "0.0001" in line
    assert not any("Traceback" in process.errors for process in ended)
    assert not (tmp_path / "runs").exists()


def test_a_port_in_use_is_one_clear_line(tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        places = {
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
            "WORLD_SIZE": "2",
            "RANK": "0",
            "LOCAL_RANK": "0",
        }
        ended = Program(tmp_path, (*TRAIN, *SYNTHETIC, "-i", "1", "--id", "run"), **places).end()
    assert ended.code == 2 and "Traceback" not in ended.errors
    (line,) = ended.error_lines
    assert port in line and "--master_port" in line
    assert not (tmp_path / "runs").exists()


ONE_PROCESS_WITHOUT_A_LOSS = """
import os, sys, torch, train
from model.training.rollout import Rollout
from util.errors import run_command
forward = Rollout.forward
def without_loss(self, frames, labels, num_objects, iteration=0):
    result = forward(self, frames, labels, num_objects, iteration)
    if iteration == 1 and os.environ["RANK"] == "1":
        result.loss.data.fill_(torch.nan)
    return result
Rollout.forward = without_loss
run_command(train.main)
"""


def test_a_loss_that_is_no_number_in_one_process_ends_both_and_keeps_its_batch(tmp_path):
    command = (
        "-c",
        ONE_PROCESS_WITHOUT_A_LOSS,
        *SYNTHETIC,
        "-i",
        "4",
        "--id",
        "run",
        "--save_every",
        "1",
    )
    ended = run_by_hand([tmp_path, tmp_path], [command, command])
    assert [process.code for process in ended] == [2, 2], ended
    assert not any("Traceback" in process.errors for process in ended)
    (line,) = [line for process in ended for line in process.error_lines]
    assert "iteration 1" in line and "nan" in line
    (kept,) = (tmp_path / "runs/run").glob("bad_batch*.pth")
    assert str(kept.relative_to(tmp_path)) in line and read(kept)["iteration"] == 1
    assert checkpoints(tmp_path / "runs/run") == [1]


def test_damaged_files_of_one_machine_end_all_processes_with_one_line(tmp_path):
    """Each machine reads its own copy of the data."""
    frames, labels = make_clip(3, frames=6, height=96, width=128, objects=2)
    machines = [tmp_path / "whole", tmp_path / "damaged"]
    for machine in machines:
        for index, (frame, label) in enumerate(zip(frames, labels, strict=True)):
            for kind, name, picture in (
                ("JPEGImages", f"{index:05d}.jpg", frame[..., ::-1]),
                ("Annotations", f"{index:05d}.png", label),
            ):
                path = machine / "davis" / kind / "480p/made-up" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path), picture)
    damaged = machines[1] / "davis/JPEGImages/480p/made-up/00002.jpg"
    damaged.write_bytes(damaged.read_bytes()[:200])
    command = (*TRAIN, "--stage", "3", *QUICK, "--davis_root", "davis", "-i", "50", "--id", "run")
    ended = run_by_hand(machines, [command, command])
    assert [process.code for process in ended] == [2, 2], ended
    assert not any("Traceback" in process.errors for process in ended)
    (line,) = {line for process in ended for line in process.error_lines}
    assert "00002.jpg" in line and "1 of the 12 files" in line


# Within this process


@pytest.fixture
def run(tmp_path, monkeypatch) -> Callable[..., Path]:
    """run(*flags) trains the tiny network as runs/run, here, and returns that folder."""

    def train_here(*flags: str) -> Path:
        monkeypatch.chdir(tmp_path)
        configure_logging()  # as run_command does
        monkeypatch.setattr(sys, "argv", ["train.py", *SYNTHETIC, "--id", "run", *flags])
        code = train.main()
        if code:
            raise SystemExit(code)
        return tmp_path / "runs/run"

    return train_here


@pytest.mark.parametrize("kept", [1, 2, 0])
def test_the_newest_checkpoints_are_kept(run, kept):
    folder = run("-i", "4", "--save_every", "1", "--keep_checkpoints", str(kept))
    assert checkpoints(folder) == [1, 2, 3, 4][-kept:]


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
    """As a power cut leaves it."""
    content = path.read_bytes()
    path.write_bytes(content[:8192] + bytes(4096) + content[12288:])


@pytest.mark.parametrize("damage", [truncate, zero, empty, flip_a_bit, zero_a_page])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(run, capsys, damage):
    flags = ("-i", "3", "--save_every", "1")
    folder = run(*flags)
    expected = read(folder / "weights.pth")
    damage(folder / "checkpoints/000003.pth")
    (folder / "weights.pth").unlink()
    capsys.readouterr()
    run(*flags, "--load_model", "auto")
    printed = capsys.readouterr()
    (warning,) = [line for line in printed.err.splitlines() if line.startswith("warning: ")]
    assert "checkpoints/000003.pth" in warning and "skipped" in warning
    assert "resuming from runs/run/checkpoints/000002.pth" in printed.out
    assert_same(expected, read(folder / "weights.pth"))
    assert training_state(folder / "checkpoints/000003.pth")["iteration"] == 3


def test_of_damaged_checkpoints_alone_training_starts_afresh_and_says_so(run, capsys):
    flags = ("-i", "2", "--save_every", "1")
    folder = run(*flags)
    expected = read(folder / "weights.pth")
    for path in (folder / "checkpoints").iterdir():
        truncate(path)
    capsys.readouterr()
    run(*flags, "--load_model", "auto")
    printed = capsys.readouterr()
    assert printed.err.count("skipped") == 2 and "starting from scratch" in printed.out
    assert_same(expected, read(folder / "weights.pth"))
    assert iterations(folder) == [1, 2]


def test_a_damaged_checkpoint_does_not_push_out_whole_ones(run):
    """A damaged file of a later iteration must not count as the newest of those kept."""
    folder = run("-i", "2", "--save_every", "2")
    (folder / "checkpoints/000009.pth").write_bytes(b"")
    (folder / "checkpoints/000002.pth").unlink()
    run("-i", "2", "--save_every", "2", "--keep_checkpoints", "1", "--load_model", "auto")
    assert training_state(folder / "checkpoints/000002.pth")["iteration"] == 2


def test_what_a_killed_save_left_is_no_obstacle_and_does_not_stay(run):
    folder = run("-i", "1", "--save_every", "1")
    rest = folder / "checkpoints/.000002.pth.abcdefgh.part"
    rest.write_bytes((folder / "checkpoints/000001.pth").read_bytes()[:5000])
    run("-i", "2", "--save_every", "1", "--load_model", "auto")
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == [
        "000001.pth",
        "000002.pth",
    ]


@pytest.fixture
def small_files() -> Iterator[Callable[[int], None]]:
    """small_files(bytes): no file may grow beyond that until the test ends, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda most_bytes: resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_without_space_for_a_checkpoint_training_goes_on_warns_and_keeps_the_old_one(
    run, small_files, capsys
):
    folder = run("-i", "1", "--save_every", "1")
    before = (folder / "checkpoints/000001.pth").read_bytes()
    assert (folder / "weights.pth").stat().st_size < 600_000 < len(before)
    (folder / "weights.pth").unlink()
    small_files(600_000)
    capsys.readouterr()
    run("-i", "3", "--save_every", "1", "--load_model", "auto")
    warnings = [
        line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")
    ]
    assert len(warnings) == 2 and all(
        f"checkpoint of iteration {iteration}" in line for iteration, line in zip((2, 3), warnings)
    ), warnings
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["000001.pth"]
    assert (folder / "checkpoints/000001.pth").read_bytes() == before
    assert iterations(folder) == [1, 2, 3]
    load_network(folder / "weights.pth")


def test_stopped_without_space_it_says_that_the_last_iteration_is_lost(
    run, small_files, monkeypatch, capfd, tmp_path
):
    run("-i", "1")
    forward = Rollout.forward

    def interrupted(self, *batch, iteration=0):
        if iteration == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return forward(self, *batch, iteration=iteration)

    monkeypatch.setattr(Rollout, "forward", interrupted)
    small_files(200_000)
    with pytest.raises(SystemExit) as ended:
        run("-i", "9", "--load_model", "auto")
    assert ended.value.code == 128 + signal.SIGTERM
    assert "stopped at iteration 3, without a checkpoint of it" in capfd.readouterr().err
    assert checkpoints(tmp_path / "runs/run") == [1]


def test_without_space_for_the_weights_the_end_is_one_line_and_nothing_half_written(
    run, small_files, capsys
):
    folder = run("-i", "1", "--save_every", "1")
    (folder / "weights.pth").unlink()
    small_files(200_000)
    with pytest.raises(SystemExit) as ended:
        run_command(lambda: run("-i", "2", "--save_every", "1", "--load_model", "auto") and 0)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert ended.value.code == 2 and len(lines) == 1 and "weights.pth" in lines[0]
    assert not (folder / "weights.pth").exists() and not list(folder.glob(".*.part"))


class Broken(NamedTuple):
    network: torch.nn.Module
    frames: torch.Tensor  # of the batch at which it broke


@pytest.fixture(params=["nan", "inf"])
def broken_at_third(request, monkeypatch) -> list[Broken]:
    """The loss of the third iteration is no number."""
    met: list[Broken] = []
    forward = Rollout.forward

    def breaking(self, frames, labels, num_objects, iteration=0):
        result = forward(self, frames, labels, num_objects, iteration)
        if iteration == 2:
            met.append(Broken(self.network, frames.clone()))
            result.loss.data.fill_(float(request.param))
        return result

    monkeypatch.setattr(Rollout, "forward", breaking)
    return met


def test_a_loss_that_is_no_number_stops_training_before_it_reaches_the_weights(
    run, broken_at_third, tmp_path, capsys
):
    with pytest.raises(SystemExit) as ended:
        run_command(lambda: run("-i", "5", "--save_every", "1", "--average_decay", "0") and 0)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    folder = tmp_path / "runs/run"
    (kept,) = folder.glob("bad_batch*.pth")
    assert ended.value.code == 2 and "iteration 2" in line and kept.name in line
    ((network, frames),) = broken_at_third
    batch = read(kept)
    assert torch.equal(batch["parts"][0]["frames"], frames) and batch["iteration"] == 2
    assert {"frames", "labels", "num_objects"} <= batch["parts"][0].keys()
    assert checkpoints(folder) == [1, 2] and not (folder / "weights.pth").exists()
    before = read(folder / "checkpoints/000002.pth")["network"]
    assert all(
        torch.equal(parameter, before[name]) for name, parameter in network.named_parameters()
    )


def test_a_huge_learning_rate_ends_with_one_line_that_names_it(run, tmp_path):
    with pytest.raises(InputError, match=r"loss.*--lr"):
        run("-i", "20", "--lr", "1e30", "--warmup_iterations", "0", "--clip_gradient_norm", "1e30")
    assert not (tmp_path / "runs/run/weights.pth").exists()


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (("--network", "stcn_small"), "network"),
        (("--similarity", "cosine"), "similarity"),
        (("--key_channels", "16"), "key_channels"),
        (("--seed", "3"), "seed"),
        (("--stage", "3", "--mix", "synthetic=1"), "stage"),
    ],
)
def test_going_on_with_other_settings_is_refused_by_name_and_changes_nothing(run, flags, named):
    folder = run("-i", "1")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=rf"made with .*\b{named}\b"):
        run("-i", "1", "--load_model", "auto", *flags)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_ablations_of_the_network_reach_its_weights_and_checkpoint(run):
    folder = run("-i", "1", "--key_channels", "32", "--similarity", "dot")
    config = recognise_preset(read(folder / "weights.pth"))
    assert (config.name, config.key_channels) == ("tiny", 32)
    assert load_network(folder / "weights.pth").config.key_channels == 32
    stored = load_network(folder / "checkpoints/000001.pth").config
    assert (stored.key_channels, stored.similarity) == (32, "dot")
    assert PRESETS["tiny"].similarity != "dot"


def test_windows_of_the_refinement_are_trained_as_asked_and_travel_with_the_weights(run):
    folder = run("-i", "1", "--network", "tiny_pcvos", "--window", "1", "3", "3")
    for file in ("checkpoints/000001.pth", "weights.pth"):
        assert load_network(folder / file).config.refiner.window == (1, 3, 3)
        assert load_network(folder / file, window=(1, 3, 3)).config.refiner.window == (1, 3, 3)
        with pytest.raises(
            InputError, match="was trained with windows of 1×3×3, not 2×2×3 as asked for"
        ):
            load_network(folder / file, window=(2, 2, 3))
    torch.save(read(folder / "weights.pth"), folder / "others.pth")
    assert load_network(folder / "others.pth", window=(1, 3, 3)).config.refiner.window == (1, 3, 3)
    with pytest.raises(InputError, match="fits no network"):
        load_network(folder / "others.pth")
    with pytest.raises(InputError, match="window 0 3 3"):
        load_network(folder / "others.pth", window=(0, 3, 3))
    with pytest.raises(InputError, match="--window: network tiny has no refinement"):
        run("-i", "1", "--window", "1", "3", "3")


def test_the_similarity_travels_with_the_weights_and_into_what_is_trained_from_them(
    run, tmp_path, capsys
):
    write_davis(tmp_path / "held_out", {"cow": 7}, "2017/val.txt")
    folder = run("-i", "1", "--similarity", "dot", "--val_root", "held_out", "--val_every", "1")
    for file in ("weights.pth", "best.pth", "checkpoints/000001.pth"):
        assert load_network(folder / file).config.similarity == "dot", file
    for flags, similarity in (((), "dot"), (("--similarity", "cosine"), "cosine")):
        name = f"from_{similarity}"
        run("--id", name, "-i", "1", "--load_network", "runs/run/weights.pth", *flags)
        assert (
            load_network(tmp_path / "runs" / name / "weights.pth").config.similarity == similarity
        )
        assert (
            f"runs/run/weights.pth: was trained with similarity dot; this training continues with {similarity}"
            in capsys.readouterr().out
        )


def test_windows_travel_into_what_is_trained_from_the_weights(run, tmp_path, capsys):
    save_weights(
        tmp_path / "start.pth", build_network(with_window(PRESETS["tiny_pcvos"], (3, 2, 2)))
    )
    folder = run("-i", "1", "--network", "tiny_pcvos", "--load_network", "start.pth")
    assert load_network(folder / "weights.pth").config.refiner.window == (3, 2, 2)
    assert (
        "start.pth: was trained with windows of 3×2×2; this training continues with 3×2×2"
        in capsys.readouterr().out
    )


def test_a_run_records_what_made_it(run):
    folder = run("-i", "2", "--lr", "0.002")
    written: dict[str, Any] = json.loads((folder / "config.json").read_text())
    kept = read(folder / "checkpoints/000002.pth")["record"]
    for record in (written, kept):
        assert record["training"]["learning_rate"] == record["flags"]["learning_rate"] == 0.002
        assert (
            record["training"]["seed"] == 0
            and record["training"]["iterations"] == 2
            and record["network"]["name"] == "tiny"
            and record["processes"] == 1
        )
        assert record["versions"]["torch"] == version("torch")
        assert record["git_commit"] is None or re.fullmatch(
            r"[0-9a-f]{40}(\+changes)?", record["git_commit"]
        )
    assert json.loads(json.dumps(kept)) == written


def test_clips_are_trained_from_stcns_weights_and_validated_as_pcvos(run, tmp_path, capsys):
    write_davis(tmp_path / "davis", {"bear": 8}, "2017/train.txt")
    write_davis(tmp_path / "held_out", {"cow": 7}, "2017/val.txt")
    save_weights(tmp_path / "stcn.pth", build_network("tiny"))
    data = ("--davis_root", "davis", "--val_root", "held_out", "--val_every", "1")
    folder = run(
        "--stage",
        "clip",
        "--network",
        "tiny_pcvos",
        "--load_network",
        "stcn.pth",
        "-i",
        "1",
        "--crop_size",
        "32",
        *data,
    )
    assert (
        "stcn.pth: has no weights of the network's refiner, which is initialised from scratch"
        in capsys.readouterr().out
    )
    (entry, scores) = read_metrics(folder / "metrics.jsonl")
    assert (
        entry["loss"] == pytest.approx(entry["cross_entropy"] + entry["dice"]) and entry["dice"] > 0
    )
    assert scores["validation/j_and_f"] >= 0
    validated = json.loads((folder / "best.json").read_text())["validation"]["system"]
    assert (validated["name"], validated["clip_length"], validated["refine"]) == ("pcvos", 5, True)
    assert recognise_preset(read(folder / "weights.pth")).name == "tiny_pcvos"


def test_samples_that_make_no_whole_clips_are_refused(run):
    with pytest.raises(
        InputError,
        match=r"6 frames a sample \(--frames\), clips of 3 \(--clip_frames\): .*7 frames make two",
    ):
        run("--clip_frames", "3", "--frames", "6")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (
            ("--set", "bootstrap.final_fraction=0"),
            "bootstrap.final_fraction is 0.0; it must be above 0 and at most 1",
        ),
        (("--clip_gradient_norm", "-1"), "clip_gradient_norm is -1.0; it must be above 0"),
        (("--average_decay", "3"), "average_decay is 3.0; it must be above 0 and below 1"),
        (("--set", "dice_weight=nan"), "dice_weight is nan; it must be at least 0"),
        (("--gamma", "nan"), "gamma is nan"),
        (("--max_skip", "-3"), "max_skip is -3; it must be at least 0"),
        (
            ("--set", "affinity.dropout=1"),
            "affinity.dropout is 1.0; it must be at least 0 and below 1",
        ),
        (("--crop_area", "2", "1"), "crop_area is 2.0 to 1.0"),
    ],
)
def test_values_out_of_range_are_refused_before_anything_is_done(run, tmp_path, flags, said):
    with pytest.raises(InputError, match=re.escape(said)):
        run(*flags)
    assert not (tmp_path / "runs").exists()
