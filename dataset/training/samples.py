"""What a training sample is, and the endless, resumable mixture of sources it is drawn from.

Legend: T frames, H W height and width of the crop in pixels.
"""

import atexit
import contextlib
import multiprocessing
import signal
import threading
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, NoReturn, Protocol, TypeVar

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from dataset.training.skipped_files import SkippedFile, UnusableFileError
from util.distributed import rank, world_size
from util.errors import InputError, is_out_of_memory
from util.text import counted

Sample = Mapping[str, Tensor]
Result = TypeVar("Result")

MAX_ATTEMPTS = 100
WORKER_PATIENCE_SECONDS = 300  # without a batch, after which loading processes count as hung


class TrainingItem(NamedTuple):
    """One sample, and the files that were met and passed over in drawing it."""

    tensors: Sample
    skipped: list[SkippedFile]


class TrainingBatch(NamedTuple):
    """Stacked samples, and the files passed over in drawing them."""

    tensors: dict[str, Tensor]
    skipped: list[SkippedFile]


class ClipSource(Protocol):
    """Anything training samples come from: video clips, moved still images, made-up clips."""

    @property
    def distinct_samples(self) -> int | None:
        """Samples that differ in more than augmentation and the choice of later frames; None where they are made up."""
        ...

    def sample(self, rng: np.random.Generator, progress: float) -> Sample:
        """One sample. Everything random is drawn from `rng`; `progress` in 0..1 is how much of the training is done.

        Raises UnusableFileError for a damaged file or a mask without objects, InputError where nothing usable was drawn for long.
        """
        ...


def draw_until_usable(attempt: Callable[[], Result | None], complaint: str) -> Result:
    """The first result that is not None. Raises InputError with `complaint`, led by the number of attempts, where all are."""
    for _ in range(MAX_ATTEMPTS):
        result = attempt()
        if result is not None:
            return result
    raise InputError(f"{MAX_ATTEMPTS} {complaint}")


def draw_objects(
    rng: np.random.Generator,
    first_labels: np.ndarray,
    max_objects: int,
    min_pixels: int = 1,
    leave_out: Collection[int] = (),
) -> list[int]:
    """At most `max_objects` ids in random order, from those covering at least `min_pixels` of the first frame's labels [H, W] and not left out. May be empty."""
    areas = np.bincount(first_labels.ravel(), minlength=256)
    areas[[0, *leave_out]] = 0
    ids = np.flatnonzero(areas >= max(min_pixels, 1))
    return [int(object_id) for object_id in rng.permutation(ids)[:max_objects]]


def build_sample(
    frames: Sequence[np.ndarray], labels: Sequence[np.ndarray], object_ids: Sequence[int]
) -> Sample:
    """Frames T × uint8 RGB [H, W, 3] and their labels T × uint8 [H, W] as a training sample in which `object_ids` count, in their order.

    Returns `frames` uint8 [T, 3, H, W], `labels` uint8 [T, H, W] (0 background, 1..num_objects; other ids become background)
    and `num_objects` int64 scalar.
    """
    renumbering = np.zeros(256, np.uint8)
    for number, object_id in enumerate(object_ids, start=1):
        renumbering[object_id] = number
    return {
        "frames": torch.from_numpy(np.ascontiguousarray(np.stack(frames).transpose(0, 3, 1, 2))),
        "labels": torch.from_numpy(renumbering[np.stack(labels)]),
        "num_objects": torch.tensor(len(object_ids), dtype=torch.int64),
    }


def prepare_worker(worker: int = 0) -> None:
    """A DataLoader's `worker_init_fn`: OpenCV stays within the worker's own thread, so that workers do not crowd the training out of its cores; and
    a worker lives on when a scheduler or Ctrl-C signals the whole process group, so that the main process can finish its step and save.
    """
    cv2.setNumThreads(0)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _end_workers() -> None:
    """At exit after an error that kept the workers alive: multiprocessing would send SIGTERM, which they ignore, and wait for them forever."""
    if hasattr(signal, "SIGCHLD"):
        signal.signal(
            signal.SIGCHLD, signal.SIG_DFL
        )  # torch's handler would report them as crashed
    _kill_workers()


def _kill_workers() -> None:
    for process in multiprocessing.active_children():
        if process.daemon:
            process.kill()


class MixedTrainingData(Dataset):
    """A training's samples in order. Item i is a pure function of (seed, i) and the files: the number of workers does not matter, and a training goes on
    exactly where it stopped. An item that meets a damaged file or a mask without objects is drawn again from the same source, and says so.

    sources: pairs of a source and its weight; an item comes from a source with a probability in proportion to its weight.
    samples: length of the whole training in samples; item i is drawn at progress i / samples (frame-gap curriculum). total_files: of all sources.
    video_folders: those that hold the frames of training videos. kinds: the sources that draw from files, by the kinds of samples they are used for.
    Raises InputError for no source, a negative weight, or weights that are all zero.
    """

    def __init__(
        self,
        sources: Sequence[tuple[ClipSource, float]],
        samples: int,
        seed: int,
        total_files: int = 0,
        video_folders: Collection[Path] = (),
        kinds: Mapping[str, ClipSource] | None = None,
    ):
        weights = np.array([weight for _, weight in sources], np.float64)
        if (
            len(weights) == 0
            or not np.all(np.isfinite(weights))
            or weights.min() < 0
            or weights.sum() == 0
        ):
            raise InputError(
                f"sources with weights {weights.tolist()}: at least one source is needed, no weight below 0, and one above 0"
            )
        self.sources = [source for source, weight in sources if weight > 0]
        weights = weights[weights > 0]
        self.cumulative = np.cumsum(weights / weights.sum())
        self.samples, self.seed, self.total_files = samples, seed, total_files
        self.kinds = dict(kinds or {})
        self.video_folders = frozenset(folder.resolve() for folder in video_folders)

    @property
    def distinct_samples(self) -> int | None:
        """Stills and possible first frames of clips that samples come from; None where some are made up, which never run out."""
        counts = [source.distinct_samples for source in self.sources]
        return None if None in counts else sum(counts)

    def __len__(self) -> int:
        return self.samples

    def __getitem__(self, index: int) -> TrainingItem:
        if not 0 <= index < self.samples:
            raise IndexError(f"sample {index} of {self.samples}")
        rng = np.random.default_rng((self.seed, index))
        source = self.sources[
            min(
                int(np.searchsorted(self.cumulative, rng.random(), side="right")),
                len(self.sources) - 1,
            )
        ]
        skipped: list[SkippedFile] = []
        for _ in range(MAX_ATTEMPTS):
            try:
                return TrainingItem(source.sample(rng, index / self.samples), skipped)
            except UnusableFileError as error:
                skipped.append(error.skipped)
        raise InputError(
            f"{skipped[-1]} (the last of {MAX_ATTEMPTS} samples drawn, all of them unusable; check the roots with scripts/verify_data.py)"
        )


def training_batches(
    data: MixedTrainingData,
    batch_size: int,
    first_iteration: int = 0,
    workers: int = 1,
    accumulate: int = 1,
    patience_seconds: int = WORKER_PATIENCE_SECONDS,
    *,
    pin_memory: bool = False,
) -> Iterator[TrainingBatch]:
    """This process's share of every batch from an iteration on, as `accumulate` TrainingBatches an iteration.

    batch_size: samples an iteration over all processes. Item numbers follow from the iteration alone, so a resumed training sees what it would have
    seen: iteration i covers items i * batch_size onwards, a process a contiguous share of them, a TrainingBatch a contiguous part of that.
    patience_seconds: without a batch, after which loading processes count as hung. Raises InputError where the batch does not divide so, and at the next batch
    where a loading process met one, has died, hangs, or has too little memory.
    pin_memory: for copies to a CUDA device; it opens a context there, so not where training is elsewhere.
    """
    processes = world_size()
    if batch_size % (processes * accumulate):
        raise InputError(
            f"batch size {batch_size}: {counted(processes, 'process', 'es')} x {counted(accumulate, 'accumulated part')} do not divide it; choose one that they do"
        )
    share, part = batch_size // processes, batch_size // (processes * accumulate)
    firsts = (
        i * batch_size + rank() * share + j * part
        for i in range(first_iteration, len(data) // batch_size)
        for j in range(accumulate)
    )
    if workers:
        atexit.register(_end_workers)
    loader = DataLoader(
        data,
        batch_sampler=[range(first, first + part) for first in firsts],
        collate_fn=_collate,
        num_workers=workers,
        worker_init_fn=prepare_worker if workers else None,
        prefetch_factor=4 if workers else None,
        pin_memory=pin_memory,
        generator=torch.Generator(),  # else it draws from the global one, which a training that goes on must find as it was
    )
    return _each_batch(loader, patience_seconds if workers else 0)


def _each_batch(
    loader: DataLoader[TrainingBatch], patience_seconds: int
) -> Iterator[TrainingBatch]:
    with _loading_troubles_named():
        batches = iter(loader)
        with _WorkersWatched(patience_seconds) as watched:  # after torch's own handler is there
            try:
                while True:
                    with watched.waiting():
                        batch = next(batches, None)
                    if batch is None:
                        return
                    yield batch
            except Exception as error:
                if not isinstance(error, InputError):
                    _kill_workers()  # else whoever closes the loader waits for what hangs
                del batches
                traceback.clear_frames(
                    error.__traceback__
                )  # the loading processes end with their last reference
                raise


@contextlib.contextmanager
def _loading_troubles_named() -> Iterator[None]:
    try:
        yield
    except (
        InputError
    ) as error:  # it arrives with its process's traceback; only its own line is kept
        raise InputError(str(error).strip().splitlines()[-1].split("InputError: ", 1)[-1]) from None
    except Exception as error:
        trouble = _loading_trouble(error)
        if trouble is None:
            raise
        raise InputError(trouble) from error


def _loading_trouble(error: Exception) -> str | None:
    """What to say of an error that lies in the machine; None where it is a defect."""
    text = " ".join(str(error).split())
    less = "give fewer --num_workers or a smaller --cache_megabytes"
    if isinstance(error, _HungWorkersError):
        return f"loading: {text}: the loading processes hang; look at the disk that holds the data, or raise --worker_patience"
    if "Bus error" in text or "shared memory" in text:
        return f"loading: a loading process found no shared memory ({text}); make /dev/shm larger (docker run --shm-size), or {less}"
    if is_out_of_memory(error):
        return f"loading: too little memory; {less}"
    if text.startswith("DataLoader worker") or (
        isinstance(error, (ConnectionError, EOFError)) and not text.startswith("Caught")
    ):
        return f"loading: a loading process has died ({text or type(error).__name__}), most often for want of memory; {less}"
    return None


class _HungWorkersError(Exception):
    """No batch came for long."""


class _WorkersWatched:
    """While this context is open, loading processes that die, or give nothing for `patience_seconds`, are an error inside the blocks of waiting() alone.

    Of a death, torch's handler of SIGCHLD tells wherever the program is, also in the middle of a step, whose weights could then not be saved. Of what hangs, DataLoader's
    timeout does not tell where half of a batch has come. For the main thread alone, as signals are; elsewhere, and on Windows, this does nothing.
    """

    def __init__(self, patience_seconds: int):
        self._patience_seconds = patience_seconds
        self._is_waiting, self._died = False, False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "_WorkersWatched":
        if hasattr(signal, "SIGALRM") and threading.current_thread() is threading.main_thread():
            self._before = {
                number: signal.signal(number, handler)
                for number, handler in (
                    (signal.SIGCHLD, self._note_death),
                    (signal.SIGALRM, self._tell_of_silence),
                )
            }
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Waiting for a batch. Raises torch's RuntimeError for a process that has died, _HungWorkersError for silence."""
        if not self._before:
            yield
            return
        self._is_waiting = True
        signal.setitimer(signal.ITIMER_REAL, self._patience_seconds)
        try:
            if self._died:
                self._note_death(signal.SIGCHLD, None)
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            self._is_waiting = False

    def _note_death(self, number: int, frame: FrameType | None) -> None:
        self._died = not self._is_waiting
        if self._is_waiting and callable(self._before[number]):
            self._before[number](number, frame)

    def _tell_of_silence(self, number: int, frame: FrameType | None) -> NoReturn:
        raise _HungWorkersError(f"no batch came for {counted(self._patience_seconds, 'second')}")


def _collate(items: Sequence[TrainingItem]) -> TrainingBatch:
    return TrainingBatch(
        default_collate([item.tensors for item in items]),
        [file for item in items for file in item.skipped],
    )
