"""Masks made and corrected in rounds, between a person and the network."""

from inference.interactive.mask_from_input import GrabCutMask, MaskFromInput, Stroke

__all__ = ["GrabCutMask", "MaskFromInput", "Stroke"]
