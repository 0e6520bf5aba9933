"""Trainings for tests: here or in processes of their own, signalled, and their files compared."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from repository import ROOT

import train
from util.logging import configure_logging
from util.run_record import read_metrics

TRAIN = (str(ROOT / "train.py"),)
ENVIRONMENT = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": str(ROOT),
    "PYTHONUNBUFFERED": "1",
}
STOPPED = re.compile(r"^stopped at iteration (\d+); resume with --load_model auto$", re.MULTILINE)
PATIENCE_SECONDS = 900  # what takes seconds on an idle core may take minutes on a busy one


def split_flags(*texts: str) -> list[str]:
    """The words of a command line."""
    return [word for text in texts for word in text.split()]


QUICK = split_flags(
    "--network tiny --crop_size 64 -b 2 --num_workers 0 --device cpu",
    "--log_every 1 --image_every 0",
)


def train_here(monkeypatch: pytest.MonkeyPatch, folder: Path, *flags: str) -> Path:
    """Run train.py in this process and in `folder`, as runs/run, with the flags of QUICK.

    flags: each may be several words. Returns: the run's folder. Raises: SystemExit with the exit
    code of a training that did not finish, and what train.py raises.
    """
    monkeypatch.chdir(folder)
    words = ["train.py", "--id", "run", *QUICK, *split_flags(*flags)]
    monkeypatch.setattr(sys, "argv", words)
    configure_logging()  # as run_command does
    code = train.main()
    if code:
        raise SystemExit(code)
    return folder / "runs/run"


class Ended(NamedTuple):
    """A program that has ended: its exit code (-N if signal N killed it), stdout and stderr."""

    code: int
    output: str
    errors: str

    @property
    def error_lines(self) -> list[str]:
        """The lines in which a program says what is wrong."""
        return [line for line in self.errors.splitlines() if line.startswith("error: ")]


class Program:
    """A Python program that runs in `folder`, as the leader of its own process group."""

    def __init__(self, folder: Path, arguments: Sequence[str], **environment: str):
        # a file, since a pipe that nobody reads would fill up; open as long as the program runs
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        self._lines: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=folder,
            env={**ENVIRONMENT, **environment},
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            start_new_session=True,
        )

    def wait_for_line(self, start: str) -> None:
        """Wait until it has printed a line with this start. Fails if it ends before."""
        for line in self.process.stdout:
            self._lines.append(line)
            if line.startswith(start):
                return
        raise AssertionError(f"ended without printing {start!r}\n{self.end()}")

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process alone."""
        self.process.send_signal(number)

    def send_to_group(self, number: signal.Signals) -> None:
        """Send a signal to it and its loading processes, as a scheduler or a terminal does."""
        os.killpg(self.process.pid, number)

    def kill_all(self) -> None:
        """Send SIGKILL to it and its descendants, which a launcher starts in their own groups."""
        for pid in [self.process.pid, *_descendants(self.process.pid)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def end(self) -> Ended:
        """Wait until it has ended."""
        try:
            rest, _ = self.process.communicate(timeout=PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill_all()
            raise
        self._errors.seek(0)
        errors = self._errors.read().decode(errors="replace")
        self._errors.close()
        return Ended(self.process.returncode, "".join(self._lines) + rest, errors)


def _descendants(pid: int) -> list[int]:
    listed = subprocess.run(
        ["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True
    ).stdout
    parents = dict(map(int, line.split()) for line in listed.splitlines())
    found = [pid]
    for ancestor in found:
        found += [child for child, parent in parents.items() if parent == ancestor]
    return found[1:]


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def launcher(processes: int) -> tuple[str, ...]:
    """The command of torchrun for processes on this machine."""
    return (
        "-m",
        "torch.distributed.run",
        f"--nproc_per_node={processes}",
        "--master_addr=127.0.0.1",
        f"--master_port={free_port()}",
    )


def run_by_hand(folders: Sequence[Path], commands: Sequence[Sequence[str]]) -> list[Ended]:
    """Run processes that find each other without a launcher.

    Each has a folder and a command line, in order of rank.
    """
    places = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "WORLD_SIZE": str(len(commands)),
    }
    started = [
        Program(folder, command, **places, RANK=str(rank), LOCAL_RANK=str(rank))
        for rank, (folder, command) in enumerate(zip(folders, commands, strict=True))
    ]
    return [program.end() for program in started]


def read(path: Path) -> dict[str, Any]:
    """Load a file of torch.save that contains no pickled code."""
    return torch.load(path, map_location="cpu", weights_only=True)


def assert_same(ours: Any, theirs: Any, where: str = "") -> None:
    """Compare bit by bit, in any nesting of dictionaries and lists."""
    assert type(ours) is type(theirs), where
    if isinstance(ours, torch.Tensor):
        assert ours.dtype == theirs.dtype and ours.shape == theirs.shape, where
        assert torch.equal(_bytes(ours), _bytes(theirs)), where
    elif isinstance(ours, dict):
        assert ours.keys() == theirs.keys(), where
        for name in ours:
            assert_same(ours[name], theirs[name], f"{where}/{name}")
    elif isinstance(ours, (list, tuple)):
        assert len(ours) == len(theirs), where
        for index, (one, other) in enumerate(zip(ours, theirs)):
            assert_same(one, other, f"{where}/{index}")
    else:
        assert ours == theirs, where


def _bytes(values: torch.Tensor) -> torch.Tensor:
    return values.contiguous().flatten().view(torch.uint8)


def training_state(path: Path) -> dict[str, Any]:
    """A checkpoint without the run's description, which contains its flags."""
    return {name: value for name, value in read(path).items() if name != "record"}


def saved_iterations(run: Path) -> list[int]:
    """The iterations for which a run has checkpoints."""
    return sorted(int(path.stem) for path in (run / "checkpoints").glob("*.pth"))


def logged_iterations(run: Path) -> list[int]:
    """The iterations of a run's metrics, in order."""
    return [entry["iteration"] for entry in read_metrics(run / "metrics.jsonl")]


class Stop(NamedTuple):
    """A run after a signal."""

    ended: Ended
    checkpoints: list[int]
    finished: bool  # whether its final weights exist

    @classmethod
    def of(cls, ended: Ended, run: Path) -> "Stop":
        """The run as it is now."""
        return cls(ended, saved_iterations(run), (run / "weights.pth").exists())

    @property
    def iteration(self) -> int:
        """The iteration at which it says it stopped."""
        (iteration,) = STOPPED.findall(self.ended.errors)
        return int(iteration)
