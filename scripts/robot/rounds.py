"""The robot at work: it annotates a frame, has it propagated, looks at the result, and so on.

Legend: H W height and width of a frame in pixels.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from scripts.robot.curve import Round
from scripts.robot.inputs import Input
from scripts.robot.propagators import Propagator
from scripts.studies.truth_videos import TruthVideo, measure

# Takes the propagator, J of each frame [T], in 0..1, and the frames annotated so far. Yields the
# frames in the order in which they should be annotated.
Choice = Callable[[Propagator, np.ndarray, Sequence[int]], Iterable[int]]


def worst_first(propagator: Propagator, j: np.ndarray, annotated: Sequence[int]) -> Iterable[int]:
    """The frames by increasing J, as the DAVIS robot chooses them; ties: the earlier first."""
    return np.argsort(j, kind="stable").tolist()


def annotate_in_rounds(
    video: TruthVideo,
    object_ids: Sequence[int],
    propagator: Propagator,
    give: Input,
    choose: Choice,
    round_count: int,
) -> Iterator[Round]:
    """The rounds of a video; fewer than `round_count` if nothing is left to correct.

    The first round annotates the first frame that shows an object, each further one the first
    frame of `choose` that the robot sees an error in.
    """
    nothing = np.zeros_like(video.labels(0))
    results = dict.fromkeys(range(len(video)), nothing)
    candidates: Iterable[int] = range(len(video))
    annotated: list[int] = []
    for _ in range(round_count):
        inputs = ((frame, give(frame, results[frame])) for frame in candidates)
        frame, make_labels = next(
            ((frame, make) for frame, make in inputs if make is not None), (None, None)
        )
        if frame is None:
            return
        start_seconds = time.perf_counter()
        propagator.annotate(frame, make_labels())
        found = propagator.propagate()
        seconds = time.perf_counter() - start_seconds
        annotated.append(frame)
        results = {index: found.get(index, nothing) for index in range(len(video))}
        measures = measure(video, results, object_ids)
        j, f = measures.mean(axis=(0, 1))
        yield Round(frame=frame, j=float(j), f=float(f), seconds=seconds)
        candidates = choose(propagator, measures[..., 0].mean(axis=1), annotated)
