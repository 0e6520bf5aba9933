"""The training unroll. Legend: B batch, K objects, T frames, C channels, N memory elements, H W image size, h w at stride 16, M = h · w."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from model.losses import BootstrapConfig, bootstrapped_cross_entropy, mean_iou
from model.matching import dense_readout, similarity
from model.network import FrameFeatures, VOSNetwork
from model.soft_aggregation import aggregate
from util.images import normalise_images


@dataclasses.dataclass(frozen=True)
class RolloutResult:
    """What one batch gives: `loss` to be minimised; the rest is for watching."""

    loss: Tensor  # scalar: the sum over predicted frames
    frame_losses: Tensor  # [T - 1], detached
    iou: Tensor  # scalar: mean over samples and objects in the last frame, detached
    logits: Tensor  # [B, T - 1, K + 1, H, W], detached


class Rollout(nn.Module):
    """Predicts frames 1..T-1 of a batch of short clips from the truth of frame 0, and the loss of that.

    Each predicted frame but the last joins the memory with its predicted, soft mask, through which gradients flow. Softmax over all
    elements. This module is what DistributedDataParallel wraps. Source: STCN, section 4.
    """

    def __init__(self, network: VOSNetwork, bootstrap: BootstrapConfig | None = None, *, compiled: bool = False, checkpoint_activations: bool = False):
        """compiled: encoders, refinement and decoder through torch.compile. checkpoint_activations: keep only what enters them, and compute the rest again in the
        backward pass: less memory, more time."""
        super().__init__()
        self.network = network
        self.bootstrap = bootstrap or BootstrapConfig()
        parts = (network.encode_key, network.encode_value, network.refine, network.decode)
        self._encode_key, self._encode_value, self._refine, self._decode = (_prepared(part, compiled, checkpoint_activations) for part in parts)

    def forward(self, frames: Tensor, labels: Tensor, num_objects: Tensor | Sequence[int], iteration: int = 0) -> RolloutResult:
        """frames uint8 RGB [B, T, 3, H, W]; labels [B, T, H, W], ids 1..num_objects and 0; num_objects [B], best not on a GPU, which would be waited for;
        iteration sets the loss's hardest fraction."""
        counts = torch.as_tensor(num_objects).cpu()
        present = (torch.arange(1, int(counts.max()) + 1) <= counts[:, None]).to(labels.device, non_blocking=True)  # [B, K]
        logits = self.predict(frames, labels[:, 0], present)
        fraction = self.bootstrap.fraction_at(iteration)
        losses = torch.stack([bootstrapped_cross_entropy(logits[:, t], labels[:, t + 1], fraction) for t in range(logits.shape[1])])
        with torch.no_grad():
            iou = mean_iou(logits[:, -1].argmax(1), labels[:, -1], present)
        return RolloutResult(losses.sum(), losses.detach(), iou, logits.detach())

    def predict(self, frames: Tensor, first_labels: Tensor, present: Tensor) -> Tensor:
        """Aggregated logits [B, T - 1, K + 1, H, W] of frames 1..T-1; -inf for objects a sample lacks (`present` [B, K] is False)."""
        batch, length = frames.shape[:2]
        images = normalise_images(frames)
        every_frame = self._encode_key(images.flatten(0, 1))
        features = [_frame(every_frame, batch, length, t) for t in range(length)]
        ids = torch.arange(1, present.shape[1] + 1, device=first_labels.device)
        masks = (first_labels.unsqueeze(1) == ids[:, None, None]).to(images.dtype)  # [B, K, H, W]: raw, not aggregated

        memory_keys, memory_values, outputs = [], [], []
        for t in range(1, length):
            memory_keys.append(features[t - 1].key.flatten(2))
            memory_values.append(self._encode_value(images[:, t - 1], features[t - 1].feature_s16, masks).flatten(3))
            readout = self._read(features[t].key, torch.cat(memory_keys, -1), torch.cat(memory_values, -1))
            readout = self._refine(readout.unsqueeze(1), features[t].feature_s16.unsqueeze(1)).squeeze(1)  # each frame is a clip of its own
            probabilities = self._decode(readout, features[t]).float().sigmoid() * present[:, :, None, None]
            logits = aggregate(probabilities)
            absent = torch.nn.functional.pad(~present, (1, 0))[:, :, None, None]
            outputs.append(logits.masked_fill(absent, float("-inf")))
            masks = outputs[-1].softmax(1)[:, 1:]
        return torch.stack(outputs, 1)

    def _read(self, query_key: Tensor, memory_key: Tensor, memory_value: Tensor) -> Tensor:
        """query_key [B, C^k, h, w], memory_key [B, C^k, N], memory_value [B, K, C^v, N] → readout [B, K, C^v, h, w]."""
        height, width = query_key.shape[-2:]
        with torch.autocast(query_key.device.type, enabled=False):  # squares and differences of keys need float32
            scores = similarity(memory_key.float().transpose(1, 2), query_key.float().flatten(2).transpose(1, 2), kind=self.network.config.similarity)
            weights = scores.softmax(-1)
        readout = dense_readout(memory_value.transpose(2, 3), weights.to(memory_value.dtype))
        return readout.transpose(2, 3).unflatten(-1, (height, width))


def _frame(features: FrameFeatures, batch: int, length: int, t: int) -> FrameFeatures:
    return FrameFeatures(*(getattr(features, field.name).unflatten(0, (batch, length))[:, t] for field in dataclasses.fields(features)))


def _prepared(part: Callable[..., Any], compiled: bool, checkpointed: bool) -> Callable[..., Any]:
    part = torch.compile(part) if compiled else part
    return functools.partial(checkpoint, part, use_reentrant=False) if checkpointed else part
