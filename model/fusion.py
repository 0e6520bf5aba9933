"""A copy of a network for inference: the same function, fewer operations."""

import copy

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from model.network import VOSNetwork
from model.winograd import WinogradConv2d

_PAIRS = (("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3"), ("0", "1"))  # names in residual blocks, stems and downsampling shortcuts


def inference_copy(network: VOSNetwork, *, winograd: bool = False) -> VOSNetwork:
    """A copy in evaluation mode, without gradients, whose batch norms are folded into the convolutions before them. The original stays as it is.

    winograd: also replace the large 3×3 convolutions, for the CPU (see model/winograd.py).
    """
    network = copy.deepcopy(network).eval().requires_grad_(False)
    for module in list(network.modules()):
        for convolution_name, norm_name in _PAIRS:
            convolution, norm = (getattr(module, name, None) for name in (convolution_name, norm_name))
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, convolution_name, fuse_conv_bn_eval(convolution, norm))
                setattr(module, norm_name, nn.Identity())
    if winograd:
        for module in list(network.modules()):
            for name, child in list(module.named_children()):
                if WinogradConv2d.fits(child):
                    setattr(module, name, WinogradConv2d(child))
    return network
