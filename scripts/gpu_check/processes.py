"""What takes processes of their own: two on one device, and a training that is stopped and resumed."""

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
_MIDDLE = f"checkpoints/{_ITERATIONS // 2:06d}.pth"
_TORCHRUN = ("-m", "torch.distributed.run", "--nproc_per_node=2", "--master_addr=127.0.0.1")


def run_two_processes(check: Check) -> Finding:
    """The weights that two processes on one device arrive at beside those of one process with the whole batch."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        launchers = {"one": (), "two": (*_TORCHRUN, f"--master_port={_free_port()}")}
        started = {
            name: _start(check, folder, name, launcher=launcher)
            for name, launcher in launchers.items()
        }
        for name, process in started.items():
            _finish(process, name)
        ends = {name: _read(folder / "runs" / name / "weights.pth") for name in started}
        middle = _read(folder / "runs/one" / _MIDDLE)["network"]
    moved, apart = _distance(ends["one"], middle), _distance(ends["one"], ends["two"])
    text = f"Two processes through gloo on {check.device}, which they share (NCCL refuses that), half of a batch of 2 each. "
    text += f"After {_ITERATIONS} iterations their weights lie {apart:.1e} from those of one process, which moved by {moved:.1e} in its second half."
    failures = () if apart < 0.2 * moved else ("the weights differ by more than rounding explains",)
    return Finding(text, {"distance": apart, "moved": moved}, failures)


def run_resuming(check: Check) -> Finding:
    """A training resumed in its middle beside one that was not stopped, and beside the same one run again."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        started = {name: _start(check, folder, name) for name in ("whole", "again")}
        for name, process in started.items():
            _finish(process, name)
        later = shutil.ignore_patterns("weights.pth", f"{_ITERATIONS:06d}.pth")
        shutil.copytree(folder / "runs/whole", folder / "runs/resumed", ignore=later)
        _finish(_start(check, folder, "resumed", ("--load_model", "auto")), "resumed")
        weights = {
            name: _read(folder / "runs" / name / "weights.pth")
            for name in ("whole", "again", "resumed")
        }
    differences = {
        name: _largest_difference(weights["whole"], weights[name]) for name in ("again", "resumed")
    }
    table = markdown_table(
        ("beside the whole training", "largest difference of a weight"),
        [(name, f"{value:.1e}") for name, value in differences.items()],
    )
    # kernels that add in another order each time make two runs differ; a resumed one may differ as much, not more
    allowed = 0.0 if check.device.type == "cpu" else max(20 * differences["again"], 1e-5)
    failures = (
        ()
        if differences["resumed"] <= allowed
        else (
            f"the resumed training differs by {differences['resumed']:.1e}, a repeated one by {differences['again']:.1e}",
        )
    )
    return Finding(
        f"{_ITERATIONS} iterations, resumed after {_ITERATIONS // 2}.\n\n{table}",
        differences,
        failures,
    )


def _start(
    check: Check, folder: Path, name: str, extra: Sequence[str] = (), launcher: Sequence[str] = ()
) -> subprocess.Popen:
    flags = [
        "--stage",
        "synthetic",
        "--id",
        name,
        "--network",
        "tiny",
        "-b",
        "2",
        "-i",
        str(_ITERATIONS),
        "--crop_size",
        "64",
        "--num_workers",
        "0",
        "--amp",
        "off",
    ]
    flags += [
        "--device",
        str(check.device),
        "--log_every",
        "1",
        "--save_every",
        str(_ITERATIONS // 2),
        "--keep_checkpoints",
        "0",
        "--image_every",
        "0",
        "--no-learn_batch_norms",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(_ROOT)}
    command = [sys.executable, *launcher, str(_ROOT / "train.py"), *flags, *extra]
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _finish(process: subprocess.Popen, name: str) -> str:
    output, _ = process.communicate(timeout=180)
    if process.returncode:
        lines = [line for line in output.splitlines() if line.strip()]
        told = next(
            (line for line in lines if line.startswith("error:")),
            lines[-1] if lines else "nothing said",
        )
        raise InputError(f"training {name} ended with {process.returncode}: {told}")
    return output


def _read(path: Path) -> dict[str, Any]:
    return torch.load(path, map_location="cpu", weights_only=True)


def _distance(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """Euclidean, over all weights."""
    return (
        sum(float((one[name].double() - other[name].double()).square().sum()) for name in one)
        ** 0.5
    )


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
