"""Per-object mattes: grey PNGs, 255 where the object is, OUT/VIDEO/ID/FRAME.png.

Legend: H W height and width of a frame in pixels.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from dataset.formats import MaskVideo
from inference.output.background import BackgroundPool
from inference.output.formats.options import ExportOptions
from inference.output.merging import SoftRun
from inference.output.soft import LEVELS
from inference.output.writer import FolderWriter
from util.errors import InputError

_THREADS, _CAPACITY = 2, 4


class MatteLevels:
    """The mattes of a video's objects: their probabilities, if a run has written them, or else
    their masks."""

    def __init__(self, video: MaskVideo, soft: SoftRun | None):
        self._video = video
        self._soft = soft if soft is not None and video.name in soft.videos else None
        self._soft_ids = {} if self._soft is None else self._soft.objects(video.name)

    def of(self, frame: str, object_id: int, labels: np.ndarray) -> np.ndarray:
        """uint8 [H, W], 255 inside. labels: of the frame, uint8 [H, W].

        Raises InputError if the probabilities have another size than the labels.
        """
        if self._soft is None or object_id not in self._soft_ids.get(frame, ()):
            return np.where(labels == object_id, np.uint8(LEVELS), np.uint8(0))
        levels = self._soft.levels(self._video.name, frame, object_id)
        if levels.shape != labels.shape:
            path = self._soft.soft_file(self._video.name, frame, object_id)
            raise InputError(f"{path}: of another size than the mask; make the results again")
        return levels

    def of_all(self, frame: str, labels: np.ndarray) -> np.ndarray:
        """The matte of all objects of the video together, uint8 [H, W]."""
        total = np.zeros(labels.shape, np.uint16)
        for object_id in self._video.objects:
            total += self.of(frame, object_id, labels)
        return np.minimum(total, LEVELS).astype(np.uint8)


def write_mattes(videos: Sequence[MaskVideo], out: Path, options: ExportOptions) -> None:
    """OUT/VIDEO/ID/FRAME.png for every frame with a mask and every object of the video."""
    pool = BackgroundPool(_THREADS, _CAPACITY)
    try:
        for video in videos:
            levels = MatteLevels(video, options.soft)
            with _MatteWriter(out / video.name, pool) as writer:
                for frame in video.frames:
                    labels = frame.read()
                    mattes = {i: levels.of(frame.name, i, labels) for i in video.objects}
                    writer.write(frame.name, mattes)
    finally:
        pool.close()


class _MatteWriter(FolderWriter):
    """The mattes of one video."""

    def write(self, frame_name: str, mattes: Mapping[int, np.ndarray]) -> None:
        def write_frame() -> None:
            for object_id, levels in mattes.items():
                self._write_png(f"{object_id}/{frame_name}.png", Image.fromarray(levels))

        self._submit(write_frame, files=len(mattes))
