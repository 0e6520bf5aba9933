"""Each frame of a folder that a protocol selects, measured on threads.

Legend: H W height and width of a frame in pixels. The truth is read twice: first for the ids that
each frame shows, from which the protocol selects what is scored, then frame by frame for the
measures, by default J and F.
A frame is the unit of parallel work, on threads: decoding, cv2 and numpy release the interpreter
lock, and unlike processes threads start at once and are safe in a program that also runs torch.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from inference.output.paths import INCOMPLETE_NAME
from inference.scoring.folders import VideoFolders, ids_in, read_labels
from inference.scoring.metrics import boundary_accuracy, region_similarity
from inference.scoring.protocols import VOID, ScoredObject, ScoringRules, Selection, TruthVideo
from inference.scoring.provenance import incomplete_reason
from util.errors import InputError, explain_out_of_memory

# Takes the labels uint8 [H, W] of the truth and of the result, in which void is background, and the
# ids to measure. Returns what was measured of each of them.
Measure = Callable[[np.ndarray, np.ndarray, Sequence[int]], dict[int, Any]]


def region_and_boundary(
    truth: np.ndarray, result: np.ndarray, object_ids: Sequence[int]
) -> dict[int, tuple[float, float]]:
    """J and F of each object on one frame, labels uint8 [H, W]."""
    measures = {}
    for object_id in object_ids:
        masks = truth == object_id, result == object_id
        measures[object_id] = region_similarity(*masks), boundary_accuracy(*masks)
    return measures


@dataclass(frozen=True, kw_only=True)
class _FrameTask:
    """object_ids: those scored on this frame. only_id: the video's one object, if it has one."""

    truth: Path
    result: Path
    object_ids: tuple[int, ...]
    only_id: int | None
    ignore_void: bool
    single_object: bool
    measure: Measure


@dataclass(frozen=True, kw_only=True)
class _FrameScores:
    """measures: object id -> what was measured; J, F by default."""

    measures: dict[int, Any]
    result_ids: frozenset[int]


@dataclass(frozen=True, kw_only=True)
class MeasuredVideo:
    """One video, what of it is scored, and the scores of its frames by position."""

    truth: TruthVideo
    selection: Selection
    frames: dict[int, _FrameScores]

    def measures_of(self, scored: ScoredObject) -> list[Any]:
        """What was measured of an object, for each of its frames."""
        return [self.frames[position].measures[scored.object_id] for position in scored.frames]

    def measured_objects(self) -> Iterator[tuple[ScoredObject, np.ndarray]]:
        """Each object that has frames to score, with its J and F, float [frames, 2]."""
        for scored in self.selection.objects:
            if scored.frames:
                yield scored, np.array(self.measures_of(scored))


@contextlib.contextmanager
def measured_videos(
    folders: Sequence[VideoFolders], rules: ScoringRules, measure: Measure = region_and_boundary
) -> Iterator[Iterator[MeasuredVideo]]:
    """The videos one after another, measured on threads that end with the block.

    Raises InputError if a result or a frame of the truth is missing, damaged or of another size,
    and if results hold ids that the truth does not have.
    """
    with (
        explain_out_of_memory(
            "scoring: this machine", "give fewer --workers, or fewer --sequences at once"
        ),
        ThreadPoolExecutor(rules.workers) as pool,
    ):
        try:
            yield _measure_videos(folders, rules, measure, pool.map)
        except BaseException:  # a wrong file, or Ctrl-C: the frames that wait are not measured
            pool.shutdown(cancel_futures=True)
            raise


def _measure_videos(
    folders: Sequence[VideoFolders],
    rules: ScoringRules,
    measure: Measure,
    parallel_map: Callable[..., Iterator],
) -> Iterator[MeasuredVideo]:
    videos = _survey(folders, rules.single_object, parallel_map)
    selections = [rules.protocol.select(video, rules.metadata) for video in videos]
    tasks = [
        _frame_tasks(folder, video, selection, rules, measure)
        for folder, video, selection in zip(folders, videos, selections, strict=True)
    ]
    frame_scores = parallel_map(
        _score_frame, [task for video_tasks in tasks for task in video_tasks.values()]
    )
    for video, selection, video_tasks in zip(videos, selections, tasks, strict=True):
        by_position = {position: next(frame_scores) for position in video_tasks}
        _check_result_ids(video, selection, by_position)
        yield MeasuredVideo(truth=video, selection=selection, frames=by_position)


def _survey(
    folders: Sequence[VideoFolders], single_object: bool, parallel_map: Callable[..., Iterator]
) -> list[TruthVideo]:
    """The ids that each frame of the truth shows.

    255 is void, unless it is the only id of its video; then it is the object (DAVIS-2016).
    """
    paths = [folder.truth / f"{name}.png" for folder in folders for name in folder.frame_names]
    ids = parallel_map(lambda path: ids_in(read_labels(path, single_object)), paths)
    videos = []
    for folder in folders:
        frame_ids = [next(ids) for _ in folder.frame_names]
        all_ids = frozenset().union(*frame_ids)
        has_void = VOID in all_ids and len(all_ids) > 1
        if has_void:
            frame_ids = [present - {VOID} for present in frame_ids]
        videos.append(
            TruthVideo(
                name=folder.name,
                frame_names=folder.frame_names,
                frame_ids=frame_ids,
                has_void=has_void,
            )
        )
    return videos


def _frame_tasks(
    folder: VideoFolders,
    video: TruthVideo,
    selection: Selection,
    rules: ScoringRules,
    measure: Measure,
) -> dict[int, _FrameTask]:
    """The frames with at least one object to score, by position.

    Raises InputError naming the first that has no result.
    """
    only_id = min(selection.known_ids) if len(selection.known_ids) == 1 else None
    tasks = {}
    for position, name in enumerate(folder.frame_names):
        object_ids = tuple(
            scored.object_id for scored in selection.objects if position in scored.frames
        )
        if not object_ids:
            continue
        tasks[position] = _FrameTask(
            truth=folder.truth / f"{name}.png",
            result=folder.result / f"{name}.png",
            object_ids=object_ids,
            only_id=only_id,
            ignore_void=rules.protocol.ignore_void and video.has_void,
            single_object=rules.single_object,
            measure=measure,
        )
    missing = [task.result for task in tasks.values() if not task.result.is_file()]
    if missing:
        reason = f"; {INCOMPLETE_NAME}: {reason}" if (reason := incomplete_reason(folder)) else ""
        raise InputError(
            f"{missing[0]}: no such result ({len(missing)} of {len(tasks)} frames of {video.name} "
            f"have none{reason}); segment this video again; a frame that is damaged in its file "
            "has no result: repair the file, or remove the truth of that frame"
        )
    return tasks


def _score_frame(task: _FrameTask) -> _FrameScores:
    truth, result = (read_labels(path, task.single_object) for path in (task.truth, task.result))
    if truth.shape != result.shape:
        sizes = [f"{labels.shape[1]}x{labels.shape[0]}" for labels in (result, truth)]
        raise InputError(
            f"{task.result}: {sizes[0]} pixels, the truth {sizes[1]} ({task.truth}); results must "
            "have the size of the truth"
        )
    result_ids = ids_in(result)
    # 0/255 and 0/1 mean the same for one object; _check_result_ids refuses other ids
    if task.only_id is not None:
        result = np.where(result != 0, np.uint8(task.only_id), np.uint8(0))
    if task.ignore_void:
        void = truth == VOID
        truth, result = np.where(void, 0, truth), np.where(void, 0, result)
    measures = task.measure(truth, result, task.object_ids)
    return _FrameScores(measures=measures, result_ids=result_ids)


def _check_result_ids(
    video: TruthVideo, selection: Selection, frames: dict[int, _FrameScores]
) -> None:
    """Raise InputError if results hold an id that the truth does not have.

    Most often the ids are numbered in another way, and scores would mean nothing. If the truth has
    a single object and the results a single id, they match if either is written as 255.
    """
    result_ids = frozenset().union(*(scores.result_ids for scores in frames.values()))
    one_each = len(selection.known_ids) == len(result_ids) == 1
    if result_ids <= selection.known_ids or (one_each and VOID in result_ids | selection.known_ids):
        return
    unknown = min(result_ids - selection.known_ids)
    position = next(position for position, scores in frames.items() if unknown in scores.result_ids)
    known = " ".join(map(str, sorted(selection.known_ids)))
    raise InputError(
        f"{video.name}/{video.frame_names[position]}.png: id {unknown} in the results, the truth "
        f"has {known}; write the ids of the truth"
    )
