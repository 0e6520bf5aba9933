"""Synthetic material: random but repeatable weights, and videos of any length. Speed and memory do
not depend on what is seen, so neither data nor trained weights are needed.

Legend: K objects, H W frame size.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import torch
from PIL import Image
from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from dataset.label_map import indexed_image
from dataset.training.synthetic import make_clip
from dataset.training.textures import draw_colour_ramp, draw_texture
from model import VOSNetwork, build_network
from util.errors import InputError

Module = TypeVar("Module", bound=nn.Module)

_PIXELS_PER_FRAME = 3  # the speed of the background, and of the objects on their orbits


def synthetic_network(preset: str, seed: int = 0) -> VOSNetwork:
    """A network of a preset with random weights, see `randomize`.

    Raises: InputError for an unknown preset.
    """
    return randomize(build_network(preset), seed)


def randomize(network: Module, seed: int = 0) -> Module:
    """Give a network random weights that depend on the seed alone, in evaluation mode, without
    gradients.

    The weights are scaled so that features keep their size through the layers, and batch norms
    change what they are given: wrong computations then give different results. Returns the network.
    """
    network.eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            fan_in = module.weight[0].numel()
            module.weight.normal_(0, math.sqrt(1.4 / fan_in), generator=generator)
            if module.bias is not None:
                module.bias.normal_(0, 0.02, generator=generator)
        elif isinstance(module, nn.BatchNorm2d):
            module.weight.uniform_(0.8, 1.2, generator=generator)
            module.bias.normal_(0, 0.02, generator=generator)
            module.running_mean.normal_(0, 0.05, generator=generator)
            module.running_var.uniform_(0.8, 1.2, generator=generator)
    # Each residual block adds a little, so that the sum over many blocks stays bounded.
    for module in network.modules():
        if isinstance(module, BasicBlock | Bottleneck):
            (module.bn3 if isinstance(module, Bottleneck) else module.bn2).weight.mul_(0.3)
    return network


class MovingScene:
    """Textured ellipses that circle over a drifting textured background.

    Frames are computed one by one and depend on the arguments alone. Every object is visible in
    every frame.
    Raises: InputError for more than 254 objects, or if the frame is too small to show all of them.
    """

    def __init__(self, height: int, width: int, objects: int, seed: int = 0):
        rng = np.random.default_rng(seed)
        self.height, self.width, self.objects = height, width, objects
        self._columns = math.ceil(math.sqrt(objects))
        self._rows = math.ceil(objects / self._columns)
        if objects > 254 or min(height // self._rows, width // self._columns) < 8:
            raise InputError(
                f"{objects} objects do not fit a frame of {width}×{height} pixels; "
                "use fewer (at most 254) or a larger frame"
            )
        background = draw_texture(rng, height, width, draw_colour_ramp(rng))
        # Mirrored, so that it repeats without a seam.
        self._background = np.concatenate([background, background[:, ::-1]], axis=1)
        self._textures = [
            draw_texture(rng, height, width, draw_colour_ramp(rng)) for _ in range(objects)
        ]

    def labels(self, index: int) -> np.ndarray:
        """The label map of frame `index`, uint8 [H, W]: ids 1..K, 0 background."""
        labels = np.zeros((self.height, self.width), np.uint8)
        cell_height, cell_width = self.height / self._rows, self.width / self._columns
        for number in range(self.objects):
            row, column = divmod(number, self._columns)
            angle = index * _PIXELS_PER_FRAME / max(cell_height, cell_width) * 4 + number
            centre = (
                round(cell_width * (column + 0.5 + 0.12 * math.cos(angle))),
                round(cell_height * (row + 0.5 + 0.12 * math.sin(angle))),
            )
            axes = (max(round(cell_width * 0.3), 1), max(round(cell_height * 0.3), 1))
            cv2.ellipse(
                labels,
                centre,
                axes,
                angle=10 * math.sin(angle),
                startAngle=0,
                endAngle=360,
                color=number + 1,
                thickness=cv2.FILLED,
            )
        return labels

    def frame(self, index: int) -> np.ndarray:
        """Frame `index`, uint8 RGB [H, W, 3]."""
        columns = (np.arange(self.width) + index * _PIXELS_PER_FRAME) % self._background.shape[1]
        image, labels = self._background[:, columns], self.labels(index)
        for number, texture in enumerate(self._textures):
            inside = labels == number + 1
            image[inside] = texture[inside]
        return image

    def frames(self, count: int) -> Iterator[np.ndarray]:
        """The first `count` frames, computed one by one."""
        return (self.frame(index) for index in range(count))


def write_synthetic_videos(root: Path, videos: int, frames: int, height: int, width: int) -> Path:
    """Write videos of two objects in DAVIS's layout, each frame with a mask. Returns: `root`."""
    for number in range(videos):
        for index, (image, labels) in enumerate(
            zip(*make_clip(number, frames, height, width, objects=2), strict=True)
        ):
            _write_pair(
                root / "JPEGImages" / f"{number:03d}" / f"{index:05d}.jpg",
                root / "Annotations" / f"{number:03d}" / f"{index:05d}.png",
                image,
                labels,
            )
    return root


def write_synthetic_stills(root: Path, stills: int, height: int, width: int) -> Path:
    """Write photographs of one object, NAME.jpg beside NAME.png. Returns: `root`."""
    for number in range(stills):
        images, labels = make_clip(number, 1, height, width, objects=1)
        _write_pair(root / f"{number:03d}.jpg", root / f"{number:03d}.png", images[0], labels[0])
    return root


def _write_pair(image_path: Path, mask_path: Path, image: np.ndarray, labels: np.ndarray) -> None:
    for path in (image_path, mask_path):
        path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(image_path, quality=95)
    indexed_image(labels).save(mask_path)
