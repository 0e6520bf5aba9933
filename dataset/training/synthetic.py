"""Training samples and videos from synthetic scenes, which need no data.

Legend: T frames, H W height and width, S side of a training crop.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from dataset.training.cutouts import CutoutBank
from dataset.training.frame_choice import draw_gaps, offsets_of
from dataset.training.samples import (
    MAX_ATTEMPTS,
    Sample,
    build_sample,
    draw_objects,
    draw_until_usable,
)
from dataset.training.scenes import SceneConfig, SceneMaker
from dataset.training.video_clips import VideoClips
from util.text import counted

_STILL_CAMERA = np.eye(3)


@dataclass(frozen=True, kw_only=True)
class SyntheticConfig:
    """What synthetic samples are like.

    crop_size: S. clip_frames, max_gap: see draw_gaps; gaps are in video frames. clip_share:
    probability of a real annotated clip as background, if there are any. min_object_area: share of
    the first frame that an object must cover to be drawn. scene: what is shown.
    """

    crop_size: int = 384
    frames: int = 3
    clip_frames: int = 1
    max_objects: int = 2
    max_gap: int = 10
    clip_share: float = 0.35
    min_object_area: float = 0.008
    scene: SceneConfig = field(default_factory=SceneConfig)


class SyntheticClips:
    """Synthetic training samples.

    bank: real objects and backgrounds, mixed with synthetic ones. clips: real clips, over which
    further objects are pasted; the clips' own objects count too.
    Raises: ValueError if the samples of `clips` have another crop size or number of frames.
    """

    def __init__(
        self,
        config: SyntheticConfig | None = None,
        *,
        bank: CutoutBank | None = None,
        clips: VideoClips | None = None,
    ):
        self.config = config or SyntheticConfig()
        self.clips = clips
        self.scenes = SceneMaker(
            config=self.config.scene,
            height=self.config.crop_size,
            width=self.config.crop_size,
            bank=bank,
        )
        if clips is not None:
            ours = self.config.frames, self.config.crop_size
            theirs = clips.config.frames, clips.augmentation.crop_size
            if theirs != ours:
                raise ValueError(
                    f"clips of (frames, crop size) {theirs} cannot lie under samples of {ours}"
                )

    @property
    def distinct_samples(self) -> None:
        """No limit."""
        return None

    def sample(self, rng: np.random.Generator, progress: float = 0.0) -> Sample:
        """Draw one training sample, see ClipSource.sample."""
        config = self.config
        gaps = draw_gaps(rng, config.frames, config.max_gap, clip_frames=config.clip_frames)
        times = offsets_of(gaps)
        return draw_until_usable(
            lambda: self._attempt(rng, times, progress),
            f"synthetic clips drawn, none with an object of {config.min_object_area:.1%} of the "
            "frame; make the objects larger",
        )

    def _attempt(
        self, rng: np.random.Generator, times: np.ndarray, progress: float
    ) -> Sample | None:
        """One sample, or None if no object is large enough in the first frame."""
        side = self.config.crop_size
        if self.clips is not None and rng.random() < self.config.clip_share:
            frames, labels = self._paste_over_clip(rng, times, progress)
        else:
            scene = self.scenes.draw_scene(rng, int(rng.integers(1, self.config.max_objects + 1)))
            rendered = [scene.render(float(time), side, side, rng) for time in times]
            frames, labels = zip(*rendered, strict=True)
        min_pixels = max(1, round(self.config.min_object_area * side * side))
        chosen = draw_objects(rng, labels[0], self.config.max_objects, min_pixels)
        return build_sample(frames, labels, chosen) if chosen else None

    def _paste_over_clip(
        self, rng: np.random.Generator, times: np.ndarray, progress: float
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """A real clip with further objects pasted over it, some of them to be segmented.

        Returns: frames T × uint8 [S, S, 3] and labels T × uint8 [S, S].
        """
        clip = self.clips.sample(rng, progress)
        present = int(clip["num_objects"])
        objects = int(rng.integers(0, max(0, self.config.max_objects - present) + 1))
        distractors = int(rng.integers(1 if objects == 0 else 0, 2))
        layers = self.scenes.draw_layers(rng, objects, distractors, first_id=present + 1)
        frames, labels = [], []
        for time, frame, mask in zip(
            times, clip["frames"].numpy(), clip["labels"].numpy(), strict=True
        ):
            canvas, mask = np.ascontiguousarray(frame.transpose(1, 2, 0), np.float32), mask.copy()
            for layer in layers:
                layer.paint(canvas, mask, float(time), _STILL_CAMERA)
            frames.append(np.clip(np.rint(canvas), 0, 255).astype(np.uint8))
            labels.append(mask)
        return frames, labels


_LONG_CLIP_SCENES = SceneConfig(
    max_distractors=1,
    object_size=(0.45, 0.7),
    pace=0.6,
    lookalike_share=0.0,
    camouflage_share=0.0,
    occluder_share=1.0,
)
_LONG_CLIP_BLUR, _LONG_CLIP_NOISE = 0.0, 2.0


def make_clip(
    seed: int,
    frames: int = 60,
    height: int = 240,
    width: int = 432,
    objects: int = 3,
    *,
    min_object_area: float = 0.015,
) -> tuple[np.ndarray, np.ndarray]:
    """Make a longer, smooth synthetic video. The same arguments give the same video.

    min_object_area: share of the first frame that each object covers at least.
    Returns: frames RGB uint8 [T, H, W, 3] and labels uint8 [T, H, W] of objects 1..`objects`.
    Raises: ValueError if no scene with objects of that area is found.
    """
    scenes = SceneMaker(config=_LONG_CLIP_SCENES, height=height, width=width)
    rng = np.random.default_rng(seed)
    for _ in range(MAX_ATTEMPTS):
        scene = scenes.draw_scene(rng, objects)
        finish = replace(scene.finish, blur=_LONG_CLIP_BLUR, noise=_LONG_CLIP_NOISE)
        scene = replace(scene, finish=finish)
        first_labels = scene.render(0.0, height, width, rng)[1]
        areas = np.bincount(first_labels.ravel(), minlength=objects + 1)[1:]
        if (areas >= min_object_area * height * width).all():
            rendered = [scene.render(float(time), height, width, rng) for time in range(frames)]
            return tuple(np.stack(arrays) for arrays in zip(*rendered, strict=True))
    raise ValueError(
        f"{MAX_ATTEMPTS} scenes drawn, none with {counted(objects, 'object')} of "
        f"{min_object_area:.1%} of the frame each; ask for fewer or smaller ones"
    )
