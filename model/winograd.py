"""3×3 convolutions on the CPU with 2.25 times fewer multiplications, in plain tensor operations.

GPU libraries choose such algorithms themselves; the CPU's direct convolution runs at the machine's peak already, so that only fewer operations help.
Source: Lavin and Gray, Fast Algorithms for Convolutional Neural Networks (CVPR 2016), F(2×2, 3×3): the output in tiles of 2×2, each from a tile of 4×4.

Legend: B batch, C input channels, O output channels, H W height and width, R Q rows and columns of tiles.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_FILTER_TRANSFORM = ((1.0, 0.0, 0.0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0.0, 0.0, 1.0))
_MIN_CHANNELS = 128  # below, the transforms cost more than they save
_CHUNK_BYTES = 16_000_000  # transformed tiles held at a time: they should stay in the cache


class WinogradConv2d(nn.Conv2d):
    """Takes the place of a 3×3 convolution of stride 1 in a network that is not trained further. The same function up to rounding (about 1e-6 relative)."""

    def __init__(self, convolution: nn.Conv2d):
        super().__init__(convolution.in_channels, convolution.out_channels, 3, padding=1, bias=convolution.bias is not None, device="meta")
        self.weight, self.bias = convolution.weight, convolution.bias
        transform = torch.tensor(_FILTER_TRANSFORM, dtype=self.weight.dtype, device=self.weight.device)
        filters = torch.einsum("ai,ocij,bj->abco", transform, self.weight.detach(), transform)
        self.register_buffer("filters", filters.reshape(16, self.in_channels, self.out_channels).contiguous(), persistent=False)

    @staticmethod
    def fits(convolution: nn.Module) -> bool:
        """Whether a module is a convolution that gains from this."""
        return (
            type(convolution) is nn.Conv2d
            and (convolution.kernel_size, convolution.stride, convolution.padding, convolution.dilation) == ((3, 3), (1, 1), (1, 1), (1, 1))
            and convolution.groups == 1
            and min(convolution.in_channels, convolution.out_channels) >= _MIN_CHANNELS
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] → [B, O, H, W]."""
        return self.convolve(x, 0, True)

    def convolve(self, x: Tensor, first_channel: int, with_bias: bool) -> Tensor:
        """x [B, C', H, W] as the input channels from `first_channel` on, the others zero → [B, O, H, W]."""
        channels = slice(first_channel, first_channel + x.shape[1])
        bias = self.bias if with_bias else None
        if x.device.type != "cpu" or torch.is_autocast_enabled("cpu") or x.dtype != self.filters.dtype:
            return F.conv2d(x, self.weight[:, channels], bias, padding=1)
        return _convolve(x.permute(0, 2, 3, 1), self.filters[:, channels], bias).permute(0, 3, 1, 2)


def _convolve(x: Tensor, filters: Tensor, bias: Tensor | None) -> Tensor:
    """x [B, H, W, C], filters [16, C, O] → [B, H, W, O], a few rows of tiles at a time."""
    batch, height, width, channels = x.shape
    out_channels = filters.shape[2]
    tile_rows, tile_columns = -(-height // 2), -(-width // 2)
    x = F.pad(x, (0, 0, 1, 2 * tile_columns - width + 1, 1, 2 * tile_rows - height + 1))
    result = x.new_empty(batch, tile_rows, 2, tile_columns, 2, out_channels)
    step = max(_CHUNK_BYTES // (16 * tile_columns * (channels + out_channels) * x.element_size()), 1)
    tiles = x.new_empty(16 * min(step, tile_rows) * tile_columns * channels)
    products = x.new_empty(16 * min(step, tile_rows) * tile_columns * out_channels)
    for image in range(batch):
        for start in range(0, tile_rows, step):
            rows = min(step, tile_rows - start)
            transformed = tiles[: 16 * rows * tile_columns * channels].view(4, 4, rows, tile_columns, channels)
            _transform_input(x[image, 2 * start : 2 * (start + rows) + 2], transformed)
            product = products[: 16 * rows * tile_columns * out_channels].view(16, rows * tile_columns, out_channels)
            torch.bmm(transformed.view(16, -1, channels), filters, out=product)
            _transform_output(product.view(4, 4, rows, tile_columns, out_channels), bias, result[image, start : start + rows])
    return result.view(batch, 2 * tile_rows, 2 * tile_columns, out_channels)[:, :height, :width]


def _transform_input(x: Tensor, out: Tensor) -> None:
    """x [2R + 2, 2Q + 2, C] → out [4, 4, R, Q, C]."""
    rows = out.shape[2]
    lines = [x[i : i + 2 * rows - 1 : 2] for i in range(4)]
    for i, line in enumerate(_combine(lines)):
        columns = [line[:, j : j + 2 * out.shape[3] - 1 : 2] for j in range(4)]
        torch.sub(columns[0], columns[2], out=out[i, 0])
        torch.add(columns[1], columns[2], out=out[i, 1])
        torch.sub(columns[2], columns[1], out=out[i, 2])
        torch.sub(columns[1], columns[3], out=out[i, 3])


def _combine(lines: list[Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return lines[0] - lines[2], lines[1] + lines[2], lines[2] - lines[1], lines[1] - lines[3]


def _transform_output(products: Tensor, bias: Tensor | None, out: Tensor) -> None:
    """products [4, 4, R, Q, O] → out [R, 2, Q, 2, O]."""
    upper = (products[0] + products[1]).add_(products[2])
    lower = (products[1] - products[2]).sub_(products[3])
    for row, line in enumerate((upper, lower)):
        if bias is not None:
            line[1].add_(bias)  # it enters both outputs with the factor 1
        torch.add(line[0], line[1], out=out[:, row, :, 0]).add_(line[2])
        torch.sub(line[1], line[2], out=out[:, row, :, 1]).sub_(line[3])
