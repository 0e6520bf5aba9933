"""Whether results would score much better one frame earlier or later.

They do if results and truth number their frames from different starts.
Legend: H W height and width of a frame in pixels.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from inference.scoring.folders import FRAME_PATTERN, VideoFolders, read_labels
from inference.scoring.metrics import region_similarity
from util.files import natural_key

_GOOD_J = 0.98  # results this good are not examined
_EXAMINED_FRAMES = 12  # of a video, at most
_SHIFTS = (-1, 0, 1)
_GAIN, _SMALL_GAIN = 0.1, 0.02  # of J; the small one counts if it also halves the error
_NAMES_SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class ScoredVideo:
    """object_ids: those of the truth. j: the mean J over its objects and frames."""

    folders: VideoFolders
    object_ids: frozenset[int]
    j: float


@dataclass(frozen=True, kw_only=True)
class _ShiftedVideo:
    """A video whose results fit much better one frame off."""

    name: str
    shift: int
    j_unshifted: float
    j_shifted: float


def shift_notes(videos: Sequence[ScoredVideo], single_object: bool, workers: int) -> list[str]:
    """A note for each direction in which some videos' results fit the truth much better."""
    doubtful = [video for video in videos if video.j < _GOOD_J]
    with ThreadPoolExecutor(workers) as pool:
        measured = list(pool.map(lambda video: _shifted_j(video, single_object), doubtful))
    shifted = [_better_shift(*pair) for pair in zip(doubtful, measured, strict=True)]
    notes = []
    for shift in (-1, 1):
        if cases := [case for case in shifted if case is not None and case.shift == shift]:
            notes.append(_note(shift, cases))
    return notes


def _better_shift(video: ScoredVideo, j: np.ndarray) -> _ShiftedVideo | None:
    """j: of _shifted_j, float [frames, 3]."""
    if len(j) == 0:
        return None
    before, unshifted, after = j.mean(axis=0)
    shift, best = max(((-1, before), (1, after)), key=lambda pair: pair[1])
    in_most_frames = (j[:, shift + 1] >= j[:, 1]).mean() >= 0.75
    halves_error = 1 - best <= (1 - unshifted) / 2 and best - unshifted >= _SMALL_GAIN
    if not in_most_frames or not (halves_error or best - unshifted >= _GAIN):
        return None
    return _ShiftedVideo(
        name=video.folders.name, shift=shift, j_unshifted=unshifted, j_shifted=best
    )


def _note(shift: int, cases: Sequence[_ShiftedVideo]) -> str:
    names = ", ".join(case.name for case in cases[:_NAMES_SHOWN])
    if len(cases) > _NAMES_SHOWN:
        names += f" and {len(cases) - _NAMES_SHOWN} more"
    j_shifted = 100 * sum(case.j_shifted for case in cases) / len(cases)
    j_unshifted = 100 * sum(case.j_unshifted for case in cases) / len(cases)
    return (
        f"{names}: the results of the frame {'after' if shift > 0 else 'before'} each one fit the "
        f"truth much better (J {j_shifted:.1f} instead of {j_unshifted:.1f}); look at how the "
        "frames are numbered"
    )


def _shifted_j(video: ScoredVideo, single_object: bool) -> np.ndarray:
    """J of the results one frame before, at the frame itself and one after, float [frames, 3]."""
    folders = video.folders
    results = sorted((path.stem for path in folders.result.glob(FRAME_PATTERN)), key=natural_key)
    positions = {name: position for position, name in enumerate(results)}
    # the first result is the given mask
    inner = [name for name in folders.frame_names if 1 < positions.get(name, 0) < len(results) - 1]
    examined = np.linspace(0, len(inner) - 1, min(_EXAMINED_FRAMES, len(inner)), dtype=int)
    rows = []
    for name in (inner[index] for index in np.unique(examined)):
        truth = read_labels(folders.truth / f"{name}.png", single_object)
        labels = [
            read_labels(folders.result / f"{results[positions[name] + shift]}.png", single_object)
            for shift in _SHIFTS
        ]
        if any(result.shape != truth.shape for result in labels):
            continue
        if len(video.object_ids) == 1:  # 0/255 and 0/1 mean the same for one object
            only_id = np.uint8(min(video.object_ids))
            labels = [np.where(result != 0, only_id, np.uint8(0)) for result in labels]
        shown = [object_id for object_id in video.object_ids if (truth == object_id).any()]
        if shown:
            rows.append([_mean_j(truth, result, shown) for result in labels])
    return np.array(rows).reshape(-1, len(_SHIFTS))


def _mean_j(truth: np.ndarray, result: np.ndarray, object_ids: Sequence[int]) -> float:
    """Mean J over the objects of two label maps [H, W]."""
    return float(
        np.mean(
            [region_similarity(truth == object_id, result == object_id) for object_id in object_ids]
        )
    )
