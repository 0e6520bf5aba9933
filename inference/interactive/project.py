"""A project: the masks of one video, made and corrected in rounds.

Legend: H W frame size.
"""

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from inference.feature_cache import FeatureCache
from inference.interactive.history import (
    Annotate,
    Annotation,
    Annotations,
    RemoveAnnotation,
    RemoveObject,
)
from inference.interactive.project_folder import ProjectFolder
from inference.interactive.project_state import ProjectState, Results
from inference.interactive.project_video import ProjectVideo, VideoRecord
from inference.interactive.propagating import ProjectPropagation
from inference.interactive.requests import checked_labels, checked_record
from inference.results import FrameResult
from inference.segmenter import VideoSegmenter
from util.errors import InputError
from util.text import counted


class InteractiveProject:
    """The masks of one video, kept in a folder.

        with InteractiveProject.open("bear.project", "bear.mp4", segmenter) as project:
            project.annotate(0, labels)
            for result in project.propagate():
                print(result.frame_index)

    An annotation decides some objects in one frame, by default all that are known by then; others
    are predicted there. Frames whose annotations decide all objects cut the video into stretches.
    The results of a stretch are those of VideoSegmenter.segment with direction "both" on its
    frames and annotations alone, so that a change is propagated only up to the neighbouring
    annotated frames. With permanent_memory every stretch also reads all other annotated frames.

    Whatever a method has done when it returns, and each stretch that is finished, is on disk. One
    process at a time may have a project open; its methods may be called from several threads.
    """

    @classmethod
    def open(
        cls,
        folder: str | Path,
        video: Any,
        segmenter: VideoSegmenter,
        *,
        cache_megabytes: float = 1024,
        kept_megabytes: float = 500,
    ) -> "InteractiveProject":
        """Open a project, or begin one if the folder is empty or missing.

        folder: the project's own. video: the path of a video file, a folder of frames or a stack
        of images; or uint8 RGB frames [T, H, W, 3], an array or any iterable that can be read
        again. segmenter: a project keeps the settings and weights that it began with.
        cache_megabytes: features of frames, on the segmenter's device, are kept for the next pass
        up to this bound. kept_megabytes: results of earlier states, which undo brings back, are
        kept in the folder up to this bound.

        Raises InputError if another process has the project open, and if the folder holds the
        project of another video, of other settings or weights, or of a newer version; if the video
        has changed or is missing. The folder is then unchanged.
        """
        files = ProjectFolder(Path(folder))
        with contextlib.ExitStack() as stack:
            project_video = ProjectVideo.of(video)
            stack.enter_context(files.hold())
            recorded = files.read_project()
            record = checked_record(files.root, recorded, project_video, segmenter)
            project = cls(files, project_video, record.video, segmenter, cache_megabytes)
            if record != recorded:
                files.write_project(record)
            files.prune(project._state.used_names, kept_megabytes)
            project._closing = stack.pop_all()
        return project

    def __init__(
        self,
        folder: ProjectFolder,
        video: ProjectVideo,
        record: VideoRecord,
        segmenter: VideoSegmenter,
        cache_megabytes: float,
    ):
        """Use `open`."""
        self._folder, self._video, self._record = folder, video, record
        permanent = segmenter.config.memory.permanent
        self._state = ProjectState(folder, record.frame_count, record.size, permanent=permanent)
        self._closing = contextlib.ExitStack()
        self._propagation = ProjectPropagation(
            self._state, folder, video, record, segmenter, FeatureCache(cache_megabytes)
        )
        self._is_open = True

    def __enter__(self) -> "InteractiveProject":
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    def close(self) -> None:
        """Release the folder. Everything is on disk already."""
        self._is_open = False
        self._closing.close()

    # What is known

    @property
    def folder(self) -> Path:
        """The project's folder."""
        return self._folder.root

    @property
    def frame_count(self) -> int:
        """The number of frames, those included that cannot be decoded."""
        return self._record.frame_count

    @property
    def size(self) -> tuple[int, int]:
        """H, W."""
        return self._record.size

    @property
    def object_ids(self) -> tuple[int, ...]:
        """The objects that annotations show, ascending."""
        return self._state.history.object_ids

    @property
    def annotations(self) -> Annotations:
        """What is known of annotated frames, by frame; `annotation_labels` gives the labels."""
        return self._state.history.annotations

    def annotation_labels(self, frame: int) -> np.ndarray:
        """The labels uint8 [H, W] of an annotation. Raises InputError if the frame has none."""
        return self._folder.labels_of(self._annotation(frame))

    @property
    def results(self) -> Mapping[int, np.ndarray]:
        """The latest labels, uint8 [H, W], by frame, read when they are asked for.

        Annotated frames show their annotations at once; other frames keep their former results
        until they are propagated again (see `pending`), without objects that were removed. Frames
        without any are missing.
        """
        return Results(self._state, self.frame_count)

    @property
    def pending(self) -> list[tuple[int, int]]:
        """The stretches whose results do not follow from the present annotations yet.

        Each is its first frame and the one behind its last.
        """
        return [(one.start, one.stop) for one in self._state.unfinished()]

    def frame(self, index: int) -> np.ndarray:
        """A frame, uint8 RGB [H, W, 3]. Raises InputError if it does not exist."""
        self._require_frame(index)
        picture = next(iter(self._video.read_at([index])))
        return np.asarray(picture.image)

    # Changes

    def annotate(
        self, frame: int, labels: np.ndarray, objects: Collection[int] | None = None
    ) -> None:
        """Set the annotation of a frame, in place of the one it had.

        labels: ids [H, W], whole numbers, 0 for background and 1 to 255. objects: the ids that the
        labels decide: where these are not, they are not visible. By default, the objects in the
        labels and all that the project knows.
        Raises InputError for a frame that does not exist, labels that do not fit, and if nothing
        is decided.
        """
        self._require_open()
        self._require_frame(frame)
        values, visible = checked_labels(labels, self.size, f"frame {frame}")
        with self._state.lock:
            decided = set(self.object_ids).union(visible) if objects is None else set(objects)
            if missing := set(visible) - decided:
                raise InputError(
                    f"frame {frame}: the mask shows objects {sorted(missing)}, which are not among"
                    " the objects that it decides; add them"
                )
            if not decided:
                raise InputError(f"frame {frame}: mask without an object; draw one")
            operation = Annotate(
                frame=frame,
                digest=self._folder.write_annotation(values),
                visible=visible,
                decided=tuple(sorted(decided)),
            )
            self._state.do(operation)

    def remove_annotation(self, frame: int) -> None:
        """Forget the annotation of a frame. Raises InputError if it has none."""
        self._require_open()
        with self._state.lock:
            self._annotation(frame)
            self._state.do(RemoveAnnotation(frame=frame))

    def remove_object(self, object_id: int) -> None:
        """Forget an object in all annotations. Raises InputError if no annotation shows it."""
        self._require_open()
        with self._state.lock:
            if object_id not in self.object_ids:
                present = ", ".join(map(str, self.object_ids)) or "none"
                raise InputError(f"object {object_id} is not in the project; present: {present}")
            self._state.do(RemoveObject(object_id=object_id))

    @property
    def can_undo(self) -> bool:
        """Whether there is a change to take back."""
        return self._state.history.applied > 0

    @property
    def can_redo(self) -> bool:
        """Whether there is a change to make again."""
        history = self._state.history
        return history.applied < len(history.operations)

    def undo(self) -> None:
        """Take back the latest change; its results return if they are still there.

        Raises InputError if there is none.
        """
        self._move(-1, self.can_undo, "undo")

    def redo(self) -> None:
        """Make the change again that was taken back last. Raises InputError if there is none."""
        self._move(1, self.can_redo, "redo")

    # Propagation

    def propagate(
        self,
        frames: Collection[int] | None = None,
        *,
        progress: Callable[[int, int], None] | None = None,
        only_touched: bool = False,
    ) -> Iterator[FrameResult]:
        """Make the results that are pending; yields each as it is made.

        frames: make only the stretches with one of these; by default all. progress: is called with
        the number of frames done so far, and that of all, after each frame of each pass; it may
        raise an exception. only_touched: with permanent_memory, do not make the stretches again
        whose own annotations have not changed, though those in their memory have.

        Stretches are made one after another. Each appears in `results` when it is finished. To
        cancel, close the generator, or raise an exception in `progress`: finished stretches stay.
        Annotations may change meanwhile; what they touch is made again afterwards.
        Raises InputError for frames that do not exist, without an annotation, if the video has
        changed, and as VideoSegmenter.segment.
        """
        self._require_open()
        for frame in frames or ():
            self._require_frame(frame)
        if not self.annotations:
            raise InputError(f"{self.folder}: no frame is annotated; annotate one first")
        return self._propagation.run(frames, progress, only_touched=only_touched)

    # Checks

    def _require_open(self) -> None:
        if not self._is_open:
            raise InputError(f"{self.folder}: the project is closed; open it again")

    def _require_frame(self, frame: int) -> None:
        if not 0 <= frame < self.frame_count:
            frames = counted(self.frame_count, "frame")
            raise InputError(f"frame {frame} does not exist; the video has {frames}, from 0")
        if frame in self._record.missing:
            raise InputError(f"frame {frame} is damaged and cannot be decoded; take another")

    def _annotation(self, frame: int) -> Annotation:
        if frame not in self.annotations:
            given = ", ".join(map(str, self.annotations)) or "none"
            raise InputError(f"frame {frame} has no annotation; annotated frames: {given}")
        return self.annotations[frame]

    def _move(self, steps: int, possible: bool, what: str) -> None:
        self._require_open()
        with self._state.lock:
            if not possible:
                raise InputError(f"{self.folder}: there is nothing to {what}")
            self._state.move(steps)
