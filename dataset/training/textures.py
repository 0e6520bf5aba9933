"""Random surfaces and shapes for synthetic clips.

A texture is one of a few grey patterns in a random colour ramp; an outline is a shape that moves.

Legend: P side of a square patch in pixels, N points of a polygon.
"""

import functools
import math
from dataclasses import dataclass

import cv2
import numpy as np

PATTERN_SIDE = 256
PATTERN_COUNT = 56
_PATTERN_SEED = 20_210_611

_POLYGON_POINTS = 64
_SUBPIXEL_BITS = 4  # of polygon corners, so that slow movements stay smooth


@functools.lru_cache(maxsize=1)
def texture_patterns() -> tuple[np.ndarray, ...]:
    """Grey patterns uint8 [256, 256]: noise, stripes, checks, slopes, spots, cells and rings.

    They are the same in every process; their variety comes from colours and placement.
    """
    makers = (_noise, _noise, _stripes, _checks, _slope, _spots, _cells, _rings)
    return tuple(
        _stretch_contrast(
            makers[number % len(makers)](np.random.default_rng((_PATTERN_SEED, number)))
        )
        for number in range(PATTERN_COUNT)
    )


def _stretch_contrast(pattern: np.ndarray) -> np.ndarray:
    low, high = np.percentile(pattern, (1, 99))
    return np.clip((pattern - low) / max(high - low, 1e-6) * 255, 0, 255).astype(np.uint8)


def _noise(
    rng: np.random.Generator, coarsest: int = 2, roughness: float | None = None
) -> np.ndarray:
    """Octaves of smooth noise, each twice as fine and `roughness` times as strong as the last."""
    roughness = rng.uniform(0.4, 0.9) if roughness is None else roughness
    size = PATTERN_SIDE, PATTERN_SIDE
    total, strength, cells = np.zeros(size, np.float32), 1.0, coarsest
    while cells <= PATTERN_SIDE // 2:
        octave = rng.standard_normal((cells + 2, cells + 2)).astype(np.float32)
        total += strength * cv2.resize(octave, size, interpolation=cv2.INTER_CUBIC)
        strength, cells = strength * roughness, cells * 2
    return total


def _ramp(rng: np.random.Generator, waviness: float) -> np.ndarray:
    """A coordinate that runs from about 0 to 1 in a random direction, bent by smooth noise."""
    angle = rng.uniform(0, math.tau)
    axis = np.linspace(0, 1, PATTERN_SIDE, dtype=np.float32)
    straight = axis[None] * math.cos(angle) + axis[:, None] * math.sin(angle)
    return straight + waviness * _noise(rng, 2, 0.3)


def _stripes(rng: np.random.Generator) -> np.ndarray:
    wave = np.sin(_ramp(rng, rng.uniform(0, 0.05)) * math.tau * rng.uniform(4, 16))
    return np.tanh(wave * rng.choice((1, 6))) + 0.15 * _noise(rng)


def _checks(rng: np.random.Generator) -> np.ndarray:
    period = math.tau * rng.uniform(3, 9)
    axis = np.linspace(0, 1, PATTERN_SIDE, dtype=np.float32)
    squares = np.tanh(8 * np.sin(axis[None] * period) * np.sin(axis[:, None] * period))
    return squares + 0.15 * _noise(rng)


def _slope(rng: np.random.Generator) -> np.ndarray:
    return _ramp(rng, 0.1) + 0.05 * _noise(rng)


def _spots(rng: np.random.Generator) -> np.ndarray:
    return np.tanh(4 * _noise(rng, int(rng.integers(5, 20)), 0.2)) + 0.1 * _noise(rng)


def _cells(rng: np.random.Generator) -> np.ndarray:
    """The regions nearest to scattered seeds, each of its own grey: stones, tiles, leaves."""
    seeds = np.full((PATTERN_SIDE, PATTERN_SIDE), 255, np.uint8)
    seeds[tuple(rng.integers(PATTERN_SIDE, size=(2, int(rng.integers(30, 200)))))] = 0
    distance, nearest = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5)
    greys = rng.random(int(nearest.max()) + 1).astype(np.float32)[nearest]
    return greys - 0.01 * distance + 0.05 * _noise(rng)


def _rings(rng: np.random.Generator) -> np.ndarray:
    return np.sin(_noise(rng, 2, 0.35) * rng.uniform(4, 12)) + 0.1 * _noise(rng)


def draw_colour_ramp(rng: np.random.Generator, like: np.ndarray | None = None) -> np.ndarray:
    """Draw the colours uint8 RGB [256, 3] that the greys of a pattern become.

    like: another ramp; the result is close to it, so that colour alone does not separate surfaces.
    """
    if like is not None:
        return np.clip(like.astype(np.int16) + rng.integers(-18, 19, 3), 0, 255).astype(np.uint8)
    stops = int(rng.integers(2, 5))
    hues = (rng.random() + rng.normal(0, 0.08 if rng.random() < 0.6 else 0.4, stops)) % 1.0
    saturations = 255 * rng.beta(1.5, 2.5, stops)
    values = 255 * np.clip(rng.normal(0.55, 0.25, stops), 0.03, 1)
    hsv = np.stack((hues * 255, saturations, values), axis=-1).astype(np.uint8)
    rgb = cv2.cvtColor(hsv[None], cv2.COLOR_HSV2RGB_FULL)[0].astype(np.float32)
    positions = np.linspace(0, 255, stops)
    channels = [np.interp(np.arange(256), positions, rgb[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1).astype(np.uint8)


def draw_texture(
    rng: np.random.Generator,
    height: int,
    width: int,
    colours: np.ndarray,
    pattern_number: int | None = None,
) -> np.ndarray:
    """Draw a surface uint8 RGB [height, width, 3]: a part of a pattern in a colour ramp.

    pattern_number: in 0..PATTERN_COUNT - 1; None draws one.
    """
    patterns = texture_patterns()
    if pattern_number is None:
        pattern_number = int(rng.integers(len(patterns)))
    longer = max(height, width)
    cut = PATTERN_SIDE * rng.uniform(0.5, 1.0)
    cut_height, cut_width = max(8, int(cut * height / longer)), max(8, int(cut * width / longer))
    top = rng.integers(PATTERN_SIDE - cut_height + 1)
    left = rng.integers(PATTERN_SIDE - cut_width + 1)
    part = patterns[pattern_number][top : top + cut_height, left : left + cut_width]
    if rng.random() < 0.5:
        part = part[:, ::-1]
    interpolation = cv2.INTER_AREA if cut_width > width else cv2.INTER_CUBIC
    return colours[cv2.resize(part, (width, height), interpolation=interpolation)]


@dataclass(frozen=True)
class Limb:
    """An ellipse that swings about a joint. Angles in radians, period in frames."""

    joint_angle: float
    length: float
    width: float
    swing: float
    period: float
    phase: float


@dataclass(frozen=True)
class Outline:
    """A shape that moves: a body whose radius is a sum of harmonics, and limbs.

    Lengths are in units of half the patch, times in video frames, angles in radians. strengths,
    phases, wobbles: of the harmonics 2, 3, …; wobbles are how far the phases swing.
    """

    stretch: float
    strengths: np.ndarray
    phases: np.ndarray
    wobbles: np.ndarray
    limbs: tuple[Limb, ...]
    period: float

    def alpha(self, side: int, time: float) -> np.ndarray:
        """The coverage at a time, uint8 [P, P], 255 inside."""
        picture = np.zeros((side, side), np.uint8)
        angles = np.linspace(0, math.tau, _POLYGON_POINTS, endpoint=False)
        _fill(picture, self._body(angles, time))
        for limb in self.limbs:
            _fill(picture, self._limb(limb, angles, time))
        return picture

    def _body(self, angles: np.ndarray, time: float) -> np.ndarray:
        """Its polygon [N, 2], in -1..1."""
        orders = np.arange(2, 2 + len(self.strengths))
        phases = self.phases + self.wobbles * math.sin(math.tau * time / self.period)
        waves = np.cos(orders[:, None] * angles + phases[:, None])
        radii = 1 + (self.strengths[:, None] * waves).sum(0)
        extent = 0.55 if self.limbs else 0.85
        points = np.stack((np.cos(angles) * radii, np.sin(angles) * radii * self.stretch), axis=-1)
        return points * extent / max(1.0, radii.max())

    def _limb(self, limb: Limb, angles: np.ndarray, time: float) -> np.ndarray:
        """Its polygon [N, 2], in -1..1."""
        root = 0.4 * np.array(
            (math.cos(limb.joint_angle), math.sin(limb.joint_angle) * self.stretch)
        )
        swing = limb.swing * math.sin(math.tau * time / limb.period + limb.phase)
        turn = limb.joint_angle + swing
        along = np.array((math.cos(turn), math.sin(turn)))
        across = np.array((-math.sin(turn), math.cos(turn)))
        ellipse = np.cos(angles)[:, None] * along * limb.length / 2
        ellipse = ellipse + np.sin(angles)[:, None] * across * limb.width
        return root + (ellipse + along * limb.length / 2)


def _fill(picture: np.ndarray, points: np.ndarray) -> None:
    """Fill the polygon of `points` [N, 2], in -1..1, with 255."""
    pixels = (points + 1) / 2 * picture.shape[0] - 0.5
    corners = np.rint(pixels * 2**_SUBPIXEL_BITS).astype(np.int32)
    cv2.fillPoly(picture, [corners], 255, cv2.LINE_AA, shift=_SUBPIXEL_BITS)


def draw_outline(rng: np.random.Generator) -> Outline:
    """Draw a moving shape: a wavy body, with two to five limbs in two of three cases."""
    harmonics = int(rng.integers(1, 6))
    limbs = _draw_limbs(rng, int(rng.choice((0, 0, 2, 3, 4, 5))))
    strengths = rng.uniform(0, 0.35, harmonics) / np.arange(1, harmonics + 1) ** 0.5
    phases, wobbles = rng.uniform(0, math.tau, harmonics), rng.uniform(0, 0.8, harmonics)
    stretch, period = rng.uniform(0.45, 1.0), rng.uniform(25, 90)
    return Outline(stretch, strengths, phases, wobbles, limbs, period)


def _draw_limbs(rng: np.random.Generator, count: int) -> tuple[Limb, ...]:
    """Limbs of one width around a body, at roughly even angles."""
    even = np.linspace(0, math.tau, count, endpoint=False)
    columns = (
        even + rng.uniform(0, math.tau) + rng.normal(0, 0.3, count),
        rng.uniform(0.3, 0.55, count),
        np.full(count, rng.uniform(0.06, 0.15)),
        rng.uniform(0.1, 0.7, count),
        rng.uniform(15, 60, count),
        rng.uniform(0, math.tau, count),
    )
    return tuple(Limb(*values) for values in zip(*columns, strict=True))


def bar_outline() -> Outline:
    """A long thin shape that does not move: a pole or a branch to pass behind."""
    none = np.zeros(0)
    return Outline(0.1, none, none, none, (), 1.0)
