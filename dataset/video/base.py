"""Videos and frames, as readers hand them to a session.

Legend: H W height and width in pixels.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dataset.frame_range import FrameRange
from dataset.video.inputs import InputFiles
from util.errors import InputError
from util.files import check_plain_name

MINIMUM_SIDE_PIXELS = 16
_NAMES_SHOWN = 20


class TruncatedVideoError(InputError):
    """A video ended before its stated length.

    Raised after the last readable frame was delivered, so that the results so far can be kept.
    """


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One frame.

    index: position among all frames of the folder, file or live source, from 0.
    name: stem of the result's file.
    image: RGB uint8 [H, W, 3] at the stored size.
    labels: uint8 [H, W] with the ids whose masks count at this frame, 0 elsewhere; None if none
        counts.
    required: whether a result is wanted.
    seconds: when the frame is shown, from an origin of the video's own; None if unknown.
    number: the frame's own index in its video, by which the memory is scheduled, if frames of the
        video are missing here; None: `index`.
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
    """One video. Cheap to create: nothing is decoded before frames() or validate() runs.

    name: also the name of the output folder.
    frame_count: frames in the folder, or as a file's header states, which may be wrong; None if
        unknown.
    first_index: the first annotated frame, at which frames() begins.
    frames_per_second: None if unknown.
    """

    name: str
    frame_count: int | None
    first_index: int
    frames_per_second: float | None = None

    @property
    def inputs(self) -> InputFiles:
        """The files that decide the video's results.

        A later run reuses results only if these files are the same. A video without known files,
        which is the default, always counts as unchanged.
        """
        return InputFiles()

    @property
    @abstractmethod
    def palette(self) -> bytes:
        """The palette of the video's first mask, 768 bytes; DAVIS's palette if it has none."""

    @property
    @abstractmethod
    def object_ids(self) -> tuple[int, ...]:
        """The ids that the latest frames() has met so far, ascending; () before."""

    @property
    @abstractmethod
    def ignored_masks(self) -> int:
        """How many masks the latest frames() has ignored so far.

        One for each object in each mask after the one in which the object first appears.
        """

    @abstractmethod
    def frames(self) -> Iterator[Frame]:
        """All frames in order from first_index on. May be called again.

        Frames after the last required one may be left out.

        Raises:
            InputError: when the frame or mask that is wrong is reached.
        """

    def annotations(self) -> dict[int, np.ndarray]:
        """The masks that count, labels uint8 [H, W] by position. Not to be called during frames().

        Raises InputError if a mask is wrong.
        """
        return {frame.index: frame.labels for frame in self.annotated_frames()}

    def annotated_frames(self) -> Iterator[Frame]:
        """The frames whose masks count, in order. Not to be called during frames().

        Raises:
            InputError: as frames(), or the video can be read only once.
        """
        return (frame for frame in self.frames() if frame.labels is not None)

    def read(self, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
        """The frames from position `start` to before `stop` (None: the end), without masks.

        May be called with any positions, in any order.

        Raises:
            InputError: as frames(), or the video can be read only once, which is the default.
        """
        raise InputError(f"{self.name}: can be read only once, forward; leave --direction out")

    def read_at(self, positions: Sequence[int]) -> Iterator[Frame]:
        """The frames at ascending positions, without masks; as `read`."""
        wanted = set(positions)
        frames = self.read(positions[0], positions[-1] + 1)
        return (frame for frame in frames if frame.index in wanted)

    @property
    def frame_range(self) -> FrameRange | None:
        """The range that 16-bit frames are scaled by; None if frames have 8 bits."""
        return None

    @property
    def notes(self) -> list[str]:
        """Lines for the user on how the frames are read; frames() may add some."""
        return []

    @abstractmethod
    def validate(self) -> None:
        """Check the masks, the first frame and the names, without decoding the video.

        Raises:
            InputError: something is wrong.
        """


class VideoDataset(Sequence[Video]):
    """The videos of one data set. An index gives a Video, a slice a list of them.

    root: the data set's folder. names: the videos' names, in order. notes: lines that the user
    should see before a run.
    """

    root: Path
    names: tuple[str, ...]
    notes: Sequence[str] = ()

    @abstractmethod
    def open(self, name: str) -> Video:
        """The video of this name. Raises InputError if its folders are missing or empty."""

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self.open(name) for name in self.names[index]]
        return self.open(self.names[index])


def check_masks(videos: Iterable[Video]) -> None:
    """Validate every video, so that a wrong request fails before any work. Raises InputError."""
    for video in videos:
        video.validate()


def select_names(
    available: Sequence[str],
    requested: Sequence[str] | None,
    source: str,
    folder: Path | None = None,
) -> tuple[str, ...]:
    """The names of the videos to read: those requested, each once, or all available ones.

    Args:
        requested: None for all.
        source: where the available names come from, for messages.
        folder: the names of its subfolders may be requested too (a sequence outside the split).

    Raises:
        InputError: a name is unknown, or not plain (see check_plain_name): names become names of
            folders that are read and written.
    """
    for name in available if requested is None else set(requested).intersection(available):
        check_plain_name(name, source)
    if requested is None:
        return tuple(available)
    for name in requested:
        is_plain = name not in ("", ".", "..") and Path(name).name == name
        is_subfolder = folder is not None and is_plain and (folder / name).is_dir()
        if name not in available and not is_subfolder:
            shown = " ".join(available[:_NAMES_SHOWN]) or "none"
            if len(available) > _NAMES_SHOWN:
                shown += f" and {len(available) - _NAMES_SHOWN} more"
            raise InputError(f"{source}: no sequence '{name}'; there are: {shown}")
    return tuple(dict.fromkeys(requested))
