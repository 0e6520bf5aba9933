"""What is written beside masks, if it is there."""

import dataclasses

from dataset.formats import VideoFrames
from inference.output.merging import SoftRun


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """frames: the images that masks belong to. soft: the run whose probabilities are the mattes;
    None: mattes are binary."""

    frames: VideoFrames | None = None
    soft: SoftRun | None = None
