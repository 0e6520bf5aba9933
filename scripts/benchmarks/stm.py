"""STM's design as a timing reference, which STCN's Figure 5 compares with STCN. Its weights are
random: its times are meaningful, its masks are not.

What differs from STCN (reference.py): a memory encoder like that of the query is run for every
object, on the image with its masks, and gives it keys of its own beside its values. Each object
therefore has an affinity of its own, by dot products. Decoder, key channels, top-k and the frames
that are memorised are those of STCN, as in its authors' implementation of STM.
Sources: STM (Oh et al., ICCV 2019), section 3; STCN, section 5 and Figure 5.

Legend: K objects, C channels, N memory elements, M query positions, H W frame size, h w at stride
16.
"""

import math

import torch
from torch import Tensor, nn

from model import VOSNetwork
from model.config import NetworkConfig
from model.encoders import OBJECT_CHANNELS, Encoder
from scripts.benchmarks.reference import ReferenceMemory, ReferenceNetwork, other_masks
from scripts.benchmarks.synthetic import randomize


class MemoryEncoder(nn.Module):
    """Encodes an image, an object's mask and the other objects' masks to a key and a value."""

    def __init__(self, config: NetworkConfig):
        super().__init__()
        self.trunk = Encoder(config.key_encoder, 3 + OBJECT_CHANNELS, ("res2", "layer2", "layer3"))
        channels = config.key_encoder.channels[-1]
        self.key = nn.Conv2d(channels, config.key_channels, 3, padding=1)
        self.value = nn.Conv2d(channels, config.value_channels, 3, padding=1)

    def forward(self, images: Tensor, masks: Tensor, others: Tensor) -> Tensor:
        """Keys and values of K objects, [K, C^k + C^v, h, w].

        images: [K, 3, H, W], normalised. masks, others: [K, 1, H, W] in 0..1.
        """
        x = torch.cat([self.trunk.prepare(images), masks, others], dim=1)
        feature_s16 = self.trunk.stages(self.trunk.conv1(x))[-1]
        return torch.cat([self.key(feature_s16), self.value(feature_s16)], dim=1)


class StmNetwork(ReferenceNetwork):
    """STM's design around the query encoder and the decoder of a network.

    network: of a preset; its value encoder is not used. amp: as ReferenceNetwork.
    """

    def __init__(self, network: VOSNetwork, *, amp: bool = False):
        super().__init__(network, amp=amp)
        self._memory_encoder = randomize(MemoryEncoder(network.config)).to(self.device)

    def encode_value(self, image: Tensor, feature_s16: Tensor, masks: Tensor) -> Tensor:
        """Each object's keys and values, [K, C^k + C^v, h, w].

        image: [1, 3, H, W], encoded for every object. feature_s16: not used. masks: [K, 1, H, W].
        """
        images = image.repeat(len(masks), 1, 1, 1)
        return self._memory_encoder(images, masks, other_masks(masks))

    def new_memory(self, top_k: int) -> "StmMemory":
        return StmMemory(top_k)


class StmMemory(ReferenceMemory):
    """Keys [K, C^k, N] and values [K, C^v, N] that grow by concatenation."""

    def write(self, key: Tensor, values: Tensor) -> None:
        """Append a frame.

        key: [1, C^k, h, w], of the query; only its number of channels is used. values: keys and
        values of every object, [K, C^k + C^v, h, w].
        """
        new = values.flatten(2).split([key.shape[1], values.shape[1] - key.shape[1]], dim=1)
        held = (self.keys, self.values)
        self.keys, self.values = (
            added if kept is None else torch.cat([kept, added], dim=2)
            for kept, added in zip(held, new, strict=True)
        )

    def read(self, query_key: Tensor) -> Tensor:
        """Each object reads by an affinity of its own.

        query_key: [1, C^k, h, w]. Returns: readouts [K, C^v, h, w].
        """
        query = query_key.flatten(2) / math.sqrt(query_key.shape[1])
        objects = zip(self.keys.split(1), self.values.split(1), strict=True)
        readouts = [
            torch.bmm(values, self._weights(keys.transpose(1, 2) @ query))
            for keys, values in objects
        ]
        return torch.cat(readouts).unflatten(2, query_key.shape[-2:])
