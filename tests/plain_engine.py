"""The textbook engine: one frame and one object at a time, dense weights, whole history in lists. What the engine must agree with.

Legend: K objects, N memory elements, M query positions, H W frame size, h w at stride 16.
"""

import copy
import dataclasses
import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from model import VOSNetwork
from util.images import normalise_images


@dataclasses.dataclass
class Write:
    """A frame in memory: key [N, C^k] and values {object id: [N, C^v]}."""

    frame: int
    key: Tensor
    values: dict[int, Tensor]
    temporary: bool


@dataclasses.dataclass
class PlainEngine:
    """One video; `step` gives ids and probabilities [K + 1, H, W] of the frame it is given. Any predicted frame is held for now if `hold_latest`."""

    network: VOSNetwork
    write_every_frames: float = 5  # math.inf: annotated frames alone
    hold_latest: bool = False
    top_k: int = 20
    resolution: int = -1

    def __post_init__(self):
        self.network = copy.deepcopy(self.network).eval()
        self.ids: list[int] = []
        self.memory: list[Write] = []
        self.frame = -1
        self.last_kept = 0

    @torch.no_grad()
    def step(self, frame: np.ndarray, mask: np.ndarray | None = None) -> tuple[tuple[int, ...], Tensor]:
        self.frame += 1
        size = frame.shape[:2]
        working = size if self.resolution == -1 else tuple(self.resolution * side // min(size) for side in size)
        image = normalise_images(torch.from_numpy(frame.copy()).permute(2, 0, 1)[None])
        if working != size:
            image = F.interpolate(image, working, mode="bicubic", align_corners=False)
        image, crop = pad(image)
        features = self.network.encode_key(image)

        small = [self.network.decode(self.read(features.key, i)[:, None], features)[0, 0].sigmoid() for i in self.ids]  # [16h, 16w] an object
        large = []
        if self.ids:
            small = list(aggregate(small)[1:])
            large = [resize(one[crop], size, "bilinear") for one in small]
        if mask is not None:
            joined = [int(i) for i in np.unique(mask) if i != 0]
            labels = torch.from_numpy(mask.astype(np.int64))
            small_labels = F.pad(resize(labels.double(), working, "nearest").long(), padding_of(working))
            small, large = self.join(small, small_labels, joined), self.join(large, labels, joined)
            self.ids += [i for i in joined if i not in self.ids]
            small, large = list(aggregate(small)[1:]), aggregate(large)
        else:
            large = torch.stack([1 - sum(large), *large]) if self.ids else torch.ones(1, *size)
        self.memorise(image, features, small, annotated=mask is not None)
        return tuple(self.ids), large

    def join(self, probabilities: list[Tensor], labels: Tensor, given: list[int]) -> list[Tensor]:
        present = {i: torch.where(labels == 0, probability, 0) for i, probability in zip(self.ids, probabilities, strict=True)}
        return list({**present, **{i: (labels == i).float() for i in given}}.values())

    def read(self, query: Tensor, object_id: int) -> Tensor:
        held = [write for write in self.memory if object_id in write.values]
        key, value = torch.cat([write.key for write in held]), torch.cat([write.values[object_id] for write in held])
        queries = query[0].flatten(1).T
        scores = -(queries[:, None] - key[None]).square().sum(-1) / math.sqrt(key.shape[1])
        best = scores.topk(min(self.top_k, len(key)), dim=1)
        weights = torch.zeros_like(scores).scatter_(1, best.indices, best.values.softmax(1))
        return (weights @ value).T.reshape(1, -1, *query.shape[-2:])

    def memorise(self, image: Tensor, features, masks: list[Tensor], *, annotated: bool) -> None:
        keep = annotated or (bool(self.ids) and self.frame - self.last_kept >= self.write_every_frames)
        if not keep and not (self.hold_latest and self.ids):
            return
        self.last_kept = self.frame if keep else self.last_kept
        self.memory = [write for write in self.memory if not write.temporary]
        values = {}
        for number, object_id in enumerate(self.ids):
            others = sum((mask for k, mask in enumerate(masks) if k != number), torch.zeros_like(masks[0]))
            value = self.network.encode_value(image, features.feature_s16, masks[number][None, None], others[None, None])
            values[object_id] = value[0, 0].flatten(1).T
        self.memory.append(Write(self.frame, features.key[0].flatten(1).T, values, not keep))

    def remove_object(self, object_id: int) -> None:
        self.ids.remove(object_id)
        for write in self.memory:
            write.values.pop(object_id, None)
        if not self.ids:
            self.memory = []


def padding_of(size: tuple[int, ...]) -> tuple[int, int, int, int]:
    """left, right, top, bottom to multiples of 16."""
    rows, columns = -size[0] % 16, -size[1] % 16
    return columns // 2, columns - columns // 2, rows // 2, rows - rows // 2


def pad(image: Tensor) -> tuple[Tensor, tuple[slice, slice]]:
    """The padded image and where in it the image lies."""
    height, width = image.shape[-2:]
    left, right, top, bottom = padding_of((height, width))
    return F.pad(image, (left, right, top, bottom)), (slice(top, top + height), slice(left, left + width))


def resize(plane: Tensor, size: tuple[int, ...], mode: str) -> Tensor:
    """[H, W] → [H', W']; the same plane where the size is the same."""
    if tuple(plane.shape) == tuple(size):
        return plane
    return F.interpolate(plane[None, None], size, mode=mode, **({} if mode == "nearest" else {"align_corners": False}))[0, 0]


def aggregate(probabilities: list[Tensor]) -> Tensor:
    """Soft aggregation in odds: K planes [H, W] → [K + 1, H, W], background first."""
    background = torch.ones_like(probabilities[0])
    for probability in probabilities:
        background = background * (1 - probability)
    planes = torch.stack([background, *probabilities]).clamp(1e-7, 1 - 1e-7)
    odds = planes / (1 - planes)
    return odds / odds.sum(0)
