"""What a run leaves behind about itself: configuration, metrics by step, the code's version."""

import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from util.files import atomic_write


def write_json(path: Path, content: Any) -> None:
    """Indented JSON, atomically."""
    with atomic_write(path) as file:
        file.write((json.dumps(content, indent=2) + "\n").encode())


def git_commit() -> str | None:
    """The commit of the repository this code lies in, with `+changes` where files differ from it; None outside a repository."""
    try:
        import git  # here, since importing it looks for the git program, and fails where there is none
    except ImportError:
        return None
    with contextlib.suppress(git.exc.GitError):
        repository = git.Repo(Path(__file__).resolve().parent.parent)
        with contextlib.suppress(ValueError):  # no commit yet
            return repository.head.commit.hexsha + ("+changes" if repository.is_dirty() else "")
    return None


class MetricsLog:
    """Scalars of a training of `total` iterations: TensorBoard, metrics.jsonl (a JSON object a line) and a printed line, every `every` iterations."""

    def __init__(self, folder: Path, total: int, every: int):
        from torch.utils.tensorboard import SummaryWriter  # here, since it is slow to import

        folder.mkdir(parents=True, exist_ok=True)
        self._total, self._every = total, every
        self._board = SummaryWriter(str(folder))
        self._file = (folder / "metrics.jsonl").open("a", encoding="utf-8")
        self._since, self._steps, self._waited_seconds = time.perf_counter(), 0, 0.0

    def step(self, iteration: int, waited_seconds: float, scalars: Callable[[], dict[str, float]]) -> None:
        """After every iteration (steps done) with the time it waited for data; `scalars` is asked only when a line is due, since reading them can stall a GPU."""
        self._steps += 1
        self._waited_seconds += waited_seconds
        if iteration % self._every and iteration != self._total:
            return
        values = scalars()
        elapsed = time.perf_counter() - self._since
        values |= {"steps_per_second": self._steps / elapsed, "waiting_share": self._waited_seconds / elapsed}
        for name, value in values.items():
            self._board.add_scalar(name, value, iteration)
        self._file.write(json.dumps({"iteration": iteration, **values}) + "\n")
        self._file.flush()
        print(f"{iteration}/{self._total}  " + "  ".join(f"{name} {value:.4g}" for name, value in values.items()), flush=True)
        self._since, self._steps, self._waited_seconds = time.perf_counter(), 0, 0.0

    def close(self) -> None:
        """Write out what is pending."""
        self._board.close()
        self._file.close()
