"""What a run leaves behind about itself: configuration, metrics by step, the code's version. Legend: H W height and width of a picture in pixels. Versions of what a result depends on. How much memory a process has used."""

import contextlib
import importlib.metadata
import json
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from util.device import peak_memory_mb, reset_peak_memory
from util.files import atomic_write

METRICS_NAME = "metrics.jsonl"


def write_json(path: Path, content: Any) -> None:
    """Indented JSON, atomically."""
    with atomic_write(path) as file:
        file.write((json.dumps(content, indent=2) + "\n").encode())


def git_commit() -> str | None:
    """The commit of the repository this code lies in, with `+changes` where files differ from it; None outside a repository, and where git does not tell.

    It is a note, so nothing that goes wrong here is an error: no git, a checkout of another owner, which git refuses to look at, a damaged repository.
    """
    with contextlib.suppress(Exception):
        import git  # here, since importing it looks for the git program, and fails where there is none

        with git.Repo(
            Path(__file__).resolve().parent.parent
        ) as repository:  # leaving ends the processes it started
            return repository.head.commit.hexsha + ("+changes" if repository.is_dirty() else "")
    return None


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl, in order; none where there is no file. A line that a killed run or a full disk cut short is left out."""
    entries = []
    with contextlib.suppress(FileNotFoundError):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValueError, RecursionError):
                entry = json.loads(line)
                if isinstance(entry, dict) and isinstance(entry.get("iteration"), int):
                    entries.append(entry)
    return entries


class MetricsLog:
    """What a training of `total` iterations shows of itself: TensorBoard, metrics.jsonl (a JSON object a line) and printed lines, in the main process alone.

    every: iterations between two lines. resumed_at: the iteration training goes on from; what an earlier run recorded beyond it is dropped, since it comes
    again (0: all of it). device: whose memory is reported. A disk that is full costs what could not be written, with a warning, never the training.
    """

    def __init__(
        self,
        folder: Path,
        total: int,
        every: int,
        *,
        resumed_at: int = 0,
        device: torch.device | None = None,
    ):
        from torch.utils.tensorboard import SummaryWriter  # here, since it is slow to import

        folder.mkdir(parents=True, exist_ok=True)
        self._total, self._every, self._first_iteration = total, every, resumed_at
        self._device = device or torch.device("cpu")
        self._path = folder / METRICS_NAME
        self._drop_lines_beyond(resumed_at)
        self._board: SummaryWriter | None = SummaryWriter(str(folder), purge_step=resumed_at + 1)
        self._torn = False  # the file may end within a line
        self._begin_interval()

    def step(
        self,
        iteration: int,
        waited_seconds: float,
        values: Mapping[str, Tensor | float],
        *,
        learning_rate: float | None = None,
        skipped_files: int = 0,
    ) -> None:
        """After every iteration (steps done), with the time it waited for data; every `every` iterations and at the last, a line.

        values: loss and the like, of which the line gives the mean over the iterations since the line before. Tensors of no dimensions may be on any
        device: they are summed up there and read at the line alone, so that a GPU is not waited for. learning_rate and skipped_files are shown as they are.
        """
        self._steps += 1
        self._waited_seconds += waited_seconds
        for name, value in values.items():
            value = value.detach().float() if isinstance(value, Tensor) else value
            self._sums[name] = self._sums[name] + value if name in self._sums else value
        if iteration % self._every and iteration != self._total:
            return
        entry = {
            name: float(total) / self._steps for name, total in self._sums.items()
        }  # waits for the device
        elapsed = time.perf_counter() - self._since
        entry |= {} if learning_rate is None else {"learning_rate": learning_rate}
        entry |= {
            "steps_per_second": self._steps / elapsed,
            "waiting_share": self._waited_seconds / elapsed,
        }
        entry |= {"peak_memory_mb": max(self._peak_mb, peak_memory_mb(self._device))}
        entry |= {"skipped_files": skipped_files} if skipped_files else {}
        self._record(iteration, entry)
        self._begin_interval()

    def scalars(self, iteration: int, values: Mapping[str, float]) -> None:
        """A line of its own for values that come now and then, such as the scores of a validation."""
        self._record(iteration, values)

    def image(self, tag: str, picture: Tensor, iteration: int) -> None:
        """A picture uint8 RGB [3, H, W] in TensorBoard."""
        self._show(lambda board: board.add_image(tag, picture, iteration))

    def text(self, tag: str, text: str) -> None:
        """A text (Markdown) in TensorBoard, such as the configuration."""
        self._show(lambda board: board.add_text(tag, text, self._first_iteration))

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Work that is no step of training (validation, saving): its time and memory count in no line."""
        start = time.perf_counter()
        self._peak_mb = max(self._peak_mb, peak_memory_mb(self._device))
        try:
            yield
        finally:
            reset_peak_memory(self._device)
            self._since += time.perf_counter() - start

    def close(self) -> None:
        """Write out what is pending."""
        self._show(lambda board: board.close())

    def _begin_interval(self) -> None:
        self._since, self._steps, self._waited_seconds, self._peak_mb = (
            time.perf_counter(),
            0,
            0.0,
            0.0,
        )
        self._sums: dict[str, Tensor | float] = {}
        reset_peak_memory(self._device)

    def _record(self, iteration: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._show(
                lambda board, name=name, value=value: board.add_scalar(name, value, iteration)
            )
        line = json.dumps({"iteration": iteration, **values}) + "\n"
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write("\n" + line if self._torn else line)
            self._torn = False
        except OSError as error:
            self._torn = True
            print(
                f"warning: {self._path}: the metrics of iteration {iteration} could not be written ({error.strerror}); training goes on",
                file=sys.stderr,
                flush=True,
            )
        with contextlib.suppress(OSError):  # stdout may be a file on that disk
            print(
                f"{iteration}/{self._total}  "
                + "  ".join(_shown(name, value) for name, value in values.items()),
                flush=True,
            )

    def _show(self, write: Callable[[Any], None]) -> None:
        """Write to TensorBoard. Its writing thread ends at the first error, so that after one nothing more is given to it."""
        if self._board is None:
            return
        try:
            write(self._board)
        except OSError as error:
            self._board = None
            print(
                f"warning: {self._path.parent}: no more is written for TensorBoard ({error.strerror}); training goes on",
                file=sys.stderr,
                flush=True,
            )

    def _drop_lines_beyond(self, iteration: int) -> None:
        """Also drops a line cut short, after which none may be appended."""
        if not self._path.exists():
            return
        kept = [entry for entry in read_metrics(self._path) if entry["iteration"] <= iteration]
        with atomic_write(self._path) as file:
            file.write("".join(json.dumps(entry) + "\n" for entry in kept).encode())


_SHOWN = {  # name in metrics.jsonl → how the printed line shows it; others as NAME VALUE
    "learning_rate": "lr {:.3g}",
    "steps_per_second": "{:.2f} steps/s",
    "waiting_share": "waiting {:.1%}",
    "peak_memory_mb": "memory {:.0f} MB",
    "skipped_files": "skipped files {}",
}


def _shown(name: str, value: float) -> str:
    return _SHOWN[name].format(value) if name in _SHOWN else f"{name} {value:.4g}"


_PACKAGES = (
    ("torch",),
    ("torchvision",),
    ("numpy",),
    ("opencv-python", "opencv-python-headless"),
    ("av",),
    ("pillow",),
)  # of several names, one suffices


def package_versions() -> dict[str, str]:
    """Python, CUDA and the packages that compute, by name; "not installed" where one is missing."""
    versions = {"python": platform.python_version(), "cuda": torch.version.cuda or "none"}
    for names in _PACKAGES:
        found = next(
            ((name, version) for name in names if (version := _version(name))),
            (names[0], "not installed"),
        )
        versions[found[0]] = found[1]
    return versions


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
