"""Which frames of a video become a clip."""

import numpy as np
import pytest

from dataset.training.frame_choice import (
    draw_frame_indices,
    max_skip_at,
    max_skip_between_clips_at,
)


def draw_gaps(count, *arguments, **options):
    """The distances between the frames of `count` clips, [count, T - 1]."""
    clips = [
        draw_frame_indices(np.random.default_rng(seed), *arguments, **options)
        for seed in range(count)
    ]
    return np.abs(np.diff(clips))


def test_curriculum_has_the_published_steps():
    progress = (0, 0.0999, 0.1, 0.2, 0.3, 0.4, 0.8999, 0.9, 1.0)
    assert [max_skip_at(value) for value in progress] == [5, 5, 10, 15, 20, 25, 25, 5, 5]
    assert max_skip_at(0.85, final_share=0.2) == 5


def test_gaps_between_clips_follow_their_own_curriculum():
    progress = (0, 0.1, 0.2, 0.5, 0.89, 0.9)
    largest_gaps = [max_skip_between_clips_at(value) + 1 for value in progress]
    assert largest_gaps == [5, 10, 15, 15, 15, 5]


def test_neighbours_are_one_to_max_skip_plus_one_apart_and_reversed_half_the_time():
    clips = [draw_frame_indices(np.random.default_rng(seed), 30, 3, 4) for seed in range(400)]
    steps = np.diff(clips)
    assert np.min(clips) >= 0 and np.max(clips) < 30
    assert set(np.abs(steps).flat) == {1, 2, 3, 4, 5}
    assert (np.sign(steps) == np.sign(steps[:, :1])).all()
    assert 150 < (steps[:, 0] < 0).sum() < 250


def test_neighbours_within_a_clip_are_nearer_than_from_clip_to_clip():
    gaps = draw_gaps(300, 80, 7, 9, clip_frames=3)
    assert set(gaps[:, [0, 3]].flat) == set(range(1, 11))
    assert set(gaps[:, [1, 2, 4, 5]].flat) == {1, 2, 3, 4, 5}


def test_within_a_clip_only_the_next_annotated_frame_of_youtube_is_near_enough():
    gaps = draw_gaps(100, 60, 7, 14, clip_frames=3, annotation_step=5)
    assert set(gaps[:, [1, 2, 4, 5]].flat) == {1}
    assert set(gaps[:, [0, 3]].flat) == {1, 2, 3}


@pytest.mark.parametrize(
    ("length", "step", "expected"),
    [
        (70, 1, 15),
        (51, 1, 15),
        (49, 1, 14),
        (31, 1, 5),
        (30, 1, 4),
        (7, 1, 1),
        (15, 5, 3),
        (9, 5, 2),
    ],
)
def test_gaps_between_clips_are_as_large_as_fits_beside_those_inside(length, step, expected):
    """Seven frames are two clips of three: four gaps inside of at most 5 frames, two between."""
    options = {"clip_frames": 3, "annotation_step": step}
    clips = [
        draw_frame_indices(np.random.default_rng(seed), length, 7, 14, **options)
        for seed in range(200)
    ]
    gaps = np.abs(np.diff(clips))
    assert gaps[:, [0, 3]].max() == expected and gaps.min() == 1
    assert gaps[:, [1, 2, 4, 5]].max() == min(expected, 5 if step == 1 else 1)
    assert np.min(clips) >= 0 and np.max(clips) < length


def test_short_videos_get_smaller_gaps():
    for seed in range(50):
        assert sorted(draw_frame_indices(np.random.default_rng(seed), 3, 3, 25)) == [0, 1, 2]
