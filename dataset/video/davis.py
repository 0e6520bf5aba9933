"""DAVIS 2016 and 2017, as published."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dataset.image_file import holds_files, holds_videos, list_folders, read_sequence_list
from dataset.video.base import Video, VideoDataset, select_names
from dataset.video.frame_source import FolderSource
from dataset.video.masked_video import MaskedVideo
from util.errors import InputError

DAVIS_FRAMES, DAVIS_MASKS = "JPEGImages/480p", "Annotations/480p"


@dataclass(frozen=True, kw_only=True)
class _Split:
    folder: str  # beside which the split may also lie in ROOT itself
    lists: tuple[str, ...]  # under ImageSets; the first that exists
    single_object: bool = False

    def list_in(self, folder: Path) -> Path | None:
        """Its list of sequences, where it is there."""
        return next(
            (
                path
                for path in (folder / "ImageSets" / name for name in self.lists)
                if path.is_file()
            ),
            None,
        )


SPLITS = {
    "val": _Split(folder="trainval", lists=("2017/val.txt",)),
    "testdev": _Split(folder="test-dev", lists=("2017/test-dev.txt",)),
    "2016val": _Split(
        folder="trainval", lists=("2016/val.txt", "480p/val.txt"), single_object=True
    ),
}


def davis_folder(root: Path, part: str = "trainval") -> Path | None:
    """Where a root holds videos at 480p: in this part of it, or itself; None where in neither.

    A level without videos counts where the other has none either; a folder 480p of frames is a video of that name, and no level.
    """
    levels = [folder for folder in (root / part, root) if (folder / DAVIS_FRAMES).is_dir()]
    filled = (folder for folder in levels if holds_videos(folder / DAVIS_FRAMES))
    empty = (folder for folder in levels if not holds_files(folder / DAVIS_FRAMES))
    return next(itertools.chain(filled, empty), None)


def available_split(root: str | Path) -> str:
    """The split that a root's lists are of, where none is named: 'val' before '2016val', the first whose list is there; 'val' where neither's is.

    Raises InputError where the root holds no frames at 480p.
    """
    return next(
        (
            name
            for name in ("val", "2016val")
            if SPLITS[name].list_in(_folder_of(Path(root), SPLITS[name])) is not None
        ),
        "val",
    )


class DavisDataset(VideoDataset):
    """A split of DAVIS at 480p: frames from JPEGImages/480p, the first frame's mask alone from Annotations/480p.

    root holds those folders and ImageSets itself, or in trainval/ (test-dev/ for testdev). split: 'val' and 'testdev' are DAVIS-2017's; '2016val' is
    DAVIS-2016's, whose ids are one object, whichever release the masks are of. sequences: some of the split, or any other that has a folder of frames.
    Raises InputError where the layout, the list or a sequence is missing.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "val",
        sequences: Sequence[str] | None = None,
        *,
        colours: bytes | None = None,
    ):
        if split not in SPLITS:
            raise InputError(f"no split '{split}' of DAVIS; there are: {' '.join(SPLITS)}")
        self.root = Path(root)
        self._split = SPLITS[split]
        self._colours = colours
        self._folder = _folder_of(self.root, self._split)
        self.names = select_names(
            self._listed_names(split, sequences),
            sequences,
            str(self._folder / DAVIS_FRAMES),
            self._folder / DAVIS_FRAMES,
        )

    def open(self, name: str) -> Video:
        source = FolderSource.of_folder(self._folder / DAVIS_FRAMES / name)
        mask = self._folder / DAVIS_MASKS / name / f"{source.name_of(0)}.png"
        if not mask.is_file():
            raise InputError(f"{mask}: no such mask; DAVIS gives the first frame's")
        return MaskedVideo(
            name, source, {0: mask}, colours=self._colours, single_object=self._split.single_object
        )

    def truth_folder(self) -> Path:
        """The folder of VIDEO/FRAME.png masks, complete but for testdev."""
        return self._folder / DAVIS_MASKS

    @property
    def single_object(self) -> bool:
        """Whether all ids are one object, in what is given and in what is scored."""
        return self._split.single_object

    def _listed_names(self, split: str, sequences: Sequence[str] | None) -> list[str]:
        lists = self._folder / "ImageSets"
        path = self._split.list_in(self._folder)
        if path is not None:
            names = read_sequence_list(path)
            if not names:
                raise InputError(f"{path}: lists no sequence")
            return names
        if sequences is not None:  # named one by one: the split's list is not needed
            return list_folders(self._folder / DAVIS_FRAMES)
        others = (
            sorted(str(path.relative_to(lists)) for path in lists.glob("*/*.txt"))
            if lists.is_dir()
            else []
        )
        fitting = " or ".join(
            f"--split {name}"
            for name, other in SPLITS.items()
            if other.folder == self._split.folder and other.list_in(self._folder) is not None
        )
        remedy = f"; use {fitting}" if fitting else ""
        raise InputError(
            f"{lists / self._split.lists[0]}: no such list for --split {split}; there are: {' '.join(others) or 'none'}{remedy}"
        )


def _folder_of(root: Path, split: _Split) -> Path:
    folder = davis_folder(root, split.folder)
    if folder is None:
        raise InputError(
            f"{root}: no {DAVIS_FRAMES} here or in {split.folder}/; give the folder of DAVIS at 480p"
        )
    return folder
