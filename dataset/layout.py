"""Where a data set keeps the frames, masks and lists of its videos.

One finder for evaluation and training. A root holds videos at 480p as DAVIS does
(JPEGImages/480p/VIDEO, Annotations/480p/VIDEO), or plain folders (JPEGImages/VIDEO,
Annotations/VIDEO), in the root itself or in a part of it (trainval/, train/, ...).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dataset.folders import IMAGE_SUFFIXES, MASK_SUFFIXES, holds_files, holds_videos
from util.files import read_text

FRAMES, MASKS, LISTS = "JPEGImages", "Annotations", "ImageSets"
DAVIS_LEVEL = "480p"
DAVIS_FRAMES, DAVIS_MASKS = f"{FRAMES}/{DAVIS_LEVEL}", f"{MASKS}/{DAVIS_LEVEL}"


@dataclass(frozen=True, kw_only=True)
class DataFolders:
    """The folders of one data set.

    base: the root, or the part of it that holds all the folders.
    level: the folder between JPEGImages and the videos, '480p' for DAVIS, otherwise ''.
    """

    base: Path
    level: str = ""

    @property
    def frames(self) -> Path:
        """The folder of VIDEO/FRAME.jpg."""
        return self.base / FRAMES / self.level

    @property
    def masks(self) -> Path:
        """The folder of VIDEO/FRAME.png."""
        return self.base / MASKS / self.level

    @property
    def lists(self) -> Path:
        """The folder of lists of sequences; it may be missing."""
        return self.base / LISTS

    @property
    def is_davis(self) -> bool:
        """Whether the videos lie at 480p, as in DAVIS."""
        return self.level == DAVIS_LEVEL


def davis_candidates(root: Path, part: str) -> list[DataFolders]:
    """Where DAVIS may lie: in a part of the root (trainval, test-dev) or in the root itself."""
    return [DataFolders(base=base, level=DAVIS_LEVEL) for base in (root / part, root)]


def find_data_folders(
    candidates: Iterable[DataFolders], kind: Literal["frames", "masks"]
) -> DataFolders | None:
    """The first candidate whose folder of frames (or of masks) holds videos.

    If none holds videos, the first whose folder exists; None if there is no such folder. A folder
    480p that directly holds images is a video of that name, not the level of DAVIS.
    """
    suffixes = IMAGE_SUFFIXES if kind == "frames" else MASK_SUFFIXES
    existing = [one for one in candidates if getattr(one, kind).is_dir()]
    for folders in existing:
        if holds_videos(getattr(folders, kind), suffixes):
            return folders
    for folders in existing:
        if not (folders.is_davis and holds_files(getattr(folders, kind), suffixes)):
            return folders
    return None


@dataclass(frozen=True, kw_only=True)
class DavisSplit:
    """One split of DAVIS.

    part: the folder that holds the split, if the root itself does not. lists: its list of
    sequences, below ImageSets; the first that exists counts. single_object: all ids are one
    object, as in DAVIS-2016.
    """

    part: str
    lists: tuple[str, ...]
    single_object: bool = False

    def find(self, root: Path) -> DataFolders | None:
        """The folders of the split; None if the root holds no frames at 480p."""
        return find_data_folders(davis_candidates(root, self.part), "frames")

    def list_in(self, folders: DataFolders) -> Path | None:
        """The split's list of sequences; None if it is missing."""
        return next((path for name in self.lists if (path := folders.lists / name).is_file()), None)


DAVIS_SPLITS = {
    "val": DavisSplit(part="trainval", lists=("2017/val.txt",)),
    "testdev": DavisSplit(part="test-dev", lists=("2017/test-dev.txt",)),
    "2016val": DavisSplit(
        part="trainval", lists=("2016/val.txt", "480p/val.txt"), single_object=True
    ),
}
"""The splits that are evaluated."""
DAVIS_TRAIN = DavisSplit(
    part="trainval", lists=("2017/train.txt", "2016/train.txt", "480p/train.txt")
)


def read_names_text(path: Path) -> str:
    """The text of a list of names in UTF-8. Raises InputError if the file is not such a text."""
    return read_text(path, "a name a line")


def read_sequence_list(path: Path) -> list[str]:
    """The names in a list of DAVIS, in order, each once.

    A line is a name, or a frame and its mask as in DAVIS-2016
    ('/JPEGImages/480p/bear/00000.jpg /Annotations/...'). Raises InputError if it is not a text.
    """
    first_words = [line.split()[0] for line in read_names_text(path).splitlines() if line.strip()]
    return list(
        dict.fromkeys(Path(word).parent.name if "/" in word else word for word in first_words)
    )
