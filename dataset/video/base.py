"""What the readers hand to the engine: videos, frames, and the rule that says which masks count. Legend: H W height and width in pixels."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dataset.frame_range import FrameRange
from dataset.label_map import BINARY_ID, present_ids
from dataset.video.inputs import InputFiles
from util.errors import InputError
from util.files import check_plain_name

MINIMUM_SIDE_PIXELS = 16
_NAMES_SHOWN = 20


class TruncatedVideoError(InputError):
    """A video ended before its stated length. Raised after the last frame that could be read was delivered, so that results so far can be kept."""


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One frame.

    index: position among all frames of the folder, file or live source, from 0. name: output file stem. image: RGB uint8 [H, W, 3] at the size stored.
    labels: uint8 [H, W] where masks count at this frame, holding only the ids that count, 0 elsewhere; otherwise None. required: a result is wanted.
    seconds: when it is shown, from an origin of the video's own; None where unknown.
    number: the frame's own index in its video, by which the memory is scheduled, where frames of the video are not here; None: `index`.
    """

    index: int
    name: str
    image: np.ndarray
    labels: np.ndarray | None
    required: bool
    seconds: float | None = None
    number: int | None = None

    @property
    def schedule_index(self) -> int:
        """The frame's own index in its video."""
        return self.index if self.number is None else self.number


class Video(ABC):
    """One video, cheap to make: nothing is decoded before frames() or validate() runs.

    name: also the name of the output folder. frame_count: frames in the folder, or as a file's header has it, which may be wrong; None where unknown.
    first_index: the first annotated frame, where
    frames() begins. frames_per_second: None where unknown.

    is_live: it comes as it happens, reads ahead by itself and has no end of its own, until stop() is called. newest_only: of a live one, frames that come while another is
    segmented are dropped; dropped_frames: how many so far.
    """

    name: str
    frame_count: int | None
    first_index: int
    frames_per_second: float | None = None
    is_live: bool = False
    newest_only: bool = False
    dropped_frames: int = 0

    @property
    def inputs(self) -> InputFiles:
        """The files that decide its results. A later run takes results for finished only if these are the same; by default none are known, and it always does."""
        return InputFiles()

    @property
    @abstractmethod
    def palette(self) -> bytes:
        """768 bytes: the palette of the video's first mask, DAVIS's where it has none."""

    @property
    @abstractmethod
    def object_ids(self) -> tuple[int, ...]:
        """The ids met so far by the latest frames(), ascending; () before."""

    @property
    @abstractmethod
    def ignored_masks(self) -> int:
        """How many masks the latest frames() has ignored so far: one for each object at each frame after the one where it first appears."""

    @abstractmethod
    def frames(self) -> Iterator[Frame]:
        """All frames in order from first_index on; those after the last that is required may be left out. May be called again.

        Raises InputError at the frame or mask that is wrong."""

    @property
    def frame_range(self) -> FrameRange | None:
        """What 16-bit frames are scaled by; None where frames have 8 bits."""
        return None

    @property
    def notes(self) -> list[str]:
        """Lines on how the frames are read, for the user; more may come while frames() goes on."""
        return []

    def stop(self) -> None:  # noqa: B027 only a live video has something to do
        """Have the frames() of a live video end before its next frame. May be called from a signal handler."""

    @abstractmethod
    def validate(self) -> None:
        """Look at what can be known without decoding the video (the first mask and frame, names, sizes). Raises InputError."""


class VideoDataset(Sequence[Video]):
    """The videos of one data set. root: its folder. names: the videos' names, in order. notes: what a user should know before a run. Indexing makes a Video;
    a slice, a list of them."""

    root: Path
    names: tuple[str, ...]
    notes: Sequence[str] = ()

    @abstractmethod
    def open(self, name: str) -> Video:
        """The video of this name. Raises InputError where its folders are missing or empty."""

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self.open(name) for name in self.names[index]]
        return self.open(self.names[index])


class MaskSelection:
    """Which masks of one video count: an id's where it first appears, or all of them where masks given again are corrections.

    A folder with a mask for every frame therefore gives away nothing but each object's first mask. The value 255 is an object only as a video's single id.
    """

    def __init__(self, corrections: bool = False):
        self.object_ids: tuple[int, ...] = ()
        self.ignored_masks = 0
        self._corrections = corrections

    def select(self, labels: np.ndarray, where: str) -> np.ndarray | None:
        """The ids of labels uint8 [H, W] that count at this frame, the rest 0; None where none does. `where` names the mask in errors."""
        ids = present_ids(labels)
        if not ids and not self.object_ids:
            raise InputError(
                f"{where}: no object in the video's first mask; draw one, or remove masks that precede the first object"
            )
        known = set(self.object_ids)
        everything = tuple(sorted(known.union(ids)))
        if BINARY_ID in everything and len(everything) > 1:
            others = ", ".join(str(i) for i in everything[:5] if i != BINARY_ID)
            raise InputError(
                f"{where}: id 255 beside {others}; 255 is no object id (it means void, or smooth edges of a grey mask): use 1 to 254"
            )
        self.object_ids = everything
        if self._corrections:
            return labels if ids else None
        new = [i for i in ids if i not in known]
        self.ignored_masks += len(ids) - len(new)
        if len(new) == len(ids):
            return labels if ids else None
        counts = np.zeros(256, dtype=np.uint8)
        counts[new] = new
        return counts[labels] if new else None


def check_masks(videos: Iterable[Video]) -> None:
    """Validate every video, so that a wrong request fails before any work is done. Raises InputError."""
    for video in videos:
        video.validate()


def select_names(
    available: Sequence[str],
    requested: Sequence[str] | None,
    where: str,
    folder: Path | None = None,
) -> tuple[str, ...]:
    """The names asked for, each once, in the order asked; all available where requested is None.

    folder: names of its subfolders are good too, though not among those available (a sequence outside the split). Raises InputError for others, and for names
    that are not plain (see check_plain_name): these are the names of folders that are read and written.
    """
    for name in available if requested is None else set(requested).intersection(available):
        check_plain_name(name, where)
    if requested is None:
        return tuple(available)
    for name in requested:
        plain = name not in ("", ".", "..") and Path(name).name == name
        if name not in available and not (
            folder is not None and plain and (folder / name).is_dir()
        ):
            shown = " ".join(available[:_NAMES_SHOWN]) + (
                f" and {len(available) - _NAMES_SHOWN} more"
                if len(available) > _NAMES_SHOWN
                else ""
            )
            raise InputError(f"{where}: no sequence '{name}'; there are: {shown or 'none'}")
    return tuple(dict.fromkeys(requested))
