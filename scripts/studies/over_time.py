"""How accuracy, memory and time per frame develop over videos.

Legend: B bins, equal parts of a video.
"""

import dataclasses
import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path

from inference.output.trace import FrameTrace, read_trace
from inference.scoring import score_frames
from scripts.studies.data import StudyData
from scripts.studies.runs import TRACE_NAME

_MAX_BINS = 20
_MIN_FRAMES_PER_BIN = 3  # fewer show chance rather than a development


@dataclasses.dataclass(frozen=True, kw_only=True)
class OverTime:
    """Means over the videos (for scores: over their objects) in B bins.

    unit: of `times`: frames if all videos have the same length, otherwise % of each video.
    times: [B], the middle of each bin.
    j_and_f, memory_elements, milliseconds (per frame): [B]; None if no frame was measured.
    """

    unit: str
    times: Sequence[float]
    j_and_f: Sequence[float | None]
    memory_elements: Sequence[float | None]
    milliseconds: Sequence[float | None]


def over_time(folder: Path, data: StudyData) -> OverTime:
    """The development over the videos of a finished run in `folder`.

    It reads the run's results and the truth again.
    """
    recorded = read_trace(folder / TRACE_NAME)
    videos = {name: frames for name, frames in recorded.items() if name in data.names}
    lengths = {name: len(frames) for name, frames in videos.items()}
    shortest = min(lengths.values(), default=1)
    bins = max(min(_MAX_BINS, shortest // _MIN_FRAMES_PER_BIN), 1)
    same_length = len(set(lengths.values())) == 1
    end = shortest if same_length else 100
    elements = [
        _bin_means(
            ((frame.position / len(frames), frame.memory_elements) for frame in frames), bins
        )
        for frames in videos.values()
    ]
    milliseconds = [_milliseconds(frames, bins) for frames in videos.values()]
    return OverTime(
        unit="frame" if same_length else "% of the video",
        times=[(number + 0.5) / bins * end for number in range(bins)],
        j_and_f=_column_means(_object_scores(folder, data, lengths, bins), bins),
        memory_elements=_column_means(elements, bins),
        milliseconds=_column_means(milliseconds, bins),
    )


def _object_scores(
    folder: Path, data: StudyData, lengths: dict[str, int], bins: int
) -> list[list[float | None]]:
    """The J&F of each object in each bin of its video."""
    layout = data.layout
    series = score_frames(
        layout.truth_folder,
        folder,
        protocol=layout.protocol,
        sequences=data.names,
        single_object=layout.single_object,
    )
    scores = []
    for row in series:
        if row.sequence in lengths:
            times = (position / lengths[row.sequence] for position in row.frames)
            means = ((j + f) / 2 for j, f in zip(row.j, row.f))
            scores.append(_bin_means(zip(times, means), bins))
    return scores


def _bin_means(values: Iterable[tuple[float, float]], bins: int) -> list[float | None]:
    """The mean in each bin of pairs (time in 0..1, value)."""
    sums, counts = [0.0] * bins, [0] * bins
    for time, value in values:
        index = min(int(time * bins), bins - 1)
        sums[index] += value
        counts[index] += 1
    return [total / count if count else None for total, count in zip(sums, counts)]


def _milliseconds(frames: Sequence[FrameTrace], bins: int) -> list[float | None]:
    """The time per frame in each bin.

    If several frames are computed together, the first of their results accounts for the time of
    all; the time is divided among them equally.
    """
    elapsed = [0.0, *(frame.seconds for frame in frames)]  # [n]: when n results had come out
    mean = elapsed[-1] / len(frames)
    starts = [
        number
        for number in range(len(frames))
        if number == 0 or elapsed[number + 1] - elapsed[number] > mean / 2
    ] + [len(frames)]
    shares = [
        1000 * (elapsed[end] - elapsed[start]) / (end - start)
        for start, end in itertools.pairwise(starts)
        for _ in range(start, end)
    ]
    return _bin_means(((number / len(frames), share) for number, share in enumerate(shares)), bins)


def _column_means(rows: Sequence[Sequence[float | None]], bins: int) -> list[float | None]:
    columns = [[row[index] for row in rows if row[index] is not None] for index in range(bins)]
    return [sum(column) / len(column) if column else None for column in columns]
