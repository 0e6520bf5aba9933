"""Ensembles and test-time augmentation: members in step, averaged, each with its own memory."""

import numpy as np
import pytest
import torch
from conftest import assert_same_results
from sessions import run_session

from inference import SYSTEMS, EnsembleSegmenter, VideoSegmenter
from inference.frames import View
from model import build_network
from util.errors import InputError

LATE = 3  # the frame at which object 2 joins
BOUNDED = [name for name, system in SYSTEMS.items() if system.memory.capacity_frames]


@pytest.fixture(params=sorted(SYSTEMS))
def system(request) -> str:
    return request.param


def late_masks(made_clip) -> dict[int, np.ndarray]:
    """Object 1 from the first frame on, object 2 from frame LATE on, a correction of 1 at 6."""
    return {0: made_clip.masks(1), LATE: made_clip.masks(2, LATE), 6: made_clip.masks(1, 6)}


def mirrored(clip: np.ndarray) -> np.ndarray:
    """Images [T, H, W, 3] or labels [T, H, W], left to right."""
    return np.ascontiguousarray(clip[:, :, ::-1])


# What members compute


def test_members_of_the_same_weights_and_scale_give_the_single_runs_results(
    make_segmenter, made_clip, system
):
    segmenter, masks = make_segmenter(system), late_masks(made_clip)
    single = list(segmenter.segment(made_clip.frames, dict(masks)))
    twice = EnsembleSegmenter([segmenter, segmenter])
    for one, both in zip(single, twice.segment(made_clip.frames, dict(masks)), strict=True):
        assert (one.frame_index, one.object_ids) == (both.frame_index, both.object_ids)
        assert torch.equal(one.probabilities, both.probabilities)
        assert np.array_equal(one.labels, both.labels)


def test_mirrored_member_is_a_run_on_mirrored_frames(make_segmenter, made_clip, system):
    segmenter = make_segmenter(system)
    masks = {index: mask[:, ::-1].copy() for index, mask in late_masks(made_clip).items()}
    theirs = run_session(segmenter.session(), mirrored(made_clip.frames), masks)
    ours = run_session(
        segmenter.session(view=View(flip=True)), made_clip.frames, late_masks(made_clip)
    )
    for one, other in zip(ours, theirs, strict=True):
        assert torch.equal(one.probabilities.flip(-1), other.probabilities)
        assert np.array_equal(one.labels[:, ::-1], other.labels)


@pytest.mark.parametrize("width", [64, 61])  # 61: padded by one column more on one side
def test_mirrored_ensemble_of_a_symmetric_clip_is_symmetric(
    make_segmenter, made_clip, system, width
):
    half = made_clip.frames[:, :, : width // 2 + width % 2]
    frames = np.concatenate([half, half[:, :, : width // 2][:, :, ::-1]], axis=2)
    mask = np.zeros(frames.shape[1:3], np.uint8)
    mask[10:30, 10 : width - 10] = 1
    mask[32:44, 20 : width - 20] = 2
    ensemble = EnsembleSegmenter([make_segmenter(system)], flip=True)
    for result in ensemble.segment(frames, mask):
        assert torch.equal(result.probabilities, result.probabilities.flip(-1))
        assert np.array_equal(result.labels, result.labels[:, ::-1])


def test_probabilities_of_networks_scales_and_mirrored_frames_are_averaged(
    make_segmenter, network, made_clip, system
):
    segmenters = [make_segmenter(system), make_segmenter(system, top_k=3)]
    ensemble = EnsembleSegmenter(segmenters, scales=(1, 1.5), flip=True)
    assert len(ensemble) == 8
    members = [
        run_session(
            segmenter.session(view=View(scale=scale, flip=flip)),
            made_clip.frames,
            late_masks(made_clip),
        )
        for segmenter in segmenters
        for scale in (1, 1.5)
        for flip in (False, True)
    ]
    ours = list(ensemble.segment(made_clip.frames, late_masks(made_clip)))
    for result, *parts in zip(ours, *members, strict=True):
        mean = torch.stack([part.probabilities for part in parts]).mean(0)
        torch.testing.assert_close(result.probabilities, mean, rtol=0, atol=2e-4)
        assert result.labels.shape == made_clip.labels.shape[1:]
    assert any(
        not np.array_equal(one.labels, other.labels)
        for one, other in zip(ours, members[0], strict=True)
    )


@pytest.mark.parametrize(
    ("resolution", "scale", "same_as"), [(-1, 1.5, 72), (32, 1.5, 48), (64, 0.5, 32)]
)
def test_a_scale_multiplies_the_working_resolution(
    make_segmenter, made_clip, resolution, scale, same_as
):
    scaled = EnsembleSegmenter([make_segmenter(resolution=resolution)], scales=[scale])
    plain = make_segmenter(resolution=same_as)
    theirs = list(plain.segment(made_clip.frames, made_clip.labels[0]))
    assert_same_results(list(scaled.segment(made_clip.frames, made_clip.labels[0])), theirs, 0)


def test_members_share_the_weights_of_their_segmenter(make_segmenter):
    segmenter = make_segmenter()
    ensemble = EnsembleSegmenter([segmenter], scales=(1, 1.3), flip=True)
    assert len(ensemble) == 4 and ensemble.network is segmenter.network


# The interface of a session


def test_results_come_as_from_a_single_session(make_segmenter, made_clip, system):
    segmenter = make_segmenter(system)
    single = segmenter.session(lookahead=3)
    both = EnsembleSegmenter([segmenter], scales=(1, 1.3)).session(lookahead=3)
    assert both.latency_frames == single.latency_frames
    for index, frame in enumerate(made_clip.frames):
        mask = late_masks(made_clip).get(index)
        one, other = single.step(frame, mask), both.step(frame, mask)
        assert (one is None) == (other is None)
        assert one is None or one.frame_index == other.frame_index
        assert both.object_ids == single.object_ids
        assert both.frames_processed == single.frames_processed
    remaining = [result.frame_index for result in both.flush()]
    assert remaining == [result.frame_index for result in single.flush()]
    assert both.frames_given == single.frames_given == 12
    if segmenter.config.memory.sampling == "every":
        assert both.frames_memorised == 2 * single.frames_memorised


def test_members_of_different_latency_keep_step(make_segmenter, made_clip):
    clips, frames = make_segmenter("pcvos", clip_length=4), make_segmenter()
    session = EnsembleSegmenter([frames, clips]).session()
    assert session.latency_frames == 3
    results = run_session(session, made_clip.frames, late_masks(made_clip))
    assert [result.frame_index for result in results] == list(range(12))
    parts = [
        run_session(segmenter.session(), made_clip.frames, late_masks(made_clip))
        for segmenter in (frames, clips)
    ]
    for result, *members in zip(results, *parts, strict=True):
        mean = sum(member.probabilities for member in members) / 2
        torch.testing.assert_close(result.probabilities, mean)


@pytest.mark.parametrize("direction", ["backward", "both"])
def test_masks_are_propagated_in_any_direction_and_annotated_frames_stay_in_every_member(
    make_segmenter, made_clip, system, direction
):
    segmenter = make_segmenter(system, permanent_memory=True)
    masks = {3: made_clip.masks(1, 3), 9: made_clip.labels[9]}

    def play(segmenter):
        return list(segmenter.segment(made_clip.frames, dict(masks), direction=direction))

    twice = EnsembleSegmenter([segmenter, segmenter])
    assert_same_results(play(twice), play(segmenter), 0)
    mirrored_too = play(EnsembleSegmenter([segmenter], flip=True))
    assert [result.frame_index for result in mirrored_too] == list(range(12))


def test_a_removed_object_leaves_every_member(make_segmenter, made_clip, system):
    session = EnsembleSegmenter([make_segmenter(system)], flip=True).session()
    run_session(session, made_clip.frames[:4], {0: made_clip.labels[0]})
    session.remove_object(1)
    result = run_session(session, made_clip.frames[4:6])[-1]
    assert session.object_ids == result.object_ids == (2,)
    assert set(np.unique(result.labels)) <= {0, 2}
    with pytest.raises(InputError, match="object 1 is not being segmented"):
        session.remove_object(1)


@pytest.mark.parametrize("system", BOUNDED)
def test_bounds_of_the_memory_hold_in_every_member(make_segmenter, made_clip, system):
    segmenter = make_segmenter(system, memory_frames=3)
    session = EnsembleSegmenter([segmenter], scales=(1, 2), flip=True).session()
    assert session.memory is None
    single = segmenter.session()
    sizes = []
    for index in range(60):
        frame = made_clip.frames[index % 12]
        mask = made_clip.labels[0] if index == 0 else None
        session.step(frame, mask)
        single.step(frame, mask)
        if session.memory is not None:
            banks = session.member_memories
            assert session.memory.size == sum(bank.size for bank in banks)
            assert session.memory.megabytes == pytest.approx(sum(b.megabytes for b in banks))
            sizes.append([bank.size for bank in banks])
            assert sizes[-1][0] == single.memory.size
    # 48×64 pixels are 12 elements, at twice the scale 48; policies hold up to two frames besides
    largest = [max(column) for column in zip(*sizes, strict=True)]
    assert all(size <= (3 + 2) * frame for size, frame in zip(largest, (12, 12, 48, 48)))


def test_an_object_is_lost_once_every_member_has_lost_it(make_segmenter, made_clip):
    session = EnsembleSegmenter([make_segmenter("lfu")], flip=True).session()
    run_session(session, made_clip.frames[:3], {0: made_clip.labels[0]})
    first, second = session.member_memories
    nothing = torch.zeros(0, dtype=torch.int64)
    first.keep(nothing)
    assert session.lost_object_ids == ()
    second.keep(nothing)
    assert session.lost_object_ids == (1, 2)
    assert not session.step(made_clip.frames[3]).labels.any()


def test_unwanted_frames_are_skipped_by_all_members(make_segmenter, made_clip):
    wanted = [index in (0, 5, 10) for index in range(12)]

    def play(session):
        masks = [made_clip.labels[0], *[None] * 11]
        results = [
            session.step(frame, mask, wanted=asked)
            for frame, mask, asked in zip(made_clip.frames, masks, wanted, strict=True)
        ]
        return [result for result in (*results, *session.flush()) if result is not None]

    segmenter = make_segmenter()
    single, both = segmenter.session(), EnsembleSegmenter([segmenter, segmenter]).session()
    assert_same_results(play(both), play(single), 0)
    assert both.frames_skipped == single.frames_skipped > 0


# What is refused


@pytest.mark.parametrize("scale", [0, -1, 0.2, 4.1, float("nan"), float("inf")])
def test_a_scale_that_is_out_of_range_is_refused(make_segmenter, scale):
    with pytest.raises(InputError, match=r"scale is .*at least 0.25 and at most 4"):
        EnsembleSegmenter([make_segmenter()], scales=(1, scale))


def test_a_frame_that_one_member_refuses_changes_no_member(make_segmenter, made_clip):
    small = np.zeros((20, 40, 3), np.uint8)
    session = EnsembleSegmenter([make_segmenter()], scales=(1, 0.5)).session()
    with pytest.raises(InputError, match=r"40×20 pixels at scale 0.5 .* give a larger scale"):
        session.step(small, np.ones((20, 40), np.uint8))
    assert session.frames_given == 0
    assert len(run_session(session, made_clip.frames, {0: made_clip.labels[0]})) == 12


def test_a_memory_that_is_too_small_for_the_largest_scale_is_refused(make_segmenter, made_clip):
    segmenter = make_segmenter("lfu", max_memory_mb=0.01)
    assert segmenter.session().step(made_clip.frames[0], made_clip.labels[0]) is not None
    session = EnsembleSegmenter([segmenter], scales=(1, 3)).session()
    with pytest.raises(InputError, match="max_memory_mb"):
        session.step(made_clip.frames[0], made_clip.labels[0])
    assert session.frames_given == 0 and session.object_ids == ()


def test_an_ensemble_needs_a_segmenter_and_a_scale(make_segmenter):
    for segmenters, scales in (([], [1]), ([make_segmenter()], [])):
        with pytest.raises(ValueError, match="needs"):
            EnsembleSegmenter(segmenters, scales=scales)


def test_networks_may_differ(make_segmenter, made_clip):
    other = VideoSegmenter(build_network("tiny_remn"), device="cpu")
    ensemble = EnsembleSegmenter([make_segmenter(), other])
    assert len(list(ensemble.segment(made_clip.frames, made_clip.labels[0]))) == 12
