"""What users hand over (frames, masks) as tensors, and sizes. Legend: L frames, H W size as given, H' W' working size, h w at stride 16."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from inference.config import MAX_WORKING_PIXELS
from model.network import STRIDE
from util.errors import InputError
from util.images import Padding, normalise_images

MAX_OBJECTS = 254
MAX_ID = 65535


def as_image(frame: Any, place: str) -> Tensor:
    """A frame uint8 RGB [H, W, 3] (array or tensor; a tensor may be [3, H, W]) as a uint8 tensor [3, H, W]. Raises InputError for anything else, and below 16 pixels."""
    image = _as_tensor(frame, place, "frame", "RGB uint8 [H, W, 3]")
    if image.ndim == 3 and image.shape[-1] == 3:
        image = image.permute(2, 0, 1)
    if image.ndim != 3 or image.shape[0] != 3 or image.dtype != torch.uint8:
        raise InputError(
            f"{place}: frame of shape {list(image.shape)} and type {image.dtype}; RGB uint8 [H, W, 3] is expected"
        )
    if min(image.shape[1:]) < STRIDE:
        raise InputError(
            f"{place}: frame of {image.shape[2]}×{image.shape[1]} pixels; at least {STRIDE}×{STRIDE} are needed"
        )
    return image


def as_label_map(mask: Any, size: tuple[int, int], place: str) -> tuple[Tensor, list[int]]:
    """A mask of ids [H, W] (whole numbers or booleans) as an int64 tensor, and its ids in order.

    Raises InputError for another shape or type, no object, or ids outside 0..65535.
    """
    labels = _as_tensor(mask, place, "mask", "ids [H, W]")
    if tuple(labels.shape) != size:
        raise InputError(
            f"{place}: mask of shape {list(labels.shape)}, frame of {list(size)}; a mask must have its frame's size"
        )
    if labels.is_floating_point() or labels.is_complex():
        raise InputError(
            f"{place}: mask of type {labels.dtype}; whole numbers are expected, the object's id at each pixel"
        )
    labels = labels.long()
    ids = labels.unique().tolist()
    if ids[0] < 0 or ids[-1] > MAX_ID:
        raise InputError(
            f"{place}: mask with id {ids[0] if ids[0] < 0 else ids[-1]}; ids are 1 to {MAX_ID}, 0 is background"
        )
    ids = [i for i in ids if i > 0]
    if not ids:
        raise InputError(f"{place}: mask without an object; leave the mask out where none is given")
    return labels, ids


def _as_tensor(value: Any, place: str, what: str, expected: str) -> Tensor:
    """Arrays, tensors and whatever else NumPy takes for an array of numbers."""
    if isinstance(value, Tensor):
        return value
    try:
        array = np.asarray(value)
        if array.dtype.byteorder not in "=|":
            array = array.astype(array.dtype.newbyteorder("="))
        return torch.from_numpy(
            np.require(array, requirements="CW")
        )  # torch takes arrays that are contiguous and may be written to
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{place}: {what} of type {type(value).__name__} that is no array of numbers; {expected} is expected"
        ) from error


@dataclasses.dataclass(frozen=True)
class Geometry:
    """How frames of one video reach the network and results return: resized to the working resolution, padded to multiples of 16.

    Published resizing acts on the normalised image, bicubic without antialiasing. Source: STCN, section 4 (YouTube-VOS).
    """

    size: tuple[int, int]
    working_size: tuple[int, int]
    padding: Padding

    @staticmethod
    def of(size: tuple[int, int], resolution: int) -> "Geometry":
        """resolution: the working shorter side in pixels, the longer truncated to an integer; -1 leaves the size as it is.

        Raises InputError where frames of that size would have more than 2^25 pixels, too many for any memory to be read.
        """
        shorter = min(size)
        working = (
            size
            if resolution == -1
            else tuple(
                int(resolution * side / shorter) if side != shorter else resolution for side in size
            )
        )
        if working[0] * working[1] > MAX_WORKING_PIXELS:
            asked = "as they are" if resolution == -1 else f"at resolution {resolution}"
            found = f"frames of {size[1]}×{size[0]} pixels {asked} are {working[1]}×{working[0]}, more than {MAX_WORKING_PIXELS >> 20} megapixels"
            raise InputError(f"{found}; give a lower resolution, or cut long frames")
        return Geometry(size, working, Padding.to_multiple(*working, STRIDE))

    @property
    def grid(self) -> tuple[int, int]:
        """h, w: the size of keys and values."""
        height, width = self.working_size
        return -(-height // STRIDE), -(-width // STRIDE)

    def to_network(self, images: Sequence[Tensor]) -> Tensor:
        """uint8 images, each [3, H, W] → normalised, padded [L, 3, 16h, 16w]."""
        if self.working_size == self.size:
            batch = normalise_images(torch.stack(tuple(images)))
        else:  # one at a time: frames may be much larger than the working size
            batch = torch.cat(
                [
                    F.interpolate(
                        normalise_images(image[None]),
                        self.working_size,
                        mode="bicubic",
                        align_corners=False,
                    )
                    for image in images
                ]
            )
        return self.padding.pad(batch).contiguous(memory_format=torch.channels_last)

    def labels_to_network(self, labels: Tensor) -> Tensor:
        """Ids [H, W] → ids [16h, 16w], nearest; 0 in the padding."""
        if self.working_size != self.size:
            labels = F.interpolate(labels[None, None].float(), self.working_size, mode="nearest")[
                0, 0
            ].long()
        return self.padding.pad(labels)

    def from_network(self, probabilities: Tensor) -> Tensor:
        """[L, K + 1, 16h, 16w] → [L, K + 1, H, W], bilinear."""
        probabilities = self.padding.crop(probabilities)
        if self.working_size != self.size:
            probabilities = F.interpolate(
                probabilities, self.size, mode="bilinear", align_corners=False
            )
        return probabilities
