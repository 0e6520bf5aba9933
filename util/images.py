"""Images as the networks take them: normalised, and padded to the size that strides need.

Legend: H W height and width in pixels.
"""

import dataclasses

import torch.nn.functional as F
from torch import Tensor

IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)


def normalise_images(images: Tensor) -> Tensor:
    """Subtract the ImageNet mean and divide by the ImageNet standard deviation.

    images: RGB uint8 [..., 3, H, W] in 0..255. Returns: float32 [..., 3, H, W].
    Source: STCN, section 4.
    """
    normalised = images.float().div(255)
    for channel, mean, deviation in zip(normalised.unbind(-3), IMAGE_MEAN, IMAGE_STD, strict=True):
        # Python numbers, since a tensor of them would make the host wait for a GPU.
        channel.sub_(mean).div_(deviation)
    return normalised


@dataclasses.dataclass(frozen=True)
class Padding:
    """Rows and columns of zeros around an image, in pixels."""

    left: int
    right: int
    top: int
    bottom: int

    @staticmethod
    def to_multiple(height: int, width: int, multiple: int) -> "Padding":
        """The padding that makes both sides multiples of a number, split evenly; an odd pixel goes
        to the bottom or right. Source: STM's public code, as STCN uses it."""
        rows, columns = -height % multiple, -width % multiple
        return Padding(columns // 2, columns - columns // 2, rows // 2, rows - rows // 2)

    def pad(self, images: Tensor) -> Tensor:
        """Add zeros around images [..., H, W]."""
        return F.pad(images, (self.left, self.right, self.top, self.bottom))

    def crop(self, images: Tensor) -> Tensor:
        """Undo `pad`."""
        height, width = images.shape[-2:]
        return images[..., self.top : height - self.bottom, self.left : width - self.right]
