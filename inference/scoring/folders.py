"""Finding and reading the label maps that are scored.

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
from inference.output.recorded_run import CONFIG_NAME, RecordedRun
from util.errors import InputError
from util.files import natural_key

_TRUTH_FOLDERS = ("Annotations/480p", "trainval/Annotations/480p", "Annotations", ".")


@dataclass(frozen=True, kw_only=True)
class VideoFolders:
    """The label maps of one video: truth and result hold the same file names."""

    name: str
    truth: Path
    result: Path
    frame_names: Sequence[str]  # file stems of the truth, in natural order


def find_videos(truth: Path, results: Path, sequences: Sequence[str] | None) -> list[VideoFolders]:
    """The videos below truth (those of sequences alone where given), in natural order, each with its results.

    truth holds VIDEO/FRAME.png, or is the root of a data set that keeps them in Annotations/480p or Annotations; results holds VIDEO/FRAME.png, itself
    or in Annotations. Raises InputError naming a folder, a sequence or a video's results that are not there, and for results in both places.
    """
    truth = _folder_of_masks(truth, _TRUTH_FOLDERS, "--truth")
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
    """These videos in natural order, of the folders that hold truth/VIDEO/FRAME.png and results/VIDEO/FRAME.png. Raises InputError where one is not there."""
    names = sorted(names, key=natural_key)
    if missing := [name for name in names if not (results / name).is_dir()]:
        present = [name for name in names if name not in missing]
        remedy = (
            f"score those there are with --sequences {' '.join(present)}"
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
    """The label map of an 8-bit PNG, indexed or grey, as uint8 [H, W] of ids. Colour whose channels are all equal counts as grey (DAVIS-2016 has such).

    single_object: every id is object 1.
    Raises InputError where the file is missing, broken, of 16 bits, or truly coloured.
    """
    if not os.path.lexists(path):
        raise InputError(f"{path}: no such label map; every frame to score needs one")
    image = load_image(path, source=str(path))
    mode, pixels = image.mode, np.asarray(image)
    if mode == "LA" or (mode in ("RGB", "RGBA") and (pixels[..., :1] == pixels[..., 1:3]).all()):
        mode, pixels = "L", np.ascontiguousarray(pixels[..., 0])
    if mode not in ("P", "L", "1"):
        raise InputError(
            f"{path}: an image of mode {mode}; a label map must be an 8-bit indexed or grey PNG of object ids"
        )
    return (pixels != 0).astype(np.uint8) if single_object else pixels.astype(np.uint8, copy=False)


def ids_in(labels: np.ndarray) -> frozenset[int]:
    """The non-zero values of a uint8 label map [H, W]."""
    counts = cv2.calcHist(
        [labels], [0], None, [256], [0, 256]
    ).ravel()  # three times as fast as numpy's bincount
    return frozenset(np.flatnonzero(counts).tolist()) - {0}


def _folder_of_results(root: Path, names: Sequence[str]) -> Path:
    """Where below `root` a run put its results, as its record says; without one, where videos of these names are."""
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; --results takes the folder of VIDEO/FRAME.png")
    with contextlib.suppress(InputError):  # another program's config.json says nothing
        if (record := RecordedRun.read(root / CONFIG_NAME)) is not None and len(
            record.subfolders
        ) == 1:
            return root / record.subfolders[0]
    inside = root / "Annotations"
    if inside.is_dir() and (
        both := [name for name in names if (root / name).is_dir() and (inside / name).is_dir()]
    ):
        raise InputError(
            f"{root}: results of {both[0]} are in {root / both[0]} and in {inside / both[0]}; give --results the folder that holds the ones to score"
        )
    return inside if inside.is_dir() and not any((root / name).is_dir() for name in names) else root


def _folder_of_masks(root: Path, candidates: Sequence[str], flag: str) -> Path:
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; {flag} takes the folder of VIDEO/FRAME.png")
    return next(root / name for name in candidates if (root / name).is_dir())


def _frame_names(folder: Path) -> list[str]:
    names = sorted((path.stem for path in folder.glob("[!.]*.png")), key=natural_key)
    if not names:
        raise InputError(
            f"{folder}: no PNG in it; the truth of a sequence is FRAME.png, a file a frame"
        )
    return names
