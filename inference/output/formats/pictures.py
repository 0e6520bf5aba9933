"""Frames with their masks, for cut-outs and overlays.

Legend: H W height and width of a frame in pixels.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from dataset.formats import MaskVideo, VideoFrames
from dataset.image_file import size_text
from util.errors import InputError
from util.text import counted


class MaskedPicture(NamedTuple):
    """name: of the frame. image: RGB uint8 [H, W, 3]. labels: uint8 [H, W]. seconds: when the frame
    is shown; None if unknown."""

    name: str
    image: np.ndarray
    labels: np.ndarray
    seconds: float | None


def masked_pictures(video: MaskVideo, frames: VideoFrames) -> Iterator[MaskedPicture]:
    """The frames with masks, in order. A note counts those that cannot be decoded, if any.

    Raises InputError if there is no frame for a mask, or it has another size.
    """
    source = frames.source(video.name)
    masks = {frames.position(video.name, frame.name): frame for frame in video.frames}
    shown = 0
    for index, image, seconds in source.pictures_at(sorted(masks), video.size()):
        mask = masks[index]
        labels = mask.read()
        if labels.shape != image.shape[:2]:
            raise InputError(
                f"{video.name}/{mask.name}: mask of {size_text(labels.shape)} for a frame of "
                f"{size_text(image.shape[:2])}; give the frames that the masks were drawn on"
            )
        shown += 1
        yield MaskedPicture(mask.name, image, labels, seconds)
    if shown < len(masks):
        missing = counted(len(masks) - shown, "frame")
        video.notes.append(f"{video.name}: {missing} cannot be decoded, and have been left out")
