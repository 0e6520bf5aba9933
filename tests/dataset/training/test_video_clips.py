"""Clips of annotated videos: their layouts, and the objects that are drawn from them."""

import shutil

import numpy as np
import pytest
from training_trees import HEIGHT, WIDTH, make_davis, write_mask, write_pair

from dataset.training.augmentation import ClipAugmentation
from dataset.training.samples import draw_objects
from dataset.training.video_clips import VideoClipConfig, VideoClips, find_tiny_objects
from dataset.training.video_layouts import find_videos
from util.errors import InputError

SIDE = 64


def test_youtube_layout_counts_gaps_in_annotated_frames(tmp_path):
    for index in range(0, 30, 5):
        write_pair(
            tmp_path / f"train/JPEGImages/a/{index:05d}.jpg",
            tmp_path / f"train/Annotations/a/{index:05d}.png",
            ids=(1,),
        )
    unmasked = tmp_path / "train/JPEGImages/a/00001.jpg"
    write_pair(unmasked, tmp_path / "unused.png")
    (video,) = find_videos(tmp_path)
    assert video.annotation_step == 5
    assert video.image_names == tuple(f"{index:05d}.jpg" for index in range(0, 30, 5))


def test_objects_that_are_tiny_or_only_small_at_first_are_left_out_if_asked():
    """Sides in the first frame and in a later one: 1 tiny, 2 small at first, 3 always small, 4
    large, 5 small at first and then just too large for that, 6 of the largest small size."""
    sides = {1: (10, 10), 2: (30, 36), 3: (30, 19), 4: (31, 20), 5: (11, 20), 6: (30, 30)}
    first, later = np.zeros((40, 240), np.uint8), np.zeros((40, 240), np.uint8)
    for column, (object_id, (side, later_side)) in enumerate(sides.items()):
        first[:side, 40 * column : 40 * column + side] = object_id
        later[:later_side, 40 * column : 40 * column + later_side] = object_id
    nothing = np.zeros_like(first)
    assert find_tiny_objects([first, later, later]) == [1, 2, 5, 6]
    assert find_tiny_objects([first, later, nothing]) == [1, 2, 5, 6]
    # 20×20 in a later frame is not always small
    assert find_tiny_objects([later, later, later]) == [1, 4, 5, 6]
    assert find_tiny_objects([first, nothing, nothing]) == [1]
    drawn = {
        object_id
        for seed in range(20)
        for object_id in draw_objects(np.random.default_rng(seed), first, 2, leave_out=[1, 2, 5, 6])
    }
    assert drawn == {3, 4}


def test_a_clip_with_only_tiny_objects_is_drawn_again_only_if_they_are_skipped(tmp_path):
    tiny = np.zeros((HEIGHT, WIDTH), np.uint8)
    tiny[30:36, 40:46] = 1
    for index in range(3):
        write_pair(tmp_path / f"JPEGImages/a/{index}.jpg", tmp_path / f"Annotations/a/{index}.png")
        write_mask(tmp_path / f"Annotations/a/{index}.png", tiny)
    videos, augmentation = find_videos(tmp_path), ClipAugmentation(crop_size=SIDE)
    clips = VideoClips(videos, augmentation=augmentation)
    assert clips.sample(np.random.default_rng(0))["num_objects"] == 1
    skipping = VideoClips(
        videos, VideoClipConfig(skip_tiny_objects=True), augmentation=augmentation
    )
    with pytest.raises(InputError, match="100 clips drawn"):
        skipping.sample(np.random.default_rng(0))


def test_only_the_training_list_of_davis_2016_is_trained_on(tmp_path):
    root = make_davis(tmp_path / "davis")
    shutil.rmtree(root / "ImageSets")
    train_list = root / "ImageSets/480p/train.txt"
    train_list.parent.mkdir(parents=True)
    names = "/JPEGImages/480p/bear/00000.jpg /Annotations/480p/bear/00000.png"
    train_list.write_text(f"{names}\n")
    assert [video.name for video in find_videos(root)] == ["bear"]
    train_list.unlink()
    with pytest.raises(InputError, match=r"2017/train\.txt"):
        find_videos(root)
