"""DAVIS 2016 and 2017 as published."""

from collections.abc import Sequence
from pathlib import Path

from dataset.folders import list_folders
from dataset.layout import (
    DAVIS_FRAMES,
    DAVIS_SPLITS,
    DataFolders,
    DavisSplit,
    read_sequence_list,
)
from dataset.video.base import Video, VideoDataset, select_names
from dataset.video.folder_source import FolderSource
from dataset.video.mask_selection import as_one_object
from dataset.video.masked_video import MaskedVideo
from util.errors import InputError


def available_split(root: str | Path) -> str:
    """The split of a root if none is named: 'val', or '2016val' if only its list exists.

    'val' if neither list exists. Raises InputError if the root holds no frames at 480p.
    """
    for name in ("val", "2016val"):
        split = DAVIS_SPLITS[name]
        if split.list_in(_require_folders(Path(root), split)) is not None:
            return name
    return "val"


class DavisDataset(VideoDataset):
    """A split of DAVIS at 480p, with the first frame's mask of each sequence.

    Args:
        root: holds JPEGImages/480p, Annotations/480p and ImageSets, itself or in trainval/
            (test-dev/ for testdev).
        split: 'val' and 'testdev' of DAVIS-2017, or '2016val' of DAVIS-2016, whose ids are one
            object, whichever release the masks come from.
        sequences: read these instead of the split's list; any with a folder of frames.
        colours: the palette for RGB masks (see read_palette).

    Raises:
        InputError: the layout, the list or a sequence is missing.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "val",
        sequences: Sequence[str] | None = None,
        *,
        colours: bytes | None = None,
    ):
        if split not in DAVIS_SPLITS:
            raise InputError(f"no split '{split}' of DAVIS; there are: {' '.join(DAVIS_SPLITS)}")
        self.root = Path(root)
        self._split = DAVIS_SPLITS[split]
        self._colours = colours
        self._folders = _require_folders(self.root, self._split)
        frames = self._folders.frames
        available = self._listed_names(split, all_folders=sequences is not None)
        self.names = select_names(available, sequences, str(frames), frames)

    def open(self, name: str) -> Video:
        source = FolderSource.of_folder(self._folders.frames / name)
        mask = self._folders.masks / name / f"{source.name_of(0)}.png"
        if not mask.is_file():
            raise InputError(f"{mask}: no such mask; DAVIS gives the first frame's")
        relabel = as_one_object if self._split.single_object else None
        return MaskedVideo(name, source, {0: mask}, colours=self._colours, relabel=relabel)

    def truth_folder(self) -> Path:
        """The folder of VIDEO/FRAME.png masks; complete for all splits but testdev."""
        return self._folders.masks

    @property
    def single_object(self) -> bool:
        """Whether all ids are one object, in the given masks and in the truth."""
        return self._split.single_object

    def _listed_names(self, split: str, *, all_folders: bool) -> list[str]:
        """The names in the split's list. all_folders: without a list, all folders of frames."""
        path = self._split.list_in(self._folders)
        if path is not None:
            names = read_sequence_list(path)
            if not names:
                raise InputError(f"{path}: lists no sequence")
            return names
        if all_folders:
            return list_folders(self._folders.frames)
        raise InputError(self._missing_list_message(split))

    def _missing_list_message(self, split: str) -> str:
        """Name the lists that exist, and the splits that they belong to."""
        lists = self._folders.lists
        existing = sorted(str(path.relative_to(lists)) for path in lists.glob("*/*.txt"))
        usable = " or ".join(
            f"--split {name}"
            for name, other in DAVIS_SPLITS.items()
            if other.part == self._split.part and other.list_in(self._folders) is not None
        )
        remedy = f"; use {usable}" if usable else ""
        return (
            f"{lists / self._split.lists[0]}: no such list for --split {split}; there are: "
            f"{' '.join(existing) or 'none'}{remedy}"
        )


def _require_folders(root: Path, split: DavisSplit) -> DataFolders:
    folders = split.find(root)
    if folders is None:
        raise InputError(
            f"{root}: no {DAVIS_FRAMES} here or in {split.part}/; give the folder of DAVIS at 480p"
        )
    return folders
