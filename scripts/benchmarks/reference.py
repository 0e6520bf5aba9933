"""The reference: the engine's weights and results, computed the way the published STCN code does.

Batch norms stay separate, and images NCHW. Every convolution after a concatenation runs on the
whole concatenation for each object. The affinity is a dense N × M matrix filled by scatter, and
each object's readout is one matrix product. The memory grows by concatenation. Images and
probabilities of the whole video are held. Written from the description of the computation (STCN,
sections 3 and 4) for comparison only; users want inference.VideoSegmenter.

Legend: K objects, T frames, C channels, N memory elements, M query positions, H W frame size,
h w at stride 16.
"""

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.profiler import record_function

from model import FrameFeatures, VOSNetwork
from model.network import STRIDE
from model.soft_aggregation import aggregate
from util.device import cuda_arithmetic
from util.images import Padding, normalise_images

MEM_EVERY = 5
_START_PROBABILITY = 1e-7


class ReferenceNetwork:
    """Runs the modules of a network on full concatenations, one frame at a time, on the network's
    device.

    amp: use mixed precision of 16 bits, fp16 on CUDA and bf16 elsewhere.
    """

    def __init__(self, network: VOSNetwork, *, amp: bool = False):
        self._network = network.eval()
        self.device = next(network.parameters()).device
        self._amp = amp

    @contextlib.contextmanager
    def arithmetic(self) -> Iterator[None]:
        """Compute as exactly as the engine does by default."""
        dtype = torch.float16 if self.device.type == "cuda" else torch.bfloat16
        with (
            cuda_arithmetic(self.device, tf32=False, amp=self._amp),
            torch.autocast(self.device.type, dtype, enabled=self._amp),
            torch.no_grad(),
        ):
            yield

    def encode_key(self, image: Tensor) -> FrameFeatures:
        """Returns: the features of a normalised image [1, 3, H, W]."""
        return self._network.encode_key(image)

    def encode_value(self, image: Tensor, feature_s16: Tensor, masks: Tensor) -> Tensor:
        """Image and feature are repeated for each object.

        image: [1, 3, H, W]. feature_s16: [1, C, h, w]. masks: [K, 1, H, W] in 0..1.
        Returns: values [K, C^v, h, w].
        """
        objects = len(masks)
        images, features = (each.repeat(objects, 1, 1, 1) for each in (image, feature_s16))
        encoder = self._network.value_encoder
        x = torch.cat([encoder.prepare(images), masks, other_masks(masks)], dim=1)
        x = encoder.stages(encoder.conv1(x))[-1]
        x = encoder.fuser.block1(torch.cat([x, features], dim=1))
        return encoder.fuser.after_block1(x)

    def new_memory(self, top_k: int) -> "ReferenceMemory":
        """An empty memory, for what `encode_key` and `encode_value` return."""
        return ReferenceMemory(top_k)

    def decode(self, readout: Tensor, features: FrameFeatures) -> Tensor:
        """readout: [K, C^v, h, w]. features: of one frame. Returns: probabilities [K, 1, H, W]."""
        decoder = self._network.decoder
        appearance = features.appearance.expand(len(readout), -1, -1, -1)
        x = decoder.compress(torch.cat([readout, appearance], dim=1))
        x = _up(decoder.up_16_8, features.feature_s8, x)
        x = _up(decoder.up_8_4, features.feature_s4, x)
        logits = _enlarge(decoder.pred(F.relu(x)), 4)
        return logits.sigmoid()


def other_masks(masks: Tensor) -> Tensor:
    """For each object the sum of the others' masks. masks: [K, 1, H, W] → the same shape."""
    objects = len(masks)
    others = torch.zeros_like(masks)
    for number in range(objects) if objects > 1 else ():
        others[number] = masks[[other for other in range(objects) if other != number]].sum(0)
    return others


def _up(block: nn.Module, skip: Tensor, x: Tensor) -> Tensor:
    return block.out_conv(_enlarge(x, 2) + block.skip_conv(skip))


def _enlarge(x: Tensor, factor: int) -> Tensor:
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


class ReferenceMemory:
    """Keys [1, C^k, N] and values [K, C^v, N] that grow by concatenation. The query positions are
    the last dimension, so that top-k runs along a strided one."""

    def __init__(self, top_k: int = 20):
        self.top_k = top_k
        self.keys: Tensor | None = None
        self.values: Tensor | None = None

    def write(self, key: Tensor, values: Tensor) -> None:
        """Append a frame. key: [1, C^k, h, w]. values: [K, C^v, h, w]."""
        key, values = key.flatten(2), values.flatten(2)
        self.keys = key if self.keys is None else torch.cat([self.keys, key], dim=2)
        self.values = values if self.values is None else torch.cat([self.values, values], dim=2)

    def read(self, query_key: Tensor) -> Tensor:
        """One dense affinity serves all objects; each object takes one matrix product.

        query_key: [1, C^k, h, w]. Returns: readouts [K, C^v, h, w].
        """
        affinity = self._affinity(query_key.flatten(2))
        readout = torch.cat([torch.bmm(values, affinity) for values in self.values.split(1)])
        return readout.unflatten(2, query_key.shape[-2:])

    def _affinity(self, query_key: Tensor) -> Tensor:
        """query_key: [1, C^k, M]. Returns: weights [1, N, M]."""
        norm = self.keys.square().sum(1).unsqueeze(2)
        product = 2 * (self.keys.transpose(1, 2) @ query_key)
        return self._weights((product - norm) / math.sqrt(self.keys.shape[1]))

    def _weights(self, affinity: Tensor) -> Tensor:
        """Softmax over the top k of each query position, zero elsewhere: [1, N, M], in place."""
        values, indices = torch.topk(affinity, min(self.top_k, affinity.shape[1]), dim=1)
        return affinity.zero_().scatter_(1, indices, values.softmax(1))


class ReferenceVideo:
    """A whole video in memory: images [1, T, 3, H', W'], normalised and padded, and probabilities
    [K + 1, T, 1, H', W'] of all frames.

    frames: uint8 RGB [H, W, 3], `frame_count` of them.
    labels: [H, W], ids 1..K in the first frame, in which all objects appear.
    """

    def __init__(
        self,
        network: ReferenceNetwork,
        frames: Iterable[np.ndarray],
        frame_count: int,
        labels: np.ndarray,
        *,
        top_k: int = 20,
    ):
        self.network, self.memory = network, network.new_memory(top_k)
        self.frame_count = frame_count
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
        """Segment frame after frame.

        after_frame: called after each frame, the first one included.
        Returns: labels uint8 [T, H, W].
        """
        with self.network.arithmetic():
            self._memorise(0, self._encode_key(0))
            after_frame()
            for index in range(1, self.frame_count):
                self._predict(index)
                after_frame()
            return self._labels()

    def _predict(self, index: int) -> None:
        """Segment a frame, and memorise every fifth one except the last."""
        features = self._encode_key(index)
        with record_function("reading"):
            readout = self.memory.read(features.key.float())
        with record_function("decoding"):
            probabilities = self.network.decode(readout, features).float()
        self.probabilities[:, index] = aggregate(probabilities, object_dim=0).softmax(0)
        if index - self.memorised[-1] >= MEM_EVERY and index != self.frame_count - 1:
            self._memorise(index, features)

    def _encode_key(self, index: int) -> FrameFeatures:
        with record_function("key encoding"):
            return self.network.encode_key(self.images[:, index])

    def _memorise(self, index: int, features: FrameFeatures) -> None:
        with record_function("value encoding"):
            values = self.network.encode_value(
                self.images[:, index], features.feature_s16, self.probabilities[1:, index]
            )
        self.memory.write(features.key.float(), values.float())
        self.memorised.append(index)

    def _labels(self) -> np.ndarray:
        """The most probable label of every pixel, uint8 [T, H, W]."""
        maps = (
            self.padding.crop(self.probabilities[:, index, 0]).argmax(0)
            for index in range(self.frame_count)
        )
        return np.stack([labels.to(torch.uint8).cpu().numpy() for labels in maps])
