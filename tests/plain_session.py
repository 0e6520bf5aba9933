"""A session by the textbook: the reference that SegmentationSession must agree with.

It takes one frame and one object at a time, dense weights, and keeps the whole history in lists.
Legend: K objects, L frames of a clip, N memory elements, M query positions, H W frame size, h w at
stride 16.
"""

import copy
import dataclasses
import itertools
import math
from collections.abc import Sequence
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from model import VOSNetwork
from model.intra_clip_refinement import relative_position_index
from util.images import normalise_images


def double_precision():
    """Inside this context, what the product computes in float32 is double.

    Differences from the reference are then of what is computed, not of rounding.
    """
    return mock.patch.object(torch.Tensor, "float", torch.Tensor.double)


@dataclasses.dataclass
class Write:
    """A frame in memory: key [N, C^k] and values {object id: [N, C^v]}."""

    frame: int
    key: Tensor
    values: dict[int, Tensor]
    temporary: bool


@dataclasses.dataclass
class PlainSession:
    """One video.

    `step` returns ids and probabilities [K + 1, H, W] of a frame, `step_clip` those of each of
    several frames that are predicted together.

    write_every_frames: math.inf writes annotated frames alone. hold_latest: hold each predicted
    frame until the next write. segment_frames: progressive matching within a clip. refine: use the
    network's intra-clip refinement. enhance: use its foreground reinforcing. threshold: write
    frames whose masks differ by more, not every so many frames. reduce_frames: redundancy reduction
    merges frames once so many are held besides those at which objects joined. kernel_sigma: of
    kernelized reading, in positions.
    """

    network: VOSNetwork
    write_every_frames: float = 5
    hold_latest: bool = False
    top_k: int = 20
    resolution: int = -1
    segment_frames: float = math.inf
    refine: bool = False
    enhance: bool = False
    threshold: float | None = None
    reduce_frames: float = math.inf
    kernel_sigma: float | None = None

    def __post_init__(self):
        self.network = copy.deepcopy(self.network).eval()
        self.ids: list[int] = []
        self.lost: set[int] = set()  # those of the ids that nothing in memory shows
        self.memory: list[Write] = []
        self.frame = -1
        self.last_kept = 0
        self.kept_masks: dict[int, np.ndarray] = {}
        self.previous: dict[int, Tensor] = {}

    def step(
        self, frame: np.ndarray, mask: np.ndarray | None = None
    ) -> tuple[tuple[int, ...], Tensor]:
        return self.step_clip([frame], mask)[0]

    @torch.no_grad()
    def step_clip(
        self, frames: Sequence[np.ndarray], mask: np.ndarray | None = None
    ) -> list[tuple[tuple[int, ...], Tensor]]:
        """Predict the frames of a clip. mask: given for the last of them."""
        size = frames[0].shape[:2]
        working = (
            size
            if self.resolution == -1
            else tuple(self.resolution * side // min(size) for side in size)
        )
        images = [
            normalise_images(torch.from_numpy(frame.copy()).permute(2, 0, 1)[None])
            for frame in frames
        ]
        if working != size:
            images = [
                F.interpolate(image, working, mode="bicubic", align_corners=False)
                for image in images
            ]
        padded = [pad(image) for image in images]
        features = [self.network.encode_key(image) for image, _ in padded]
        results = []
        for one, readouts, (image, crop) in zip(
            features, self.readouts(features), padded, strict=True
        ):
            self.frame += 1
            # [16h, 16w] an object
            small = [
                self.network.decode(readout[None, None], one)[0, 0].sigmoid()
                for readout in readouts
            ]
            small = [
                torch.zeros_like(plane) if i in self.lost else plane
                for i, plane in zip(self.ids, small, strict=True)
            ]
            large = []
            if self.ids:
                small = list(aggregate(small)[1:])
                large = [resize(plane[crop], size, "bilinear") for plane in small]
            last = len(results) == len(frames) - 1
            if last and mask is not None:
                joined = [int(i) for i in np.unique(mask) if i != 0]
                labels = torch.from_numpy(mask.astype(np.int64))
                small_labels = F.pad(
                    resize(labels.double(), working, "nearest").long(), padding_of(working)
                )
                small, large = (
                    self.join(small, small_labels, joined),
                    self.join(large, labels, joined),
                )
                self.ids += [i for i in joined if i not in self.ids]
                small, large = list(aggregate(small)[1:]), aggregate(large)
            else:
                large = torch.stack([1 - sum(large), *large]) if self.ids else torch.ones(1, *size)
            if last:
                self.memorise(image, one, small, annotated=mask is not None)
            self.previous = dict(zip(self.ids, small, strict=True))
            results.append((tuple(self.ids), large))
        return results

    def readouts(self, features: Sequence) -> list[list[Tensor]]:
        """The readouts [C^v, h, w] of the objects, for each frame of a clip."""
        lasting, clip = list(self.memory), []
        for number, one in enumerate(features):
            if self.ids and number and number % self.segment_frames == 0:
                values = {
                    i: readout.flatten(1).T for i, readout in zip(self.ids, clip[-1], strict=True)
                }
                self.memory.append(
                    Write(
                        self.frame + number, features[number - 1].key[0].flatten(1).T, values, True
                    )
                )
            query = self.enhanced(one.key) if self.enhance and self.previous else one.key
            clip.append([self.read(query, i)[0] for i in self.ids])
        self.memory = lasting
        if self.refine and self.ids:
            local_key = self.network.input_proj(torch.cat([one.feature_s16 for one in features]))
            refined = refine_by_pairs(
                self.network.refine_transformer,
                torch.stack([torch.stack(readouts) for readouts in clip]),
                local_key,
            )
            clip = [list(readouts) for readouts in refined]
        return clip

    def join(self, probabilities: list[Tensor], labels: Tensor, given: list[int]) -> list[Tensor]:
        present = {
            i: torch.where(labels == 0, probability, 0)
            for i, probability in zip(self.ids, probabilities, strict=True)
        }
        return list({**present, **{i: (labels == i).float() for i in given}}.values())

    def read(self, query: Tensor, object_id: int) -> Tensor:
        held = [write for write in self.memory if object_id in write.values]
        key, value = (
            torch.cat([write.key for write in held]),
            torch.cat([write.values[object_id] for write in held]),
        )
        queries = query[0].flatten(1).T
        scores = -(queries[:, None] - key[None]).square().sum(-1) / math.sqrt(key.shape[1])
        weights = (scores - scores.amax(1, keepdim=True)).exp()
        if self.kernel_sigma is not None:
            weights = weights * gaussians(scores, query.shape[-1], self.kernel_sigma)
        best = weights.topk(min(self.top_k, len(key)), dim=1)
        weights = torch.zeros_like(scores).scatter_(1, best.indices, best.values)
        weights = weights / weights.sum(1, keepdim=True)
        return (weights @ value).T.reshape(1, -1, *query.shape[-2:])

    def memorise(self, image: Tensor, features, masks: list[Tensor], *, annotated: bool) -> None:
        keep = annotated or (bool(self.ids) and self.is_due(masks))
        if not keep and not (self.hold_latest and self.ids):
            return
        if keep:
            self.last_kept, self.kept_masks = self.frame, binary_masks(self.ids, masks)
        self.memory = [write for write in self.memory if not write.temporary]
        exempt = first_frames(self.memory)
        if sum(write.frame not in exempt for write in self.memory) >= self.reduce_frames:
            self.memory = reduced(self.network.redundancy_reduction, self.memory, exempt)
        values = {}
        for number, object_id in enumerate(self.ids):
            others = sum(
                (mask for k, mask in enumerate(masks) if k != number), torch.zeros_like(masks[0])
            )
            value = self.network.encode_value(
                image, features.feature_s16, masks[number][None, None], others[None, None]
            )
            values[object_id] = value[0, 0].flatten(1).T
        self.memory.append(Write(self.frame, features.key[0].flatten(1).T, values, not keep))

    def is_due(self, masks: list[Tensor]) -> bool:
        if self.threshold is None:
            return self.frame - self.last_kept >= self.write_every_frames
        now = binary_masks(self.ids, masks)
        return (
            max(mask_difference(self.kept_masks.get(i), now[i]) for i in self.ids) > self.threshold
        )

    def enhanced(self, key: Tensor) -> Tensor:
        """Foreground reinforcing, position by position: key [1, C^k, h, w]."""
        module, (height, width) = self.network.foreground_reinforcing, key.shape[-2:]
        foreground = sum(self.previous.values()).reshape(height, 16, width, 16).mean((1, 3))
        attention = module.attend(module.local(torch.cat([key, foreground[None, None]], 1)))[
            0
        ].softmax(0)
        received, (rows, columns) = torch.zeros(height, width, dtype=key.dtype), module.window
        for y, x, place in np.ndindex(height, width, rows * columns):
            to_y, to_x = y + place // columns - rows // 2, x + place % columns - columns // 2
            if 0 <= to_y < height and 0 <= to_x < width:
                received[to_y, to_x] += attention[place, y, x] * foreground[y, x]
        return key * (1 + module.gain * received)

    def remove_object(self, object_id: int) -> None:
        self.ids.remove(object_id)
        for write in self.memory:
            write.values.pop(object_id, None)
        self.previous.pop(object_id, None)
        if not self.ids:
            self.memory = []


def gaussians(scores: Tensor, width: int, sigma: float) -> Tensor:
    """Kernelized reading, pair by pair: scores [M, N] → exp(-distance² / 2σ²) of each position from
    the one with the element's largest score."""
    result = torch.empty_like(scores)
    for position, element in np.ndindex(*scores.shape):
        best = int(scores[:, element].argmax())
        rows, columns = position // width - best // width, position % width - best % width
        result[position, element] = math.exp(-(rows**2 + columns**2) / (2 * sigma**2))
    return result


def binary_masks(ids: list[int], masks: list[Tensor]) -> dict[int, np.ndarray]:
    """The region of each object: where it is more probable than all others and the background."""
    planes = torch.stack([1 - sum(masks), *masks])
    return {i: (planes.argmax(0) == number + 1).numpy() for number, i in enumerate(ids)}


def mask_difference(before: np.ndarray | None, now: np.ndarray) -> float:
    """The difference of adaptive sampling.

    The larger of 1 - IoU with aligned centroids and the distance of the centroids over √area.
    """
    if before is None or not before.any() or not now.any():
        return float(now.any() or (before is not None and before.any()))
    points, points_before = np.argwhere(now), np.argwhere(before)
    shift = points.mean(0) - points_before.mean(0)
    moved = {tuple(point) for point in points_before + np.round(shift).astype(int)}
    shared = len(moved & {tuple(point) for point in points})
    return max(
        1 - shared / (len(points) + len(points_before) - shared),
        np.linalg.norm(shift) / math.sqrt(len(points_before)),
    )


def first_frames(memory: list[Write]) -> set[int]:
    """The frames at which the objects in memory joined."""
    return {
        next(write.frame for write in memory if i in write.values)
        for i in {i for write in memory for i in write.values}
    }


def reduced(module, memory: list[Write], exempt: set[int]) -> list[Write]:
    """Redundancy reduction: every few frames in a row between exempt ones become one."""
    pooled = torch.stack([write.key.mean(0) for write in memory if write.frame not in exempt], 1)
    gate = module.gate
    scores = (
        gate.conv2(gate.bn1(gate.conv1(pooled[None])).clamp(min=0))[0].mean(1).tanh().clamp(min=0)
    )
    chosen, result = 2 ** (int(scores.argmax()) + 1), []
    for is_exempt, run in itertools.groupby(memory, key=lambda write: write.frame in exempt):
        run = list(run)
        size = 1 if is_exempt else max(size for size in (1, 2, 4) if size <= min(chosen, len(run)))
        whole = len(run) // size * size
        for start in range(0, whole if size > 1 else 0, size):
            group = run[start : start + size]
            key = mixed(module.keys[size // 4].conv, [write.key for write in group])
            values = {
                i: mixed(module.values[size // 4].conv, [write.values[i] for write in group])
                for i in group[0].values
            }
            result.append(Write(group[-1].frame, key, values, False))
        result += run[whole:] if size > 1 else run
    return result


def mixed(convolution, frames: list[Tensor]) -> Tensor:
    """One frame [N, C] from several."""
    return (
        sum(frame @ convolution.weight[:, :, t].T for t, frame in enumerate(frames))
        + convolution.bias
    )


def attention_by_pairs(block, key, value, window, shifted):
    """One attention layer, by its formula over all pairs of padded tokens, in double.

    key [L, h, w, C], value [L, h, w, C] → [L, h, w, C].
    """
    size = value.shape[:3]
    sides = [min(length, side) for length, side in zip(size, window)]
    shift = [side // 2 if shifted and length > side else 0 for length, side in zip(size, sides)]
    padded = [-(-length // side) * side for length, side in zip(size, sides)]
    key, value = (
        F.pad(
            x,
            (
                0,
                0,
                *itertools.chain(
                    *((0, to - length) for to, length in zip(padded[::-1], size[::-1]))
                ),
            ),
        ).flatten(0, 2)
        for x in (key, value)
    )
    at = torch.cartesian_prod(*map(torch.arange, padded))
    moved = torch.stack([(at[:, axis] - shift[axis]) % padded[axis] for axis in range(3)], 1)
    place = sum(
        (moved[:, axis] % sides[axis]) * [sides[1] * sides[2], sides[2], 1][axis]
        for axis in range(3)
    )
    inside = (moved // torch.tensor(sides))[:, None] == (moved // torch.tensor(sides))[None]
    came_round = moved > at
    table = block.attn.relative_position_bias_table[relative_position_index(window)][..., 0]
    projected = block.attn.qk(key)
    scores = projected @ projected.T / key.shape[1] ** 0.5 + table[place[:, None], place[None]]
    scores = scores - 100.0 * (came_round[:, None] != came_round[None]).any(-1)
    weights = scores.masked_fill(~inside.all(-1), float("-inf")).softmax(1)
    return block.attn.proj(weights @ block.attn.v(value)).unflatten(0, padded)[
        : size[0], : size[1], : size[2]
    ]


def refine_by_pairs(module, readout, local_key):
    """Intra-clip refinement, one object at a time.

    readout [L, K, C, h, w], local_key [L, C, h, w] → [L, K, C, h, w].
    """
    key, objects = local_key.permute(0, 2, 3, 1), []
    for x in readout.permute(1, 0, 3, 4, 2):
        for number, block in enumerate(module.layers[0].blocks):
            x = x + attention_by_pairs(
                block, block.norm1(key), block.norm1_v(x), module.window, number % 2 == 1
            )
            x = x + block.mlp.fc2(F.gelu(block.mlp.fc1(block.norm2(x))))
        objects.append(module.norm(x))
    return torch.stack(objects).permute(1, 0, 4, 2, 3)


def padding_of(size: tuple[int, ...]) -> tuple[int, int, int, int]:
    """left, right, top, bottom to multiples of 16."""
    rows, columns = -size[0] % 16, -size[1] % 16
    return columns // 2, columns - columns // 2, rows // 2, rows - rows // 2


def pad(image: Tensor) -> tuple[Tensor, tuple[slice, slice]]:
    """The padded image, and the part of it that is the image."""
    height, width = image.shape[-2:]
    left, right, top, bottom = padding_of((height, width))
    return F.pad(image, (left, right, top, bottom)), (
        slice(top, top + height),
        slice(left, left + width),
    )


def resize(plane: Tensor, size: tuple[int, ...], mode: str) -> Tensor:
    """[H, W] → [H', W'], unchanged if the size is the same."""
    if tuple(plane.shape) == tuple(size):
        return plane
    return F.interpolate(
        plane[None, None],
        size,
        mode=mode,
        **({} if mode == "nearest" else {"align_corners": False}),
    )[0, 0]


def aggregate(probabilities: list[Tensor]) -> Tensor:
    """Soft aggregation in odds: K planes [H, W] → [K + 1, H, W], background first."""
    background = torch.ones_like(probabilities[0])
    for probability in probabilities:
        background = background * (1 - probability)
    planes = torch.stack([background, *probabilities]).clamp(1e-7, 1 - 1e-7)
    odds = planes / (1 - planes)
    return odds / odds.sum(0)
