"""The true masks of a video, where there are any. Legend: H W frame size in pixels."""

import dataclasses
from pathlib import Path

import numpy as np

from dataset import read_label_map
from util.palette import DAVIS_PALETTE


@dataclasses.dataclass(frozen=True)
class Truth:
    """The truth of any frames of a video.

    folder: of FRAME.png; None: there is no truth. single_id: the id that replaces the ids of all
    objects; None: they are kept.
    """

    folder: Path | None
    single_id: int | None

    def labels(self, frame: str, size: tuple[int, int]) -> np.ndarray | None:
        """The ids of a frame, uint8 [H, W]; None without a file. Raises InputError if its size is
        not that of the frame."""
        path = None if self.folder is None else self.folder / f"{frame}.png"
        if path is None or not path.is_file():
            return None
        labels = read_label_map(path, size, DAVIS_PALETTE).labels
        if self.single_id is None:
            return labels
        return np.where(labels > 0, np.uint8(self.single_id), np.uint8(0))
