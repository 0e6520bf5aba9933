"""The fast convolution is the plain one."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from model import build_network, winograd
from model.blocks import convolve_parts
from model.fusion import inference_copy
from model.winograd import WinogradConv2d


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    batch=st.integers(1, 3),
    height=st.integers(1, 13),
    width=st.integers(1, 13),
    channels=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    bias=st.booleans(),
)
def test_winograd_equals_direct_convolution_for_any_size(batch, height, width, channels, bias):
    convolution = nn.Conv2d(*channels, 3, padding=1, bias=bias).double()
    x = torch.randn(batch, channels[0], height, width, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(
            WinogradConv2d(convolution)(x), convolution(x), rtol=0, atol=1e-12
        )


def test_tiles_done_a_few_rows_at_a_time_give_the_same(monkeypatch):
    convolution, x = (
        nn.Conv2d(5, 7, 3, padding=1).double(),
        torch.randn(2, 5, 21, 10, dtype=torch.float64),
    )
    monkeypatch.setattr(winograd, "_SLICE_BYTES", 3 * 5 * 7 * 8)  # three rows of tiles
    with torch.no_grad():
        torch.testing.assert_close(
            WinogradConv2d(convolution)(x), convolution(x), rtol=0, atol=1e-12
        )


@pytest.mark.parametrize("shared_first", [False, True])
def test_parts_of_a_concatenation_are_convolved_as_by_the_plain_convolution(shared_first):
    convolution = nn.Conv2d(8, 4, 3, padding=1).double()
    own, shared = (
        torch.randn(2, 3, 5, 6, 7, dtype=torch.float64),
        torch.randn(2, 3, 6, 7, dtype=torch.float64),
    )
    with torch.no_grad():
        fast, plain = (
            convolve_parts(kind, own, shared, shared_first=shared_first)
            for kind in (WinogradConv2d(convolution), convolution)
        )
    torch.testing.assert_close(fast, plain, rtol=0, atol=1e-12)


def test_only_large_plain_convolutions_are_replaced():
    copy = inference_copy(build_network("stcn_small"), winograd=True)
    replaced = [module for module in copy.modules() if isinstance(module, WinogradConv2d)]
    assert replaced and all(
        min(module.in_channels, module.out_channels) >= 128 for module in replaced
    )
    assert type(copy.key_encoder.conv1) is nn.Conv2d
    assert not any(
        isinstance(module, WinogradConv2d)
        for module in inference_copy(build_network("stcn_small")).modules()
    )


def test_mixed_precision_falls_back_to_the_direct_convolution():
    convolution, x = nn.Conv2d(4, 4, 3, padding=1), torch.randn(1, 4, 6, 6)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(WinogradConv2d(convolution)(x), convolution(x))
