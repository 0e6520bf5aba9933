"""What a run records about itself: metrics by iteration, the code's commit, package versions.

Legend: H W height and width of a picture in pixels.
"""

import contextlib
import importlib.metadata
import json
import logging
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from util.device import peak_memory_mb, reset_peak_memory
from util.files import atomic_write

METRICS_NAME = "metrics.jsonl"
# The packages whose versions results depend on; of several names, one is installed.
_PACKAGES = (
    ("torch",),
    ("torchvision",),
    ("numpy",),
    ("opencv-python", "opencv-python-headless"),
    ("av",),
    ("pillow",),
)
# Names in metrics.jsonl and how the printed line shows their values; others as NAME VALUE.
_PRINTED_AS = {
    "learning_rate": "lr {:.3g}",
    "steps_per_second": "{:.2f} steps/s",
    "waiting_share": "waiting {:.1%}",
    "peak_memory_mb": "memory {:.0f} MB",
    "skipped_files": "skipped files {}",
}
_LOGGER = logging.getLogger(__name__)


def git_commit() -> str | None:
    """The commit of the repository that holds this code, with `+changes` if files differ from it.

    None outside a repository, and if anything else goes wrong: git is not installed, or refuses a
    checkout of another owner, or the repository is damaged. The commit is only a note.
    """
    with contextlib.suppress(Exception):
        import git  # here, since importing it searches for the git program and fails without one

        # Leaving the context ends the processes that it started.
        with git.Repo(Path(__file__).resolve().parent.parent) as repository:
            return repository.head.commit.hexsha + ("+changes" if repository.is_dirty() else "")
    return None


def package_versions() -> dict[str, str]:
    """The versions of Python, CUDA and the packages that compute; "not installed" if missing."""
    versions = {"python": platform.python_version(), "cuda": torch.version.cuda or "none"}
    for names in _PACKAGES:
        installed = {name: version for name in names if (version := _version(name))}
        name, version = next(iter(installed.items()), (names[0], "not installed"))
        versions[name] = version
    return versions


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl, in order; none if the file does not exist. A line that a
    killed run or a full disk cut short is skipped."""
    entries = []
    with contextlib.suppress(FileNotFoundError):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValueError, RecursionError):
                entry = json.loads(line)
                if isinstance(entry, dict) and isinstance(entry.get("iteration"), int):
                    entries.append(entry)
    return entries


class MetricsLog:
    """The metrics of a training, in TensorBoard, in metrics.jsonl (a JSON object a line) and as
    printed lines. For the main process only.

    If the disk is full, what could not be written is lost with a warning; the training continues.
    """

    def __init__(
        self,
        folder: Path,
        total_iterations: int,
        log_every_iterations: int,
        *,
        resumed_at: int = 0,
        device: torch.device | None = None,
    ):
        """folder: of the run, created if missing.
        resumed_at: the iteration from which training resumes. What an earlier run recorded beyond
            it is dropped, since it will be recorded again; 0 drops everything.
        device: whose memory is recorded; the CPU unless given.
        """
        from torch.utils.tensorboard import SummaryWriter  # here, since it is slow to import

        folder.mkdir(parents=True, exist_ok=True)
        self._total_iterations, self._log_every_iterations = total_iterations, log_every_iterations
        self._first_iteration = resumed_at
        self._device = device or torch.device("cpu")
        self._path = folder / METRICS_NAME
        self._drop_lines_beyond(resumed_at)
        self._board: SummaryWriter | None = SummaryWriter(str(folder), purge_step=resumed_at + 1)
        self._ends_within_line = False  # of the file: writing a line failed
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
        """Record an iteration. Must be called after each; every `log_every_iterations` and after
        the last, a line is written.

        iteration: the number of finished iterations.
        waited_seconds: the time this iteration waited for data.
        values: losses and the like, whose means since the last line are written. Scalar tensors
            may be on any device; they are added up there and read only when a line is written, so
            that the host does not wait for a GPU.
        learning_rate, skipped_files: written unchanged.
        """
        self._steps += 1
        self._waited_seconds += waited_seconds
        for name, value in values.items():
            value = value.detach().float() if isinstance(value, Tensor) else value
            self._sums[name] = self._sums[name] + value if name in self._sums else value
        if iteration % self._log_every_iterations and iteration != self._total_iterations:
            return
        # Waits for the device, so it must precede the measurement of time.
        entry = {name: float(total) / self._steps for name, total in self._sums.items()}
        elapsed_seconds = time.perf_counter() - self._start_seconds
        if learning_rate is not None:
            entry["learning_rate"] = learning_rate
        entry["steps_per_second"] = self._steps / elapsed_seconds
        entry["waiting_share"] = self._waited_seconds / elapsed_seconds
        entry["peak_memory_mb"] = max(self._peak_mb, peak_memory_mb(self._device))
        if skipped_files:
            entry["skipped_files"] = skipped_files
        self._record(iteration, entry)
        self._begin_interval()

    def scalars(self, iteration: int, values: Mapping[str, float]) -> None:
        """Write a line for values that come rarely, such as the scores of a validation."""
        self._record(iteration, values)

    def image(self, tag: str, picture: Tensor, iteration: int) -> None:
        """Show a picture uint8 RGB [3, H, W] in TensorBoard."""
        self._write_to_board(lambda board: board.add_image(tag, picture, iteration))

    def text(self, tag: str, text: str) -> None:
        """Show a text (Markdown) in TensorBoard, such as the configuration."""
        self._write_to_board(lambda board: board.add_text(tag, text, self._first_iteration))

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Exclude the time and memory of the block (validation, saving) from all lines."""
        start_seconds = time.perf_counter()
        self._peak_mb = max(self._peak_mb, peak_memory_mb(self._device))
        try:
            yield
        finally:
            reset_peak_memory(self._device)
            self._start_seconds += time.perf_counter() - start_seconds

    def close(self) -> None:
        """Write what is pending."""
        self._write_to_board(lambda board: board.close())

    def _begin_interval(self) -> None:
        self._start_seconds = time.perf_counter()
        self._steps = 0
        self._waited_seconds = 0.0
        self._peak_mb = 0.0
        self._sums: dict[str, Tensor | float] = {}
        reset_peak_memory(self._device)

    def _record(self, iteration: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._write_to_board(
                lambda board, name=name, value=value: board.add_scalar(name, value, iteration)
            )
        line = json.dumps({"iteration": iteration, **values}) + "\n"
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write("\n" + line if self._ends_within_line else line)
            self._ends_within_line = False
        except OSError as error:
            self._ends_within_line = True
            _LOGGER.warning(
                "%s: the metrics of iteration %d could not be written (%s); training continues",
                self._path,
                iteration,
                error.strerror,
            )
        printed = "  ".join(_printed(name, value) for name, value in values.items())
        with contextlib.suppress(OSError):  # stdout may be a file on that disk
            print(f"{iteration}/{self._total_iterations}  {printed}", flush=True)

    def _write_to_board(self, write: Callable[[Any], None]) -> None:
        """Write to TensorBoard until the first error, with which its writing thread ends."""
        if self._board is None:
            return
        try:
            write(self._board)
        except OSError as error:
            self._board = None
            _LOGGER.warning(
                "%s: nothing more is written for TensorBoard (%s); training continues",
                self._path.parent,
                error.strerror,
            )

    def _drop_lines_beyond(self, iteration: int) -> None:
        """Also drops a line that was cut short, to which nothing could be appended."""
        if not self._path.exists():
            return
        kept = [entry for entry in read_metrics(self._path) if entry["iteration"] <= iteration]
        with atomic_write(self._path) as file:
            file.write("".join(json.dumps(entry) + "\n" for entry in kept).encode())


def _printed(name: str, value: float) -> str:
    return _PRINTED_AS[name].format(value) if name in _PRINTED_AS else f"{name} {value:.4g}"
