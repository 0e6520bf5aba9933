"""The training unroll. Legend: B batch, K objects, T frames, L frames of a clip, C channels, N memory elements, H W image size, h w at stride 16, M = h · w."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from model.affinity_regularisers import AffinityConfig, drop_connections, objects_at_stride_16, reallocate
from model.losses import BootstrapConfig, bootstrapped_cross_entropy, clip_dice, mean_iou
from model.matching import dense_readout, similarity
from model.network import FrameFeatures, VOSNetwork
from model.soft_aggregation import aggregate
from util.errors import InputError
from util.images import normalise_images


@dataclasses.dataclass(frozen=True)
class RolloutResult:
    """What one batch gives: `loss` to be minimised; the rest is for watching."""

    loss: Tensor  # scalar
    parts: Mapping[str, Tensor]  # what the loss is the sum of, by name: scalars, detached
    frame_losses: Tensor  # [T - 1] cross entropy of each predicted frame, detached
    iou: Tensor  # scalar: mean over samples and objects in the last frame, detached
    logits: Tensor  # [B, T - 1, K + 1, H, W], detached


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Memory:
    """What the rollout has memorised so far, frame by frame."""

    keys: list[Tensor] = dataclasses.field(default_factory=list)  # [B, C^k, M] each
    values: list[Tensor] = dataclasses.field(default_factory=list)  # [B, K, C^v, M] each
    objects: list[Tensor] = dataclasses.field(default_factory=list)  # [B, K, M] each, bool: elements inside each object


class Rollout(nn.Module):
    """Predicts frames 1..T-1 of a batch of short videos from the truth of frame 0, clip by clip, and the loss of that.

    The frames of a clip are predicted at once; the last frame of each clip but the last joins the memory with its predicted, soft mask, through which
    gradients flow. Softmax over all elements. With clips of one frame this is STCN's training (section 4); with longer ones, PCVOS's per-clip
    training, whose code was never published: that a clip's last frame joins the memory is ours. This module is what DistributedDataParallel wraps.
    """

    def __init__(
        self,
        network: VOSNetwork,
        bootstrap: BootstrapConfig | None = None,
        *,
        clip_frames: int = 1,
        dice_weight: float = 0.0,
        affinity: AffinityConfig | None = None,
        compiled: bool = False,
        checkpoint_activations: bool = False,
    ):
        """clip_frames: of a clip; T - 1 must be a multiple of it. dice_weight: of the Dice loss of whole clips beside the cross entropy. compiled: encoders, refinement
        and decoder through torch.compile. checkpoint_activations: keep only what enters them, and compute the rest again in the backward pass: less
        memory, more time."""
        super().__init__()
        self.network = network
        self.bootstrap = bootstrap or BootstrapConfig()
        self.clip_frames, self.dice_weight = clip_frames, dice_weight
        self.affinity = affinity or AffinityConfig()
        parts = (network.encode_key, network.encode_value, network.refine, network.decode)
        self._encode_key, self._encode_value, self._refine, self._decode = (_prepared(part, compiled, checkpoint_activations) for part in parts)

    def forward(self, frames: Tensor, labels: Tensor, num_objects: Tensor | Sequence[int], iteration: int = 0) -> RolloutResult:
        """frames uint8 RGB [B, T, 3, H, W]; labels [B, T, H, W], ids 1..num_objects and 0; num_objects [B], best not on a GPU, which would be waited for;
        iteration sets the loss's hardest fraction.

        The loss is the sum over clips of the mean cross entropy of their frames and, weighted, of their Dice loss. Raises InputError where the frames do not make whole clips.
        """
        if (frames.shape[1] - 1) % self.clip_frames:
            raise InputError(f"{frames.shape[1]} frames a sample: the first and whole clips of {self.clip_frames} frames are needed")
        counts = torch.as_tensor(num_objects).cpu()
        present = (torch.arange(1, int(counts.max()) + 1) <= counts[:, None]).to(labels.device, non_blocking=True)  # [B, K]
        logits = self.predict(frames, labels[:, 0], present)
        fraction = self.bootstrap.fraction_at(iteration)
        losses = torch.stack([bootstrapped_cross_entropy(logits[:, t], labels[:, t + 1], fraction) for t in range(logits.shape[1])])
        parts = {"cross_entropy": losses.sum() / self.clip_frames}
        if self.dice_weight:
            clips = zip(logits.split(self.clip_frames, 1), labels[:, 1:].split(self.clip_frames, 1), strict=True)
            parts["dice"] = self.dice_weight * sum(clip_dice(ours, truth, present) for ours, truth in clips)
        with torch.no_grad():
            iou = mean_iou(logits[:, -1].argmax(1), labels[:, -1], present)
        watched = {name: part.detach() for name, part in parts.items()}
        return RolloutResult(sum(parts.values()), watched, losses.detach(), iou, logits.detach())

    def predict(self, frames: Tensor, first_labels: Tensor, present: Tensor) -> Tensor:
        """Aggregated logits [B, T - 1, K + 1, H, W] of frames 1..T-1; -inf for objects a sample lacks (`present` [B, K] is False)."""
        batch, length = frames.shape[:2]
        images = normalise_images(frames)
        every_frame = self._encode_key(images.flatten(0, 1))
        ids = torch.arange(1, present.shape[1] + 1, device=first_labels.device)
        masks = (first_labels.unsqueeze(1) == ids[:, None, None]).to(images.dtype)  # [B, K, H, W]: raw, not aggregated
        absent = torch.nn.functional.pad(~present, (1, 0))[:, None, :, None, None]

        memory, outputs = _Memory(), []
        for start in range(1, length, self.clip_frames):
            self._memorise(memory, images[:, start - 1], _frames(every_frame, batch, slice(start - 1, start)), masks)
            clip = _frames(every_frame, batch, slice(start, start + self.clip_frames))
            readout = self._refine(self._read(memory, clip.key.unflatten(0, (batch, -1))), clip.feature_s16.unflatten(0, (batch, -1)))
            probabilities = self._decode(readout.flatten(0, 1), clip).float().sigmoid().unflatten(0, (batch, -1))
            logits = aggregate(probabilities * present[:, None, :, None, None]).masked_fill(absent, float("-inf"))
            outputs.append(logits)
            masks = logits[:, -1].softmax(1)[:, 1:]
        return torch.cat(outputs, 1)

    def _memorise(self, memory: _Memory, images: Tensor, features: FrameFeatures, masks: Tensor) -> None:
        """Add a frame: images [B, 3, H, W], masks [B, K, H, W] in 0..1."""
        memory.keys.append(features.key.flatten(2))
        memory.values.append(self._encode_value(images, features.feature_s16, masks).flatten(3))
        if self.affinity.reallocate:
            memory.objects.append(objects_at_stride_16(masks))

    def _read(self, memory: _Memory, query_key: Tensor) -> Tensor:
        """query_key [B, L, C^k, h, w] → readout [B, L, K, C^v, h, w]."""
        clip_frames, _, height, width = query_key.shape[1:]
        memory_key, queries = torch.cat(memory.keys, -1).transpose(1, 2), query_key.permute(0, 1, 3, 4, 2).flatten(1, 3)
        with torch.autocast(query_key.device.type, enabled=False):  # squares and differences of keys need float32
            scores = similarity(memory_key.float(), queries.float(), kind=self.network.config.similarity)
            if self.training and self.affinity.dropout:
                scores = drop_connections(scores, self.affinity.dropout)
            weights = scores.softmax(-1).unsqueeze(1)  # [B, 1, L · M, N]
            if self.training and self.affinity.reallocate:
                weights = reallocate(weights, torch.cat(memory.objects, -1))
        values = torch.cat(memory.values, -1).transpose(2, 3)
        readout = dense_readout(values, weights.to(values.dtype))  # [B, K, L · M, C^v]
        return readout.unflatten(2, (clip_frames, height, width)).permute(0, 2, 1, 5, 3, 4)


def _frames(features: FrameFeatures, batch: int, chosen: slice) -> FrameFeatures:
    """Of all frames' features, [B · T, …], those of some frames of each sample, [B · L, …]."""
    return FrameFeatures(*(getattr(features, field.name).unflatten(0, (batch, -1))[:, chosen].flatten(0, 1) for field in dataclasses.fields(features)))


def _prepared(part: Callable[..., Any], compiled: bool, checkpointed: bool) -> Callable[..., Any]:
    part = torch.compile(part) if compiled else part
    return functools.partial(checkpoint, part, use_reentrant=False) if checkpointed else part
