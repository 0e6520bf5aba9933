"""How much memory a process has used."""

import sys
from pathlib import Path

import torch

try:
    import resource
except ImportError:  # Windows
    resource = None

_STATUS = Path("/proc/self/status")


def peak_memory_mb(device: torch.device) -> float:
    """The most memory in use so far, in 10^6 bytes: allocated by torch since the last reset on CUDA, resident of the whole process since its start elsewhere."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    return peak_resident_mb()


def peak_resident_mb() -> float:
    """The most memory this process has held resident, in 10^6 bytes; 0 where the system (Windows) does not say."""
    known = _status_mb(
        "VmHWM"
    )  # rather than ru_maxrss, which a process on Linux inherits from the one that started it
    if known is not None:
        return known
    if resource is None:
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def resident_mb() -> float:
    """The memory this process holds resident now, in 10^6 bytes; its peak where the system (other than Linux) does not say."""
    known = _status_mb("VmRSS")
    return peak_resident_mb() if known is None else known


def reset_peak_memory(device: torch.device) -> None:
    """On CUDA, begin anew; elsewhere the system keeps no other peak than the process's."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def _status_mb(name: str) -> float | None:
    """An entry of Linux's account of this process; None elsewhere."""
    lines = _STATUS.read_text().splitlines() if _STATUS.exists() else []
    return next(
        (int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(name + ":")), None
    )
