"""How a root keeps its videos: like DAVIS at 480p, or as folders of any videos; and what follows from that for whoever opens, segments and scores them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dataset.image_file import MASK_SUFFIXES, holds_videos, list_files, list_folders
from dataset.video.base import VideoDataset
from dataset.video.davis import (
    DAVIS_FRAMES,
    DAVIS_MASKS,
    SPLITS,
    DavisDataset,
    available_split,
    davis_folder,
)
from dataset.video.generic import GenericDataset
from util.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where a root keeps its frames, one folder a video, and what else goes by the frames' names.

    folder: the root, or the part of it that holds all of this. frames, masks: below that; masks: of which the first are given, then the truth, which need not be there.
    split: of DAVIS, 'val' or '2016val'; None elsewhere.
    """

    root: Path
    folder: Path
    frames: str
    masks: tuple[str, ...]
    split: str | None

    @staticmethod
    def of(root: Path, split: str | None = None) -> "Layout":
        """DAVIS's at 480p, or JPEGImages/VIDEO and Annotations/VIDEO, with Truth/VIDEO where it is there; the one that has videos. Raises InputError for other folders.

        split: of DAVIS, by default the first of val and 2016val whose list is there."""
        folder, generic = davis_folder(root), root / "JPEGImages"
        if folder is not None and (
            holds_videos(folder / DAVIS_FRAMES) or not holds_videos(generic)
        ):
            return Layout(
                root=root,
                folder=folder,
                frames=DAVIS_FRAMES,
                masks=(DAVIS_MASKS,),
                split=split or available_split(root),
            )
        if generic.is_dir():
            return Layout(
                root=root,
                folder=root,
                frames="JPEGImages",
                masks=("Annotations", "Truth"),
                split=None,
            )
        raise InputError(
            f"{root}: no {DAVIS_FRAMES} or JPEGImages here; give a data set's folder, laid out like DAVIS or as JPEGImages/VIDEO and Annotations/VIDEO"
        )

    @property
    def is_davis(self) -> bool:
        return self.split is not None

    @property
    def frames_folder(self) -> Path:
        """Of VIDEO/FRAME.jpg."""
        return self.folder / self.frames

    @property
    def masks_folder(self) -> Path:
        """Of VIDEO/FRAME.png: masks, of which those count that are an object's first."""
        return self.folder / self.masks[0]

    @property
    def truth_folder(self) -> Path:
        """Of VIDEO/FRAME.png: the truth; where there is no video in a folder of it, the masks, which may be of every frame. One folder for all videos."""
        return next(
            (
                self.folder / masks
                for masks in reversed(self.masks)
                if holds_videos(self.folder / masks, MASK_SUFFIXES)
            ),
            self.masks_folder,
        )

    @property
    def lists_folder(self) -> Path:
        """Of lists of sequences, which need not be there."""
        return self.folder / "ImageSets"

    def names(self) -> list[str]:
        """All videos there are. Raises InputError where there is none."""
        names = list_folders(self.frames_folder)
        if not names:
            raise InputError(
                f"no videos in {self.frames_folder}; a folder of frames for each is needed"
            )
        return names

    def frame_files(self, name: str) -> list[Path]:
        """The frames of a video, in order."""
        return list_files(self.frames_folder / name)

    def open(self, sequences: Sequence[str] | None = None) -> VideoDataset:
        """The videos: those of the split's list, of other layouts all, or the `sequences` named. Raises InputError where lists, masks or videos are missing."""
        return (
            GenericDataset(self.root, sequences)
            if self.split is None
            else DavisDataset(self.root, self.split, sequences)
        )

    @property
    def single_object(self) -> bool:
        """Whether all ids are one object, in what is given and in what is scored, as DAVIS-2016 has it."""
        return self.split is not None and SPLITS[self.split].single_object

    @property
    def protocol(self) -> str:
        """By which results are scored."""
        return "davis" if self.is_davis else "strict"

    @property
    def resolution(self) -> int:
        """The shorter side at which frames are worked unless another is asked for; -1: as stored."""
        return -1 if self.is_davis else 480
