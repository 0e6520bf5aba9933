"""The record of a training in runs/ID: configuration, metrics, checkpoints, curves, weights."""

import contextlib
import dataclasses
import json
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.checkpoint import save_weights
from model.training.checkpoints import (
    newest_checkpoint,
    save_checkpoint,
    save_rotating,
    set_aside_beyond,
)
from model.training.loss_monitor import LossMonitor
from model.training.rollout import RolloutResult
from model.training.trainer import Trainer
from util.charts import draw_curves
from util.distributed import exit_together_on_error, is_main, max_over_processes, rank, world_size
from util.errors import EXIT_INPUT_ERROR, InputError
from util.files import check_plain_name, remove_unfinished, write_json
from util.folder_lock import folder_lock
from util.ranges import bounded
from util.run_record import MetricsLog, git_commit, package_versions

RUNS_FOLDER = Path("runs")
_LOGGER = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecordConfig:
    """How often a run records what, in iterations, by the names of the flags."""

    save_every: int = bounded(1000, at_least=1)
    keep_checkpoints: int = bounded(3, at_least=0)  # the newest; 0: all
    log_every: int = bounded(100, at_least=1)
    image_every: int = bounded(1000, at_least=0)  # 0: never
    val_every: int = bounded(5000, at_least=1)


def describe_run(
    trainer: Trainer, flags: Mapping[str, Any], data: Mapping[str, Any]
) -> dict[str, Any]:
    """What made a run, as plain values for config.json and its checkpoints.

    data: a summary of what the samples are drawn from.
    """
    return {
        "training": trainer.config.as_dict(),
        "network": trainer.network.config.as_dict(),
        "flags": dict(flags),
        "processes": world_size(),
        "data": dict(data),
        "git_commit": git_commit(),
        "versions": package_versions(),
    }


class Run:
    """The folder of one training. Every process has a Run; the main process alone writes."""

    def __init__(
        self,
        folder: Path,
        config: RecordConfig,
        trainer: Trainer,
        description: Mapping[str, Any],
        files: dict[str, list[list[str]]],
    ):
        """Begin or resume the record.

        description: see describe_run. files: what the samples are drawn from, by kind of samples
        (in the main process), for the checkpoints.
        """
        self.folder, self.config, self.trainer = folder, config, trainer
        self.description, self.files = description, files
        self._saved_iteration: int | None = None  # of the last checkpoint that was written
        self._handled_iteration = trainer.iteration  # saved, or tried to be saved
        if not is_main():
            return
        for path in set_aside_beyond(self._checkpoints, trainer.iteration):
            print(f"{path}: set aside, since training resumes from iteration {trainer.iteration}")
        for written in (folder, self._checkpoints):
            remove_unfinished(written)
        write_json(folder / "config.json", description)
        self.log = MetricsLog(
            folder,
            trainer.config.iterations,
            config.log_every,
            resumed_at=trainer.iteration,
            device=trainer.device,
        )
        for name, value in description.items():
            print(f"{name}: {json.dumps(value)}")
        if trainer.config.warmup_iterations >= trainer.config.iterations:
            print(
                f"note: the learning rate rises over {trainer.config.warmup_iterations:,} "
                "iterations, longer than this training; --warmup_iterations sets it"
            )
        self.log.text("configuration", f"```\n{json.dumps(description, indent=2)}\n```")

    @property
    def _checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    def is_due(self, every: int) -> bool:
        """Whether something that happens every so many iterations, and at the last, happens now.

        every: 0 means never.
        """
        iteration = self.trainer.iteration
        is_last = iteration == self.trainer.config.iterations
        return every > 0 and (is_last or iteration % every == 0)

    def waits_for_losses(self) -> bool:
        """Whether the next step may wait for the losses.

        On the CPU always, since it has no queue of work. On a GPU only if something is logged or
        saved after the step, so that the GPU is never idle in between.
        """
        iteration = self.trainer.iteration + 1
        every = (self.config.log_every, self.config.save_every, self.config.val_every)
        return (
            self.trainer.device.type == "cpu"
            or iteration == self.trainer.config.iterations
            or any(iteration % n == 0 for n in every)
        )

    def paused(self) -> contextlib.AbstractContextManager[None]:
        """Leave the time and the memory of this block out of the metrics."""
        return self.log.paused() if is_main() else contextlib.nullcontext()

    def log_step(
        self, results: Sequence[RolloutResult], waited_seconds: float, skipped_files: int
    ) -> None:
        """Log an iteration's losses after its step.

        results: of the accumulated parts. waited_seconds: time spent waiting for data.
        skipped_files: number of files that could not be used so far.
        """
        if not is_main():
            return
        values = {
            "loss": [result.loss.detach() for result in results],
            "iou": [result.iou for result in results],
        }
        if len(results[0].parts) > 1:
            values |= {
                name: [result.parts[name] for result in results] for name in results[0].parts
            }
        self.log.step(
            self.trainer.iteration,
            waited_seconds,
            {name: torch.stack(parts).mean() for name, parts in values.items()},
            learning_rate=self.trainer.scheduler.get_last_lr()[0],
            skipped_files=skipped_files,
        )

    def check_losses(
        self, monitor: LossMonitor, load_parts: Callable[[int], list[dict[str, Tensor]]]
    ) -> None:
        """End the training in every process if a loss has gone wrong in one of them.

        This happens before anything that the loss affected is saved. load_parts: loads this
        process's parts of the batch of an iteration again, to keep them in a file.
        Raises InputError in the processes whose loss has gone wrong, SystemExit in the others.
        """
        found = monitor.check()
        (is_wrong_anywhere,) = max_over_processes(found is not None)
        if not is_wrong_anywhere:
            return
        if found is None:
            raise SystemExit(EXIT_INPUT_ERROR)
        iteration, problem = found
        path = self.folder / f"bad_batch_{iteration:06d}_process{rank()}.pth"
        content = {"iteration": iteration, "trouble": problem, "parts": load_parts(iteration)}
        with warn_if_unsaved("the batch"):
            save_checkpoint(path, content)
        raise InputError(
            f"iteration {iteration}: {problem}; its batch is kept in {path}, "
            "the checkpoints are unchanged; look at it, or lower --lr"
        )

    def save(self) -> None:
        """Write a checkpoint. Every process takes part.

        If the disk is full, the checkpoint is skipped with a warning and older ones are kept.
        """
        state = self.trainer.state(self.description, self.files)
        self._handled_iteration = self.trainer.iteration
        what = f"the checkpoint of iteration {self.trainer.iteration}"
        with self.paused(), warn_if_unsaved(what):
            if is_main():
                save_rotating(self._checkpoints, state, self.config.keep_checkpoints)
                self._saved_iteration = self.trainer.iteration

    def draw(self) -> None:
        """Draw the curves so far."""
        with self.paused(), warn_if_unsaved(f"the curves of iteration {self.trainer.iteration}"):
            if is_main():
                draw_curves(self.folder, str(self.folder.relative_to(RUNS_FOLDER)))

    def save_unsaved(self) -> None:
        """Stop if there are iterations after the last checkpoint, because of an error between two
        iterations that every process knows of."""
        if self._handled_iteration != self.trainer.iteration:
            self.stop()

    def stop(self) -> None:
        """Save everything needed to resume, before the program ends early."""
        self.save()
        self.draw()
        if is_main():
            self.log.close()
            is_saved = self._saved_iteration == self.trainer.iteration
            lost = "" if is_saved else ", without a checkpoint of it"
            print(
                f"stopped at iteration {self.trainer.iteration}{lost}; resume with "
                "--load_model auto",
                file=sys.stderr,
                flush=True,
            )

    def finish(self) -> None:
        """Write the final weights, at the end of the training."""
        if is_main():
            save_weights(self.folder / "weights.pth", self.trainer.final_network)
            self.log.close()
            print(f"weights: {self.folder / 'weights.pth'}")


@contextlib.contextmanager
def warn_if_unsaved(what: str) -> Iterator[None]:
    """Turn an OSError, such as a full disk, into a warning that `what` could not be saved."""
    try:
        yield
    except OSError as error:
        _LOGGER.warning("%s could not be saved (%s); what was saved before is kept", what, error)


@contextlib.contextmanager
def locked_run(run_id: str) -> Iterator[Path]:
    """Keep other trainings out of runs/ID while the block runs, and give its folder.

    Raises InputError in every process if another training holds the folder, or if the id leads
    out of runs/.
    """
    folder = RUNS_FOLDER / run_id
    with contextlib.ExitStack() as stack:
        with exit_together_on_error():
            for part in run_id.split("/"):
                check_plain_name(part, f"--id {run_id}")
            if any("\ud800" <= character <= "\udfff" for character in run_id):
                raise InputError(
                    f"--id {run_id}: is not UTF-8, which TensorBoard needs for its folders; "
                    "choose another"
                )
            if is_main():
                remedy = "wait until it has ended, or choose another --id"
                stack.enter_context(folder_lock(folder, remedy))
        yield folder


def choose_checkpoint(folder: Path, load_model: str | None) -> Path | None:
    """The checkpoint to resume from; None to start from scratch.

    load_model: a file, or `auto` for the newest undamaged checkpoint of the run in `folder`.
    Raises InputError if the run exists and nothing says to resume it.
    """
    if load_model == "auto":
        found = newest_checkpoint(folder / "checkpoints")
        if found is None:
            print(f"{folder}/checkpoints: no checkpoint to resume from, starting from scratch")
        else:
            print(f"resuming from {found}")
        return found
    if load_model is None and (folder / "config.json").exists():
        raise InputError(
            f"{folder}: this run exists; resume it with --load_model auto, or choose another --id"
        )
    return Path(load_model) if load_model else None
