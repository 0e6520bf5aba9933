"""How much memory a process has used."""

import resource
import sys

import torch


def peak_memory_mb(device: torch.device) -> float:
    """The most memory in use so far, in 10^6 bytes: allocated by torch since the last reset on CUDA, resident of the whole process since its start elsewhere."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    unit_bytes = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit_bytes / 1e6


def reset_peak_memory(device: torch.device) -> None:
    """On CUDA, begin anew; elsewhere the system keeps no other peak than the process's."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
