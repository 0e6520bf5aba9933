"""Training by several processes: on one machine and on two, stopped, killed, and failing."""

import signal
import socket
from pathlib import Path
from typing import NamedTuple

import pytest
from toy_trees import write_davis
from training_processes import (
    QUICK,
    TRAIN,
    Ended,
    Program,
    Stop,
    assert_same,
    free_port,
    launcher,
    logged_iterations,
    read,
    run_by_hand,
    saved_iterations,
    split_flags,
    training_state,
)

SYNTHETIC = ("--stage", "synthetic", *QUICK)
ITERATIONS = 24


class PairOfRuns(NamedTuple):
    """Two runs with the same settings, by two processes each.

    One is on two machines (this one plays both), the other on one machine, killed and stopped.
    """

    nodes: Path
    parts: Path
    node_codes: list[int]
    killed: list[int]  # checkpoints after SIGKILL
    stopped: Stop
    last: Ended


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> PairOfRuns:
    folder = tmp_path_factory.mktemp("two_processes")
    record = split_flags(f"-i {ITERATIONS} --save_every 2 --keep_checkpoints 0")
    flags = (*TRAIN, *SYNTHETIC, *record)
    node = split_flags(
        "-m torch.distributed.run --nnodes=2 --nproc_per_node=1",
        f"--master_addr=127.0.0.1 --master_port={free_port()}",
    )
    nodes = [
        Program(folder, (*node, f"--node_rank={number}", *flags, "--id", "nodes"))
        for number in (0, 1)
    ]
    node_codes = [program.end().code for program in nodes]
    flags = (*flags, "--id", "parts", "--load_model", "auto")
    parts = folder / "runs/parts"

    program = Program(folder, (*launcher(2), *flags))
    program.wait_for_line(f"4/{ITERATIONS} ")
    program.kill_all()
    program.end()
    killed = saved_iterations(parts)

    program = Program(folder, (*launcher(2), *flags))
    program.wait_for_line(f"9/{ITERATIONS} ")
    program.send(signal.SIGTERM)
    stopped = Stop.of(program.end(), parts)
    last = Program(folder, (*launcher(2), *flags)).end()
    return PairOfRuns(folder / "runs/nodes", parts, node_codes, killed, stopped, last)


def test_two_machines_with_one_process_train_as_one_machine_with_two(pair):
    assert pair.node_codes == [0, 0]
    assert_same(
        training_state(pair.nodes / "checkpoints/000002.pth"),
        training_state(pair.parts / "checkpoints/000002.pth"),
    )


def test_sigterm_to_the_launcher_saves_the_last_iteration(pair):
    iteration = pair.stopped.iteration
    assert iteration >= 9 and iteration == max(pair.stopped.checkpoints)
    assert not pair.stopped.finished
    checkpoint = pair.parts / f"checkpoints/{iteration:06d}.pth"
    assert training_state(checkpoint)["iteration"] == iteration


def test_two_processes_resume_bit_for_bit_after_a_kill_and_a_stop(pair):
    assert pair.last.code == 0, pair.last.errors
    assert pair.killed[-1] in (2, 4, 6) and "starting from scratch" not in pair.stopped.ended.output
    assert_same(read(pair.nodes / "weights.pth"), read(pair.parts / "weights.pth"))
    last = f"checkpoints/{ITERATIONS:06d}.pth"
    whole, parts = (training_state(run / last) for run in (pair.nodes, pair.parts))
    assert len(whole["random_states"]) == 2
    assert_same(whole, parts)
    assert logged_iterations(pair.parts) == list(range(1, ITERATIONS + 1))


def test_processes_with_different_command_lines_end_and_name_the_difference(tmp_path):
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
        places = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
        places |= {"RANK": "0", "LOCAL_RANK": "0"}
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


def test_a_loss_that_is_not_finite_in_one_process_ends_both_and_keeps_its_batch(tmp_path):
    flags = split_flags("-i 4 --id run --save_every 1")
    command = ("-c", ONE_PROCESS_WITHOUT_A_LOSS, *SYNTHETIC, *flags)
    ended = run_by_hand([tmp_path, tmp_path], [command, command])
    assert [process.code for process in ended] == [2, 2], ended
    assert not any("Traceback" in process.errors for process in ended)
    (line,) = [line for process in ended for line in process.error_lines]
    assert "iteration 1" in line and "nan" in line
    (kept,) = (tmp_path / "runs/run").glob("bad_batch*.pth")
    assert str(kept.relative_to(tmp_path)) in line and read(kept)["iteration"] == 1
    assert saved_iterations(tmp_path / "runs/run") == [1]


def test_damaged_files_of_one_machine_end_all_processes_with_one_line(tmp_path):
    """Each machine reads its own copy of the data; one copy is damaged."""
    machines = [tmp_path / "whole", tmp_path / "damaged"]
    for machine in machines:
        write_davis(machine / "davis", {"toy": 6}, "2017/train.txt")
    damaged = machines[1] / "davis/JPEGImages/480p/toy/00002.jpg"
    damaged.write_bytes(damaged.read_bytes()[:200])
    command = (*TRAIN, "--stage", "3", *QUICK, "--davis_root", "davis", "-i", "50", "--id", "run")
    ended = run_by_hand(machines, [command, command])
    assert [process.code for process in ended] == [2, 2], ended
    assert not any("Traceback" in process.errors for process in ended)
    (line,) = {line for process in ended for line in process.error_lines}
    assert "00002.jpg" in line and "1 of the 12 files" in line


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
    flags = split_flags("-i 4 --id run --save_every 1")
    command = ("-c", ONE_PROCESS_ENDS, *SYNTHETIC, *flags)
    ended = run_by_hand([tmp_path, tmp_path], [command, command])
    assert [process.code for process in ended] == [2, 9]
    (line,) = ended[0].error_lines
    assert line.startswith("error: process 0 of 2 has lost another one (")
    assert "--load_model auto" in line
    assert "Traceback" not in ended[0].errors
    assert [path.name for path in (tmp_path / "runs/run/checkpoints").iterdir()] == ["000001.pth"]


def test_a_wrong_environment_is_one_line_for_a_program(tmp_path):
    ended = Program(tmp_path, (*TRAIN, "--stage", "synthetic", "--id", "run"), WORLD_SIZE="x").end()
    assert ended.code == 2 and len(ended.error_lines) == 1 and "Traceback" not in ended.errors
