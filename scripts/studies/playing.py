"""Videos played again and again to any length, as a data set of symbolic links."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from dataset import Layout
from dataset.folders import MASK_SUFFIXES, list_files
from dataset.layout import read_sequence_list
from dataset.video.folder_of_frames import refuse_lost_frames
from util.errors import InputError
from util.files import atomic_folder, remove_unfinished
from util.process import exit_on_sigterm

_RECORD_NAME = "played.json"
_MAX_FRAMES = 100_000  # of a video: names of five digits sort like their numbers


def back_and_forth(frame_count: int, length: int) -> list[int]:
    """The positions 0 1 … 1 0 1 … of a video played forwards, backwards, forwards, and so on.

    The frames at both ends are not repeated. Returns `length` positions in 0..frame_count - 1.
    """
    if frame_count == 1:
        return [0] * length
    period = 2 * (frame_count - 1)
    return [min(index % period, period - index % period) for index in range(length)]


def from_the_start(frame_count: int, length: int) -> list[int]:
    """The positions 0 1 … 0 1 … of a video that starts again after its last frame.

    Returns `length` positions in 0..frame_count - 1. Source: REMN (Chen, Zhang, Yang, Wu, 2023),
    Table III, whose long videos repeat a video from start to end.
    """
    return [index % frame_count for index in range(length)]


BACK_AND_FORTH = "back-and-forth"
ORDERS: Mapping[str, Callable[[int, int], list[int]]] = {
    BACK_AND_FORTH: back_and_forth,
    "repeat": from_the_start,
}


def write_played(
    root: Path,
    out: Path,
    *,
    frames: int | None = None,
    times: float | None = None,
    sequences: Sequence[str] | None = None,
    lengthen: bool = True,
    order: str = BACK_AND_FORTH,
) -> Path:
    """Write the data set `root` to `out` with each video played longer.

    Give one of two lengths. frames: of each video; fewer than it has cut it. times: a multiple of
    each video's length. sequences: the videos; None: all. lengthen: False only cuts videos. order:
    of ORDERS, in which the frames are played.

    Frames and their masks and truth are symbolic links, numbered from 00000. An `out` that an
    earlier call wrote for the same request is kept. Returns `out`. Raises InputError for folders,
    sequences or lengths that are wrong, and if `out` holds anything else.
    """
    _check_length(frames, times)
    layout = Layout.of(root)
    check_outside(out, layout)
    chosen = chosen_names(layout, sequences)
    record = {
        "root": str(root.resolve()),
        "frames": frames,
        "times": times,
        "lengthen": lengthen,
        "sequences": chosen,
        "order": order,
    }
    if out.exists():
        _check_same_request(out, record)
        return out
    remove_unfinished(out.parent, out.name)
    with exit_on_sigterm(), atomic_folder(out) as unfinished:
        for name in chosen:
            paths = _frame_files(layout, name)
            length = frames if times is None else max(round(times * len(paths)), 1)
            length = length if lengthen else min(length, len(paths))
            if length > _MAX_FRAMES:
                raise InputError(
                    f"{name}: would have {length:,} frames; at most {_MAX_FRAMES:,} are written"
                )
            _write_video(layout, unfinished, name, paths, ORDERS[order](len(paths), length))
        _write_lists(layout, unfinished, chosen)
        (unfinished / _RECORD_NAME).write_text(json.dumps(record, indent=2) + "\n")
    return out


def _check_length(frames: int | None, times: float | None) -> None:
    if (frames is None) == (times is None):
        raise InputError("give either a number of frames or a multiple of a video's length")
    length = times if frames is None else frames
    if not 0 < length < math.inf:  # nan is neither
        raise InputError(f"{length} is not a length; give a finite number above 0")
    if length > _MAX_FRAMES:  # each video has at least one frame
        raise InputError(f"{length:g}: too long; at most {_MAX_FRAMES:,} frames a video")


def check_outside(out: Path, layout: Layout) -> None:
    """Raise InputError if a folder to write lies among the videos of the data set."""
    for folder in (layout.frames, *layout.masks):
        videos = layout.folder / folder
        if out.resolve().is_relative_to(videos.resolve()):
            raise InputError(
                f"{out}: is inside {videos}, where the data set's videos are; choose a folder "
                "outside"
            )


def chosen_names(layout: Layout, sequences: Sequence[str] | None) -> list[str]:
    """The names given, each once; None: of all videos. Raises InputError for an unknown one."""
    names = layout.names()
    for name in sequences or ():
        if name not in names:
            known = " ".join(names[:20])
            raise InputError(f"{layout.frames_folder}: no sequence '{name}'; there are: {known}")
    return list(dict.fromkeys(sequences or names))


def _check_same_request(out: Path, record: dict[str, object]) -> None:
    try:
        earlier = json.loads((out / _RECORD_NAME).read_text())
    except (OSError, ValueError):
        earlier = None
    if isinstance(earlier, dict):  # before there were orders, all videos were played so
        earlier = {"order": BACK_AND_FORTH} | earlier
    if not isinstance(earlier, dict) or earlier.keys() != record.keys():
        raise InputError(
            f"{out}: exists, and was not made by playing videos; choose another folder"
        )
    for name, value in record.items():
        if earlier[name] != value:
            raise InputError(
                f"{out}: exists, made with {name} {earlier[name]}, not {value}; choose another "
                "folder or remove it"
            )


def _frame_files(layout: Layout, name: str) -> list[Path]:
    paths = layout.frame_files(name)
    if not paths:
        raise InputError(f"{layout.frames_folder / name}: no frames")
    refuse_lost_frames(paths)  # here: in the renumbered video, the gap could no longer be seen
    return paths


def _write_video(
    layout: Layout, out: Path, name: str, paths: list[Path], order: Sequence[int]
) -> None:
    """Write one video. order: the positions of its frames, in the order in which they are shown."""
    _link(out / layout.frames / name, [paths[position] for position in order])
    for folder in layout.masks:
        source = layout.folder / folder / name
        if source.is_dir():
            masks = {path.stem: path for path in list_files(source, MASK_SUFFIXES)}
            _link(out / folder / name, [masks.get(paths[position].stem) for position in order])


def _link(folder: Path, paths: Sequence[Path | None]) -> None:
    """Link FOLDER/00000.SUFFIX, … to the paths; a None skips its number."""
    folder.mkdir(parents=True)
    for number, path in enumerate(paths):
        if path is not None:
            (folder / f"{number:05d}{path.suffix.lower()}").symlink_to(path.resolve())


def _write_lists(layout: Layout, out: Path, names: Sequence[str]) -> None:
    """Write the data set's lists of sequences, reduced to these names, one a line."""
    for path in sorted(layout.lists_folder.glob("*/*.txt")):
        listed = [name for name in read_sequence_list(path) if name in names]
        if listed:
            target = out / path.relative_to(layout.folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text("".join(f"{name}\n" for name in listed))
