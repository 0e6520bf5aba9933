"""Images as the networks take them. Legend: H W height and width in pixels. Sizes that networks with strides need. Legend: H W height and width in pixels."""

import dataclasses

import torch.nn.functional as F
from torch import Tensor

IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)


def normalise_images(images: Tensor) -> Tensor:
    """RGB images uint8 [..., 3, H, W] in 0..255 to float32, less the ImageNet mean, over the ImageNet deviation. Source: STCN, section 4."""
    normalised = images.float().div(255)
    for channel, mean, deviation in zip(normalised.unbind(-3), IMAGE_MEAN, IMAGE_STD, strict=True):
        channel.sub_(mean).div_(
            deviation
        )  # by numbers: a tensor of them would make the host wait for a GPU
    return normalised


@dataclasses.dataclass(frozen=True)
class Padding:
    """Rows and columns added around an image."""

    left: int
    right: int
    top: int
    bottom: int

    @staticmethod
    def to_multiple(height: int, width: int, multiple: int) -> "Padding":
        """Split evenly, the odd pixel at the bottom and right. Source: STM's public code, as STCN uses it."""
        rows, columns = -height % multiple, -width % multiple
        return Padding(columns // 2, columns - columns // 2, rows // 2, rows - rows // 2)

    def pad(self, images: Tensor) -> Tensor:
        """Zeros around images [..., H, W]."""
        return F.pad(images, (self.left, self.right, self.top, self.bottom))

    def crop(self, images: Tensor) -> Tensor:
        """The inverse of pad."""
        height, width = images.shape[-2:]
        return images[..., self.top : height - self.bottom, self.left : width - self.right]
