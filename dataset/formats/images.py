"""Mask files: indexed and grey PNGs, RGB by a palette, alpha (see dataset.label_map).

Legend: H W height and width of a frame in pixels.
"""

from pathlib import Path

import numpy as np

from dataset.folders import MASK_SUFFIXES, holds_files, holds_videos, list_files, list_folders
from dataset.formats.documents import Document
from dataset.formats.mask_video import MaskFrame, MaskVideo, ObjectInfo
from dataset.formats.options import ImportOptions
from dataset.label_map import BINARY_ID, present_ids, read_label_map
from dataset.layout import DAVIS_MASKS, MASKS
from dataset.mask_colours import ColourNumbering, Colours
from util.errors import InputError
from util.files import read_json
from util.palette import DAVIS_PALETTE

_MASK_ROOTS = (DAVIS_MASKS, f"trainval/{DAVIS_MASKS}", MASKS, ".")
_META = "meta.json"  # of YouTube-VOS


def holds_masks(document: Document) -> bool:
    """Whether the path is a mask, or a folder that holds some."""
    if document.is_folder:
        return _masks_root(document) is not None
    return _is_mask(document.path)


def read_mask_images(document: Document, options: ImportOptions) -> list[MaskVideo]:
    """The videos of VIDEO/FRAME.png, or the one video of FRAME.png or of a single file.

    The folder of the videos may be Annotations/480p or Annotations in the one that is given; a
    meta.json of YouTube-VOS beside it names the objects' categories. 255 beside other ids is void.
    Raises InputError for what read_label_map refuses, and if there is no mask.
    """
    root = _masks_root(document)
    if root is None:
        if not _is_mask(document.path):
            raise InputError(
                f"{document.path}: holds no masks; VIDEO/FRAME.png or FRAME.png is needed"
            )
        return [_read_video(document.path.stem, [document.path], {}, options)]
    if holds_files(root, MASK_SUFFIXES):
        name = document.path.resolve().name
        return [_read_video(name, list_files(root, MASK_SUFFIXES), {}, options)]
    names = [name for name in list_folders(root) if name not in options.ignored_folders]
    categories = _read_categories(document.path)
    return [
        _read_video(name, files, categories.get(name, {}), options)
        for name in names
        if (files := list_files(root / name, MASK_SUFFIXES))
    ]


def _is_mask(path: Path) -> bool:
    return path.suffix.lower() in MASK_SUFFIXES


def _masks_root(document: Document) -> Path | None:
    """The folder that holds FRAME.png or VIDEO/FRAME.png."""
    if not document.is_folder:
        return None
    for name in _MASK_ROOTS:
        folder = document.path / name
        if folder.is_dir() and (
            holds_files(folder, MASK_SUFFIXES) or holds_videos(folder, MASK_SUFFIXES)
        ):
            return folder
    return None


def _read_video(
    name: str, files: list[Path], categories: dict[int, str], options: ImportOptions
) -> MaskVideo:
    """Reads every mask once, so that what is wrong is found before anything is written."""
    colours: Colours = ColourNumbering() if options.colours == "auto" else options.colours
    frames, notes, present = [], [], set()
    palette = None
    for path in files:
        label_map = read_label_map(path, None, colours)
        present.update(present_ids(label_map.labels))
        palette = palette or label_map.palette
        if label_map.note and not notes:
            notes.append(f"{name}/{path.name}: {label_map.note}")
        frames.append(
            MaskFrame(
                name=path.stem,
                size=label_map.labels.shape,
                read=lambda path=path: _read_labels(path, colours),
            )
        )
    objects = present - {BINARY_ID} or present
    if objects != present:
        notes.append(f"{name}: 255 beside other ids is void, no object")
    if isinstance(colours, ColourNumbering):
        palette = colours.palette
    return MaskVideo(
        name=name,
        frames=tuple(frames),
        objects={index: ObjectInfo(category=categories.get(index)) for index in sorted(objects)},
        palette=palette or DAVIS_PALETTE,
        notes=notes,
    )


def _read_labels(path: Path, colours: Colours) -> np.ndarray:
    return read_label_map(path, None, colours).labels


def _read_categories(root: Path) -> dict[str, dict[int, str]]:
    """By video and id, from a meta.json in the folder or above; empty if there is none."""
    candidates = (folder / _META for folder in (root, root.parent))
    path = next((path for path in candidates if path.is_file()), None)
    if path is None:
        return {}
    try:
        return {
            str(video): {
                int(index): entry["category"]
                for index, entry in content["objects"].items()
                if isinstance(entry.get("category"), str)
            }
            for video, content in read_json(path)["videos"].items()
        }
    except InputError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: not YouTube-VOS's {_META} of videos and objects ({type(error).__name__}: "
            f"{error}); move it away or repair it"
        ) from error
