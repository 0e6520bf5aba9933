"""Pictures of a batch of training clips. Legend: B samples, T frames, H W height and width in pixels."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.utils import draw_segmentation_masks, make_grid

from util.palette import DAVIS_PALETTE

_MOST_SAMPLES = 4
_FILL = 0.5
_GAP_PIXELS = 4


def batch_picture(
    frames: Tensor, labels: Tensor, predicted: Tensor, *, cell_pixels: int = 256
) -> Tensor:
    """Truth above prediction for at most four samples of a batch, a column a frame, objects in the colours of DAVIS.

    frames uint8 RGB [B, T, 3, H, W]; labels [B, T, H, W] ids in 0..255; predicted [B, T - 1, H, W], those of frames 1..T-1; on any device. The first frame's
    mask is given, and is shown in both rows. cell_pixels: the longest side a frame is reduced to. Returns uint8 RGB [3, H', W'] on the CPU.
    """
    frames, labels, predicted = (
        values[:_MOST_SAMPLES].detach().cpu() for values in (frames, labels, predicted)
    )
    predicted = torch.cat([labels[:, :1].to(predicted.dtype), predicted], dim=1)
    size = _reduced_size(frames.shape[-2:], cell_pixels)
    frames, labels, predicted = (
        _resized(frames, size, "area"),
        _resized(labels, size, "nearest"),
        _resized(predicted, size, "nearest"),
    )
    rows = [
        row
        for sample in zip(frames, labels, predicted, strict=True)
        for row in ((sample[0], sample[1]), (sample[0], sample[2]))
    ]
    cells = [_drawn(frame, ids) for row in rows for frame, ids in zip(*row, strict=True)]
    return make_grid(cells, nrow=frames.shape[1], padding=_GAP_PIXELS, pad_value=255)


def _drawn(frame: Tensor, ids: Tensor) -> Tensor:
    """A frame uint8 [3, H, W] half covered by the colours of ids [H, W]."""
    present = [int(object_id) for object_id in ids.unique() if object_id > 0]
    if not present:
        return frame
    colours = [tuple(DAVIS_PALETTE[3 * object_id : 3 * object_id + 3]) for object_id in present]
    return draw_segmentation_masks(
        frame, torch.stack([ids == object_id for object_id in present]), alpha=_FILL, colors=colours
    )


def _reduced_size(size: tuple[int, int], longest: int) -> tuple[int, int]:
    scale = min(1.0, longest / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _resized(images: Tensor, size: tuple[int, int], mode: str) -> Tensor:
    """[B, T, …, H, W] at another size, uint8."""
    if tuple(images.shape[-2:]) != size:
        flat = images.flatten(0, -3).unsqueeze(1).float()
        images = F.interpolate(flat, size, mode=mode).round().reshape(*images.shape[:-2], *size)
    return images.to(torch.uint8)
