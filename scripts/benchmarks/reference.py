"""The reference side: the same weights and results, computed the way the published STCN code computes them.

Batch norms stay separate, images NCHW; every convolution after a concatenation runs on the whole concatenation for each object; the affinity is a dense
N × M matrix filled by scatter, read by one matrix product an object; the memory grows by concatenation; images and probabilities of the whole video are
held. Written from the description of what is computed (STCN, sections 3 and 4), for comparison alone: the product is inference.VideoSegmenter.

Legend: K objects, T frames, C channels, N memory elements, M query positions, H W frame size, h w at stride 16.
"""

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model import FrameFeatures, VOSNetwork
from model.network import STRIDE
from model.soft_aggregation import aggregate
from util.device import cuda_arithmetic
from util.images import Padding, normalise_images

_START_PROBABILITY = 1e-7


class ReferenceNetwork:
    """Runs a network's modules as they are, on full concatenations, one frame at a time, where the network lies.

    amp: in mixed precision of 16 bits, fp16 on CUDA and bf16 elsewhere.
    """

    def __init__(self, network: VOSNetwork, *, amp: bool = False):
        self._network = network.eval()
        self.device = next(network.parameters()).device
        self._amp = amp

    @contextlib.contextmanager
    def arithmetic(self) -> Iterator[None]:
        """As exactly as the engine computes by default."""
        dtype = torch.float16 if self.device.type == "cuda" else torch.bfloat16
        with (
            cuda_arithmetic(self.device, tf32=False, amp=self._amp),
            torch.autocast(self.device.type, dtype, enabled=self._amp),
            torch.no_grad(),
        ):
            yield

    def encode_key(self, image: Tensor) -> FrameFeatures:
        """Normalised image [1, 3, H, W] → its features."""
        return self._network.encode_key(image)

    def encode_value(self, image: Tensor, feature_s16: Tensor, masks: Tensor) -> Tensor:
        """image [1, 3, H, W], feature_s16 [1, C, h, w], masks [K, 1, H, W] in 0..1 → values [K, C^v, h, w]: image and feature repeated for each object."""
        objects = len(masks)
        if objects == 1:
            others = torch.zeros_like(masks)
        else:
            others = torch.cat(
                [
                    masks[[j for j in range(objects) if j != i]].sum(0, keepdim=True)
                    for i in range(objects)
                ]
            )
        return concatenated_value(
            self._network,
            image.repeat(objects, 1, 1, 1),
            feature_s16.repeat(objects, 1, 1, 1),
            masks,
            others,
        )

    def decode(self, readout: Tensor, features: FrameFeatures) -> Tensor:
        """readout [K, C^v, h, w] and one frame's features → probabilities [K, 1, H, W]."""
        return concatenated_logits(self._network, readout, features).sigmoid()


def concatenated_value(
    network: VOSNetwork, images: Tensor, feature_s16: Tensor, masks: Tensor, others: Tensor
) -> Tensor:
    """images [B, 3, H, W], feature_s16 [B, C, h, w], masks and others [B, 1, H, W] → values [B, C^v, h, w] of one object an image."""
    encoder = network.value_encoder
    x = encoder.stages(encoder.conv1(torch.cat([encoder.prepare(images), masks, others], dim=1)))[
        -1
    ]
    x = encoder.fuser.block1(torch.cat([x, feature_s16], dim=1))
    return encoder.fuser.block2(x + encoder.fuser.attention(x))


def concatenated_logits(network: VOSNetwork, readout: Tensor, features: FrameFeatures) -> Tensor:
    """readout [B, C^v, h, w] of one object an image, and the images' features (or one image's, for all) → logits [B, 1, H, W]."""
    decoder = network.decoder
    x = decoder.compress(
        torch.cat([readout, features.appearance.expand(len(readout), -1, -1, -1)], dim=1)
    )
    x = _up(decoder.up_16_8, features.feature_s8, x)
    x = _up(decoder.up_8_4, features.feature_s4, x)
    return F.interpolate(
        decoder.pred(F.relu(x)), scale_factor=4, mode="bilinear", align_corners=False
    )


def _up(block: nn.Module, skip: Tensor, x: Tensor) -> Tensor:
    return block.out_conv(
        F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        + block.skip_conv(skip)
    )


class ReferenceMemory:
    """Keys [1, C^k, N] and values [K, C^v, N], grown by concatenation; the query positions lie last, so top-k runs along a strided axis."""

    def __init__(self, top_k: int = 20):
        self.top_k = top_k
        self.keys: Tensor | None = None
        self.values: Tensor | None = None

    def write(self, key: Tensor, values: Tensor) -> None:
        """Append a frame: key [1, C^k, h, w], values [K, C^v, h, w]."""
        key, values = key.flatten(2), values.flatten(2)
        self.keys = key if self.keys is None else torch.cat([self.keys, key], dim=2)
        self.values = values if self.values is None else torch.cat([self.values, values], dim=2)

    def read(self, query_key: Tensor) -> Tensor:
        """Readout [K, C^v, h, w] for query_key [1, C^k, h, w]: one dense affinity for all objects, one product an object."""
        affinity = self._affinity(query_key.flatten(2))
        readout = torch.cat([torch.bmm(values, affinity) for values in self.values.split(1)])
        return readout.unflatten(2, query_key.shape[-2:])

    def _affinity(self, query_key: Tensor) -> Tensor:
        """query_key [1, C^k, M] → weights [1, N, M], zero but for the top k of each query position."""
        norm = self.keys.square().sum(1).unsqueeze(2)
        product = 2 * (self.keys.transpose(1, 2) @ query_key)
        affinity = (product - norm) / math.sqrt(self.keys.shape[1])
        values, indices = torch.topk(affinity, min(self.top_k, affinity.shape[1]), dim=1)
        return affinity.zero_().scatter_(1, indices, values.softmax(1))


class ReferenceVideo:
    """One whole video, held in memory: images [1, T, 3, H', W'] normalised and padded, probabilities [K + 1, T, 1, H', W'] of all frames.

    frames: uint8 RGB [H, W, 3], `frame_count` of them. labels: ids 1..K in the first frame. Objects all start there.
    """

    def __init__(
        self,
        network: ReferenceNetwork,
        frames: Iterable[np.ndarray],
        frame_count: int,
        labels: np.ndarray,
        *,
        top_k: int = 20,
        mem_every: int = 5,
    ):
        self.network, self.memory = network, ReferenceMemory(top_k)
        self.mem_every, self.frame_count = mem_every, frame_count
        self.objects = int(labels.max())
        self.padding = Padding.to_multiple(*labels.shape, STRIDE)
        height, width = self.padding.pad(torch.empty(1, *labels.shape)).shape[-2:]
        self.device = network.device
        self.images = torch.zeros(1, frame_count, 3, height, width, device=self.device)
        for index, frame in enumerate(frames):
            image = torch.from_numpy(frame).to(self.device).permute(2, 0, 1)
            self.images[0, index] = self.padding.pad(normalise_images(image))
        size = (self.objects + 1, frame_count, 1, height, width)
        self.probabilities = torch.full(size, _START_PROBABILITY, device=self.device)
        masks = torch.stack(
            [torch.from_numpy(labels == number + 1) for number in range(self.objects)]
        )
        first = self.padding.pad(masks[:, None].float()).to(self.device)
        self.probabilities[:, 0] = aggregate(first, object_dim=0).softmax(0)
        self.memorised: list[int] = []

    def run(self, after_frame: Callable[[], None] = lambda: None) -> np.ndarray:
        """Segment frame after frame; `after_frame` is called after each, the first included. Returns labels uint8 [T, H, W]."""
        with self.network.arithmetic():
            return self._run(after_frame)

    def _run(self, after_frame: Callable[[], None]) -> np.ndarray:
        self._memorise(0, self.network.encode_key(self.images[:, 0]))
        after_frame()
        for index in range(1, self.frame_count):
            features = self.network.encode_key(self.images[:, index])
            probabilities = self.network.decode(
                self.memory.read(features.key.float()), features
            ).float()
            self.probabilities[:, index] = aggregate(probabilities, object_dim=0).softmax(0)
            if index - self.memorised[-1] >= self.mem_every and index != self.frame_count - 1:
                self._memorise(index, features)
            after_frame()
        return self._labels()

    def _memorise(self, index: int, features: FrameFeatures) -> None:
        values = self.network.encode_value(
            self.images[:, index], features.feature_s16, self.probabilities[1:, index]
        )
        self.memory.write(features.key.float(), values.float())
        self.memorised.append(index)

    def _labels(self) -> np.ndarray:
        return np.stack(
            [
                self.padding.crop(self.probabilities[:, index, 0])
                .argmax(0)
                .to(torch.uint8)
                .cpu()
                .numpy()
                for index in range(self.frame_count)
            ]
        )
