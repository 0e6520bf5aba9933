"""What a training sample is, and the endless, resumable mixture of sources it is drawn from.

Legend: T frames, H W height and width of the crop in pixels.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from util.distributed import rank, world_size
from util.errors import InputError

Sample = Mapping[str, Tensor]


class ClipSource(Protocol):
    """Anything training samples come from: video clips, moved still images, made-up clips."""

    def sample(self, rng: np.random.Generator, progress: float) -> Sample:
        """One sample. Everything random is drawn from `rng`; `progress` in 0..1 is how much of the training is done."""
        ...


def draw_objects(rng: np.random.Generator, first_labels: np.ndarray, max_objects: int, min_pixels: int = 1) -> list[int]:
    """At most `max_objects` ids in random order, from those covering at least `min_pixels` of the first frame's labels [H, W]. Empty where none does."""
    areas = np.bincount(first_labels.ravel(), minlength=256)
    ids = np.flatnonzero(areas[1:] >= max(min_pixels, 1)) + 1
    return [int(object_id) for object_id in rng.permutation(ids)[:max_objects]]


def build_sample(frames: Sequence[np.ndarray], labels: Sequence[np.ndarray], object_ids: Sequence[int]) -> Sample:
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


def use_one_thread(worker: int = 0) -> None:
    """Keep OpenCV to the calling thread: a DataLoader's `worker_init_fn`, so that worker processes do not crowd the training out of its cores."""
    cv2.setNumThreads(0)


class MixedTrainingData(Dataset):
    """A training's samples in order. Item i is a pure function of (seed, i): the number of workers does not matter, and a training goes on
    exactly where it stopped.

    sources: pairs of a source and its weight; an item comes from a source with a probability in proportion to its weight.
    samples: length of the whole training in samples; item i is drawn at progress i / samples (frame-gap curriculum). Raises InputError for no source,
    a negative weight, or weights that are all zero.
    """

    def __init__(self, sources: Sequence[tuple[ClipSource, float]], samples: int, seed: int):
        weights = np.array([weight for _, weight in sources], np.float64)
        if len(weights) == 0 or not np.all(np.isfinite(weights)) or weights.min() < 0 or weights.sum() == 0:
            raise InputError(f"sources with weights {weights.tolist()}: at least one source is needed, no weight below 0, and one above 0")
        self.sources = [source for source, _ in sources]
        self.cumulative = np.cumsum(weights / weights.sum())
        self.samples, self.seed = samples, seed

    def __len__(self) -> int:
        return self.samples

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < self.samples:
            raise IndexError(f"sample {index} of {self.samples}")
        rng = np.random.default_rng((self.seed, index))
        choice = min(int(np.searchsorted(self.cumulative, rng.random(), side="right")), len(self.sources) - 1)
        return self.sources[choice].sample(rng, index / self.samples)


def training_batches(data: MixedTrainingData, batch_size: int, first_iteration: int = 0, workers: int = 1) -> DataLoader:
    """This process's share of every batch from an iteration on.

    batch_size: samples an iteration over all processes, a multiple of their number. Item numbers follow from the iteration alone, so a resumed training sees
    what it would have seen.
    """
    share = batch_size // world_size()
    iterations = range(first_iteration, len(data) // batch_size)
    batches = [range(i * batch_size + rank() * share, i * batch_size + (rank() + 1) * share) for i in iterations]
    return DataLoader(
        data,
        batch_sampler=batches,
        num_workers=workers,
        worker_init_fn=use_one_thread if workers else None,
        prefetch_factor=4 if workers else None,
        pin_memory=torch.cuda.is_available(),
    )
