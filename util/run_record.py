"""What a run leaves behind about itself: configuration, metrics by step, the code's version."""

import contextlib
import json
from pathlib import Path
from typing import Any

import torch

from util.files import atomic_write


def write_json(path: Path, content: Any) -> None:
    """Indented JSON, atomically."""
    with atomic_write(path) as file:
        file.write((json.dumps(content, indent=2) + "\n").encode())


def git_commit() -> str | None:
    """The commit of the repository this code lies in, with `+changes` where files differ from it; None outside a repository."""
    import git  # here, since importing it looks for the git program

    with contextlib.suppress(git.exc.GitError):
        repository = git.Repo(Path(__file__).resolve().parent.parent)
        with contextlib.suppress(ValueError):  # no commit yet
            return repository.head.commit.hexsha + ("+changes" if repository.is_dirty() else "")
    return None


class MetricsLog:
    """Scalars of a training by step: TensorBoard, metrics.jsonl (a JSON object a line) and one printed line."""

    def __init__(self, folder: Path):
        from torch.utils.tensorboard import SummaryWriter  # here, since it is slow to import

        folder.mkdir(parents=True, exist_ok=True)
        self._board = SummaryWriter(str(folder))
        self._file = (folder / "metrics.jsonl").open("a", encoding="utf-8")

    def write(self, iteration: int, total: int, scalars: dict[str, float]) -> None:
        """Record scalars at an iteration (steps done) of `total`."""
        for name, value in scalars.items():
            self._board.add_scalar(name, value, iteration)
        self._file.write(json.dumps({"iteration": iteration, **scalars}) + "\n")
        self._file.flush()
        print(f"{iteration}/{total}  " + "  ".join(f"{name} {value:.4g}" for name, value in scalars.items()), flush=True)

    def close(self) -> None:
        """Write out what is pending."""
        self._board.close()
        self._file.close()


def set_seed(seed: int) -> None:
    """Seed torch's global generator (network initialisation); all other randomness carries its own."""
    torch.manual_seed(seed)
