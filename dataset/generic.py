"""Any video: folders of frames and masks, or one video file or folder with its masks."""

import os
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from dataset.file_source import open_source
from dataset.frame_range import FrameRange
from dataset.frame_source import FolderSource
from dataset.image_file import list_folders
from dataset.masked_video import MaskedVideo, find_masks, masks_of_folder
from dataset.video import Video, VideoDataset, select_names
from util.errors import InputError


class GenericDataset(VideoDataset):
    """Folders: ROOT/JPEGImages/VIDEO/*.jpg (or .png, …) and ROOT/Annotations/VIDEO/*.png, a mask named as its frame.

    An id's mask counts where that id first appears; with corrections, every mask counts. sequences: some of the videos, all where None.
    frame_range: what 16-bit frames are scaled by; each video's own range where None.
    """

    def __init__(
        self,
        root: str | Path,
        sequences: Sequence[str] | None = None,
        corrections: bool = False,
        *,
        colours: bytes | Literal["auto"] | None = None,
        frame_range: FrameRange | None = None,
    ):
        self.root = Path(root)
        self._frames, self._masks = self.root / "JPEGImages", self.root / "Annotations"
        self._corrections = corrections
        self._colours = colours
        self._frame_range = frame_range
        for folder in (self._frames, self._masks):
            if not folder.is_dir():
                raise InputError(f"{folder}: no such folder; --data_path is the folder that holds JPEGImages/VIDEO and Annotations/VIDEO")
        available = list_folders(self._frames)
        if not available:
            raise InputError(f"{self._frames}: no video; each is a folder of frames in here")
        self.names = select_names(available, sequences, str(self._frames))

    def open(self, name: str) -> Video:
        source = FolderSource.of_folder(self._frames / name, frame_range=self._frame_range)
        return MaskedVideo(name, source, masks_of_folder(self._masks / name, source), corrections=self._corrections, colours=self._colours)


class VideoFile(MaskedVideo):
    """A video file (anything FFmpeg reads), a stack of images (multi-page TIFF, animated PNG, WebP or GIF) or a folder of images, with its masks.

    masks: a folder of PNGs, named as their frames (by number for a file); or one PNG, which belongs to the frame of its name or number, and to the
    first frame where it is named otherwise, or as the video itself. Frames of a file are named by number: 00000, 00001, …
    frame_range: what 16-bit frames are scaled by; their own range where None.
    """

    def __init__(
        self,
        path: str | Path,
        masks: str | Path,
        corrections: bool = False,
        name: str | None = None,
        *,
        colours: bytes | Literal["auto"] | None = None,
        frame_range: FrameRange | None = None,
    ):
        path, masks = local_path(path), Path(masks)
        source = open_source(path, frame_range)
        positions = find_masks(masks, source, path.stem)
        full_path = path.resolve()
        super().__init__(name or (full_path.name if path.is_dir() else full_path.stem), source, positions, corrections=corrections, colours=colours)


def local_path(path: str | Path) -> Path:
    """A path as it is written, or as a URL of a file (file:///home/me/clip%201.mp4). Raises InputError for a URL of another machine's."""
    text = str(path)
    if not text.lower().startswith("file:") or os.path.lexists(text):
        return Path(path)
    parts = urllib.parse.urlsplit(text)
    if parts.netloc not in ("", "localhost"):
        raise InputError(f"{text}: a file of another machine; copy it here and give its path")
    return Path(urllib.request.url2pathname(parts.path))


class SingleVideoDataset(VideoDataset):
    """One video as a data set, for programs that take any number. root: the folder of the video."""

    def __init__(self, video: Video, root: str | Path):
        self.root = Path(root)
        self.names = select_names((video.name,), None, str(root))
        self._video = video

    def open(self, name: str) -> Video:
        return self._video
