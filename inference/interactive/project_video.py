"""The video of a project: read again by position, and recognised when the project is opened again.

Legend: T frames, H W frame size.
"""

import abc
import contextlib
import dataclasses
import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dataset import TruncatedVideoError, is_live_address, local_path, prefetch
from dataset.video.file_source import FileSource, open_source
from dataset.video.frame_source import FrameSource, Picture
from dataset.video.inputs import InputFiles
from inference.frames import as_image
from inference.rereading import PositionedImage, rereadable
from util.errors import InputError

_LOGGER = logging.getLogger(__name__)
_FRAMES_AHEAD = 4
_NO_SIZE = (0, 0)  # of masks: images are read as they are shown


@dataclasses.dataclass(frozen=True, kw_only=True)
class VideoRecord:
    """What a project records of its video.

    source: the path, or "array". frame_count: T. missing: frames that cannot be decoded. size: H,
    W. inputs: identifies the content.
    """

    source: str
    frame_count: int
    missing: tuple[int, ...]
    size: tuple[int, int]
    inputs: Mapping[str, Any]


class ProjectVideo(abc.ABC):
    """Frames that can be read again (see RereadableFrames).

    name: of the results' folder. frames_per_second: None if unknown. inputs: the files that it
    is read from; none of an array."""

    name: str
    frames_per_second: float | None = None
    inputs: InputFiles = InputFiles()

    @staticmethod
    def of(video: Any) -> "ProjectVideo":
        """A video file, a folder of frames or a stack of images, by its path; or uint8 RGB frames
        [T, H, W, 3], an array or any iterable that can be read again.

        Raises InputError if it is missing, or can be read only once.
        """
        if isinstance(video, str | Path):
            if is_live_address(str(video)):
                raise InputError(
                    f"{video}: a live source, whose frames cannot be read again; record it to a"
                    " file and give that"
                )
            return _VideoOfFiles(local_path(video))
        return _VideoOfArrays(video)

    @abc.abstractmethod
    def read(self, start: int, stop: int | None) -> Iterator[PositionedImage]:
        """The frames from `start` to before `stop` (None: the end), in order."""

    @abc.abstractmethod
    def read_at(self, positions: Sequence[int]) -> Iterator[PositionedImage]:
        """The frames at ascending positions."""

    @abc.abstractmethod
    def record(self) -> VideoRecord:
        """What identifies the video; reads all of it. Raises InputError if it has no frame."""

    @abc.abstractmethod
    def compare(self, record: VideoRecord) -> tuple[str | None, VideoRecord]:
        """What has changed since (None: nothing), and what to record now."""

    def require_unchanged(self, record: VideoRecord) -> None:  # noqa: B027 arrays are trusted
        """Raise InputError if a file has been touched since it was recorded."""

    def name_of(self, index: int) -> str:
        """The stem of the file of a frame's result."""
        return f"{index:05d}"


class _VideoOfFiles(ProjectVideo):
    def __init__(self, path: Path):
        self._path = path
        self._source: FrameSource = open_source(path)
        full_path = path.resolve()
        self.name = full_path.name if path.is_dir() else full_path.stem
        self.frames_per_second = self._source.frames_per_second
        self.inputs = InputFiles(frames=self._source.files)

    def read(self, start: int, stop: int | None) -> Iterator[PositionedImage]:
        return prefetch(self._pictures(start, stop), _FRAMES_AHEAD)

    def read_at(self, positions: Sequence[int]) -> Iterator[PositionedImage]:
        return self._source.pictures_at(positions, _NO_SIZE)

    def name_of(self, index: int) -> str:
        return self._source.name_of(index)

    def record(self) -> VideoRecord:
        inputs = self.inputs.record()
        size = self._source.size(0, _NO_SIZE)
        count, missing = self._source.count, []
        if isinstance(self._source, FileSource):
            count, missing = self._count_frames()
        return VideoRecord(
            source=str(self._path.resolve()),
            frame_count=count,
            missing=tuple(missing),
            size=size,
            inputs=inputs,
        )

    def compare(self, record: VideoRecord) -> tuple[str | None, VideoRecord]:
        comparison = self.inputs.compare(record.inputs)
        now = dataclasses.replace(record, source=str(self._path.resolve()))
        if comparison.change is None:
            now = dataclasses.replace(now, inputs=comparison.record)
        return comparison.change, now

    def require_unchanged(self, record: VideoRecord) -> None:
        try:
            is_untouched = self.inputs.untouched_since(record.inputs)
        except OSError as error:
            raise InputError(
                f"{self._path}: frames are missing ({error}); put them back"
            ) from error
        if not is_untouched:
            raise InputError(
                f"{self._path}: has changed since the project was opened; put the files back, then"
                " open the project again"
            )

    def _count_frames(self) -> tuple[int, list[int]]:
        """The number of frames of a video file, and those among them that are not readable."""
        seen: list[int] = []
        try:
            for picture in self._pictures(0, None):
                seen.append(picture.index)
        except TruncatedVideoError as error:
            _LOGGER.warning("%s; the project has the frames before", error)
        return seen[-1] + 1, sorted(set(range(seen[-1])).difference(seen))

    def _pictures(self, start: int, stop: int | None) -> Iterator[Picture]:
        with contextlib.closing(self._source.pictures(start, _NO_SIZE)) as pictures:
            for picture in pictures:
                if stop is not None and picture.index >= stop:
                    return
                yield picture
                if stop is not None and picture.index == stop - 1:
                    return


class _VideoOfArrays(ProjectVideo):
    name = "video"

    def __init__(self, frames: Iterable[Any]):
        self._frames = rereadable(frames, "a project")

    def read(self, start: int, stop: int | None) -> Iterator[PositionedImage]:
        return self._frames.read(start, stop)

    def read_at(self, positions: Sequence[int]) -> Iterator[PositionedImage]:
        return self._frames.read_at(positions)

    def record(self) -> VideoRecord:
        digest, size, count = hashlib.sha256(), None, 0
        for frame in self._frames.read(0, None):
            image = as_image(frame.image, f"frame {frame.index}")
            size = size or tuple(image.shape[1:])
            digest.update(np.ascontiguousarray(image.numpy()))
            count += 1
        if size is None:
            raise InputError("the video has no frame; give at least one")
        return VideoRecord(
            source="array",
            frame_count=count,
            missing=(),
            size=size,
            inputs={"sha256": digest.hexdigest()},
        )

    def compare(self, record: VideoRecord) -> tuple[str | None, VideoRecord]:
        now = self.record()
        changed = (now.frame_count, now.inputs) != (record.frame_count, record.inputs)
        return ("its frames are others" if changed else None), now
