"""What was done in a project, in order, and what is known of its frames after that.

Everything here is a value: a change gives another one. A project is at a place in its history;
undo and redo move that place.

Legend: H W frame size.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class Annotation:
    """What is known of one frame.

    frame: its index. digest: names the file of its labels. visible: the ids of objects that the
    labels show, ascending. decided: the ids that the labels decide, ascending: those visible, and
    those known to be absent; other objects are predicted in this frame. removed: ids in the file
    that no longer count. strokes: what the labels were drawn with, as plain values, oldest first.
    """

    frame: int
    digest: str
    visible: tuple[int, ...]
    decided: tuple[int, ...]
    removed: tuple[int, ...] = ()
    strokes: tuple[Mapping[str, Any], ...] = ()

    @property
    def absent(self) -> tuple[int, ...]:
        """The ids of objects known not to be visible, ascending."""
        return tuple(i for i in self.decided if i not in self.visible)

    @property
    def content(self) -> str:
        """Names the labels that count."""
        return "-".join([self.digest, *map(str, self.removed)])

    def without(self, object_id: int) -> "Annotation":
        """The annotation after an object was removed from the project."""
        if object_id not in self.decided:
            return self
        removed = self.removed
        if object_id in self.visible:
            removed = tuple(sorted({*removed, object_id}))
        return dataclasses.replace(
            self,
            visible=tuple(i for i in self.visible if i != object_id),
            decided=tuple(i for i in self.decided if i != object_id),
            removed=removed,
        )


Annotations = Mapping[int, Annotation]
"""By frame."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Annotate:
    """An annotation was made or replaced. strokes: what it was drawn with, added to those of the
    annotation before; None: it was not drawn."""

    frame: int
    digest: str
    visible: tuple[int, ...]
    decided: tuple[int, ...]
    strokes: tuple[Mapping[str, Any], ...] | None = None

    def apply(self, annotations: Annotations) -> Annotations:
        strokes = self.strokes or ()
        if self.strokes is not None and self.frame in annotations:
            strokes = (*annotations[self.frame].strokes, *strokes)
        annotation = Annotation(
            frame=self.frame,
            digest=self.digest,
            visible=self.visible,
            decided=self.decided,
            strokes=strokes,
        )
        return {**annotations, self.frame: annotation}


@dataclasses.dataclass(frozen=True, kw_only=True)
class RemoveAnnotation:
    """The annotation of a frame was removed."""

    frame: int

    def apply(self, annotations: Annotations) -> Annotations:
        return {frame: one for frame, one in annotations.items() if frame != self.frame}


@dataclasses.dataclass(frozen=True, kw_only=True)
class RemoveObject:
    """An object was removed from all annotations."""

    object_id: int

    def apply(self, annotations: Annotations) -> Annotations:
        changed = {frame: one.without(self.object_id) for frame, one in annotations.items()}
        return {frame: one for frame, one in changed.items() if one.decided}


Operation = Annotate | RemoveAnnotation | RemoveObject
_NAMES: dict[str, type[Operation]] = {
    "annotate": Annotate,
    "remove annotation": RemoveAnnotation,
    "remove object": RemoveObject,
}


@dataclasses.dataclass(frozen=True)
class History:
    """operations: what was done, oldest first. applied: how many of them count; the others were
    undone."""

    operations: tuple[Operation, ...] = ()
    applied: int = 0

    @functools.cached_property
    def annotations(self) -> Annotations:
        """What is known after the operations that count, by frame, ascending."""
        annotations: Annotations = {}
        for operation in self.operations[: self.applied]:
            annotations = operation.apply(annotations)
        return dict(sorted(annotations.items()))

    @functools.cached_property
    def object_ids(self) -> tuple[int, ...]:
        """The objects that annotations show, ascending."""
        return tuple(sorted({i for one in self.annotations.values() for i in one.visible}))

    @property
    def can_undo(self) -> bool:
        return self.applied > 0

    @property
    def can_redo(self) -> bool:
        return self.applied < len(self.operations)

    def then(self, operation: Operation) -> "History":
        """With one more operation; those undone are forgotten."""
        return History((*self.operations[: self.applied], operation), self.applied + 1)

    def at(self, applied: int) -> "History":
        """With another number of operations that count."""
        return History(self.operations, applied)

    def as_values(self) -> dict[str, Any]:
        """As plain values."""
        names = {kind: name for name, kind in _NAMES.items()}
        operations = [
            {"do": names[type(one)], **dataclasses.asdict(one)} for one in self.operations
        ]
        return {"operations": operations, "applied": self.applied}

    @staticmethod
    def from_values(values: Mapping[str, Any]) -> "History":
        """What `as_values` gave. Raises KeyError, TypeError or ValueError for anything else."""
        operations = tuple(_operation(entry) for entry in values["operations"])
        applied = values["applied"]
        if not 0 <= applied <= len(operations):
            raise ValueError(f"{applied} of {len(operations)} operations")
        return History(operations, applied)


def _operation(entry: Mapping[str, Any]) -> Operation:
    values = {name: tuple(v) if isinstance(v, list) else v for name, v in entry.items()}
    return _NAMES[values.pop("do")](**values)
