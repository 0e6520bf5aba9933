"""The kinds of composites, and how one is drawn and checked.

Legend: H W height and width of a frame. Lengths are in pixels unless they are called shares.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dataset.training.compositing import Wave
from scripts.data_tools.composites import (
    Composite,
    Orbit,
    Passage,
    PastedObject,
    Pillar,
    make_pillar,
)
from scripts.data_tools.footage import Footage, MovingCutout
from util.errors import InputError

LEAST_HIDDEN_FRAMES = 6
_ATTEMPTS = 40
_LEAST_START_SHARE = 0.5  # of an object in the first frame: what nothing covers
_LEAST_AREA = 0.003  # share of a frame that an object covers where it shows
_LARGEST_ID = 12  # ids are drawn from 1 to this, so that they have gaps
_LARGEST_HIDDEN = 0.15  # of a returning object: its reach to either side as a share of W
_SIZE = (0.2, 0.32)  # of an object: the square root of its area as a share of H


@dataclass(frozen=True, kw_only=True)
class Material:
    """The sequences, and the objects that can be cut out of some of them, by name."""

    footages: Mapping[str, Footage]
    cutouts: Mapping[str, MovingCutout]

    @classmethod
    def of(cls, footages: Sequence[Footage]) -> "Material":
        """Raises InputError if no object can be cut out, or there is no other sequence below it."""
        if len(footages) < 2:
            raise InputError(
                f"{len(footages)} sequence given; composites need at least two, since an object is "
                "pasted over another sequence: name more in --sequences"
            )
        found = {footage.name: MovingCutout.of(footage) for footage in footages}
        cutouts = {name: cutout for name, cutout in found.items() if cutout is not None}
        if not cutouts:
            raise InputError(
                f"{' '.join(found)}: none shows its whole object, apart from the frame's edges, on "
                "eight frames in a row; choose other --sequences"
            )
        return cls(footages={footage.name: footage for footage in footages}, cutouts=cutouts)

    def draw(self, rng: np.random.Generator, count: int) -> tuple[list[MovingCutout], Footage]:
        """Up to `count` different cut-outs, and the footage of another sequence."""
        names = list(self.cutouts)
        count = min(count, len(names), len(self.footages) - 1)
        chosen = [names[index] for index in rng.permutation(len(names))[:count]]
        others = [name for name in self.footages if name not in chosen]
        return [self.cutouts[name] for name in chosen], self.footages[
            others[int(rng.integers(len(others)))]
        ]


# Takes the material and the number of frames.
Draw = Callable[[np.random.Generator, Material, int], Composite]


def draw_twins(rng: np.random.Generator, material: Material, frames: int) -> Composite:
    """Two or three copies of one object, each at another time of its motion, cross each other."""
    (cutout,), footage = material.draw(rng, 1)
    return _draw_crossing(rng, [cutout] * int(rng.integers(2, 4)), footage, frames)


def draw_crossings(rng: np.random.Generator, material: Material, frames: int) -> Composite:
    """Objects of up to three different sequences cross each other."""
    cutouts, footage = material.draw(rng, int(rng.integers(2, 4)))
    if len(cutouts) < 2:
        raise InputError(
            "crossings need two sequences that show their whole objects, and a third one below; "
            "name more in --sequences"
        )
    return _draw_crossing(rng, cutouts, footage, frames)


def draw_returns(rng: np.random.Generator, material: Material, frames: int) -> Composite:
    """One or two objects leave the frame, or are hidden behind a pillar, and come back."""
    cutouts, footage = material.draw(rng, int(rng.integers(1, 3)))
    start = int(rng.integers(len(footage.frames)))
    height, width = footage.pair(start)[1].shape
    ids = _draw_ids(rng, len(cutouts) + 1)
    sizes = [
        min(height * rng.uniform(*_SIZE), _LARGEST_HIDDEN * width / cutout.reach[0])
        for cutout in cutouts
    ]
    reaches = [
        size * cutout.reach[0] * 1.1 + 3 for size, cutout in zip(sizes, cutouts, strict=True)
    ]
    hides = rng.permutation([True, False])[: len(cutouts)]
    pillars = []
    if hides.any():
        widest = max(reach for reach, is_hidden in zip(reaches, hides, strict=True) if is_hidden)
        pillars.append(_draw_pillar(rng, *footage.pair(start), round(2 * widest)))
    elements = []
    for object_id, cutout, size, reach, is_hidden in zip(
        ids[1:], cutouts, sizes, reaches, hides, strict=True
    ):
        if is_hidden:
            knots = _draw_hiding(rng, pillars[0], reach, width, frames)
        else:
            knots = _draw_leaving(rng, reach, width, frames)
        y = _draw_height(rng, cutout, size, height)
        bob = Wave.draw(rng, 0.02 * height, 0.5)
        passage = Passage(knots=knots, y=y, size=size, depth=y, bob=bob)
        elements.append(_pasted(rng, cutout, passage, object_id))
    return Composite(
        footage=footage,
        start=start,
        footage_id=ids[0],
        elements=[*elements, *pillars],
        frames=frames,
        returning=ids[1:],
    )


KINDS: Mapping[str, Draw] = {
    "twins": draw_twins,
    "returns": draw_returns,
    "crossings": draw_crossings,
}


def draw_composite(
    kind: str, number: int, material: Material, *, frames: int, seed: int
) -> tuple[Composite, list[tuple[np.ndarray, np.ndarray]]]:
    """A composite of a kind with its frames and labels, see Composite.render.

    number: from 0, of the composites of its kind; each is the same whatever else is made. Half of
    every object at least shows in the first frame; those that are to return are hidden for at least
    LEAST_HIDDEN_FRAMES and then show again.
    Raises InputError if the material allows none.
    """
    rng = np.random.default_rng((seed, list(KINDS).index(kind), number))
    for _ in range(_ATTEMPTS):
        composite = KINDS[kind](rng, material, frames)
        rendered = []
        for image, labels in composite.render():
            if not rendered and not _shows_all(labels, composite):
                break
            rendered.append((image, labels))
        else:
            masks = np.stack([labels for _, labels in rendered])
            if all(_is_back(masks == object_id) for object_id in composite.returning):
                return composite, rendered
    raise InputError(
        f"{kind}: {_ATTEMPTS} composites of {frames} frames drawn, none in which every object "
        "shows at first and hidden ones come back; choose other --sequences, or more --frames"
    )


def _shows_all(labels: np.ndarray, composite: Composite) -> bool:
    """Whether the first labels uint8 [H, W] show at least half of every object."""
    areas = np.bincount(labels.ravel(), minlength=256)
    return all(
        areas[object_id] >= max(_LEAST_START_SHARE * own_area, _LEAST_AREA * labels.size)
        for object_id, own_area in composite.first_areas().items()
    )


def _is_back(masks: np.ndarray) -> bool:
    """Whether an object, bool [T, H, W], is hidden for long and then shows again."""
    areas = masks.sum((1, 2))
    shown = np.flatnonzero(areas >= _LEAST_AREA * masks[0].size)
    return any(
        (areas[last_seen:seen] == 0).sum() >= LEAST_HIDDEN_FRAMES
        for last_seen, seen in itertools.pairwise(shown)
    )


def _draw_crossing(
    rng: np.random.Generator, cutouts: Sequence[MovingCutout], footage: Footage, frames: int
) -> Composite:
    """Objects on one orbit, apart at first; each passes in front of or behind each other one."""
    height, width = footage.pair(0)[1].shape
    count = len(cutouts)
    widest = max(cutout.reach[0] for cutout in cutouts)
    spacing = 1.1 if count == 2 else 2.2  # radius over an object's reach: apart at first
    largest = 0.5 * width / ((spacing + 1) * widest)
    size = min(height * rng.uniform(*_SIZE), largest * rng.uniform(0.8, 1))
    free = 0.5 * width - size * widest
    radius = rng.uniform(max(0.75 * free, spacing * size * widest), free)
    tilt = math.pi / 6 if count == 3 else 0.0  # three begin at the right, the left, the middle
    speed = math.pi * rng.uniform(1.0, 1.3) / frames * rng.choice((-1, 1))
    ids = _draw_ids(rng, count + 1)
    y = height * rng.uniform(0.5, 0.62)
    elements = []
    for number, cutout in enumerate(cutouts):
        orbit = Orbit(
            centre=(0.5 * (width - 1), y),
            radius=(radius, 0.05 * height),
            angle=tilt + math.tau * number / count + rng.uniform(-0.15, 0.15),
            speed=speed,
            size=size,
        )
        elements.append(_pasted(rng, cutout, orbit, ids[number + 1]))
    return Composite(
        footage=footage,
        start=int(rng.integers(len(footage.frames))),
        footage_id=ids[0],
        elements=elements,
        frames=frames,
    )


def _pasted(
    rng: np.random.Generator, cutout: MovingCutout, route: Orbit | Passage, object_id: int
) -> PastedObject:
    return PastedObject(
        cutout=cutout,
        route=route,
        object_id=object_id,
        offset=int(rng.integers(2 * len(cutout))),
        mirrored=bool(rng.random() < 0.5),
    )


def _draw_leaving(
    rng: np.random.Generator, reach: float, width: int, frames: int
) -> list[tuple[float, float]]:
    """Knots of a way out of the frame, at either side, and back in at the same side."""
    away = _draw_hidden_frames(rng, frames)
    leaves = frames * rng.uniform(0.25, 0.4)
    begins, ends = reach + width * rng.uniform(0.05, 0.35, 2)
    knots = [(0, begins), (leaves, -reach), (leaves + away, -reach), (frames - 1, ends)]
    if rng.random() < 0.5:
        knots = [(time, width - 1 - x) for time, x in knots]
    return knots


def _draw_hiding(
    rng: np.random.Generator, pillar: Pillar, reach: float, width: int, frames: int
) -> list[tuple[float, float]]:
    """Knots of a way behind the pillar, and out again at either side."""
    hidden = _draw_hidden_frames(rng, frames)
    arrives = frames * rng.uniform(0.25, 0.4)
    pillar_width = pillar.pixels.shape[1]
    middle = pillar.left + pillar_width / 2
    sides = rng.choice((-1, 1), 2)
    begins, ends = (
        np.clip(
            middle + side * (pillar_width / 2 + reach * rng.uniform(0.9, 1.4)), reach, width - reach
        )
        for side in sides
    )
    return [
        (0, float(begins)),
        (arrives, middle),
        (arrives + hidden, middle),
        (frames - 1, float(ends)),
    ]


def _draw_hidden_frames(rng: np.random.Generator, frames: int) -> int:
    return max(LEAST_HIDDEN_FRAMES + 2, round(frames * rng.uniform(0.18, 0.3)))


def _draw_pillar(
    rng: np.random.Generator, image: np.ndarray, mask: np.ndarray, pillar_width: int
) -> Pillar:
    """A pillar in the middle third of a frame, with the surface of a part without the object.

    image: RGB uint8 [H, W, 3]. mask: of the object, 0 or 1, uint8 [H, W].
    """
    height, width = mask.shape
    part = min(width, round(0.7 * pillar_width))  # the pillar is nearer than what it looks like
    shown = np.convolve(mask.sum(0), np.ones(part), "valid")  # object pixels by left edge
    left = int(rng.choice(np.flatnonzero(shown == shown.min())))
    position = width * rng.uniform(0.4, 0.6) - pillar_width / 2
    return make_pillar(image[:, left : left + part], height, pillar_width, position)


def _draw_height(rng: np.random.Generator, cutout: MovingCutout, size: float, height: int) -> float:
    """y of an object's centre, so that the object stays inside the frame if it fits."""
    reach = min(size * cutout.reach[1], 0.5 * height)
    return float(np.clip(height * rng.uniform(0.5, 0.68), reach, height - 1 - reach))


def _draw_ids(rng: np.random.Generator, count: int) -> list[int]:
    return [int(number) for number in rng.choice(np.arange(1, _LARGEST_ID + 1), count, False)]
