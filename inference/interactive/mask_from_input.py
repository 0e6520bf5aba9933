"""Boxes, scribbles and clicks become the mask of one object in one frame.

`MaskFromInput` is the interface; `GrabCutMask`, which needs no network, is the default.

Legend: H W height and width of the frame, h w of the part of it that is cut, in pixels. A point is
(x, y), with (0, 0) the centre of the upper left pixel.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Protocol

import cv2
import numpy as np

Box = tuple[float, float, float, float]
"""(x0, y0, x1, y1) in pixels: two opposite corners, both inside."""

_FARTHEST = 30_000  # pixels; farther points are moved here, as cv2 draws with 16 bits
_CORRECTION_SHARE = 0.3  # of the reach, for a mask that is corrected
_LIKELY_SHARE = 0.25  # of a stroke's reach, within which its kind is likely
_SEED = 0  # of the colour models, so that the same input gives the same mask


@dataclasses.dataclass(frozen=True)
class Stroke:
    """A line drawn over a frame; one point is a click.

    points: (x, y) in pixels, at least one; parts outside the frame draw nothing. positive: whether
    the object is below it; otherwise it is not. radius: half the line's width in pixels; 0 draws a
    line of one pixel.
    Raises: ValueError for no point, and for values that are not finite or a negative radius.
    """

    points: Sequence[tuple[float, float]]
    positive: bool = True
    radius: float = 3.0

    def __post_init__(self) -> None:
        points = np.asarray(self.points, dtype=float)
        if points.ndim != 2 or points.shape[1] != 2 or not len(points):
            raise ValueError(f"points of a stroke: shape {points.shape}; [(x, y), …] is needed")
        if not np.isfinite(points).all():
            raise ValueError("points of a stroke: not all are finite numbers")
        if not 0 <= self.radius < math.inf:
            raise ValueError(f"radius of a stroke: {self.radius}; a number of at least 0 is needed")


class MaskFromInput(Protocol):
    """Makes and corrects the mask of one object."""

    def mask(
        self,
        frame: np.ndarray,
        previous: np.ndarray | None,
        strokes: Sequence[Stroke],
        box: Box | None,
    ) -> np.ndarray:
        """The object's mask, bool [H, W].

        frame: RGB uint8 [H, W, 3]. previous: the mask to correct, bool [H, W]; None: there is none.
        strokes: pixels below positive ones are inside the mask, pixels below negative ones outside;
        of two that cross, the later one counts. box: the object lies inside; None: anywhere.
        Without strokes and box, the mask is `previous`, or empty.
        Raises: ValueError for arrays of another shape or type and a box that is not finite.
        """
        ...


class GrabCutMask:
    """GrabCut: cuts where colours change, between colour models of object and background.

    With a previous mask and strokes, a correction changes only regions that are connected to a
    stroke and near to it.

    Source: Rother et al., "GrabCut: Interactive Foreground Extraction using Iterated Graph Cuts",
    SIGGRAPH 2004, in OpenCV's implementation. The limits to corrections are ours.
    """

    def __init__(self, *, max_pixels: int = 160_000, iterations: int = 4, reach: float = 0.1):
        """max_pixels: a larger part of the frame is reduced to so many pixels before it is cut.
        iterations: of GrabCut, at least 1. reach: how far from a stroke a new object may extend, as
        a share of the frame's diagonal, above 0. A mask is corrected up to 0.3 of that.
        Raises: ValueError for other values.
        """
        if max_pixels < 1 or iterations < 1 or not 0 < reach < math.inf:
            raise ValueError(
                f"max_pixels {max_pixels} and iterations {iterations} must be at least 1, and"
                f" reach {reach} above 0"
            )
        self._max_pixels, self._iterations, self._reach = max_pixels, iterations, reach

    def mask(
        self,
        frame: np.ndarray,
        previous: np.ndarray | None,
        strokes: Sequence[Stroke],
        box: Box | None,
    ) -> np.ndarray:
        """See MaskFromInput. A box of no area counts as none."""
        size = _check(frame, previous, box)
        previous = np.zeros(size, bool) if previous is None else previous.astype(bool)
        drawn = Drawing.of(strokes, size)
        inside = None if box is None else _inside_box(box, size)
        if inside is not None:
            labels = self._labels_in_box(previous, drawn, inside)
        elif drawn.positive.any() or (drawn.negative.any() and previous.any()):
            labels = self._labels_near_strokes(previous, drawn)
        else:
            return previous & ~drawn.negative
        found = self._cut(np.ascontiguousarray(frame), labels)
        if inside is None:
            found = _changes_at_strokes(previous, found, drawn)
        return (found | drawn.positive) & ~drawn.negative

    def _labels_in_box(
        self, previous: np.ndarray, drawn: "Drawing", inside: np.ndarray
    ) -> np.ndarray:
        """Labels of GrabCut, uint8 [H, W]: outside the box is background."""
        likely = previous & inside
        likely = likely if likely.any() else inside
        labels = np.where(likely, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
        labels[~inside] = cv2.GC_BGD
        return drawn.label(labels)

    def _labels_near_strokes(self, previous: np.ndarray, drawn: "Drawing") -> np.ndarray:
        """Labels of GrabCut, uint8 [H, W]: what is far from all strokes stays as it was.

        Near a stroke, its kind is likely. A correction is local. Clicks and short strokes on a new
        object reach up to twice as far as others, as they show less of it.
        """
        to_positive, to_negative = _distance(drawn.positive), _distance(drawn.negative)
        far = self._reach * math.hypot(*previous.shape)
        if previous.any():
            far *= _CORRECTION_SHARE
        else:
            length = max(cv2.boundingRect(drawn.positive.view(np.uint8))[2:])
            far += max(far - length, 0)
        near = far * _LIKELY_SHARE
        likely = previous.copy()
        likely[(to_positive <= near) & (to_positive < to_negative)] = True
        likely[(to_negative <= near) & (to_negative <= to_positive)] = False
        labels = np.where(likely, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
        untouched = np.minimum(to_positive, to_negative) > far
        labels[untouched & previous] = cv2.GC_FGD
        labels[untouched & ~previous] = cv2.GC_BGD
        return drawn.label(labels)

    def _cut(self, frame: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """The foreground bool [H, W], where the labels leave it open and as they say elsewhere."""
        found = _is_foreground(labels)
        window = _window_around_open(labels)
        part, part_labels = frame[window], labels[window]
        shrink = math.sqrt(self._max_pixels / part_labels.size) if part_labels.size else 1.0
        if shrink < 1:
            size = tuple(max(round(side * shrink), 1) for side in part_labels.shape[::-1])
            part = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
            reduced = cv2.resize(part_labels, size, interpolation=cv2.INTER_NEAREST)
            cut = self._grab_cut(part, reduced).astype(np.float32)
            cut = cv2.resize(cut, part_labels.shape[::-1], interpolation=cv2.INTER_LINEAR) >= 0.5
        else:
            cut = self._grab_cut(part, part_labels)
        is_open = (part_labels == cv2.GC_PR_FGD) | (part_labels == cv2.GC_PR_BGD)
        found[window] = np.where(is_open, cut, found[window])
        return found

    def _grab_cut(self, part: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Foreground bool [h, w]. Without both classes there is nothing to cut: as labelled."""
        foreground = _is_foreground(labels)
        if not foreground.any() or foreground.all():
            return foreground
        cut = labels.copy()
        cv2.setRNGSeed(_SEED)
        try:
            cv2.grabCut(
                np.ascontiguousarray(part[..., ::-1]),
                cut,
                None,
                np.zeros((1, 65)),
                np.zeros((1, 65)),
                self._iterations,
                cv2.GC_INIT_WITH_MASK,
            )
        except cv2.error:  # too few pixels of a class for a colour model
            return foreground
        return _is_foreground(cut)


@dataclasses.dataclass(frozen=True)
class Drawing:
    """What strokes cover, bool [H, W]: pixels of the object, and pixels of the background."""

    positive: np.ndarray
    negative: np.ndarray

    @staticmethod
    def of(strokes: Sequence[Stroke], size: tuple[int, int]) -> "Drawing":
        """Draw strokes, the later over the earlier ones. size: (H, W)."""
        kinds = np.zeros(size, np.uint8)
        for stroke in strokes:
            points = np.clip(np.rint(np.asarray(stroke.points, dtype=float)), -_FARTHEST, _FARTHEST)
            points = points.astype(np.int32)
            kind, radius = 1 if stroke.positive else 2, min(round(stroke.radius), _FARTHEST)
            cv2.polylines(kinds, [points], False, kind, min(2 * radius + 1, 32_767))
            for point in points[[0, -1]].tolist():  # round ends, and clicks
                cv2.circle(kinds, point, radius, kind, cv2.FILLED)
        return Drawing(kinds == 1, kinds == 2)

    def label(self, labels: np.ndarray) -> np.ndarray:
        """Labels of GrabCut, uint8 [H, W], in which the strokes are certain."""
        labels[self.positive] = cv2.GC_FGD
        labels[self.negative] = cv2.GC_BGD
        return labels


def _check(frame: np.ndarray, previous: np.ndarray | None, box: Box | None) -> tuple[int, int]:
    """The frame's (H, W). Raises ValueError for wrong arguments."""
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8 or not frame.size:
        raise ValueError(f"frame: {frame.dtype} {frame.shape}; uint8 [H, W, 3] is needed")
    size = frame.shape[:2]
    if previous is not None and previous.shape != size:
        raise ValueError(f"previous mask: shape {previous.shape}; the frame has {size}")
    if box is not None and (len(box) != 4 or not np.isfinite(np.asarray(box, float)).all()):
        raise ValueError(f"box {box}: four finite numbers x0, y0, x1, y1 are needed")
    return size


def _inside_box(box: Box, size: tuple[int, int]) -> np.ndarray | None:
    """The pixels inside a box, bool [H, W]; None if it has no area in the frame."""
    x0, x1 = sorted(box[::2])
    y0, y1 = sorted(box[1::2])
    inside = np.zeros(size, bool)
    if x1 > x0 and y1 > y0:
        rows, columns = (
            slice(max(math.ceil(first), 0), max(math.floor(last) + 1, 0))
            for first, last in ((y0, y1), (x0, x1))
        )
        inside[rows, columns] = True
    return inside if inside.any() else None


def _is_foreground(labels: np.ndarray) -> np.ndarray:
    return (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)


def _distance(mask: np.ndarray) -> np.ndarray:
    """The distance of each pixel to the mask, float32 [H, W] in pixels; infinite if it is empty."""
    if not mask.any():
        return np.full(mask.shape, np.inf, np.float32)
    return cv2.distanceTransform((~mask).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)


def _window_around_open(labels: np.ndarray) -> tuple[slice, slice]:
    """The rows and columns around all pixels that are to be decided, with a margin of half their
    size, in which GrabCut finds the colours of what surrounds them."""
    is_open = (labels == cv2.GC_PR_FGD) | (labels == cv2.GC_PR_BGD)
    x, y, width, height = cv2.boundingRect(is_open.view(np.uint8))
    return (
        slice(max(y - height // 2, 0), y + height + height // 2),
        slice(max(x - width // 2, 0), x + width + width // 2),
    )


def _changes_at_strokes(previous: np.ndarray, found: np.ndarray, drawn: Drawing) -> np.ndarray:
    """The mask with those changes alone that are connected to a stroke of their kind, [H, W]."""
    added = _components_at(found & ~previous, drawn.positive)
    removed = _components_at(previous & ~found, drawn.negative)
    return (previous | added) & ~removed


def _components_at(mask: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """The seeds, and the regions of the mask that touch them, bool [H, W]."""
    _, components = cv2.connectedComponents((mask | seeds).view(np.uint8), connectivity=8)
    return np.isin(components, np.unique(components[seeds]))
