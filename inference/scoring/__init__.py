"""J and F of results against truth. Read in this order: metrics (one mask), protocols (what counts), evaluation (a folder), report (what is said)."""

from .evaluation import FrameSeries, score_folder, score_frames, score_videos
from .folders import VideoFolders, read_labels
from .protocols import PROTOCOLS
from .report import ObjectScores, OverallScores, Report, Scores, YouTubeScores

__all__ = [
    "PROTOCOLS",
    "FrameSeries",
    "ObjectScores",
    "OverallScores",
    "Report",
    "Scores",
    "VideoFolders",
    "YouTubeScores",
    "read_labels",
    "score_folder",
    "score_frames",
    "score_videos",
]
