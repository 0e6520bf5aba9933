"""Moving layers over a moving background: what synthetic clips are painted with.

Legend: H W height and width of a frame, P side of a square patch. Times are in video frames; lengths of movements are in units of the frame's shorter side.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from dataset.training.augmentation import centre_of, scaling, translation, turning
from dataset.training.textures import Outline


@dataclass(frozen=True)
class Wave:
    """A smooth bounded movement over time."""

    amplitude: float
    frequency: float
    phase: float

    @classmethod
    def draw(cls, rng: np.random.Generator, amplitude: float, speed: float) -> "Wave":
        """At most `amplitude` from its middle and at most `speed` per video frame."""
        frequency = math.tau / rng.uniform(40, 160)
        return cls(
            min(amplitude, speed * rng.uniform(0.1, 1) / frequency),
            frequency,
            rng.uniform(0, math.tau),
        )

    def at(self, time: float) -> float:
        return self.amplitude * math.sin(self.frequency * time + self.phase)


@dataclass(frozen=True)
class Motion:
    """Where a layer is: shift from `x`, `y`, turn in degrees and scale as the exponential of a wave."""

    x: float
    y: float
    along_x: Wave
    along_y: Wave
    turn: Wave
    log_scale: Wave

    @classmethod
    def draw(
        cls,
        rng: np.random.Generator,
        x: float,
        y: float,
        shift: float,
        degrees: float,
        log_scale: float,
        pace: float = 1.0,
    ) -> "Motion":
        """Largest shift, turn and log scale. Within 10 frames at pace 1: up to 0.25 sides, 30 degrees and a scale of 0.75 to 1.33."""
        waves = (
            Wave.draw(rng, shift, 0.025 * pace),
            Wave.draw(rng, shift, 0.025 * pace),
            Wave.draw(rng, degrees, 3.0 * pace),
            Wave.draw(rng, log_scale, 0.028 * pace),
        )
        return cls(x, y, *waves)

    def matrix(self, time: float, height: int, width: int) -> np.ndarray:
        """3×3: a plane whose origin is the layer's middle, in pixels, to the frame."""
        side, (middle_x, middle_y) = min(height, width), centre_of(width, height)
        place = translation(
            middle_x + (self.x + self.along_x.at(time)) * side,
            middle_y + (self.y + self.along_y.at(time)) * side,
        )
        return place @ turning((0, 0), self.turn.at(time), math.exp(self.log_scale.at(time)))


@dataclass(frozen=True)
class Bending:
    """A smooth displacement of a patch that changes over time: two coarse fields [4, 4, 2], in units of P, swinging out of step."""

    fields: np.ndarray
    frequencies: np.ndarray
    phases: np.ndarray

    @classmethod
    def draw(cls, rng: np.random.Generator, strength: float) -> "Bending":
        return cls(
            rng.normal(0, strength, (2, 4, 4, 2)).astype(np.float32),
            math.tau / rng.uniform(25, 100, 2),
            rng.uniform(0, math.tau, 2),
        )

    def apply(self, patch: np.ndarray, time: float) -> np.ndarray:
        side = patch.shape[0]
        swing = np.sin(self.frequencies * time + self.phases).astype(np.float32)
        field = cv2.resize(
            np.tensordot(swing, self.fields, 1) * side, (side, side), interpolation=cv2.INTER_CUBIC
        )
        axis = np.arange(side, dtype=np.float32)
        return cv2.remap(
            patch,
            field[..., 0] + axis,
            field[..., 1] + axis[:, None],
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=0,
        )


@dataclass(frozen=True)
class Layer:
    """One object, distractor or occluder.

    patch: uint8 [P, P, 4], RGB and coverage; outline: draws the coverage anew at each time, where given.
    object_id: its label, 0 where it is not to be tracked. follows_camera: it stands in the scene, and moves with the view.
    """

    patch: np.ndarray
    motion: Motion
    object_id: int
    outline: Outline | None = None
    bending: Bending | None = None
    brightness: Wave | None = None
    follows_camera: bool = False

    def paint(self, frame: np.ndarray, labels: np.ndarray, time: float, camera: np.ndarray) -> None:
        """Over `frame` float32 [H, W, 3] and `labels` uint8 [H, W], in place. camera: 3×3, the view's movement in frame pixels."""
        patch = self.patch
        if self.outline is not None:
            patch = np.dstack((patch[..., :3], self.outline.alpha(patch.shape[0], time)))
        if self.bending is not None:
            patch = self.bending.apply(patch, time)
        middle = -(patch.shape[0] - 1) / 2
        matrix = self.motion.matrix(time, *labels.shape) @ translation(middle, middle)
        matrix = camera @ matrix if self.follows_camera else matrix
        left, top, right, bottom = _covered(matrix, patch.shape[0], *labels.shape)
        if left >= right or top >= bottom:
            return
        moved = cv2.warpAffine(
            patch,
            (translation(-left, -top) @ matrix)[:2],
            (right - left, bottom - top),
            flags=cv2.INTER_LINEAR,
        )
        colours = moved[..., :3].astype(np.float32)
        if self.brightness is not None:
            colours *= 1 + self.brightness.at(time)
        coverage = moved[..., 3:].astype(np.float32) / 255
        region = frame[top:bottom, left:right]
        region += (colours - region) * coverage
        labels[top:bottom, left:right][moved[..., 3] >= 128] = self.object_id


def _covered(matrix: np.ndarray, side: int, height: int, width: int) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of the part of a frame that a moved patch can cover; empty where it lies outside."""
    corners = matrix[:2] @ np.array(
        [[-1, side, side, -1], [-1, -1, side, side], [1, 1, 1, 1]], np.float64
    )
    (left, top), (right, bottom) = np.floor(corners.min(1)), np.ceil(corners.max(1)) + 1
    return max(0, int(left)), max(0, int(top)), min(width, int(right)), min(height, int(bottom))


@dataclass(frozen=True)
class Backdrop:
    """A still picture uint8 [h, w, 3] behind everything, seen by a moving camera; `fit` scales it so that it more than fills the view."""

    picture: np.ndarray
    fit: float

    @classmethod
    def fill(cls, picture: np.ndarray, height: int, width: int, zoom: float) -> "Backdrop":
        """`zoom` 1: the picture just fills a view [height, width] at rest."""
        fit = max(height / picture.shape[0], width / picture.shape[1]) * zoom
        if fit < 1:
            size = (
                max(width, round(picture.shape[1] * fit)),
                max(height, round(picture.shape[0] * fit)),
            )
            picture, fit = cv2.resize(picture, size, interpolation=cv2.INTER_AREA), 1.0
        return cls(picture, fit)

    def seen(self, camera: np.ndarray, height: int, width: int) -> np.ndarray:
        """The view as float32 [H, W, 3], mirrored beyond the picture's edge."""
        own_x, own_y = centre_of(*self.picture.shape[1::-1])
        matrix = (
            camera
            @ translation(*centre_of(width, height))
            @ scaling(self.fit, self.fit)
            @ translation(-own_x, -own_y)
        )
        return cv2.warpAffine(
            self.picture,
            matrix[:2],
            (width, height),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT_101,
        ).astype(np.float32)


@dataclass(frozen=True)
class Finish:
    """What the lens and sensor add: exposure over time, blur (a Gaussian deviation in pixels, 0 for none) and noise (a deviation in grey levels)."""

    exposure: Wave
    blur: float
    noise: float

    def apply(self, frame: np.ndarray, time: float, rng: np.random.Generator) -> np.ndarray:
        """float32 [H, W, 3] to uint8."""
        frame = frame * (1 + self.exposure.at(time))
        if self.blur > 0.2:
            frame = cv2.GaussianBlur(frame, (0, 0), self.blur)
        if self.noise > 0:
            frame += rng.standard_normal((*frame.shape[:2], 1), dtype=np.float32) * self.noise
        return np.clip(np.rint(frame), 0, 255).astype(np.uint8)
