"""The reference side of training: a plain loop, computed and fed as the published STCN training is.

Frames are opened and decoded anew for every sample, augmented one by one by torchvision's transforms of PIL images (the mask through the same geometry
by the same seed), and sent to the device as normalised float32. Every object goes through value encoder and decoder by itself, on whole concatenations;
the loss is summed sample by sample; images and weights are NCHW, Adam as torch builds it by default. Written from the description of what is computed
(STCN, section 4), for comparison alone: the product is dataset.training and model.training.trainer. Which frames and objects are drawn is the product's own.

Legend: B batch, K objects, T frames, C channels, N memory elements, S side of the crop in pixels.
"""

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.transforms import InterpolationMode

from dataset.image_file import load_image
from dataset.training.augmentation import (
    ClipAugmentation,
    ColourJitter,
    StillAugmentation,
)
from dataset.training.frame_choice import draw_frame_indices, max_skip_at
from dataset.training.geometry import MEAN_COLOUR, displace, draw_spline_displacement
from dataset.training.masks import read_mask
from dataset.training.samples import draw_objects, draw_until_usable
from dataset.training.video_layouts import AnnotatedVideo
from model import FrameFeatures, VOSNetwork
from model.matching import COSINE_TEMPERATURE
from model.network import freeze_batch_norms
from model.soft_aggregation import aggregate
from model.training.stages import TrainingConfig
from scripts.benchmarks.reference import concatenated_logits, concatenated_value
from util.device import AMP_DTYPES
from util.images import IMAGE_MEAN, IMAGE_STD

Transform = Callable[[Image.Image], Image.Image]
Draw = Callable[[np.random.Generator, float], "Drawn"]


@dataclass(frozen=True)
class Drawn:
    """What a sample is made of: T image and mask paths."""

    images: Sequence[Path]
    masks: Sequence[Path]


@dataclass(frozen=True, kw_only=True)
class PlainAugmentation:
    """Transforms of PIL images: `clip_` ones draw the same for all frames of a sample, `frame_` ones anew for each; geometry as (of the image, of the mask)."""

    clip_geometry: tuple[Transform, Transform]
    clip_colour: Transform
    frame_geometry: tuple[Transform, Transform]
    frame_colour: Transform
    bending: StillAugmentation | None = None

    @staticmethod
    def of_clips(values: ClipAugmentation) -> "PlainAugmentation":
        """Stages 1 to 3."""

        def crop(interpolation: InterpolationMode, _: object) -> Transform:
            resized = transforms.RandomResizedCrop(
                values.crop_size,
                scale=values.crop_area,
                ratio=values.crop_aspect,
                interpolation=interpolation,
            )
            return transforms.Compose(
                [transforms.RandomHorizontalFlip(values.flip_probability), resized]
            )

        def turn(interpolation: InterpolationMode, fill: object) -> Transform:
            return transforms.RandomAffine(
                values.frame_rotation_degrees,
                shear=values.frame_shear_degrees,
                interpolation=interpolation,
                fill=fill,
            )

        return PlainAugmentation(
            clip_geometry=_for_image_and_mask(crop),
            clip_colour=_colour(values.clip_colour, values.grey_probability),
            frame_geometry=_for_image_and_mask(turn),
            frame_colour=_colour(values.frame_colour),
        )

    @staticmethod
    def of_stills(values: StillAugmentation) -> "PlainAugmentation":
        """Stage 0."""

        def zoom(interpolation: InterpolationMode, fill: object) -> Transform:
            affine = transforms.RandomAffine(
                0, scale=values.clip_scale, interpolation=interpolation, fill=fill
            )
            return transforms.Compose(
                [affine, transforms.RandomHorizontalFlip(values.flip_probability)]
            )

        def turn(interpolation: InterpolationMode, fill: object) -> Transform:
            degrees, shear = values.frame_rotation_degrees, values.frame_shear_degrees
            affine = transforms.RandomAffine(
                degrees,
                scale=values.frame_scale,
                shear=shear,
                interpolation=interpolation,
                fill=fill,
            )
            crop = transforms.RandomCrop(values.crop_size, pad_if_needed=True, fill=fill)
            return transforms.Compose(
                [affine, transforms.Resize(values.crop_size, interpolation=interpolation), crop]
            )

        return PlainAugmentation(
            clip_geometry=_for_image_and_mask(zoom),
            clip_colour=_colour(values.clip_colour, values.grey_probability),
            frame_geometry=_for_image_and_mask(turn),
            frame_colour=_colour(values.frame_colour),
            bending=values,
        )


def _for_image_and_mask(
    build: Callable[[InterpolationMode, object], Transform],
) -> tuple[Transform, Transform]:
    return build(InterpolationMode.BICUBIC, MEAN_COLOUR), build(InterpolationMode.NEAREST, 0)


def _colour(jitter: ColourJitter, grey_probability: float = 0.0) -> Transform:
    change = transforms.ColorJitter(
        jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue
    )
    return (
        transforms.Compose([change, transforms.RandomGrayscale(grey_probability)])
        if grey_probability
        else change
    )


def draw_clip(
    videos: Sequence[AnnotatedVideo], frames: int, rng: np.random.Generator, progress: float
) -> Drawn:
    """`frames` annotated frames of one of the videos, which have as many."""
    video = videos[rng.integers(len(videos))]
    pairs = [
        video.pair(index)
        for index in draw_frame_indices(
            rng, len(video), frames, max_skip_at(progress), annotation_step=video.annotation_step
        )
    ]
    return Drawn(*zip(*pairs, strict=True))


def draw_still(
    pairs: Sequence[tuple[Path, Path]], frames: int, rng: np.random.Generator, progress: float
) -> Drawn:
    """The same photograph `frames` times."""
    image, mask = pairs[rng.integers(len(pairs))]
    return Drawn([image] * frames, [mask] * frames)


class PlainData(Dataset):
    """`samples` samples: `frames` float32 [T, 3, S, S] normalised, `labels` uint8 [T, S, S], `num_objects`."""

    def __init__(
        self, draw: Draw, augmentation: PlainAugmentation, samples: int, max_objects: int, seed: int
    ):
        self.draw, self.augmentation, self.samples, self.max_objects, self.seed = (
            draw,
            augmentation,
            samples,
            max_objects,
            seed,
        )
        self.to_tensor = transforms.Compose(
            [transforms.ToTensor(), transforms.Normalize(IMAGE_MEAN, IMAGE_STD)]
        )

    def __len__(self) -> int:
        return self.samples

    def __getitem__(self, index: int) -> Mapping[str, Tensor]:
        rng = np.random.default_rng((self.seed, index))
        return draw_until_usable(
            lambda: self._attempt(rng, index / self.samples),
            "samples drawn, none with an object in its first crop; check the masks",
        )

    def _attempt(self, rng: np.random.Generator, progress: float) -> Mapping[str, Tensor] | None:
        drawn = self.draw(rng, progress)
        clip_seed = int(rng.integers(2**31))
        frames, labels = [], []
        for image_path, mask_path in zip(drawn.images, drawn.masks, strict=True):
            frame, mask = self._frame(
                image_path, mask_path, clip_seed, int(rng.integers(2**31)), rng
            )
            frames.append(self.to_tensor(frame))
            labels.append(np.asarray(mask))
        objects = draw_objects(rng, labels[0], self.max_objects)
        if not objects:
            return None
        numbered = sum(
            (np.stack(labels) == object_id).astype(np.uint8) * number
            for number, object_id in enumerate(objects, start=1)
        )
        return {
            "frames": torch.stack(frames),
            "labels": torch.from_numpy(numbered),
            "num_objects": torch.tensor(len(objects)),
        }

    def _frame(
        self,
        image_path: Path,
        mask_path: Path,
        clip_seed: int,
        frame_seed: int,
        rng: np.random.Generator,
    ) -> tuple[Image.Image, Image.Image]:
        steps = self.augmentation
        image, mask = load_image(image_path).convert("RGB"), Image.fromarray(read_mask(mask_path))
        for seed, (of_image, of_mask), colour in (
            (clip_seed, steps.clip_geometry, steps.clip_colour),
            (frame_seed, steps.frame_geometry, steps.frame_colour),
        ):
            torch.manual_seed(seed)
            image = colour(of_image(image))
            torch.manual_seed(seed)
            mask = of_mask(mask)
        bending = steps.bending
        if bending and rng.random() < bending.bend_probability:
            displacement = draw_spline_displacement(
                rng, bending.crop_size, bending.bend_points, bending.bend_deviation
            )
            image, mask = (
                Image.fromarray(pixels)
                for pixels in displace(np.asarray(image), np.asarray(mask), displacement)
            )
        return image, mask


class PlainRollout(nn.Module):
    """What model.rollout.Rollout computes, object by object."""

    def __init__(self, network: VOSNetwork, config: TrainingConfig):
        super().__init__()
        self.network, self.bootstrap = network, config.bootstrap

    def forward(
        self, frames: Tensor, labels: Tensor, num_objects: Tensor, iteration: int = 0
    ) -> Tensor:
        """frames float32 [B, T, 3, S, S], labels [B, T, S, S], num_objects [B] → the loss."""
        length = frames.shape[1]
        present = (
            torch.arange(1, int(num_objects.max()) + 1, device=frames.device)
            <= num_objects[:, None]
        )  # [B, K]
        features = self.network.encode_key(frames.flatten(0, 1))
        by_frame = [features[t::length] for t in range(length)]
        masks = torch.stack(
            [labels[:, 0] == number + 1 for number in range(present.shape[1])], dim=1
        ).float()
        keys, values, loss = [], [], frames.new_zeros(())
        for t in range(1, length):
            keys.append(by_frame[t - 1].key.flatten(2))
            values.append(self._values(frames[:, t - 1], by_frame[t - 1].feature_s16, masks))
            affinity = self._affinity(torch.cat(keys, dim=2), by_frame[t].key.flatten(2))
            logits = self._logits(torch.cat(values, dim=3), affinity, by_frame[t], present)
            loss = loss + self._loss(logits, labels[:, t], num_objects, iteration)
            masks = logits.softmax(1)[:, 1:]
        return loss

    def _values(self, images: Tensor, feature_s16: Tensor, masks: Tensor) -> Tensor:
        """→ [B, K, C^v, h w], an object at a time."""
        objects = masks.split(1, dim=1)
        others = [
            sum((other for other in objects if other is not mask), start=torch.zeros_like(mask))
            for mask in objects
        ]
        encoded = [
            concatenated_value(self.network, images, feature_s16, *pair)
            for pair in zip(objects, others, strict=True)
        ]
        return torch.stack(encoded, dim=1).flatten(3)

    def _affinity(self, memory_key: Tensor, query_key: Tensor) -> Tensor:
        """[B, C^k, N] and [B, C^k, M] → weights [B, N, M]."""
        kind = self.network.config.similarity
        if kind == "cosine":
            product = F.normalize(memory_key, dim=1).transpose(1, 2) @ F.normalize(query_key, dim=1)
            return (product / COSINE_TEMPERATURE).softmax(1)
        product = memory_key.transpose(1, 2) @ query_key
        scores = 2 * product - memory_key.pow(2).sum(1).unsqueeze(2) if kind == "l2" else product
        return (scores / math.sqrt(memory_key.shape[1])).softmax(1)

    def _logits(
        self, values: Tensor, affinity: Tensor, features: FrameFeatures, present: Tensor
    ) -> Tensor:
        """Aggregated logits [B, K + 1, S, S], an object at a time until there."""
        logits = []
        for value in values.unbind(1):
            readout = torch.bmm(value, affinity.to(value.dtype)).unflatten(
                2, features.key.shape[-2:]
            )
            logits.append(concatenated_logits(self.network, readout, features))
        probabilities = torch.cat(logits, dim=1).float().sigmoid() * present[:, :, None, None]
        absent = F.pad(~present, (1, 0))[:, :, None, None]
        return aggregate(probabilities).masked_fill(absent, float("-inf"))

    def _loss(self, logits: Tensor, labels: Tensor, num_objects: Tensor, iteration: int) -> Tensor:
        """Bootstrapped cross entropy, a sample at a time."""
        fraction, total = self.bootstrap.fraction_at(iteration), logits.new_zeros(())
        for sample, objects in enumerate(num_objects.tolist()):
            loss = F.cross_entropy(
                logits[sample : sample + 1, : objects + 1],
                labels[sample : sample + 1].long(),
                reduction="none",
            ).flatten()
            total = (
                total
                + (
                    loss if fraction >= 1 else loss.topk(round(loss.numel() * fraction)).values
                ).mean()
            )
        return total / len(labels)


class PlainTrainer:
    """Network, optimiser and scaler. Source: STCN, section 4."""

    def __init__(self, network: VOSNetwork, config: TrainingConfig, device: torch.device):
        self.config, self.device, self.network = config, device, network.to(device)
        self.rollout = PlainRollout(self.network, config).train()
        if not config.learn_batch_norms:
            freeze_batch_norms(self.rollout)
        kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.optimizer]
        self.optimizer = kind(
            self.network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.scaler = torch.amp.GradScaler(device.type, enabled=config.amp == "fp16")
        self.iteration = 0

    def step(self, batch: Mapping[str, Tensor]) -> Tensor:
        """One iteration. Returns its loss."""
        frames, labels, num_objects = (
            batch[name].to(self.device, non_blocking=True)
            for name in ("frames", "labels", "num_objects")
        )
        dtype = AMP_DTYPES.get(self.config.amp)
        with torch.autocast(self.device.type, dtype) if dtype else contextlib.nullcontext():
            loss = self.rollout(frames, labels, num_objects, self.iteration)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.iteration += 1
        return loss.detach()


def plain_batches(
    data: PlainData, batch_size: int, workers: int, *, pin_memory: bool = False
) -> DataLoader[Mapping[str, Tensor]]:
    """Batches as torch's loader makes them by default."""
    return DataLoader(data, batch_size, num_workers=workers, pin_memory=pin_memory, drop_last=True)
