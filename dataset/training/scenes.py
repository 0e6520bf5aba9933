"""Random synthetic scenes: objects that move, bend, overlap, hide and reappear over a background.

Legend: H W height and width of a frame, P side of a square patch.
"""

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np

from dataset.training.compositing import (
    Backdrop,
    Bending,
    Excursion,
    Finish,
    Layer,
    Motion,
    MotionRange,
    ScaleJump,
    Wave,
)
from dataset.training.cutouts import CutoutBank
from dataset.training.geometry import image_centre, translation_matrix
from dataset.training.textures import (
    PATTERN_COUNT,
    bar_outline,
    draw_colour_ramp,
    draw_outline,
    draw_texture,
)

_CAMERA_MOTION = MotionRange(shift=0.25, degrees=15, log_scale=0.2)
_OBJECT_MOTION = MotionRange(shift=0.35, degrees=60, log_scale=0.4)
_OCCLUDER_MOTION = MotionRange(shift=0.3, degrees=180, log_scale=0.1)
# of what is off by default; times are in video frames, and the first frame of a clip is at 0
_EVENT_START = (1.0, 12.0)
_COVER_SIZE = 1.4  # side of a cover over that of the patch below, which bends beyond its edges
_SHUTTER = (0.5, 2.5)
_EXPOSURES = (-0.5, -0.25, 0.25, 0.5)  # moments beside the middle one, in times of the shutter
_LOW_CONTRAST = (0.25, 0.6)


@dataclass(frozen=True, kw_only=True)
class SceneConfig:
    """What scenes consist of. Shares are probabilities.

    object_size: range of an object's longer side in units of the frame's shorter side, drawn
    log-uniformly. pace: factor of all speeds. lookalike_share: of the distractors that copy an
    object, or its texture. camouflage_share: of the synthetic objects that have the colours of the
    background. occluder_share: of the scenes with a bar in front. cutout_share, photo_share: of the
    objects and backgrounds that come from a bank of real images, if there is one.

    What makes clips harder, each off by default. twin_share: of the objects after the first that
    look like an earlier one. hiding_share: of the objects that leave the frame, or are covered
    wholly, and come back. jump_share: of the objects that change their size at once.
    motion_blur_share, low_contrast_share: of the scenes with either.
    """

    max_distractors: int = 2
    object_size: tuple[float, float] = (0.3, 1.0)
    pace: float = 1.0
    lookalike_share: float = 0.35
    camouflage_share: float = 0.25
    occluder_share: float = 0.2
    cutout_share: float = 0.85
    photo_share: float = 0.85
    twin_share: float = 0.0
    hiding_share: float = 0.0
    jump_share: float = 0.0
    motion_blur_share: float = 0.0
    low_contrast_share: float = 0.0


@dataclass(frozen=True)
class Scene:
    """Everything that a clip shows. layers: from back to front."""

    backdrop: Backdrop
    camera: Motion
    layers: list[Layer]
    finish: Finish

    def render(
        self, time: float, height: int, width: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Render a frame RGB uint8 [H, W, 3] and its labels uint8 [H, W].

        time: in video frames. rng: for the noise of the image only.
        """
        frame, labels = self._paint(time, height, width)
        if self.finish.shutter > 0:
            moments = time + self.finish.shutter * np.array(_EXPOSURES)
            frame = np.mean(
                [frame, *(self._paint(float(moment), height, width)[0] for moment in moments)], 0
            )
        return self.finish.apply(frame, time, rng), labels

    def _paint(self, time: float, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """The colours float32 [H, W, 3] and the labels uint8 [H, W] at one moment."""
        middle_x, middle_y = image_centre(width, height)
        camera = self.camera.matrix(time, height, width) @ translation_matrix(-middle_x, -middle_y)
        frame = self.backdrop.view(camera, height, width)
        labels = np.zeros((height, width), np.uint8)
        for layer in self.layers:
            layer.paint(frame, labels, time, camera)
        return frame, labels


@dataclass(frozen=True, kw_only=True)
class SceneMaker:
    """Draws scenes for frames of `height` × `width`.

    bank: real objects and backgrounds; None: everything is synthetic.
    """

    config: SceneConfig
    height: int
    width: int
    bank: CutoutBank | None = None

    def draw_scene(self, rng: np.random.Generator, objects: int) -> Scene:
        """Draw a scene with objects 1..`objects` and up to max_distractors untracked ones."""
        colours = draw_colour_ramp(rng)
        if self.bank is not None and rng.random() < self.config.photo_share:
            picture = self.bank.draw_background(rng)
        else:
            height, width = round(self.height * 1.3), round(self.width * 1.3)
            picture = _draw_background(rng, height, width, colours)
        backdrop = Backdrop.fill(picture, self.height, self.width, rng.uniform(1.0, 1.5))
        pace = self.config.pace * rng.choice((0.1, 0.5, 1.0))
        camera = Motion.draw(rng, 0, 0, _CAMERA_MOTION, pace)
        distractors = int(rng.integers(self.config.max_distractors + 1))
        layers = self.draw_layers(rng, objects, distractors, background_colours=colours)
        blur, noise = max(0.0, rng.uniform(-1.5, 1.3)), max(0.0, rng.uniform(-5, 5))
        finish = Finish(Wave.draw(rng, 0.15, 0.01), blur, noise)
        if _happens(rng, self.config.motion_blur_share):
            finish = replace(finish, shutter=rng.uniform(*_SHUTTER))
        if _happens(rng, self.config.low_contrast_share):
            finish = replace(finish, contrast=rng.uniform(*_LOW_CONTRAST))
        return Scene(backdrop, camera, layers, finish)

    def draw_layers(
        self,
        rng: np.random.Generator,
        objects: int,
        distractors: int,
        *,
        first_id: int = 1,
        background_colours: np.ndarray | None = None,
    ) -> list[Layer]:
        """Draw objects, distractors and sometimes an occluder.

        first_id: of the objects; the others follow it. background_colours: a colour ramp, for
        camouflage. Returns the layers from back to front, in random order, the occluder and covers
        in front.
        """
        layers, covers = [], []
        for number in range(objects):
            layer = self._draw_layer(rng, first_id + number, background_colours)
            if layers and _happens(rng, self.config.twin_share):
                twin = layers[int(rng.integers(number))]
                layer = self._draw_lookalike(rng, layer, twin)
            layer, cover = self._draw_events(rng, layer)
            layers.append(layer)
            covers += cover
        for _ in range(distractors):
            distractor = self._draw_layer(rng, 0, background_colours)
            if objects and rng.random() < self.config.lookalike_share:
                twin = layers[int(rng.integers(objects))]
                distractor = self._draw_lookalike(rng, distractor, twin)
            layers.append(distractor)
        layers = [layers[index] for index in rng.permutation(len(layers))]
        if rng.random() < self.config.occluder_share:
            layers.append(self._draw_occluder(rng))
        return layers + covers

    def _draw_events(self, rng: np.random.Generator, layer: Layer) -> tuple[Layer, list[Layer]]:
        """What happens to an object besides its motion, and a layer that covers it, if one does."""
        motion, covers = layer.motion, []
        if _happens(rng, self.config.jump_share):
            jump = ScaleJump(rng.uniform(*_EVENT_START), _draw_sign(rng) * rng.uniform(0.3, 0.7))
            motion = replace(motion, jump=jump)
        if _happens(rng, self.config.hiding_share):
            excursion = self._draw_excursion(rng)
            if rng.random() < 0.5:
                motion = replace(motion, excursion=excursion)
            else:
                side = math.ceil(layer.patch.shape[0] * _COVER_SIZE)
                patch = _opaque(draw_texture(rng, side, side, draw_colour_ramp(rng)))
                coming = replace(motion, excursion=replace(excursion, inverted=True))
                covers.append(Layer(patch, coming, 0, follows_camera=layer.follows_camera))
        return replace(layer, motion=motion), covers

    def _draw_excursion(self, rng: np.random.Generator) -> Excursion:
        """A way out of the frame, to any side, and back."""
        angle = rng.uniform(0, math.tau)
        distance = 0.7 * math.hypot(self.height, self.width) / min(self.height, self.width) + 1
        return Excursion(
            x=distance * math.cos(angle),
            y=distance * math.sin(angle),
            start=rng.uniform(*_EVENT_START),
            ramp=rng.uniform(2, 6),
            stay=rng.uniform(3, 12),
        )

    def _draw_lookalike(self, rng: np.random.Generator, distractor: Layer, twin: Layer) -> Layer:
        """A distractor with the texture of `twin`, and sometimes with its outline."""
        same_outline = self.bank is not None or rng.random() < 0.5
        outline = twin.outline if same_outline else distractor.outline
        patch = twin.patch
        if outline is None and rng.random() < 0.5:  # a cut-out has its shape in the patch
            patch = twin.patch[:, ::-1].copy()
        return replace(distractor, patch=patch, outline=outline)

    def _draw_occluder(self, rng: np.random.Generator) -> Layer:
        side = round(min(self.height, self.width) * 1.4)
        patch = _opaque(draw_texture(rng, side, side, draw_colour_ramp(rng)))
        position = rng.uniform(-0.3, 0.3, 2)
        motion = Motion.draw(rng, *position, _OCCLUDER_MOTION, self.config.pace)
        return Layer(patch, motion, 0, outline=bar_outline(), follows_camera=True)

    def _draw_layer(
        self, rng: np.random.Generator, object_id: int, background_colours: np.ndarray | None
    ) -> Layer:
        """An object, or a distractor if the id is 0."""
        shorter = min(self.height, self.width)
        size = math.exp(rng.uniform(*np.log(self.config.object_size)))
        side = max(16, round(shorter * size))
        outline = None
        if self.bank is not None and rng.random() < self.config.cutout_share:
            patch = self.bank.draw_cutout(rng, side)
        else:
            outline = draw_outline(rng)
            is_camouflaged = (
                background_colours is not None and rng.random() < self.config.camouflage_share
            )
            colours = draw_colour_ramp(rng, background_colours if is_camouflaged else None)
            patch = _draw_surface(rng, side, colours)
        position = rng.uniform(-0.35, 0.35, 2) * (self.width / shorter, self.height / shorter)
        return Layer(
            patch,
            motion=Motion.draw(rng, *position, _OBJECT_MOTION, self.config.pace),
            object_id=object_id,
            outline=outline,
            bending=Bending.draw(rng, rng.uniform(0, 0.05)) if rng.random() < 0.8 else None,
            brightness=Wave.draw(rng, 0.2, 0.015),
            follows_camera=bool(rng.random() < 0.5),
        )


def _happens(rng: np.random.Generator, share: float) -> bool:
    """Draw whether something of that probability happens; of 0, nothing is drawn."""
    return share > 0 and bool(rng.random() < share)


def _draw_sign(rng: np.random.Generator) -> float:
    return 1.0 if rng.random() < 0.5 else -1.0


def _draw_surface(rng: np.random.Generator, side: int, colours: np.ndarray) -> np.ndarray:
    """An opaque patch uint8 [P, P, 4] of one or two textures, lighter towards one direction."""
    texture = draw_texture(rng, side, side, colours)
    if rng.random() < 0.4:
        second_colours = draw_colour_ramp(rng)
        pattern_number = int(rng.integers(PATTERN_COUNT))
        second = draw_texture(rng, side, side, second_colours, pattern_number)
        is_second = draw_outline(rng).alpha(side, 0.0)[..., None] >= 128
        texture = np.where(is_second, second, texture)
    angle, strength = rng.uniform(0, math.tau), rng.uniform(0, 0.5)
    axis = np.linspace(-0.5, 0.5, side, dtype=np.float32)
    light = 1 + strength * (axis[None] * math.cos(angle) + axis[:, None] * math.sin(angle))
    return _opaque(np.clip(texture * light[..., None], 0, 255).astype(np.uint8))


def _opaque(texture: np.ndarray) -> np.ndarray:
    """RGB uint8 [P, P, 3] as a fully covered patch uint8 [P, P, 4]."""
    return np.dstack((texture, np.full(texture.shape[:2], 255, np.uint8)))


def _draw_background(
    rng: np.random.Generator, height: int, width: int, colours: np.ndarray
) -> np.ndarray:
    """A background uint8 [height, width, 3]: a texture with up to six shapes of other textures."""
    picture = draw_texture(rng, height, width, colours)
    for _ in range(int(rng.integers(0, 7))):
        side = round(min(height, width) * rng.uniform(0.2, 0.8))
        top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
        shape_colours = draw_colour_ramp(rng, colours if rng.random() < 0.5 else None)
        texture = draw_texture(rng, side, side, shape_colours)
        alpha = cv2.GaussianBlur(draw_outline(rng).alpha(side, 0.0), (3, 3), 0)
        coverage = alpha[..., None].astype(np.float32) / 255
        region = picture[top : top + side, left : left + side]
        blended = region + (texture - region.astype(np.float32)) * coverage
        region[:] = np.rint(blended).astype(np.uint8)
    return picture
