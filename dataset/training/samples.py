"""What a training sample is, and the order in which a training draws its samples.

Legend: T frames, H W height and width of the crop in pixels.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from dataset.training.skipped_files import SkippedFile, UnusableFileError
from util.errors import InputError

Sample = Mapping[str, Tensor]
"""`frames` uint8 RGB [T, 3, H, W]; `labels` uint8 [T, H, W], 0 background, 1..num_objects;
`num_objects` int64 scalar."""
Result = TypeVar("Result")

MAX_ATTEMPTS = 100


class ClipSource(Protocol):
    """Anything that training samples come from: videos, still images, synthetic scenes."""

    @property
    def distinct_samples(self) -> int | None:
        """How many samples differ in more than augmentation and later frames; None: no limit."""
        ...

    def sample(self, rng: np.random.Generator, progress: float) -> Sample:
        """Draw one sample, all of its randomness from `rng`.

        progress: the part of the training that is done, in 0..1.
        Raises: UnusableFileError for a damaged file or a mask without objects; InputError if
        MAX_ATTEMPTS draws yield nothing usable.
        """
        ...


def draw_until_usable(attempt: Callable[[], Result | None], complaint: str) -> Result:
    """Repeat `attempt` until it returns something other than None.

    Raises: InputError after MAX_ATTEMPTS; its message is that number, then `complaint`.
    """
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
    """Draw the objects of a sample, in random order.

    first_labels: of the first frame, uint8 [H, W]. min_pixels: of them that an object must cover.
    leave_out: ids that are never drawn.
    Returns: at most `max_objects` ids; may be empty.
    """
    areas = np.bincount(first_labels.ravel(), minlength=256)
    areas[[0, *leave_out]] = 0
    ids = np.flatnonzero(areas >= max(min_pixels, 1))
    return [int(object_id) for object_id in rng.permutation(ids)[:max_objects]]


def build_sample(
    frames: Sequence[np.ndarray], labels: Sequence[np.ndarray], object_ids: Sequence[int]
) -> Sample:
    """Build a sample in which `object_ids` become objects 1, 2, …; others become background.

    frames: T × RGB uint8 [H, W, 3]. labels: T × uint8 [H, W].
    """
    renumbering = np.zeros(256, np.uint8)
    for number, object_id in enumerate(object_ids, start=1):
        renumbering[object_id] = number
    return {
        "frames": torch.from_numpy(np.ascontiguousarray(np.stack(frames).transpose(0, 3, 1, 2))),
        "labels": torch.from_numpy(renumbering[np.stack(labels)]),
        "num_objects": torch.tensor(len(object_ids), dtype=torch.int64),
    }


class TrainingItem(NamedTuple):
    """One sample, and the files that were skipped while it was drawn."""

    tensors: Sample
    skipped: list[SkippedFile]


class MixedTrainingData(Dataset):
    """All samples of a training, in order, drawn from several sources.

    Item i is a pure function of (seed, i) and the files: it does not depend on the number of
    workers, and a resumed training sees the same samples. If a file turns out to be
    unusable, the item is drawn again from the same source, and names the file.

    sources: pairs of a source and its weight. A source is chosen with a probability proportional to
    its weight. samples: length of the whole training; item i is drawn at progress i / samples.
    total_files: of all sources. video_folders: folders that hold the frames of training videos.
    file_sources: the sources that read files, by the kind of samples they provide.
    Raises: InputError unless there is a source, all weights are 0 or above, and one is above 0.
    """

    def __init__(
        self,
        sources: Sequence[tuple[ClipSource, float]],
        samples: int,
        seed: int,
        total_files: int = 0,
        video_folders: Collection[Path] = (),
        file_sources: Mapping[str, ClipSource] | None = None,
    ):
        weights = np.array([weight for _, weight in sources], np.float64)
        if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.any()):
            raise InputError(
                f"sources with weights {weights.tolist()}: at least one source is needed, no "
                "weight below 0, and one above 0"
            )
        self.sources = [source for source, weight in sources if weight > 0]
        weights = weights[weights > 0]
        self.cumulative = np.cumsum(weights / weights.sum())
        self.samples, self.seed, self.total_files = samples, seed, total_files
        self.file_sources = dict(file_sources or {})
        self.video_folders = frozenset(folder.resolve() for folder in video_folders)

    @property
    def distinct_samples(self) -> int | None:
        """The sum over all sources; None: no limit."""
        counts = [source.distinct_samples for source in self.sources]
        return None if None in counts else sum(counts)

    def __len__(self) -> int:
        return self.samples

    def __getitem__(self, index: int) -> TrainingItem:
        if not 0 <= index < self.samples:
            raise IndexError(f"sample {index} of {self.samples}")
        rng = np.random.default_rng((self.seed, index))
        source = self._draw_source(rng)
        skipped: list[SkippedFile] = []
        for _ in range(MAX_ATTEMPTS):
            try:
                return TrainingItem(source.sample(rng, index / self.samples), skipped)
            except UnusableFileError as error:
                skipped.append(error.skipped)
        raise InputError(
            f"{skipped[-1]} (the last of {MAX_ATTEMPTS} samples drawn, all of them unusable; check "
            "the roots with scripts/verify_data.py)"
        )

    def _draw_source(self, rng: np.random.Generator) -> ClipSource:
        position = int(np.searchsorted(self.cumulative, rng.random(), side="right"))
        # rounding can leave the last cumulative weight just below 1
        return self.sources[min(position, len(self.sources) - 1)]
