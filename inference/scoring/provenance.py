"""Notes on how the results that are scored came about.

They name frames without a counterpart, results that end early, results of another run than
config.json describes, and inputs that have changed since.
"""

import datetime
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dataset.folders import list_files
from inference.output.paths import CONFIG_NAME, INCOMPLETE_NAME, OVERLAYS_NAME
from inference.output.recorded_run import MADE_SINCE, RecordedRun
from inference.scoring.folders import FRAME_PATTERN, VideoFolders
from util.errors import InputError
from util.text import counted

_CLOCK_SLACK_SECONDS = 60.0  # how far clocks of machines that share a disk may differ
_NAMES_SHOWN = 3


def notes_on_results(folders: Sequence[VideoFolders], *, all_sequences: bool) -> list[str]:
    """Notes on the videos scored, whose results lie in one folder of VIDEO/FRAME.png.

    all_sequences: no videos were left out on purpose, so results of others are named.
    """
    notes = [*_notes_on_frames(folders)]
    results = folders[0].result.parent
    unscored = {path.name for path in results.iterdir() if any(path.glob(FRAME_PATTERN))}
    unscored -= {OVERLAYS_NAME, *(folder.name for folder in folders)}
    if all_sequences and unscored:
        count = counted(len(unscored), "video")
        notes.append(
            f"{count} of the results without truth, not scored ({_first(sorted(unscored))})"
        )
    if same := [
        folder.name for folder in folders if folder.truth.resolve() == folder.result.resolve()
    ]:
        notes.append(f"{_first(same)}: the results are the truth's own files")
    for folder in folders:
        if reason := incomplete_reason(folder):
            notes.append(f"{folder.name}: its results end early ({INCOMPLETE_NAME}: {reason})")
    if (record := _record_of(results)) is not None:
        notes += _notes_on_record(record, folders)
    return notes


def incomplete_reason(folder: VideoFolders) -> str:
    """Why the results of a video end early, from its incomplete.txt; empty if they do not."""
    path = folder.result / INCOMPLETE_NAME
    if not path.is_file():
        return ""
    return " ".join(path.read_text(encoding="utf-8", errors="replace").split()) or "no reason given"


def _notes_on_frames(folders: Sequence[VideoFolders]) -> Iterator[str]:
    without_result, without_truth = [], []
    for folder in folders:
        results = {path.stem for path in folder.result.glob(FRAME_PATTERN)}
        without_result += [
            f"{folder.name}/{name}" for name in folder.frame_names if name not in results
        ]
        without_truth += [
            f"{folder.name}/{name}" for name in sorted(results.difference(folder.frame_names))
        ]
    if without_result:
        count = counted(len(without_result), "frame")
        yield f"the results lack {count} of the truth ({_first(without_result)})"
    if without_truth:
        count = counted(len(without_truth), "frame")
        yield f"{count} of the results without truth, not scored ({_first(without_truth)})"


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMES_SHOWN]) + (", …" if len(names) > _NAMES_SHOWN else "")


def _record_of(results: Path) -> RecordedRun | None:
    """The record of the run that wrote into this folder; None if there is none to be read."""
    for root in (results, results.parent):
        try:
            record = RecordedRun.read(root / CONFIG_NAME)
        except InputError:  # written by another program
            continue
        if record is not None and any(
            (root / subfolder).resolve() == results.resolve() for subfolder in record.subfolders
        ):
            return record
    return None


def _notes_on_record(record: RecordedRun, folders: Sequence[VideoFolders]) -> Iterator[str]:
    if record.inputs is None:
        yield (
            f"{CONFIG_NAME} was written by an earlier version and does not say what these results "
            "were made from"
        )
        return

    def is_unrecorded(folder: VideoFolders, entry: Any) -> bool:
        return folder.name not in record.sequences or _made_since(entry) is None

    findings: Mapping[str, Callable[[VideoFolders, Any], bool]] = {
        f"{CONFIG_NAME} does not say how these results were made": is_unrecorded,
        f"these results are older than the run that {CONFIG_NAME} describes": _is_older,
        "frames or masks were changed, removed or copied again after these results were made": (
            _has_other_inputs
        ),
    }
    for finding, holds in findings.items():
        if names := [
            folder.name for folder in folders if holds(folder, record.inputs.get(folder.name))
        ]:
            yield f"{_first(names)}: {finding}"


def _made_since(entry: Any) -> float | None:
    """When work on a video's results began, in seconds since 1970; None if it is not recorded."""
    try:
        return datetime.datetime.fromisoformat(entry[MADE_SINCE]).timestamp()
    except (TypeError, KeyError, ValueError):
        return None


def _is_older(folder: VideoFolders, entry: Any) -> bool:
    since = _made_since(entry)
    return since is not None and any(
        path.stat().st_mtime < since - _CLOCK_SLACK_SECONDS
        for path in folder.result.glob(FRAME_PATTERN)
    )


def _has_other_inputs(folder: VideoFolders, entry: Any) -> bool:
    since = _made_since(entry)
    return since is not None and any(
        _has_changed_since(entry.get(kind), since) for kind in ("frames", "masks")
    )


def _has_changed_since(listing: Any, since: float) -> bool:
    """Whether files recorded then have changed since, or are gone; False if the folder is gone.

    listing: what config.json holds of them, which may be anything.
    """
    if not isinstance(listing, dict) or not isinstance(listing.get("folder"), str):
        return False
    folder, count = Path(listing["folder"]), listing.get("files")
    if not folder.is_dir() or not isinstance(count, int):
        return False
    if count == 1:
        file = folder / str(listing.get("first"))
        files = [file] if file.is_file() else []
    else:
        try:
            files = list_files(folder)
        except InputError:
            return True
    return len(files) < count or any(
        max(status.st_mtime, status.st_ctime) > since for status in (path.stat() for path in files)
    )
