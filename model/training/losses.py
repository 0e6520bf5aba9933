"""Training losses. Legend: B batch, K objects, L frames of a clip, H W image size."""

import dataclasses

import torch
import torch.nn.functional as F
from torch import Tensor

from util.ranges import bounded


@dataclasses.dataclass(frozen=True, kw_only=True)
class BootstrapConfig:
    """The hardest fraction of the pixels that counts in the loss.

    All pixels count until `start_iteration`; then the fraction falls linearly to `final_fraction`
    at `end_iteration`. Source: MiVOS, section 4.
    """

    start_iteration: int = 20_000
    end_iteration: int = 70_000
    final_fraction: float = bounded(0.15, above=0, at_most=1)

    def fraction_at(self, iteration: int) -> float:
        """Fraction of pixels, in (0, 1], that counts at an iteration (from 0)."""
        if iteration < self.start_iteration:
            return 1.0
        duration = max(self.end_iteration - self.start_iteration, 1)
        progress = (iteration - self.start_iteration) / duration
        return 1.0 - (1.0 - self.final_fraction) * min(progress, 1.0)


def bootstrapped_cross_entropy(logits: Tensor, labels: Tensor, fraction: float) -> Tensor:
    """Mean cross entropy over each sample's hardest pixels, averaged over the batch.

    logits: [B, K + 1, H, W], background first; -inf for an object that the sample lacks.
    labels: [B, H, W] in 0..K. fraction: of the pixels, in (0, 1].
    Returns: a scalar. Source: MiVOS, section 4.
    """
    loss = F.cross_entropy(logits.float(), labels.long(), reduction="none").flatten(1)
    if fraction < 1:
        loss = loss.topk(round(loss.shape[1] * fraction), dim=1, sorted=False).values
    return loss.mean()


def clip_dice(logits: Tensor, labels: Tensor, present: Tensor) -> Tensor:
    """Dice loss of a clip: 1 − Dice of each object over all pixels of the clip.

    The losses of the objects are summed; the sums are averaged over the batch. An object that is
    neither in the clip nor predicted has loss 0.

    logits: [B, L, K + 1, H, W], background first; -inf for an object that the sample lacks.
    labels: [B, L, H, W] in 0..K. present: [B, K], which objects each sample has.
    Returns: a scalar.

    Source: PCVOS (Dice over a clip); the squared denominator is V-Net's (3DV 2016, section 3).
    Ours: the sum runs over the clip's L × H × W pixels, and 1 is added to numerator and
    denominator, for objects that are absent.
    """
    predicted = logits.float().softmax(2)[:, :, 1:].transpose(1, 2)  # [B, K, L, H, W]
    ids = torch.arange(1, present.shape[1] + 1, device=labels.device)[:, None, None, None]
    truth = (labels.unsqueeze(1) == ids).to(predicted.dtype)
    shared, total = (predicted * truth).sum((2, 3, 4)), (predicted.square() + truth).sum((2, 3, 4))
    return ((1 - (2 * shared + 1) / (total + 1)) * present).sum(1).mean()


def mean_iou(prediction: Tensor, labels: Tensor, present: Tensor) -> Tensor:
    """Intersection over union, averaged over each sample's objects and then over the samples.

    It shows how a training proceeds and is no benchmark score. Nothing is read back from the
    device.

    prediction, labels: [B, H, W] in 0..K. present: [B, K], which objects each sample has.
    Returns: a scalar in 0..1.
    """
    ids = torch.arange(1, present.shape[1] + 1, device=labels.device)[:, None, None]
    ours, truth = prediction.unsqueeze(1) == ids, labels.unsqueeze(1) == ids  # [B, K, H, W]
    scores = (ours & truth).sum((2, 3)) / (ours | truth).sum((2, 3)).clamp(min=1)
    return ((scores * present).sum(1) / present.sum(1).clamp(min=1)).mean()
