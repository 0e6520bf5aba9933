"""What runs: the engine, memory, the runner around it, scoring."""

from inference.config import SYSTEMS, MemoryConfig, SystemConfig, system_config
from inference.segmenter import VideoSegmenter
from inference.session import FrameResult, SegmentationSession

__all__ = [
    "SYSTEMS",
    "FrameResult",
    "MemoryConfig",
    "SegmentationSession",
    "SystemConfig",
    "VideoSegmenter",
    "system_config",
]
