"""Where a project is: its history, the stretches that follow from it, and their results.

Every change is on disk before the method that makes it returns.

Legend: H W frame size.
"""

import bisect
import threading
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np

from inference.interactive.history import Annotate, Annotation, History, Operation
from inference.interactive.project_folder import ProjectFolder
from inference.interactive.stretches import Piece, Stretch, laid_over, split
from util.errors import InputError


class ProjectState:
    """The state of a project, kept in its folder. May be used from several threads.

    frame_count: of the video. size: H, W. permanent: see `split`. kept_megabytes: bounds the
    results of earlier states.
    Raises InputError if what the folder holds cannot be read.
    """

    def __init__(
        self,
        folder: ProjectFolder,
        frame_count: int,
        size: tuple[int, int],
        *,
        permanent: bool,
        kept_megabytes: float,
    ):
        self.lock = threading.RLock()
        self._folder, self._size = folder, size
        self._frame_count, self._permanent = frame_count, permanent
        self._kept_megabytes = kept_megabytes
        self.history, self._pieces = folder.read_history()
        self._written = (self.history, self._pieces)
        self.stretches: list[Stretch] = []
        self.note_results()

    def annotate(
        self,
        frame: int,
        labels: np.ndarray,
        visible: tuple[int, ...],
        decided: Collection[int],
        *,
        strokes: tuple[Mapping[str, Any], ...] | None = None,
    ) -> None:
        """Set the annotation of a frame; see Annotate. labels: uint8 [H, W]."""
        digest = self._folder.write_annotation(labels)
        decided = tuple(sorted(decided))
        self.do(
            Annotate(frame=frame, digest=digest, visible=visible, decided=decided, strokes=strokes)
        )

    def do(self, operation: Operation) -> None:
        """Make a change; changes that were undone are forgotten."""
        with self.lock:
            self._set(self.history.then(operation))

    def undo(self) -> None:
        """Take back the latest change. Raises InputError if there is none."""
        with self.lock:
            if not self.history.can_undo:
                raise InputError(f"{self._folder.root}: there is nothing to undo")
            self._set(self.history.at(self.history.applied - 1))

    def redo(self) -> None:
        """Make the change again that was taken back last. Raises InputError if there is none."""
        with self.lock:
            if not self.history.can_redo:
                raise InputError(f"{self._folder.root}: there is nothing to redo")
            self._set(self.history.at(self.history.applied + 1))

    def note_results(self) -> None:
        """Show results that have been written, and remove those of earlier states beyond the
        bound."""
        with self.lock:
            self._follow()
            shown = {piece.name for piece in self._pieces}
            self._folder.prune(shown, self._kept_megabytes)

    def unfinished(self, *, only_touched: bool = False) -> list[Stretch]:
        """The stretches without results, in order. only_touched: results that were made with other
        memorised annotations count."""
        with self.lock:
            return [
                one
                for one in self.stretches
                if not self._folder.has_results(one.name)
                and not (only_touched and self._has_own_results(one))
            ]

    def annotation_of(self, frame: int) -> Annotation:
        """What is known of a frame. Raises InputError if it is not annotated."""
        annotations = self.history.annotations
        if frame not in annotations:
            given = ", ".join(map(str, annotations)) or "none"
            raise InputError(f"frame {frame} has no annotation; annotated frames: {given}")
        return annotations[frame]

    def has_labels(self, frame: int) -> bool:
        """Whether a frame has results or an annotation."""
        return frame in self.history.annotations or self.piece_at(frame) is not None

    def labels(self, frame: int) -> np.ndarray | None:
        """The latest labels of a frame, uint8 [H, W], with its annotation; None without any."""
        with self.lock:
            history, piece = self.history, self.piece_at(frame)
        labels = None if piece is None else self._folder.labels(piece.name, frame)
        annotation = history.annotations.get(frame)
        if labels is None:
            if annotation is None:
                return None
            labels = np.zeros(self._size, np.uint8)
        labels[~np.isin(labels, history.object_ids)] = 0  # they were removed since
        if annotation is not None:
            given = self._folder.labels_of(annotation)
            labels[np.isin(labels, annotation.decided)] = 0
            labels = np.where(given > 0, given, labels)
        return labels

    def decided_ids(self, frame: int) -> set[int]:
        """The objects whose latest labels in a frame are more than a lack of knowledge: those that
        its annotation decides, and those that its results were made with."""
        annotation, piece = self.history.annotations.get(frame), self.piece_at(frame)
        decided = set() if annotation is None else set(annotation.decided)
        if piece is not None:
            made_with = self._folder.figures(piece.name).get("objects", ())
            decided.update(set(made_with).intersection(self.history.object_ids))
        return decided

    def doubt(self, frame: int) -> float | None:
        """See `doubt_of`, for the latest result of a frame; None without any."""
        piece = self.piece_at(frame)
        if piece is None:
            return None
        return self._folder.figures(piece.name).get("doubts", {}).get(str(frame))

    def piece_at(self, frame: int) -> Piece | None:
        """The latest results that a frame has."""
        number = bisect.bisect_right(self._pieces, frame, key=lambda piece: piece.start) - 1
        if number < 0 or frame >= self._pieces[number].stop:
            return None
        return self._pieces[number]

    def _set(self, history: History) -> None:
        before = self.history, self._pieces, self.stretches
        self.history = history
        try:
            self._follow()
        except BaseException:  # it is not on disk, so it is not done
            self.history, self._pieces, self.stretches = before
            raise

    def _follow(self) -> None:
        """Show the results that follow from the history, as far as they are there."""
        self.stretches = split(self.history, self._frame_count, permanent=self._permanent)
        if not self.stretches:
            self._pieces = ()
        for one in self.stretches:
            if self._folder.has_results(one.name):
                self._pieces = laid_over(self._pieces, Piece(one.start, one.stop, one.name))
        if (self.history, self._pieces) != self._written:
            self._folder.write_history(self.history, self._pieces)
            self._written = (self.history, self._pieces)

    def _has_own_results(self, stretch: Stretch) -> bool:
        piece = self.piece_at(stretch.start)
        return (
            piece is not None
            and (piece.start, piece.stop) == (stretch.start, stretch.stop)
            and self._folder.figures(piece.name).get("own") == stretch.own_name
        )


class Results(Mapping[int, np.ndarray]):
    """The latest labels by frame; see InteractiveProject.results."""

    def __init__(self, state: ProjectState, frame_count: int):
        self._state, self._frame_count = state, frame_count

    def __getitem__(self, frame: int) -> np.ndarray:
        labels = self._state.labels(frame)
        if labels is None:
            raise KeyError(frame)
        return labels

    def __iter__(self) -> Iterator[int]:
        return (frame for frame in range(self._frame_count) if self._state.has_labels(frame))

    def __len__(self) -> int:
        return sum(1 for _ in self)
