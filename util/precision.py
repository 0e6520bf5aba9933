"""How exactly a GPU computes: what torch keeps as global switches, set for a block and given back."""

import contextlib
import functools
from collections.abc import Iterator

import torch

AMP_DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}


@contextlib.contextmanager
def cuda_arithmetic(
    device: torch.device, *, tf32: bool, amp: bool = False, benchmark: bool = False
) -> Iterator[None]:
    """How float32 products and convolutions are computed on a CUDA device; on other devices this changes nothing.

    tf32: in TF32 (10 bits of mantissa; Ampere and later), else in full; torch's own default is TF32 for convolutions alone.
    amp: what is inside runs in mixed precision. benchmark: let cuDNN time its algorithms for each new shape, which pays
    where shapes stay the same.
    """
    if device.type != "cuda":
        yield
        return
    cudnn, products = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.enabled, cudnn.allow_tf32, products.allow_tf32, cudnn.benchmark
    # Where there is TF32, cuDNN's exact float32 convolutions are no faster than torch's own, and for some shapes a hundred
    # times slower (256 → 256 channels, 3 × 120 × 216: 322 ms against 2.8 on an H200, torch 2.11); timing them does not help.
    cudnn.enabled = before[0] and (tf32 or amp or not _has_tf32(device))
    cudnn.allow_tf32, products.allow_tf32, cudnn.benchmark = tf32, tf32, benchmark
    try:
        yield
    finally:
        cudnn.enabled, cudnn.allow_tf32, products.allow_tf32, cudnn.benchmark = before


@functools.cache
def _has_tf32(device: torch.device) -> bool:
    return torch.cuda.get_device_capability(device) >= (8, 0)
