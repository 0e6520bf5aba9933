"""Winograd's 3×3 convolution on the CPU: 2.25 times fewer multiplications, in plain tensor
operations.

GPU libraries choose such algorithms themselves. The CPU's direct convolution runs at the machine's
peak already, so that only fewer operations help. The products are computed as 1×1 convolutions,
which run at the same peak; torch's matrix product does not on every CPU. Source: Lavin and Gray,
Fast Algorithms for Convolutional Neural Networks (CVPR 2016), F(2×2, 3×3): tiles of 2×2 outputs,
each from 4×4 inputs.

Legend: B batch, C input channels, O output channels, H W height and width, R Q rows and columns of
tiles.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_FILTER_TRANSFORM = ((1.0, 0.0, 0.0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0.0, 0.0, 1.0))
_MIN_CHANNELS = 128  # below, the transforms cost more than they save
# Size of one of the sixteen products: large enough to be fast, small enough for the cache.
_SLICE_BYTES = 3_500_000


class WinogradConv2d(nn.Conv2d):
    """Replaces a 3×3 convolution of stride 1 for inference.

    The same function up to rounding (about 1e-6 relative).
    """

    def __init__(self, convolution: nn.Conv2d):
        super().__init__(
            convolution.in_channels,
            convolution.out_channels,
            3,
            padding=1,
            bias=convolution.bias is not None,
            device="meta",
        )
        self.weight, self.bias = convolution.weight, convolution.bias
        transform = torch.tensor(
            _FILTER_TRANSFORM, dtype=self.weight.dtype, device=self.weight.device
        )
        filters = torch.einsum("ai,ocij,bj->aboc", transform, self.weight.detach(), transform)
        self.register_buffer("filters", filters.contiguous(), persistent=False)

    @staticmethod
    def fits(convolution: nn.Module) -> bool:
        """Whether a module is a convolution that this class makes faster."""
        return (
            type(convolution) is nn.Conv2d
            and convolution.kernel_size == (3, 3)
            and convolution.stride == convolution.padding == convolution.dilation == (1, 1)
            and convolution.groups == 1
            and min(convolution.in_channels, convolution.out_channels) >= _MIN_CHANNELS
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] → [B, O, H, W]."""
        return self.convolve(x, 0, True)

    def convolve(self, x: Tensor, first_channel: int, with_bias: bool) -> Tensor:
        """Convolve some of the input channels; the others count as zero.

        x [B, C', H, W]: input channels `first_channel` to `first_channel` + C' → [B, O, H, W].
        """
        channels = slice(first_channel, first_channel + x.shape[1])
        bias = self.bias if with_bias else None
        if (
            x.device.type != "cpu"
            or torch.is_autocast_enabled("cpu")
            or x.dtype != self.filters.dtype
        ):
            return F.conv2d(x, self.weight[:, channels], bias, padding=1)
        result = _convolve(x.permute(0, 2, 3, 1), self.filters[..., channels], bias)
        return result.permute(0, 3, 1, 2)


def _convolve(x: Tensor, filters: Tensor, bias: Tensor | None) -> Tensor:
    """x [B, H, W, C], filters [4, 4, O, C] → [B, H, W, O], a few rows of tiles at a time."""
    batch, height, width, channels = x.shape
    out_channels = filters.shape[2]
    tile_rows, tile_columns = -(-height // 2), -(-width // 2)
    x = _pad(x, 2 * tile_rows + 2, 2 * tile_columns + 2)
    result = x.new_empty(batch, tile_rows, 2, tile_columns, 2, out_channels)
    bytes_per_row = tile_columns * max(channels, out_channels) * x.element_size()
    parts = -(-tile_rows * bytes_per_row // _SLICE_BYTES)
    step = -(-tile_rows // parts)
    for image in range(batch):
        for start in range(0, tile_rows, step):
            out = result[image, start : start + step]
            _convolve_rows(x[image, 2 * start : 2 * (start + len(out)) + 2], filters, bias, out)
    return result.view(batch, 2 * tile_rows, 2 * tile_columns, out_channels)[:, :height, :width]


def _pad(x: Tensor, height: int, width: int) -> Tensor:
    """Pad x [B, H, W, C] with zeros, one row and column before and the others after.

    Returns [B, height, width, C]. Unlike F.pad it writes nothing twice.
    """
    padded = x.new_empty(len(x), height, width, x.shape[3])
    bottom, right = x.shape[1] + 1, x.shape[2] + 1
    padded[:, 1:bottom, 1:right] = x
    for border in (padded[:, 0], padded[:, bottom:], padded[:, :, 0], padded[:, :, right:]):
        border.zero_()
    return padded


def _convolve_rows(x: Tensor, filters: Tensor, bias: Tensor | None, out: Tensor) -> None:
    """x [2R + 2, 2Q + 2, C], filters [4, 4, O, C] → out [R, 2, Q, 2, O].

    Each transformed line is consumed before the next is computed.
    """
    rows, columns = out.shape[0], out.shape[2]
    lines = (
        _line_products(line, own, columns)
        for line, own in zip(_combinations(x, rows), filters, strict=True)
    )
    upper = next(lines)
    lower = next(lines)
    if bias is not None:
        lower.add_(bias)  # this line contributes to both output rows with factor 1
    upper.add_(lower)
    third = next(lines)
    torch.add(upper, third, out=out[:, 0])
    torch.sub(lower.sub_(third), next(lines), out=out[:, 1])


def _line_products(line: Tensor, filters: Tensor, columns: int) -> Tensor:
    """The contribution of a transformed line of tiles to the two columns of every tile.

    line [R, 2Q + 2, C], filters [4, O, C] → [R, Q, 2, O].
    """
    products = []
    tile_columns = _combinations(line.transpose(0, 1), columns)
    for tile_column, weight in zip(tile_columns, filters, strict=True):
        image = tile_column.transpose(0, 1).unsqueeze(0).permute(0, 3, 1, 2)
        product = F.conv2d(image, weight[:, :, None, None])
        products.append(product[0].permute(1, 2, 0))
    result = line.new_empty(len(line), columns, 2, len(filters[0]))
    torch.add(products[0], products[1], out=result[:, :, 0]).add_(products[2])
    torch.sub(products[1], products[2], out=result[:, :, 1]).sub_(products[3])
    return result


def _combinations(x: Tensor, tiles: int) -> Iterator[Tensor]:
    """The input transform along the first axis: x [2 · tiles + 2, …] → four [tiles, …], lazily."""
    a, b, c, d = (x[i : i + 2 * tiles - 1 : 2] for i in range(4))
    yield a - c
    yield b + c
    yield c - b
    yield b - d
