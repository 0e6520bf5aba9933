"""Images as the networks take them. Legend: H W height and width in pixels."""

from torch import Tensor

IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)


def normalise_images(images: Tensor) -> Tensor:
    """RGB images uint8 [..., 3, H, W] in 0..255 to float32, less the ImageNet mean, over the ImageNet deviation. Source: STCN, section 4."""
    normalised = images.float().div(255)
    for channel, mean, deviation in zip(normalised.unbind(-3), IMAGE_MEAN, IMAGE_STD, strict=True):
        channel.sub_(mean).div_(deviation)  # by numbers: a tensor of them would make the host wait for a GPU
    return normalised
