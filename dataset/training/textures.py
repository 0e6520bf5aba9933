"""Made-up surfaces and shapes for synthetic clips: textures from a few structures and any colours, and outlines that move.

Legend: P side of a square patch in pixels, N points of an outline.
"""

import functools
import math
from dataclasses import dataclass

import cv2
import numpy as np

STRUCTURE_SIDE = 256
STRUCTURE_COUNT = 56


@functools.lru_cache(maxsize=1)
def structures() -> tuple[np.ndarray, ...]:
    """Grey patterns uint8 [256, 256]: noise, stripes, checks, slopes, spots, cells, rings. The same in every process: colours and placing make the variety."""
    makers = (_noise, _noise, _stripes, _checks, _slope, _spots, _cells, _rings)
    return tuple(
        _spread(makers[number % len(makers)](np.random.default_rng((20_210_611, number))))
        for number in range(STRUCTURE_COUNT)
    )


def _spread(pattern: np.ndarray) -> np.ndarray:
    low, high = np.percentile(pattern, (1, 99))
    return np.clip((pattern - low) / max(high - low, 1e-6) * 255, 0, 255).astype(np.uint8)


def _noise(
    rng: np.random.Generator, coarsest: int = 2, roughness: float | None = None
) -> np.ndarray:
    """Octaves of smooth noise, each twice as fine and `roughness` times as strong as the one before."""
    roughness = rng.uniform(0.4, 0.9) if roughness is None else roughness
    total, strength, cells = np.zeros((STRUCTURE_SIDE, STRUCTURE_SIDE), np.float32), 1.0, coarsest
    while cells <= STRUCTURE_SIDE // 2:
        octave = rng.standard_normal((cells + 2, cells + 2)).astype(np.float32)
        total += strength * cv2.resize(
            octave, (STRUCTURE_SIDE, STRUCTURE_SIDE), interpolation=cv2.INTER_CUBIC
        )
        strength, cells = strength * roughness, cells * 2
    return total


def _plane(rng: np.random.Generator, waviness: float) -> np.ndarray:
    """A coordinate running from about 0 to 1 in a random direction, bent by smooth noise."""
    angle = rng.uniform(0, math.tau)
    axis = np.linspace(0, 1, STRUCTURE_SIDE, dtype=np.float32)
    return (
        axis[None] * math.cos(angle)
        + axis[:, None] * math.sin(angle)
        + waviness * _noise(rng, 2, 0.3)
    )


def _stripes(rng: np.random.Generator) -> np.ndarray:
    wave = np.sin(_plane(rng, rng.uniform(0, 0.05)) * math.tau * rng.uniform(4, 16))
    return np.tanh(wave * rng.choice((1, 6))) + 0.15 * _noise(rng)


def _checks(rng: np.random.Generator) -> np.ndarray:
    period = math.tau * rng.uniform(3, 9)
    axis = np.linspace(0, 1, STRUCTURE_SIDE, dtype=np.float32)
    return np.tanh(
        8 * np.sin(axis[None] * period) * np.sin(axis[:, None] * period)
    ) + 0.15 * _noise(rng)


def _slope(rng: np.random.Generator) -> np.ndarray:
    return _plane(rng, 0.1) + 0.05 * _noise(rng)


def _spots(rng: np.random.Generator) -> np.ndarray:
    return np.tanh(4 * _noise(rng, int(rng.integers(5, 20)), 0.2)) + 0.1 * _noise(rng)


def _cells(rng: np.random.Generator) -> np.ndarray:
    """Patches nearest to scattered seeds, each of its own grey: stones, tiles, leaves."""
    seeds = np.full((STRUCTURE_SIDE, STRUCTURE_SIDE), 255, np.uint8)
    seeds[tuple(rng.integers(STRUCTURE_SIDE, size=(2, int(rng.integers(30, 200)))))] = 0
    distance, owner = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5)
    return (
        rng.random(int(owner.max()) + 1).astype(np.float32)[owner]
        - 0.01 * distance
        + 0.05 * _noise(rng)
    )


def _rings(rng: np.random.Generator) -> np.ndarray:
    return np.sin(_noise(rng, 2, 0.35) * rng.uniform(4, 12)) + 0.1 * _noise(rng)


def draw_colours(rng: np.random.Generator, like: np.ndarray | None = None) -> np.ndarray:
    """A run of colours uint8 [256, 3] for the greys of a structure; `like`: close to another run, so that colour alone does not tell two surfaces apart."""
    if like is not None:
        return np.clip(like.astype(np.int16) + rng.integers(-18, 19, 3), 0, 255).astype(np.uint8)
    stops = int(rng.integers(2, 5))
    hues = (rng.random() + rng.normal(0, 0.08 if rng.random() < 0.6 else 0.4, stops)) % 1.0
    hsv = np.stack(
        (
            hues * 255,
            255 * rng.beta(1.5, 2.5, stops),
            255 * np.clip(rng.normal(0.55, 0.25, stops), 0.03, 1),
        ),
        axis=-1,
    )
    rgb = cv2.cvtColor(hsv.astype(np.uint8)[None], cv2.COLOR_HSV2RGB_FULL)[0].astype(np.float32)
    places = np.linspace(0, 255, stops)
    return np.stack(
        [np.interp(np.arange(256), places, rgb[:, channel]) for channel in range(3)], axis=-1
    ).astype(np.uint8)


def draw_texture(
    rng: np.random.Generator,
    height: int,
    width: int,
    colours: np.ndarray,
    structure: int | None = None,
) -> np.ndarray:
    """A surface uint8 RGB [height, width, 3] in a run of colours; structure: its pattern by number, random by default."""
    bank = structures()
    pattern = bank[int(rng.integers(len(bank))) if structure is None else structure]
    aspect = max(height, width)
    cut = STRUCTURE_SIDE * rng.uniform(0.5, 1.0)
    cut_height, cut_width = max(8, int(cut * height / aspect)), max(8, int(cut * width / aspect))
    top, left = (
        rng.integers(STRUCTURE_SIDE - cut_height + 1),
        rng.integers(STRUCTURE_SIDE - cut_width + 1),
    )
    pattern = pattern[top : top + cut_height, left : left + cut_width]
    if rng.random() < 0.5:
        pattern = pattern[:, ::-1]
    pattern = cv2.resize(
        pattern,
        (width, height),
        interpolation=cv2.INTER_AREA if cut_width > width else cv2.INTER_CUBIC,
    )
    return colours[pattern]


@dataclass(frozen=True)
class Outline:
    """A shape that moves: a body of a few harmonics, and limbs swinging about their joints. Lengths are in units of half the patch, times in video frames."""

    stretch: float
    strengths: np.ndarray  # of the harmonics 2, 3, …
    phases: np.ndarray
    wobbles: np.ndarray  # how far the phases swing, radians
    limbs: (
        np.ndarray
    )  # [limbs, 6]: joint angle, length, width, swing in radians, period in frames, phase
    period: float

    def alpha(self, side: int, time: float) -> np.ndarray:
        """Coverage uint8 [P, P] at a time, 255 inside."""
        picture = np.zeros((side, side), np.uint8)
        angles = np.linspace(0, math.tau, 64, endpoint=False)
        orders = np.arange(2, 2 + len(self.strengths))
        phases = self.phases + self.wobbles * math.sin(math.tau * time / self.period)
        radii = 1 + (
            self.strengths[:, None] * np.cos(orders[:, None] * angles + phases[:, None])
        ).sum(0)
        extent = 0.55 if len(self.limbs) else 0.85
        body = (
            np.stack((np.cos(angles) * radii, np.sin(angles) * radii * self.stretch), axis=-1)
            * extent
            / max(1.0, radii.max())
        )
        _fill(picture, body)
        for joint, length, width, swing, period, phase in self.limbs:
            root = 0.4 * np.array((math.cos(joint), math.sin(joint) * self.stretch))
            turn = joint + swing * math.sin(math.tau * time / period + phase)
            along, across = (
                np.array((math.cos(turn), math.sin(turn))),
                np.array((-math.sin(turn), math.cos(turn))),
            )
            limb = (
                np.cos(angles)[:, None] * along * length / 2
                + np.sin(angles)[:, None] * across * width
                + along * length / 2
            )
            _fill(picture, root + limb)
        return picture


def _fill(picture: np.ndarray, points: np.ndarray) -> None:
    """Fill the polygon of `points` [N, 2] in -1..1; 4 binary digits after the point keep slow movements smooth."""
    side = picture.shape[0]
    cv2.fillPoly(
        picture,
        [np.rint(((points + 1) / 2 * side - 0.5) * 16).astype(np.int32)],
        255,
        cv2.LINE_AA,
        shift=4,
    )


def draw_outline(rng: np.random.Generator) -> Outline:
    harmonics = int(rng.integers(1, 6))
    limbs = int(rng.choice((0, 0, 2, 3, 4, 5)))
    limb_rows = np.stack(
        (
            np.linspace(0, math.tau, limbs, endpoint=False)
            + rng.uniform(0, math.tau)
            + rng.normal(0, 0.3, limbs),
            rng.uniform(0.3, 0.55, limbs),
            np.full(limbs, rng.uniform(0.06, 0.15)),
            rng.uniform(0.1, 0.7, limbs),
            rng.uniform(15, 60, limbs),
            rng.uniform(0, math.tau, limbs),
        ),
        axis=-1,
    )
    strengths = rng.uniform(0, 0.35, harmonics) / np.arange(1, harmonics + 1) ** 0.5
    phases, wobbles = rng.uniform(0, math.tau, harmonics), rng.uniform(0, 0.8, harmonics)
    return Outline(
        rng.uniform(0.45, 1.0), strengths, phases, wobbles, limb_rows, rng.uniform(25, 90)
    )


def bar_outline() -> Outline:
    """A long thin still shape: a pole or a branch to pass behind."""
    none = np.zeros(0)
    return Outline(0.1, none, none, none, np.zeros((0, 6)), 1.0)
