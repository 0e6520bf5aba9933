"""What is drawn on a frame of a project, as labels and as plain values of its history.

Legend: H W frame size.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from inference.interactive.history import Annotation
from inference.interactive.mask_from_input import Box, MaskFromInput, Stroke


def strokes_of(annotation: Annotation | None, object_id: int) -> list[Stroke]:
    """The strokes that an object of an annotation was drawn with, oldest first."""
    entries = () if annotation is None else annotation.strokes
    return [
        Stroke(entry["points"], entry["positive"], entry["radius"])
        for entry in entries
        if entry["object_id"] == object_id
    ]


def as_values(strokes: Sequence[Stroke], object_id: int) -> tuple[Mapping[str, Any], ...]:
    """Strokes as a history holds them."""
    return tuple(
        {
            "object_id": object_id,
            "points": [[float(x), float(y)] for x, y in stroke.points],
            "positive": bool(stroke.positive),
            "radius": float(stroke.radius),
        }
        for stroke in strokes
    )


def draw(
    masks: MaskFromInput,
    image: np.ndarray,
    labels: np.ndarray,
    object_id: int,
    strokes: Sequence[Stroke],
    box: Box | None,
) -> np.ndarray:
    """Labels uint8 [H, W] in which the mask of an object is made or corrected.

    image: RGB uint8 [H, W, 3]. labels: before, uint8 [H, W]. Where the new mask is, other objects
    are not. Raises ValueError as MaskFromInput.
    """
    is_object = labels == object_id
    mask = masks.mask(image, is_object if is_object.any() else None, strokes, box)
    return replaced(labels, object_id, mask)


def replaced(labels: np.ndarray, object_id: int, mask: np.ndarray) -> np.ndarray:
    """Labels uint8 [H, W] with another mask, bool [H, W], of an object; where it is, other objects
    are not."""
    changed = np.where(labels == object_id, 0, labels).astype(np.uint8)
    changed[mask] = object_id
    return changed
