"""The training rollout: predicts a batch of short videos from their first masks.

Legend: B batch, K objects, T frames, L frames of a clip, C channels, N memory elements,
H W image size, h w at stride 16, M = h · w.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from model.config import NetworkConfig
from model.matching import dense_readout, similarity
from model.network import FrameFeatures, VOSNetwork
from model.soft_aggregation import aggregate
from model.training.affinity_regularisers import (
    AffinityConfig,
    drop_connections,
    objects_at_stride_16,
    reallocate,
)
from model.training.losses import BootstrapConfig, bootstrapped_cross_entropy, clip_dice, mean_iou
from util.errors import InputError
from util.images import normalise_images
from util.text import counted


@dataclasses.dataclass(frozen=True, kw_only=True)
class RolloutConfig:
    """How samples are predicted, and the loss of that."""

    # the pixels that count in the cross entropy
    bootstrap: BootstrapConfig = dataclasses.field(default_factory=BootstrapConfig)
    clip_frames: int = 1  # L; T - 1 must be a multiple of it
    dice_weight: float = 0.0  # of the Dice loss of whole clips beside the cross entropy
    affinity: AffinityConfig = dataclasses.field(default_factory=AffinityConfig)  # regularisers
    reduce_frames: int | None = None  # a multiple of the network's largest reduction
    reduction_weight: float = 1.0  # of the loss of the reduction
    compile: bool = False  # encoders, refinement and decoder through torch.compile
    # keep only the inputs of these parts, and compute their activations again in the backward
    # pass: less memory, more time
    checkpoint_activations: bool = False


@dataclasses.dataclass(frozen=True)
class RolloutResult:
    """The result of one batch: `loss` is minimised, everything else is detached and for display."""

    loss: Tensor  # scalar
    parts: Mapping[str, Tensor]  # what the loss is the sum of, by name: scalars
    frame_losses: Tensor  # [T - 1] cross entropy of each predicted frame
    iou: Tensor  # scalar: mean over samples and objects in the last frame
    logits: Tensor  # [B, T - 1, K + 1, H, W]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Memory:
    """What the rollout has memorised so far, frame by frame."""

    keys: list[Tensor] = dataclasses.field(default_factory=list)  # [B, C^k, M] each
    values: list[Tensor] = dataclasses.field(default_factory=list)  # [B, K, C^v, M] each
    # [B, K, M] bool each: elements inside each object
    objects: list[Tensor] = dataclasses.field(default_factory=list)
    share: Tensor | None = None  # [B], in the readout; None if there is only one memory


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prediction:
    """What the rollout predicts of frames 1..T-1."""

    logits: Tensor  # [B, T - 1, K + 1, H, W], aggregated; -inf for objects a sample lacks
    # [B, K]: how much reducing the memory changed its features; None if it was not reduced
    divergence: Tensor | None


class Rollout(nn.Module):
    """Predicts frames 1..T-1 of short videos from the truth of frame 0, and the loss of that.

    The video is predicted clip by clip, all frames of a clip at once. The last frame of each clip
    except the final one joins the memory with its predicted, soft mask, through which gradients
    flow. Reading is a softmax over all elements. With clips of one frame this is STCN's training
    (section 4), with longer ones PCVOS's per-clip training. The code of the latter was never
    published: that a clip's last frame joins the memory is ours.

    A network with foreground reinforcing gets the previous frame's masks: at first the truth, then
    the predicted ones. For a network with redundancy reduction, the memory is reduced once, when
    it holds `reduce_frames` frames beside the first one. Source: REMN; that both are trained in
    the rollout, and how, is ours.

    This is the module that DistributedDataParallel wraps.
    """

    def __init__(self, network: VOSNetwork, config: RolloutConfig | None = None):
        """Raises InputError if the network's parts cannot be trained so; see check_slots."""
        super().__init__()
        self.network, self.config = network, config or RolloutConfig()
        check_slots(network.config, self.config.clip_frames, self.config.reduce_frames)
        parts = (network.encode_key, network.encode_value, network.refine, network.decode)
        self._encode_key, self._encode_value, self._refine, self._decode = (
            _prepare(part, self.config) for part in parts
        )

    def forward(
        self,
        frames: Tensor,
        labels: Tensor,
        num_objects: Tensor | Sequence[int],
        iteration: int = 0,
    ) -> RolloutResult:
        """Predict a batch and compute its loss.

        The loss is the sum over clips of the mean cross entropy of their frames, plus the weighted
        Dice loss of the clips, plus the weighted divergence of the reduction (mean over samples
        and objects).

        frames: uint8 RGB [B, T, 3, H, W]. labels: [B, T, H, W], ids 1..num_objects and 0.
        num_objects: [B], preferably not on a GPU, which would have to be waited for.
        iteration: from 0; it sets the hardest fraction of pixels.

        Raises InputError if the frames do not form whole clips, or are too few for the memory to
        be reduced.
        """
        check_frames(frames.shape[1], self.config.clip_frames, self.config.reduce_frames)
        counts = torch.as_tensor(num_objects).cpu()
        present = torch.arange(1, int(counts.max()) + 1) <= counts[:, None]  # [B, K]
        present = present.to(labels.device, non_blocking=True)
        prediction = self.predict(frames, labels[:, 0], present)
        frame_losses, parts = self._losses(prediction, labels, present, iteration)
        with torch.no_grad():
            iou = mean_iou(prediction.logits[:, -1].argmax(1), labels[:, -1], present)
        return RolloutResult(
            loss=sum(parts.values()),
            parts={name: part.detach() for name, part in parts.items()},
            frame_losses=frame_losses.detach(),
            iou=iou,
            logits=prediction.logits.detach(),
        )

    def _losses(
        self, prediction: Prediction, labels: Tensor, present: Tensor, iteration: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The cross entropy of each predicted frame, [T - 1], and the loss's parts by name."""
        logits = prediction.logits
        fraction = self.config.bootstrap.fraction_at(iteration)
        frame_losses = torch.stack(
            [
                bootstrapped_cross_entropy(logits[:, t], labels[:, t + 1], fraction)
                for t in range(logits.shape[1])
            ]
        )
        parts = {"cross_entropy": frame_losses.sum() / self.config.clip_frames}
        if self.config.dice_weight:
            clips = zip(
                logits.split(self.config.clip_frames, 1),
                labels[:, 1:].split(self.config.clip_frames, 1),
                strict=True,
            )
            parts["dice"] = self.config.dice_weight * sum(
                clip_dice(ours, truth, present) for ours, truth in clips
            )
        if prediction.divergence is not None:
            divergence = (prediction.divergence * present).sum(1) / present.sum(1).clamp(min=1)
            parts["reduction"] = self.config.reduction_weight * divergence.mean()
        return frame_losses, parts

    def predict(self, frames: Tensor, first_labels: Tensor, present: Tensor) -> Prediction:
        """Predict frames 1..T-1.

        frames: uint8 RGB [B, T, 3, H, W]. first_labels: [B, H, W], those of frame 0.
        present: [B, K], which objects each sample has.
        """
        batch, length = frames.shape[:2]
        images = normalise_images(frames)
        # frame by frame, so that a clip is a slice that keeps its memory format
        every_frame = self._encode_key(images.transpose(0, 1).flatten(0, 1))
        ids = torch.arange(1, present.shape[1] + 1, device=first_labels.device)
        # [B, K, H, W], raw: the first masks are not aggregated
        masks = (first_labels.unsqueeze(1) == ids[:, None, None]).to(images.dtype)
        absent = torch.nn.functional.pad(~present, (1, 0))[:, None, :, None, None]

        memories, outputs, divergence = [_Memory()], [], None
        for start in range(1, length, self.config.clip_frames):
            self._memorise(
                memories,
                images[:, start - 1],
                _frames(every_frame, batch, slice(start - 1, start)),
                masks,
            )
            if divergence is None and len(memories[0].keys) - 1 == self.config.reduce_frames:
                memories, divergence = self._reduced(memories[0])
            clip = _frames(every_frame, batch, slice(start, start + self.config.clip_frames))
            query_key = self.network.enhance_query(clip.key, masks)
            readout = self._refine(
                self._read(memories, _by_sample(query_key, batch)),
                _by_sample(clip.feature_s16, batch),
            )
            probabilities = _by_sample(
                self._decode(readout.transpose(0, 1).flatten(0, 1), clip).float().sigmoid(), batch
            )
            logits = aggregate(probabilities * present[:, None, :, None, None]).masked_fill(
                absent, float("-inf")
            )
            outputs.append(logits)
            masks = logits[:, -1].softmax(1)[:, 1:]
        return Prediction(logits=torch.cat(outputs, 1), divergence=divergence)

    def _memorise(
        self, memories: Sequence[_Memory], images: Tensor, features: FrameFeatures, masks: Tensor
    ) -> None:
        """Add a frame to each memory: images [B, 3, H, W], masks [B, K, H, W] in 0..1."""
        value = self._encode_value(images, features.feature_s16, masks).flatten(3)
        for memory in memories:
            memory.keys.append(features.key.flatten(2))
            memory.values.append(value)
            if self.config.affinity.reallocate:
                memory.objects.append(objects_at_stride_16(masks))

    def _reduced(self, memory: _Memory) -> tuple[list[_Memory], Tensor]:
        """Reduce the frames after the first one by each of the network's policies.

        Returns the reduced memories, each with its share in the readout (1 or 0), and how much the
        reduction changes the features, [B, K].
        """
        reduced = self.network.reduce_memory(
            torch.stack(memory.keys[1:], 1).transpose(2, 3),
            torch.stack(memory.values[1:], 2).transpose(3, 4),
        )
        memories = []
        for key, value, share in zip(
            reduced.keys, reduced.values, reduced.selection.unbind(1), strict=True
        ):
            keys = key.transpose(2, 3).unbind(1)
            values = value.transpose(3, 4).to(memory.values[0].dtype).unbind(2)
            objects = ()
            if memory.objects:
                stacked = torch.stack(memory.objects[1:]).unflatten(0, (len(keys), -1))
                objects = stacked.float().mean(1) >= 0.5
            memories.append(
                _Memory(
                    keys=[memory.keys[0], *keys],
                    values=[memory.values[0], *values],
                    objects=[*memory.objects[:1], *objects],
                    share=share,
                )
            )
        return memories, reduced.divergence

    def _read(self, memories: Sequence[_Memory], query_key: Tensor) -> Tensor:
        """query_key [B, L, C^k, h, w] → readout [B, L, K, C^v, h, w].

        If there are several memories, each sample reads the one chosen for it; gradients reach the
        shares of all of them.
        """
        if len(memories) == 1:
            return self._read_one(memories[0], query_key)
        return sum(
            memory.share[:, None, None, None, None, None] * self._read_one(memory, query_key)
            for memory in memories
        )

    def _read_one(self, memory: _Memory, query_key: Tensor) -> Tensor:
        clip_frames, _, height, width = query_key.shape[1:]
        memory_key = torch.cat(memory.keys, -1).transpose(1, 2)
        queries = query_key.permute(0, 1, 3, 4, 2).flatten(1, 3)
        # squares and differences of keys need float32
        with torch.autocast(query_key.device.type, enabled=False):
            scores = similarity(
                memory_key.float(), queries.float(), kind=self.network.config.similarity
            )
            if self.training and self.config.affinity.dropout:
                scores = drop_connections(scores, self.config.affinity.dropout)
            weights = scores.softmax(-1).unsqueeze(1)  # [B, 1, L · M, N]
            if self.training and self.config.affinity.reallocate:
                weights = reallocate(weights, torch.cat(memory.objects, -1))
        values = torch.cat(memory.values, -1).transpose(2, 3)
        readout = dense_readout(values, weights.to(values.dtype))  # [B, K, L · M, C^v]
        return readout.unflatten(2, (clip_frames, height, width)).permute(0, 2, 1, 5, 3, 4)


def check_slots(network: NetworkConfig, clip_frames: int, reduce_frames: int | None) -> None:
    """Raise InputError if a network with these slots cannot be trained with these settings."""
    if network.enhancer is not None and clip_frames > 1:
        raise InputError(
            f"network {network.name}: foreground reinforcing goes frame by frame; "
            f"clip_frames is {clip_frames}, it must be 1"
        )
    if network.reducer is None:
        if reduce_frames is not None:
            raise InputError(
                f"network {network.name} has no redundancy reduction; reduce_frames is "
                f"{reduce_frames}: leave it out (none), or choose a network that has it"
            )
        return
    largest = 2**network.reducer.policies
    if reduce_frames is None or reduce_frames < 1 or reduce_frames % largest:
        raise InputError(
            f"network {network.name}: its redundancy reduction is trained by reducing the memory "
            f"once in each sample; reduce_frames is {reduce_frames}, it must be a multiple of "
            f"{largest} (--stage remn has it)"
        )


def check_frames(frames: int, clip_frames: int, reduce_frames: int | None) -> None:
    """Raise InputError if samples of so many frames do not form whole clips, or are too short.

    Too short means that the reduced memory would never be read.
    """
    sample = f"{counted(frames, 'frame')} a sample (--frames)"
    if (frames - 1) % clip_frames:
        raise InputError(
            f"{sample}, clips of {clip_frames} (--clip_frames): whole clips must follow the first "
            f"frame; {2 * clip_frames + 1} frames make two"
        )
    # one frame of each clip joins the memory
    needed = 0 if reduce_frames is None else (reduce_frames + 1) * clip_frames + 1
    if frames < needed:
        raise InputError(
            f"{sample}, reduce_frames {reduce_frames}: the reduced memory is never read; "
            f"{needed} frames or more are needed"
        )


def _frames(features: FrameFeatures, batch: int, chosen: slice) -> FrameFeatures:
    """The features of the chosen frames, [L · B, …], out of those of all, [T · B, …]; views."""
    return features[chosen.start * batch : chosen.stop * batch]


def _by_sample(x: Tensor, batch: int) -> Tensor:
    """x [L · B, …] → [B, L, …]; a view."""
    return x.unflatten(0, (-1, batch)).transpose(0, 1)


def _prepare(part: Callable[..., Any], config: RolloutConfig) -> Callable[..., Any]:
    part = torch.compile(part) if config.compile else part
    if not config.checkpoint_activations:
        return part
    return functools.partial(checkpoint, part, use_reentrant=False)
