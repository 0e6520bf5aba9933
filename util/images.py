"""Images as the networks take them. Legend: H W height and width in pixels."""

import torch
from torch import Tensor

IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)


def normalise_images(images: Tensor) -> Tensor:
    """RGB images uint8 [..., 3, H, W] in 0..255 to float32, less the ImageNet mean, over the ImageNet deviation. Source: STCN, section 4."""
    mean = torch.tensor(IMAGE_MEAN, device=images.device).view(3, 1, 1)
    std = torch.tensor(IMAGE_STD, device=images.device).view(3, 1, 1)
    return images.float().div(255).sub_(mean).div_(std)
