"""Moving layers over a moving background: what the scenes of synthetic clips consist of.

Legend: H W height and width of a frame, h w of a patch, P side of a square one. Times are in video
frames; distances of movements are in units of the frame's shorter side.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from dataset.training.geometry import (
    image_centre,
    rotation_matrix,
    scaling_matrix,
    translation_matrix,
)
from dataset.training.textures import Outline

_OPAQUE_FROM = 128  # of a coverage in 0..255: the pixel gets the layer's label
_MIN_BLUR_PIXELS = 0.2


@dataclass(frozen=True)
class Wave:
    """A sine over time. frequency: radians per video frame."""

    amplitude: float
    frequency: float
    phase: float

    @classmethod
    def draw(cls, rng: np.random.Generator, amplitude: float, speed: float) -> "Wave":
        """Draw a wave of at most this amplitude and at most this `speed` per video frame."""
        frequency = math.tau / rng.uniform(40, 160)
        amplitude = min(amplitude, speed * rng.uniform(0.1, 1) / frequency)
        return cls(amplitude, frequency, phase=rng.uniform(0, math.tau))

    def at(self, time: float) -> float:
        """The value at a time in video frames."""
        return self.amplitude * math.sin(self.frequency * time + self.phase)


@dataclass(frozen=True, kw_only=True)
class MotionRange:
    """The largest shift, turn in degrees and log scale of a Motion."""

    shift: float
    degrees: float
    log_scale: float


@dataclass(frozen=True, kw_only=True)
class Excursion:
    """A way out and back: from nowhere to (x, y) within `ramp` frames, and back after `stay` more.

    start: when it begins. inverted: the layer is at (x, y) but for this time, in which it comes to
    its place and goes again.
    """

    x: float
    y: float
    start: float
    ramp: float
    stay: float
    inverted: bool = False

    def at(self, time: float) -> tuple[float, float]:
        """The displacement at a time in video frames."""
        since = time - self.start
        way = min(since, 2 * self.ramp + self.stay - since) / self.ramp
        share = 0.5 - 0.5 * math.cos(math.pi * min(max(way, 0.0), 1.0))
        share = 1 - share if self.inverted else share
        return self.x * share, self.y * share


@dataclass(frozen=True)
class ScaleJump:
    """A change of size at once. time: in video frames. log_scale: added from then on."""

    time: float
    log_scale: float


@dataclass(frozen=True)
class Motion:
    """The position of a layer: shifts from `x`, `y`, a turn in degrees, and a log scale.

    excursion, jump: what happens to it besides; None: nothing.
    """

    x: float
    y: float
    along_x: Wave
    along_y: Wave
    turn: Wave
    log_scale: Wave
    excursion: Excursion | None = None
    jump: ScaleJump | None = None

    @classmethod
    def draw(
        cls, rng: np.random.Generator, x: float, y: float, largest: MotionRange, pace: float
    ) -> "Motion":
        """Draw a motion about (x, y).

        pace: factor of the speed. At 1, within 10 frames, a layer shifts by up to 0.25 sides, turns
        by up to 30 degrees, and scales by 0.75 to 1.33.
        """
        return cls(
            x,
            y,
            along_x=Wave.draw(rng, largest.shift, 0.025 * pace),
            along_y=Wave.draw(rng, largest.shift, 0.025 * pace),
            turn=Wave.draw(rng, largest.degrees, 3.0 * pace),
            log_scale=Wave.draw(rng, largest.log_scale, 0.028 * pace),
        )

    def matrix(self, time: float, height: int, width: int) -> np.ndarray:
        """3×3: maps a plane whose origin is the layer's centre, in pixels, to the frame."""
        side, (middle_x, middle_y) = min(height, width), image_centre(width, height)
        x, y = self.x + self.along_x.at(time), self.y + self.along_y.at(time)
        if self.excursion is not None:
            away_x, away_y = self.excursion.at(time)
            x, y = x + away_x, y + away_y
        shift = translation_matrix(middle_x + x * side, middle_y + y * side)
        log_scale = self.log_scale.at(time)
        if self.jump is not None and time >= self.jump.time:
            log_scale += self.jump.log_scale
        scale = math.exp(log_scale)
        return shift @ rotation_matrix((0, 0), self.turn.at(time), scale)


@dataclass(frozen=True)
class Bending:
    """A smooth displacement of a patch that changes over time.

    fields: two coarse fields [2, 4, 4, 2] in units of P, which swing at their own frequencies.
    """

    fields: np.ndarray
    frequencies: np.ndarray
    phases: np.ndarray

    @classmethod
    def draw(cls, rng: np.random.Generator, strength: float) -> "Bending":
        """strength: standard deviation of the fields."""
        return cls(
            fields=rng.normal(0, strength, (2, 4, 4, 2)).astype(np.float32),
            frequencies=math.tau / rng.uniform(25, 100, 2),
            phases=rng.uniform(0, math.tau, 2),
        )

    def apply(self, patch: np.ndarray, time: float) -> np.ndarray:
        """Bend a patch uint8 [P, P, 4] as it is at a time; returns the same type and shape."""
        side = patch.shape[0]
        swing = np.sin(self.frequencies * time + self.phases).astype(np.float32)
        coarse = np.tensordot(swing, self.fields, 1) * side
        field = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
        axis = np.arange(side, dtype=np.float32)
        return cv2.remap(
            patch,
            field[..., 0] + axis,
            field[..., 1] + axis[:, None],
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=0,
        )


def paint_patch(
    frame: np.ndarray,
    labels: np.ndarray,
    patch: np.ndarray,
    matrix: np.ndarray,
    object_id: int,
    *,
    gain: float | None = None,
) -> None:
    """Paint a patch over a frame and its labels, in place.

    frame: float32 [H, W, 3]. labels: uint8 [H, W]; pixels that the patch mostly covers get
    `object_id`. patch: uint8 [h, w, 4], RGB and coverage. matrix: 3×3, maps the patch's pixels to
    the frame's. gain: factor of the patch's brightness; None: 1.
    """
    left, top, right, bottom = _covered_bounds(matrix, patch.shape[:2], labels.shape)
    if left >= right or top >= bottom:
        return
    moved = cv2.warpAffine(
        patch,
        (translation_matrix(-left, -top) @ matrix)[:2],
        (right - left, bottom - top),
        flags=cv2.INTER_LINEAR,
    )
    colours = moved[..., :3].astype(np.float32)
    if gain is not None:
        colours *= gain
    coverage = moved[..., 3:].astype(np.float32) / 255
    region = frame[top:bottom, left:right]
    region += (colours - region) * coverage
    labels[top:bottom, left:right][moved[..., 3] >= _OPAQUE_FROM] = object_id


def _covered_bounds(
    matrix: np.ndarray, patch_size: tuple[int, int], size: tuple[int, int]
) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of the part of a frame that a moved patch can cover.

    patch_size: (h, w). size: (H, W) of the frame. The part is empty (left >= right or
    top >= bottom) if the patch lies outside the frame.
    """
    (h, w), (height, width) = patch_size, size
    corners = np.array([[-1, w, w, -1], [-1, -1, h, h], [1, 1, 1, 1]], np.float64)
    moved = matrix[:2] @ corners
    (left, top), (right, bottom) = np.floor(moved.min(1)), np.ceil(moved.max(1)) + 1
    return max(0, int(left)), max(0, int(top)), min(width, int(right)), min(height, int(bottom))


@dataclass(frozen=True)
class Layer:
    """One object, distractor or occluder.

    patch: uint8 [P, P, 4], RGB and coverage. object_id: its label; 0 if it is not to be segmented.
    outline: if given, replaces the patch's coverage at each time. follows_camera: whether it stands
    in the scene, so that it moves with the view.
    """

    patch: np.ndarray
    motion: Motion
    object_id: int
    outline: Outline | None = None
    bending: Bending | None = None
    brightness: Wave | None = None
    follows_camera: bool = False

    def paint(self, frame: np.ndarray, labels: np.ndarray, time: float, camera: np.ndarray) -> None:
        """Paint the layer over a frame and its labels, in place.

        frame: float32 [H, W, 3]. labels: uint8 [H, W]. camera: 3×3, the view's movement in pixels.
        """
        patch = self._patch_at(time)
        middle = -(patch.shape[0] - 1) / 2
        matrix = self.motion.matrix(time, *labels.shape) @ translation_matrix(middle, middle)
        matrix = camera @ matrix if self.follows_camera else matrix
        gain = None if self.brightness is None else 1 + self.brightness.at(time)
        paint_patch(frame, labels, patch, matrix, self.object_id, gain=gain)

    def _patch_at(self, time: float) -> np.ndarray:
        patch = self.patch
        if self.outline is not None:
            patch = np.dstack((patch[..., :3], self.outline.alpha(patch.shape[0], time)))
        return patch if self.bending is None else self.bending.apply(patch, time)


@dataclass(frozen=True)
class Backdrop:
    """A still picture uint8 [h, w, 3] behind everything, seen by a moving camera.

    fit: scale at which the picture more than fills the view.
    """

    picture: np.ndarray
    fit: float

    @classmethod
    def fill(cls, picture: np.ndarray, height: int, width: int, zoom: float) -> "Backdrop":
        """Fill a view of `height` × `width`. zoom: 1 if the picture just fills it at rest."""
        fit = max(height / picture.shape[0], width / picture.shape[1]) * zoom
        if fit < 1:
            fitted_width = max(width, round(picture.shape[1] * fit))
            fitted_height = max(height, round(picture.shape[0] * fit))
            size = fitted_width, fitted_height
            picture, fit = cv2.resize(picture, size, interpolation=cv2.INTER_AREA), 1.0
        return cls(picture, fit)

    def view(self, camera: np.ndarray, height: int, width: int) -> np.ndarray:
        """What the camera shows, float32 [H, W, 3]. The picture is mirrored beyond its edges."""
        own_x, own_y = image_centre(*self.picture.shape[1::-1])
        matrix = (
            camera
            @ translation_matrix(*image_centre(width, height))
            @ scaling_matrix(self.fit, self.fit)
            @ translation_matrix(-own_x, -own_y)
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
    """What lens and sensor add.

    exposure: change of brightness over time. blur: standard deviation of a Gaussian in pixels, 0
    for none. noise: standard deviation in grey levels. shutter: how long each frame is exposed, in
    video frames, 0 for none. contrast: factor of all differences from the mean colour.
    """

    exposure: Wave
    blur: float
    noise: float
    shutter: float = 0.0
    contrast: float = 1.0

    def apply(self, frame: np.ndarray, time: float, rng: np.random.Generator) -> np.ndarray:
        """Finish a frame float32 [H, W, 3]; returns uint8."""
        frame = frame * (1 + self.exposure.at(time))
        if self.contrast != 1:
            mean = frame.mean((0, 1))
            frame = mean + (frame - mean) * self.contrast
        if self.blur > _MIN_BLUR_PIXELS:
            frame = cv2.GaussianBlur(frame, (0, 0), self.blur)
        if self.noise > 0:
            frame += rng.standard_normal((*frame.shape[:2], 1), dtype=np.float32) * self.noise
        return np.clip(np.rint(frame), 0, 255).astype(np.uint8)
