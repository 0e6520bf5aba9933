"""The device a process computes on: which one, how exactly it computes, how much memory it used."""

import contextlib
import functools
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from util.distributed import local_rank
from util.errors import InputError
from util.text import counted

try:
    import resource
except ImportError:  # Windows
    resource = None

AMP_DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}
_PROCESS_STATUS = Path("/proc/self/status")


def select_device(name: str = "auto") -> torch.device:
    """The device of a `--device` flag.

    name: `auto` (CUDA if there is a GPU, otherwise the CPU), `cpu`, `cuda`, `cuda:1` or `mps`.
        Under torchrun, `auto` and `cuda` give each process a GPU of its own.
    Raises: InputError if the name is not a device, or the device is not available.
    """
    own_index = local_rank()
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(
            f"--device {name}: not a device; use auto, cpu, cuda, cuda:0 or mps"
        ) from error
    if device.type == "cuda":
        count = torch.cuda.device_count()
        device = torch.device("cuda", own_index if device.index is None else device.index)
        if device.index >= count:
            raise InputError(
                f"--device {name}: this machine shows {counted(count, 'CUDA device')} to torch "
                f"{torch.__version__}; use --device cpu or another index"
            )
        torch.cuda.set_device(device)
    elif device.type == "mps" and not torch.backends.mps.is_available():
        raise InputError("--device mps: no Apple GPU is available to torch; use --device cpu")
    elif device.type not in ("cpu", "mps"):
        raise InputError(
            f"--device {name}: {device.type} is not supported; use auto, cpu, cuda or mps"
        )
    return device


@contextlib.contextmanager
def cuda_arithmetic(
    device: torch.device, *, tf32: bool, amp: bool = False, benchmark: bool = False
) -> Iterator[None]:
    """Set how a CUDA device computes float32 products and convolutions inside the block, and
    restore torch's global switches afterwards. Other devices are not affected.

    tf32: use TF32 (10 bits of mantissa; Ampere and later) instead of full precision. torch's own
        default is TF32 for convolutions alone.
    amp: the block runs in mixed precision.
    benchmark: let cuDNN time its algorithms for each new shape, which pays if shapes repeat.
    """
    if device.type != "cuda":
        yield
        return
    cudnn, products = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.enabled, cudnn.allow_tf32, products.allow_tf32, cudnn.benchmark
    # On GPUs with TF32, cuDNN's full-precision convolutions are no faster than torch's own, and for
    # some shapes a hundred times slower (256 → 256 channels, 3 × 120 × 216: 322 ms against 2.8 ms
    # on an H200, torch 2.11). Benchmarking does not help.
    cudnn.enabled = before[0] and (tf32 or amp or not _has_tf32(device))
    cudnn.allow_tf32, products.allow_tf32, cudnn.benchmark = tf32, tf32, benchmark
    try:
        yield
    finally:
        cudnn.enabled, cudnn.allow_tf32, products.allow_tf32, cudnn.benchmark = before


@functools.cache
def _has_tf32(device: torch.device) -> bool:
    return torch.cuda.get_device_capability(device) >= (8, 0)


def peak_memory_mb(device: torch.device) -> float:
    """The peak memory in 10^6 bytes: on CUDA what torch allocated since the last reset, elsewhere
    what the whole process held resident since its start."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    return peak_resident_mb()


def reset_peak_memory(device: torch.device) -> None:
    """Restart the measurement of `peak_memory_mb` on CUDA. The peak of a process on other devices
    cannot be reset."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_resident_mb() -> float:
    """The peak resident memory of this process, in 10^6 bytes; 0 on Windows, which is not
    supported."""
    # ru_maxrss is the second choice: on Linux, a process inherits it from its parent.
    peak = _process_status_mb("VmHWM")
    if peak is not None:
        return peak
    if resource is None:
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def resident_mb() -> float:
    """The current resident memory of this process, in 10^6 bytes; its peak on other systems than
    Linux."""
    current = _process_status_mb("VmRSS")
    return peak_resident_mb() if current is None else current


def _process_status_mb(field: str) -> float | None:
    """A field of Linux's status of this process, in 10^6 bytes; None on other systems."""
    lines = _PROCESS_STATUS.read_text().splitlines() if _PROCESS_STATUS.exists() else []
    return next(
        (int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(field + ":")), None
    )
