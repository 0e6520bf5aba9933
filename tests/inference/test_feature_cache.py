"""The cache of features that passes over one video share."""

import pytest
import torch

from inference.feature_cache import FeatureCache
from model import FrameFeatures

FRAME_BYTES = 5 * 4 * 4


def features(count: int, value: float = 0.0) -> FrameFeatures:
    """Features of `count` frames, each of FRAME_BYTES bytes."""
    return FrameFeatures(*(torch.full((count, 4, 1, 1), value + n) for n in range(5)))


def test_features_are_made_once_and_never_mixed_up_between_owners():
    cache = FeatureCache(1)
    for owner in ("one", "other"):
        made = cache.features(owner, [3], lambda owner=owner: features(1, float(len(owner))))
        again = cache.features(owner, [3], lambda: pytest.fail("made twice"))
        assert again is made and float(made.key[0, 0, 0, 0]) == len(owner)
    assert cache.hits == 2 and cache.megabytes == 2 * FRAME_BYTES / 1e6


def test_a_batch_is_held_frame_by_frame():
    cache = FeatureCache(1)
    batch = features(3)
    batch.key[:, 0, 0, 0] = torch.tensor([7.0, 8.0, 9.0])
    cache.features("network", [4, 5, 6], lambda: batch)
    held = cache.features("network", [6, 4], lambda: pytest.fail("made twice"))
    assert held.key[:, 0, 0, 0].tolist() == [9, 7] and held.feature_s4.shape == (2, 4, 1, 1)


def test_the_frames_farthest_from_the_latest_are_dropped_first():
    cache = FeatureCache(3 * FRAME_BYTES / 1e6)
    for position in (0, 1, 2, 3, 9, 8):
        cache.features("network", [position], lambda: features(1))
    made = []
    for position in (9, 8, 3, 2, 1, 0):
        cache.features("network", [position], lambda p=position: made.append(p) or features(1))
    assert made == [2, 1, 0] and cache.megabytes <= 3 * FRAME_BYTES / 1e6


def test_without_room_nothing_is_held_and_negative_bounds_are_refused():
    cache = FeatureCache(0)
    cache.features("network", [0], lambda: features(1))
    assert cache.megabytes == 0
    with pytest.raises(ValueError, match="max_megabytes is -1"):
        FeatureCache(-1)
