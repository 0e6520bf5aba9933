"""What is checked before a project takes it.

Legend: H W frame size.
"""

import contextlib
import operator
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from inference.frames import as_object_mask
from inference.interactive.project_folder import ProjectRecord
from inference.interactive.project_video import ProjectVideo, VideoRecord
from inference.output.recorded_run import RecordedRun
from inference.segmenter import VideoSegmenter
from util.errors import InputError
from util.text import counted

MAX_ID = 255  # of an object: labels are PNGs of 8 bits


def checked_labels(
    labels: Any, size: tuple[int, int], source: str
) -> tuple[np.ndarray, tuple[int, ...]]:
    """Labels of any type as uint8 [H, W], and the ids in them, ascending.

    source: names the frame in errors. Raises InputError for another shape or type, and for ids
    outside 0..255.
    """
    array = np.asarray(labels.cpu() if isinstance(labels, torch.Tensor) else labels)
    if array.shape == size and array.dtype.kind in "iub" and not array.any():
        return np.zeros(size, np.uint8), ()
    mask = as_object_mask(array, size, source)
    if mask.object_ids[-1] > MAX_ID:
        raise InputError(
            f"{source}: mask with id {mask.object_ids[-1]}; a project takes ids up to {MAX_ID}"
        )
    return mask.labels.to(torch.uint8).numpy(), mask.object_ids


@contextlib.contextmanager
def as_input_errors(source: str) -> Iterator[None]:
    """Raise a ValueError of the block as an InputError. source: names the place."""
    try:
        yield
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{source}: {error}") from error


def checked_frame(frame: int, video: VideoRecord) -> int:
    """The frame, a whole number of any type. Raises InputError if it does not exist or cannot be
    decoded."""
    frame = operator.index(frame)
    if not 0 <= frame < video.frame_count:
        frames = counted(video.frame_count, "frame")
        raise InputError(f"frame {frame} does not exist; the video has {frames}, from 0")
    if frame in video.missing:
        raise InputError(f"frame {frame} is damaged and cannot be decoded; take another")
    return frame


def checked_id(object_id: int, source: str) -> int:
    """The id, a whole number of any type. source: names the frame in errors. Raises InputError
    unless an object may have it."""
    object_id = operator.index(object_id)
    if not 1 <= object_id <= MAX_ID:
        raise InputError(f"{source}: object {object_id}; ids are 1 to {MAX_ID}")
    return object_id


def checked_output(output: Path, folder: Path, video: VideoRecord) -> None:
    """Raise InputError if results would lie in the project's folder, which removes what it does not
    know, or in the folder of the video's frames."""
    source = Path(video.source)
    inside = output.resolve()
    for taken, content in ((folder.resolve(), "the project"), (source, "the frames")):
        if taken.is_absolute() and taken.is_dir() and inside.is_relative_to(taken):
            raise InputError(f"{output}: lies in the folder of {content}; choose another output")


def checked_record(
    folder: Path,
    recorded: ProjectRecord | None,
    video: ProjectVideo,
    segmenter: VideoSegmenter,
) -> ProjectRecord:
    """What to record of a project, which is new if nothing is recorded.

    Raises InputError if video or settings differ from those recorded.
    """
    if recorded is None:
        return ProjectRecord(video.record(), segmenter.identity)
    before = RecordedRun.of(recorded.settings, ".", {})
    now = RecordedRun.of(segmenter.identity, ".", {}).settings
    if difference := before.difference(now):
        raise InputError(
            f"{folder}: the project was begun with {difference}; open it with these settings, or"
            " choose another folder"
        )
    change, video_now = video.compare(recorded.video)
    if change is not None:
        raise InputError(
            f"{folder}: is the project of {recorded.video.source}, and {video_now.source} is"
            f" another video, or it has changed ({change}); give that video, or choose another"
            " folder"
        )
    return ProjectRecord(video_now, recorded.settings)
