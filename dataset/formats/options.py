"""What a user may add to a file of masks so that it can be read."""

import dataclasses
from collections.abc import Collection
from typing import Literal

from dataset.formats.frames import VideoFrames


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """frames: those that the masks belong to; they give names and sizes that a file lacks.

    colours: the palette of RGB masks, or 'auto' (see read_palette). ignored_folders: names of
    folders beside those of videos.
    """

    frames: VideoFrames | None = None
    colours: bytes | Literal["auto"] | None = None
    ignored_folders: Collection[str] = ()
