"""Sessions compute what the plain session computes, for every system, policy and lookahead."""

import copy
import math

import numpy as np
import pytest
import torch
from conftest import assert_same_labels, assert_same_results, tiny_network, tiny_network_name
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plain_session import PlainSession, double_precision
from sessions import run_session

from inference import SYSTEMS, VideoSegmenter
from inference.memory import POLICIES
from util.errors import InputError


def assert_bitwise_equal(ours, theirs):
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs):
        assert one.frame_index == other.frame_index
        assert one.object_ids == other.object_ids
        assert np.array_equal(one.labels, other.labels)
        assert torch.equal(one.probabilities, other.probabilities)


def random_video(seed, length=9, size=(33, 50)):
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (length, *size, 3), dtype=np.uint8), random


def squares(random, ids, size):
    """A mask with a rectangle of each id; at least one pixel of each is visible."""
    mask = np.zeros(size, np.int32)
    for number, object_id in enumerate(ids):
        top, left = random.integers(0, size[0] - 9), random.integers(0, size[1] - 9)
        mask[top : top + 9 + 4 * number, left : left + 9] = object_id
    for number, object_id in enumerate(ids):
        mask[number, 0] = object_id
    return mask


EVENT = st.one_of(
    st.none(),
    st.none(),
    st.sampled_from(["remove 2", "remove 7"]),
    st.sets(st.sampled_from([1, 2, 7]), min_size=1),
)
# before frames 1 to 8: nothing, the removal of an object, a mask of these ids
EVENTS = st.lists(EVENT, min_size=8, max_size=8)
POLICY = st.one_of(
    st.fixed_dictionaries({"mem_every": st.integers(1, 5), "include_last": st.booleans()}),
    st.just({"memory": "first-and-latest"}),
)


def play(network, events, overrides, lookahead, resolution, seed):
    """The results of a session; ids and probabilities of every frame by the plain session."""
    frames, random = random_video(seed)
    session = VideoSegmenter(
        network, device="cpu", resolution=resolution, top_k=7, **overrides
    ).session(lookahead=lookahead)
    latest = overrides.get("memory") == "first-and-latest"
    plain = PlainSession(
        network,
        math.inf if latest else overrides["mem_every"],
        latest or overrides["include_last"],
        top_k=7,
        resolution=resolution,
    )
    results, expected = [], []
    for frame, event in zip(frames, [{1, 2}, *events], strict=True):
        mask = None
        if isinstance(event, str) and int(event[-1]) in plain.ids:
            plain.remove_object(int(event[-1]))
            session.remove_object(int(event[-1]))
        elif isinstance(event, set):
            mask = squares(random, sorted(event), frame.shape[:2])
        expected.append(plain.step(frame, mask))
        results.append(session.step(frame, mask))
    return [result for result in results if result is not None] + session.flush(), expected


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    events=EVENTS,
    overrides=POLICY,
    lookahead=st.sampled_from([1, 2, 5]),
    resolution=st.sampled_from([-1, -1, 24, 48]),
    seed=st.integers(0, 99),
)
def test_sessions_agree_with_the_plain_session(
    network, events, overrides, lookahead, resolution, seed
):
    with double_precision():
        results, expected = play(
            copy.deepcopy(network).double(), events, overrides, lookahead, resolution, seed
        )
    assert [result.frame_index for result in results] == list(range(len(expected)))
    for result, (ids, probabilities) in zip(results, expected, strict=True):
        assert result.object_ids == ids
        torch.testing.assert_close(result.probabilities, probabilities, rtol=0, atol=1e-6)
        assert_same_labels(result, np.array((0, *ids))[probabilities.argmax(0).numpy()])


@pytest.mark.parametrize("system", list(SYSTEMS))
@pytest.mark.parametrize("lookahead", [5, 8])
def test_looking_ahead_gives_the_same_result(make_segmenter, made_clip, system, policy, lookahead):
    segmenter = make_segmenter(system, memory=policy)
    streamed = list(segmenter.segment(made_clip.frames, made_clip.labels[0], lookahead=1))
    assert {0, 1, 2} <= {int(i) for result in streamed[1:] for i in np.unique(result.labels)}, (
        "the network predicts too little to compare"
    )
    assert_same_results(
        list(segmenter.segment(made_clip.frames, made_clip.labels[0], lookahead=lookahead)),
        streamed,
    )


def test_looking_ahead_gives_the_same_result_for_confident_predictions(made_clip):
    # logits of 20: several objects claim a pixel with certainty
    segmenter = VideoSegmenter(tiny_network(logit_scale=2.0), device="cpu")
    streamed = list(segmenter.segment(made_clip.frames, made_clip.labels[0], lookahead=1))
    assert_same_results(
        list(segmenter.segment(made_clip.frames, made_clip.labels[0], lookahead=5)), streamed
    )


@pytest.mark.parametrize("system", list(SYSTEMS))
@pytest.mark.parametrize("lookahead", [1, 5])
def test_late_object_leaves_earlier_objects_unchanged(
    make_segmenter, made_clip, system, policy, lookahead
):
    segmenter = make_segmenter(system, memory=policy)
    masks = {0: made_clip.masks(1)}
    alone = list(segmenter.segment(made_clip.frames, masks, lookahead=lookahead))
    # frame 5 ends a clip in any case
    joined = list(
        segmenter.segment(
            made_clip.frames, {**masks, 5: made_clip.masks(2, 5)}, lookahead=lookahead
        )
    )
    assert_same_results(joined[:5], alone[:5])
    assert [result.object_ids for result in joined] == [(1,)] * 5 + [(1, 2)] * 7
    mask = made_clip.masks(2, 5)
    assert (joined[5].labels[mask == 2] == 2).all()
    assert not (joined[5].labels[mask == 0] == 2).any()


@pytest.mark.parametrize("system", list(SYSTEMS))
def test_ids_are_returned_as_they_were_given(make_segmenter, made_clip, system, policy):
    plain = list(
        make_segmenter(system, memory=policy).segment(made_clip.frames, made_clip.labels[0])
    )
    for table, dtype in (
        ((0, 7, 200), np.uint8),
        ((0, 3, 255), np.uint8),
        ((0, 4, 60_000), np.int32),
    ):
        lookup = np.array(table, np.int64)
        sparse = list(
            make_segmenter(system, memory=policy).segment(
                made_clip.frames, lookup[made_clip.labels[0]]
            )
        )
        for one, other in zip(sparse, plain, strict=True):
            assert one.object_ids == table[1:]
            assert one.labels.dtype == dtype
            assert np.array_equal(one.labels, lookup[other.labels])


@pytest.mark.parametrize("system", list(SYSTEMS))
def test_frames_before_the_first_mask_are_background_and_change_nothing(
    make_segmenter, made_clip, system, policy
):
    segmenter = make_segmenter(system, memory=policy)
    late = run_session(segmenter.session(), made_clip.frames, {3: made_clip.labels[3]})
    for result in late[:3]:
        assert result.object_ids == ()
        assert not result.labels.any()
        assert torch.equal(result.probabilities, torch.ones(1, 48, 64))
    for one, other in zip(
        late[3:],
        run_session(segmenter.session(), made_clip.frames[3:], {0: made_clip.labels[3]}),
        strict=True,
    ):
        assert one.frame_index == other.frame_index + 3
        assert torch.equal(one.probabilities, other.probabilities)


def test_corrected_object_takes_the_given_shape_and_is_propagated_from_it(
    make_segmenter, made_clip, policy
):
    segmenter = make_segmenter(memory=policy)
    correction = np.zeros((48, 64), np.uint8)
    correction[4:20, 4:20] = 2
    before = run_session(segmenter.session(), made_clip.frames, {0: made_clip.labels[0]})
    after = run_session(
        segmenter.session(), made_clip.frames, {0: made_clip.labels[0], 6: correction}
    )
    assert_bitwise_equal(after[:6], before[:6])
    assert np.array_equal(after[6].labels == 2, correction == 2)
    assert np.array_equal(
        after[6].labels[correction == 0] == 1,
        (after[6].probabilities[1] > after[6].probabilities[0]).numpy()[correction == 0],
    )
    assert (after[7].probabilities - before[7].probabilities).abs().max() > 1e-3
    assert after[-1].object_ids == (1, 2)


@pytest.mark.parametrize("lookahead", [1, 5])
def test_removed_object_leaves_from_the_next_frame_on(make_segmenter, made_clip, policy, lookahead):
    session = make_segmenter(memory=policy).session(lookahead=lookahead)
    results = [
        session.step(frame, made_clip.labels[0] if index == 0 else None)
        for index, frame in enumerate(made_clip.frames[:3])
    ]
    session.remove_object(1)
    results += [session.step(frame) for frame in made_clip.frames[3:]]
    results = [result for result in results if result is not None] + session.flush()
    assert [result.object_ids for result in results] == [(1, 2)] * 3 + [(2,)] * 9
    assert [result.probabilities.shape[0] for result in results] == [3] * 3 + [2] * 9
    assert session.object_ids == session.memory.object_ids == (2,)


def test_after_the_last_object_is_removed_a_new_object_starts_as_in_a_new_session(
    make_segmenter, made_clip, policy
):
    segmenter = make_segmenter(memory=policy)
    session = segmenter.session()
    run_session(session, made_clip.frames[:4], {0: made_clip.labels[0]})
    session.remove_object(1)
    session.remove_object(2)
    assert session.memory is None
    empty = session.step(made_clip.frames[4])
    assert empty.object_ids == ()
    assert not empty.labels.any()
    again = run_session(session, made_clip.frames[5:], {0: made_clip.labels[5]})
    fresh = run_session(segmenter.session(), made_clip.frames[5:], {0: made_clip.labels[5]})
    for one, other in zip(again, fresh, strict=True):
        assert one.frame_index == other.frame_index + 5
        assert torch.equal(one.probabilities, other.probabilities)


def test_flushing_in_the_middle_changes_no_result(make_segmenter, made_clip, policy):
    segmenter = make_segmenter(memory=policy)
    session = segmenter.session(lookahead=5)
    results = []
    for part in (
        made_clip.frames[:1],
        made_clip.frames[1:4],
        made_clip.frames[4:5],
        made_clip.frames[5:],
    ):
        results += run_session(session, part, {} if results else {0: made_clip.labels[0]})
        assert session.flush() == []
    assert_same_results(
        results, list(segmenter.segment(made_clip.frames, made_clip.labels[0], lookahead=1))
    )


def test_sessions_side_by_side_do_not_affect_each_other(make_segmenter, made_clip, policy):
    segmenter = make_segmenter(memory=policy)
    backwards = made_clip.frames[::-1]
    one, two = segmenter.session(), segmenter.session()
    mixed = [
        (
            one.step(made_clip.frames[0], made_clip.labels[0]),
            two.step(backwards[0], made_clip.labels[-1]),
        )
    ]
    mixed += [
        (one.step(frame), two.step(other))
        for frame, other in zip(made_clip.frames[1:], backwards[1:])
    ]
    assert_bitwise_equal(
        [pair[0] for pair in mixed],
        run_session(segmenter.session(), made_clip.frames, {0: made_clip.labels[0]}),
    )
    assert_bitwise_equal(
        [pair[1] for pair in mixed],
        run_session(segmenter.session(), backwards, {0: made_clip.labels[-1]}),
    )


def test_a_segmenter_does_not_change_the_network_it_was_given(network, made_clip):
    mine = copy.deepcopy(network).train()
    before = copy.deepcopy(mine.state_dict())
    segmenter = VideoSegmenter(mine, device="cpu")
    results = list(segmenter.segment(made_clip.frames[:3], made_clip.labels[0]))
    assert all(module.training for module in mine.modules())
    assert all(
        parameter.requires_grad and parameter.grad is None for parameter in mine.parameters()
    )
    assert all(torch.equal(value, before[name]) for name, value in mine.state_dict().items())
    with torch.no_grad():
        mine.decoder.pred.weight.zero_()
    assert_bitwise_equal(
        list(segmenter.segment(made_clip.frames[:3], made_clip.labels[0])), results
    )


def test_results_do_not_depend_on_the_callers_gradient_mode(make_segmenter, made_clip):
    segmenter = make_segmenter()
    expected = run_session(segmenter.session(), made_clip.frames, {0: made_clip.labels[0]})
    session, results = segmenter.session(), []
    for index, frame in enumerate(made_clip.frames):
        with (torch.inference_mode, torch.enable_grad, torch.no_grad)[index % 3]():
            results.append(session.step(frame, made_clip.labels[0] if index == 0 else None))
            assert torch.is_grad_enabled() == (index % 3 == 1)
    assert_bitwise_equal(results, expected)
    assert not any(result.probabilities.requires_grad for result in results)


def test_mixed_precision_is_near(make_segmenter, made_clip, policy):
    exact = list(make_segmenter(memory=policy).segment(made_clip.frames, made_clip.labels[0]))
    mixed = list(
        make_segmenter(memory=policy, amp=True).segment(made_clip.frames, made_clip.labels[0])
    )
    for one, other in zip(mixed, exact, strict=True):
        assert one.probabilities.dtype == torch.float32
        assert (one.probabilities - other.probabilities).abs().mean() < 0.01
    assert any(
        not torch.equal(one.probabilities, other.probabilities) for one, other in zip(mixed, exact)
    ), "nothing was mixed"


@pytest.mark.parametrize("policy_name", list(POLICIES))
def test_probabilities_are_a_distribution_whose_largest_is_the_label(
    make_segmenter, made_clip, policy_name
):
    for result in make_segmenter(memory=policy_name).segment(made_clip.frames, made_clip.labels[0]):
        assert result.probabilities.dtype == torch.float32
        torch.testing.assert_close(
            result.probabilities.sum(0), torch.ones(48, 64), rtol=0, atol=1e-5
        )
        assert np.array_equal(result.labels, result.probabilities.argmax(0).numpy())


@pytest.mark.parametrize("system", SYSTEMS)
def test_nan_anywhere_in_the_network_gives_no_wrong_result(system, made_clip):
    """Comparisons with NaN are false, so that every mask would be blank."""
    network = tiny_network(name=tiny_network_name(system))
    if network.config.enhancer is not None:
        network.foreground_reinforcing.gain.data.fill_(0.5)
    segmenter = VideoSegmenter(network, system, device="cpu")
    expected = [
        result.labels for result in segmenter.segment(made_clip.frames[:7], made_clip.labels[0])
    ]
    names = [name for name, value in network.state_dict().items() if value.is_floating_point()]
    for name in names[:: 7 if system != "pcvos" else 5]:
        spoilt = copy.deepcopy(network)
        spoilt.state_dict()[name].view(-1)[0] = float("nan")
        found = VideoSegmenter(spoilt, system, device="cpu").segment(
            made_clip.frames[:7], made_clip.labels[0]
        )
        try:
            assert all(
                np.array_equal(result.labels, labels)
                for result, labels in zip(found, expected, strict=True)
            ), f"{name} passes"
        except InputError as error:
            assert "the probabilities are not finite" in str(error)
