"""The layout of an evaluated data set, and how its videos are opened, segmented and scored."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dataset.folders import MASK_SUFFIXES, holds_videos, list_files, list_folders
from dataset.layout import (
    DAVIS_FRAMES,
    DAVIS_MASKS,
    DAVIS_SPLITS,
    FRAMES,
    LISTS,
    MASKS,
    DataFolders,
    davis_candidates,
    find_data_folders,
)
from dataset.video.base import VideoDataset
from dataset.video.davis import DavisDataset, available_split
from dataset.video.generic import GenericDataset
from util.errors import InputError

TRUTH = "Truth"


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where a root keeps its frames, a folder per video, and what has the frames' names.

    folder: the root, or the part of it that holds all of this. frames: below `folder`.
    masks: below `folder`; first the masks that are given, then the truth, which may be missing.
    split: of DAVIS, 'val' or '2016val'; None for other data sets.
    """

    root: Path
    folder: Path
    frames: str
    masks: tuple[str, ...]
    split: str | None

    @staticmethod
    def of(root: Path, split: str | None = None) -> "Layout":
        """The layout of a root: DAVIS at 480p, or JPEGImages/VIDEO and Annotations/VIDEO.

        If both exist, the one that holds videos. Truth/VIDEO may lie beside the second.

        Args:
            split: of DAVIS; by default the first of val and 2016val whose list exists.

        Raises:
            InputError: the root has neither layout.
        """
        candidates = [*davis_candidates(root, "trainval"), DataFolders(base=root)]
        found = find_data_folders(candidates, "frames")
        if found is None:
            raise InputError(
                f"{root}: no {DAVIS_FRAMES} or {FRAMES} here; give a data set's folder, laid out "
                f"like DAVIS or as {FRAMES}/VIDEO and {MASKS}/VIDEO"
            )
        if found.is_davis:
            return Layout(
                root=root,
                folder=found.base,
                frames=DAVIS_FRAMES,
                masks=(DAVIS_MASKS,),
                split=split or available_split(root),
            )
        return Layout(root=root, folder=root, frames=FRAMES, masks=(MASKS, TRUTH), split=None)

    @property
    def is_davis(self) -> bool:
        """Whether the root is DAVIS at 480p."""
        return self.split is not None

    @property
    def frames_folder(self) -> Path:
        """The folder of VIDEO/FRAME.jpg."""
        return self.folder / self.frames

    @property
    def masks_folder(self) -> Path:
        """The folder of VIDEO/FRAME.png, the masks that are given."""
        return self.folder / self.masks[0]

    @property
    def truth_folder(self) -> Path:
        """The folder of VIDEO/FRAME.png that results are scored against, one for all videos.

        If no folder of its own holds videos, the truth is the given masks, which may cover every
        frame.
        """
        for masks in reversed(self.masks):
            if holds_videos(self.folder / masks, MASK_SUFFIXES):
                return self.folder / masks
        return self.masks_folder

    @property
    def lists_folder(self) -> Path:
        """The folder of lists of sequences; it may be missing."""
        return self.folder / LISTS

    def names(self) -> list[str]:
        """The names of all videos. Raises InputError if there are none."""
        names = list_folders(self.frames_folder)
        if not names:
            raise InputError(
                f"no videos in {self.frames_folder}; a folder of frames for each is needed"
            )
        return names

    def frame_files(self, name: str) -> list[Path]:
        """The frames of a video, in order. Raises InputError, see list_files."""
        return list_files(self.frames_folder / name)

    def open(self, sequences: Sequence[str] | None = None) -> VideoDataset:
        """The videos of the split's list, or all videos of other layouts.

        sequences: open only these. Raises InputError if lists, masks or videos are missing.
        """
        if self.split is None:
            return GenericDataset(self.root, sequences)
        return DavisDataset(self.root, self.split, sequences)

    @property
    def single_object(self) -> bool:
        """Whether all ids are one object in the masks and in the truth, as in DAVIS-2016."""
        return self.split is not None and DAVIS_SPLITS[self.split].single_object

    @property
    def protocol(self) -> str:
        """The protocol by which results are scored."""
        return "davis" if self.is_davis else "strict"

    @property
    def resolution(self) -> int:
        """The default of --resolution: the shorter side in pixels; -1 is as stored."""
        return -1 if self.is_davis else 480
