"""The decoder: readouts to one logit per pixel and object.

Legend: B batch, K objects, C channels, h w height and width at stride 16.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from model.blocks import ResBlock


class _UpBlock(nn.Module):
    """Upsample the feature ×2 (bilinear), add a convolved skip feature, apply a residual block.

    Source: STM, section 3.3.
    """

    def __init__(self, skip_channels: int, in_channels: int, out_channels: int):
        super().__init__()
        self.skip_conv = nn.Conv2d(skip_channels, in_channels, 3, padding=1)
        self.out_conv = ResBlock(in_channels, out_channels)

    def forward(self, skip: Tensor, x: Tensor) -> Tensor:
        """skip [B, C, 2h, 2w] per frame, x [B * K, C, h, w] per object → [B * K, C', 2h, 2w]."""
        batch = skip.shape[0]
        x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        x = x.unflatten(0, (batch, -1)) + self.skip_conv(skip).unsqueeze(1)
        return self.out_conv(x.flatten(0, 1))


class Decoder(nn.Module):
    """The decoder of STM (section 3.3) with STCN's single logit per object (section 3.4)."""

    def __init__(
        self, value_channels: int, skip_channels: tuple[int, int], channels: tuple[int, int, int]
    ):
        super().__init__()
        skip_s4, skip_s8 = skip_channels
        self.compress = ResBlock(2 * value_channels, channels[0])
        self.up_16_8 = _UpBlock(skip_s8, channels[0], channels[1])
        self.up_8_4 = _UpBlock(skip_s4, channels[1], channels[2])
        self.pred = nn.Conv2d(channels[2], 1, 3, padding=1)

    def forward(
        self, readout: Tensor, appearance: Tensor, feature_s8: Tensor, feature_s4: Tensor
    ) -> Tensor:
        """Readouts of all objects → logits [B, K, 16h, 16w].

        readout [B, K, C^v, h, w]; shared by the objects of a frame: appearance [B, C^v, h, w],
        feature_s8 [B, C, 2h, 2w] and feature_s4 [B, C, 4h, 4w].
        """
        batch, objects = readout.shape[:2]
        x = self.compress.forward_parts(readout, appearance)
        x = self.up_8_4(feature_s4, self.up_16_8(feature_s8, x))
        logits = F.interpolate(
            self.pred(F.relu(x)), scale_factor=4, mode="bilinear", align_corners=False
        )
        return logits.view(batch, objects, *logits.shape[-2:])
