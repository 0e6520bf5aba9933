"""A record of the files that samples are drawn from, so that a resumed training can compare them.

For each kind of samples that reads files, the record holds a pair for every video and every folder
of still images, in the order in which samples are drawn from them: its name, and a digest of its
files' names and sizes. It does not hold the data's location, so that the data may be moved.
"""

import hashlib
import logging
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path

from dataset.training.stills import StillClips
from dataset.training.video_clips import VideoClips
from dataset.training.video_layouts import AnnotatedVideo
from util.errors import InputError

FilesRecord = dict[str, list[list[str]]]
"""Kind of samples → [name, digest] of each video or folder."""

_LOGGER = logging.getLogger(__name__)
_MAX_NAMES = 3
_MISSING_BYTES = -1


def record_files(sources: Mapping[str, StillClips | VideoClips]) -> FilesRecord:
    """Record the files of these sources, by kind of samples. Reads file sizes, not contents."""
    return {
        kind: list(
            _record_folders(source) if isinstance(source, StillClips) else _record_videos(source)
        )
        for kind, source in sources.items()
    }


def summarise_record(record: FilesRecord) -> dict[str, dict[str, int | str]]:
    """For each kind, the number of its entries and a digest of all of them."""
    return {
        kind: {
            "entries": len(entries),
            "digest": _digest(part for entry in entries for part in entry),
        }
        for kind, entries in record.items()
    }


def describe_difference(before: FilesRecord, now: FilesRecord) -> str | None:
    """Name the first videos or folders in which two records differ; None if they are the same."""
    differences = []
    for kind in dict.fromkeys((*before, *now)):
        old, new = (
            [(name, digest) for name, digest in record.get(kind, [])] for record in (before, now)
        )
        if old != new:
            differences.append(f"{kind}: {_describe_difference_of_kind(old, new)}")
    return "; ".join(differences) or None


def check_same_files(
    recorded: FilesRecord | None, now: FilesRecord, checkpoint: Path, allow_others: bool
) -> None:
    """Check that a training resumes with the data of its checkpoint.

    recorded: the checkpoint's record; None if it has none, which is printed.
    Raises: InputError if the data differ, unless `allow_others` is true: then a warning says how.
    """
    if recorded is None:
        print(f"{checkpoint}: does not record its training data, so they are not compared")
        return
    try:
        difference = describe_difference(recorded, now)
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError(
            f"{checkpoint}: the checkpoint is damaged inside (its record of training data); "
            "resume from an earlier one"
        ) from error
    if difference is None:
        return
    if not allow_others:
        raise InputError(
            f"{checkpoint}: its training data were others ({difference}); give the roots, "
            "--subset, --exclude and --mix that it had, add --allow_other_data to resume with "
            "these, or start a new run with --load_network"
        )
    _LOGGER.warning(
        "%s: its training data were others (%s); training resumes with these",
        checkpoint,
        difference,
    )


def _describe_difference_of_kind(
    before: Sequence[tuple[str, str]], now: Sequence[tuple[str, str]]
) -> str:
    old, new = Counter(before), Counter(now)
    removed = list(dict.fromkeys(name for name, _ in old - new))
    added = list(dict.fromkeys(name for name, _ in new - old))
    changed = [name for name in removed if name in added]
    names_by_finding = {
        "changed": changed,
        "missing": [name for name in removed if name not in changed],
        "added": [name for name in added if name not in changed],
    }
    parts = [f"{finding} {_join(names)}" for finding, names in names_by_finding.items() if names]
    return ", ".join(parts) or "another order"


def _join(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_MAX_NAMES])
    return shown if len(names) <= _MAX_NAMES else f"{shown} and {len(names) - _MAX_NAMES:,} more"


def _record_videos(source: VideoClips) -> Iterator[list[str]]:
    digests: dict[tuple[Path, Path], str] = {}  # a video can be listed several times
    for video in source.videos:
        folders = video.image_folder, video.label_folder
        if folders not in digests:
            digests[folders] = _digest(_names_and_sizes(video))
        yield [video.name, digests[folders]]


def _names_and_sizes(video: AnnotatedVideo) -> Iterator[str | int]:
    for folder, names in (
        (video.image_folder, video.image_names),
        (video.label_folder, video.label_names),
    ):
        with os.scandir(folder) as entries:
            sizes = {entry.name: _size_bytes(entry) for entry in entries}
        for name in names:
            yield from (name, sizes.get(name, _MISSING_BYTES))


def _record_folders(source: StillClips) -> Iterator[list[str]]:
    """In the order of the pairs; consecutive pairs of one folder are one entry."""
    located = (
        (next(root for root in source.roots if image.is_relative_to(root)), image, mask)
        for image, mask in source.pairs
    )
    for (root, folder), pairs in groupby(located, key=lambda pair: (pair[0], pair[1].parent)):
        files = [file for _, image, mask in pairs for file in (image, mask)]
        parts = (
            part
            for file in files
            for part in (file.relative_to(root).as_posix(), _size_bytes(file))
        )
        yield [folder.relative_to(root).as_posix(), _digest(parts)]


def _size_bytes(file: Path | os.DirEntry) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return _MISSING_BYTES


def _digest(parts: Iterator[object]) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        digest.update(f"{part}\0".encode(errors="surrogateescape"))
    return digest.hexdigest()
