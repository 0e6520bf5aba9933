"""Intra-clip refinement: attention within windows of a clip refines its readouts before they are decoded.

The weights come from the frames' local keys alone: they are computed once a clip, and every object's readouts are mixed by the same ones.
Source: PCVOS (Park et al., CVPR 2022), intra-clip refinement; the windows are those of Video Swin Transformer (Liu et al., CVPR 2022), section 3.2.

Legend: B clips, L frames of a clip, K objects, C channels, h w height and width at stride 16, T = L · h · w tokens of a clip, W windows, N tokens of a window.
"""

import dataclasses
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import RefinerConfig

_SEPARATED = -100.0  # added to the score of two tokens that only the shift brought into one window
_TOKENS_AT_ONCE = (
    1 << 16
)  # objects × tokens refined at a time: bounds the hidden layer's size (512 MB at 2048 channels), whatever the number of objects;
_TOKENS_AT_ONCE_ON_CPU = (
    1 << 13
)  # larger tensors cost a CPU fresh memory at every operation, measured at a sixth of the whole
_MLP_RATIO = 4

Size = tuple[int, int, int]  # frames, rows, columns


@dataclasses.dataclass(frozen=True)
class Windows:
    """How the tokens of a clip lie in windows. The last window of an axis is filled up with padding."""

    tokens: Tensor  # [W, N] the token at each place; 0 where `padding`
    padding: Tensor  # [W, N] bool
    places: Tensor  # [T] where each token lies, counted through all windows
    separated: (
        Tensor | None
    )  # [W, N, N] bool: pairs that only the shift brought into one window; None without a shift

    @staticmethod
    def of(size: Size, window: Size, *, shifted: bool, device: torch.device) -> "Windows":
        """Windows over a clip of `size`. An axis no longer than the window is one window and is never shifted; others are, if `shifted`, by half a window."""
        sides = tuple(map(min, size, window))
        shift = [
            side // 2 if shifted and length > side else 0
            for length, side in zip(size, sides, strict=True)
        ]
        padded = [-(-length // side) * side for length, side in zip(size, sides, strict=True)]
        count = math.prod(size)
        numbers = torch.full(padded, -1, device=device)
        numbers[: size[0], : size[1], : size[2]] = torch.arange(count, device=device).view(size)
        tokens = _cut(numbers.roll([-by for by in shift], (0, 1, 2)), sides)
        places = tokens.flatten().argsort()[-count:]
        return Windows(
            tokens.clamp(min=0),
            tokens < 0,
            places,
            _separated(padded, shift, sides, device) if any(shift) else None,
        )

    def split(self, x: Tensor) -> Tensor:
        """x [..., T, C] → [..., W, N, C]; what lies at padded places is of no meaning."""
        return x.index_select(-2, self.tokens.flatten()).unflatten(-2, self.tokens.shape)

    def join(self, windows: Tensor) -> Tensor:
        """The inverse of split: [..., W, N, C] → [..., T, C]."""
        return windows.flatten(-3, -2).index_select(-2, self.places)


def _cut(grid: Tensor, sides: Size) -> Tensor:
    """grid [L, h, w] of whole windows → [W, N]."""
    for axis, side in zip((0, 2, 4), sides, strict=True):
        grid = grid.unflatten(axis, (-1, side))
    return grid.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(0, 2)


def _separated(
    padded: Sequence[int], shift: Sequence[int], sides: Size, device: torch.device
) -> Tensor:
    """[W, N, N] bool: pairs of which one and not the other came round to the far end of some axis."""
    frames, rows, columns = (
        torch.arange(length, device=device) >= length - by
        for length, by in zip(padded, shift, strict=True)
    )
    regions = _cut(4 * frames[:, None, None] + 2 * rows[:, None] + 1 * columns, sides)
    return regions.unsqueeze(-1) != regions.unsqueeze(-2)


def relative_position_index(window: Size) -> Tensor:
    """[N, N]: for two places of a window, the number of their offset among the (2 frames - 1)(2 rows - 1)(2 columns - 1) there are."""
    places = torch.cartesian_prod(*(torch.arange(side) for side in window))
    offsets = places[:, None] - places[None] + torch.tensor([side - 1 for side in window])
    _, rows, columns = (2 * side - 1 for side in window)
    return (offsets[..., 0] * rows + offsets[..., 1]) * columns + offsets[..., 2]


def _tokens_at_once(x: Tensor) -> int:
    return _TOKENS_AT_ONCE_ON_CPU if x.device.type == "cpu" else _TOKENS_AT_ONCE


class _WindowAttention(nn.Module):
    """One head. Query and key are one projection of the local key, the values are the readouts.

    scaled_dot_product_attention would make the weights anew for every group of objects; measured on a CPU (5 frames of 480p, 3 objects), it is no faster.
    """

    def __init__(self, key_channels: int, value_channels: int, window: Size):
        super().__init__()
        index = relative_position_index(window)
        self.register_buffer("position_index", index, persistent=False)
        self.relative_position_bias_table = nn.Parameter(
            torch.empty(math.prod(2 * side - 1 for side in window), 1)
        )
        self.qk = nn.Linear(key_channels, key_channels)
        self.v = nn.Linear(value_channels, value_channels)
        self.proj = nn.Linear(value_channels, value_channels)
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)

    def weights(self, local_key: Tensor, windows: Windows) -> Tensor:
        """local_key [B, T, C] → weights [B, W, N, N] of which each row, with the padding's share, sums to 1.

        Padding takes part as a key of zeros. Its share is returned as zero, since its value is the bias alone, which `forward` adds to every token.
        A smaller window than the full one uses the first N rows and columns of the full one's offsets, as published.
        """
        count = windows.tokens.shape[1]
        key = self.qk(windows.split(local_key).masked_fill(windows.padding.unsqueeze(-1), 0))
        scores = (key * key.shape[-1] ** -0.5) @ key.transpose(-1, -2)
        scores = scores + self.relative_position_bias_table[self.position_index[:count, :count], 0]
        if windows.separated is not None:
            scores = scores + windows.separated * _SEPARATED
        return scores.softmax(-1).masked_fill(windows.padding.unsqueeze(-2), 0)

    def forward(self, values: Tensor, weights: Tensor, windows: Windows) -> Tensor:
        """values [B, K, T, C], weights [B, W, N, N] → [B, K, T, C]."""
        projected = windows.split(F.linear(values, self.v.weight))
        mixed = windows.join(weights.unsqueeze(1) @ projected)
        return self.proj(mixed + self.v.bias)


class _Block(nn.Module):
    """Window attention, then a two-layer perceptron at each token; both add to what came in."""

    def __init__(self, key_channels: int, value_channels: int, window: Size):
        super().__init__()
        self.norm1 = nn.LayerNorm(key_channels)
        self.norm1_v = nn.LayerNorm(value_channels)
        self.attn = _WindowAttention(key_channels, value_channels, window)
        self.norm2 = nn.LayerNorm(value_channels)
        self.mlp = nn.Module()
        self.mlp.fc1 = nn.Linear(value_channels, _MLP_RATIO * value_channels)
        self.mlp.fc2 = nn.Linear(_MLP_RATIO * value_channels, value_channels)

    def weights(self, local_key: Tensor, windows: Windows) -> Tensor:
        return self.attn.weights(self.norm1(local_key), windows)

    def forward(self, x: Tensor, weights: Tensor, windows: Windows) -> Tensor:
        x = x + self.attn(self.norm1_v(x), weights, windows)
        pieces = x.split(
            max(_tokens_at_once(x) // (x.shape[0] * x.shape[1]), 1), dim=2
        )  # the hidden layer is the largest of all
        return torch.cat(
            [piece + self.mlp.fc2(F.gelu(self.mlp.fc1(self.norm2(piece)))) for piece in pieces],
            dim=2,
        )


class IntraClipRefinement(nn.Module):
    """Blocks of window attention, every second one with windows shifted by half; a final norm. Module names are those of the public checkpoints.

    Linear layers and offset tables start from a normal distribution of 0.02, truncated, without bias.
    """

    def __init__(self, config: RefinerConfig, value_channels: int):
        super().__init__()
        self.window = config.window
        stage = nn.Module()
        stage.blocks = nn.ModuleList(
            _Block(config.key_channels, value_channels, config.window) for _ in range(config.depth)
        )
        self.layers = nn.ModuleList([stage])
        self.norm = nn.LayerNorm(value_channels)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, readout: Tensor, local_key: Tensor) -> Tensor:
        """Refined readouts [B, L, K, C^v, h, w] of readout [B, L, K, C^v, h, w] and local_key [B, L, C, h, w]; objects do not see each other."""
        blocks = self.layers[0].blocks
        size = (local_key.shape[1], *local_key.shape[-2:])
        plain, shifted = (
            Windows.of(size, self.window, shifted=shifted, device=local_key.device)
            for shifted in (False, True)
        )
        layouts = [shifted if number % 2 else plain for number in range(len(blocks))]
        key = local_key.permute(0, 1, 3, 4, 2).flatten(1, 3)
        weights = [block.weights(key, windows) for block, windows in zip(blocks, layouts)]
        tokens = readout.permute(0, 2, 1, 4, 5, 3).flatten(2, 4)  # [B, K, T, C^v]
        refined = []
        for x in tokens.split(
            max(_tokens_at_once(tokens) // (tokens.shape[0] * tokens.shape[2]), 1), dim=1
        ):
            for block, shared, windows in zip(blocks, weights, layouts):
                x = block(x, shared, windows)
            refined.append(self.norm(x))
        return torch.cat(refined, dim=1).unflatten(2, size).permute(0, 2, 1, 5, 3, 4)
