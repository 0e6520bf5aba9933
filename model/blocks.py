"""The blocks that encoders and decoder are built from.

Per-object and shared features are never concatenated: the convolution of a concatenation is the sum
of the convolutions of its parts, and the shared part's is computed once for any number of objects.

Legend: B batch, K objects, C channels, h w height and width at the block's stride.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.efficientnet_lite import SameConv2d
from model.winograd import WinogradConv2d


def convolve_parts(
    convolution: nn.Conv2d, per_object: Tensor, shared: Tensor, *, shared_first: bool = False
) -> Tensor:
    """Convolve the channel-wise concatenation of per-object and shared features.

    per_object [B, K, C1, h, w], shared [B, C2, h, w] (expanded over K) → [B, K, C, h', w'], equal
    to convolving the concatenation up to rounding. shared_first: the shared channels come first.
    """
    batch, objects, own_channels = per_object.shape[:3]
    own_start, shared_start = (shared.shape[1], 0) if shared_first else (0, own_channels)
    common = _convolve_channels(convolution, shared, shared_start, with_bias=True)
    own = _convolve_channels(convolution, per_object.flatten(0, 1), own_start, with_bias=False)
    return own.unflatten(0, (batch, objects)) + common.unsqueeze(1)


def _convolve_channels(convolution: nn.Conv2d, x: Tensor, start: int, *, with_bias: bool) -> Tensor:
    """Convolve x as the input channels from `start` on; the others count as zero."""
    if isinstance(convolution, (WinogradConv2d, SameConv2d)):
        return convolution.convolve(x, start, with_bias)
    weight = convolution.weight[:, start : start + x.shape[1]]
    return F.conv2d(
        x,
        weight,
        convolution.bias if with_bias else None,
        convolution.stride,
        convolution.padding,
        convolution.dilation,
    )


class ResBlock(nn.Module):
    """Pre-activation residual block with biases and without norms. Source: STM, section 3.1.

    x + conv2(relu(conv1(relu(x)))); the skip is a 3×3 convolution of x if the number of channels
    changes.
    """

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.downsample = (
            None
            if in_channels == out_channels
            else nn.Conv2d(in_channels, out_channels, 3, padding=1)
        )
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] → [B, C', h, w]."""
        skip = x if self.downsample is None else self.downsample(x)
        return skip + self.conv2(F.relu(self.conv1(F.relu(x))))

    def forward_parts(self, per_object: Tensor, shared: Tensor) -> Tensor:
        """The block on a concatenation, see convolve_parts.

        per_object [B, K, C1, h, w], shared [B, C2, h, w] → [B * K, C', h, w].
        """
        skip = convolve_parts(self.downsample, per_object, shared).flatten(0, 1)
        hidden = convolve_parts(self.conv1, F.relu(per_object), F.relu(shared)).flatten(0, 1)
        return skip + self.conv2(F.relu(hidden))


class _ChannelGate(nn.Module):
    def __init__(self, channels: int, reduction: int):
        super().__init__()
        hidden = max(channels // reduction, 1)
        self.mlp = nn.Sequential(
            nn.Flatten(), nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        gate = self.mlp(x.mean((2, 3))) + self.mlp(x.amax((2, 3)))
        return x * gate.sigmoid()[:, :, None, None]


class _SpatialGate(nn.Module):
    def __init__(self):
        super().__init__()
        self.spatial = nn.Module()
        self.spatial.conv = nn.Conv2d(2, 1, 7, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        pooled = torch.cat([x.amax(1, keepdim=True), x.mean(1, keepdim=True)], dim=1)
        return x * self.spatial.conv(pooled).sigmoid()


class CBAM(nn.Module):
    """Channel gate, then spatial gate: [B, C, h, w] → [B, C, h, w].

    Source: CBAM (Woo et al., ECCV 2018), without its batch norm as in STCN.
    """

    def __init__(self, channels: int, reduction: int):
        super().__init__()
        # In capitals, as in the public checkpoints.
        self.ChannelGate = _ChannelGate(channels, reduction)
        self.SpatialGate = _SpatialGate()

    def forward(self, x: Tensor) -> Tensor:
        return self.SpatialGate(self.ChannelGate(x))
