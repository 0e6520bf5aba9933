"""Pictures of training batches. Legend: B samples, T frames, H W height and width in pixels."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.utils import draw_segmentation_masks, make_grid

from util.palette import DAVIS_PALETTE

_MAX_SAMPLES = 4
_MASK_OPACITY = 0.5
_GAP_PIXELS = 4


def draw_batch(
    frames: Tensor, labels: Tensor, predicted: Tensor, *, cell_pixels: int = 256
) -> Tensor:
    """Draw truth above prediction for up to four samples, one column for each frame.

    frames: RGB uint8 [B, T, 3, H, W]. labels: true ids 0..255, [B, T, H, W]. predicted: ids of
    frames 1..T-1, [B, T - 1, H, W]; frame 0, whose mask is given, shows the truth in both rows. All
    may be on any device. cell_pixels: longest side of a frame in the picture.
    Returns: RGB uint8 [3, H', W'] on the CPU.
    """
    frames, labels, predicted = (
        values[:_MAX_SAMPLES].detach().cpu() for values in (frames, labels, predicted)
    )
    predicted = torch.cat([labels[:, :1].to(predicted.dtype), predicted], dim=1)
    size = _reduced_size(frames.shape[-2:], cell_pixels)
    frames = _resize(frames, size, "area")
    labels, predicted = (_resize(ids, size, "nearest") for ids in (labels, predicted))
    cells = [
        _draw_masks(frame, ids)
        for sample in range(len(frames))
        for row in (labels[sample], predicted[sample])
        for frame, ids in zip(frames[sample], row, strict=True)
    ]
    return make_grid(cells, nrow=frames.shape[1], padding=_GAP_PIXELS, pad_value=255)


def _draw_masks(frame: Tensor, ids: Tensor) -> Tensor:
    """A frame uint8 [3, H, W] under the translucent colours of its ids [H, W]."""
    present = [int(object_id) for object_id in ids.unique() if object_id > 0]
    if not present:
        return frame
    colours = [tuple(DAVIS_PALETTE[3 * object_id : 3 * object_id + 3]) for object_id in present]
    masks = torch.stack([ids == object_id for object_id in present])
    return draw_segmentation_masks(frame, masks, alpha=_MASK_OPACITY, colors=colours)


def _reduced_size(size: tuple[int, int], longest: int) -> tuple[int, int]:
    scale = min(1.0, longest / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _resize(images: Tensor, size: tuple[int, int], mode: str) -> Tensor:
    """Resize [B, T, …, H, W] to another (H, W), as uint8."""
    if tuple(images.shape[-2:]) != size:
        flat = images.flatten(0, -3).unsqueeze(1).float()
        images = F.interpolate(flat, size, mode=mode).round().reshape(*images.shape[:-2], *size)
    return images.to(torch.uint8)
