"""Foreground reinforcing: the previous frame's mask strengthens the query key where its foreground is expected to be now.

Published (REMN; Chen, Zhang, Yang, Wu, 2023): the query key and the previous frame's foreground mask are concatenated; a convolution over a window, then one of
1×1 to as many channels as the window has positions, then a softmax over these give each pixel of the previous frame its attention to its neighbourhood in the
query; the mask damps the background's; the result enhances the query key.

Ours, since the equations are not to be had: what the mask damps is summed where it falls (fold), and the key is multiplied by 1 + g · that sum, with a learned
g that starts at 0, so that the untrained module changes nothing; the window is 7×7; nothing lies between the two convolutions; the mask is the union of all objects,
soft, averaged over the area of each position.

Legend: B batch, K objects, C^k key channels, H W image size, h w = H / 16, W / 16, Z positions of the window.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import EnhancerConfig
from util.errors import InputError


class ForegroundReinforcing(nn.Module):
    """The query key, stronger (or weaker: g has a sign) where the previous frame's foreground attends to it."""

    def __init__(self, config: EnhancerConfig, key_channels: int):
        """Raises InputError for a window without a middle."""
        super().__init__()
        self.window = config.window
        rows, columns = config.window
        if min(rows, columns) < 1 or not (rows % 2 and columns % 2):
            raise InputError(
                f"foreground reinforcing: window is {rows}×{columns}; rows and columns must be odd, so that there is a middle"
            )
        self.local = nn.Conv2d(
            key_channels + 1, key_channels, config.window, padding=(rows // 2, columns // 2)
        )
        self.attend = nn.Conv2d(key_channels, rows * columns, 1)
        self.gain = nn.Parameter(torch.zeros(1))

    def forward(self, key: Tensor, foreground: Tensor) -> Tensor:
        """key [B, C^k, h, w], foreground [B, 1, h, w] in 0..1 → the enhanced key [B, C^k, h, w]; the same where there is no foreground."""
        return key * (1 + self.gain * self.received(self.attention(key, foreground) * foreground))

    def attention(self, key: Tensor, foreground: Tensor) -> Tensor:
        """[B, Z, h, w]: how each position of the previous frame shares itself out over the window around it, row by row; sums to 1 over Z."""
        return self.attend(self.local(torch.cat([key, foreground.to(key.dtype)], 1))).softmax(1)

    def received(self, attention: Tensor) -> Tensor:
        """attention [B, Z, h, w] → [B, 1, h, w]: what each position is given by all whose window holds it; what falls outside the frame is lost."""
        rows, columns = self.window
        return F.fold(
            attention.flatten(2),
            attention.shape[-2:],
            self.window,
            padding=(rows // 2, columns // 2),
        )


def foreground_at_stride_16(masks: Tensor) -> Tensor:
    """Aggregated probabilities, or masks that do not overlap, [B, K, H, W] → the union of all objects [B, 1, h, w], averaged over each position's area."""
    return F.avg_pool2d(masks.sum(1, keepdim=True), 16).clamp(max=1)
