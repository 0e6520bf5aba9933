"""Any video: folders of frames and masks, or one video file or folder with its masks."""

import os
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from dataset.folders import MASK_SUFFIXES, list_folders, short_path
from dataset.frame_range import FrameRange
from dataset.video.base import Video, VideoDataset, select_names
from dataset.video.file_source import open_source
from dataset.video.folder_of_frames import video_files
from dataset.video.frame_source import FolderSource
from dataset.video.masked_video import MaskedVideo, find_masks, masks_of_folder
from util.errors import InputError


class GenericDataset(VideoDataset):
    """Folders of frames, ROOT/JPEGImages/VIDEO/*.jpg (or .png, …) with ROOT/Annotations/VIDEO/*.png, a mask named as its frame; or video files with masks of their names.

    Video files lie in ROOT/Videos or in ROOT itself, the masks of VIDEO.mp4 in ROOT/Annotations or beside it: VIDEO.png, of its first frame, or VIDEO/00000.png, …
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
        self._corrections = corrections
        self._colours = colours
        self._frame_range = frame_range
        self._frames, self._masks = self.root / "JPEGImages", self.root / "Annotations"
        self._files: dict[str, Path] = {}
        if not self._frames.is_dir():
            self._frames = next(
                (
                    folder
                    for folder in (self.root / "Videos", self.root)
                    if folder.is_dir() and video_files(folder)
                ),
                self._frames,
            )
            self._files = _video_files(self._frames)
        for folder in (self._frames, self._masks):
            if not self._files and not folder.is_dir():
                raise InputError(
                    f"{folder}: no such folder; --data_path is the folder that holds JPEGImages/VIDEO and Annotations/VIDEO, or video files with masks of their names"
                )
        available = sorted(self._files) or list_folders(self._frames)
        if not available:
            raise InputError(f"{self._frames}: no video; each is a folder of frames in here")
        self.names = select_names(available, sequences, str(self._frames))

    def open(self, name: str) -> Video:
        if name in self._files:
            masks = _masks_of_file(self._files[name], (self._masks, self._frames))
            return VideoFile(
                self._files[name],
                masks,
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
    """The video files of a folder by their names without endings. Raises InputError where two have the same."""
    files: dict[str, Path] = {}
    for path in video_files(folder) if folder.is_dir() else ():
        other = files.setdefault(path.stem, path)
        if other is not path:
            raise InputError(
                f"{short_path(path)}: {other.name} has the same name but for its ending; keep one of them"
            )
    return files


def _masks_of_file(video: Path, folders: Sequence[Path]) -> Path:
    """The mask, or folder of masks, of a video file, by its name. Raises InputError where there is none, or more than one."""
    there = [path for folder in folders if folder.is_dir() for path in sorted(folder.iterdir())]
    found = [
        path
        for path in there
        if path.name == video.stem
        or (path.stem == video.stem and path.suffix.lower() in MASK_SUFFIXES)
    ]
    if len(found) == 1:
        return found[0]
    if not found:
        places = " or ".join(
            f"{folder.name}/{video.stem}.png" for folder in folders if folder.is_dir()
        )
        raise InputError(
            f"{short_path(video)}: no mask; draw its first frame's as {places}, or several in a folder {video.stem}/, named by frame from 00000.png"
        )
    raise InputError(
        f"{short_path(video)}: masks in {' and in '.join(short_path(path) for path in found)}; keep one of them"
    )


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
        source = open_source(path, frame_range, masks)
        positions = find_masks(masks, source, path.stem)
        full_path = path.resolve()
        super().__init__(
            name or (full_path.name if path.is_dir() else full_path.stem),
            source,
            positions,
            corrections=corrections,
            colours=colours,
        )


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
