"""Features of frames that several passes over a video share, so that each is encoded once.

Legend: B frames of a batch, C channels, h w at stride 16.
"""

import dataclasses
from collections.abc import Callable, Hashable, Sequence

import torch

from model import FrameFeatures

_FIELDS = tuple(field.name for field in dataclasses.fields(FrameFeatures))


class FeatureCache:
    """Holds what the key encoder made of the frames of one video, on the device that made it.

    max_megabytes: of all features together, in 10^6 bytes, at least 0. If they do not fit, those of
    the frames farthest from the latest one are dropped, since passes go to and fro.
    Raises ValueError for a negative bound.
    """

    def __init__(self, max_megabytes: float):
        if not max_megabytes >= 0:
            raise ValueError(f"max_megabytes is {max_megabytes}; at least 0 is needed")
        self._max_bytes = max_megabytes * 1e6
        self._features: dict[tuple[Hashable, int], FrameFeatures] = {}
        self._bytes = 0
        self.hits = 0  # frames that were not encoded, since their features were here

    @property
    def megabytes(self) -> float:
        """What is held now, in 10^6 bytes."""
        return self._bytes / 1e6

    def features(
        self, owner: Hashable, positions: Sequence[int], encode: Callable[[], FrameFeatures]
    ) -> FrameFeatures:
        """The features of a batch of frames, not to be changed in place.

        owner: the network and how it sees the frames. positions: B frame indices in the video.
        encode: makes the features of the batch; it is called unless all of them are here.
        """
        held = [self._features.get((owner, position)) for position in positions]
        if all(features is not None for features in held):
            self.hits += len(held)
            return held[0] if len(held) == 1 else _joined(held)
        batch = encode()
        for number, position in enumerate(positions):
            one = batch if len(positions) == 1 else _copy_of(batch, number)
            self._add((owner, position), one)
        return batch

    def _add(self, key: tuple[Hashable, int], features: FrameFeatures) -> None:
        if key in self._features:
            return
        size = _bytes_of(features)
        position = key[1]
        while self._features and self._bytes + size > self._max_bytes:
            farthest = max(self._features, key=lambda other: abs(other[1] - position))
            self._bytes -= _bytes_of(self._features.pop(farthest))
        if size <= self._max_bytes:
            self._features[key] = features
            self._bytes += size


def _bytes_of(features: FrameFeatures) -> int:
    return sum(getattr(features, name).nbytes for name in _FIELDS)


def _copy_of(batch: FrameFeatures, number: int) -> FrameFeatures:
    """The features of one frame, which hold no memory of the others."""
    one = slice(number, number + 1)
    return FrameFeatures(*(getattr(batch, name)[one].clone() for name in _FIELDS))


def _joined(frames: Sequence[FrameFeatures]) -> FrameFeatures:
    """A batch of frames."""
    return FrameFeatures(*(torch.cat([getattr(one, name) for one in frames]) for name in _FIELDS))
