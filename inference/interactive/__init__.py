"""Masks made and corrected in rounds, between a person and the network."""

from inference.interactive.mask_from_input import GrabCutMask, MaskFromInput, Stroke
from inference.interactive.project import InteractiveProject

__all__ = ["GrabCutMask", "InteractiveProject", "MaskFromInput", "Stroke"]
