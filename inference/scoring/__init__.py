"""J and F of results against truth, and swapped identities.

Read in this order: metrics (one mask), protocols (what counts), measurement (each frame),
evaluation (a folder), report (how scores are shown), identities (swaps and returns).
"""

from inference.scoring.evaluation import FrameSeries, score_folder, score_frames, score_videos
from inference.scoring.folders import VideoFolders, read_labels, videos_below
from inference.scoring.identities import IdentityReport, IdentityRules, count_identities
from inference.scoring.protocols import PROTOCOLS, ScoringRules
from inference.scoring.report import (
    ObjectScores,
    OverallScores,
    Report,
    Scores,
    SeenUnseenScores,
)

__all__ = [
    "PROTOCOLS",
    "FrameSeries",
    "IdentityReport",
    "IdentityRules",
    "ObjectScores",
    "OverallScores",
    "Report",
    "Scores",
    "ScoringRules",
    "SeenUnseenScores",
    "VideoFolders",
    "count_identities",
    "read_labels",
    "score_folder",
    "score_frames",
    "score_videos",
    "videos_below",
]
