"""Redundancy reduction: a full memory becomes a shorter one, of fewer frames that are learned mixtures of those before.

Published (REMN; Chen, Zhang, Yang, Wu, 2023): when the memory holds N frames, a gate looks at its keys, Prob = max(0, tanh(conv(relu(BN(conv(GAP(k))))))) + γ, GAP over
space, and chooses S = argmax among the temporal policies; keys and values are each reduced by a 3-D convolution of temporal stride 2^(S+1): T frames
become T / 2^(S+1). Loss: KL(k ‖ reduced k) + KL(v ‖ reduced v), comparing feature distributions.

Ours: two policies, ÷2 and ÷4; the gate's convolutions run over time, over three frames, and what comes out is averaged over time, before the tanh; γ = 0.01; the
bias before the tanh starts at 0.5, where max(0, tanh) has a slope; the reducing convolutions see as many frames as their stride and one pixel (a 1-D convolution over
time at each pixel) and start as averages over time, so that an untrained reduction is a sensible one; the distributions compared are softmaxes over channels
of the mean over all elements; selection is straight-through in training: what one policy gives counts, the gate's gradient tells of all, and the
convolutions of a policy that is never chosen stay as they are.

Legend: B batch, K objects, T frames in memory, M elements of a frame, C channels, S policies.
"""

import dataclasses

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import ReducerConfig
from util.errors import InputError

_FLOOR = 0.01  # γ: keeps every policy's share above zero
_LIVE = 0.5


@dataclasses.dataclass(frozen=True)
class ReducedMemory:
    """What each policy makes of the memory, and which one is chosen: of each list, an entry a policy."""

    keys: list[Tensor]  # [B, T / 2^(S+1), M, C^k]
    values: list[Tensor]  # [B, K, T / 2^(S+1), M, C^v]
    selection: (
        Tensor  # [B, S]: 1 for the chosen policy, 0 for others, with the gradient of their shares
    )
    divergence: Tensor  # [B, K]: the loss, for each object


class _Gate(nn.Module):
    """How much each policy is worth. Where batch norms do not learn (stages 0 to 3, clip and remn), bn1 is its scale and shift alone."""

    def __init__(self, key_channels: int, policies: int):
        super().__init__()
        self.conv1 = nn.Conv1d(key_channels, key_channels, 3, padding=1)
        self.bn1 = nn.BatchNorm1d(key_channels)
        self.conv2 = nn.Conv1d(key_channels, policies, 3, padding=1)
        nn.init.constant_(self.conv2.bias, _LIVE)

    def forward(self, key: Tensor) -> Tensor:
        """key [B, T, M, C^k] → [B, S], above 0."""
        pooled = key.mean(2).transpose(1, 2)
        scores = self.conv2(F.relu(self.bn1(self.conv1(pooled)))).mean(2)
        return scores.tanh().clamp(min=0) + _FLOOR


class _Reduction(nn.Module):
    """Some frames become one."""

    def __init__(self, channels: int, frames: int):
        super().__init__()
        self.conv = nn.Conv1d(channels, channels, frames, stride=frames)
        self.start_as_average()

    @torch.no_grad()
    def start_as_average(self) -> None:
        """The weights of a plain average over the frames."""
        channels, _, frames = self.conv.weight.shape
        self.conv.weight.copy_(torch.eye(channels).unsqueeze(2).expand(-1, -1, frames) / frames)
        self.conv.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """x [..., T, M, C], T a multiple of the frames → [..., T / frames, M, C], of the same type, in full precision between."""
        weight = self.conv.weight
        grouped = x.unflatten(-3, (-1, weight.shape[2])).to(weight.dtype)
        with torch.autocast(x.device.type, enabled=False):
            return (torch.einsum("...tmc,oct->...mo", grouped, weight) + self.conv.bias).to(x.dtype)


class RedundancyReduction(nn.Module):
    """The gate and, for each policy, the convolution that reduces keys and the one that reduces values."""

    def __init__(self, config: ReducerConfig, key_channels: int, value_channels: int):
        """Raises InputError where there is no policy."""
        super().__init__()
        if config.policies < 1:
            raise InputError(
                f"redundancy reduction: policies is {config.policies}; it must be at least 1"
            )
        self.factors = tuple(
            2 ** (number + 1) for number in range(config.policies)
        )  # how many frames become one
        self.gate = _Gate(key_channels, config.policies)
        self.keys = nn.ModuleList(_Reduction(key_channels, factor) for factor in self.factors)
        self.values = nn.ModuleList(_Reduction(value_channels, factor) for factor in self.factors)

    def forward(self, key: Tensor, value: Tensor) -> ReducedMemory:
        """For training: key [B, T, M, C^k], value [B, K, T, M, C^v], T a multiple of the largest factor."""
        with torch.autocast(
            key.device.type, enabled=False
        ):  # keys are compared by differences of squares
            key, value = key.float(), value.float()
            selection = select(self.gate(key))
            keys, values = (
                [reduce(key) for reduce in self.keys],
                [reduce(value) for reduce in self.values],
            )
            of_keys = torch.stack(
                [divergence(key.flatten(1, 2), reduced.flatten(1, 2)) for reduced in keys], -1
            )  # [B, S]
            of_values = torch.stack(
                [divergence(value.flatten(2, 3), reduced.flatten(2, 3)) for reduced in values], -1
            )  # [B, K, S]
            return ReducedMemory(
                keys,
                values,
                selection,
                ((of_keys.unsqueeze(1) + of_values) * selection.unsqueeze(1)).sum(-1),
            )

    def choose(self, key: Tensor) -> int:
        """For inference: of one video's key [T, M, C^k], how many frames shall become one."""
        with torch.autocast(key.device.type, enabled=False):
            return self.factors[int(self.gate(key.unsqueeze(0).float()).argmax())]

    def reduce_key(self, key: Tensor, factor: int) -> Tensor:
        """key [..., T, M, C^k] → [..., T / factor, M, C^k]."""
        return self.keys[self.factors.index(factor)](key)

    def reduce_value(self, value: Tensor, factor: int) -> Tensor:
        """value [..., T, M, C^v] → [..., T / factor, M, C^v]."""
        return self.values[self.factors.index(factor)](value)


def select(worth: Tensor) -> Tensor:
    """worth [..., S], above 0 → 1 for the largest and 0 for the others, whose gradient is that of each one's share of the sum (straight-through)."""
    share = worth / worth.sum(-1, keepdim=True)
    return F.one_hot(worth.argmax(-1), worth.shape[-1]) + (share - share.detach())


def divergence(before: Tensor, after: Tensor) -> Tensor:
    """Kullback-Leibler divergence of features [..., N', C] from features [..., N, C]: of the softmaxes over channels of their means over elements. Returns [...]."""
    ours, theirs = (x.mean(-2).log_softmax(-1) for x in (after, before))
    return F.kl_div(ours, theirs, reduction="none", log_target=True).sum(-1)
