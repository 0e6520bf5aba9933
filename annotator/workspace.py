"""What the page shows and changes: a project, a propagation beside it, and a number that grows with
every change, by which several tabs see the same state.

Legend: H W frame size.
"""

import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from annotator.bounded_cache import BoundedCache
from annotator.encoding import jpeg, packed_labels
from annotator.propagating import BackgroundPropagation
from inference.interactive import InteractiveProject, Stroke
from inference.interactive.mask_from_input import Box
from inference.interactive.suggesting import Suggestion
from util.errors import InputError

_IMAGE_BYTES = 128_000_000  # of JPEGs
_FRAMES_AT_ONCE = 8  # frames that are decoded together
_DEFAULT_RATE = 25.0  # at which a folder of frames is played


class Workspace:
    """A project as the page uses it. May be used from several threads.

    export_folder: where results are exported. The project is not closed here.
    """

    def __init__(self, project: InteractiveProject, export_folder: Path):
        self.project, self._export_folder = project, export_folder
        self._lock = threading.Lock()
        self._revision, self._known = 0, (-1, {})
        self._edits = 0
        self._images: BoundedCache[int] = BoundedCache(_IMAGE_BYTES)
        self._decoding = threading.Lock()
        self.propagation = BackgroundPropagation(project, self._note_progress)
        self.is_closing = False

    # State

    @property
    def revision(self) -> int:
        """Grows with every change of the state."""
        return self._revision

    def state(self) -> dict[str, Any]:
        """All that the page shows, but for images, as plain values."""
        with self._lock:
            revision, edits = self._revision, self._edits
        status = self.propagation.status
        known_edits, project = self._known
        if known_edits != edits:
            project = self._project_state()
            self._known = (edits, project)
        return {**project, "revision": revision, "propagation": status}

    def _project_state(self) -> dict[str, Any]:
        project = self.project
        height, width = project.size
        annotations = project.annotations
        return {
            "name": project.name,
            "frame_count": project.frame_count,
            "width": width,
            "height": height,
            "frames_per_second": project.frames_per_second or _DEFAULT_RATE,
            "object_ids": list(project.object_ids),
            "annotations": {frame: list(one.visible) for frame, one in annotations.items()},
            "pending": project.pending,
            "with_results": _stretches(project.results),
            "can_undo": project.can_undo,
            "can_redo": project.can_redo,
            "folder": str(project.folder),
            "export_folder": str(self._export_folder),
        }

    def _note_change(self) -> None:
        with self._lock:
            self._revision += 1
            self._edits += 1

    def _note_progress(self) -> None:
        """After each frame: only at the end of a stretch does what the project shows change."""
        if not self.propagation.is_running or self._pending_changed():
            self._note_change()
        else:
            with self._lock:
                self._revision += 1

    def _pending_changed(self) -> bool:
        return self._known[1].get("pending") != self.project.pending

    # Images

    def image(self, frame: int) -> bytes:
        """A frame as a JPEG. Raises InputError if it does not exist or cannot be decoded."""
        content = self._images.get(frame)
        if content is not None:
            return content
        with self._decoding:
            content = self._images.get(frame)
            if content is None and 0 <= frame < self.project.frame_count:
                self._decode(frame)
                content = self._images.get(frame)
        return jpeg(self.project.frame(frame)) if content is None else content

    def _decode(self, frame: int) -> None:
        """Keep the images of a frame and those after it."""
        for index, image in self.project.frames(frame, frame + _FRAMES_AT_ONCE):
            self._images.put(index, jpeg(image))

    def labels(self, frame: int) -> bytes:
        """The latest labels of a frame, packed; those of a running propagation are live."""
        if not 0 <= frame < self.project.frame_count:
            raise InputError(f"frame {frame} does not exist; reload the page")
        live = None
        if self.propagation.is_running and frame not in self.project.annotations:
            live = self.propagation.live_labels(frame)
        if live is not None:
            return live
        labels = self.project.results.get(frame)
        return packed_labels(np.zeros(self.project.size, np.uint8) if labels is None else labels)

    # Changes; all raise InputError as the project's methods do

    def draw(self, frame: int, object_id: int, strokes: Sequence[Stroke], box: Box | None) -> None:
        """See InteractiveProject.draw."""
        self.project.draw(frame, object_id, strokes, box)
        self._note_change()

    def set_mask(self, frame: int, object_id: int, mask: np.ndarray) -> None:
        """See InteractiveProject.set_mask."""
        self.project.set_mask(frame, object_id, mask)
        self._note_change()

    def remove_annotation(self, frame: int) -> None:
        """See InteractiveProject.remove_annotation."""
        self.project.remove_annotation(frame)
        self._note_change()

    def remove_object(self, object_id: int) -> None:
        """See InteractiveProject.remove_object."""
        self.project.remove_object(object_id)
        self._note_change()

    def undo(self) -> None:
        """See InteractiveProject.undo."""
        self.project.undo()
        self._note_change()

    def redo(self) -> None:
        """See InteractiveProject.redo."""
        self.project.redo()
        self._note_change()

    # Results

    def suggest(self, count: int, by: Suggestion) -> list[int]:
        """See InteractiveProject.suggest; not during a propagation, whose work it would repeat."""
        if self.propagation.is_running:
            raise InputError("a propagation is running; ask for suggestions when it has ended")
        return self.project.suggest(count, by)

    def export(self, *, overlay: bool) -> Path:
        """See InteractiveProject.export."""
        return self.project.export(self._export_folder, overlay=overlay)

    def close(self) -> None:
        """End a propagation and the requests that wait for a change."""
        self.is_closing = True
        self.propagation.close()


def _stretches(frames: Iterable[int]) -> list[tuple[int, int]]:
    """Ascending frames as stretches: the first frame of each and the one behind its last."""
    stretches: list[tuple[int, int]] = []
    for frame in frames:
        if stretches and stretches[-1][1] == frame:
            stretches[-1] = (stretches[-1][0], frame + 1)
        else:
            stretches.append((frame, frame + 1))
    return stretches
