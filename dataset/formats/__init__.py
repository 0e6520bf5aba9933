"""Masks in the formats of annotation tools and data sets become the masks of videos."""

from dataset.formats.frames import VideoFrames, aligned
from dataset.formats.mask_video import MaskFrame, MaskVideo, ObjectInfo
from dataset.formats.table import IMPORTS, ImportedMasks, ImportFormat, read_masks

__all__ = [
    "IMPORTS",
    "ImportFormat",
    "ImportedMasks",
    "MaskFrame",
    "MaskVideo",
    "ObjectInfo",
    "VideoFrames",
    "aligned",
    "read_masks",
]
