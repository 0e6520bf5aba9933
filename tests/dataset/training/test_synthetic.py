"""Synthetic clips and videos."""

import cv2
import numpy as np
import pytest
from training_trees import make_davis

from dataset.training.augmentation import ClipAugmentation
from dataset.training.scenes import SceneConfig
from dataset.training.synthetic import SyntheticClips, SyntheticConfig, make_clip
from dataset.training.video_clips import VideoClipConfig, VideoClips
from dataset.training.video_layouts import find_videos

SIDE = 64


def test_synthetic_videos_move_smoothly_and_can_be_made_again():
    frames, labels = make_clip(5, frames=20, height=96, width=160, objects=3)
    assert frames.dtype == labels.dtype == np.uint8
    assert frames.shape == (20, 96, 160, 3) and labels.shape == (20, 96, 160)
    assert set(np.unique(labels[0])) == {0, 1, 2, 3}
    changed = (labels[:-1] != labels[1:]).mean((1, 2))
    assert 0 < changed.max() < 0.1 and (labels[0] != labels[-1]).mean() > changed.max()
    again = make_clip(5, frames=20, height=96, width=160, objects=3)
    assert np.array_equal(frames, again[0]) and np.array_equal(labels, again[1])


def test_labels_of_synthetic_objects_lie_on_their_painted_outlines():
    """A frame changes more across a label's outline than elsewhere."""
    across, elsewhere = [], []
    for seed in range(6):
        frames, labels = make_clip(seed, frames=1, height=96, width=160, objects=2)
        steps = np.abs(np.diff(frames[0].astype(int), axis=1)).sum(-1)
        outline = np.diff(labels[0].astype(int), axis=1) != 0
        across.append(steps[cv2.dilate(outline.astype(np.uint8), np.ones((1, 3))) > 0].mean())
        elsewhere.append(steps[~outline].mean())
    assert np.mean(across) > 2 * np.mean(elsewhere)


def test_pasted_objects_join_those_of_the_clip_below(tmp_path):
    clips = VideoClips(
        find_videos(make_davis(tmp_path)),
        VideoClipConfig(max_objects=1),
        augmentation=ClipAugmentation(crop_size=SIDE),
    )
    config = SyntheticConfig(
        crop_size=SIDE, max_objects=2, clip_share=1.0, scene=SceneConfig(occluder_share=0.0)
    )
    source = SyntheticClips(config, clips=clips)
    counts = [int(source.sample(np.random.default_rng(seed))["num_objects"]) for seed in range(20)]
    assert set(counts) == {1, 2}


def test_clips_of_another_size_cannot_lie_below(tmp_path):
    videos = find_videos(make_davis(tmp_path))
    clips = VideoClips(videos, augmentation=ClipAugmentation(crop_size=32))
    with pytest.raises(ValueError, match="cannot lie under"):
        SyntheticClips(SyntheticConfig(crop_size=SIDE), clips=clips)
