"""Everything that is read: images, masks, videos, and data sets of them."""

from dataset.frame_range import FrameRange
from dataset.label_map import LabelMap, read_label_map
from dataset.mask_colours import read_palette
from dataset.video.base import Frame, TruncatedVideoError, Video, VideoDataset, check_masks
from dataset.video.benchmarks import BENCHMARKS, BenchmarkDataset
from dataset.video.davis import DavisDataset, available_split
from dataset.video.feeds import is_live_address
from dataset.video.generic import GenericDataset, SingleVideoDataset, VideoFile, local_path
from dataset.video.layout import Layout
from dataset.video.live import LiveVideo, open_live
from dataset.video.prefetch import prefetch
from dataset.video.youtube_vos import YoutubeDataset

__all__ = [
    "BENCHMARKS",
    "BenchmarkDataset",
    "DavisDataset",
    "Frame",
    "FrameRange",
    "GenericDataset",
    "LabelMap",
    "Layout",
    "LiveVideo",
    "SingleVideoDataset",
    "TruncatedVideoError",
    "Video",
    "VideoDataset",
    "VideoFile",
    "YoutubeDataset",
    "available_split",
    "check_masks",
    "is_live_address",
    "local_path",
    "open_live",
    "prefetch",
    "read_label_map",
    "read_palette",
]
