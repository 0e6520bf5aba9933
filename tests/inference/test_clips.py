"""Systems that predict the frames of a clip together: where clips end, what they read."""

import copy

import numpy as np
import pytest
import torch
from conftest import assert_same_labels, assert_same_results
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plain_session import PlainSession, double_precision
from sessions import run_session

from inference import VideoSegmenter
from model import save_weights
from util.errors import InputError

PLAIN = {"refine": False, "memory.segment_frames": None}


def play_textbook(plain, frames, masks, clip_length):
    """Ids and probabilities of every frame by the plain session.

    Clips end after `clip_length` frames and at masks.
    """
    expected, start = [], 0
    while start < len(frames):
        length = clip_length if plain.ids else 1
        end = next(
            (
                index + 1
                for index in range(start, min(start + length, len(frames)))
                if index in masks
            ),
            min(start + length, len(frames)),
        )
        expected += plain.step_clip(frames[start:end], masks.get(end - 1))
        start = end
    return expected


@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    at=st.dictionaries(st.integers(1, 11), st.sampled_from([1, 2]), max_size=3),
    clip_length=st.sampled_from([2, 3, 5, 7, 25]),
    segment_frames=st.sampled_from([None, 1, 2, 5]),
    refine=st.booleans(),
    resolution=st.sampled_from([-1, 64]),
)
def test_clips_agree_with_the_plain_session(
    refined_network, made_clip, at, clip_length, segment_frames, refine, resolution
):
    masks = {
        0: made_clip.masks(1),
        **{index: made_clip.masks(object_id, index) for index, object_id in at.items()},
    }
    overrides = {
        "clip_length": clip_length,
        "refine": refine,
        "memory.segment_frames": segment_frames,
        "resolution": resolution,
        "top_k": 7,
    }
    with double_precision():
        network = copy.deepcopy(refined_network).double()
        results = run_session(
            VideoSegmenter(network, "pcvos", device="cpu", **overrides).session(),
            made_clip.frames,
            masks,
        )
        plain = PlainSession(
            network,
            clip_length,
            top_k=7,
            resolution=resolution,
            segment_frames=segment_frames or 99,
            refine=refine,
        )
        expected = play_textbook(plain, made_clip.frames, masks, clip_length)
    assert [result.frame_index for result in results] == list(range(12))
    for result, (ids, probabilities) in zip(results, expected, strict=True):
        assert result.object_ids == ids
        torch.testing.assert_close(result.probabilities, probabilities, rtol=0, atol=1e-6)
        assert_same_labels(result, np.array((0, *ids))[probabilities.argmax(0).numpy()])


@pytest.mark.parametrize("length", [2, 5, 8, 25])
@pytest.mark.parametrize("late", [{}, {3: 2}, {5: 2}, {11: 2}], ids=str)
def test_clips_without_refinement_and_progressive_matching_equal_stcn(
    refined_network, made_clip, length, late
):
    masks = {
        0: made_clip.masks(1),
        **{index: made_clip.masks(object_id, index) for index, object_id in late.items()},
    }
    ours = VideoSegmenter(refined_network, "pcvos", device="cpu", clip_length=length, **PLAIN)
    theirs = VideoSegmenter(refined_network, "stcn", device="cpu", mem_every=length)
    assert_same_results(
        run_session(ours.session(), made_clip.frames, masks),
        run_session(theirs.session(), made_clip.frames, masks),
    )


def test_mixed_precision_is_near(make_segmenter, made_clip):
    exact, mixed = (
        list(make_segmenter("pcvos", amp=amp).segment(made_clip.frames, made_clip.labels[0]))
        for amp in (False, True)
    )
    assert all(
        (one.probabilities - other.probabilities).abs().mean() < 0.01
        for one, other in zip(mixed, exact, strict=True)
    )
    assert any(
        not torch.equal(one.probabilities, other.probabilities) for one, other in zip(mixed, exact)
    ), "nothing was mixed"


def test_frames_refined_one_by_one_do_not_depend_on_the_lookahead(refined_network, made_clip):
    segmenter = VideoSegmenter(refined_network, "stcn", device="cpu", refine=True)
    results = [
        list(segmenter.segment(made_clip.frames, made_clip.labels[0], lookahead=lookahead))
        for lookahead in (1, 5)
    ]
    assert_same_results(*results)


def test_memory_allocated_for_a_known_length_never_grows(make_segmenter, made_clip):
    session, sizes = (
        make_segmenter("pcvos", clip_length=5, **{"memory.segment_frames": 2}).session(
            frame_count=12
        ),
        set(),
    )
    for index, frame in enumerate(made_clip.frames):
        session.step(frame, made_clip.labels[0] if index == 0 else None)
        sizes |= {session.memory.megabytes} if session.memory else set()
    session.flush()
    assert sizes == {session.memory.megabytes}


def test_refinement_and_progressive_matching_change_what_they_should(make_segmenter, made_clip):
    def probabilities(refine, segment_frames):
        segmenter = make_segmenter(
            "pcvos", clip_length=10, refine=refine, **{"memory.segment_frames": segment_frames}
        )
        return torch.stack(
            [
                result.probabilities
                for result in segmenter.segment(made_clip.frames, made_clip.labels[0])
            ]
        )

    plain, matched = probabilities(False, None), probabilities(False, 5)
    assert torch.equal(matched[:6], plain[:6]), (
        "the first five frames of a clip read the memory alone"
    )
    assert (matched[6:11] - plain[6:11]).abs().amax((1, 2, 3)).min() > 1e-3
    assert (probabilities(True, None)[1:] - plain[1:]).abs().amax((1, 2, 3)).min() > 1e-3


def test_progressive_matching_changes_nothing_in_clips_of_one_segment(make_segmenter, made_clip):
    results = [
        list(make_segmenter("pcvos", **override).segment(made_clip.frames, made_clip.labels[0]))
        for override in ({}, {"memory.segment_frames": None})
    ]
    for one, other in zip(*results, strict=True):
        assert torch.equal(one.probabilities, other.probabilities)


@pytest.mark.parametrize("length", [5, 8])
def test_memory_holds_the_last_frame_of_each_clip_and_no_other(make_segmenter, made_clip, length):
    session = make_segmenter("pcvos", clip_length=length, **{"memory.segment_frames": 2}).session()
    held = []
    for index, frame in enumerate(np.concatenate([made_clip.frames] * 2)):
        session.step(frame, made_clip.labels[0] if index == 0 else None)
        held.append(session.memory.frame_indices if session.memory else [])
    session.flush()
    assert held[length] == [0]
    assert held[-1] == list(range(0, 24 - length, length))
    assert session.memory.size == 3 * 4 * len(session.memory.frame_indices)


def test_latency_is_one_frame_less_than_a_clip_and_results_come_one_per_call(
    make_segmenter, made_clip
):
    for length in (5, 8, 25):
        session = make_segmenter("pcvos", clip_length=length).session()
        assert session.latency_frames == length - 1
        given = [
            session.step(frame, made_clip.labels[0] if index == 0 else None)
            for index, frame in enumerate(made_clip.frames)
        ]
        assert [None if result is None else result.frame_index for result in given] == [
            0,
            *[None] * min(length - 1, 11),
            *range(1, 13 - length),
        ]
        assert [result.frame_index for result in session.flush()] == list(
            range(max(13 - length, 1), 12)
        )


def test_a_late_object_ends_the_clip_it_appears_in(make_segmenter, made_clip):
    masks = {0: made_clip.masks(1), 8: made_clip.masks(2, 8)}
    session = make_segmenter("pcvos").session()
    results = run_session(session, made_clip.frames, masks)
    assert [result.object_ids for result in results] == [(1,)] * 8 + [(1, 2)] * 4
    assert session.memory.frame_indices == [0, 5, 8]
    # its last clip is frames 6 to 8
    shorter = run_session(make_segmenter("pcvos").session(), made_clip.frames[:9], {0: masks[0]})
    assert_same_results(results[:8], shorter[:8])


def test_a_late_object_at_a_clips_last_frame_is_memorised_once(make_segmenter, made_clip):
    session = make_segmenter("pcvos").session()
    run_session(session, made_clip.frames, {0: made_clip.masks(1), 5: made_clip.masks(2, 5)})
    assert session.memory.frame_indices == [0, 5, 10]
    assert session.memory.size == 3 * 4 * 3


@pytest.mark.parametrize("length", [5, 25])
def test_a_video_of_one_frame_returns_its_mask(make_segmenter, made_clip, length):
    (result,) = make_segmenter("pcvos", clip_length=length).segment(
        made_clip.frames[:1], made_clip.labels[0]
    )
    assert np.array_equal(result.labels, made_clip.labels[0])


def test_a_clip_longer_than_the_video_ends_with_it(make_segmenter, made_clip):
    longer, exact = (
        list(
            make_segmenter("pcvos", clip_length=length).segment(
                made_clip.frames, made_clip.labels[0]
            )
        )
        for length in (25, 11)
    )
    assert len(longer) == 12
    for one, other in zip(longer, exact, strict=True):
        assert torch.equal(one.probabilities, other.probabilities)


def test_a_last_clip_of_one_frame_is_refined_by_itself(make_segmenter, made_clip):
    """Shorter than the windows' two frames."""
    results = list(make_segmenter("pcvos").segment(made_clip.frames[:7], made_clip.labels[0]))
    plain = list(
        make_segmenter("pcvos", refine=False).segment(made_clip.frames[:7], made_clip.labels[0])
    )
    assert len(results) == 7
    assert torch.isfinite(results[6].probabilities).all()
    assert (results[6].probabilities - plain[6].probabilities).abs().max() > 1e-3


def test_an_object_that_vanishes_leaves_the_other_segmented(make_segmenter, made_clip):
    frames = made_clip.frames.copy()
    for index in range(3, 9):  # object 2 is painted over by what is around object 1
        frames[index][made_clip.labels[index] == 2] = (
            frames[0][made_clip.labels[0] == 0].mean(0).astype(np.uint8)
        )
    results = list(make_segmenter("pcvos").segment(frames, made_clip.labels[0]))
    assert [result.object_ids for result in results] == [(1, 2)] * 12
    assert all(
        (result.labels == 1).any() and torch.isfinite(result.probabilities).all()
        for result in results
    )


def test_removing_an_object_within_a_clip_keeps_the_schedule_of_the_memory(
    make_segmenter, made_clip
):
    session = make_segmenter("pcvos").session()
    results = [
        session.step(frame, made_clip.labels[0] if index == 0 else None)
        for index, frame in enumerate(made_clip.frames[:8])
    ]
    session.remove_object(1)
    results += [session.step(frame) for frame in made_clip.frames[8:]]
    results = [result for result in results if result is not None] + session.flush()
    assert [result.object_ids for result in results] == [(1, 2)] * 8 + [(2,)] * 4
    assert session.memory.frame_indices == [0, 5, 10]


def test_flushing_within_a_clip_keeps_the_schedule_of_the_memory(make_segmenter, made_clip, policy):
    sessions = [make_segmenter("pcvos", memory=policy, refine=False).session() for _ in range(2)]
    flushed, results = [], run_session(sessions[0], made_clip.frames, {0: made_clip.labels[0]})
    for start, end in ((0, 3), (3, 4), (4, 12)):
        flushed += run_session(
            sessions[1], made_clip.frames[start:end], {} if start else {0: made_clip.labels[0]}
        )
    # without refinement frames of a clip do not depend on each other, but on the memory
    assert_same_results(flushed, results)
    assert sessions[1].memory.frame_indices == sessions[0].memory.frame_indices


def test_frames_of_another_size_are_refused_and_leave_the_session_unchanged(
    make_segmenter, made_clip
):
    segmenter = make_segmenter("pcvos")
    session = segmenter.session()
    results = [
        session.step(frame, made_clip.labels[0] if index == 0 else None)
        for index, frame in enumerate(made_clip.frames[:3])
    ]
    with pytest.raises(InputError, match=r"frame 3: 80×48 pixels.*64×48"):
        session.step(np.zeros((48, 80, 3), np.uint8))
    results += [session.step(frame) for frame in made_clip.frames[3:]]
    results = [result for result in results if result is not None] + session.flush()
    assert_same_results(
        results, run_session(segmenter.session(), made_clip.frames, {0: made_clip.labels[0]})
    )


def test_a_network_without_refinement_is_refused_naming_what_is_missing(
    network, tmp_path, made_clip
):
    with pytest.raises(
        InputError,
        match=r"network tiny: no weights.*input_proj.*refine_transformer.*refine=false",
    ) as refusal:
        VideoSegmenter(network, "pcvos", device="cpu")
    assert "\n" not in str(refusal.value)
    save_weights(tmp_path / "stcn.pth", network)
    with pytest.raises(InputError, match=r"stcn\.pth: no weights of intra-clip refinement"):
        VideoSegmenter.from_checkpoint(tmp_path / "stcn.pth", "pcvos", device="cpu")
    with pytest.raises(
        InputError, match=r"stcn\.pth: holds network tiny, not tiny_pcvos as asked for"
    ):
        VideoSegmenter.from_checkpoint(
            tmp_path / "stcn.pth", "pcvos", network="tiny_pcvos", device="cpu"
        )
    segmenter = VideoSegmenter.from_checkpoint(
        tmp_path / "stcn.pth", "pcvos", refine=False, device="cpu"
    )
    assert len(list(segmenter.segment(made_clip.frames, made_clip.labels[0]))) == 12


def test_a_checkpoint_without_a_part_of_the_refinement_is_refused_naming_it(
    refined_network, tmp_path
):
    state = dict(refined_network.state_dict())
    del state["refine_transformer.layers.0.blocks.1.attn.qk.weight"]
    torch.save(state, tmp_path / "part.pth")
    with pytest.raises(
        InputError,
        match=r"nearest is tiny_pcvos.*layers\.0\.blocks\.1\.attn\.qk\.weight is missing",
    ):
        VideoSegmenter.from_checkpoint(tmp_path / "part.pth", "pcvos", device="cpu")
