"""Any video: folders of frames and masks, or video files with their masks."""

import os
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from dataset.folders import MASK_SUFFIXES, has_suffix, list_folders, same_stem_message, short_path
from dataset.frame_range import FrameRange
from dataset.layout import FRAMES, MASKS
from dataset.video.base import Video, VideoDataset, select_names
from dataset.video.file_source import open_source
from dataset.video.folder_of_frames import video_files
from dataset.video.folder_source import FolderSource
from dataset.video.masked_video import MaskedVideo, find_masks, masks_of_folder
from util.errors import InputError

VIDEOS = "Videos"


class GenericDataset(VideoDataset):
    """Folders of frames with masks of their names, or video files with masks of their names.

    Frames are ROOT/JPEGImages/VIDEO/FRAME.jpg (or .png, ...), masks are
    ROOT/Annotations/VIDEO/FRAME.png. Without JPEGImages, video files are read from ROOT/Videos or
    from ROOT itself. The masks of VIDEO.mp4 lie in ROOT/Annotations or beside it: VIDEO.png for
    its first frame, or a folder VIDEO of 00000.png, ...

    Args:
        sequences: read only these videos.
        corrections: every mask counts; otherwise only the one in which an id first appears.
        colours: the palette for RGB masks, or 'auto' (see read_palette).
        frame_range: what 16-bit frames are scaled by; by default each video's own range.

    Raises:
        InputError: the layout or a sequence is missing.
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
        self._corrections = corrections
        self._colours = colours
        self._frame_range = frame_range
        self._frames, self._masks = self.root / FRAMES, self.root / MASKS
        self._files: dict[str, Path] = {}
        if not self._frames.is_dir():
            for folder in (self.root / VIDEOS, self.root):
                if folder.is_dir() and (files := _video_files(folder)):
                    self._frames, self._files = folder, files
                    break
        for folder in (self._frames, self._masks):
            if not self._files and not folder.is_dir():
                raise InputError(
                    f"{folder}: no such folder; --data_path is the folder that holds "
                    f"{FRAMES}/VIDEO and {MASKS}/VIDEO, or video files with masks of their names"
                )
        available = sorted(self._files) or list_folders(self._frames)
        if not available:
            raise InputError(f"{self._frames}: no video; each is a folder of frames in here")
        self.names = select_names(available, sequences, str(self._frames))

    def open(self, name: str) -> Video:
        if name in self._files:
            return VideoFile(
                self._files[name],
                _masks_of_file(self._files[name], (self._masks, self._frames)),
                self._corrections,
                name,
                colours=self._colours,
                frame_range=self._frame_range,
            )
        source = FolderSource.of_folder(self._frames / name, frame_range=self._frame_range)
        return MaskedVideo(
            name,
            source,
            masks_of_folder(self._masks / name, source),
            corrections=self._corrections,
            colours=self._colours,
        )


def _video_files(folder: Path) -> dict[str, Path]:
    """The video files of a folder by their stems. Raises InputError if two share a stem."""
    files: dict[str, Path] = {}
    for path in video_files(folder):
        other = files.setdefault(path.stem, path)
        if other is not path:
            raise InputError(same_stem_message(path, other))
    return files


def _masks_of_file(video: Path, folders: Sequence[Path]) -> Path:
    """The mask, or the folder of masks, of a video file. Raises InputError unless there is one."""
    existing = [folder for folder in folders if folder.is_dir()]
    candidates = [
        path
        for folder in existing
        for path in sorted(folder.iterdir())
        if path.name == video.stem or (path.stem == video.stem and has_suffix(path, MASK_SUFFIXES))
    ]
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        several = " and in ".join(map(short_path, candidates))
        raise InputError(f"{short_path(video)}: masks in {several}; keep one of them")
    expected = " or ".join(f"{folder.name}/{video.stem}.png" for folder in existing)
    raise InputError(
        f"{short_path(video)}: no mask; draw its first frame's as {expected}, or several in a "
        f"folder {video.stem}/, named by frame from 00000.png"
    )


class VideoFile(MaskedVideo):
    """One video with its masks.

    Args:
        path: a video file (anything that FFmpeg reads), a stack of images (multi-page TIFF,
            animated PNG, WebP or GIF) or a folder of images. Frames of a file are named by
            number: 00000, 00001, ...
        masks: one mask, or a folder of masks (see find_masks).
        corrections: masks of known objects count too.
        name: by default the file's or folder's name.
        colours: the palette for RGB masks, or 'auto' (see read_palette).
        frame_range: what 16-bit frames are scaled by; by default their own range.
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
        source = open_source(path, frame_range, masks)
        full_path = path.resolve()
        super().__init__(
            name or (full_path.name if path.is_dir() else full_path.stem),
            source,
            find_masks(masks, source, path.stem),
            corrections=corrections,
            colours=colours,
        )


def local_path(path: str | Path) -> Path:
    """A path, also of a file's URL (file:///home/me/clip%201.mp4).

    Raises:
        InputError: the URL names another machine.
    """
    text = str(path)
    if not text.lower().startswith("file:") or os.path.lexists(text):
        return Path(path)
    parts = urllib.parse.urlsplit(text)
    if parts.netloc not in ("", "localhost"):
        raise InputError(f"{text}: a file of another machine; copy it here and give its path")
    return Path(urllib.request.url2pathname(parts.path))


class SingleVideoDataset(VideoDataset):
    """One video as a data set. root: the folder of the video."""

    def __init__(self, video: Video, root: str | Path):
        self.root = Path(root)
        self.names = select_names((video.name,), None, str(root))
        self._video = video

    def open(self, name: str) -> Video:
        return self._video
