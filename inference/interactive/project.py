"""A project: the masks of one video, made and corrected in rounds.

Legend: H W frame size.
"""

import contextlib
import operator
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from inference.feature_cache import FeatureCache
from inference.interactive.drawing import as_values, draw, replaced, strokes_of
from inference.interactive.exporting import export
from inference.interactive.history import (
    Annotations,
    RemoveAnnotation,
    RemoveObject,
)
from inference.interactive.mask_from_input import Box, GrabCutMask, MaskFromInput, Stroke
from inference.interactive.project_folder import ProjectFolder
from inference.interactive.project_state import ProjectState, Results
from inference.interactive.project_video import ProjectVideo, VideoRecord
from inference.interactive.propagating import ProjectPropagation
from inference.interactive.requests import (
    as_input_errors,
    checked_frame,
    checked_id,
    checked_labels,
    checked_output,
    checked_record,
)
from inference.interactive.suggesting import FrameKeys, Suggester, Suggestion
from inference.results import FrameResult
from inference.segmenter import VideoSegmenter
from util.errors import InputError


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
        mask_from_input: MaskFromInput | None = None,
        cache_megabytes: float = 1024,
        kept_megabytes: float = 500,
    ) -> "InteractiveProject":
        """Open a project, or begin one if the folder is empty or missing.

        folder: the project's own. video: the path of a video file, a folder of frames or a stack
        of images; or uint8 RGB frames [T, H, W, 3], an array or any iterable that can be read
        again. segmenter: a project keeps the settings and weights that it began with.
        mask_from_input: makes masks of strokes and boxes; None: GrabCutMask.
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
            files.remove_leftovers()
            state = ProjectState(
                files,
                record.video.frame_count,
                record.video.size,
                permanent=segmenter.config.memory.permanent,
                kept_megabytes=kept_megabytes,
            )
            cache = FeatureCache(cache_megabytes)
            project = cls(files, project_video, record.video, segmenter, state, cache)
            project._masks = mask_from_input or project._masks
            if record != recorded:
                files.write_project(record)
            project._closing = stack.pop_all()
        return project

    def __init__(
        self,
        folder: ProjectFolder,
        video: ProjectVideo,
        record: VideoRecord,
        segmenter: VideoSegmenter,
        state: ProjectState,
        cache: FeatureCache,
    ):
        """Use `open`."""
        self._folder, self._video, self._record = folder, video, record
        self._settings = segmenter.identity
        self._masks: MaskFromInput = GrabCutMask()
        self._state = state
        self._closing = contextlib.ExitStack()
        keys = FrameKeys(segmenter, video, record.size, cache)
        self._suggester = Suggester(state, record, keys)
        self._propagation = ProjectPropagation(state, folder, video, record, segmenter, cache)
        self._is_open = True

    def __enter__(self) -> "InteractiveProject":
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    def close(self) -> None:
        """Release the folder. Everything is on disk already, but a stretch that is being made."""
        self._is_open = False
        self._propagation.close()
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
    def name(self) -> str:
        """The video's name, which its exported results have."""
        return self._video.name

    @property
    def frames_per_second(self) -> float | None:
        """Of the video; None if unknown."""
        return self._video.frames_per_second

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
        return self._folder.labels_of(self._state.annotation_of(frame))

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
        index = checked_frame(index, self._record)
        picture = next(iter(self._video.read_at([index])))
        return np.asarray(picture.image)

    def frames(self, start: int, stop: int) -> Iterator[tuple[int, np.ndarray]]:
        """The index and the image, uint8 RGB [H, W, 3], of each frame from `start` to before
        `stop` that can be decoded. Neighbouring frames are decoded together, which is faster than
        one call of `frame` for each."""
        for picture in self._video.read(start, min(stop, self.frame_count)):
            yield picture.index, np.asarray(picture.image)

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
        frame = checked_frame(frame, self._record)
        values, visible = checked_labels(labels, self.size, f"frame {frame}")
        with self._state.lock:
            if objects is None:
                decided = {*self.object_ids, *visible}
            else:
                decided = {checked_id(i, f"frame {frame}") for i in objects}
            if missing := set(visible) - decided:
                raise InputError(
                    f"frame {frame}: the mask shows objects {sorted(missing)}, which are not among"
                    " the objects that it decides; add them"
                )
            if not decided:
                raise InputError(f"frame {frame}: mask without an object; draw one")
            self._state.annotate(frame, values, visible, decided)

    def scribble(
        self,
        frame: int,
        object_id: int,
        points: Sequence[tuple[float, float]],
        positive: bool = True,
        *,
        radius: float = 3.0,
    ) -> np.ndarray:
        """Draw one stroke, or click (one point); see `draw`. points: (x, y) in pixels."""
        with as_input_errors(f"frame {frame}"):
            stroke = Stroke(points, positive, radius)
        return self.draw(frame, object_id, [stroke])

    def draw(
        self,
        frame: int,
        object_id: int,
        strokes: Sequence[Stroke] = (),
        box: Box | None = None,
    ) -> np.ndarray:
        """Make or correct the mask of an object by strokes and a box around it.

        The mask becomes part of the frame's annotation, together with the latest labels of the
        other objects there. object_id: 1 to 255. strokes: inside (positive) or outside the object;
        earlier ones of this annotation still count. box: x0, y0, x1, y1 in pixels.
        Returns the labels of the frame, uint8 [H, W]. Raises InputError for a frame that does not
        exist, wrong strokes, and if a new object gets no pixel.
        """
        self._require_open()
        frame = checked_frame(frame, self._record)
        object_id = checked_id(object_id, f"frame {frame}")
        image = self.frame(frame)
        with self._state.lock, as_input_errors(f"frame {frame}"):
            before = self._state.labels(frame)
            before = np.zeros(self.size, np.uint8) if before is None else before
            known = strokes_of(self.annotations.get(frame), object_id)
            labels = draw(self._masks, image, before, object_id, [*known, *strokes], box)
            self._annotate_object(frame, object_id, labels, as_values(strokes, object_id))
        return labels

    def set_mask(self, frame: int, object_id: int, mask: np.ndarray) -> np.ndarray:
        """Replace the mask of an object in a frame, as a brush does.

        The mask becomes part of the frame's annotation, together with the latest labels of the
        other objects there, which are not where it is. Strokes that this annotation was drawn with
        no longer count. object_id: 1 to 255. mask: bool [H, W].
        Returns the labels of the frame, uint8 [H, W]. Raises InputError for a frame that does not
        exist, a mask of another shape or type, and if a new object gets no pixel.
        """
        self._require_open()
        frame = checked_frame(frame, self._record)
        object_id = checked_id(object_id, f"frame {frame}")
        if mask.shape != self.size or mask.dtype != bool:
            raise InputError(
                f"frame {frame}: mask of shape {mask.shape} and type {mask.dtype}; bool"
                f" {self.size} is needed"
            )
        with self._state.lock:
            before = self._state.labels(frame)
            before = np.zeros(self.size, np.uint8) if before is None else before
            labels = replaced(before, object_id, mask)
            self._annotate_object(frame, object_id, labels, None)
        return labels

    def remove_annotation(self, frame: int) -> None:
        """Forget the annotation of a frame. Raises InputError if it has none."""
        self._require_open()
        with self._state.lock:
            known = self._state.annotation_of(frame)
            self._state.do(RemoveAnnotation(frame=known.frame))

    def remove_object(self, object_id: int) -> None:
        """Forget an object in all annotations. Raises InputError if no annotation shows it."""
        self._require_open()
        with self._state.lock:
            if object_id not in self.object_ids:
                present = ", ".join(map(str, self.object_ids)) or "none"
                raise InputError(f"object {object_id} is not in the project; present: {present}")
            self._state.do(RemoveObject(object_id=operator.index(object_id)))

    @property
    def can_undo(self) -> bool:
        """Whether there is a change to take back."""
        return self._state.history.can_undo

    @property
    def can_redo(self) -> bool:
        """Whether there is a change to make again."""
        return self._state.history.can_redo

    def undo(self) -> None:
        """Take back the latest change; its results return if they are still there.

        Raises InputError if there is none.
        """
        self._require_open()
        self._state.undo()

    def redo(self) -> None:
        """Make the change again that was taken back last. Raises InputError if there is none."""
        self._require_open()
        self._state.redo()

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
        if frames is not None:
            frames = [checked_frame(frame, self._record) for frame in frames]
        if not self.annotations:
            raise InputError(f"{self.folder}: no frame is annotated; annotate one first")
        return self._propagation.run(frames, progress, only_touched=only_touched)

    # Results

    def suggest(self, n: int = 1, by: Suggestion = "keys") -> list[int]:
        """Frames whose annotation would help most, best first; at most n.

        by: "keys": least like the annotated frames, by the network's keys, with half of the weight
        on the objects of the latest results. "uncertainty": the network is least sure of the latest
        results. "distance": farthest in time from annotated frames.
        Annotated frames are never suggested. Raises InputError if no frame is annotated, for
        another `by`, n below 1, and if uncertainty is asked for before any propagation.
        """
        self._require_open()
        return self._suggester.suggest(n, by)

    def export(self, output: str | Path, *, overlay: bool = False) -> Path:
        """Write the results as the eval scripts do; returns the folder OUT/VIDEO of FRAME.png.

        output: OUT, which also gets config.json; an earlier export is replaced. overlay: also write
        OUT/overlays/VIDEO.mp4 (or .webm), which shows them, and a sheet of frames.
        Raises InputError if results are pending, and if OUT holds other results or lies in the
        project or among the frames.
        """
        self._require_open()
        if not self.annotations:
            raise InputError(f"{self.folder}: no frame is annotated, so there are no results")
        if pending := self.pending:
            start, stop = pending[0]
            raise InputError(
                f"{self.folder}: frames {start} to {stop - 1} wait for their results; propagate"
                " them first"
            )
        output = Path(output)
        checked_output(output, self.folder, self._record)
        masks = [self._folder.annotation_path(one.digest) for one in self.annotations.values()]
        return export(
            output, self._video, self.results, self._settings, masks=masks, overlay=overlay
        )

    # Checks

    def _require_open(self) -> None:
        if not self._is_open:
            raise InputError(f"{self.folder}: the project is closed; open it again")

    def _annotate_object(
        self,
        frame: int,
        object_id: int,
        labels: np.ndarray,
        strokes: tuple[Mapping[str, Any], ...] | None,
    ) -> None:
        """Annotate a frame in which one object was changed. strokes: see ProjectState.annotate."""
        visible = tuple(i for i in np.unique(labels).tolist() if i)
        if object_id not in (*self.object_ids, *visible):
            raise InputError(
                f"frame {frame}: no pixel of object {object_id} results; draw inside it"
            )
        decided = {object_id, *visible, *self._state.decided_ids(frame)}
        self._state.annotate(frame, labels, visible, decided, strokes=strokes)
