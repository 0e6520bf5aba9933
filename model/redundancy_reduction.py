"""Redundancy reduction: a full memory becomes a shorter one of learned mixtures of its frames.

Published (REMN; Chen, Zhang, Yang, Wu, 2023): when the memory holds N frames, a gate scores the
temporal policies from its keys, Prob = max(0, tanh(conv(relu(BN(conv(GAP(k))))))) + γ with GAP over
space, and chooses S = argmax. Keys and values are each reduced by a 3-D convolution of temporal
stride 2^(S+1): T frames become T / 2^(S+1). Loss: KL(k ‖ reduced k) + KL(v ‖ reduced v), comparing
feature distributions.

Ours: two policies, ÷2 and ÷4. The gate's convolutions run over three frames of time, and their
output is averaged over time before the tanh; γ = 0.01; the bias before the tanh starts at 0.5,
where max(0, tanh) has a slope. The reducing convolutions span as many frames as their stride and
one pixel (a 1-D convolution over time at each pixel); they are initialised as averages over time,
so that an untrained reduction is sensible. The distributions compared are softmaxes over channels
of the mean over all elements. Selection is straight-through in training: the forward pass uses the
chosen policy, the gate's gradient covers all policies, and the convolutions of a policy that is
never chosen do not change.

Legend: B batch, K objects, T frames in memory, M elements of a frame, C channels, S policies.
"""

import dataclasses

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import ReducerConfig
from util.errors import InputError

_LIVE = 0.5


@dataclasses.dataclass(frozen=True)
class ReducedMemory:
    """The memory as each policy reduces it (an entry per policy), and the choice among them."""

    keys: list[Tensor]  # [B, T / 2^(S+1), M, C^k]
    values: list[Tensor]  # [B, K, T / 2^(S+1), M, C^v]
    selection: Tensor  # [B, S]: 1 for the chosen policy, 0 for others; see select
    divergence: Tensor  # [B, K]: the loss of each object


class _Gate(nn.Module):
    """Scores the policies. If batch norms are frozen, bn1 acts by its scale and shift alone.

    floor: γ, added to every score. It changes no choice, only the shares that selection's gradient
    follows.
    """

    def __init__(self, key_channels: int, policies: int, floor: float):
        super().__init__()
        self.floor = floor
        self.conv1 = nn.Conv1d(key_channels, key_channels, 3, padding=1)
        self.bn1 = nn.BatchNorm1d(key_channels)
        self.conv2 = nn.Conv1d(key_channels, policies, 3, padding=1)
        nn.init.constant_(self.conv2.bias, _LIVE)

    def forward(self, key: Tensor) -> Tensor:
        """key [B, T, M, C^k] → [B, S], above 0."""
        pooled = key.mean(2).transpose(1, 2)
        scores = self.conv2(F.relu(self.bn1(self.conv1(pooled)))).mean(2)
        return scores.tanh().clamp(min=0) + self.floor


class _Reduction(nn.Module):
    """Merges groups of consecutive frames into one frame each."""

    def __init__(self, channels: int, frames: int):
        super().__init__()
        self.conv = nn.Conv1d(channels, channels, frames, stride=frames)
        self.start_as_average()

    @torch.no_grad()
    def start_as_average(self) -> None:
        """Set the weights to a plain average over the frames."""
        channels, _, frames = self.conv.weight.shape
        self.conv.weight.copy_(torch.eye(channels).unsqueeze(2).expand(-1, -1, frames) / frames)
        self.conv.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """x [..., T, M, C], T a multiple of the group size → [..., T / group size, M, C].

        Computed in the weights' precision and returned in the type of x.
        """
        weight = self.conv.weight
        grouped = x.unflatten(-3, (-1, weight.shape[2])).to(weight.dtype)
        with torch.autocast(x.device.type, enabled=False):
            return (torch.einsum("...tmc,oct->...mo", grouped, weight) + self.conv.bias).to(x.dtype)


class RedundancyReduction(nn.Module):
    """The gate and, for each policy, a convolution that reduces keys and one that reduces values.

    Raises InputError if there is no policy.
    """

    def __init__(self, config: ReducerConfig, key_channels: int, value_channels: int):
        super().__init__()
        if config.policies < 1:
            raise InputError(
                f"redundancy reduction: policies is {config.policies}; it must be at least 1"
            )
        # How many frames each policy merges into one.
        self.factors = tuple(2 ** (number + 1) for number in range(config.policies))
        self.gate = _Gate(key_channels, config.policies, config.floor)
        self.keys = nn.ModuleList(_Reduction(key_channels, factor) for factor in self.factors)
        self.values = nn.ModuleList(_Reduction(value_channels, factor) for factor in self.factors)

    def forward(self, key: Tensor, value: Tensor) -> ReducedMemory:
        """Reduce by every policy, as training needs it.

        key [B, T, M, C^k], value [B, K, T, M, C^v]; T is a multiple of the largest factor.
        """
        # Full precision: keys are compared by differences of squares.
        with torch.autocast(key.device.type, enabled=False):
            key, value = key.float(), value.float()
            selection = select(self.gate(key))
            keys = [reduce(key) for reduce in self.keys]
            values = [reduce(value) for reduce in self.values]
            of_keys = torch.stack(  # [B, S]
                [divergence(key.flatten(1, 2), reduced.flatten(1, 2)) for reduced in keys], -1
            )
            of_values = torch.stack(  # [B, K, S]
                [divergence(value.flatten(2, 3), reduced.flatten(2, 3)) for reduced in values], -1
            )
            loss = ((of_keys.unsqueeze(1) + of_values) * selection.unsqueeze(1)).sum(-1)
            return ReducedMemory(keys, values, selection, loss)

    def choose(self, key: Tensor) -> int:
        """The factor to reduce one video's memory by, from its key [T, M, C^k]."""
        with torch.autocast(key.device.type, enabled=False):
            return self.factors[int(self.gate(key.unsqueeze(0).float()).argmax())]

    def reduce_key(self, key: Tensor, factor: int) -> Tensor:
        """key [..., T, M, C^k] → [..., T / factor, M, C^k]."""
        return self.keys[self.factors.index(factor)](key)

    def reduce_value(self, value: Tensor, factor: int) -> Tensor:
        """value [..., T, M, C^v] → [..., T / factor, M, C^v]."""
        return self.values[self.factors.index(factor)](value)


def select(worth: Tensor) -> Tensor:
    """Straight-through argmax: 1 for the largest, 0 for the others, with the gradient of their
    shares.

    worth [..., S], above 0 → [..., S].
    """
    share = worth / worth.sum(-1, keepdim=True)
    return F.one_hot(worth.argmax(-1), worth.shape[-1]) + (share - share.detach())


def divergence(before: Tensor, after: Tensor) -> Tensor:
    """Kullback-Leibler divergence between the feature distributions of two sets of elements.

    before [..., N, C], after [..., N', C] → [...]. A distribution is the softmax over channels of
    the mean over elements.
    """
    ours, theirs = (x.mean(-2).log_softmax(-1) for x in (after, before))
    return F.kl_div(ours, theirs, reduction="none", log_target=True).sum(-1)
