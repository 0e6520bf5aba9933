"""Which frame to annotate next.

Legend: N frames, K objects, M positions of a frame's keys, C channels, H W frame size, h w at
stride 16.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from inference.feature_cache import FeatureCache
from inference.frames import Geometry, as_image, as_object_mask
from inference.interactive.project_state import ProjectState
from inference.interactive.project_video import VideoRecord
from inference.objects import VideoObjects
from inference.prediction import ClipContext, ClipPredictor, GivenFrame
from inference.rereading import RereadableFrames
from inference.segmenter import VideoSegmenter
from model.config import Similarity
from model.matching import similarity
from model.network import STRIDE
from util.errors import InputError

Suggestion = Literal["keys", "uncertainty", "distance"]
SUGGESTIONS: tuple[Suggestion, ...] = get_args(Suggestion)
MAX_FRAMES = 200
"""Frames that are compared by their keys, evenly spread over the video."""
_POOLED = 2  # keys are averaged over 2×2 positions, which takes 1/16 of the time
_OBJECT_SHARE = 0.5


class FrameKeys:
    """Keys of frames of one video, each encoded once and kept at half the resolution."""

    def __init__(
        self,
        segmenter: VideoSegmenter,
        frames: RereadableFrames,
        size: tuple[int, int],
        cache: FeatureCache,
    ):
        self._frames, self._cache = frames, cache
        self._network, self._device = segmenter.network, segmenter.device
        self._config = segmenter.config
        self._geometry = Geometry.of(size, segmenter.config.resolution)
        self._keys: dict[int, Tensor] = {}

    @property
    def similarity_kind(self) -> Similarity:
        """By which the network compares keys."""
        return self._network.config.similarity

    def of(self, positions: Sequence[int]) -> dict[int, Tensor]:
        """Keys [M, C] of the frames at ascending positions that can be decoded, by position."""
        missing = [index for index in positions if index not in self._keys]
        if missing:
            for frame in self._frames.read_at(missing):
                self._keys[frame.index] = self._encode(frame.index, frame.image)
        return {index: self._keys[index] for index in positions if index in self._keys}

    def weights(self, labels: np.ndarray | None) -> Tensor:
        """How much each position counts, [M], summing to 1.

        Half is spread evenly over the frame, half over its objects, each of which has the same
        share. labels: ids [H, W]; None: not known.
        """
        rows, columns = (-(-side // _POOLED) for side in self._geometry.grid)
        even = torch.full((rows * columns,), 1 / (rows * columns))
        if labels is None or not labels.any():
            return even
        mask = self._geometry.mask_to_network(as_object_mask(labels, labels.shape, "result"))
        shares = [
            _pooled(F.avg_pool2d((mask.labels == object_id)[None, None].float(), STRIDE)).flatten()
            for object_id in mask.object_ids
        ]
        shares = [share / share.sum() for share in shares if share.any()]
        if not shares:
            return even
        return (1 - _OBJECT_SHARE) * even + _OBJECT_SHARE * torch.stack(shares).mean(0)

    def _encode(self, index: int, image: np.ndarray) -> Tensor:
        predictor = ClipPredictor(
            self._network, self._device, self._config, self._geometry, self._cache
        )
        tensor = as_image(image, f"frame {index}").to(self._device)
        given = GivenFrame(index, tensor, wanted=False, position=index)
        with predictor.arithmetic():
            context = ClipContext(VideoObjects(), bank=None, previous_masks=None)
            (frame,) = predictor.predict([given], context)
        return _pooled(frame.key.float()).flatten(2)[0].T.contiguous().cpu()


class Suggester:
    """See InteractiveProject.suggest."""

    def __init__(self, state: ProjectState, video: VideoRecord, keys: FrameKeys):
        self._state, self._video, self._keys = state, video, keys

    def suggest(self, count: int, by: Suggestion) -> list[int]:
        """At most `count` frames, best first. Raises InputError for wrong requests, if no frame is
        annotated, and if uncertainty is asked for without results."""
        if by not in SUGGESTIONS:
            raise InputError(f"by {by!r} is not known; choose one of {', '.join(SUGGESTIONS)}")
        if count < 1:
            raise InputError(f"{count} frames to suggest; ask for at least 1")
        annotated = list(self._state.history.annotations)
        if not annotated:
            raise InputError("no frame is annotated, so none can be suggested; annotate one first")
        frames = sorted(set(range(self._video.frame_count)).difference(self._video.missing))
        if by == "distance":
            return farthest_in_time(frames, annotated, count)
        if by == "uncertainty":
            return most_uncertain(self._doubts(frames), annotated, count, len(frames))
        spread_out = frames[:: -(-len(frames) // MAX_FRAMES)]
        keys = self._keys.of(sorted({*spread_out, *annotated}))
        weights = {
            index: self._keys.weights(self._state.labels(index))
            for index in keys
            if index not in annotated
        }
        return least_alike(keys, weights, annotated, count, self._keys.similarity_kind)

    def _doubts(self, frames: Sequence[int]) -> dict[int, float]:
        doubts = {index: self._state.doubt(index) for index in frames}
        known = {index: doubt for index, doubt in doubts.items() if doubt is not None}
        if not known:
            raise InputError("there are no results yet, so no uncertainty; propagate first")
        return known


def least_alike(
    keys: Mapping[int, Tensor],
    weights: Mapping[int, Tensor],
    annotated: Collection[int],
    count: int,
    kind: Similarity,
) -> list[int]:
    """The frames that are least alike the annotated ones and one another, best first.

    Each is the one farthest from the frames chosen so far: the distance of a position is that to
    the most similar position of any of them, and that of a frame the weighted mean.
    keys: [M, C] by frame, `annotated` included. weights: [M], of the other frames. count: at most
    so many. kind: how keys are compared.
    Source: XMem++ (Bekuzarov et al., ICCV 2023), selection of annotation candidates. Ours: the
    weights, and distances by the network's own similarity.
    """
    nearest = {
        index: torch.full((len(keys[index]),), torch.inf) for index in keys if index in weights
    }

    def choose(chosen: int) -> None:
        nearest.pop(chosen, None)
        for index, distances in nearest.items():
            own = similarity(keys[index][:, None], keys[index][:, None], kind=kind).flatten()
            best = similarity(keys[chosen], keys[index], kind=kind).amax(1)
            torch.minimum(distances, own - best, out=distances)

    for index in annotated:
        choose(index)
    suggested: list[int] = []
    while nearest and len(suggested) < count:
        scores = {index: float(weights[index] @ nearest[index]) for index in nearest}
        suggested.append(max(scores, key=scores.__getitem__))
        choose(suggested[-1])
    return suggested


def most_uncertain(
    doubts: Mapping[int, float], annotated: Collection[int], count: int, frame_count: int
) -> list[int]:
    """The frames whose results are least certain, best first.

    Frames near an annotated or suggested one count less, in proportion to the distance, since its
    mask will correct them as well. doubts: see doubt_of, by frame.
    """
    reach = max(frame_count / (2 * (len(annotated) + count)), 1)
    return _greedy(doubts, annotated, count, lambda frame, gap: doubts[frame] * min(gap / reach, 1))


def farthest_in_time(
    candidates: Collection[int], annotated: Collection[int], count: int
) -> list[int]:
    """The frames farthest from any annotated or suggested one, best first."""
    return _greedy(candidates, annotated, count, lambda frame, gap: gap)


def _greedy(
    candidates: Collection[int],
    annotated: Collection[int],
    count: int,
    score: Callable[[int, int], float],
) -> list[int]:
    """score: of a frame and its distance to the nearest one annotated or chosen."""
    known, suggested = set(annotated), []
    remaining = sorted(set(candidates) - known)
    while remaining and len(suggested) < count:
        best = max(remaining, key=lambda frame: score(frame, min(abs(frame - k) for k in known)))
        suggested.append(best)
        known.add(best)
        remaining.remove(best)
    return suggested


def _pooled(maps: Tensor) -> Tensor:
    """[B, C, h, w] averaged over 2×2 positions."""
    return F.avg_pool2d(maps, _POOLED, ceil_mode=True)
