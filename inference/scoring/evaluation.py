"""Scoring a folder of results against a folder of truth: the three entry points."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from inference.scoring.folders import VideoFolders, find_videos
from inference.scoring.measurement import MeasuredVideo, measured_videos
from inference.scoring.metadata import MetadataSource
from inference.scoring.metrics import statistics
from inference.scoring.protocols import Protocol, ScoringRules, Selection, TruthVideo
from inference.scoring.provenance import notes_on_results
from inference.scoring.report import ObjectScores, Report, Scores, overall_scores
from inference.scoring.shift import ScoredVideo, shift_notes
from util.errors import InputError


@dataclass(frozen=True, kw_only=True)
class FrameSeries:
    """J and F of one object in 0..1 at each of its scored frames.

    frames: their positions among the truth's frames, in order.
    """

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
) -> Report:
    """J and F of every object of a folder of results, always computed from the files.

    truth: a folder of VIDEO/FRAME.png, or the root of a data set with Annotations/480p or
    Annotations. results: VIDEO/FRAME.png, directly or in Annotations.
    protocol: a row of PROTOCOLS: "davis", "strict", "youtube", "lvos" or "vost".
    sequences: score only these; by default every sequence of the truth needs results.
    meta: meta.json of YouTube-VOS (protocol youtube), or val_meta.json of LVOS (lvos), beside which
    unseen_videos.txt of its toolkit may be. train_meta: meta.json of YouTube-VOS's training set,
    which tells the categories seen; by default train/meta.json beside meta.
    single_object: all ids of truth and results are one object (DAVIS-2016 on the masks of
    DAVIS-2017). workers: number of threads; by default one per core.

    The report's notes list frames without a counterpart, and signs that the results belong to other
    data. Raises InputError if a sequence or frame is missing, a file is damaged, sizes differ,
    results hold ids that the truth does not have, or nothing is left to score.
    """
    rules = ScoringRules.resolve(
        protocol,
        meta=meta,
        train_meta=train_meta,
        single_object=single_object,
        workers=workers,
    )
    folders = find_videos(Path(truth), Path(results), sequences)
    return _report(folders, rules, notes_on_results(folders, all_sequences=sequences is None))


def score_videos(
    folders: Sequence[VideoFolders],
    *,
    protocol: str = "davis",
    meta: Path | str | None = None,
    single_object: bool = False,
    workers: int | None = None,
    with_provenance: bool = False,
) -> Report:
    """Like score_folder, for videos whose folders are known, on the frames named there only.

    with_provenance: the notes also tell how the results came about. Raises InputError as
    score_folder does.
    """
    rules = ScoringRules.resolve(protocol, meta=meta, single_object=single_object, workers=workers)
    notes = notes_on_results(folders, all_sequences=False) if with_provenance else None
    return _report(folders, rules, notes)


def score_frames(
    truth: Path | str,
    results: Path | str,
    *,
    protocol: str = "davis",
    sequences: Sequence[str] | None = None,
    single_object: bool = False,
    workers: int | None = None,
) -> list[FrameSeries]:
    """J and F of every object frame by frame, to see how they develop over a video.

    Their means are those of score_folder. Takes its arguments and raises its errors; protocols that
    need a meta.json are refused (InputError).
    """
    rules = ScoringRules.resolve(protocol, single_object=single_object, workers=workers)
    folders = find_videos(Path(truth), Path(results), sequences)
    with measured_videos(folders, rules) as videos:
        return [
            FrameSeries(
                sequence=video.truth.name,
                object_id=scored.object_id,
                frames=tuple(scored.frames),
                j=tuple(measures[:, 0]),
                f=tuple(measures[:, 1]),
            )
            for video in videos
            for scored, measures in video.measured_objects()
        ]


def _report(
    folders: Sequence[VideoFolders], rules: ScoringRules, provenance: Sequence[str] | None
) -> Report:
    """provenance: notes on how the results came about; None if they are not those of a run."""
    objects, notes, scored = [], list(provenance or ()), []
    with measured_videos(folders, rules) as videos:
        for folder, video in zip(folders, videos, strict=True):
            rows = _object_scores(video, rules.protocol)
            objects += rows
            notes += [*video.selection.notes, *_notes_on_unscored(video.truth, video.selection)]
            if rows:
                j = float(np.mean([row.j_mean for row in rows]))
                scored.append(
                    ScoredVideo(folders=folder, object_ids=video.selection.known_ids, j=j)
                )
    if not objects:
        raise InputError(
            f"{folders[0].truth.parent}: no object has a frame to score; masks of frames after an "
            f"object's first are needed in the truth and in the results ({'; '.join(notes)})"
        )
    if provenance is not None:
        notes += shift_notes(scored, rules.single_object, rules.workers)
    source = rules.protocol.metadata
    if source is not None:
        notes += _notes_on_seen(source, objects)
    return Report(
        protocol=rules.protocol.name,
        protocol_title=rules.protocol.title,
        overall=overall_scores(objects, seen_unseen=source is not None),
        objects=objects,
        notes=notes,
    )


def _object_scores(video: MeasuredVideo, protocol: Protocol) -> list[ObjectScores]:
    rows = []
    for scored, measures in video.measured_objects():
        scores = Scores.of(*(statistics(values) for values in measures.T))
        rows.append(
            ObjectScores(
                sequence=video.truth.name,
                object_id=scored.object_id,
                frames=len(measures),
                seen=scored.seen,
                extras={name: of(measures) for name, of in protocol.extras.items()},
                **vars(scores),
            )
        )
    return rows


def _notes_on_unscored(video: TruthVideo, selection: Selection) -> list[str]:
    if not video.object_ids:
        return [f"{video.name}: no object in the truth, nothing scored"]
    return [
        f"{video.name}: object {scored.object_id} has no frame to score between its first mask and "
        "the end"
        for scored in selection.objects
        if not scored.frames
    ]


def _notes_on_seen(source: MetadataSource, objects: Sequence[ObjectScores]) -> list[str]:
    if all(row.seen is None for row in objects):
        return [f"what was seen in training is unknown, so G is not given; {source.remedy}"]
    absent = [
        kind
        for kind, seen in (("seen", True), ("unseen", False))
        if all(row.seen is not seen for row in objects)
    ]
    return [
        f"no object is of a kind {kind} in training; G is the mean of the other two"
        for kind in absent
    ]
