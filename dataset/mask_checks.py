"""Is a label map one of object ids? Smooth edges, dithering and a palette whose background is not index 0 show that it is not.

Ids are judged by how they lie, not by how many or how small they are: dozens of objects, tiny ones and thin ones are read.
Legend: H W height and width in pixels.
"""

import cv2
import numpy as np

_CORE_SHARE = (
    0.05  # of an id's pixels; with fewer inside a square of one id, it is a band or specks
)
_CONTACT_SHARE = 0.3  # of a band's border, towards other objects; a thin object's border is towards the background
_FEWEST_BANDS, _BAND_BORDER_SHARE = 3, 0.65  # of all borders, if several bands make them
_RING_BORDER_SHARE = (
    0.8  # if one or two do, or wide ones; also of one object's border, if bands lie around it
)
_COLOURED_BORDER_SHARE = 0.45  # of all of these where the bands' colours lie between their neighbours', which greys do by chance
_LEAST_BORDER = 24  # neighbouring pixels; a speck beside a speck is no object with a smooth edge
_FEWEST_SPECKS, _SPECK_SHARE = 24, 0.75  # dozens, and most of the ids
_WIDEST_BAND = 1 / 40  # of the shorter side
_COLOUR_TOLERANCE = (
    24  # how far from the line between its neighbours' colours a band's colour may be
)
_RAMP_MIN_IDS, _RAMP_STEP, _RAMP_SHARE = (
    24,
    2,
    0.8,
)  # a wide blur: neighbours differ little nearly everywhere
_BLACK = 8  # largest channel of what people call black


def has_smooth_edges(labels: np.ndarray, colours: np.ndarray | None = None) -> bool:
    """Whether ids are the in-between shades of an anti-aliased, blurred, dithered or lossily compressed drawing.

    labels: uint8 [H, W]. colours: of the ids, [256, 3]; None: the ids are greys. An id 255 beside others means void and is no band.
    """
    area = np.bincount(labels.ravel(), minlength=256)
    ids = np.flatnonzero(area[1:]) + 1
    if len(ids) < 2:
        return False
    borders = _borders(labels)
    contact = borders[:, 1:].sum(1) >= _CONTACT_SHARE * np.maximum(borders.sum(1), 1)
    coreless = _coreless(labels, area, radius=1)
    bands = coreless & contact
    solid = (area > 0) & ~coreless
    solid[0] = False
    long = borders.sum(1) >= _LEAST_BORDER
    share = _border_share(borders, bands)
    if (bands.sum() >= _FEWEST_BANDS and share >= _BAND_BORDER_SHARE) or (
        (bands & long).any() and solid.any() and share >= _RING_BORDER_SHARE
    ):
        return True
    specks = coreless.sum()
    if specks >= _FEWEST_SPECKS and (
        specks >= _SPECK_SHARE * len(ids) or _border_share(borders, coreless) >= _BAND_BORDER_SHARE
    ):
        return True
    shades = (
        np.repeat(np.arange(256)[:, None], 3, axis=1) if colours is None else colours.astype(int)
    )
    if _is_ramp(borders, len(ids), shades):
        return True
    between = (
        contact & long & np.array([_lies_between(index, borders, shades) for index in range(256)])
    )
    coloured = bool((shades[ids].min(1) < shades[ids].max(1)).any())
    enough = _COLOURED_BORDER_SHARE if coloured else _RING_BORDER_SHARE
    if coloured and _border_share(borders, bands & between) >= enough:
        return True
    ringed = solid & long & (borders[:, bands & between].sum(1) >= enough * borders.sum(1))
    if ringed.any() and ringed.sum() >= (solid & long).sum() / 2:
        return True
    wide = between & _coreless(
        labels, area, radius=max(2, round(_WIDEST_BAND * min(labels.shape) / 2))
    )
    return bool(
        wide.sum() >= (1 if coloured else _FEWEST_BANDS) and _border_share(borders, wide) >= enough
    )


def _borders(labels: np.ndarray) -> np.ndarray:
    """How many neighbouring pixels have ids a and b, int [256, 256], symmetric, 0 on the diagonal."""
    counts = np.zeros(65536, np.int64)
    for first, second in ((labels[:, :-1], labels[:, 1:]), (labels[:-1], labels[1:])):
        differ = first != second
        counts += np.bincount(
            first[differ].astype(np.int32) * 256 + second[differ], minlength=65536
        )
    borders = counts.reshape(256, 256)
    return borders + borders.T


def _coreless(labels: np.ndarray, area: np.ndarray, radius: int) -> np.ndarray:
    """Which of the ids there are, but for 0 and 255, hardly fill a square of 2 * radius + 1 pixels anywhere, bool [256]."""
    square = np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)
    core = labels[cv2.erode(labels, square) == cv2.dilate(labels, square)]
    coreless = (area > 0) & (np.bincount(core, minlength=256) < _CORE_SHARE * area)
    coreless[[0, 255]] = False
    return coreless


def _border_share(borders: np.ndarray, ids: np.ndarray) -> float:
    """How much of all borders is a border of one of these ids, bool [256]."""
    others = borders[np.ix_(~ids, ~ids)].sum()
    return 1 - others / max(borders.sum(), 1)


def _is_ramp(borders: np.ndarray, count: int, shades: np.ndarray) -> bool:
    if count < _RAMP_MIN_IDS:
        return False
    first, second = np.nonzero(borders)
    near = np.abs(shades[first] - shades[second]).max(1) <= _RAMP_STEP
    return borders[first[near], second[near]].sum() >= _RAMP_SHARE * borders.sum()


def _lies_between(index: int, borders: np.ndarray, shades: np.ndarray) -> bool:
    """Whether an id's colour is between those of the two ids it borders most."""
    first, second = np.argsort(borders[index], kind="stable")[:-3:-1]
    if index == 0 or borders[index, second] == 0:
        return False
    line, offset = shades[second] - shades[first], shades[index] - shades[first]
    length = float(line @ line)
    position = float(line @ offset) / max(length, 1.0)
    return 0 < position < 1 and np.abs(offset - position * line).max() <= _COLOUR_TOLERANCE


def misplaced_background(labels: np.ndarray, colours: np.ndarray) -> int | None:
    """The index that looks like the background of an indexed image where that is not index 0, else None.

    labels: uint8 [H, W]. colours: of the indices, [256, 3]. Index 0 is the background if it is black, or if no index is and it is the image's border.
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
