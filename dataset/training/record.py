"""What training samples are drawn from, as a checkpoint records it, so that a training goes on with the same.

A record holds, for each kind of samples that comes from files, a pair for every video and every folder of still images, in the order in which they are drawn from:
its name, and a digest of its files' names and sizes. Where the data lies is no part of it: it may have been moved.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path

from dataset.training.stills import StaticDataset
from dataset.training.video_clips import AnnotatedVideo, VideoClipDataset

FilesRecord = dict[str, list[list[str]]]  # kind of samples → [name, digest] of each video or folder

_NAMED = 3


def record_of(kinds: Mapping[str, StaticDataset | VideoClipDataset]) -> FilesRecord:
    """The record of these kinds. Looks at every file's size, at none's content."""
    return {
        kind: list(_folders(source) if isinstance(source, StaticDataset) else _videos(source))
        for kind, source in kinds.items()
    }


def summary(record: FilesRecord) -> dict[str, dict[str, int | str]]:
    """How many entries each kind has, and a digest of all of them."""
    return {
        kind: {
            "entries": len(entries),
            "digest": _digest(part for entry in entries for part in entry),
        }
        for kind, entries in record.items()
    }


def difference(before: FilesRecord, now: FilesRecord) -> str | None:
    """In what two records differ, by the names of the first videos or folders that do; None where they are the same."""
    parts = [
        f"{kind}: {_difference_of_kind(before.get(kind, []), now.get(kind, []))}"
        for kind in dict.fromkeys((*before, *now))
        if [list(entry) for entry in before.get(kind, [])]
        != [list(entry) for entry in now.get(kind, [])]
    ]
    return "; ".join(parts) or None


def _difference_of_kind(before: Sequence[Sequence[str]], now: Sequence[Sequence[str]]) -> str:
    old, new = Counter(tuple(entry) for entry in before), Counter(tuple(entry) for entry in now)
    gone, come = (
        list(dict.fromkeys(name for name, _ in difference)) for difference in (old - new, new - old)
    )
    changed = [name for name in gone if name in come]
    found = {
        "changed": changed,
        "missing": [name for name in gone if name not in changed],
        "added": [name for name in come if name not in changed],
    }
    return (
        ", ".join(f"{what} {_named(names)}" for what, names in found.items() if names)
        or "another order"
    )


def _named(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (
        f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    )


def _videos(dataset: VideoClipDataset) -> Iterator[list[str]]:
    digests: dict[tuple[Path, Path], str] = {}  # one that counts several times is looked at once
    for video in dataset.videos:
        folders = video.image_folder, video.label_folder
        if folders not in digests:
            digests[folders] = _digest(_parts_of(video))
        yield [video.name, digests[folders]]


def _parts_of(video: AnnotatedVideo) -> Iterator[object]:
    for folder, names in (
        (video.image_folder, video.image_names),
        (video.label_folder, video.label_names),
    ):
        with os.scandir(folder) as entries:
            sizes = {entry.name: _size(entry) for entry in entries}
        for name in names:
            yield from (name, sizes.get(name, -1))


def _folders(dataset: StaticDataset) -> Iterator[list[str]]:
    """In the order of the pairs; those of one folder that come together are one entry."""
    located = (
        (next(root for root in dataset.roots if image.is_relative_to(root)), image, mask)
        for image, mask in dataset.pairs
    )
    for (root, folder), pairs in groupby(located, key=lambda place: (place[0], place[1].parent)):
        files = (file for _, image, mask in pairs for file in (image, mask))
        yield [
            folder.relative_to(root).as_posix(),
            _digest(
                part for file in files for part in (file.relative_to(root).as_posix(), _size(file))
            ),
        ]


def _size(file: Path | os.DirEntry) -> int:
    """In bytes; -1 where it is gone."""
    try:
        return file.stat().st_size
    except OSError:
        return -1


def _digest(parts: Iterator[object]) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        digest.update(f"{part}\0".encode(errors="surrogateescape"))
    return digest.hexdigest()
