"""Batches of training samples, loaded by worker processes that are watched.

A worker that dies, hangs or runs out of memory becomes an InputError at the next batch, so that the
training can save a checkpoint first.
"""

import atexit
import contextlib
import multiprocessing
import signal
import threading
import traceback
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any, NamedTuple, NoReturn

import cv2
import torch
from torch import Tensor
from torch.utils.data import DataLoader, default_collate

from dataset.training.samples import MixedTrainingData, TrainingItem
from dataset.training.skipped_files import SkippedFile
from util.distributed import rank, world_size
from util.errors import InputError, is_out_of_memory
from util.text import counted

DEFAULT_PATIENCE_SECONDS = 300
_BATCHES_PREFETCHED_BY_WORKER = 4
_ENDING_SECONDS = 5  # for a worker that was killed
_LESS_MEMORY = "give fewer --num_workers or a smaller --cache_megabytes"


class TrainingBatch(NamedTuple):
    """Stacked samples, and the files that were skipped while they were drawn."""

    tensors: dict[str, Tensor]
    skipped: list[SkippedFile]


def training_batches(
    data: MixedTrainingData,
    batch_size: int,
    first_iteration: int = 0,
    workers: int = 1,
    accumulate: int = 1,
    patience_seconds: int = DEFAULT_PATIENCE_SECONDS,
    *,
    pin_memory: bool = False,
) -> Iterator[TrainingBatch]:
    """Load this process's share of all batches from `first_iteration` on.

    batch_size: samples of an iteration, over all processes. Iteration i consists of the items from
    i * batch_size on; each process loads a contiguous share of them, as `accumulate` contiguous
    TrainingBatches. workers: loading processes; 0 loads in this process. patience_seconds: without
    a batch for this long, the workers count as hung. pin_memory: for copies to a CUDA device; it
    opens a context there, so leave it off for other devices.
    Raises: InputError if the batch size is not a multiple of processes × accumulate, and while
    iterating, if a worker raises one, dies, hangs, or runs out of memory.
    """
    processes = world_size()
    if batch_size % (processes * accumulate):
        raise InputError(
            f"batch size {batch_size}: {counted(processes, 'process', 'es')} x "
            f"{counted(accumulate, 'accumulated part')} do not divide it; choose one that they do"
        )
    share, part = batch_size // processes, batch_size // (processes * accumulate)
    firsts = (
        iteration * batch_size + rank() * share + position * part
        for iteration in range(first_iteration, len(data) // batch_size)
        for position in range(accumulate)
    )
    if workers:
        atexit.register(_end_workers)
    loader = DataLoader(
        data,
        batch_sampler=[range(first, first + part) for first in firsts],
        collate_fn=_collate,
        num_workers=workers,
        worker_init_fn=prepare_worker if workers else None,
        prefetch_factor=_BATCHES_PREFETCHED_BY_WORKER if workers else None,
        pin_memory=pin_memory,
        # without its own generator, the loader would advance the global one, which a resumed
        # training expects in the state it saved
        generator=torch.Generator(),
    )
    return _watched_batches(loader, patience_seconds if workers else 0)


def _collate(items: Sequence[TrainingItem]) -> TrainingBatch:
    return TrainingBatch(
        default_collate([item.tensors for item in items]),
        [file for item in items for file in item.skipped],
    )


def prepare_worker(worker: int = 0) -> None:
    """Prepare a loading process, as a DataLoader's `worker_init_fn`.

    OpenCV uses only the worker's own thread, so that the workers do not take cores from the
    training. The worker ignores SIGINT and SIGTERM: a scheduler or Ctrl-C sends them to the whole
    process group, while the main process still finishes its step and saves a checkpoint.
    """
    cv2.setNumThreads(0)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _end_workers() -> None:
    """Kill workers that an error has kept alive until the process exits.

    multiprocessing would send SIGTERM, which they ignore, and then wait forever.
    """
    if hasattr(signal, "SIGCHLD"):
        # torch's handler would report the killed workers as crashed
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _kill_workers()


def _kill_workers() -> list[multiprocessing.process.BaseProcess]:
    workers = [process for process in multiprocessing.active_children() if process.daemon]
    for process in workers:
        process.kill()
    return workers


def _kill_workers_unreported() -> None:
    """Kill the workers after an error, and wait until they have ended.

    torch's handler of SIGCHLD would report their deaths, in place of the error.
    """
    is_main_thread = threading.current_thread() is threading.main_thread()
    is_handled = is_main_thread and hasattr(signal, "SIGCHLD")
    before = signal.signal(signal.SIGCHLD, signal.SIG_DFL) if is_handled else None
    for process in _kill_workers():
        process.join(_ENDING_SECONDS)
    if before is not None:
        signal.signal(signal.SIGCHLD, before)


def _watched_batches(
    loader: DataLoader[TrainingBatch], patience_seconds: int
) -> Iterator[TrainingBatch]:
    with _describe_loading_errors():
        batches = iter(loader)
        # after iter(), which installs torch's own handler of SIGCHLD
        with _WorkerWatch(patience_seconds) as watch:
            try:
                while True:
                    with watch.waiting():
                        batch = next(batches, None)
                    if batch is None:
                        return
                    yield batch
            except Exception as error:
                if not isinstance(error, InputError):
                    _kill_workers_unreported()  # closing the loader would wait for a hung worker
                # workers end once nothing refers to the iterator any more
                del batches
                traceback.clear_frames(error.__traceback__)
                raise


@contextlib.contextmanager
def _describe_loading_errors() -> Iterator[None]:
    """Turn errors of the data or the machine into InputErrors of one line."""
    try:
        yield
    except InputError as error:
        # a worker's error arrives with the worker's traceback in its message
        line = str(error).strip().splitlines()[-1].split("InputError: ", 1)[-1]
        raise InputError(line) from None
    except Exception as error:
        message = _describe_loading_error(error)
        if message is None:
            raise
        raise InputError(message) from error


def _describe_loading_error(error: Exception) -> str | None:
    """The message for an error that the machine causes; None for a defect of the program."""
    text = " ".join(str(error).split())
    if isinstance(error, _HungWorkersError):
        return (
            f"loading: {text}: the loading processes hang; look at the disk that holds the data, "
            "or raise --worker_patience"
        )
    if "Bus error" in text or "shared memory" in text:
        return (
            f"loading: a loading process found no shared memory ({text}); make /dev/shm larger "
            f"(docker run --shm-size), or {_LESS_MEMORY}"
        )
    if is_out_of_memory(error):
        return f"loading: too little memory; {_LESS_MEMORY}"
    is_broken_pipe = isinstance(error, (ConnectionError, EOFError))
    if text.startswith("DataLoader worker") or (is_broken_pipe and not text.startswith("Caught")):
        return (
            f"loading: a loading process has died ({text or type(error).__name__}), usually for "
            f"lack of memory; {_LESS_MEMORY}"
        )
    return None


class _HungWorkersError(Exception):
    """No batch arrived within the patience."""


class _WorkerWatch:
    """Raises errors for workers that died or hang, but only inside blocks of `waiting`.

    torch's handler of SIGCHLD raises wherever the program is, even in the middle of a step, whose
    weights could then not be saved; this one waits for the next batch. The timeout of DataLoader
    does not notice a worker that hangs in the middle of a batch; an alarm does.
    Works in the main thread only, as signals do; elsewhere, and on Windows, it has no effect.
    """

    def __init__(self, patience_seconds: int):
        self._patience_seconds = patience_seconds
        self._is_waiting, self._has_death_pending = False, False
        self._previous_handlers: dict[int, Any] = {}

    def __enter__(self) -> "_WorkerWatch":
        if hasattr(signal, "SIGALRM") and threading.current_thread() is threading.main_thread():
            self._previous_handlers = {
                number: signal.signal(number, handler)
                for number, handler in (
                    (signal.SIGCHLD, self._handle_death),
                    (signal.SIGALRM, self._handle_silence),
                )
            }
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous_handlers.items():
            signal.signal(number, handler)

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Wait for a batch.

        Raises: torch's RuntimeError for a dead worker, _HungWorkersError after the patience.
        """
        if not self._previous_handlers:
            yield
            return
        self._is_waiting = True
        signal.setitimer(signal.ITIMER_REAL, self._patience_seconds)
        try:
            if self._has_death_pending:
                self._handle_death(signal.SIGCHLD, None)
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            self._is_waiting = False

    def _handle_death(self, number: int, frame: FrameType | None) -> None:
        self._has_death_pending = not self._is_waiting
        if self._is_waiting and callable(self._previous_handlers[number]):
            self._previous_handlers[number](number, frame)

    def _handle_silence(self, number: int, frame: FrameType | None) -> NoReturn:
        raise _HungWorkersError(f"no batch came for {counted(self._patience_seconds, 'second')}")
