"""CVAT's XML: 'CVAT for images 1.1' and 'CVAT for video 1.1'.

Source: CVAT's documentation, 'XML annotation format', version 1.1.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from xml.etree.ElementTree import Element

from dataset.formats.cvat_shapes import Shape, VideoShapes
from dataset.formats.documents import Document
from dataset.formats.fields import checked_size
from dataset.formats.mask_video import MaskVideo
from dataset.formats.names import frame_name, video_name
from dataset.formats.options import ImportOptions
from dataset.formats.regions import FrameEntry
from dataset.formats.shapes import Size
from util.errors import InputError
from util.text import short_repr

_ROOT_TAG = "annotations"
_REQUIRED = math.nan


def is_cvat_xml(document: Document) -> bool:
    """Whether the root of an XML file is that of CVAT's."""
    return document.xml is not None and document.xml.tag == _ROOT_TAG


def read_cvat_xml(document: Document, options: ImportOptions) -> list[MaskVideo]:
    """The images of a file, by the folders in their names, and its tracks, a video for each task.

    A track is an object; shapes of images are objects by label and group_id. Frames of a track are
    named by number, or as the frames that are given. A frame that no shape mentions has no mask; a
    shape 'outside' mentions it. Raises InputError for what is malformed.
    """
    if not is_cvat_xml(document):
        raise InputError(f"{document.path}: not CVAT's XML, whose root is <{_ROOT_TAG}>")
    videos: dict[str, VideoShapes] = {}
    tasks = _Tasks(document)
    for image in document.xml.iter("image"):
        _read_image(image, videos, tasks.default_name, document.path)
    for track in document.xml.iter("track"):
        _read_track(track, videos, tasks, options)
    if not videos:
        raise InputError(f"{document.path}: no images and no tracks; export masks or polygons")
    return [shapes.build(name) for name, shapes in videos.items()]


def _read_image(
    image: Element, videos: dict[str, VideoShapes], default_name: str, path: Path
) -> None:
    where = f"{path}, image {image.get('id')}"
    file_name = _text(image, "name", where)
    folder, frame = frame_name(file_name, where)
    size = checked_size((_integer(image, "height", where), _integer(image, "width", where)), where)
    shapes = videos.setdefault(folder or default_name, VideoShapes())
    entry = FrameEntry(size=size, file_name=file_name)
    if shapes.frames.setdefault(frame, entry) is not entry:
        raise InputError(f"{where}: {file_name!r} is frame {frame} of another image, too")
    for element in image:
        place = f"{where}, {element.tag}"
        shapes.add(
            _shape(element, place),
            frame,
            label=element.get("label"),
            group=element.get("group_id"),
            depth=_integer(element, "z_order", place, 0),
        )


def _read_track(
    track: Element, videos: dict[str, VideoShapes], tasks: "_Tasks", options: ImportOptions
) -> None:
    where = f"{tasks.path}, track {track.get('id')}"
    number = _integer(track, "id", where)
    name, size = tasks.of(track, options, where)
    shapes = videos.setdefault(name, VideoShapes())
    for element in track:
        frame_number = _integer(element, "frame", where)
        place = f"{where}, frame {frame_number}"
        if frame_number < 0:
            raise InputError(f"{place}: a negative number; frames are counted from 0")
        frames = options.frames
        frame = f"{frame_number:05d}" if frames is None else frames.name(name, frame_number)
        shapes.frames.setdefault(frame, FrameEntry(size=size))
        if element.get("outside") != "1":
            depth = _integer(element, "z_order", place, 0)
            label = track.get("label")
            shapes.add(_shape(element, place), frame, label=label, track=number, depth=depth)


@dataclasses.dataclass(frozen=True)
class _Task:
    """name: of its video. size: of its frames; None if the file does not say it."""

    name: str
    size: Size | None


class _Tasks:
    """The tasks of a file, or the one job, which tracks belong to."""

    def __init__(self, document: Document):
        self.path = document.path
        found = [*document.xml.iter("task"), *document.xml.iter("job")]
        self._by_id = {task.findtext("id"): self._read(task) for task in found}
        first = next(iter(self._by_id.values()), None)
        self.default_name = document.path.stem if first is None else first.name
        self._only = first if len(self._by_id) == 1 else None

    def of(self, track: Element, options: ImportOptions, where: str) -> tuple[str, Size]:
        """The name of a track's video and the size of its frames."""
        task = self._by_id.get(track.get("task_id"), self._only)
        name = self.default_name if task is None else task.name
        if task is not None and task.size is not None:
            return name, task.size
        if options.frames is None:
            raise InputError(f"{where}: the file does not say how large frames are; add --frames")
        return name, options.frames.size(name)

    def _read(self, task: Element) -> _Task:
        where = f"{self.path}, {task.tag} {task.findtext('id')}"
        name = task.findtext("name") or self.path.stem
        original = task.find("original_size")
        size = None
        if original is not None:
            sides = [original.findtext(side) or "" for side in ("height", "width")]
            if not all(side.isdecimal() for side in sides):
                raise InputError(f"{where}: an original_size of {sides}; two numbers are needed")
            size = checked_size((int(sides[0]), int(sides[1])), where)
        return _Task(video_name(name, where), size)


# Shapes


def _shape(element: Element, where: str) -> Shape:
    kind, points_of = _SHAPES.get(element.tag, (element.tag, None))
    return Shape(
        kind=kind,
        points=points_of(element, where) if points_of else (),
        degrees=_number(element, "rotation", where, 0.0),
        where=where,
    )


def _code_points(element: Element, where: str) -> list[float]:
    runs = _numbers(_text(element, "rle", where), where)
    left, top, width, height = (
        _integer(element, name, where) for name in ("left", "top", "width", "height")
    )
    return [*runs, left, top, left + width - 1, top + height - 1]


def _polygon_points(element: Element, where: str) -> list[float]:
    return _numbers(_text(element, "points", where).replace(";", ","), where)


def _box_points(element: Element, where: str) -> list[float]:
    return [_number(element, name, where) for name in ("xtl", "ytl", "xbr", "ybr")]


def _ellipse_points(element: Element, where: str) -> list[float]:
    x, y, radius_x, radius_y = (_number(element, name, where) for name in ("cx", "cy", "rx", "ry"))
    return [x, y, x + radius_x, y - radius_y]


_SHAPES: Mapping[str, tuple[str, Callable[[Element, str], list[float]]]] = {
    "mask": ("mask", _code_points),
    "polygon": ("polygon", _polygon_points),
    "box": ("rectangle", _box_points),
    "ellipse": ("ellipse", _ellipse_points),
}
"""By tag: the kind in CVAT's JSON, and how its points are read."""


# Attributes


def _text(element: Element, name: str, where: str) -> str:
    value = element.get(name)
    if value is None:
        raise InputError(f"{where}: no attribute {name!r}; export the file again")
    return value


def _number(element: Element, name: str, where: str, default: float = _REQUIRED) -> float:
    if element.get(name) is None and not math.isnan(default):
        return default
    return _numbers(_text(element, name, where), where)[0]


def _integer(element: Element, name: str, where: str, default: float = _REQUIRED) -> int:
    value = _number(element, name, where, default)
    if not value.is_integer() if isinstance(value, float) else False:
        raise InputError(f"{where}: {name!r} is {value}; a whole number is needed")
    return int(value)


def _numbers(text: str, where: str) -> list[float]:
    """Finite numbers between commas."""
    try:
        values = [float(word) for word in text.split(",")]
    except ValueError:
        values = [math.nan]
    if not all(map(math.isfinite, values)):
        raise InputError(f"{where}: {short_repr(text)}; numbers between commas are needed")
    return values
