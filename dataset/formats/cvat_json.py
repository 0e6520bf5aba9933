"""CVAT's JSON: annotations.json of a backup, and what its server answers.

Source: CVAT's server API, 'annotations' of a task or a job.
"""

from typing import Any

from dataset.formats.cvat_shapes import Shape, VideoShapes
from dataset.formats.documents import Document
from dataset.formats.fields import Fields
from dataset.formats.mask_video import MaskVideo
from dataset.formats.options import ImportOptions
from dataset.formats.regions import FrameEntry
from util.errors import InputError

_NO_INTERPOLATION = (
    "frames between the key frames of a track have no mask; an export as 'CVAT for video 1.1' has"
)


def is_cvat_json(document: Document) -> bool:
    """Whether a file holds lists of shapes and tracks, or a list of such objects."""
    parts = _parts(document.json)
    return bool(parts) and all(
        isinstance(part, dict)
        and isinstance(part.get("shapes"), list)
        and isinstance(part.get("tracks", []), list)
        and ("tracks" in part or "tags" in part)
        for part in parts
    )


def _parts(content: Any) -> list:
    return content if isinstance(content, list) else [content]


def read_cvat_json(document: Document, options: ImportOptions) -> list[MaskVideo]:
    """The video of a file; the jobs of a backup are parts of it.

    Tracks are numbered from 1 in the file's order; shapes outside tracks are objects by label and
    group. The file says neither how large frames are nor their names, so that they must be given.
    Raises InputError if they are not, and for what is malformed.
    """
    frames = options.frames
    if not is_cvat_json(document):
        raise InputError(f"{document.path}: not CVAT's JSON of shapes and tracks")
    if frames is None:
        raise InputError(
            f"{document.path}: CVAT's JSON does not say how large frames are; add --frames, or "
            "export XML ('CVAT for video 1.1')"
        )
    name = frames.root.resolve().stem if frames.is_one_video else document.path.stem
    size = frames.size(name)
    shapes = VideoShapes()

    def add(values: Fields, owner: Fields, track: int | None) -> None:
        frame = frames.name(name, values.integer("frame"))
        shapes.frames.setdefault(frame, FrameEntry(size=size))
        if values.any("outside") is True:
            return
        shapes.add(
            _shape(values),
            frame,
            label=_label(owner),
            track=track,
            group=owner.integer("group", 0) or None,
            depth=values.integer("z_order", 0),
        )

    track_number = 0
    for n, part in enumerate(_parts(document.json)):
        content = Fields(part, f"{document.path}, job {n}")
        for values in content.entries("shapes", "shape"):
            add(values, values, None)
        for track in content.entries("tracks", "track", default=[]):
            track_number += 1
            for values in track.entries("shapes", "shape"):
                add(values, track, track_number)
    if track_number:
        shapes.notes.append(_NO_INTERPOLATION)
    if not shapes.frames:
        raise InputError(f"{document.path}: no shapes; export masks or polygons")
    return [shapes.build(name)]


def _shape(values: Fields) -> Shape:
    points = values.array("points", default=[])
    if not all(isinstance(v, int | float) and abs(v) < 1e12 for v in points):
        raise values.error("points", "finite numbers are needed")
    return Shape(
        kind=values.text("type"),
        points=points,
        degrees=values.number("rotation", 0.0),
        where=values.where,
    )


def _label(values: Fields) -> str | None:
    """A backup has a label's name, the server its number."""
    if values.has("label"):
        return values.text("label")
    return f"label {values.identifier('label_id')}" if values.has("label_id") else None
