"""Intra-clip refinement: window attention within a clip refines its readouts before decoding.

The attention weights depend on the frames' local keys alone: they are computed once per clip and
shared by all objects. Source: PCVOS (Park et al., CVPR 2022), intra-clip refinement; the windows
are those of Video Swin Transformer (Liu et al., CVPR 2022), section 3.2.

Legend: B clips, L frames of a clip, K objects, C channels, h w height and width at stride 16,
T = L · h · w tokens of a clip, W windows, N tokens of a window.
"""

import dataclasses
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import RefinerConfig

_SEPARATED = -100.0  # added to the score of two tokens that only the shift brought into one window
# Objects × tokens refined at a time: bounds the hidden layer (512 MB at 2048 channels) for any
# number of objects. On a CPU, larger tensors need newly mapped memory at every operation: a sixth
# of the time.
_TOKENS_AT_ONCE, _TOKENS_AT_ONCE_ON_CPU = 1 << 16, 1 << 13
_MLP_RATIO = 4

Size = tuple[int, int, int]  # frames, rows, columns


@dataclasses.dataclass(frozen=True)
class Windows:
    """The partition of a clip's tokens into windows; the last window of an axis is padded.

    separated marks pairs of tokens that only the shift brought into one window; None without a
    shift.
    """

    tokens: Tensor  # [W, N] the token at each slot; 0 if `padding`
    padding: Tensor  # [W, N] bool
    slots: Tensor  # [T] the slot of each token, counted through all windows
    separated: Tensor | None  # [W, N, N] bool

    @staticmethod
    def of(size: Size, window: Size, *, shifted: bool, device: torch.device) -> "Windows":
        """Windows over a clip of `size`.

        An axis no longer than the window is one window and is never shifted; others are shifted by
        half a window if `shifted`.
        """
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
        slots = tokens.flatten().argsort()[-count:]
        separated = _separated(padded, shift, sides, device) if any(shift) else None
        return Windows(tokens.clamp(min=0), tokens < 0, slots, separated)

    def split(self, x: Tensor) -> Tensor:
        """x [..., T, C] → [..., W, N, C]; values in padded slots are arbitrary."""
        return x.index_select(-2, self.tokens.flatten()).unflatten(-2, self.tokens.shape)

    def join(self, windows: Tensor) -> Tensor:
        """The inverse of split: [..., W, N, C] → [..., T, C]."""
        return windows.flatten(-3, -2).index_select(-2, self.slots)


def _cut(grid: Tensor, sides: Size) -> Tensor:
    """grid [L, h, w] of whole windows → [W, N]."""
    for axis, side in zip((0, 2, 4), sides, strict=True):
        grid = grid.unflatten(axis, (-1, side))
    return grid.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(0, 2)


def _separated(
    padded: Sequence[int], shift: Sequence[int], sides: Size, device: torch.device
) -> Tensor:
    """[W, N, N] bool: pairs of which exactly one wrapped round to the far end of some axis."""
    frames, rows, columns = (
        torch.arange(length, device=device) >= length - by
        for length, by in zip(padded, shift, strict=True)
    )
    regions = _cut(4 * frames[:, None, None] + 2 * rows[:, None] + 1 * columns, sides)
    return regions.unsqueeze(-1) != regions.unsqueeze(-2)


def relative_position_index(window: Size) -> Tensor:
    """For each pair of a window's slots, the index of their offset in the bias table.

    Returns [N, N], below (2 frames - 1)(2 rows - 1)(2 columns - 1).
    """
    slots = torch.cartesian_prod(*(torch.arange(side) for side in window))
    offsets = slots[:, None] - slots[None] + torch.tensor([side - 1 for side in window])
    _, rows, columns = (2 * side - 1 for side in window)
    return (offsets[..., 0] * rows + offsets[..., 1]) * columns + offsets[..., 2]


def _tokens_at_once(x: Tensor) -> int:
    return _TOKENS_AT_ONCE_ON_CPU if x.device.type == "cpu" else _TOKENS_AT_ONCE


class _WindowAttention(nn.Module):
    """One head. Query and key are one projection of the local key, the values are the readouts.

    scaled_dot_product_attention would compute the weights for every group of objects; on a CPU it
    was measured to be no faster (5 frames of 480p, 3 objects).
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
        """Attention weights: local_key [B, T, C] → [B, W, N, N].

        Each row sums to 1 together with the padding's share. Padding takes part as a key of zeros;
        its share is returned as zero, since its value is the bias alone, which `forward` adds to
        every token. A window smaller than the full one uses the first N rows and columns of the
        full one's offsets, as published.
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
    """Window attention, then a two-layer perceptron at each token, both residual."""

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
        # In pieces, since the hidden layer is the largest tensor of all.
        pieces = x.split(max(_tokens_at_once(x) // (x.shape[0] * x.shape[1]), 1), dim=2)
        return torch.cat([piece + self._perceptron(piece) for piece in pieces], dim=2)

    def _perceptron(self, x: Tensor) -> Tensor:
        return self.mlp.fc2(F.gelu(self.mlp.fc1(self.norm2(x))))


class IntraClipRefinement(nn.Module):
    """Blocks of window attention, every second one with shifted windows, and a final norm.

    Module names are those of the public checkpoints. Linear layers and offset tables are
    initialised from a truncated normal distribution of deviation 0.02, biases with zero.
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
        """Refine readouts; objects do not attend to each other.

        readout [B, L, K, C^v, h, w], local_key [B, L, C, h, w] → [B, L, K, C^v, h, w].
        """
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
        objects_at_once = max(_tokens_at_once(tokens) // (tokens.shape[0] * tokens.shape[2]), 1)
        refined = []
        for x in tokens.split(objects_at_once, dim=1):
            for block, shared, windows in zip(blocks, weights, layouts):
                x = block(x, shared, windows)
            refined.append(self.norm(x))
        return torch.cat(refined, dim=1).unflatten(2, size).permute(0, 2, 1, 5, 3, 4)
