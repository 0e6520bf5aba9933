"""Synthetic clips: made-up or cut-out objects that move, bend, overlap, hide and reappear over moving backgrounds. They need no data at all.

Legend: T frames, H W height and width, S side of a training crop.
"""

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np

from dataset.training.augmentation import translation
from dataset.training.compositing import Backdrop, Bending, Finish, Layer, Motion, Wave
from dataset.training.cutouts import CutoutBank
from dataset.training.samples import (
    MAX_ATTEMPTS,
    Sample,
    build_sample,
    draw_objects,
    draw_until_usable,
)
from dataset.training.textures import (
    STRUCTURE_COUNT,
    bar_outline,
    draw_colours,
    draw_outline,
    draw_texture,
)
from dataset.training.video_clips import VideoClipDataset, draw_gaps
from util.text import counted

STILL = np.eye(3)


@dataclass(frozen=True, kw_only=True)
class SyntheticConfig:
    """What clips are made of; shares are probabilities.

    object_size: longer side of an object in units of the frame's shorter side (log-uniform). max_gap: video frames between neighbours of a sample, 1..max_gap,
    less inside clips of `clip_frames` frames that are predicted together (see dataset.video_clips.draw_gaps).
    lookalike_share: distractors that are a copy of, or of the same texture as, an object. camouflage_share: made-up objects in the colours of the background.
    cutout_share and photo_share: objects and backgrounds taken from a bank of real images, where there is one;
    clip_share: samples over a real annotated clip, where given.
    """

    crop_size: int = 384
    frames: int = 3
    clip_frames: int = 1
    max_objects: int = 2
    max_distractors: int = 2
    max_gap: int = 10
    object_size: tuple[float, float] = (0.3, 1.0)
    pace: float = 1.0
    lookalike_share: float = 0.35
    camouflage_share: float = 0.25
    occluder_share: float = 0.2
    cutout_share: float = 0.85
    photo_share: float = 0.85
    clip_share: float = 0.35
    min_object_area: float = 0.008


class SyntheticClips:
    """Made-up training samples. bank: real objects and images, mixed with made-up ones; clips: real clips on which
    further objects are pasted (their own objects count too).

    `clips` must give samples of the same crop size and number of frames. Raises ValueError where they do not.
    """

    def __init__(
        self,
        config: SyntheticConfig | None = None,
        *,
        bank: CutoutBank | None = None,
        clips: VideoClipDataset | None = None,
    ):
        self.config = config or SyntheticConfig()
        self.bank, self.clips = bank, clips
        if clips is not None and (clips.frames, clips.augmentation.crop_size) != (
            self.config.frames,
            self.config.crop_size,
        ):
            ours, theirs = (
                (self.config.frames, self.config.crop_size),
                (clips.frames, clips.augmentation.crop_size),
            )
            raise ValueError(
                f"clips of (frames, crop size) {theirs} cannot lie under samples of {ours}"
            )

    @property
    def distinct_samples(self) -> None:
        """There is no end of them."""
        return None

    def sample(self, rng: np.random.Generator, progress: float = 0.0) -> Sample:
        """One training sample; see dataset.training.build_sample.

        Raises UnusableFileError for a damaged file, InputError where no object could be placed in view.
        """
        complaint = f"synthetic clips drawn, none with an object of {self.config.min_object_area:.1%} of the frame; make the objects larger"
        times = np.concatenate(
            (
                [0],
                np.cumsum(
                    draw_gaps(
                        rng,
                        self.config.frames,
                        self.config.max_gap,
                        clip_frames=self.config.clip_frames,
                    )
                ),
            )
        )
        return draw_until_usable(lambda: self._attempt(rng, times, progress), complaint)

    def _attempt(
        self, rng: np.random.Generator, times: np.ndarray, progress: float
    ) -> Sample | None:
        """None where no object shows enough of itself."""
        side = self.config.crop_size
        if self.clips is not None and rng.random() < self.config.clip_share:
            frames, labels = self._over_clip(rng, times, progress)
        else:
            scene = draw_scene(
                rng,
                side,
                side,
                int(rng.integers(1, self.config.max_objects + 1)),
                self.config,
                self.bank,
            )
            frames, labels = zip(
                *(scene.render(float(time), side, side, rng) for time in times), strict=True
            )
        chosen = draw_objects(
            rng,
            labels[0],
            self.config.max_objects,
            max(1, round(self.config.min_object_area * side * side)),
        )
        return build_sample(frames, labels, chosen) if chosen else None

    def _over_clip(
        self, rng: np.random.Generator, times: np.ndarray, progress: float
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """A real clip with further objects pasted over it, some of them to be tracked."""
        base = self.clips.sample(rng, progress)
        present, side = int(base["num_objects"]), self.config.crop_size
        tracked = int(rng.integers(0, max(0, self.config.max_objects - present) + 1))
        distractors = int(rng.integers(1 if tracked == 0 else 0, 2))
        layers = draw_layers(
            rng,
            side,
            side,
            tracked,
            distractors,
            self.config,
            self.bank,
            None,
            first_id=present + 1,
        )
        frames, labels = [], []
        for time, frame, mask in zip(
            times, base["frames"].numpy(), base["labels"].numpy(), strict=True
        ):
            canvas, mask = np.ascontiguousarray(frame.transpose(1, 2, 0), np.float32), mask.copy()
            for layer in layers:
                layer.paint(canvas, mask, float(time), STILL)
            frames.append(np.clip(np.rint(canvas), 0, 255).astype(np.uint8))
            labels.append(mask)
        return frames, labels


@dataclass(frozen=True)
class Scene:
    """Everything of a clip, to be seen at any time. layers: from back to front."""

    backdrop: Backdrop
    camera: Motion
    layers: list[Layer]
    finish: Finish

    def render(
        self, time: float, height: int, width: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """uint8 RGB [H, W, 3] and labels uint8 [H, W] at a time in video frames. rng: draws the noise alone."""
        middle = (width - 1) / 2, (height - 1) / 2
        camera = self.camera.matrix(time, height, width) @ translation(-middle[0], -middle[1])
        frame, labels = (
            self.backdrop.seen(camera, height, width),
            np.zeros((height, width), np.uint8),
        )
        for layer in self.layers:
            layer.paint(frame, labels, time, camera)
        return self.finish.apply(frame, time, rng), labels


def draw_scene(
    rng: np.random.Generator,
    height: int,
    width: int,
    objects: int,
    config: SyntheticConfig,
    bank: CutoutBank | None = None,
) -> Scene:
    """A random scene with objects 1..`objects` and up to `config.max_distractors` untracked ones, from a bank of real images where given."""
    colours = draw_colours(rng)
    if bank is not None and rng.random() < config.photo_share:
        picture = bank.draw_background(rng)
    else:
        picture = _draw_scenery(rng, round(height * 1.3), round(width * 1.3), colours)
    backdrop = Backdrop.fill(picture, height, width, rng.uniform(1.0, 1.5))
    camera = Motion.draw(rng, 0, 0, 0.25, 15, 0.2, config.pace * rng.choice((0.1, 0.5, 1.0)))
    layers = draw_layers(
        rng,
        height,
        width,
        objects,
        int(rng.integers(config.max_distractors + 1)),
        config,
        bank,
        colours,
    )
    blur, noise = max(0.0, rng.uniform(-1.5, 1.3)), max(0.0, rng.uniform(-5, 5))
    return Scene(backdrop, camera, layers, Finish(Wave.draw(rng, 0.15, 0.01), blur, noise))


def draw_layers(
    rng: np.random.Generator,
    height: int,
    width: int,
    objects: int,
    distractors: int,
    config: SyntheticConfig,
    bank: CutoutBank | None,
    background_colours: np.ndarray | None,
    first_id: int = 1,
) -> list[Layer]:
    """Objects (ids from `first_id`), distractors and sometimes an occluder, in random order of depth, the occluder in front."""
    layers = [
        _draw_layer(rng, height, width, first_id + number, config, bank, background_colours)
        for number in range(objects)
    ]
    for _ in range(distractors):
        other = _draw_layer(rng, height, width, 0, config, bank, background_colours)
        if objects and rng.random() < config.lookalike_share:
            twin = layers[int(rng.integers(objects))]
            other = replace(
                other,
                patch=twin.patch,
                outline=twin.outline if bank is not None or rng.random() < 0.5 else other.outline,
            )
            if other.outline is None:  # the copy of a cut-out: its coverage lies in the patch
                other = replace(
                    other, patch=twin.patch[:, ::-1].copy() if rng.random() < 0.5 else twin.patch
                )
        layers.append(other)
    layers = [layers[index] for index in rng.permutation(len(layers))]
    if rng.random() < config.occluder_share:
        side = round(min(height, width) * 1.4)
        patch = np.dstack(
            (draw_texture(rng, side, side, draw_colours(rng)), np.full((side, side), 255, np.uint8))
        )
        place = rng.uniform(-0.3, 0.3, 2)
        motion = Motion.draw(rng, *place, 0.3, 180, 0.1, config.pace)
        layers.append(Layer(patch, motion, 0, outline=bar_outline(), follows_camera=True))
    return layers


def _draw_layer(
    rng: np.random.Generator,
    height: int,
    width: int,
    object_id: int,
    config: SyntheticConfig,
    bank: CutoutBank | None,
    background_colours: np.ndarray | None,
) -> Layer:
    shorter = min(height, width)
    side = max(16, round(shorter * math.exp(rng.uniform(*np.log(config.object_size)))))
    outline = None
    if bank is not None and rng.random() < config.cutout_share:
        patch = bank.draw_cutout(rng, side)
    else:
        outline = draw_outline(rng)
        camouflaged = background_colours is not None and rng.random() < config.camouflage_share
        colours = draw_colours(rng, background_colours if camouflaged else None)
        patch = _draw_surface(rng, side, colours)
    place = rng.uniform(-0.35, 0.35, 2) * (width / shorter, height / shorter)
    motion = Motion.draw(rng, *place, 0.35, 60, 0.4, config.pace)
    bending = Bending.draw(rng, rng.uniform(0, 0.05)) if rng.random() < 0.8 else None
    return Layer(
        patch,
        motion,
        object_id,
        outline,
        bending,
        Wave.draw(rng, 0.2, 0.015),
        follows_camera=bool(rng.random() < 0.5),
    )


def _draw_surface(rng: np.random.Generator, side: int, colours: np.ndarray) -> np.ndarray:
    """A textured patch uint8 [P, P, 4], fully covered, lighter towards a random direction and at times of two textures."""
    texture = draw_texture(rng, side, side, colours)
    if rng.random() < 0.4:
        second = draw_texture(
            rng, side, side, draw_colours(rng), int(rng.integers(STRUCTURE_COUNT))
        )
        texture = np.where(draw_outline(rng).alpha(side, 0.0)[..., None] >= 128, second, texture)
    angle, strength = rng.uniform(0, math.tau), rng.uniform(0, 0.5)
    axis = np.linspace(-0.5, 0.5, side, dtype=np.float32)
    light = 1 + strength * (axis[None] * math.cos(angle) + axis[:, None] * math.sin(angle))
    lit = np.clip(texture * light[..., None], 0, 255).astype(np.uint8)
    return np.dstack((lit, np.full((side, side), 255, np.uint8)))


def _draw_scenery(
    rng: np.random.Generator, height: int, width: int, colours: np.ndarray
) -> np.ndarray:
    """A made-up background uint8 [height, width, 3]: a texture with up to six patches of others painted on it."""
    picture = draw_texture(rng, height, width, colours)
    for _ in range(int(rng.integers(0, 7))):
        side = round(min(height, width) * rng.uniform(0.2, 0.8))
        top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
        patch = draw_texture(
            rng, side, side, draw_colours(rng, colours if rng.random() < 0.5 else None)
        )
        coverage = (
            cv2.GaussianBlur(draw_outline(rng).alpha(side, 0.0), (3, 3), 0)[..., None].astype(
                np.float32
            )
            / 255
        )
        region = picture[top : top + side, left : left + side]
        region[:] = np.rint(region + (patch - region.astype(np.float32)) * coverage).astype(
            np.uint8
        )
    return picture


def make_clip(
    seed: int,
    frames: int = 60,
    height: int = 240,
    width: int = 432,
    objects: int = 3,
    *,
    config: SyntheticConfig | None = None,
    min_object_area: float = 0.015,
) -> tuple[np.ndarray, np.ndarray]:
    """A longer smooth made-up video: frames uint8 RGB [T, H, W, 3] and labels uint8 [T, H, W] of objects 1..`objects`, all visible in the first frame.

    min_object_area: share of the first frame each object covers. The same arguments give the same video. Raises ValueError where no such scene is found.
    """
    config = config or SyntheticConfig(
        object_size=(0.45, 0.7),
        pace=0.6,
        max_distractors=1,
        lookalike_share=0.0,
        camouflage_share=0.0,
        occluder_share=1.0,
    )
    rng = np.random.default_rng(seed)
    for _ in range(MAX_ATTEMPTS):
        scene = draw_scene(rng, height, width, objects, config)
        scene = replace(scene, finish=Finish(scene.finish.exposure, 0.0, 2.0))
        areas = np.bincount(
            scene.render(0.0, height, width, rng)[1].ravel(), minlength=objects + 1
        )[1:]
        if (areas >= min_object_area * height * width).all():
            pictures, labels = zip(
                *(scene.render(float(time), height, width, rng) for time in range(frames)),
                strict=True,
            )
            return np.stack(pictures), np.stack(labels)
    raise ValueError(
        f"{MAX_ATTEMPTS} scenes drawn, none with {counted(objects, 'object')} of {min_object_area:.1%} of the frame each; ask for fewer or smaller ones"
    )
