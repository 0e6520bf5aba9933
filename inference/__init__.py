"""What runs: segmenter and session, the memory, the runner around them, scoring."""

from inference.config import SYSTEMS, SystemConfig, system_config
from inference.ensemble import EnsembleSegmenter, EnsembleSession
from inference.memory import MemoryConfig
from inference.results import FrameResult
from inference.segmenter import VideoSegmenter
from inference.session import SegmentationSession

__all__ = [
    "SYSTEMS",
    "EnsembleSegmenter",
    "EnsembleSession",
    "FrameResult",
    "MemoryConfig",
    "SegmentationSession",
    "SystemConfig",
    "VideoSegmenter",
    "system_config",
]
