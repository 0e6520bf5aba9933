"""Training losses. Legend: B batch, K objects, L frames of a clip, H W image size."""

import dataclasses

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclasses.dataclass(frozen=True, kw_only=True)
class BootstrapConfig:
    """Which pixels count: all until `start_iteration`, then the hardest, falling linearly to `final_fraction` at `end_iteration`. Source: MiVOS, section 4."""

    start_iteration: int = 20_000
    end_iteration: int = 70_000
    final_fraction: float = 0.15

    def fraction_at(self, iteration: int) -> float:
        """Fraction of pixels, in (0, 1], that count at an iteration (from 0)."""
        if iteration < self.start_iteration:
            return 1.0
        progress = (iteration - self.start_iteration) / max(
            self.end_iteration - self.start_iteration, 1
        )
        return 1.0 - (1.0 - self.final_fraction) * min(progress, 1.0)


def bootstrapped_cross_entropy(logits: Tensor, labels: Tensor, fraction: float) -> Tensor:
    """Mean cross entropy over each sample's hardest pixels, averaged over the batch.

    logits [B, K + 1, H, W], background first (-inf for an object the sample does not have), labels [B, H, W] in 0..K,
    fraction of pixels in (0, 1]. Returns a scalar.
    """
    loss = F.cross_entropy(logits.float(), labels.long(), reduction="none").flatten(1)
    if fraction < 1:
        loss = loss.topk(round(loss.shape[1] * fraction), dim=1, sorted=False).values
    return loss.mean()


def clip_dice(logits: Tensor, labels: Tensor, present: Tensor) -> Tensor:
    """Dice loss of a clip: 1 - Dice of each object over all its pixels, summed over objects, averaged over the batch.

    logits [B, L, K + 1, H, W], background first (-inf for an object the sample does not have), labels [B, L, H, W] in 0..K, present [B, K] which objects each sample has. An object
    that is neither in the clip nor predicted costs nothing. Returns a scalar. Source: PCVOS (clip-level Dice); the squared denominator is V-Net's (3DV 2016,
    section 3); that the sum runs over the clip's L × H × W pixels, and the one added above and below for objects that are not there, is ours.
    """
    predicted = logits.float().softmax(2)[:, :, 1:].transpose(1, 2)  # [B, K, L, H, W]
    ids = torch.arange(1, present.shape[1] + 1, device=labels.device)[:, None, None, None]
    truth = (labels.unsqueeze(1) == ids).to(predicted.dtype)
    shared, total = (predicted * truth).sum((2, 3, 4)), (predicted.square() + truth).sum((2, 3, 4))
    return ((1 - (2 * shared + 1) / (total + 1)) * present).sum(1).mean()


def mean_iou(prediction: Tensor, labels: Tensor, present: Tensor) -> Tensor:
    """Intersection over union of label maps [B, H, W], averaged over the objects `present` [B, K] says each sample has, then over samples; for watching a
    run, not a score of record. Returns a scalar. Nothing is read back from the device."""
    ids = torch.arange(1, present.shape[1] + 1, device=labels.device)[:, None, None]
    ours, truth = prediction.unsqueeze(1) == ids, labels.unsqueeze(1) == ids  # [B, K, H, W]
    scores = (ours & truth).sum((2, 3)) / (ours | truth).sum((2, 3)).clamp(min=1)
    return ((scores * present).sum(1) / present.sum(1).clamp(min=1)).mean()
