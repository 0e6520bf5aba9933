"""Key and value encoders.

Legend: B batch, K objects, C channels, H W image size (multiples of 16), h w = H / 16, W / 16.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from model.blocks import CBAM, ResBlock, convolve_parts
from model.config import EncoderConfig
from model.efficientnet_lite import Renormalise, SameConv2d, batch_norm, inverted_stages

OBJECT_CHANNELS = 2  # the object's mask, and the sum of the other objects' masks


class Encoder(nn.Module):
    """Stem and three stages of the configured family.

    Attribute names are those of the public checkpoints. stage_names: three.
    """

    def __init__(self, config: EncoderConfig, in_channels: int, stage_names: Sequence[str]):
        super().__init__()
        self.config = config
        self._family = _FAMILIES[config.block]
        self.prepare = self._family.prepare()
        self.conv1 = self._family.stem(in_channels, config.stem_channels)
        self.bn1 = self._family.norm(config.stem_channels)
        self.stage_names = tuple(stage_names)
        for name, stage in zip(stage_names, self._family.stages(config), strict=True):
            self.add_module(name, stage)
        self._initialise(config.convolution_bias)

    def _initialise(self, bias: bool) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if bias:
                    module.bias = nn.Parameter(module.weight.new_zeros(module.out_channels))

    def stages(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The stem convolution's output [B, C, H / 2, W / 2] → features at strides 4, 8 and 16."""
        x = self._family.after_stem(self.bn1(x))
        features = []
        for name in self.stage_names:
            x = getattr(self, name)(x)
            features.append(x)
        return tuple(features)


class _Family(NamedTuple):
    """How to build encoders of one kind of blocks."""

    prepare: Callable[[], nn.Module]  # changes the normalisation of images to the stem's
    stem: Callable[[int, int], nn.Conv2d]  # (input channels, output channels), to stride 2
    norm: Callable[[int], nn.BatchNorm2d]  # after the stem
    after_stem: Callable[[Tensor], Tensor]
    stages: Callable[[EncoderConfig], list[nn.Sequential]]


def _residual_stem(in_channels: int, out_channels: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 7, stride=2, padding=3, bias=False)


def _pooled(x: Tensor) -> Tensor:
    return F.max_pool2d(F.relu(x), 3, stride=2, padding=1)


def _residual_stages(
    block: type[BasicBlock] | type[Bottleneck], config: EncoderConfig
) -> list[nn.Sequential]:
    """Three residual stages of a ResNet (He et al., 2016) from torchvision's blocks."""
    stages, channels = [], config.stem_channels
    for planes, depth, stride in zip(config.planes, config.depths, (1, 2, 2), strict=True):
        stages.append(_residual_stage(block, channels, planes, depth, stride))
        channels = planes * block.expansion
    return stages


class _SubsampledConv2d(nn.Conv2d):
    """A strided 1×1 convolution, computed without a stride on the pixels that it samples."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] → [B, C', ⌈H / stride⌉, ⌈W / stride⌉]."""
        rows, columns = self.stride
        return F.conv2d(x[:, :, ::rows, ::columns], self.weight, self.bias)


# oneDNN writes beyond its workspace in the weight gradient of a strided 1×1 convolution, channels
# last, with fewer input channels than its block (16 with AVX-512, 8 with AVX2): segmentation faults
# and wrong gradients, also with one image and one thread (torch 2.4.0, 2.13.0 and 2.14.1; oneDNN's
# issue 6035). No other convolution of ours is affected, and none without gradients.
_SAFE_STRIDED_CHANNELS = 16


def _residual_stage(
    block: type[BasicBlock] | type[Bottleneck],
    in_channels: int,
    planes: int,
    depth: int,
    stride: int,
) -> nn.Sequential:
    out_channels = planes * block.expansion
    downsample = None
    if stride != 1 or in_channels != out_channels:
        unsafe = stride != 1 and in_channels < _SAFE_STRIDED_CHANNELS
        convolution = _SubsampledConv2d if unsafe else nn.Conv2d
        downsample = nn.Sequential(
            convolution(in_channels, out_channels, 1, stride=stride, bias=False),
            nn.BatchNorm2d(out_channels),
        )
    blocks = [block(in_channels, planes, stride, downsample)]
    return nn.Sequential(*blocks, *(block(out_channels, planes) for _ in range(depth - 1)))


_FAMILIES: dict[str, _Family] = {  # by EncoderConfig.block
    "basic": _Family(
        nn.Identity,
        _residual_stem,
        nn.BatchNorm2d,
        _pooled,
        functools.partial(_residual_stages, BasicBlock),
    ),
    "bottleneck": _Family(
        nn.Identity,
        _residual_stem,
        nn.BatchNorm2d,
        _pooled,
        functools.partial(_residual_stages, Bottleneck),
    ),
    "inverted": _Family(
        Renormalise,
        functools.partial(SameConv2d, kernel_size=3),
        batch_norm,
        F.relu6,
        inverted_stages,
    ),
}


class KeyEncoder(Encoder):
    """Image → features at strides 4, 8, 16. Source: STCN, section 3.1."""

    def __init__(self, config: EncoderConfig):
        super().__init__(config, in_channels=3, stage_names=("res2", "layer2", "layer3"))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Normalised images [B, 3, H, W] → features at strides 4, 8 and 16."""
        return self.stages(self.conv1(self.prepare(images)))


class KeyProjection(nn.Module):
    """Stride-16 feature → key: one 3×3 convolution, no activation. Source: STCN, section 3.2."""

    def __init__(self, in_channels: int, key_channels: int):
        super().__init__()
        self.key_proj = nn.Conv2d(in_channels, key_channels, 3, padding=1)
        nn.init.orthogonal_(self.key_proj.weight)
        nn.init.zeros_(self.key_proj.bias)

    def forward(self, feature_s16: Tensor) -> Tensor:
        """[B, C, h, w] → [B, C^k, h, w]."""
        return self.key_proj(feature_s16)


class _Fuser(nn.Module):
    """Fuses an object's feature with the image's stride-16 feature (feature reuse).

    reduction: of CBAM; None: without CBAM. Source: STCN, section 3.1.
    """

    def __init__(
        self, own_channels: int, shared_channels: int, out_channels: int, reduction: int | None
    ):
        super().__init__()
        self.block1 = ResBlock(own_channels + shared_channels, out_channels)
        self.attention = None if reduction is None else CBAM(out_channels, reduction)
        self.block2 = ResBlock(out_channels, out_channels)

    def forward(self, per_object: Tensor, shared: Tensor) -> Tensor:
        return self.after_block1(self.block1.forward_parts(per_object, shared))

    def after_block1(self, x: Tensor) -> Tensor:
        """The output of block1 → the fused feature, both [B * K, C, h, w]."""
        return self.block2(x if self.attention is None else x + self.attention(x))


class ValueEncoder(Encoder):
    """Encodes an image, an object's mask, the other objects' masks and feature_s16 to a value.

    reduction: of CBAM; None: without CBAM. Source: STCN, section 3.1.
    """

    def __init__(
        self,
        config: EncoderConfig,
        feature_channels: int,
        value_channels: int,
        reduction: int | None,
    ):
        super().__init__(
            config, in_channels=3 + OBJECT_CHANNELS, stage_names=("layer1", "layer2", "layer3")
        )
        nn.init.orthogonal_(self.conv1.weight[:, 3:])
        self.fuser = _Fuser(config.channels[-1], feature_channels, value_channels, reduction)

    def forward(self, images: Tensor, feature_s16: Tensor, masks: Tensor, others: Tensor) -> Tensor:
        """Values [B, K, C^v, h, w] of K objects.

        Normalised images [B, 3, H, W], feature_s16 [B, C, h, w], masks and others [B, K, H, W] in
        0..1.
        """
        batch, objects = masks.shape[:2]
        stem = convolve_parts(
            self.conv1, torch.stack([masks, others], dim=2), self.prepare(images), shared_first=True
        )
        feature = self.stages(stem.flatten(0, 1))[-1]
        values = self.fuser(feature.unflatten(0, (batch, objects)), feature_s16)
        return values.unflatten(0, (batch, objects))
