"""LabelMe's JSON files, one for each frame.

Source: labelme's utils/shape.py, 'shapes_to_label': which pixels a shape covers, and that shapes
of one label and group_id are one object.

Legend: H W height and width of a frame in pixels.
"""

import base64
import binascii
import functools
import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from dataset.folders import list_folders
from dataset.formats.documents import Document
from dataset.formats.fields import Fields
from dataset.formats.mask_video import MaskVideo
from dataset.formats.options import ImportOptions
from dataset.formats.regions import FrameEntry, Region, note_of_left_out, video_of_regions
from dataset.formats.shapes import Size, box_mask, drawn_polygon_mask, ellipse_mask
from dataset.image_file import decode_image
from util.errors import InputError
from util.files import check_plain_name, natural_key

_FARTHEST = 1e9  # pixels


def is_labelme(document: Document) -> bool:
    """Whether a file is LabelMe's, or a folder, or a folder in it, holds such files."""
    return bool(_frame_files(document))


def _frame_files(document: Document) -> dict[str, list[Path]]:
    """The files of each video: those of the folder itself, or of each folder in it."""
    if not document.is_folder:
        return {document.path.parent.resolve().name: [document.path]} if _is_one(document) else {}
    inside = [document.path / name for name in list_folders(document.path)]
    for folders in ([document.path], inside):
        found = {folder.resolve().name: Document(folder).json_files() for folder in folders}
        found = {name: files for name, files in found.items() if files}
        if any(_is_one(Document(files[0])) for files in found.values()):
            return found
    return {}


def _is_one(document: Document) -> bool:
    content = document.json
    return (
        isinstance(content, dict)
        and isinstance(content.get("shapes"), list)
        and ("imagePath" in content or "imageHeight" in content)
    )


def read_labelme(document: Document, options: ImportOptions) -> list[MaskVideo]:
    """The videos of a folder of LabelMe's files, or the one frame of a file.

    A frame has the name of its file. Shapes of one label and group_id are one object; what its id
    is, see video_of_regions. Shapes without an area (lines, points) are left out, with a note.
    Raises InputError for what is malformed.
    """
    found = _frame_files(document)
    if not found:
        raise InputError(f"{document.path}: not LabelMe's JSON, nor a folder of such files")
    return [_read_video(name, files, options) for name, files in found.items()]


def _read_video(name: str, files: list[Path], options: ImportOptions) -> MaskVideo:
    frames: dict[str, FrameEntry] = {}
    regions: list[Region] = []
    left_out: dict[str, int] = {}
    for path in sorted(files, key=lambda path: natural_key(path.stem)):
        check_plain_name(path.stem, str(path.parent))
        content = Document(path).fields()
        size = _frame_size(content, name, path.stem, options)
        frames[path.stem] = FrameEntry(size=size)
        for shape in content.entries("shapes", "shape"):
            kind = shape.text("shape_type", "polygon")
            if kind not in _DRAWN:
                left_out[kind] = left_out.get(kind, 0) + 1
                continue
            regions.append(
                Region(
                    frame=path.stem,
                    mask=functools.partial(_DRAWN[kind], shape, size),
                    where=shape.where,
                    label=shape.text("label"),
                    group=shape.any("group_id") and shape.identifier("group_id"),
                )
            )
    return video_of_regions(name, frames, regions, note_of_left_out(left_out))


def _frame_size(content: Fields, video: str, frame: str, options: ImportOptions) -> Size:
    if content.has("imageHeight") or options.frames is None:
        return content.size("imageHeight", "imageWidth")
    return options.frames.size(video, options.frames.position(video, frame))


# Shapes


def _draw_polygon(shape: Fields, size: Size) -> np.ndarray:
    return drawn_polygon_mask(shape.array("points"), size, shape.where)


def _draw_box(shape: Fields, size: Size) -> np.ndarray:
    return box_mask(_corners(shape), size, shape.where)


def _draw_circle(shape: Fields, size: Size) -> np.ndarray:
    """A centre and a point on the circle."""
    x, y, other_x, other_y = _corners(shape)
    radius = math.hypot(other_x - x, other_y - y)
    return ellipse_mask((x, y, radius, radius), size, shape.where)


def _draw_image(shape: Fields, size: Size) -> np.ndarray:
    """Two corners, whose pixels are inside, and a PNG in base64 of the box between them."""
    left, top, right, bottom = map(int, _corners(shape))
    try:
        content = base64.b64decode(shape.text("mask"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError(f"{shape.where}: a mask that is not base64 ({error})") from error
    mask = np.zeros(size, bool)
    part = np.array(decode_image(content, f"{shape.where}, mask").convert("L")) > 0
    target = mask[max(top, 0) : bottom + 1, max(left, 0) : right + 1]
    if min(left, top) < 0 or target.shape != part.shape:
        raise InputError(
            f"{shape.where}: a mask of {part.shape[1]}x{part.shape[0]} for columns {left} to "
            f"{right} and rows {top} to {bottom} of a frame of {size[1]}x{size[0]}"
        )
    target[:] = part
    return mask


def _corners(shape: Fields) -> tuple[float, float, float, float]:
    """Two points x, y."""
    points = shape.array("points")
    values = [value for point in points if isinstance(point, list) for value in point]
    if (
        len(points) != 2
        or len(values) != 4
        or not all(isinstance(value, int | float) and abs(value) < _FARTHEST for value in values)
    ):
        raise shape.error("points", "two points of x, y are needed")
    return tuple(values)


_DRAWN: Mapping[str, Callable[[Fields, Size], np.ndarray]] = {
    "polygon": _draw_polygon,
    "rectangle": _draw_box,
    "circle": _draw_circle,
    "mask": _draw_image,
}
"""By shape_type: those that cover an area."""
