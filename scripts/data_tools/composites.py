"""Composites: objects cut out of sequences, pasted over another sequence, with exact truth.

Legend: H W height and width of a frame. Times are frames of the composite, from 0. The size of an
object is the square root of its area in pixels.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import cv2
import numpy as np

from dataset.training.compositing import Wave, paint_patch
from dataset.training.geometry import translation_matrix
from scripts.data_tools.footage import Footage, MovingCutout
from scripts.studies.playing import back_and_forth


class Place(NamedTuple):
    """Where an object's centre is, in pixels, its size, and its depth: larger is nearer."""

    x: float
    y: float
    size: float
    depth: float


class Route(Protocol):
    """The way of an object through the picture."""

    def at(self, time: float) -> Place: ...


@dataclass(frozen=True, kw_only=True)
class Orbit:
    """A flat ellipse seen from the side: the half that is nearer to the camera lies lower.

    centre, radius: (x, y) in pixels. angle, speed: in radians, a frame. growth: how much larger the
    nearest point is than the centre.
    """

    centre: tuple[float, float]
    radius: tuple[float, float]
    angle: float
    speed: float
    size: float
    growth: float = 0.12

    def at(self, time: float) -> Place:
        angle = self.angle + self.speed * time
        depth = math.sin(angle)
        return Place(
            x=self.centre[0] + self.radius[0] * math.cos(angle),
            y=self.centre[1] + self.radius[1] * depth,
            size=self.size * (1 + self.growth * depth),
            depth=depth,
        )


@dataclass(frozen=True, kw_only=True)
class Passage:
    """From knot to knot, smoothly; it rests between knots of equal x.

    knots: (time, x), in order. y: in pixels. bob: added to y.
    """

    knots: Sequence[tuple[float, float]]
    y: float
    size: float
    depth: float
    bob: Wave

    def at(self, time: float) -> Place:
        x = self.knots[0][1]
        for (start, before), (end, after) in itertools.pairwise(self.knots):
            share = min(max((time - start) / (end - start), 0.0), 1.0)
            x += (after - before) * (0.5 - 0.5 * math.cos(math.pi * share))
        return Place(x=x, y=self.y + self.bob.at(time), size=self.size, depth=self.depth)


class Element(Protocol):
    """Something in front of the footage. object_id: 0 if it is not to be segmented."""

    object_id: int

    def depth(self, time: float) -> float:
        """Larger is nearer to the camera."""

    def paint(self, frame: np.ndarray, labels: np.ndarray, time: int) -> None:
        """Paint over a frame float32 [H, W, 3] and its labels uint8 [H, W], in place."""


@dataclass(frozen=True, kw_only=True)
class PastedObject:
    """A cut-out on its way. offset: the frame of the cut-out with which it begins."""

    cutout: MovingCutout
    route: Route
    object_id: int
    offset: int = 0
    mirrored: bool = False

    def depth(self, time: float) -> float:
        return self.route.at(time).depth

    def paint(self, frame: np.ndarray, labels: np.ndarray, time: int) -> None:
        place = self.route.at(time)
        patch = self.cutout.patch(time + self.offset, place.size)
        scales = (-place.size if self.mirrored else place.size), place.size, 1.0
        matrix = translation_matrix(place.x, place.y) @ np.diag(scales) @ patch.matrix
        paint_patch(frame, labels, patch.pixels, matrix, self.object_id)


@dataclass(frozen=True, kw_only=True)
class Pillar:
    """An occluder that stands from the top to the bottom of the frame, nearer than all objects.

    pixels: uint8 [H, w, 4]. left: its left edge in pixels.
    """

    pixels: np.ndarray
    left: float
    object_id: int = 0

    def depth(self, time: float) -> float:
        return math.inf

    def paint(self, frame: np.ndarray, labels: np.ndarray, time: int) -> None:
        paint_patch(frame, labels, self.pixels, translation_matrix(self.left, 0), self.object_id)


def make_pillar(surface: np.ndarray, height: int, width: int, left: float) -> Pillar:
    """A round pillar with the surface of a picture uint8 [h, w, 3], darker towards its sides."""
    colours = cv2.resize(surface, (width, height), interpolation=cv2.INTER_AREA)
    across = np.linspace(-1, 1, width)
    light = 0.45 + 0.55 * np.sqrt(1 - 0.9 * across**2)
    coverage = np.full((height, width), 255, np.uint8)
    coverage[:, [0, -1]] = 128
    shaded = np.rint(colours * light[:, None]).astype(np.uint8)
    return Pillar(pixels=np.dstack((shaded, coverage)), left=left)


@dataclass(frozen=True, kw_only=True)
class Composite:
    """Elements over footage.

    start: the footage's frame at time 0; it is played back and forth. footage_id: of the footage's
    own object. returning: ids of the objects that are hidden or away for a time.
    """

    footage: Footage
    start: int
    footage_id: int
    elements: Sequence[Element]
    frames: int
    returning: Sequence[int] = ()

    def first_areas(self) -> dict[int, float]:
        """The area of each object at time 0 in pixels, as if nothing covered it."""
        pasted = {
            element.object_id: element.route.at(0).size ** 2
            for element in self.elements
            if isinstance(element, PastedObject)
        }
        own = self.footage.pair(self._positions()[0])[1]
        return {self.footage_id: float(own.sum()), **pasted}

    def _positions(self) -> list[int]:
        """The footage's frame at each time."""
        return back_and_forth(len(self.footage.frames), self.start + self.frames)[self.start :]

    def render(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Each frame RGB uint8 [H, W, 3] with its labels uint8 [H, W]."""
        for time, position in enumerate(self._positions()):
            image, mask = self.footage.pair(position)
            frame, labels = image.astype(np.float32), mask * np.uint8(self.footage_id)
            for element in sorted(self.elements, key=lambda element: element.depth(time)):
                element.paint(frame, labels, time)
            yield np.clip(np.rint(frame), 0, 255).astype(np.uint8), labels
