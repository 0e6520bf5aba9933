"""Frames whose results are not wanted are skipped if they change nothing."""

import numpy as np
import pytest
from conftest import assert_same_results
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inference import SYSTEMS, VideoSegmenter
from inference.frames import Geometry
from inference.memory import POLICIES
from util.errors import InputError


class Counting:
    """Counts the frames that a network encodes and memorises."""

    def __init__(self, monkeypatch, segmenter):
        self.encoded = self.memorised = 0
        network = segmenter.network
        encode_key, encode_value = network.encode_key, network.encode_value
        monkeypatch.setattr(network, "encode_key", lambda images: self._key(encode_key, images))
        monkeypatch.setattr(
            network, "encode_value", lambda *arguments: self._value(encode_value, *arguments)
        )

    def _key(self, encode, images):
        self.encoded += len(images)
        return encode(images)

    def _value(self, encode, *arguments):
        self.memorised += 1
        return encode(*arguments)


def play(session, frames, masks, wanted, indices=None):
    """All results, in order. masks: {index: ids}. indices: of the frames that are given."""
    results = [
        session.step(frames[i % len(frames)], masks.get(i), index=i, wanted=i in wanted)
        for i in indices or range(len(frames))
    ]
    return [result for result in results if result is not None] + session.flush()


@pytest.fixture
def long_frames(made_clip):
    """41 frames: the toy clip forwards and backwards."""
    there_and_back = [*range(12), *range(10, 0, -1)]
    return np.stack([made_clip.frames[there_and_back[index % 22]] for index in range(41)])


@pytest.mark.parametrize("lookahead", [1, 8])
def test_of_41_frames_with_every_fifth_wanted_9_are_encoded_and_8_memorised(
    make_segmenter, made_clip, long_frames, monkeypatch, lookahead
):
    segmenter = make_segmenter()
    everything = play(
        segmenter.session(lookahead=lookahead), long_frames, {0: made_clip.labels[0]}, range(41)
    )
    counting, session = Counting(monkeypatch, segmenter), segmenter.session(lookahead=lookahead)
    results = play(session, long_frames, {0: made_clip.labels[0]}, range(0, 41, 5))
    assert (counting.encoded, counting.memorised) == (9, 8)
    assert (session.frames_given, session.frames_skipped) == (41, 32)
    assert session.memory.frame_indices == list(range(0, 40, 5))
    assert_same_results(results, everything[::5])


@pytest.mark.parametrize("system", list(SYSTEMS))
def test_wanted_results_are_as_if_all_were_computed(
    make_segmenter, made_clip, long_frames, policy, system
):
    segmenter = make_segmenter(system, memory=policy)
    masks, wanted = {0: made_clip.masks(1), 7: made_clip.masks(2, 7)}, {0, 3, 7, 8, 13, 20}
    everything = play(segmenter.session(lookahead=4), long_frames[:24], masks, range(24))
    session = segmenter.session(lookahead=4)
    assert_same_results(
        play(session, long_frames[:24], masks, wanted),
        [everything[index] for index in sorted(wanted)],
    )
    needs_every_frame = POLICIES[policy](SYSTEMS["stcn"].memory).needs_every_frame
    skips = system not in ("pcvos", "remn") and not needs_every_frame
    assert (session.frames_skipped > 0) == skips, (
        "the others look at every frame, or their frames depend on one another"
    )


@settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    wanted=st.sets(st.integers(0, 23)),
    masks=st.dictionaries(st.integers(1, 23), st.sampled_from([1, 2]), max_size=3),
    mem_every=st.integers(1, 9),
    lookahead=st.sampled_from([1, 3, 8]),
    system=st.sampled_from(["stcn", "clips"]),
    flush_at=st.none() | st.integers(0, 23),
)
def test_skipping_never_shows_in_the_results(
    network, made_clip, wanted, masks, mem_every, lookahead, system, flush_at
):
    frames = np.concatenate([made_clip.frames, made_clip.frames[::-1]])
    labels = np.concatenate([made_clip.labels, made_clip.labels[::-1]])
    given_masks = {
        0: made_clip.masks(1),
        **{
            index: np.where(labels[index] == object_id, object_id, 0)
            for index, object_id in masks.items()
        },
    }
    clips = (
        {"clip_length": mem_every}
        if system == "clips" and mem_every > 1
        else {"mem_every": mem_every}
    )
    segmenter = VideoSegmenter(network, "stcn", device="cpu", **clips)

    def results(those):
        session, found = segmenter.session(lookahead=lookahead), []
        for index, frame in enumerate(frames):
            found.append(
                session.step(frame, given_masks.get(index), index=index, wanted=index in those)
            )
            if index == flush_at:
                found += session.flush()
        return [result for result in found if result is not None] + session.flush(), session

    (everything, _), (some, session) = results(range(24)), results(wanted)
    assert_same_results(some, [result for result in everything if result.frame_index in wanted])
    assert session.frames_given == 24


@pytest.mark.parametrize(
    ("system", "overrides"),
    [
        ("stcn", {"include_last": True}),
        ("stcn", {"sampling": "adaptive"}),
        ("lfu", {}),
        ("remn", {}),
        ("pcvos", {}),
    ],
)
def test_systems_that_need_every_frame_skip_none(
    make_segmenter, made_clip, monkeypatch, system, overrides
):
    segmenter = make_segmenter(system, **overrides)
    counting = Counting(monkeypatch, segmenter)
    play(segmenter.session(), made_clip.frames, {0: made_clip.labels[0]}, {0, 11})
    assert counting.encoded == 12


def test_unwanted_frames_before_the_first_object_are_skipped_by_every_policy(
    make_segmenter, made_clip, policy
):
    session = make_segmenter(memory=policy).session()
    play(session, made_clip.frames[:6], {5: made_clip.labels[5]}, {5})
    assert (session.frames_skipped, session.frames_given) == (5, 6)


@pytest.mark.parametrize(
    ("system", "every"),
    [("stcn", {"mem_every": 5}), ("lfu", {"mem_every": 5}), ("pcvos", {"clip_length": 5})],
)
def test_if_only_every_fifth_frame_is_given_each_is_memorised(
    make_segmenter, made_clip, system, every
):
    """The schedule counts the frames of the video, not those given; a clip counts those given.

    Published PCVOS memorises all five frames of such a clip at L = 5.
    """
    session = make_segmenter(system, **every).session(lookahead=4)
    results = play(
        session, made_clip.frames, {0: made_clip.labels[0]}, range(56), indices=range(0, 60, 5)
    )
    assert [result.frame_index for result in results] == list(range(0, 60, 5))
    assert session.frames_memorised == 11


def test_clips_of_every_fifth_frame_are_memorised_by_the_index_of_their_frames(
    make_segmenter, made_clip
):
    session = make_segmenter("pcvos", clip_length=10).session()
    results = [
        session.step(frame, made_clip.labels[0] if index == 0 else None, index=5 * index)
        for index, frame in enumerate(made_clip.frames)
    ]
    is_due = [result is not None for result in results]
    assert is_due == [True, *[False] * 9, True, True]
    session.flush()
    assert session.memory.frame_indices == [0, 10, 20, 30, 40, 50], (
        "every second frame of the clip is 10 frames after the last that was memorised"
    )


def test_frames_out_of_order_are_refused_and_leave_the_session_unchanged(make_segmenter, made_clip):
    session = make_segmenter().session()
    session.step(made_clip.frames[0], made_clip.labels[0], index=5)
    for index in (5, 3):
        with pytest.raises(InputError, match=rf"frame {index}: comes after frame 5"):
            session.step(made_clip.frames[1], index=index)
    assert session.step(made_clip.frames[1]).frame_index == 6
    assert session.frames_given == 2


def test_policies_that_look_at_no_unwanted_frame_state_it():
    """A policy of your own may be among them or not."""
    skipping = {
        name
        for name, policy in POLICIES.items()
        if not policy(SYSTEMS["stcn"].memory).needs_every_frame
    }
    assert skipping >= {"every-k", "fifo", "random", "redundancy"}
    assert skipping.isdisjoint({"first-and-latest", "lfu", "lfu-weight"})


def test_a_stated_length_reserves_a_bounded_memory(make_segmenter, made_clip):
    session = make_segmenter().session(frame_count=2**31 - 1)
    for index, frame in enumerate(made_clip.frames[:3]):
        session.step(frame, made_clip.labels[0] if index == 0 else None)
    assert session.memory.megabytes <= 40 * 12 * session.memory.element_bytes / 1e6


@pytest.mark.parametrize("system", ["stcn", "pcvos"])
def test_results_are_resized_to_the_size_of_the_frame_one_at_a_time(
    make_segmenter, made_clip, monkeypatch, system
):
    """Large frames with many objects need memory for one of them, whatever the lookahead."""
    sizes, from_network = [], Geometry.from_network
    monkeypatch.setattr(
        Geometry,
        "from_network",
        lambda geometry, probabilities: (
            sizes.append(len(probabilities)) or from_network(geometry, probabilities)
        ),
    )
    session = make_segmenter(system, resolution=24).session(lookahead=5)
    results = [
        session.step(frame, made_clip.labels[0] if index == 0 else None)
        for index, frame in enumerate(made_clip.frames)
    ]
    due = [result for result in results if result is not None]
    assert sizes == [1] * len(due) and len(due) < 12, "results that wait are not made yet"
    remaining = session.drain()
    next(remaining)
    assert len(sizes) == len(due) + 1


def test_the_lookahead_is_lowered_for_large_working_sizes(make_segmenter, made_clip, monkeypatch):
    monkeypatch.setattr("inference.prediction._PROBABILITY_PIXELS", 2 * 3 * 48 * 64)
    session = make_segmenter(mem_every=9).session(lookahead=8)
    given = [
        session.step(frame, made_clip.labels[0] if index == 0 else None) is not None
        for index, frame in enumerate(made_clip.frames[:6])
    ]
    assert given == [True, False, True, True, True, True], "two frames of three maps at a time"
