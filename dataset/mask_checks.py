"""Checks whether a label map is one of object ids.

Smooth edges, dithering, and a palette whose background is not index 0 show that it is not. Ids are
judged by their arrangement, not by their number or size: dozens of objects, tiny objects and thin
objects pass.

Legend: H W height and width in pixels. Arrays [256] have an entry per id. A band is an id that is
thin everywhere and mostly touches other objects, as the shades of a smooth edge do.
"""

from dataclasses import dataclass

import cv2
import numpy as np

# an id is thin if fewer of its pixels lie inside a square of that id
_CORE_SHARE = 0.05
# of a band's border that touches other objects; a thin object touches the background
_CONTACT_SHARE = 0.3
# of all borders, if at least three bands make them
_FEWEST_BANDS, _BAND_BORDER_SHARE = 3, 0.65
# of all borders, if one or two bands, or wide bands, make them; also of one object's border, if
# bands surround it
_RING_BORDER_SHARE = 0.8
# instead of that, if the bands' colours lie between their neighbours', as greys do by chance
_COLOURED_BORDER_SHARE = 0.45
# pairs of neighbouring pixels; a speck beside a speck is not an object with a smooth edge
_LEAST_BORDER = 24
# dozens of specks, and most of the ids
_FEWEST_SPECKS, _SPECK_SHARE = 24, 0.75
_WIDEST_BAND = 1 / 40  # of the shorter side
# largest distance of a band's colour from the line between its neighbours' colours
_COLOUR_TOLERANCE = 24
# of a wide blur: neighbouring pixels differ little nearly everywhere
_RAMP_MIN_IDS, _RAMP_STEP, _RAMP_SHARE = 24, 2, 0.8
_BLACK = 8  # largest channel of a colour that people call black


@dataclass(frozen=True, kw_only=True)
class _Regions:
    """How the ids of a label map are arranged.

    ids: those present but the background. area: pixels per id, [256]. borders: see _borders.
    touching: mostly beside other objects, bool [256]. thin: bool [256]. long: with more than a
    speck's border, bool [256].
    """

    ids: np.ndarray
    area: np.ndarray
    borders: np.ndarray
    touching: np.ndarray
    thin: np.ndarray
    long: np.ndarray

    @classmethod
    def of(cls, labels: np.ndarray) -> "_Regions":
        area = np.bincount(labels.ravel(), minlength=256)
        borders = _borders(labels)
        lengths = borders.sum(1)
        return cls(
            ids=np.flatnonzero(area[1:]) + 1,
            area=area,
            borders=borders,
            touching=borders[:, 1:].sum(1) >= _CONTACT_SHARE * np.maximum(lengths, 1),
            thin=_thin_ids(labels, area, radius=1),
            long=lengths >= _LEAST_BORDER,
        )

    @property
    def bands(self) -> np.ndarray:
        return self.thin & self.touching

    @property
    def solid(self) -> np.ndarray:
        solid = (self.area > 0) & ~self.thin
        solid[0] = False
        return solid

    def border_share(self, ids: np.ndarray) -> float:
        """The share of all borders that involve one of these ids, bool [256]."""
        others = self.borders[np.ix_(~ids, ~ids)].sum()
        return 1 - others / max(self.borders.sum(), 1)


def has_smooth_edges(labels: np.ndarray, colours: np.ndarray | None = None) -> bool:
    """Whether ids are the intermediate shades of an anti-aliased, blurred, dithered or lossily
    compressed drawing.

    Args:
        labels: uint8 [H, W]. An id 255 beside others means void and is not a band.
        colours: of the ids, [256, 3]; None: the ids are greys.
    """
    if np.count_nonzero(np.bincount(labels.ravel(), minlength=256)[1:]) < 2:
        return False
    regions = _Regions.of(labels)
    if colours is None:
        shades = np.repeat(np.arange(256)[:, None], 3, axis=1)
    else:
        shades = colours.astype(int)
    return (
        _has_bands(regions)
        or _has_specks(regions)
        or _is_ramp(regions, shades)
        or _has_bands_between_colours(regions, shades, labels)
    )


def _has_bands(regions: _Regions) -> bool:
    """Whether thin bands make most of the borders."""
    bands = regions.bands
    share = regions.border_share(bands)
    if bands.sum() >= _FEWEST_BANDS and share >= _BAND_BORDER_SHARE:
        return True
    return bool(
        (bands & regions.long).any() and regions.solid.any() and share >= _RING_BORDER_SHARE
    )


def _has_specks(regions: _Regions) -> bool:
    """Whether dozens of specks are most of the ids, or make most of the borders."""
    specks = regions.thin.sum()
    if specks < _FEWEST_SPECKS:
        return False
    return bool(
        specks >= _SPECK_SHARE * len(regions.ids)
        or regions.border_share(regions.thin) >= _BAND_BORDER_SHARE
    )


def _is_ramp(regions: _Regions, shades: np.ndarray) -> bool:
    """Whether colours change little from pixel to pixel, as in a wide blur."""
    if len(regions.ids) < _RAMP_MIN_IDS:
        return False
    first, second = np.nonzero(regions.borders)
    near = np.abs(shades[first] - shades[second]).max(1) <= _RAMP_STEP
    near_borders = regions.borders[first[near], second[near]].sum()
    return bool(near_borders >= _RAMP_SHARE * regions.borders.sum())


def _has_bands_between_colours(regions: _Regions, shades: np.ndarray, labels: np.ndarray) -> bool:
    """Whether ids whose colours lie between those of their neighbours make most of the borders."""
    borders, bands, solid, long = regions.borders, regions.bands, regions.solid, regions.long
    between = np.zeros(256, bool)
    for index in np.flatnonzero(regions.touching & long):
        between[index] = _lies_between(int(index), borders, shades)
    used = shades[regions.ids]
    is_coloured = bool((used.min(1) < used.max(1)).any())
    enough = _COLOURED_BORDER_SHARE if is_coloured else _RING_BORDER_SHARE
    if is_coloured and regions.border_share(bands & between) >= enough:
        return True
    ringed = solid & long & (borders[:, bands & between].sum(1) >= enough * borders.sum(1))
    if ringed.any() and ringed.sum() >= (solid & long).sum() / 2:
        return True
    radius = max(2, round(_WIDEST_BAND * min(labels.shape) / 2))
    wide = between & _thin_ids(labels, regions.area, radius)
    fewest = 1 if is_coloured else _FEWEST_BANDS
    return bool(wide.sum() >= fewest and regions.border_share(wide) >= enough)


def _borders(labels: np.ndarray) -> np.ndarray:
    """The number of neighbouring pixels with ids a and b: int [256, 256], symmetric, diagonal 0."""
    counts = np.zeros(65536, np.int64)
    for first, second in ((labels[:, :-1], labels[:, 1:]), (labels[:-1], labels[1:])):
        differ = first != second
        pairs = first[differ].astype(np.int32) * 256 + second[differ]
        counts += np.bincount(pairs, minlength=65536)
    borders = counts.reshape(256, 256)
    return borders + borders.T


def _thin_ids(labels: np.ndarray, area: np.ndarray, radius: int) -> np.ndarray:
    """Which ids hardly fill a square of 2 * radius + 1 pixels anywhere, bool [256].

    False for 0, 255 and ids that are absent.
    """
    square = np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)
    core = labels[cv2.erode(labels, square) == cv2.dilate(labels, square)]
    thin = (area > 0) & (np.bincount(core, minlength=256) < _CORE_SHARE * area)
    thin[[0, 255]] = False
    return thin


def _lies_between(index: int, borders: np.ndarray, shades: np.ndarray) -> bool:
    """Whether an id's colour lies between the colours of the two ids that it borders most."""
    first, second = np.argsort(borders[index], kind="stable")[:-3:-1]
    if index == 0 or borders[index, second] == 0:
        return False
    line, offset = shades[second] - shades[first], shades[index] - shades[first]
    length = float(line @ line)
    position = float(line @ offset) / max(length, 1.0)
    return 0 < position < 1 and np.abs(offset - position * line).max() <= _COLOUR_TOLERANCE


def misplaced_background(labels: np.ndarray, colours: np.ndarray) -> int | None:
    """The index that looks like an indexed image's background, if that is not index 0.

    Index 0 is the background if it is black, or if no index is black and index 0 is the image's
    border.

    Args:
        labels: uint8 [H, W].
        colours: of the indices, [256, 3].
    """
    area = np.bincount(labels.ravel(), minlength=256)
    black = (area > 0) & (colours.max(1) <= _BLACK)
    black[0] = False
    first_is_black = colours[0].max() <= _BLACK
    if black.any() and not (first_is_black and area[0]):
        return int(np.where(black, area, 0).argmax())
    if first_is_black:
        return None
    edges = np.concatenate((labels[0], labels[-1], labels[:, 0], labels[:, -1]))
    border = np.bincount(edges, minlength=256)
    return None if border[0] == border.max() else int(border.argmax())
