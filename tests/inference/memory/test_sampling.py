"""When a frame is written, decided on synthetic masks. Legend: K objects, H W frame size."""

import dataclasses
import math
import typing

import pytest
import torch

from inference import MemoryConfig, system_config
from inference.memory import POLICIES, SAMPLINGS, Write
from inference.memory.mask_difference import MEASURES, MaskDifference, Regions

SIZE = 60, 80
CONFIG = MemoryConfig(sampling="adaptive")


def box(top, left, height, width, value=1.0):
    """A mask [60, 80] that is `value` in a box."""
    mask = torch.zeros(SIZE)
    mask[top : top + height, left : left + width] = value
    return mask


def difference(before, now):
    """The difference of one object, before and now."""
    return Regions(now[None], (1,)).object_difference(Regions(before[None], (1,)), 1)


def written(masks, config=CONFIG, object_ids=(1,)):
    """The frames of masks [T, K, H, W] that are written; the first one is annotated."""
    sampling = SAMPLINGS[config.sampling](config)
    sampling.annotated(0, masks[0], object_ids)
    return [
        index for index in range(1, len(masks)) if sampling.is_due(index, masks[index], object_ids)
    ]


def test_the_same_mask_does_not_differ():
    assert difference(box(10, 10, 20, 20), box(10, 10, 20, 20)) == MaskDifference(0.0, 0.0)


@pytest.mark.parametrize(("down", "right"), [(0, 10), (6, 0), (-4, 7), (-3, -9), (30, 55)])
def test_a_moved_mask_differs_in_position_relative_to_its_size_and_not_in_shape(down, right):
    start = (5, 10) if down == 30 else (20, 30)
    moved = difference(box(*start, 20, 10), box(start[0] + down, start[1] + right, 20, 10))
    assert moved.shape == 0
    assert moved.position == pytest.approx(math.hypot(down, right) / math.sqrt(200))


def test_a_grown_mask_differs_in_shape_and_not_in_position():
    grown = difference(box(20, 30, 10, 10), box(15, 25, 20, 20))
    assert grown.shape == pytest.approx(1 - 100 / 400) and grown.position == 0
    shrunk = difference(box(15, 25, 20, 20), box(20, 30, 10, 10))
    assert shrunk == grown


def test_a_mask_that_splits_differs_in_shape_while_its_centre_stays():
    halves = box(20, 10, 10, 10) + box(20, 50, 10, 10)
    split = difference(box(20, 25, 10, 20), halves)
    assert split.position == 0
    assert split.shape == 1, "the halves lie beside where the whole was"


def test_a_mask_that_is_moved_and_grown_is_compared_in_place():
    both = difference(box(10, 10, 10, 10), box(30, 50, 10, 20))
    assert both.shape == pytest.approx(1 - 100 / 200)
    assert both.position == pytest.approx(math.hypot(20, 45) / 10)


def test_centroids_are_aligned_to_the_nearest_pixel():
    # on average 0.74 to the right, 0.12 up
    before, now = (
        box(20, 30, 10, 10),
        torch.maximum(box(20, 31, 10, 10), box(20, 30, 5, 1)),
    )
    assert difference(before, now).shape == pytest.approx(1 - 100 / 105)


def test_masks_in_place_differ_by_shape_and_position_together():
    before = box(20, 20, 10, 10)
    assert difference(before, before).in_place == 0
    assert difference(before, box(20, 25, 10, 10)).in_place == pytest.approx(1 - 50 / 150)
    assert difference(before, box(20, 20, 10, 20)).in_place == pytest.approx(1 - 100 / 200)
    assert difference(before, box(40, 40, 10, 10)).in_place == 1


def test_the_measure_decides_what_of_shape_and_position_counts():
    # moved by half its size, and grown by half
    before, now = box(20, 20, 10, 10), box(20, 25, 10, 15)
    moved = difference(before, now)
    assert moved.position == pytest.approx(0.75) and moved.shape == pytest.approx(1 - 100 / 150)
    expected = {
        "largest": moved.position,
        "mean": (moved.position + moved.shape) / 2,
        "shape": moved.shape,
        "in-place": 1 - 50 / 200,
    }
    assert (
        MEASURES.keys()
        == expected.keys()
        == set(typing.get_args(typing.get_type_hints(MemoryConfig)["sampling_measure"]))
    )
    regions, reference = Regions(now[None], (1,)), Regions(before[None], (1,))
    for measure, value in expected.items():
        assert regions.difference_from(reference, measure) == pytest.approx(value)


def test_a_moving_object_of_one_shape_is_not_written_if_its_shape_alone_counts():
    masks = torch.stack([box(20, 2 * t, 10, 10)[None] for t in range(30)])
    shape = dataclasses.replace(CONFIG, sampling_measure="shape")
    in_place = dataclasses.replace(CONFIG, sampling_measure="in-place")
    assert written(masks, shape) == [25]  # after the largest gap
    assert written(masks, in_place) == list(range(2, 30, 2))  # 1 - 60 / 140 > 0.45


def test_the_threshold_and_the_gaps_are_those_chosen_on_the_training_sequences():
    assert CONFIG.sampling_measure == "largest"
    assert (CONFIG.sampling_threshold, CONFIG.min_gap_frames, CONFIG.max_gap_frames) == (
        0.45,
        1,
        25,
    )
    assert (
        system_config("remn").memory.sampling_threshold == 0.45
        and system_config("remn").memory.sampling == "adaptive"
    )


def test_what_is_moved_out_of_the_frame_is_shared_with_nothing():
    cut = difference(box(20, 30, 10, 20), box(20, 70, 10, 10))  # half of it has left at the right
    assert cut.shape == pytest.approx(1 - 100 / 200)


def test_an_object_that_appears_or_vanishes_differs_by_one_and_an_absent_one_not_at_all():
    nothing, there = torch.zeros(SIZE), box(20, 30, 10, 10)
    assert difference(nothing, there).largest == difference(there, nothing).largest == 1
    assert difference(nothing, nothing).largest == 0
    known = Regions(there[None], (1,))
    assert Regions(torch.stack([there, box(40, 40, 5, 5)]), (1, 7)).difference_from(known) == 1, (
        "an object that was not known"
    )


def test_the_difference_is_the_largest_over_all_objects():
    before = torch.stack([box(0, 0, 10, 10), box(30, 30, 10, 10)])
    now = torch.stack([box(0, 1, 10, 10), box(30, 36, 10, 10)])
    assert Regions(now, (4, 9)).difference_from(Regions(before, (4, 9))) == pytest.approx(0.6)
    assert Regions(now.flip(0), (9, 4)).difference_from(Regions(before, (4, 9))) == pytest.approx(
        0.6
    ), "objects are compared by their ids"


def test_an_object_is_where_it_is_more_probable_than_the_background_and_the_others():
    probabilities = torch.tensor([[[0.4, 0.5, 0.2, 0.1, 0.6]], [[0.1, 0.2, 0.45, 0.2, 0.3]]])
    assert Regions(probabilities, (1, 2)).masks.tolist() == [
        [[False, True, False, False, True]],
        [[False, False, True, False, False]],
    ]
    assert Regions(probabilities, (1, 2)).areas == [2, 1]


def test_a_frame_is_written_when_its_masks_have_moved_away_from_those_written_last():
    # 0.2 of its size a frame
    masks = torch.stack([box(20, 2 * t, 10, 10)[None] for t in range(30)])
    assert written(masks) == list(range(3, 30, 3))  # 0.6 > 0.45
    assert written(masks, dataclasses.replace(CONFIG, sampling_threshold=0.99)) == [
        5,
        10,
        15,
        20,
        25,
    ]
    assert written(masks, dataclasses.replace(CONFIG, sampling_threshold=0.0)) == list(range(1, 30))


def test_masks_that_stay_are_written_after_the_largest_gap_and_none_within_the_smallest():
    still = box(20, 20, 10, 10)[None].expand(60, 1, *SIZE)
    assert written(still) == [25, 50]
    blinking = torch.stack([box(20, 20, 10, 10, value=t % 2)[None] for t in range(20)])
    assert written(blinking) == list(range(1, 20))
    assert written(blinking, dataclasses.replace(CONFIG, min_gap_frames=3)) == list(range(3, 20, 3))


def test_frames_are_compared_with_the_latest_annotated_frame():
    sampling = SAMPLINGS["adaptive"](CONFIG)
    sampling.annotated(0, box(20, 20, 10, 10)[None], (1,))
    sampling.annotated(4, box(20, 60, 10, 10)[None], (1,))
    assert not sampling.is_due(5, box(20, 61, 10, 10)[None], (1,))
    assert sampling.frames_until_write(6) == 1
    assert sampling.is_due(29, box(20, 60, 10, 10)[None], (1,)), (
        "the largest gap is counted from there"
    )


def test_a_segmenters_memory_follows_the_masks(make_segmenter, made_clip):
    held = {}
    for threshold in (0.0, 0.3, 50.0):
        session = make_segmenter(
            sampling="adaptive",
            **{"memory.sampling_threshold": threshold, "memory.max_gap_frames": 9},
        ).session(frame_count=12)
        for index, frame in enumerate(made_clip.frames):
            session.step(frame, made_clip.labels[0] if index == 0 else None)
        held[threshold] = session.memory.frame_indices
    assert held[0.0] == list(range(11)) and held[50.0] == [0, 9]
    assert 2 <= len(held[0.3]) <= 11


def test_looking_ahead_changes_no_decision(make_segmenter, made_clip):
    sessions = [
        make_segmenter(
            sampling="adaptive", **{"memory.sampling_threshold": 0.3, "memory.min_gap_frames": 3}
        ).session(lookahead=ahead)
        for ahead in (1, 8)
    ]
    for session in sessions:
        for index, frame in enumerate(made_clip.frames):
            session.step(frame, made_clip.labels[0] if index == 0 else None)
        session.flush()
    assert sessions[0].memory.frame_indices == sessions[1].memory.frame_indices


def test_frames_that_adaptive_sampling_does_not_choose_may_be_temporary():
    policy = POLICIES["every-k"](dataclasses.replace(CONFIG, include_last=True))
    policy.annotated(0, box(20, 20, 10, 10)[None], (1,))
    assert policy.memorise(1, box(20, 21, 10, 10)[None], (1,)) is Write.TEMPORARY
    assert policy.memorise(2, box(20, 40, 10, 10)[None], (1,)) is Write.KEEP
    assert policy.frames_held(100) is None and policy.frames_held(None) is None
