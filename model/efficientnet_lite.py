"""The parts of EfficientNet-Lite up to stride 16; model/encoders.py builds the encoder from them.

Source: EfficientNet (Tan and Le, ICML 2019) without squeeze-and-excitation and with ReLU6, as
Google published it as EfficientNet-Lite with TensorFlow. Legend: B batch, C channels, H W height
and width of a feature.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import EncoderConfig
from util.images import IMAGE_MEAN, IMAGE_STD

# Of images in 0..1, as the published weights were trained.
_TRAINED_MEAN, _TRAINED_STD = 127 / 255, 128 / 255


class _Group(NamedTuple):
    """One group of inverted residual blocks."""

    kernel_size: int
    stride: int  # of its first block
    expansion: int  # hidden channels in multiples of a block's input channels
    stage: int  # 0, 1, 2: its features are at strides 4, 8, 16


_GROUPS = (
    _Group(3, 1, 1, 0),
    _Group(3, 2, 6, 0),
    _Group(5, 2, 6, 1),
    _Group(3, 2, 6, 2),
    _Group(5, 1, 6, 2),
)


class Renormalise(nn.Module):
    """Changes the normalisation of images to that of the published weights.

    From that of util.images.normalise_images to (RGB in 0..255 - 127) / 128.
    """

    def __init__(self):
        super().__init__()
        mean, std = torch.tensor(IMAGE_MEAN), torch.tensor(IMAGE_STD)
        self.register_buffer("scale", (std / _TRAINED_STD)[:, None, None], persistent=False)
        self.register_buffer(
            "shift", ((mean - _TRAINED_MEAN) / _TRAINED_STD)[:, None, None], persistent=False
        )

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, H, W] → [B, 3, H, W]."""
        return torch.addcmul(self.shift.to(images.dtype), images, self.scale.to(images.dtype))


class SameConv2d(nn.Conv2d):
    """A convolution of stride 2 with TensorFlow's "same" padding.

    For an even height and width this pads one row and column more after than before. kernel_size:
    odd. Heights and widths must be even; those of frames padded to multiples of 16 are, down to
    stride 8.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, groups: int = 1):
        super().__init__(
            in_channels, out_channels, kernel_size, stride=2, groups=groups, bias=False
        )
        self._before, self._after = (kernel_size - 2) // 2, (kernel_size - 1) // 2

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] → [B, C', H / 2, W / 2]."""
        return self.convolve(x, 0, True)

    def convolve(self, x: Tensor, first_channel: int, with_bias: bool) -> Tensor:
        """Convolve some of the input channels; the others count as zero.

        x [B, C', H, W]: input channels `first_channel` to `first_channel` + C' → [B, C, H / 2, W /
        2].
        """
        padded = F.pad(x, (self._before, self._after, self._before, self._after))
        weight = self.weight[:, first_channel : first_channel + x.shape[1]]
        return F.conv2d(
            padded,
            weight,
            self.bias if with_bias else None,
            self.stride,
            0,
            self.dilation,
            self.groups,
        )

    def with_even_kernel(self) -> nn.Conv2d:
        """The same function as a plain convolution, which needs no padded copy of its input.

        Its kernel gets a leading row and column of zeros, so that its padding is equal on every
        side.
        """
        size = self.kernel_size[0] + 1
        plain = nn.Conv2d(
            self.in_channels,
            self.out_channels,
            size,
            stride=2,
            padding=self._before + 1,
            groups=self.groups,
            bias=self.bias is not None,
            device="meta",
        )
        plain.weight = nn.Parameter(
            F.pad(self.weight.detach(), (1, 0, 1, 0)), requires_grad=self.weight.requires_grad
        )
        plain.bias = self.bias
        return plain.train(self.training)


def batch_norm(channels: int) -> nn.BatchNorm2d:
    """Batch norm with the published ε and momentum."""
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


def _convolution(
    in_channels: int, out_channels: int, kernel_size: int = 1, stride: int = 1, groups: int = 1
) -> nn.Conv2d:
    if stride == 2:
        return SameConv2d(in_channels, out_channels, kernel_size, groups)
    return nn.Conv2d(
        in_channels, out_channels, kernel_size, padding=kernel_size // 2, groups=groups, bias=False
    )


class InvertedResidual(nn.Module):
    """1×1 expansion, depthwise convolution, linear 1×1 projection; adds its input if the shape is
    kept.

    Source: MobileNetV2 (Sandler et al., CVPR 2018).
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int, expansion: int
    ):
        super().__init__()
        hidden = in_channels * expansion
        self.expand = None
        if expansion > 1:
            expand = _convolution(in_channels, hidden)
            self.expand = nn.Sequential(expand, batch_norm(hidden), nn.ReLU6(inplace=True))
        self.depthwise = nn.Sequential(
            _convolution(hidden, hidden, kernel_size, stride, groups=hidden),
            batch_norm(hidden),
            nn.ReLU6(inplace=True),
        )
        self.project = nn.Sequential(_convolution(hidden, out_channels), batch_norm(out_channels))
        self.adds_input = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] → [B, C', H / stride, W / stride]."""
        hidden = x if self.expand is None else self.expand(x)
        out = self.project(self.depthwise(hidden))
        return x + out if self.adds_input else out


def inverted_stages(config: EncoderConfig) -> list[nn.Sequential]:
    """The blocks up to the features at strides 4, 8 and 16, from the stem's output at stride 2."""
    stages: list[list[nn.Module]] = [[], [], []]
    channels = config.stem_channels
    for group, planes, depth in zip(_GROUPS, config.planes, config.depths, strict=True):
        for index in range(depth):
            stride = group.stride if index == 0 else 1
            block = InvertedResidual(channels, planes, group.kernel_size, stride, group.expansion)
            stages[group.stage].append(block)
            channels = planes
    return [nn.Sequential(*blocks) for blocks in stages]
