"""How accuracy, memory and time a frame develop over videos. Legend: B parts of a video."""

import dataclasses
import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path

from inference.output.trace import FrameTrace, read_trace
from inference.scoring import score_frames

from .data import StudyData
from .runs import TRACE_NAME

_PARTS = 20
_FRAMES_A_PART = 3  # at least: fewer tell more of chance than of time


@dataclasses.dataclass(frozen=True, kw_only=True)
class OverTime:
    """Means over the videos (of scores: over their objects) at B times. unit: of `times`, frames where all videos have the same length, otherwise % of each video.

    Figures are None where no frame was measured.
    """

    unit: str
    times: Sequence[float]  # [B] the middle of each part
    j_and_f: Sequence[float | None]  # in 0..1
    memory_elements: Sequence[float | None]
    milliseconds: Sequence[float | None]  # a frame


def over_time(folder: Path, data: StudyData) -> OverTime:
    """Of a finished run in `folder`. Reads its results and the truth again."""
    series = score_frames(
        data.layout.truth_folder,
        folder,
        protocol=data.layout.protocol,
        sequences=data.names,
        single_object=data.layout.single_object,
    )
    videos = {
        name: frames
        for name, frames in read_trace(folder / TRACE_NAME).items()
        if name in data.names
    }
    lengths = {name: len(frames) for name, frames in videos.items()}
    shortest = min(lengths.values(), default=1)
    parts = max(min(_PARTS, shortest // _FRAMES_A_PART), 1)
    same_length = len(set(lengths.values())) == 1
    scores = [
        _means(
            (
                (position / lengths[row.sequence], (j + f) / 2)
                for position, j, f in zip(row.frames, row.j, row.f)
            ),
            parts,
        )
        for row in series
        if row.sequence in lengths
    ]
    elements = [
        _means(((frame.position / len(frames), frame.memory_elements) for frame in frames), parts)
        for frames in videos.values()
    ]
    return OverTime(
        unit="frame" if same_length else "% of the video",
        times=[
            (number + 0.5) / parts * (shortest if same_length else 100) for number in range(parts)
        ],
        j_and_f=_mean_of_rows(scores, parts),
        memory_elements=_mean_of_rows(elements, parts),
        milliseconds=_mean_of_rows(
            [_milliseconds(frames, parts) for frames in videos.values()], parts
        ),
    )


def _means(values: Iterable[tuple[float, float]], parts: int) -> list[float | None]:
    """Of (time in 0..1, value) the mean in each part."""
    sums, counts = [0.0] * parts, [0] * parts
    for time, value in values:
        part = min(int(time * parts), parts - 1)
        sums[part] += value
        counts[part] += 1
    return [total / count if count else None for total, count in zip(sums, counts)]


def _milliseconds(frames: Sequence[FrameTrace], parts: int) -> list[float | None]:
    """A frame in each part. Of several frames computed at once the first one's result has the time of all, of which each of them is given its share."""
    ends = [
        0.0,
        *(frame.seconds for frame in frames),
    ]  # [number]: the time when that many results had come out
    usual = ends[-1] / len(frames)
    starts = [
        number
        for number in range(len(frames))
        if number == 0 or ends[number + 1] - ends[number] > usual / 2
    ] + [len(frames)]
    shares = [
        1000 * (ends[end] - ends[start]) / (end - start)
        for start, end in itertools.pairwise(starts)
        for _ in range(start, end)
    ]
    return _means(((number / len(frames), share) for number, share in enumerate(shares)), parts)


def _mean_of_rows(rows: Sequence[Sequence[float | None]], parts: int) -> list[float | None]:
    columns = [[row[part] for row in rows if row[part] is not None] for part in range(parts)]
    return [sum(column) / len(column) if column else None for column in columns]
