"""Videos played back and forth to any length, as a data set of symbolic links. Legend: n frames of a video, N of its longer version."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

from dataset import Layout
from dataset.folders import MASK_SUFFIXES, list_files
from dataset.layout import read_sequence_list
from dataset.video.folder_of_frames import refuse_lost_frames
from util.errors import InputError
from util.files import atomic_folder, remove_unfinished
from util.process import exit_on_sigterm

_RECORD = "played.json"
_MOST_FRAMES = 100_000  # of a video: the order of names of five digits is that of their numbers


def back_and_forth(frames: int, length: int) -> list[int]:
    """The first `length` positions of a video of `frames` played forwards, backwards, forwards, …, an end not shown twice: 0 1 2 1 0 1 …"""
    period = max(2 * (frames - 1), 1)
    return [
        min(position % period, period - position % period) if frames > 1 else 0
        for position in range(length)
    ]


def write_played(
    root: Path,
    out: Path,
    *,
    frames: int | None = None,
    times: float | None = None,
    sequences: Sequence[str] | None = None,
    lengthen: bool = True,
) -> Path:
    """`out`: the data set `root` with each video played back and forth to `frames` frames (fewer than it has: cut), or to `times` its length. Truth and masks follow.
    lengthen false: videos of fewer frames stay as they are.

    Frames are links, numbered anew from 00000. An `out` made so before is left as it is. Raises InputError for folders, sequences or lengths that are not right, and
    where `out` holds something else.
    """
    if (frames is None) == (times is None):
        raise InputError("give either a number of frames or how many times a video's length")
    length = times if frames is None else frames
    if not 0 < length < math.inf:  # nan is neither
        raise InputError(f"{length} is no length; a video is at least a frame long, and ends")
    if length > _MOST_FRAMES:  # whatever is played, it has a frame or more
        raise InputError(
            f"{length:g}: too long; at most {_MOST_FRAMES:,} frames of a video are written"
        )
    layout = Layout.of(root)
    for folder in (layout.frames, *layout.masks):
        if out.resolve().is_relative_to((layout.folder / folder).resolve()):
            raise InputError(
                f"{out}: is inside {layout.folder / folder}, where the data set's videos are; choose a folder outside"
            )
    names = layout.names()
    if unknown := [name for name in sequences or () if name not in names]:
        raise InputError(
            f"{layout.frames_folder}: no sequence '{unknown[0]}'; there are: {' '.join(names[:20])}"
        )
    chosen = list(dict.fromkeys(sequences or names))
    record = {
        "root": str(root.resolve()),
        "frames": frames,
        "times": times,
        "lengthen": lengthen,
        "sequences": chosen,
    }
    if out.exists():
        _refuse_other(out, record)
        return out
    remove_unfinished(out.parent, out.name)
    with exit_on_sigterm(), atomic_folder(out) as unfinished:
        for name in chosen:
            _play(layout, unfinished, name, frames, times, lengthen)
        _write_lists(layout, unfinished, chosen)
        (unfinished / _RECORD).write_text(json.dumps(record, indent=2) + "\n")
    return out


def _refuse_other(out: Path, record: dict[str, object]) -> None:
    try:
        found = json.loads((out / _RECORD).read_text())
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict) or found.keys() != record.keys():
        raise InputError(
            f"{out}: is there already, and was not made by playing videos; choose another folder"
        )
    if found != record:
        differing = next(name for name in record if found[name] != record[name])
        raise InputError(
            f"{out}: is there already, made with {differing} {found[differing]}, not {record[differing]}; choose another folder or remove it"
        )


def _play(
    layout: Layout, out: Path, name: str, frames: int | None, times: float | None, lengthen: bool
) -> None:
    paths = layout.frame_files(name)
    if not paths:
        raise InputError(f"{layout.frames_folder / name}: no frames")
    refuse_lost_frames(paths)  # here: numbered anew, the hole could no longer be seen
    length = frames if times is None else max(round(times * len(paths)), 1)
    if length > _MOST_FRAMES:
        raise InputError(
            f"{name}: would have {length:,} frames; at most {_MOST_FRAMES:,} are written"
        )
    order = back_and_forth(len(paths), length if lengthen else min(length, len(paths)))
    _link(out / layout.frames / name, [paths[position] for position in order])
    for folder in layout.masks:
        if (layout.folder / folder / name).is_dir():
            masks = {
                path.stem: path for path in list_files(layout.folder / folder / name, MASK_SUFFIXES)
            }
            _link(out / folder / name, [masks.get(paths[position].stem) for position in order])


def _link(folder: Path, paths: Sequence[Path | None]) -> None:
    """FOLDER/00000.SUFFIX → the path at that place; none where there is None."""
    folder.mkdir(parents=True)
    for number, path in enumerate(paths):
        if path is not None:
            (folder / f"{number:05d}{path.suffix.lower()}").symlink_to(path.resolve())


def _write_lists(layout: Layout, out: Path, names: Sequence[str]) -> None:
    """The data set's lists of sequences, of these names alone, a name a line."""
    for path in sorted(layout.lists_folder.glob("*/*.txt")):
        listed = [name for name in read_sequence_list(path) if name in names]
        if listed:
            target = out / path.relative_to(layout.folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text("".join(f"{name}\n" for name in listed))
