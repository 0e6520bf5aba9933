"""Versions of what a result depends on."""

import importlib.metadata
import platform

import torch

_PACKAGES = ("torch", "torchvision", "numpy", "opencv-python", "pillow")


def package_versions() -> dict[str, str]:
    """Python, CUDA and the packages that compute, by name; "not installed" where one is missing."""
    versions = {"python": platform.python_version(), "cuda": torch.version.cuda or "none"}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions
