"""The frames that masks belong to, if they are given: their names, sizes and images."""

import dataclasses
import functools
from pathlib import Path

from dataset.folders import holds_files
from dataset.formats.mask_video import MaskVideo
from dataset.image_file import size_text
from dataset.layout import DataFolders, davis_candidates, find_data_folders
from dataset.video.file_source import open_source
from dataset.video.folder_of_frames import video_files
from dataset.video.frame_source import FrameSource, NumberedSource
from dataset.video.mask_names import number_in
from util.errors import InputError

_AS_SHOWN = (0, 0)  # the size of no mask, so that frames are turned as viewers show them


class VideoFrames:
    """The frames of one video, or of several.

    root: a video file or a folder of frames; of several videos, a folder that holds VIDEO/ or
    VIDEO.mp4 (any kind of video) for each, or a data set with JPEGImages.
    Raises InputError if there is nothing at root.
    """

    def __init__(self, root: Path):
        self.root = root
        self._sources: dict[str, FrameSource] = {}
        if not root.exists():
            raise InputError(f"{root}: no such frames; give a video file or a folder of frames")

    @property
    def is_one_video(self) -> bool:
        """Whether the frames are those of a single video."""
        return not self.root.is_dir() or (holds_files(self.root) and self._data_set is None)

    def source(self, video: str) -> FrameSource:
        """The frames of a video. Raises InputError if they are missing or no frames."""
        if video not in self._sources:
            self._sources[video] = open_source(self._path(video))
        return self._sources[video]

    def name(self, video: str, number: int) -> str:
        """The name of a video's frame of this number, from 0. Raises InputError past the end."""
        source = self.source(video)
        if number < 0 or (source.count is not None and number >= source.count):
            raise InputError(
                f"{self.root}: no frame {number} of {video}, which has {source.count} frames; give "
                "the frames that the masks were drawn on"
            )
        return source.name_of(number)

    def size(self, video: str, number: int = 0) -> tuple[int, int]:
        """(H, W) of a video's frame, as shown. Decodes at most one."""
        return self.source(video).size(number, _AS_SHOWN)

    def position(self, video: str, frame: str) -> int:
        """The position of the frame that a mask names. Raises InputError if there is none."""
        source = self.source(video)
        number = number_in(frame) if isinstance(source, NumberedSource) else None
        return source.index_of(Path(video, f"{frame if number is None else number}.png"))

    def _path(self, video: str) -> Path:
        if self.is_one_video:
            return self.root
        folders = [self.root] if self._data_set is None else [self._data_set.frames, self.root]
        for folder in folders:
            if (folder / video).is_dir():
                return folder / video
        files = [path for path in video_files(self.root) if path.stem == video]
        if len(files) == 1:
            return files[0]
        raise InputError(
            f"{self.root}: no frames of {video}; {video}/ or a video file {video}.mp4 is needed"
        )

    @functools.cached_property
    def _data_set(self) -> DataFolders | None:
        """The folders of a data set; None if the root is none."""
        candidates = [*davis_candidates(self.root, "trainval"), DataFolders(base=self.root)]
        return find_data_folders(candidates, "frames")


def aligned(video: MaskVideo, frames: VideoFrames) -> MaskVideo:
    """The masks under the names of the frames that they belong to, in the frames' order.

    Raises InputError if a mask has no frame or two have the same, and if the first mask has another
    size than its frame.
    """
    source = frames.source(video.name)
    by_position = {}
    for frame in video.frames:
        position = frames.position(video.name, frame.name)
        if (other := by_position.setdefault(position, frame)) is not frame:
            raise InputError(
                f"{video.name}: masks {other.name} and {frame.name} are both of frame "
                f"{source.name_of(position)}; keep one of them"
            )
    first = min(by_position)
    mask_size = by_position[first].size
    if (size := source.size(first, mask_size)) != mask_size:
        raise InputError(
            f"{video.name}/{by_position[first].name}: mask of {size_text(mask_size)} for frames of "
            f"{size_text(size)}; give the frames that the masks were drawn on"
        )
    is_folder = not isinstance(source, NumberedSource)
    renamed = tuple(
        dataclasses.replace(
            by_position[position],
            name=source.name_of(position),
            file_name=by_position[position].file_name
            or (f"{video.name}/{source.files[position].name}" if is_folder else None),
        )
        for position in sorted(by_position)
    )
    return dataclasses.replace(video, frames=renamed)
