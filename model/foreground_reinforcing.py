"""Foreground reinforcing: the previous frame's mask enhances the query key around its foreground.

Published (REMN; Chen, Zhang, Yang, Wu, 2023): the query key and the previous frame's foreground
mask are concatenated. A convolution over a window, a 1×1 convolution to as many channels as the
window has positions, and a softmax over these give each pixel of the previous frame its attention
to its neighbourhood in the query. The mask damps the background's attention. The result enhances
the query key.

Ours, since the equations are not available: the damped attention is summed at its targets (fold),
and the key is multiplied by 1 + g · that sum. The learned gain g starts at 0, so that the untrained
module is the identity. The window is 7×7, nothing lies between the two convolutions, and the mask
is the soft union of all objects, averaged over the area of each position.

Legend: B batch, K objects, C^k key channels, H W image size, h w = H / 16, W / 16, Z positions of
the window.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import EnhancerConfig
from util.errors import InputError


class ForegroundReinforcing(nn.Module):
    """Scales the query key where the previous frame's foreground attends to it.

    The learned gain may have either sign. Raises InputError for a window with even sides.
    """

    def __init__(self, config: EnhancerConfig, key_channels: int):
        super().__init__()
        self.window = config.window
        rows, columns = config.window
        if min(rows, columns) < 1 or not (rows % 2 and columns % 2):
            raise InputError(
                f"foreground reinforcing: window is {rows}×{columns}; rows and columns must be odd"
            )
        self.local = nn.Conv2d(
            key_channels + 1, key_channels, config.window, padding=(rows // 2, columns // 2)
        )
        self.attend = nn.Conv2d(key_channels, rows * columns, 1)
        self.gain = nn.Parameter(torch.zeros(1))

    def forward(self, key: Tensor, foreground: Tensor) -> Tensor:
        """Enhance a key; without foreground it is unchanged.

        key [B, C^k, h, w], foreground [B, 1, h, w] in 0..1 → [B, C^k, h, w].
        """
        return key * (1 + self.gain * self.received(self.attention(key, foreground) * foreground))

    def attention(self, key: Tensor, foreground: Tensor) -> Tensor:
        """Attention of each position of the previous frame to the window around it.

        key [B, C^k, h, w], foreground [B, 1, h, w] → [B, Z, h, w], row by row, summing to 1 over Z.
        """
        return self.attend(self.local(torch.cat([key, foreground.to(key.dtype)], 1))).softmax(1)

    def received(self, attention: Tensor) -> Tensor:
        """Attention that each position receives from all windows containing it.

        attention [B, Z, h, w] → [B, 1, h, w]; attention to positions outside the frame is dropped.
        """
        rows, columns = self.window
        return F.fold(
            attention.flatten(2),
            attention.shape[-2:],
            self.window,
            padding=(rows // 2, columns // 2),
        )


def foreground_at_stride_16(masks: Tensor) -> Tensor:
    """The soft union of all objects, averaged over the area of each position.

    masks [B, K, H, W]: aggregated probabilities, or masks that do not overlap → [B, 1, h, w] in
    0..1.
    """
    return F.avg_pool2d(masks.sum(1, keepdim=True), 16).clamp(max=1)
