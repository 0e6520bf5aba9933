"""Sections that start trainings: two processes on one device, and a training that is resumed."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from scripts.common.tables import markdown_table
from scripts.gpu_check.report import Check, Finding
from util.errors import InputError

_ROOT = Path(__file__).resolve().parents[2]
_ITERATIONS = 4
_MIDDLE_CHECKPOINT = f"checkpoints/{_ITERATIONS // 2:06d}.pth"
_TIMEOUT_SECONDS = 180
_TORCHRUN = ("-m", "torch.distributed.run", "--nproc_per_node=2", "--master_addr=127.0.0.1")
_FLAGS = (
    "--stage synthetic --network tiny -b 2 --crop_size 64 --num_workers 0 --amp off --log_every 1 "
    "--keep_checkpoints 0 --image_every 0 --no-learn_batch_norms "
    f"-i {_ITERATIONS} --save_every {_ITERATIONS // 2}"
).split()


def run_two_processes(check: Check) -> Finding:
    """Compare the weights that two processes on one device train with those that one process
    trains on the whole batch."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        started = {
            "one": _start(check, folder, "one"),
            "two": _start(
                check, folder, "two", launcher=(*_TORCHRUN, f"--master_port={_free_port()}")
            ),
        }
        for name, process in started.items():
            _finish(process, name)
        final = {name: _load(folder / "runs" / name / "weights.pth") for name in started}
        middle = _load(folder / "runs/one" / _MIDDLE_CHECKPOINT)["network"]
    moved, distance = _distance(final["one"], middle), _distance(final["one"], final["two"])
    text = (
        f"Two processes share {check.device} through gloo (NCCL refuses to), each with half of a "
        f"batch of 2. After {_ITERATIONS} iterations their weights differ by {distance:.1e} from "
        f"those of one process, which moved by {moved:.1e} in its second half."
    )
    failures = ("the weights differ by more than rounding explains",)
    return Finding(
        text, {"distance": distance, "moved": moved}, () if distance < 0.2 * moved else failures
    )


def run_resuming(check: Check) -> Finding:
    """Compare a training that is resumed halfway with one that was not stopped, and with the same
    training run again."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        started = {name: _start(check, folder, name) for name in ("whole", "again")}
        for name, process in started.items():
            _finish(process, name)
        later = shutil.ignore_patterns("weights.pth", f"{_ITERATIONS:06d}.pth")
        shutil.copytree(folder / "runs/whole", folder / "runs/resumed", ignore=later)
        _finish(_start(check, folder, "resumed", ("--load_model", "auto")), "resumed")
        weights = {
            name: _load(folder / "runs" / name / "weights.pth")
            for name in ("whole", "again", "resumed")
        }
    differences = {
        name: _largest_difference(weights["whole"], weights[name]) for name in ("again", "resumed")
    }
    table = markdown_table(
        ("compared with the whole training", "largest difference of a weight"),
        [(name, f"{value:.1e}") for name, value in differences.items()],
    )
    # Kernels that add in a different order each time make two runs differ. A resumed training may
    # differ as much, not more.
    allowed = 0.0 if check.device.type == "cpu" else max(20 * differences["again"], 1e-5)
    failures = (
        f"the resumed training differs by {differences['resumed']:.1e}, "
        f"a repeated one by {differences['again']:.1e}",
    )
    return Finding(
        f"{_ITERATIONS} iterations, resumed after {_ITERATIONS // 2}.\n\n{table}",
        differences,
        () if differences["resumed"] <= allowed else failures,
    )


def _start(
    check: Check, folder: Path, name: str, extra: Sequence[str] = (), launcher: Sequence[str] = ()
) -> subprocess.Popen:
    """Start the training FOLDER/runs/NAME."""
    flags = ["--id", name, "--device", str(check.device), *_FLAGS, *extra]
    return subprocess.Popen(
        [sys.executable, *launcher, str(_ROOT / "train.py"), *flags],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(_ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _finish(process: subprocess.Popen, name: str) -> None:
    """Wait for a training. Raises: InputError with its error if it failed."""
    output, _ = process.communicate(timeout=_TIMEOUT_SECONDS)
    if process.returncode:
        lines = [line for line in output.splitlines() if line.strip()]
        last = lines[-1] if lines else "no output"
        reason = next((line for line in lines if line.startswith("error:")), last)
        raise InputError(f"training {name} ended with {process.returncode}: {reason}")


def _load(path: Path) -> dict[str, Any]:
    return torch.load(path, map_location="cpu", weights_only=True)


def _distance(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """The Euclidean distance over all weights."""
    squares = (float((one[name].double() - other[name].double()).square().sum()) for name in one)
    return sum(squares) ** 0.5


def _largest_difference(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    return max(
        float((one[name].double() - other[name].double()).abs().max())
        for name in one
        if one[name].numel()
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
