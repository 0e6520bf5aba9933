"""Locating and reading the label maps that are scored.

Legend: H W height and width of a frame in pixels.
"""

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from dataset.image_file import load_image
from inference.output.paths import CONFIG_NAME
from inference.output.recorded_run import RecordedRun
from util.errors import InputError
from util.files import natural_key

FRAME_PATTERN = "[!.]*.png"
_TRUTH_FOLDERS = ("Annotations/480p", "trainval/Annotations/480p", "Annotations", ".")


@dataclass(frozen=True, kw_only=True)
class VideoFolders:
    """The label maps of one video: truth and result use the same file names.

    frame_names: file stems of the truth, in natural order.
    """

    name: str
    truth: Path
    result: Path
    frame_names: Sequence[str]


def find_videos(truth: Path, results: Path, sequences: Sequence[str] | None) -> list[VideoFolders]:
    """The videos of the truth (of `sequences`, if given) with their results, in natural order.

    truth: holds VIDEO/FRAME.png, or is the root of a data set that keeps them in Annotations/480p
    or Annotations. results: holds VIDEO/FRAME.png, directly or in Annotations.
    Raises InputError naming a folder, a sequence or a video's results that are missing, and if
    results are in both folders.
    """
    truth = _folder_of_truth(truth)
    names = sorted(
        (path.name for path in truth.iterdir() if path.is_dir() and not path.name.startswith(".")),
        key=natural_key,
    )
    if sequences is not None:
        if unknown := [name for name in sequences if name not in names]:
            raise InputError(
                f"{truth}: no sequence {' '.join(unknown)}; it has {' '.join(names) or 'none'}"
            )
        names = [name for name in names if name in set(sequences)]
    if not names:
        raise InputError(f"{truth}: no sequence to score; give a folder of VIDEO/FRAME.png")
    return videos_below(truth, _folder_of_results(results, names), names)


def videos_below(truth: Path, results: Path, names: Sequence[str]) -> list[VideoFolders]:
    """The named videos of truth/VIDEO/FRAME.png and results/VIDEO/FRAME.png, in natural order.

    Raises InputError if one has no results or no truth.
    """
    names = sorted(names, key=natural_key)
    if missing := [name for name in names if not (results / name).is_dir()]:
        present = [name for name in names if name not in missing]
        remedy = (
            f"score those that have results with --sequences {' '.join(present)}"
            if present
            else "give the folder that holds VIDEO/FRAME.png"
        )
        raise InputError(f"{results}: no results for {' '.join(missing)}; {remedy}")
    return [
        VideoFolders(
            name=name,
            truth=truth / name,
            result=results / name,
            frame_names=_frame_names(truth / name),
        )
        for name in names
    ]


def read_labels(path: Path, single_object: bool = False) -> np.ndarray:
    """The label map of an 8-bit PNG, indexed or grey, as uint8 [H, W] of ids.

    Colour whose channels are all equal counts as grey (DAVIS-2016 has such masks).
    single_object: every id becomes 1.
    Raises InputError if the file is missing, damaged, of 16 bits, or truly coloured.
    """
    if not os.path.lexists(path):
        raise InputError(f"{path}: no such label map; every frame to score needs one")
    image = load_image(path, source=str(path))
    mode, pixels = image.mode, np.asarray(image)
    if mode == "LA" or (mode in ("RGB", "RGBA") and (pixels[..., :1] == pixels[..., 1:3]).all()):
        mode, pixels = "L", np.ascontiguousarray(pixels[..., 0])
    if mode not in ("P", "L", "1"):
        raise InputError(
            f"{path}: an image of mode {mode}; a label map must be an 8-bit indexed or grey PNG of "
            "object ids"
        )
    return (pixels != 0).astype(np.uint8) if single_object else pixels.astype(np.uint8, copy=False)


def ids_in(labels: np.ndarray) -> frozenset[int]:
    """The non-zero values of a uint8 label map [H, W]."""
    # three times as fast as the bincount of numpy
    counts = cv2.calcHist([labels], [0], None, [256], [0, 256]).ravel()
    return frozenset(np.flatnonzero(counts).tolist()) - {0}


def _folder_of_truth(root: Path) -> Path:
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; --truth takes the folder of VIDEO/FRAME.png")
    return next(root / name for name in _TRUTH_FOLDERS if (root / name).is_dir())


def _folder_of_results(root: Path, names: Sequence[str]) -> Path:
    """Where the results lie below `root`: as the record of their run says, or as folders show."""
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; --results takes the folder of VIDEO/FRAME.png")
    with contextlib.suppress(InputError):  # the config.json of another program says nothing
        record = RecordedRun.read(root / CONFIG_NAME)
        if record is not None and len(record.subfolders) == 1:
            return root / record.subfolders[0]
    inside = root / "Annotations"
    if not inside.is_dir():
        return root
    in_root = [name for name in names if (root / name).is_dir()]
    if both := [name for name in in_root if (inside / name).is_dir()]:
        raise InputError(
            f"{root}: results of {both[0]} are in {root / both[0]} and in {inside / both[0]}; give "
            "--results the folder that holds the ones to score"
        )
    return root if in_root else inside


def _frame_names(folder: Path) -> list[str]:
    names = sorted((path.stem for path in folder.glob(FRAME_PATTERN)), key=natural_key)
    if not names:
        raise InputError(
            f"{folder}: no PNG in it; the truth of a sequence is FRAME.png, one file per frame"
        )
    return names
