"""Any video: folders of frames and masks, or one video file or folder with its masks."""

from collections.abc import Sequence
from pathlib import Path

from dataset.frame_source import FileSource, FolderSource, FrameSource
from dataset.image_file import IMAGE_SUFFIXES, list_folders
from dataset.masked_video import MaskedVideo, find_masks, masks_of_folder
from dataset.video import Video, VideoDataset, select_names
from util.errors import InputError


class GenericDataset(VideoDataset):
    """Folders: ROOT/JPEGImages/VIDEO/*.jpg (or .png, …) and ROOT/Annotations/VIDEO/*.png, a mask named as its frame.

    An id's mask counts where that id first appears; with corrections, every mask counts. sequences: some of the videos, all where None.
    """

    def __init__(self, root: str | Path, sequences: Sequence[str] | None = None, corrections: bool = False, *, colours: bytes | None = None):
        self.root = Path(root)
        self._frames, self._masks = self.root / "JPEGImages", self.root / "Annotations"
        self._corrections = corrections
        self._colours = colours
        for folder in (self._frames, self._masks):
            if not folder.is_dir():
                raise InputError(f"{folder}: no such folder; --data_path is the folder that holds JPEGImages/VIDEO and Annotations/VIDEO")
        available = list_folders(self._frames)
        if not available:
            raise InputError(f"{self._frames}: no video; each is a folder of frames in here")
        self.names = select_names(available, sequences, str(self._frames))

    def open(self, name: str) -> Video:
        source = FolderSource.of_folder(self._frames / name)
        return MaskedVideo(name, source, masks_of_folder(self._masks / name, source), corrections=self._corrections, colours=self._colours)


class VideoFile(MaskedVideo):
    """A video file (anything OpenCV reads) or a folder of images, with its masks.

    masks: a folder of PNGs, named as their frames (by number for a video file); or one PNG, which belongs to the folder's frame of its name, and to the
    first frame where there is none such or the video is a file. Frames of a video file are named by number: 00000, 00001, …
    """

    def __init__(self, path: str | Path, masks: str | Path, corrections: bool = False, name: str | None = None, *, colours: bytes | None = None):
        path, masks = Path(path), Path(masks)
        if path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES:
            raise InputError(f"{path}: a still image; give a video file or a folder of frames")
        source: FrameSource = FolderSource.of_folder(path) if path.is_dir() else FileSource(path)
        named = isinstance(source, FolderSource) and masks.stem in source
        positions = find_masks(masks, source, source.index_of(masks) if named else 0)
        full_path = path.resolve()
        super().__init__(name or (full_path.name if path.is_dir() else full_path.stem), source, positions, corrections=corrections, colours=colours)


class SingleVideoDataset(VideoDataset):
    """One video as a data set, for programs that take any number. root: the folder of the video."""

    def __init__(self, video: Video, root: str | Path):
        self.root = Path(root)
        self.names = select_names((video.name,), None, str(root))
        self._video = video

    def open(self, name: str) -> Video:
        return self._video
