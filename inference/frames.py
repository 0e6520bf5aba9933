"""Frames and masks of users as tensors, and the sizes in which they are worked on.

Legend: L frames, K objects, H W size as given, H' W' working size, h w at stride 16.
"""

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
from util.ranges import bounded, check_ranges

MAX_ID = 65535


@dataclasses.dataclass(frozen=True)
class ObjectMask:
    """The mask of some objects of a frame: int64 ids [H, W], 0 for background."""

    labels: Tensor
    object_ids: tuple[int, ...]  # the ids in labels, ascending

    def to(self, device: torch.device) -> "ObjectMask":
        """A copy on a device."""
        return ObjectMask(self.labels.to(device, copy=True), self.object_ids)


def as_image(frame: Any, source: str) -> Tensor:
    """A frame as a uint8 tensor [3, H, W].

    frame: uint8 RGB [H, W, 3], an array or a tensor; also [3, H, W]. source: names it in errors.
    Raises InputError for anything else, and for fewer than 16 pixels in height or width.
    """
    image = _as_tensor(frame, source, "frame", "RGB uint8 [H, W, 3]")
    if image.ndim == 3 and image.shape[-1] == 3:
        image = image.permute(2, 0, 1)
    if image.ndim != 3 or image.shape[0] != 3 or image.dtype != torch.uint8:
        found = f"frame of shape {list(image.shape)} and type {image.dtype}"
        raise InputError(f"{source}: {found}; RGB uint8 [H, W, 3] is expected")
    height, width = image.shape[1:]
    if min(height, width) < STRIDE:
        raise InputError(
            f"{source}: frame of {width}×{height} pixels; at least {STRIDE}×{STRIDE} are needed"
        )
    return image


def as_object_mask(mask: Any, size: tuple[int, int], source: str) -> ObjectMask:
    """A mask of ids [H, W], whole numbers or booleans, as a typed value.

    size: H, W of its frame. source: names the frame in errors.
    Raises InputError for another shape or type, no object, or ids outside 0..65535.
    """
    labels = _as_tensor(mask, source, "mask", "ids [H, W]")
    if tuple(labels.shape) != size:
        found = f"mask of shape {list(labels.shape)}, frame of {list(size)}"
        raise InputError(f"{source}: {found}; a mask must have its frame's size")
    if labels.is_floating_point() or labels.is_complex():
        found = f"mask of type {labels.dtype}"
        raise InputError(
            f"{source}: {found}; whole numbers are expected, the object's id at each pixel"
        )
    labels = labels.long()
    ids = labels.unique().tolist()
    if ids[0] < 0 or ids[-1] > MAX_ID:
        wrong = ids[0] if ids[0] < 0 else ids[-1]
        raise InputError(f"{source}: mask with id {wrong}; ids are 1 to {MAX_ID}, 0 is background")
    if ids == [0]:
        raise InputError(f"{source}: mask without an object; leave the mask out")
    return ObjectMask(labels, tuple(i for i in ids if i > 0))


def _as_tensor(value: Any, source: str, what: str, expected: str) -> Tensor:
    """A tensor of anything that NumPy takes for an array of numbers."""
    if isinstance(value, Tensor):
        return value
    try:
        array = np.asarray(value)
        if array.dtype.byteorder not in "=|":
            array = array.astype(array.dtype.newbyteorder("="))
        # torch takes arrays that are contiguous and writeable
        return torch.from_numpy(np.require(array, requirements="CW"))
    except (TypeError, ValueError, RuntimeError) as error:
        found = f"{what} of type {type(value).__name__}, which is no array of numbers"
        raise InputError(f"{source}: {found}; {expected} is expected") from error


@dataclasses.dataclass(frozen=True, kw_only=True)
class View:
    """How a network sees a video, for test-time augmentation.

    scale: of the working size, both sides. flip: frames are mirrored, left to right.
    Raises InputError for a scale that is out of range.
    """

    scale: float = bounded(1.0, at_least=0.25, at_most=4)
    flip: bool = False

    def __post_init__(self):
        check_ranges(self)


PLAIN_VIEW = View()


@dataclasses.dataclass(frozen=True)
class Geometry:
    """How the frames of a video reach the network and how results return.

    Frames are mirrored if the view is, resized to the working size, then padded to multiples of 16.
    As published, it is the normalised image that is resized, bicubic without antialiasing.
    Source: STCN, section 4 (YouTube-VOS).
    """

    size: tuple[int, int]
    working_size: tuple[int, int]
    padding: Padding
    flip: bool = False

    @staticmethod
    def of(size: tuple[int, int], resolution: int, view: View = PLAIN_VIEW) -> "Geometry":
        """For frames of `size` (H, W).

        resolution: the shorter side of the working size in pixels, the longer side is truncated to
        an integer; -1 keeps the size. The scale of the view multiplies it.
        Raises InputError if the working size has more than 2^25 pixels, too many for any memory, or
        if scaling makes a side shorter than 16 pixels.
        """
        working, shorter = size, min(size)
        if view.scale != 1:
            resolution = round((shorter if resolution == -1 else resolution) * view.scale)
            if resolution < STRIDE:
                raise InputError(
                    f"frames of {size[1]}×{size[0]} pixels at scale {view.scale:g} have a side of"
                    f" {resolution} pixels; at least {STRIDE} are needed: give a larger scale"
                )
        if resolution != -1:
            working = tuple(
                int(resolution * side / shorter) if side != shorter else resolution for side in size
            )
        if working[0] * working[1] > MAX_WORKING_PIXELS:
            asked = "as stored" if resolution == -1 else f"at resolution {resolution}"
            raise InputError(
                f"frames of {size[1]}×{size[0]} pixels {asked} are {working[1]}×{working[0]}, more"
                f" than {MAX_WORKING_PIXELS >> 20} megapixels; give a lower resolution, or crop"
                " the frames"
            )
        return Geometry(size, working, Padding.to_multiple(*working, STRIDE), view.flip)

    @property
    def grid(self) -> tuple[int, int]:
        """h, w: the size of keys and values."""
        height, width = self.working_size
        return -(-height // STRIDE), -(-width // STRIDE)

    def to_network(self, images: Sequence[Tensor]) -> Tensor:
        """uint8 images, each [3, H, W] → normalised, padded [L, 3, 16h, 16w]."""
        if self.working_size == self.size:
            batch = normalise_images(self._seen(torch.stack(tuple(images))))
        else:  # one at a time: frames may be much larger than the working size
            seen = (self._seen(image[None]) for image in images)
            batch = torch.cat([self._resized(normalise_images(image)) for image in seen])
        return self.padding.pad(batch).contiguous(memory_format=torch.channels_last)

    def mask_to_network(self, mask: ObjectMask) -> ObjectMask:
        """A mask [H, W] → [16h, 16w], nearest; 0 in the padding. Small objects may vanish."""
        labels = self._seen(mask.labels)
        if self.working_size != self.size:
            labels = F.interpolate(labels[None, None].float(), self.working_size, mode="nearest")
            labels = labels[0, 0].long()
        return ObjectMask(self.padding.pad(labels), mask.object_ids)

    def from_network(self, probabilities: Tensor) -> Tensor:
        """[L, K + 1, 16h, 16w] → [L, K + 1, H, W], bilinear."""
        probabilities = self._seen(self.padding.crop(probabilities))
        if self.working_size == self.size:
            return probabilities
        return F.interpolate(probabilities, self.size, mode="bilinear", align_corners=False)

    def _seen(self, images: Tensor) -> Tensor:
        """Images [..., H, W] as the view shows them, and back again: mirrored if it is."""
        return images.flip(-1) if self.flip else images

    def _resized(self, images: Tensor) -> Tensor:
        return F.interpolate(images, self.working_size, mode="bicubic", align_corners=False)
