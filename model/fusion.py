"""A copy of a network for inference: the same function, fewer operations."""

import copy
from collections.abc import Callable

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from model.efficientnet_lite import SameConv2d
from model.network import VOSNetwork
from model.winograd import WinogradConv2d

# Names of a convolution and its norm in stems, residual blocks and downsampling shortcuts.
_PAIRS = (("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3"), ("0", "1"))


def inference_copy(
    network: VOSNetwork, *, winograd: bool = False, dtype: torch.dtype | None = None
) -> VOSNetwork:
    """A copy in evaluation mode, without gradients, with batch norms folded into convolutions.

    The original is not changed. winograd: also replace the large 3×3 convolutions, for the CPU
    (model/winograd.py). dtype: the type of convolutions and linear layers for mixed precision,
    which otherwise casts their weights at every call.
    """
    network = copy.deepcopy(network).eval().requires_grad_(False)
    for module in list(network.modules()):
        for convolution_name, norm_name in _PAIRS:
            convolution, norm = (
                getattr(module, name, None) for name in (convolution_name, norm_name)
            )
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, convolution_name, fuse_conv_bn_eval(convolution, norm))
                setattr(module, norm_name, nn.Identity())
    _replace(network, lambda module: isinstance(module, SameConv2d), SameConv2d.with_even_kernel)
    if winograd:
        _replace(network, WinogradConv2d.fits, WinogradConv2d)
    if dtype is not None:
        for module in network.modules():
            # Redundancy reduction has 1-D convolutions, which stay in float32.
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.to(dtype)
    return network


def _replace(
    network: nn.Module,
    fits: Callable[[nn.Module], bool],
    replacement: Callable[[nn.Module], nn.Module],
) -> None:
    """Replace each module that fits by `replacement(module)`."""
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if fits(child):
                setattr(module, name, replacement(child))
