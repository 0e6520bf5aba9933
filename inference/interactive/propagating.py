"""The results of the stretches of a video, made from their annotations.

Legend: K objects, H W frame size.
"""

import contextlib
import functools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import numpy as np
import torch

from inference.feature_cache import FeatureCache
from inference.frames import as_image
from inference.interactive.project_folder import ProjectFolder, frame_stem
from inference.interactive.project_state import ProjectState
from inference.interactive.project_video import ProjectVideo, VideoRecord
from inference.interactive.stretches import Stretch
from inference.output.writer import ResultWriter
from inference.propagation import Propagation
from inference.rereading import PositionedImage, RereadableFrames
from inference.results import FrameResult
from inference.segmenter import DEFAULT_LOOKAHEAD, VideoSegmenter
from util.errors import InputError
from util.palette import DAVIS_PALETTE


class _Part(RereadableFrames):
    """The frames of a video from `start` to `last` alone; single frames may lie outside."""

    def __init__(self, frames: RereadableFrames, start: int, last: int):
        self._frames, self._start, self._stop = frames, start, last + 1

    def read(self, start: int, stop: int | None) -> Iterator[PositionedImage]:
        start = max(start, self._start)
        stop = self._stop if stop is None else min(stop, self._stop)
        return self._frames.read(start, stop) if start < stop else iter(())

    def read_at(self, positions: Sequence[int]) -> Iterator[PositionedImage]:
        return self._frames.read_at(positions)


def steps_of(stretch: Stretch) -> int:
    """How many frames the passes over a stretch have in all."""
    given = [one.frame for one in stretch.annotations if one.visible]
    if not given:
        return 0
    return max(given) - stretch.start + 1 + max(stretch.stop - min(given), 0)


def propagate(
    stretch: Stretch,
    frames: RereadableFrames,
    masks: Mapping[int, np.ndarray],
    segmenter: VideoSegmenter,
    *,
    cache: FeatureCache,
    advance: Callable[[], None],
) -> Iterator[FrameResult]:
    """The result of each frame of a stretch that can be decoded, in order.

    frames: of the video. masks: labels [H, W] by frame, for all annotations of the stretch that
    show an object. cache: of this video's features. advance: is called after each frame of each
    pass.
    Raises InputError for frames that do not fit, and if a bounded memory has no room.
    """
    part = _Part(frames, stretch.start, stretch.last)
    given = {one.frame: masks[one.frame] for one in stretch.annotations if one.visible}
    if not given:  # all annotations say that no object is visible
        for frame in part.read(stretch.start, stretch.stop):
            size = as_image(frame.image, f"frame {frame.index}").shape[1:]
            yield FrameResult.of(frame.index, (), torch.ones(1, *size))
        return
    propagation = Propagation(
        functools.partial(segmenter.session, lookahead=DEFAULT_LOOKAHEAD, cache=cache),
        part,
        given,
        direction="backward" if min(given) >= stretch.stop else "both",
        stop=stretch.stop,
        preloaded={one.frame: masks[one.frame] for one in stretch.memorised},
        absent={one.frame: one.absent for one in stretch.annotations if one.absent},
    )
    propagation.observe(lambda work: work(), advance)
    for _, result in propagation.results():
        yield result


def doubt_of(result: FrameResult) -> float:
    """How unsure the network is of a result: the entropy of its probabilities, summed over pixels,
    by the pixels that objects take; in bits, 0 for a frame without objects.

    One percent of the frame is added to these pixels, so that a few of them do not decide.
    """
    probabilities = result.probabilities
    if len(probabilities) == 1:
        return 0.0
    entropy = -(probabilities * probabilities.clamp(min=1e-12).log2()).sum()
    foreground = probabilities[1:].sum() + 0.01 * probabilities[0].numel()
    return float(entropy / foreground)


class ProjectPropagation:
    """Makes the results of a project that are pending; see InteractiveProject.propagate."""

    def __init__(
        self,
        state: ProjectState,
        folder: ProjectFolder,
        video: ProjectVideo,
        record: VideoRecord,
        segmenter: VideoSegmenter,
        cache: FeatureCache,
    ):
        self._state, self._folder = state, folder
        self._video, self._record = video, record
        self._segmenter, self._cache = segmenter, cache
        self._is_running, self._is_closed = False, False

    def close(self) -> None:
        """Make a propagation that is under way end with an error at its next result."""
        self._is_closed = True

    def run(
        self,
        frames: Collection[int] | None,
        progress: Callable[[int, int], None] | None,
        *,
        only_touched: bool,
    ) -> Iterator[FrameResult]:
        """Arguments and results: see InteractiveProject.propagate."""
        wanted = None if frames is None else set(frames)
        done = 0
        with self._alone(), self._folder.result_writer() as writer:
            while todo := [
                one
                for one in self._state.unfinished(only_touched=only_touched)
                if wanted is None or not wanted.isdisjoint(range(one.start, one.stop))
            ]:
                count = _Count(done, done + sum(map(steps_of, todo)), progress)
                yield from self._make(todo[0], writer, count.advance)
                done += steps_of(todo[0])

    def _make(
        self, stretch: Stretch, writer: ResultWriter, advance: Callable[[], None]
    ) -> Iterator[FrameResult]:
        """Make the results of a stretch, and keep them."""
        annotations = {one.frame: one for one in (*stretch.memorised, *stretch.annotations)}
        masks = {
            frame: self._folder.labels_of(one) for frame, one in annotations.items() if one.visible
        }
        results = propagate(
            stretch, self._video, masks, self._segmenter, cache=self._cache, advance=advance
        )
        doubts: dict[int, float] = {}
        with writer.video(stretch.name, DAVIS_PALETTE) as files, contextlib.closing(results):
            for result in results:
                if self._is_closed:
                    raise InputError(f"{self._folder.root}: the project was closed meanwhile")
                files.write(frame_stem(result.frame_index), result.labels)
                doubts[result.frame_index] = doubt_of(result)
                yield result
            figures = {
                "own": stretch.own_name,
                "objects": sorted({i for one in stretch.annotations for i in one.visible}),
                "doubts": doubts,
            }
            self._folder.write_figures(stretch.name, figures)
        self._state.note_results()

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Refuse a second propagation during the block, and a video that has changed."""
        with self._state.lock:
            if self._is_running:
                raise InputError(
                    f"{self._folder.root}: is being propagated already; wait, or cancel that"
                )
            self._is_running = True
        try:
            self._video.require_unchanged(self._record)
            yield
        finally:
            self._is_running = False


class _Count:
    """Counts frames from `done` on, of `total`, for a progress callback."""

    def __init__(self, done: int, total: int, progress: Callable[[int, int], None] | None):
        self._done, self._total, self._progress = done, total, progress

    def advance(self) -> None:
        self._done += 1
        if self._progress is not None:
            self._progress(self._done, self._total)
