"""Results of several runs as one: their probabilities are averaged, then the arg-max is taken.

All runs have the same videos, and in each the same frames, objects and sizes.

Legend: H W frame size.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dataset.folders import list_files, list_folders
from dataset.image_file import open_image
from inference.output.paths import CONFIG_NAME, INCOMPLETE_NAME, SOFT_NAME
from inference.output.recorded_run import RecordedRun
from inference.output.writer import ResultWriter
from util.errors import InputError
from util.files import atomic_folder

_IDS = frozenset(map(str, range(256)))


@dataclasses.dataclass(frozen=True)
class SoftRun:
    """The output folder of a run with --soft, finished."""

    root: Path
    record: RecordedRun

    @staticmethod
    def open(root: Path) -> "SoftRun":
        """Raises InputError if the folder holds no results with probabilities."""
        record = RecordedRun.read(root / CONFIG_NAME)
        if record is None:
            raise InputError(f"{root}: holds no {CONFIG_NAME}, so no results of an evaluation")
        run = SoftRun(root, record)
        for name in record.sequences:
            for folder, remedy in (
                (run.results(name), "finish the run first"),
                (run.soft(name), "run it again with --soft"),
            ):
                if not folder.is_dir():
                    raise InputError(f"{folder}: is missing; {remedy}")
            if (run.results(name) / INCOMPLETE_NAME).exists():
                raise InputError(f"{run.results(name)}: ends early ({INCOMPLETE_NAME})")
        return run

    @property
    def subfolder(self) -> str:
        """The folder of the results, below the root."""
        return self.record.subfolders[0]

    @property
    def videos(self) -> tuple[str, ...]:
        """The names of the videos, sorted."""
        return tuple(sorted(self.record.sequences))

    def results(self, video: str) -> Path:
        """The folder of FRAME.png."""
        return self.root / self.subfolder / video

    def soft(self, video: str) -> Path:
        """The folder of ID/FRAME.png."""
        return self.root / SOFT_NAME / video

    def soft_file(self, video: str, frame: str, object_id: int) -> Path:
        """The probabilities of one object in one frame."""
        return self.soft(video) / str(object_id) / f"{frame}.png"

    def objects(self, video: str) -> dict[str, tuple[int, ...]]:
        """The objects of each frame of a video, ascending, by the frame's name.

        Raises InputError if files are missing or do not belong there.
        """
        frames = {path.stem: [] for path in list_files(self.results(video), (".png",))}
        folder = self.soft(video)
        for name in sorted(list_folders(folder), key=lambda name: (len(name), name)):
            if name not in _IDS:
                raise InputError(f"{folder / name}: is no folder of an object's id")
            for path in list_files(folder / name, (".png",)):
                if path.stem not in frames:
                    raise InputError(f"{path}: the results hold no frame of this name")
                frames[path.stem].append(int(name))
        for name, ids in frames.items():
            if ids[:1] != [0]:
                path = self.soft_file(video, name, 0)
                raise InputError(f"{path}: is missing; make the results again")
        return {name: tuple(ids[1:]) for name, ids in frames.items()}

    def levels(self, video: str, frame: str, object_id: int) -> np.ndarray:
        """Probabilities uint8 [H, W] of an object, 0 for the background; 255 is 1."""
        path = self.soft_file(video, frame, object_id)
        with open_image(path) as image:
            if image.mode != "L":
                raise InputError(f"{path}: not a grey image of 8 bits; make the results again")
            return np.array(image)

    def palette(self, video: str) -> bytes:
        """The colours of the results."""
        path = list_files(self.results(video), (".png",))[0]
        with open_image(path) as image:
            if image.mode != "P":
                raise InputError(f"{path}: not an indexed PNG; make the results again")
            return bytes(image.getpalette()).ljust(768, b"\0")


def merge(roots: Sequence[Path], output: Path) -> int:
    """Average the probabilities of runs and write label maps; returns the number of frames.

    roots: output folders of runs with --soft, at least two. output: does not exist yet, and appears
    once it is complete: VIDEO/FRAME.png in the subfolder that the runs have, with their palette,
    and config.json with their settings. Where two probabilities differ by less than 1/255, the
    label may differ from that of the exact mean.
    Raises InputError if the runs do not agree, naming the first difference.
    """
    _check_output(output, roots)
    runs = [SoftRun.open(root) for root in roots]
    first = runs[0]
    for run in runs[1:]:
        _check_same(run, first, "results in", run.subfolder, first.subfolder)
        _check_same(run, first, "videos", run.videos, first.videos)
    objects = {video: _agreed_objects(runs, video) for video in first.videos}
    with atomic_folder(output) as folder:
        with ResultWriter(folder / first.subfolder) as results:
            for video, ids_of in objects.items():
                with results.video(video, first.palette(video)) as writer:
                    for frame, ids in ids_of.items():
                        writer.write(frame, _merged_labels(runs, video, frame, ids))
        _record(runs).write(folder / CONFIG_NAME)
    return sum(map(len, objects.values()))


def _check_output(output: Path, roots: Iterable[Path]) -> None:
    if output.exists():
        raise InputError(f"{output}: is there already; choose another --output")
    for root in roots:
        if root.resolve() in output.resolve().parents:
            raise InputError(f"{output}: lies in {root}; choose an --output apart from it")


def _check_same(run: SoftRun, other: SoftRun, what: str, found: Any, expected: Any) -> None:
    if found != expected:
        texts = [
            " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
            for value in (found, expected)
        ]
        raise InputError(
            f"{run.root}: {what} {texts[0]}, but {other.root}: {texts[1]}; merge runs on the same"
            " videos, frames and masks"
        )


def _agreed_objects(runs: Sequence[SoftRun], video: str) -> dict[str, tuple[int, ...]]:
    """The objects of each frame of a video, ascending, by the frame's name."""
    first = runs[0]
    expected = first.objects(video)
    for run in runs[1:]:
        found = run.objects(video)
        for name in sorted(found.keys() ^ expected.keys())[:1]:
            run_with, run_without = (run, first) if name in found else (first, run)
            raise InputError(
                f"{run_without.results(video)}: lacks {name}.png, which {run_with.root} holds;"
                " merge runs on the same frames"
            )
        for name, ids in expected.items():
            _check_same(run, first, f"{video}/{name} shows objects", found[name], ids)
    return expected


def _merged_labels(
    runs: Sequence[SoftRun], video: str, frame: str, ids: Sequence[int]
) -> np.ndarray:
    """The ids [H, W] of the largest mean probabilities. ids: the objects, ascending."""
    best, labels = None, None
    for object_id in (0, *ids):
        total = _summed_levels(runs, video, frame, object_id)
        if best is None or labels is None:
            best, labels = total, np.zeros(total.shape, np.uint8)
        elif total.shape != best.shape:
            path = runs[0].soft_file(video, frame, object_id)
            raise InputError(f"{path}: {_pixels(total)}, the background {_pixels(best)}")
        else:
            labels[total > best] = object_id
            np.maximum(best, total, out=best)
    return labels


def _summed_levels(runs: Sequence[SoftRun], video: str, frame: str, object_id: int) -> np.ndarray:
    """The sum of a probability over the runs, int64 [H, W]."""
    total = runs[0].levels(video, frame, object_id).astype(np.int64)
    for run in runs[1:]:
        levels = run.levels(video, frame, object_id)
        if levels.shape != total.shape:
            path = run.soft_file(video, frame, object_id)
            raise InputError(
                f"{path}: {_pixels(levels)}, but {_pixels(total)} in {runs[0].root}; merge runs on"
                " frames of the same size"
            )
        total += levels
    return total


def _pixels(image: np.ndarray) -> str:
    return f"{image.shape[1]}×{image.shape[0]} pixels"


def _record(runs: Sequence[SoftRun]) -> RecordedRun:
    """What config.json says of the merged results: the settings of all runs."""
    first = runs[0].record
    settings = {"script": "merge.py", "runs": [run.record.settings for run in runs]}
    roots = {"merged": [str(run.root.resolve()) for run in runs]}
    return dataclasses.replace(
        RecordedRun.of(settings, runs[0].subfolder, roots),
        sequences=first.sequences,
        inputs=first.inputs,
    )
