"""How exactly a GPU computes: what torch keeps as global switches, set for a block and given back."""

import contextlib
from collections.abc import Iterator

import torch

AMP_DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}


@contextlib.contextmanager
def cuda_arithmetic(*, tf32: bool, benchmark: bool = False) -> Iterator[None]:
    """Float32 products and convolutions on CUDA in TF32 (10 bits of mantissa; Ampere and later) or in full.

    torch's own default is TF32 for convolutions and float32 for matrix products. benchmark: let cuDNN time its
    algorithms for each new shape, which pays where shapes stay the same. Without a GPU this changes nothing.
    """
    cudnn, products = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, products.allow_tf32, cudnn.benchmark
    cudnn.allow_tf32, products.allow_tf32, cudnn.benchmark = tf32, tf32, benchmark
    try:
        yield
    finally:
        cudnn.allow_tf32, products.allow_tf32, cudnn.benchmark = before
