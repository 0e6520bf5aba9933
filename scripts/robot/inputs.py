"""What the robot gives for a frame: its true mask, or scribbles into the errors of the result.

Legend: H W height and width of a frame in pixels.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from inference.interactive import GrabCutMask, MaskFromInput, Stroke
from scripts.robot.scribbles import error_strokes
from scripts.studies.truth_videos import TruthVideo

# Takes a frame's index and its present result, ids [H, W]. Returns what has to be timed, which
# returns the corrected ids [H, W]; None if the robot sees nothing to correct.
Input = Callable[[int, np.ndarray], Callable[[], np.ndarray] | None]


class TrueMasks:
    """The truth of the frame."""

    def __init__(self, video: TruthVideo, object_ids: Sequence[int]):
        self._video, self._object_ids = video, object_ids

    def __call__(self, frame: int, result: np.ndarray) -> Callable[[], np.ndarray] | None:
        """See Input."""
        truth = self._video.labels(frame)
        truth = np.where(np.isin(truth, self._object_ids), truth, 0).astype(truth.dtype)
        return None if np.array_equal(truth, result) else lambda: truth


class Scribbles:
    """Strokes into the largest errors of each object, from which a mask is made.

    Strokes of earlier rounds on the same frame remain. A positive stroke of one object is a
    negative one of all others.
    """

    def __init__(
        self,
        video: TruthVideo,
        object_ids: Sequence[int],
        mask_from_input: MaskFromInput | None = None,
    ):
        """mask_from_input: GrabCutMask by default."""
        self._video, self._object_ids = video, object_ids
        self._mask_from_input = mask_from_input or GrabCutMask()
        self._drawn: dict[int, list[tuple[int, Stroke]]] = {}  # (id, stroke) by frame

    def __call__(self, frame: int, result: np.ndarray) -> Callable[[], np.ndarray] | None:
        """See Input."""
        truth = self._video.labels(frame)
        strokes = [
            (object_id, stroke)
            for object_id in self._object_ids
            for stroke in error_strokes(truth == object_id, result == object_id)
        ]
        if not strokes:
            return None
        drawn = self._drawn.setdefault(frame, [])
        drawn += strokes
        image = self._video.frames[frame]
        by_object = {i: strokes_about(i, drawn) for i in self._object_ids}
        return lambda: correct(image, result, by_object, self._mask_from_input)


def correct(
    image: np.ndarray,
    result: np.ndarray,
    strokes: Mapping[int, Sequence[Stroke]],
    mask_from_input: MaskFromInput,
) -> np.ndarray:
    """The result, ids [H, W], with the masks that strokes of each object give.

    image: RGB uint8 [H, W, 3]. Where masks newly overlap, the later object counts.
    """
    corrected = result.copy()
    for object_id, its_strokes in strokes.items():
        before = result == object_id
        mask = mask_from_input.mask(image, before, its_strokes, None)
        corrected[(corrected == object_id) & ~mask] = 0
        corrected[mask & ~before] = object_id
    return corrected


def strokes_about(object_id: int, drawn: Sequence[tuple[int, Stroke]]) -> list[Stroke]:
    """An object's own strokes, and the positive ones of others as negative ones, in their order."""
    strokes = []
    for other, stroke in drawn:
        if other == object_id:
            strokes.append(stroke)
        elif stroke.positive:
            strokes.append(Stroke(stroke.points, False, stroke.radius))
    return strokes
