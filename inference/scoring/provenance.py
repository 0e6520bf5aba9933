"""What stands beside the scores because of how the results came about: frames without their counterpart, results that end early, that are of another run than
config.json says, or of inputs that have changed since."""

import datetime
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dataset.folders import list_files
from inference.output.recorded_run import (
    CONFIG_NAME,
    INCOMPLETE_NAME,
    MADE_SINCE,
    OVERLAYS_NAME,
    RecordedRun,
)
from util.errors import InputError
from util.text import counted

from .folders import VideoFolders

_SLACK_SECONDS = 60.0  # what clocks of machines that share a disk differ by
_SHOWN = 3


def notes_on_results(folders: Sequence[VideoFolders], *, all_sequences: bool) -> list[str]:
    """Notes on videos whose results are scored, all from one folder of VIDEO/FRAME.png.

    all_sequences: no others were left out on purpose.
    """
    notes = [*_notes_on_frames(folders)]
    results = folders[0].result.parent
    beyond = {path.name for path in results.iterdir() if any(path.glob("[!.]*.png"))}
    beyond -= {OVERLAYS_NAME, *(folder.name for folder in folders)}
    if all_sequences and beyond:
        found = counted(len(beyond), "video")
        notes.append(f"{found} of the results without truth, not scored ({_first(sorted(beyond))})")
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
    """Why the results of a video end early, as the run that made them left it beside them; empty where they do not."""
    path = folder.result / INCOMPLETE_NAME
    if not path.is_file():
        return ""
    return " ".join(path.read_text(encoding="utf-8", errors="replace").split()) or "no reason given"


def _notes_on_frames(folders: Sequence[VideoFolders]) -> Iterator[str]:
    lacking, beyond = [], []
    for folder in folders:
        found = {path.stem for path in folder.result.glob("[!.]*.png")}
        lacking += [f"{folder.name}/{name}" for name in folder.frame_names if name not in found]
        beyond += [f"{folder.name}/{name}" for name in sorted(found.difference(folder.frame_names))]
    if lacking:
        yield f"the results lack {counted(len(lacking), 'frame')} of the truth ({_first(lacking)})"
    if beyond:
        yield f"{counted(len(beyond), 'frame')} of the results without truth, not scored ({_first(beyond)})"


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")


def _record_of(results: Path) -> RecordedRun | None:
    """The record of the run that wrote into this folder; None where there is none, or none that can be read."""
    for root in (results, results.parent):
        try:
            record = RecordedRun.read(root / CONFIG_NAME)
        except InputError:  # another program's
            continue
        if record is not None and any(
            (root / subfolder).resolve() == results.resolve() for subfolder in record.subfolders
        ):
            return record
    return None


def _notes_on_record(record: RecordedRun, folders: Sequence[VideoFolders]) -> Iterator[str]:
    if record.inputs is None:
        yield f"{CONFIG_NAME} was written by an earlier version and does not say what these results were made from"
        return
    findings: Mapping[str, Callable[[VideoFolders, Any], bool]] = {
        f"{CONFIG_NAME} does not say how these results were made": lambda folder, entry: (
            folder.name not in record.sequences or _made_since(entry) is None
        ),
        f"these results are older than the run that {CONFIG_NAME} says they are of": _is_older,
        "frames or masks were changed, removed or copied anew after these results were made": _has_other_inputs,
    }
    for finding, holds in findings.items():
        if names := [
            folder.name for folder in folders if holds(folder, record.inputs.get(folder.name))
        ]:
            yield f"{_first(names)}: {finding}"


def _made_since(entry: Any) -> float | None:
    """When the making of a video's results began, in seconds since 1970; None where its record does not say."""
    try:
        return datetime.datetime.fromisoformat(entry[MADE_SINCE]).timestamp()
    except (TypeError, KeyError, ValueError):
        return None


def _is_older(folder: VideoFolders, entry: Any) -> bool:
    since = _made_since(entry)
    return since is not None and any(
        path.stat().st_mtime < since - _SLACK_SECONDS for path in folder.result.glob("[!.]*.png")
    )


def _has_other_inputs(folder: VideoFolders, entry: Any) -> bool:
    since = _made_since(entry)
    return since is not None and any(
        _is_newer(entry.get(kind), since) for kind in ("frames", "masks")
    )


def _is_newer(recorded: Any, since: float) -> bool:
    """Whether files that stood in a folder then are gone, or have changed since; False where the folder is not here."""
    if (
        not isinstance(recorded, dict)
        or not isinstance(place := recorded.get("folder"), str)
        or not Path(place).is_dir()
    ):
        return False
    first, count = Path(place) / str(recorded.get("first")), recorded.get("files")
    if not isinstance(count, int):
        return False
    if count == 1:
        files = [first] if first.is_file() else []
    else:
        try:
            files = list_files(Path(place))
        except InputError:
            return True
    stamps = [path.stat() for path in files]
    return len(files) < count or any(
        max(status.st_mtime, status.st_ctime) > since for status in stamps
    )
