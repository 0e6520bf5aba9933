"""Checkpoints of a training: their content, and which of them are kept, resumed or set aside."""

import dataclasses
import logging
import os
from pathlib import Path
from typing import Any

from torch import Tensor

from model.archive import write_archive
from model.checkpoint import check_values, find_wrong_value, network_state, read_checkpoint
from util.errors import InputError

_LOG = logging.getLogger(__name__)


def save_checkpoint(path: str | os.PathLike, content: dict[str, Any]) -> None:
    """torch.save with a checksum, atomically: the file is whole or absent."""
    write_archive(path, content)


@dataclasses.dataclass(frozen=True)
class TrainingState:
    """Everything needed to resume a training.

    files records what samples are drawn from (dataset/training/record.py); None in older
    checkpoints.
    """

    network: dict[str, Tensor]
    average: dict[str, Tensor] | None
    optimizer: dict[str, Any]
    scheduler: dict[str, Any]
    scaler: dict[str, Any]
    iteration: int  # steps done; the data position follows from it
    random_states: list[dict[str, Any]]  # of each process
    network_config: dict[str, Any]
    training_config: dict[str, Any]
    record: dict[str, Any]  # further facts of the run: roots, git commit, package versions
    files: dict[str, list[list[str]]] | None = None

    @staticmethod
    def from_checkpoint(path: str | os.PathLike) -> "TrainingState":
        """Read a checkpoint. Raises InputError if the file holds only a network, or is damaged."""
        content = read_checkpoint(path)
        try:
            state = TrainingState(**content)
        except TypeError as error:
            raise InputError(
                f"{path}: not a training checkpoint ({error}); "
                "to start from its network alone use --load_network"
            ) from error
        for name in ("network", "average"):
            if getattr(state, name) is not None:
                check_values(network_state({name: getattr(state, name)}, path), path)
        return state

    def save(self, path: str | os.PathLike) -> None:
        """Write atomically. Raises InputError for wrong values; earlier checkpoints are kept."""
        wrong = find_wrong_value(self.network) or find_wrong_value(self.average or {})
        if wrong is not None:
            raise InputError(
                f"{path}: not written, since {wrong}: the training diverged; "
                "resume from an earlier checkpoint, at a lower --lr"
            )
        save_checkpoint(
            path, {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        )


def save_rotating(folder: Path, state: TrainingState, keep: int) -> None:
    """Save as FOLDER/ITERATION.pth; then remove all but the newest `keep` checkpoints up to it.

    keep: 0 keeps all. Nothing is removed before the new checkpoint is whole.
    """
    state.save(folder / f"{state.iteration:06d}.pth")
    earlier = [path for path in _by_iteration(folder) if int(path.stem) <= state.iteration]
    for path in earlier[:-keep] if keep else []:
        path.unlink()


def set_aside_beyond(folder: Path, iteration: int) -> list[Path]:
    """Rename checkpoints of later iterations than the resumed one; returns their new paths.

    They are damaged, or of a training that was abandoned, and must not be taken for this one's.
    """
    later = [path for path in _by_iteration(folder) if int(path.stem) > iteration]
    return [path.replace(path.with_suffix(".pth.aside")) for path in later]


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint in a folder, or None; skips damaged ones with a warning."""
    for path in reversed(_by_iteration(folder)):
        try:
            TrainingState.from_checkpoint(path)
            return path
        except InputError as error:
            _LOG.warning("%s; skipped", error)
    return None


def _by_iteration(folder: Path) -> list[Path]:
    return sorted(
        (path for path in folder.glob("*.pth") if path.stem.isdecimal()),
        key=lambda path: int(path.stem),
    )
