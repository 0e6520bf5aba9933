"""CVAT's shapes, as its JSON and its XML have them in common.

Sources: CVAT's documentation, 'XML annotation format'; run-length codes of masks: cvat-ai/cvat,
issues 6487 and 6777.

Legend: H W height and width of a frame in pixels.
"""

import dataclasses
import functools
from collections.abc import Callable, Hashable, Mapping, Sequence

import numpy as np

from dataset.formats.mask_video import MaskVideo
from dataset.formats.regions import FrameEntry, Region, note_of_left_out, video_of_regions
from dataset.formats.run_lengths import runs_mask
from dataset.formats.shapes import Size, box_mask, ellipse_mask, polygons_mask
from util.errors import InputError
from util.files import natural_key
from util.text import short_repr


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shape:
    """kind: CVAT's name. points: finite numbers, as CVAT's JSON has them. degrees: clockwise."""

    kind: str
    points: Sequence[float]
    where: str
    degrees: float = 0.0

    @property
    def has_area(self) -> bool:
        return self.kind in _DRAWN

    def mask(self, size: Size) -> np.ndarray:
        """The pixels of the shape, bool [H, W]. Raises InputError if the points do not fit."""
        return _DRAWN[self.kind](self, size)


def _draw_code(shape: Shape, size: Size) -> np.ndarray:
    """Runs along the rows of a box, then the box: left, top, right, bottom, all inside."""
    if len(shape.points) < 5 or not all(float(value).is_integer() for value in shape.points):
        raise InputError(f"{shape.where}: {short_repr(shape.points)}; runs and a box are needed")
    *runs, left, top, right, bottom = map(int, shape.points)
    if not (0 <= left <= right < size[1] and 0 <= top <= bottom < size[0]):
        raise InputError(
            f"{shape.where}: a mask in columns {left} to {right} and rows {top} to {bottom} of a "
            f"frame of {size[1]}x{size[0]}; give the frames that it was drawn on"
        )
    mask = np.zeros(size, bool)
    box = (bottom - top + 1, right - left + 1)
    mask[top : bottom + 1, left : right + 1] = runs_mask(runs, box, "C", shape.where)
    return mask


def _draw_polygon(shape: Shape, size: Size) -> np.ndarray:
    return polygons_mask([list(shape.points)], size, shape.where)


def _draw_box(shape: Shape, size: Size) -> np.ndarray:
    return box_mask(shape.points, size, shape.where, shape.degrees)


def _draw_ellipse(shape: Shape, size: Size) -> np.ndarray:
    """Centre x, y, then the rightmost x and the topmost y before it is turned."""
    if len(shape.points) != 4:
        raise InputError(f"{shape.where}: {short_repr(shape.points)}; four numbers are needed")
    x, y, right, top = shape.points
    return ellipse_mask((x, y, abs(right - x), abs(top - y)), size, shape.where, shape.degrees)


_DRAWN: Mapping[str, Callable[[Shape, Size], np.ndarray]] = {
    "mask": _draw_code,
    "polygon": _draw_polygon,
    "rectangle": _draw_box,
    "ellipse": _draw_ellipse,
}
"""Shapes that cover an area. Lines, points, skeletons, cuboids and tags do not."""


@dataclasses.dataclass
class VideoShapes:
    """What a file holds of one video, as it is read. Shapes without an area are counted."""

    frames: dict[str, FrameEntry] = dataclasses.field(default_factory=dict)
    regions: list[Region] = dataclasses.field(default_factory=list)
    left_out: dict[str, int] = dataclasses.field(default_factory=dict)
    notes: list[str] = dataclasses.field(default_factory=list)

    def add(
        self,
        shape: Shape,
        frame: str,
        *,
        label: str | None,
        track: int | None = None,
        group: Hashable = None,
        depth: int = 0,
    ) -> None:
        """Add a shape to a frame whose entry is there."""
        if not shape.has_area:
            self.left_out[shape.kind] = self.left_out.get(shape.kind, 0) + 1
            return
        self.regions.append(
            Region(
                frame=frame,
                mask=functools.partial(shape.mask, self.frames[frame].size),
                where=shape.where,
                label=label or None,
                track=track,
                group=group,
                depth=depth,
            )
        )

    def build(self, name: str) -> MaskVideo:
        frames = dict(sorted(self.frames.items(), key=lambda item: natural_key(item[0])))
        notes = [*self.notes, *note_of_left_out(self.left_out)]
        return video_of_regions(name, frames, self.regions, notes)
