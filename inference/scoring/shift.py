"""Whether results would score much better one frame earlier or later, as they do where frames are numbered from another start."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from util.files import natural_key

from .folders import VideoFolders, read_labels
from .metrics import region_similarity

_GOOD_J = 0.98  # what is as good as this is not looked at
_FRAMES = 12  # looked at of a video, at most
_SHIFTS = (-1, 0, 1)
_GAIN, _SMALL_GAIN = 0.1, 0.02  # of J; the small one counts where it halves the error


@dataclass(frozen=True, kw_only=True)
class ScoredVideo:
    """j: its mean over objects and frames. object_ids: those of the truth."""

    folders: VideoFolders
    object_ids: frozenset[int]
    j: float


def shift_notes(videos: Sequence[ScoredVideo], single_object: bool, workers: int) -> list[str]:
    """A note for each direction in which some videos' results fit the truth much better."""
    doubtful = [video for video in videos if video.j < _GOOD_J]
    found: dict[int, list[tuple[str, float, float]]] = {-1: [], 1: []}
    with ThreadPoolExecutor(workers) as pool:
        measured = list(pool.map(lambda video: _shifted_j(video, single_object), doubtful))
    for video, measures in zip(doubtful, measured, strict=True):
        if len(measures) == 0:
            continue
        before, as_named, after = measures.mean(axis=0)
        shift, best = max(((-1, before), (1, after)), key=lambda pair: pair[1])
        mostly = (measures[:, shift + 1] >= measures[:, 1]).mean() >= 0.75
        halved = 1 - best <= (1 - as_named) / 2 and best - as_named >= _SMALL_GAIN
        if mostly and (halved or best - as_named >= _GAIN):
            found[shift].append((video.folders.name, as_named, best))
    return [_note(shift, cases) for shift, cases in found.items() if cases]


def _note(shift: int, cases: Sequence[tuple[str, float, float]]) -> str:
    names = ", ".join(name for name, _, _ in cases[:3]) + (
        f" and {len(cases) - 3} more" if len(cases) > 3 else ""
    )
    as_named, shifted = (
        100 * sum(case[column] for case in cases) / len(cases) for column in (1, 2)
    )
    direction = "after" if shift > 0 else "before"
    return f"{names}: the results of the frame {direction} each one fit the truth much better (J {shifted:.1f} instead of {as_named:.1f}); look at how the frames are numbered"


def _shifted_j(video: ScoredVideo, single_object: bool) -> np.ndarray:
    """J of the results one frame before, of the frame itself and one after, float [frames looked at, 3]."""
    folders = video.folders
    results = sorted((path.stem for path in folders.result.glob("[!.]*.png")), key=natural_key)
    positions = {name: position for position, name in enumerate(results)}
    inner = [
        name for name in folders.frame_names if 1 < positions.get(name, 0) < len(results) - 1
    ]  # the first result is the given mask
    chosen = (
        [
            inner[index]
            for index in np.unique(
                np.linspace(0, len(inner) - 1, min(_FRAMES, len(inner)), dtype=int)
            )
        ]
        if inner
        else []
    )
    rows = []
    for name in chosen:
        truth = read_labels(folders.truth / f"{name}.png", single_object)
        masks = [
            read_labels(folders.result / f"{results[positions[name] + shift]}.png", single_object)
            for shift in _SHIFTS
        ]
        if any(mask.shape != truth.shape for mask in masks):
            continue
        if len(video.object_ids) == 1:  # 0/255 and 0/1 say the same of one object
            masks = [
                np.where(mask != 0, np.uint8(min(video.object_ids)), np.uint8(0)) for mask in masks
            ]
        shown = [object_id for object_id in video.object_ids if (truth == object_id).any()]
        if shown:
            rows.append(
                [
                    np.mean(
                        [
                            region_similarity(truth == object_id, mask == object_id)
                            for object_id in shown
                        ]
                    )
                    for mask in masks
                ]
            )
    return np.array(rows).reshape(-1, len(_SHIFTS))
