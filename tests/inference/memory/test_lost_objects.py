"""Objects that no memory element shows any more."""

import dataclasses

import numpy as np
import pytest
import torch
from conftest import assert_same_results
from sessions import run_session

from inference import SYSTEMS
from inference.memory import MemoryBank
from inference.video_memory import shown_elements


def lose(session, object_id):
    """Drop all that was written since an object joined."""
    bank = session.memory
    bank.keep(torch.arange(bank.first_element(object_id)))


@pytest.mark.parametrize("lookahead", [1, 5])
@pytest.mark.parametrize("system", list(SYSTEMS))
def test_a_lost_object_is_reported_has_no_mask_and_returns_with_a_new_one(
    make_segmenter, made_clip, system, lookahead
):
    session = make_segmenter(system, sampling="every").session(lookahead=lookahead)
    results = [
        session.step(frame, {0: made_clip.masks(1), 3: made_clip.masks(2, 3)}.get(index))
        for index, frame in enumerate(made_clip.frames[:5])
    ]
    results += session.flush()
    assert session.lost_object_ids == ()
    lose(session, 2)
    assert session.lost_object_ids == (2,)
    results += [session.step(frame) for frame in made_clip.frames[5:9]] + session.flush()
    assert session.lost_object_ids == (2,), (
        "what is written of a lost object, nothing, is not what it is"
    )
    assert session.object_ids == (1, 2)
    results += [session.step(made_clip.frames[9], made_clip.masks(2, 9))]
    assert session.lost_object_ids == ()
    results += [session.step(frame) for frame in made_clip.frames[10:]] + session.flush()
    results = [result for result in results if result is not None]
    assert [result.frame_index for result in results] == list(range(12))
    for result in results:
        seen = (result.labels == 2).any()
        lost = 5 <= result.frame_index < 9
        assert result.object_ids == ((1,) if result.frame_index < 3 else (1, 2))
        assert not (seen and lost)
        assert seen or lost or result.frame_index < 3 or result.frame_index in (4, 10, 11)
        assert not lost or result.probabilities[2].max() < 1e-6
        torch.testing.assert_close(
            result.probabilities.sum(0), torch.ones(48, 64), rtol=0, atol=1e-5
        )


def test_an_object_that_no_element_shows_any_more_is_lost_only_under_eviction(
    make_segmenter, made_clip
):
    # object 2 hides object 1
    masks = {
        0: made_clip.labels[0],
        3: np.full((48, 64), 2, np.uint8),
        8: made_clip.masks(1, 8),
    }
    lost, seen = {}, {}
    for memory, bound in (("lfu", {"memory_frames": 1}), ("every-k", {}), ("first-and-latest", {})):
        session = make_segmenter(
            memory=memory, **bound, **({} if memory == "first-and-latest" else {"mem_every": 1})
        ).session()
        results = [
            session.step(frame, masks.get(index))
            for index, frame in enumerate(made_clip.frames[:4])
        ]
        assert session.lost_object_ids == ()
        for index in range(4, 12):
            results.append(session.step(made_clip.frames[index], masks.get(index)))
            lost.setdefault(memory, []).append(session.lost_object_ids)
        seen[memory] = [bool((result.labels == 1).any()) for result in results]
        assert all(result.object_ids == (1, 2) for result in results)
    assert lost["lfu"][:5] == [(1,)] * 4 + [()]
    assert seen["lfu"][4:9] == [False] * 4 + [True]
    assert lost["every-k"] == lost["first-and-latest"] == [()] * 8


def test_an_element_shows_an_object_that_is_most_probable_at_any_of_its_pixels():
    masks = torch.zeros(2, 32, 48)
    masks[0, :, 16:] = 0.4
    masks[1, 5, 17] = 0.5
    masks[1, 20:, 40:] = 0.35
    masks[0, 31, 0] = 0.6
    assert shown_elements(masks).tolist() == [
        [False, False, False, True, False, True],
        [False, True, False, False, False, False],
    ]


def test_merged_elements_show_what_any_of_them_showed():
    bank = MemoryBank()
    for frame, shown in enumerate(([1, 0, 0], [0, 0, 1])):
        bank.write(
            frame,
            torch.randn(3, 4),
            {1: torch.randn(3, 2)},
            shown={1: torch.tensor(shown, dtype=torch.bool)},
        )
    bank.merge(
        torch.arange(6).view(1, 2, 3), lambda keys: keys.mean(1), lambda values: values.mean(1)
    )
    bank.keep(torch.tensor([1, 2]))
    assert bank.lost_object_ids == ()
    bank.keep(torch.tensor([0]))
    assert bank.lost_object_ids == (1,)


def test_lost_objects_leave_the_others_unchanged(make_segmenter, made_clip):
    segmenter = make_segmenter(mem_every=100)
    whole, without = segmenter.session(), segmenter.session()
    for index, frame in enumerate(made_clip.frames):
        mask = {0: made_clip.masks(1), 3: made_clip.masks(2, 3)}.get(index)
        results = [session.step(frame, mask) for session in (whole, without)]
        if index == 4:
            for session in (whole, without):
                lose(session, 2)
            without.remove_object(2)
        if index > 4:
            assert np.array_equal(results[0].labels, results[1].labels)


def test_all_objects_lost_leave_background_until_a_mask_is_given(make_segmenter, made_clip):
    segmenter = make_segmenter("lfu", mem_every=100)
    session = segmenter.session()
    for index, frame in enumerate(made_clip.frames[:3]):
        session.step(frame, made_clip.labels[0] if index == 0 else None)
    session.memory.keep(torch.zeros(0, dtype=torch.int64))
    assert session.lost_object_ids == (1, 2)
    for frame in made_clip.frames[3:6]:
        result = session.step(frame)
        assert result.object_ids == (1, 2) and not result.labels.any()
    session.remove_object(1)
    assert session.lost_object_ids == (2,)
    again = [
        session.step(frame, made_clip.masks(2, 6) if index == 0 else None)
        for index, frame in enumerate(made_clip.frames[6:])
    ]
    fresh = run_session(segmenter.session(), made_clip.frames[6:], {0: made_clip.masks(2, 6)})
    assert_same_results(
        [dataclasses.replace(result, frame_index=result.frame_index - 6) for result in again], fresh
    )


def test_an_object_whose_next_elements_are_about_to_be_written_is_not_lost(
    make_segmenter, made_clip
):
    session = make_segmenter("lfu", mem_every=1).session()
    for index, frame in enumerate(made_clip.frames[:3]):
        session.step(frame, made_clip.labels[0] if index == 0 else None)
    session.memory.keep(torch.zeros(0, dtype=torch.int64))
    assert session.lost_object_ids == ()
    assert session.step(made_clip.frames[3]).labels.any()
    assert session.memory.frame_indices == [2]


def test_a_bank_reads_zeros_for_an_object_without_elements():
    bank = MemoryBank(usage="count")
    bank.write(0, torch.randn(6, 4), {1: torch.ones(6, 2)})
    bank.write(2, torch.randn(6, 4), {1: torch.ones(6, 2), 2: torch.ones(6, 2)})
    bank.keep(torch.tensor([0, 3]))
    assert bank.lost_object_ids == (2,)
    readout = bank.read(torch.randn(5, 4), (2, 1), 3)
    torch.testing.assert_close(readout, torch.stack([torch.zeros(5, 2), torch.ones(5, 2)]))
    assert bank.uses.tolist() == [5, 5]
    bank.keep(torch.zeros(0, dtype=torch.int64))
    assert not bank.read(torch.randn(5, 4), (2, 1), 3).any()
    assert bank.lost_object_ids == (1, 2)
