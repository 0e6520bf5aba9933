"""Scoring a folder of results against a folder of truth.

Legend: H W height and width of a frame in pixels. Two passes over the truth: which ids each frame shows (from this the protocol decides what is scored),
then J and F frame by frame. Frames are the unit of parallel work, on threads: decoding, cv2 and numpy leave the interpreter lock, and unlike processes
threads start at once and are safe in a program that also runs torch.
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from inference.output.recorded_run import INCOMPLETE_NAME
from util.errors import InputError, explain_out_of_memory

from .folders import VideoFolders, find_videos, ids_in, read_labels, videos_below
from .metrics import boundary_accuracy, region_similarity, statistics
from .protocols import (
    PROTOCOLS,
    VOID,
    Categories,
    Protocol,
    ScoredObject,
    Selection,
    TruthVideo,
    read_categories,
)
from .provenance import incomplete_reason, notes_on_results
from .report import ObjectScores, Report, Scores, overall_scores
from .shift import ScoredVideo, shift_notes


@dataclass(frozen=True, kw_only=True)
class _FrameTask:
    truth: Path
    result: Path
    object_ids: tuple[int, ...]  # those scored on this frame
    only_id: int | None  # the video's one object, where it has but one
    ignore_void: bool
    single_object: bool


@dataclass(frozen=True, kw_only=True)
class _FrameScores:
    measures: dict[int, tuple[float, float]]  # object id -> J, F
    result_ids: frozenset[int]


@dataclass(frozen=True, kw_only=True)
class _MeasuredVideo:
    """One video, what of it is scored, and the scores of its frames by position."""

    truth: TruthVideo
    selection: Selection
    frames: dict[int, _FrameScores]

    def objects(self) -> Iterator[tuple[ScoredObject, np.ndarray]]:
        """Each object that has frames to score, with its J and F [frames, 2]."""
        for scored in self.selection.objects:
            if scored.frames:
                yield (
                    scored,
                    np.array(
                        [
                            self.frames[position].measures[scored.object_id]
                            for position in scored.frames
                        ]
                    ),
                )


@dataclass(frozen=True, kw_only=True)
class FrameSeries:
    """One object's J and F in 0..1 at each of its scored `frames`, which are positions among the truth's, in order."""

    sequence: str
    object_id: int
    frames: tuple[int, ...]
    j: tuple[float, ...]
    f: tuple[float, ...]


def score_folder(
    truth: Path | str,
    results: Path | str,
    *,
    protocol: str = "davis",
    sequences: Sequence[str] | None = None,
    meta: Path | str | None = None,
    train_meta: Path | str | None = None,
    single_object: bool = False,
    workers: int | None = None,
    exact: bool = False,
) -> Report:
    """J and F of every object of a folder of results. Always computed anew from the files.

    truth: a folder of VIDEO/FRAME.png, or a data set's root with Annotations/480p or Annotations. results: VIDEO/FRAME.png, itself or in Annotations.
    protocol: "davis", "strict" or "youtube" (see PROTOCOLS). sequences: score these alone; otherwise every sequence of the truth needs results.
    meta: YouTube-VOS's meta.json, for the protocol youtube alone; train_meta: that of the training set, which says what was seen (looked for in
    train/ beside meta where not given). single_object: all ids of truth and results are one object (DAVIS-2016 on the masks of DAVIS-2017).
    workers: threads, by default as many as there are cores. exact: truth and results are the folders of VIDEO/FRAME.png themselves, and all `sequences` count.
    The report's notes say which frames have no counterpart, and what makes one doubt that the results are of this data.
    Raises InputError where a sequence or frame is missing, a file is broken, sizes differ, results hold ids that the truth does not know, or nothing
    is left to score.
    """
    rules = _rules(protocol, workers)
    categories = _categories(rules, meta, train_meta)
    find = videos_below if exact else find_videos
    folders = find(Path(truth), Path(results), sequences)
    return _report(
        folders,
        rules,
        categories,
        single_object,
        workers,
        notes_on_results(folders, all_sequences=sequences is None),
    )


def score_videos(
    folders: Sequence[VideoFolders],
    *,
    protocol: str = "davis",
    single_object: bool = False,
    workers: int | None = None,
) -> Report:
    """The same of videos whose folders are known, in the frames named there alone. Without protocols that need categories (InputError)."""
    rules = _rules(protocol, workers)
    return _report(folders, rules, _categories(rules, None, None), single_object, workers)


def score_frames(
    truth: Path | str,
    results: Path | str,
    *,
    protocol: str = "davis",
    sequences: Sequence[str] | None = None,
    single_object: bool = False,
    workers: int | None = None,
) -> list[FrameSeries]:
    """J and F of every object frame by frame, for how they develop over a video; their means are those of score_folder. Arguments and errors as there, without
    protocols that need categories (InputError)."""
    rules = _rules(protocol, workers)
    categories = _categories(rules, None, None)
    folders = find_videos(Path(truth), Path(results), sequences)
    with _measured_videos(folders, rules, categories, single_object, workers) as videos:
        return [
            FrameSeries(
                sequence=video.truth.name,
                object_id=scored.object_id,
                frames=tuple(scored.frames),
                j=tuple(measures[:, 0]),
                f=tuple(measures[:, 1]),
            )
            for video in videos
            for scored, measures in video.objects()
        ]


def _report(
    folders: Sequence[VideoFolders],
    rules: Protocol,
    categories: Categories | None,
    single_object: bool,
    workers: int | None,
    doubts: Sequence[str] | None = None,
) -> Report:
    """doubts: notes on how the results came about, where they are a run's; None where they are not."""
    objects, notes, scored = [], list(doubts or ()), []
    with _measured_videos(folders, rules, categories, single_object, workers) as videos:
        for folder, video in zip(folders, videos, strict=True):
            of_video = _object_scores(video)
            objects += of_video
            notes += [*video.selection.notes, *_notes_on_unscored(video.truth, video.selection)]
            if of_video:
                scored.append(
                    ScoredVideo(
                        folders=folder,
                        object_ids=video.selection.known_ids,
                        j=float(np.mean([row.j_mean for row in of_video])),
                    )
                )
    if not objects:
        needed = (
            "masks of frames after an object's first are needed in the truth and in the results"
        )
        found = "; ".join(notes)
        raise InputError(
            f"{folders[0].truth.parent}: no object has a frame to score; {needed} ({found})"
        )
    if doubts is not None:
        notes += shift_notes(scored, single_object, workers or _core_count())
    if categories:
        notes += _notes_on_categories(categories, objects)
    return Report(
        protocol=rules.name,
        protocol_title=rules.title,
        overall=overall_scores(objects, youtube=categories is not None),
        objects=objects,
        notes=notes,
    )


def _rules(protocol: str, workers: int | None) -> Protocol:
    if protocol not in PROTOCOLS:
        raise InputError(
            f"--protocol {protocol}: no such protocol; choose one of {' '.join(PROTOCOLS)}"
        )
    if workers is not None and workers < 1:
        raise InputError(f"--workers {workers}: at least one is needed")
    return PROTOCOLS[protocol]


def _categories(
    rules: Protocol, meta: Path | str | None, train_meta: Path | str | None
) -> Categories | None:
    if not rules.needs_categories:
        if meta is not None or train_meta is not None:
            raise InputError(
                f"--meta: of no use to the protocol {rules.name}; leave it out, or choose --protocol youtube"
            )
        return None
    if meta is None:
        raise InputError(
            "--protocol youtube: it needs the objects' categories; give YouTube-VOS's meta.json with --meta"
        )
    return read_categories(Path(meta), None if train_meta is None else Path(train_meta))


def _core_count() -> int:
    """The cores this process may use, which in a container are fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def _measured_videos(
    folders: Sequence[VideoFolders],
    rules: Protocol,
    categories: Categories | None,
    single_object: bool,
    workers: int | None,
) -> Iterator[Iterator[_MeasuredVideo]]:
    """The videos one after another, measured on threads of their own."""
    with (
        explain_out_of_memory(
            "scoring: this machine", "give fewer --workers, or fewer --sequences at once"
        ),
        ThreadPoolExecutor(workers or _core_count()) as pool,
    ):
        try:
            yield _measure_videos(folders, rules, categories, single_object, pool.map)
        except BaseException:  # a wrong file, or the user's Ctrl-C: leave the frames still waiting
            pool.shutdown(cancel_futures=True)
            raise


def _measure_videos(
    folders: Sequence[VideoFolders],
    rules: Protocol,
    categories: Categories | None,
    single_object: bool,
    parallel_map: Callable[..., Iterator],
) -> Iterator[_MeasuredVideo]:
    videos = _survey(folders, single_object, parallel_map)
    selections = [rules.select(video, categories) for video in videos]
    tasks = [
        _frame_tasks(*parts, rules.ignore_void, single_object)
        for parts in zip(folders, videos, selections, strict=True)
    ]
    frame_scores = parallel_map(
        _score_frame, [task for video_tasks in tasks for task in video_tasks.values()]
    )
    for video, selection, video_tasks in zip(videos, selections, tasks, strict=True):
        by_position = {position: next(frame_scores) for position in video_tasks}
        _check_result_ids(video, selection, by_position)
        yield _MeasuredVideo(truth=video, selection=selection, frames=by_position)


def _survey(
    folders: Sequence[VideoFolders], single_object: bool, parallel_map: Callable[..., Iterator]
) -> list[TruthVideo]:
    """Which ids each frame of the truth shows. 255 is void, unless it is the only id of its video: then it is the object (DAVIS-2016)."""
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
    ignore_void: bool,
    single_object: bool,
) -> dict[int, _FrameTask]:
    """The frames on which at least one object is scored, by position. Raises InputError naming the first without a result."""
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
            ignore_void=ignore_void and video.has_void,
            single_object=single_object,
        )
    missing = [task.result for task in tasks.values() if not task.result.is_file()]
    if missing:
        reason = f"; {INCOMPLETE_NAME}: {reason}" if (reason := incomplete_reason(folder)) else ""
        remedy = "segment this video again; a frame that is damaged in its file has no result: mend the file, or remove that frame's truth"
        raise InputError(
            f"{missing[0]}: no such result ({len(missing)} of {len(tasks)} frames of {video.name} have none{reason}); {remedy}"
        )
    return tasks


def _score_frame(task: _FrameTask) -> _FrameScores:
    truth, result = (read_labels(path, task.single_object) for path in (task.truth, task.result))
    if truth.shape != result.shape:
        sizes = [f"{labels.shape[1]}x{labels.shape[0]}" for labels in (result, truth)]
        raise InputError(
            f"{task.result}: {sizes[0]} pixels, the truth {sizes[1]} ({task.truth}); results must have the size of the truth"
        )
    result_ids = ids_in(result)
    if (
        task.only_id is not None
    ):  # 0/255 and 0/1 say the same of one object; _check_result_ids refuses the rest
        result = np.where(result != 0, np.uint8(task.only_id), np.uint8(0))
    if task.ignore_void:
        void = truth == VOID
        truth, result = np.where(void, 0, truth), np.where(void, 0, result)
    measures = {}
    for object_id in task.object_ids:
        masks = truth == object_id, result == object_id
        measures[object_id] = region_similarity(*masks), boundary_accuracy(*masks)
    return _FrameScores(measures=measures, result_ids=result_ids)


def _check_result_ids(
    video: TruthVideo, selection: Selection, frames: dict[int, _FrameScores]
) -> None:
    """Raises InputError where the results hold an id that the truth does not: most often another numbering, whose scores would mean nothing.

    Where the truth has a single object and the results a single id, these belong together if either writes it as 255 (DAVIS-2016).
    """
    found = frozenset().union(*(scores.result_ids for scores in frames.values()))
    one_each = len(selection.known_ids) == len(found) == 1
    if found <= selection.known_ids or (one_each and VOID in found | selection.known_ids):
        return
    stranger = min(found - selection.known_ids)
    position = next(
        position for position, scores in frames.items() if stranger in scores.result_ids
    )
    known = " ".join(map(str, sorted(selection.known_ids)))
    raise InputError(
        f"{video.name}/{video.frame_names[position]}.png: id {stranger} in the results, the truth has {known}; write the ids of the truth"
    )


def _object_scores(video: _MeasuredVideo) -> list[ObjectScores]:
    rows = []
    for scored, measures in video.objects():
        scores = Scores.of(*(statistics(values) for values in measures.T))
        rows.append(
            ObjectScores(
                sequence=video.truth.name,
                object_id=scored.object_id,
                frames=len(measures),
                seen=scored.seen,
                **vars(scores),
            )
        )
    return rows


def _notes_on_unscored(video: TruthVideo, selection: Selection) -> list[str]:
    if not video.object_ids:
        return [f"{video.name}: no object in the truth, nothing scored"]
    return [
        f"{video.name}: object {scored.object_id} has no frame to score between its first mask and the end"
        for scored in selection.objects
        if not scored.frames
    ]


def _notes_on_categories(categories: Categories, objects: Sequence[ObjectScores]) -> list[str]:
    if categories.seen is None:
        return [
            "which categories were seen in training is unknown, so G is not given; name the training set's meta.json with --train_meta"
        ]
    absent = [
        kind
        for kind, seen in (("seen", True), ("unseen", False))
        if all(row.seen is not seen for row in objects)
    ]
    return [
        f"no object is of a category {kind} in training; G is the mean of the other two"
        for kind in absent
    ]
