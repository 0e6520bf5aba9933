"""Runs whose videos several processes share: results as of one process, errors printed once."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from repository import ROOT
from toy_trees import file_names, write_davis, write_tiny_weights

from dataset import DavisDataset
from inference import VideoSegmenter
from inference.output.run_folder import RunFolder
from inference.runner import run

PROGRAM = str(ROOT / "eval_davis.py")


@pytest.fixture
def weights(tmp_path) -> Path:
    return write_tiny_weights(tmp_path / "tiny.pth")


def truncate(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def run_as_two_processes(*flags: object) -> list[subprocess.CompletedProcess]:
    """Run eval_davis.py as two processes of a group, without a launcher's messages and signals."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    command = [sys.executable, PROGRAM, "--device", "cpu", *map(str, flags)]
    processes = []
    for rank in map(str, range(2)):
        environment = {**os.environ, **group, "RANK": rank, "LOCAL_RANK": rank}
        processes.append(
            subprocess.Popen(
                command,
                env={**environment, "OMP_NUM_THREADS": "1"},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    outputs = [process.communicate(timeout=120) for process in processes]
    return [
        subprocess.CompletedProcess(command, process.returncode, *output)
        for process, output in zip(processes, outputs, strict=True)
    ]


def test_two_processes_write_the_pngs_of_one_and_one_line_of_totals(tmp_path, weights):
    root = write_davis(tmp_path / "data", {"bear": 6, "camel": 7, "dog": 6})
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    flags = ["--davis_path", root, "--model", weights, "--device", "cpu", "--score"]
    both = subprocess.run(
        [*launcher, PROGRAM, *map(str, flags), "--output", str(tmp_path / "two")],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert both.returncode == 0, both.stderr
    segmenter = VideoSegmenter.from_checkpoint(weights, device="cpu")
    one = RunFolder(tmp_path / "one", {})
    run(DavisDataset(root), segmenter, one, lookahead=8)
    for path in sorted(one.results.glob("*/*.png")):
        other = tmp_path / "two" / path.relative_to(one.results)
        assert path.read_bytes() == other.read_bytes(), path
    lines = both.stdout.strip().splitlines()
    assert json.loads(lines[-1])["frames"] == 19
    assert sum(line.startswith("overall") for line in lines) == 1
    assert (tmp_path / "two/scores.json").exists()


def test_an_error_of_the_data_is_printed_once_and_ends_all_processes(tmp_path, weights):
    root = write_davis(tmp_path / "data", {"bear": 3, "camel": 3})
    truncate(root / "Annotations/480p/camel/00000.png")
    out = tmp_path / "out"
    ends = run_as_two_processes("--davis_path", root, "--model", weights, "--output", out)
    err = "".join(end.stderr for end in ends)
    assert [end.returncode for end in ends] == [2, 2], err
    assert err.count("error:") == 1 and err.count("camel/00000.png") == 1
    assert "Traceback" not in err
    assert file_names(out) == ["bear", "config.json"]
    assert json.loads("".join(end.stdout for end in ends))["frames"] == 3


def test_a_failure_in_one_process_does_not_hang_the_other(tmp_path, weights):
    root = write_davis(tmp_path / "data", {"bear": 4, "camel": 3})
    truncate(root / "JPEGImages/480p/camel/00001.jpg")
    out = tmp_path / "out"
    ends = run_as_two_processes("--davis_path", root, "--model", weights, "--output", out)
    err = "".join(end.stderr for end in ends)
    assert [end.returncode for end in ends] == [2, 2], err
    assert err.count("error:") == 1 and "camel/00001.jpg" in err and "Traceback" not in err
    assert file_names(out) == ["bear", "config.json"]
