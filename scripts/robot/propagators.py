"""Ways to propagate annotations through a video, round after round.

A project has the results of VideoSegmenter.segment on each stretch between annotated frames, and
makes only those again that a change touches.

Legend: H W height and width of a frame in pixels.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np

from inference import VideoSegmenter
from inference.interactive import InteractiveProject
from inference.interactive.suggesting import Suggestion
from scripts.studies.truth_videos import TruthVideo

_CACHE_MEGABYTES = 256  # for features of frames


class Propagator(Protocol):
    """Holds the annotations of one video and its results."""

    def annotate(self, frame: int, labels: np.ndarray) -> None:
        """Take the ids [H, W] of a frame, in place of earlier ones."""
        ...

    def propagate(self) -> Mapping[int, np.ndarray]:
        """The ids [H, W] by frame; frames before the first annotated one may be missing."""
        ...

    def suggest(self, by: Suggestion) -> Iterator[int]:
        """Frames to annotate next, best first."""
        ...

    def close(self) -> None:
        """Release what is held."""
        ...


class ForwardRounds:
    """The whole video again in each round, forwards; annotations are corrections on the way."""

    def __init__(self, segmenter: VideoSegmenter, video: TruthVideo):
        self._segmenter, self._video = segmenter, video
        self._masks: dict[int, np.ndarray] = {}

    def annotate(self, frame: int, labels: np.ndarray) -> None:
        """See Propagator."""
        self._masks[frame] = labels

    def propagate(self) -> Mapping[int, np.ndarray]:
        """See Propagator."""
        results = self._segmenter.segment(self._video.frames, dict(self._masks))
        return {result.frame_index: result.labels for result in results}

    def suggest(self, by: Suggestion) -> Iterator[int]:
        """Raises ValueError: only projects suggest frames."""
        raise ValueError(f"by {by!r}: no project that could suggest frames")

    def close(self) -> None:
        """See Propagator."""


class ProjectRounds:
    """A project (see InteractiveProject): both directions, and only what a change touches."""

    def __init__(
        self,
        segmenter: VideoSegmenter,
        video: TruthVideo,
        folder: Path,
        *,
        only_touched: bool = False,
    ):
        """folder: of the project, empty or missing. only_touched: as a project propagates."""
        self._project = InteractiveProject.open(
            folder, video.frames, segmenter, cache_megabytes=_CACHE_MEGABYTES
        )
        self._only_touched = only_touched

    def annotate(self, frame: int, labels: np.ndarray) -> None:
        """See Propagator."""
        self._project.annotate(frame, labels)

    def propagate(self) -> Mapping[int, np.ndarray]:
        """See Propagator."""
        for _ in self._project.propagate(only_touched=self._only_touched):
            pass
        return self._project.results

    def suggest(self, by: Suggestion) -> Iterator[int]:
        """Frames to annotate next, best first."""
        yield from self._project.suggest(1, by)
        # asked for only if the robot sees no error there
        yield from self._project.suggest(self._project.frame_count, by)

    def close(self) -> None:
        """See Propagator."""
        self._project.close()
