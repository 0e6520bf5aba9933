"""Versions of what a result depends on."""

import importlib.metadata
import platform

import torch

_PACKAGES = (("torch",), ("torchvision",), ("numpy",), ("opencv-python", "opencv-python-headless"), ("av",), ("pillow",))  # of several names, one suffices


def package_versions() -> dict[str, str]:
    """Python, CUDA and the packages that compute, by name; "not installed" where one is missing."""
    versions = {"python": platform.python_version(), "cuda": torch.version.cuda or "none"}
    for names in _PACKAGES:
        found = next(((name, version) for name in names if (version := _version(name))), (names[0], "not installed"))
        versions[found[0]] = found[1]
    return versions


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
