"""Programs in processes of their own for tests of training: started, waited for by what they print, signalled, and their checkpoints compared."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from repository import ROOT

TRAIN = (str(ROOT / "train.py"),)
ENVIRONMENT = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": str(ROOT),
    "PYTHONUNBUFFERED": "1",
}
PATIENCE_SECONDS = 900  # seconds on an idle core take minutes on a busy one
QUICK = (
    "--network",
    "tiny",
    "--crop_size",
    "64",
    "-b",
    "2",
    "--num_workers",
    "0",
    "--device",
    "cpu",
    "--log_every",
    "1",
    "--image_every",
    "0",
)


class Ended(NamedTuple):
    """code: the exit code, negative where a signal killed it. output, errors: what it printed to stdout and stderr."""

    code: int
    output: str
    errors: str

    @property
    def error_lines(self) -> list[str]:
        """The lines by which our programs say what is wrong."""
        return [line for line in self.errors.splitlines() if line.startswith("error: ")]


class Program:
    """A Python program that runs in `folder`, leader of a process group of its own."""

    def __init__(self, folder: Path, arguments: Sequence[str], **environment: str):
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - open while it runs; a pipe that nobody reads would fill up
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
        """Until it has printed a line that starts so. Fails where it ends without."""
        for line in self.process.stdout:
            self._lines.append(line)
            if line.startswith(start):
                return
        raise AssertionError(f"ended without printing {start!r}\n{self.end()}")

    def send(self, number: signal.Signals) -> None:
        """To the process alone."""
        self.process.send_signal(number)

    def send_to_group(self, number: signal.Signals) -> None:
        """To it and its loading processes, as a scheduler or a terminal does."""
        os.killpg(self.process.pid, number)

    def kill_all(self) -> None:
        """SIGKILL to it and all that came of it. A launcher's processes are in groups of their own."""
        for pid in [self.process.pid, *_descendants(self.process.pid)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def end(self) -> Ended:
        """Wait for its end."""
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
    """A port nobody listens at now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def launcher(processes: int) -> tuple[str, ...]:
    """torchrun for processes on this machine."""
    return (
        "-m",
        "torch.distributed.run",
        f"--nproc_per_node={processes}",
        "--master_addr=127.0.0.1",
        f"--master_port={free_port()}",
    )


def run_by_hand(folders: Sequence[Path], commands: Sequence[Sequence[str]]) -> list[Ended]:
    """Processes that find each other without a launcher, a folder and a command line for each, in order of rank."""
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
    """A file of torch.save in which nothing is pickled code."""
    return torch.load(path, map_location="cpu", weights_only=True)


def assert_same(ours: Any, theirs: Any, where: str = "") -> None:
    """Bit for bit, in any nesting of dictionaries and lists."""
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
    """A checkpoint without what the run says of itself, which names its flags."""
    return {name: value for name, value in read(path).items() if name != "record"}
