"""The batches of a training, an iteration at a time."""

import dataclasses
import itertools
import sys
import time
from collections.abc import Iterator

from torch import Tensor

from dataset.training.loading import (
    DEFAULT_PATIENCE_SECONDS,
    TrainingBatch,
    training_batches,
)
from dataset.training.samples import MixedTrainingData
from dataset.training.skipped_files import SkipLog
from util.distributed import exit_together_on_error
from util.ranges import bounded


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoadingConfig:
    """How samples are loaded, by the names of train.py's flags. Samples do not depend on it."""

    num_workers: int = bounded(at_least=0)  # loading processes beside each training process
    worker_patience: int = bounded(DEFAULT_PATIENCE_SECONDS, at_least=1)  # seconds
    cache_megabytes: int = bounded(1500, at_least=0)  # of decoded images, per loading process


@dataclasses.dataclass(frozen=True)
class IterationBatch:
    """This process's share of one iteration's batch."""

    parts: list[TrainingBatch]  # accumulated one after the other
    waited_seconds: float


class IterationLoader:
    """This process's share of every batch, from an iteration to the last.

    The files that could not be used are counted in `skipped`, and each is named on stderr.
    """

    def __init__(
        self,
        data: MixedTrainingData,
        config: LoadingConfig,
        *,
        batch_size: int,
        accumulate: int,
        first_iteration: int,
        pin_memory: bool,
    ):
        """batch_size: samples per iteration, over all processes. accumulate: parts into which
        each process's share is divided. pin_memory: for copies to a CUDA device. Raises InputError
        if the batch size is not a multiple of processes × accumulate."""
        self.skipped = SkipLog(data.total_files)
        self._data, self._batch_size, self._accumulate = data, batch_size, accumulate
        self._batches: Iterator[TrainingBatch] = training_batches(
            data,
            batch_size,
            first_iteration,
            config.num_workers,
            accumulate,
            config.worker_patience,
            pin_memory=pin_memory,
        )

    def next(self) -> IterationBatch:
        """The next batch. Every process must ask, and all end if loading fails in one.

        Raises InputError if too many files are damaged, or if loading fails (see
        training_batches); SystemExit in several processes.
        """
        start = time.perf_counter()
        with exit_together_on_error():
            parts = [next(self._batches) for _ in range(self._accumulate)]
            waited_seconds = time.perf_counter() - start
            for line in self.skipped.add(file for part in parts for file in part.skipped):
                print(line, file=sys.stderr, flush=True)
            self.skipped.check()
        return IterationBatch(parts, waited_seconds)

    def load_again(self, iteration: int) -> list[dict[str, Tensor]]:
        """The tensors of each part of an earlier batch."""
        batches = training_batches(
            self._data, self._batch_size, iteration, workers=0, accumulate=self._accumulate
        )
        return [dict(batch.tensors) for batch in itertools.islice(batches, self._accumulate)]

    def close(self) -> None:
        """End the loading processes."""
        self._batches.close()
