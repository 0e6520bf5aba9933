"""Permanent memory: annotated frames are memorised before the first frame is, and never evicted.

Legend: N memory elements, M elements of a frame, C channels.
"""

import numpy as np
import pytest
import torch
from conftest import assert_same_results

from inference import SYSTEMS
from inference.memory import POLICIES, BoundedMemory, MemoryBank
from util.errors import InputError

BOUNDED = [name for name, policy in POLICIES.items() if issubclass(policy, BoundedMemory)]


@pytest.mark.parametrize("system", list(SYSTEMS))
def test_a_single_annotated_first_frame_gives_what_no_permanent_memory_gives(
    make_segmenter, made_clip, system, policy
):
    # without permanent memory, a bounded one evicts annotated frames unless it is told not to
    none = {"memory.protect_annotated": True} if policy in BOUNDED else {}
    expected = make_segmenter(system, memory=policy, **none)
    segmenter = make_segmenter(system, memory=policy, permanent_memory=True)
    assert_same_results(
        list(segmenter.segment(made_clip.frames, made_clip.labels[0])),
        list(expected.segment(made_clip.frames, made_clip.labels[0])),
        tolerance=0,
    )


@pytest.mark.parametrize("system", ["stcn", "pcvos", "remn"])
def test_annotated_elements_stay_and_a_bound_holds(make_segmenter, made_clip, system, policy):
    bound = {} if POLICIES[policy].default_capacity_frames is None else {"memory_frames": 4}
    count = {} if policy == "first-and-latest" else {"sampling": "every"}
    every = {} if system == "pcvos" else {"mem_every": 1}
    segmenter = make_segmenter(
        system, memory=policy, permanent_memory=True, top_k=5, **bound, **count, **every
    )
    frames = [*made_clip.frames] * 3
    masks = {0: made_clip.masks(1), 4: made_clip.masks(2, 4), 20: made_clip.labels[8]}
    session = segmenter.session()
    for index, mask in masks.items():
        session.preload(frames[index], mask, index=index)
    elements = 3 * 4
    assert session.memory.frame_indices == [0, 4, 20]
    largest = 0
    for index, frame in enumerate(frames):
        session.step(frame, masks.get(index), index=index)
        held = session.memory.frames
        assert all(int((held == annotated).sum()) == elements for annotated in masks)
        largest = max(largest, session.memory.size)
    if policy in BOUNDED:
        assert largest == 4 * elements
    if policy == "redundancy":  # the annotated frames come on top, and one more is being written
        assert largest <= (4 + 3 + 1) * elements


def test_annotated_frames_are_read_before_they_come(make_segmenter, made_clip):
    masks = {0: made_clip.labels[0], 8: made_clip.labels[8]}
    none = list(make_segmenter().segment(made_clip.frames, masks))
    permanent = list(make_segmenter(permanent_memory=True).segment(made_clip.frames, masks))
    assert np.array_equal(permanent[8].labels, made_clip.labels[8])
    assert not torch.allclose(permanent[3].probabilities, none[3].probabilities, atol=1e-3)


def test_an_object_does_not_read_annotated_frames_whose_masks_do_not_show_it(
    make_segmenter, made_clip
):
    """Nothing is known there of an object that a mask leaves out."""
    masks = {0: made_clip.masks(1), 6: made_clip.masks(2, 6)}
    none = list(make_segmenter().segment(made_clip.frames, masks))
    permanent = list(make_segmenter(permanent_memory=True).segment(made_clip.frames, masks))
    assert_same_results(permanent[:7], none[:7], tolerance=0)


def test_a_read_sees_exactly_the_preloaded_frames_of_an_object_and_the_rows_since_it_joined():
    torch.manual_seed(0)
    keys, values = torch.randn(6, 3, 4), torch.randn(6, 2, 3, 5)  # [frames, (objects,) M, C]
    bank = MemoryBank(usage="count")
    bank.preload(10, keys[0], {1: values[0, 0]})
    bank.preload(20, keys[1], {1: values[1, 0], 2: values[1, 1]})
    bank.preload(30, keys[2], {2: values[2, 1]})
    assert bank.waiting_ids == (1, 2) and bank.first_frames == frozenset()
    bank.rewrite(10, keys[0], {1: values[0, 0]})  # object 1 joins
    bank.write(11, keys[3], {1: values[3, 0]})
    bank.write(20, keys[4], {1: values[4, 0], 2: values[4, 1]})  # object 2 joins
    bank.write(21, keys[5], {1: values[5, 0], 2: values[5, 1]}, temporary=True)
    assert bank.waiting_ids == () and bank.first_frames == {10, 20}
    query = torch.randn(7, 4)
    readout = bank.read(query, [1, 2], top_k=100)
    for number, frames in ((0, [0, 1, 3, 4, 5]), (1, [1, 2, 4, 5])):
        memory = keys[frames].flatten(0, 1)
        weights = ((2 * query @ memory.T - (memory**2).sum(-1)) / 4**0.5).softmax(-1)
        expected = weights @ values[frames, number].flatten(0, 1)
        torch.testing.assert_close(readout[number], expected, rtol=0, atol=1e-5)
    reads = bank.uses.reshape(6, 3)[:, 0].tolist()
    assert reads == [7, 14, 7, 7, 14, 14]
    bank.drop_temporary()
    bank.keep(torch.tensor([*range(9), 12]))  # one element of frame 20 alone is left beside them
    assert bank.lost_object_ids == ()
    torch.testing.assert_close(bank.values(2)[-1], values[4, 1, 0])
    assert len(bank.values(1)) == 7


REFUSED = [
    ({"memory": "lfu", "memory_frames": 1}, "memory_frames 1.*at least 2 frames"),
    ({"memory": "lfu", "memory_frames": 2}, "memory_frames is 2.*2 annotated.*give at least 3"),
    ({"memory": "fifo", "max_memory_mb": 0.005}, "max_memory_mb is 0.005.*2 annotated.*at least"),
]


@pytest.mark.parametrize(("settings", "words"), REFUSED)
def test_a_bound_without_room_beside_annotated_frames_is_refused(
    make_segmenter, made_clip, settings, words
):
    masks = {0: made_clip.labels[0], 8: made_clip.labels[8]}
    with pytest.raises(InputError, match=words) as refusal:
        next(make_segmenter(permanent_memory=True, **settings).segment(made_clip.frames, masks))
    assert "\n" not in str(refusal.value)


def test_a_bound_in_megabytes_holds_from_the_first_preloaded_frame_on(make_segmenter, made_clip):
    segmenter = make_segmenter(
        permanent_memory=True, memory="fifo", mem_every=1, max_memory_mb=0.006
    )
    session = segmenter.session(frame_count=len(made_clip.frames))
    session.preload(made_clip.frames[0], made_clip.labels[0], index=0)
    assert 0 < session.memory.megabytes <= 0.006
    for index, frame in enumerate(made_clip.frames):
        session.step(frame, made_clip.labels[0] if index == 0 else None)
        assert session.memory.megabytes <= 0.006


def test_a_bound_in_megabytes_holds_when_a_removed_object_joins_again(make_segmenter, made_clip):
    segmenter = make_segmenter(
        permanent_memory=True, memory="fifo", mem_every=1, max_memory_mb=0.0125
    )
    session = segmenter.session()
    masks = {0: made_clip.labels[0], 6: made_clip.labels[6]}
    for index, mask in masks.items():
        session.preload(made_clip.frames[index], mask, index=index)
    for index, frame in enumerate(made_clip.frames):
        if index == 1:
            session.remove_object(2)
        session.step(frame, masks.get(index))
        assert session.memory.megabytes <= 0.0125
    assert session.object_ids == (1, 2)


def test_frames_are_preloaded_once_before_any_is_given_with_a_mask_and_the_setting(
    make_segmenter, made_clip
):
    frame, mask = made_clip.frames[0], made_clip.labels[0]
    with pytest.raises(InputError, match=r"frame 3.*permanent_memory"):
        make_segmenter().session().preload(frame, mask, index=3)
    session = make_segmenter(permanent_memory=True).session()
    with pytest.raises(InputError, match=r"frame 3.*without a mask"):
        session.preload(frame, None, index=3)
    session.preload(frame, mask, index=0)
    with pytest.raises(InputError, match=r"frame 0.*preloaded already"):
        session.preload(frame, mask, index=0)
    assert session.memory.size == 3 * 4, "a refused frame entered the memory"
    session.step(frame, mask)
    with pytest.raises(InputError, match=r"frame 3.*preload it before"):
        session.preload(frame, mask, index=3)


def test_later_masks_of_frames_that_are_read_once_are_refused(make_segmenter, made_clip):
    segmenter = make_segmenter(permanent_memory=True)
    masks = {0: made_clip.labels[0], 8: made_clip.labels[8]}
    with pytest.raises(InputError, match="permanent_memory with several masks"):
        next(segmenter.segment(iter(made_clip.frames), masks))
    one = list(segmenter.segment(iter(made_clip.frames), made_clip.labels[0]))
    assert len(one) == len(made_clip.frames)


def test_removing_every_object_keeps_what_is_preloaded_of_one_still_to_join(
    make_segmenter, made_clip
):
    session = make_segmenter(permanent_memory=True).session()
    session.preload(made_clip.frames[0], made_clip.masks(1), index=0)
    session.preload(made_clip.frames[3], made_clip.masks(2, 3), index=3)
    session.step(made_clip.frames[0], made_clip.masks(1))
    session.step(made_clip.frames[1])
    session.remove_object(1)
    session.step(made_clip.frames[2])
    session.step(made_clip.frames[3], made_clip.masks(2, 3))
    assert session.step(made_clip.frames[4]).object_ids == (2,)
    assert 3 in session.memory.frame_indices
