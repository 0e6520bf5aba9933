"""Redundancy reduction of a full memory: which frames are merged, which stay.

Legend: T frames, M elements of a frame, C channels.
"""

import copy

import numpy as np
import pytest
import torch
from conftest import assert_same_results
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plain_session import PlainSession, double_precision
from sessions import run_session

from inference import MemoryConfig, VideoSegmenter, system_config
from inference.memory import POLICIES, MemoryBank
from model import save_weights
from util.errors import InputError
from util.logging import note_once

ELEMENTS = 3


def choosing(network, factor):
    """The network, with a gate that always merges 2 or always 4 frames."""
    network = copy.deepcopy(network)
    with torch.no_grad():
        network.redundancy_reduction.gate.conv2.weight.zero_()
        network.redundancy_reduction.gate.conv2.bias.copy_(
            torch.tensor([1.0, 0.0] if factor == 2 else [0.0, 1.0])
        )
    return network


class Written:
    """A policy and a bank in which frames are written as a session writes them.

    keys, values: those of every frame, for comparison.
    """

    def __init__(self, network, capacity_frames=12, **config):
        self.policy = POLICIES["redundancy"](
            MemoryConfig(policy="redundancy", capacity_frames=capacity_frames, **config)
        )
        self.policy.use_network(network)
        self.bank = MemoryBank()
        self.random = torch.Generator().manual_seed(0)
        self.keys, self.values, self.ids = {}, {}, ()

    def write(self, frame, joining=(), annotated=False):
        self.ids += tuple(joining)
        if joining or annotated:
            self.policy.annotated(frame, torch.zeros(len(self.ids), 16, 16), self.ids)
        self.keys[frame] = torch.randn(ELEMENTS, 8, generator=self.random)
        self.values[frame] = {i: torch.randn(ELEMENTS, 16, generator=self.random) for i in self.ids}
        self.bank.prepare(self.keys[frame], self.values[frame])
        self.policy.make_room(self.bank, ELEMENTS)
        self.bank.write(frame, self.keys[frame], self.values[frame])

    def rows(self, frame):
        return self.bank.frames == frame

    def assert_holds(self, frames):
        """frames: {the frame that an element counts as: the frames it is the average of}."""
        assert self.bank.frame_indices == sorted(frames) and self.bank.size == ELEMENTS * len(
            frames
        )
        assert self.bank.positions.tolist() == [0, 1, 2] * len(frames)
        for frame, averaged in frames.items():
            torch.testing.assert_close(
                self.bank.keys[self.rows(frame)],
                torch.stack([self.keys[i] for i in averaged]).mean(0),
            )
            for object_id in self.values[averaged[0]]:
                rows = self.rows(frame)[self.bank.first_element(object_id) :]
                held = self.bank.values(object_id)[rows]
                torch.testing.assert_close(
                    held, torch.stack([self.values[i][object_id] for i in averaged]).mean(0)
                )
        torch.testing.assert_close(self.bank.norms, self.bank.keys.square().sum(1))


def run_of(first, count, factor):
    """Frames first, first + 1, …, `factor` of them averaged at a time."""
    return {
        start + factor - 1: list(range(start, start + factor))
        for start in range(first, first + count, factor)
    }


@torch.no_grad()
@pytest.mark.parametrize("factor", [2, 4])
def test_a_full_memory_becomes_a_half_or_a_quarter_except_for_the_annotated_frame(
    reinforced_network, factor
):
    written = Written(choosing(reinforced_network, factor))
    written.write(0, joining=(1, 5))
    for frame in range(1, 13):
        written.write(frame)
    written.assert_holds({frame: [frame] for frame in range(13)})
    written.write(13)
    written.assert_holds({0: [0], **run_of(1, 12, factor), 13: [13]})


@torch.no_grad()
def test_frames_at_which_objects_joined_are_merged_too_if_they_are_not_exempt(reinforced_network):
    written = Written(choosing(reinforced_network, 4), exempt_joins=False)
    written.write(0, joining=(1,))
    for frame in range(1, 6):
        written.write(frame)
    written.write(6, joining=(2,))
    for frame in range(7, 13):
        written.write(frame)
    # merged at the 13th frame, since none comes on top of the 12; still nothing mixes frames from
    # before and after object 2 joined
    before = run_of(0, 4, 4) | {4: [4], 5: [5]}
    written.assert_holds({**before, **run_of(6, 4, 4), 10: [10], 11: [11], 12: [12]})
    assert not system_config("remn", **{"memory.exempt_joins": "false"}).memory.exempt_joins


@torch.no_grad()
def test_merged_frames_are_merged_again_and_the_memory_never_exceeds_its_capacity(
    reinforced_network,
):
    written = Written(choosing(reinforced_network, 4))
    written.write(0, joining=(1,))
    for frame in range(1, 200):
        written.write(frame)
        assert written.bank.size <= 13 * ELEMENTS
        assert written.bank.frame_indices[0] == 0
        assert torch.equal(written.bank.keys[:ELEMENTS], written.keys[0]), (
            "the annotated frame stays unchanged"
        )
    assert torch.isfinite(written.bank.keys).all()


@torch.no_grad()
@pytest.mark.parametrize("factor", [2, 4])
def test_no_merged_frame_mixes_frames_from_before_and_after_an_object_joined(
    reinforced_network, factor
):
    written = Written(choosing(reinforced_network, factor))
    written.write(0, joining=(1,))
    for frame in range(1, 6):
        written.write(frame)
    written.write(6, joining=(2,))
    for frame in range(7, 14):
        written.write(frame)
    written.write(14)
    before, after = (
        (run_of(1, 4, 2) | {5: [5]}, run_of(7, 6, 2) | {13: [13]})
        if factor == 2
        else (run_of(1, 4, 4) | {5: [5]}, run_of(7, 4, 4) | {i: [i] for i in (11, 12, 13)})
    )
    written.assert_holds({0: [0], **before, 6: [6], **after, 14: [14]})
    query = torch.randn(4, 8)
    alone = MemoryBank()  # the elements since object 2 joined
    for frame in written.bank.frame_indices:
        if frame >= 6:
            rows = written.rows(frame)
            alone.write(
                frame,
                written.bank.keys[rows],
                {2: written.bank.values(2)[rows[written.bank.first_element(2) :]]},
            )
    torch.testing.assert_close(written.bank.read(query, (2,), 20), alone.read(query, (2,), 20))


@torch.no_grad()
def test_a_stretch_shorter_than_the_factor_is_merged_by_the_largest_that_fits(
    reinforced_network,
):
    written = Written(choosing(reinforced_network, 4), capacity_frames=4)
    for frame in range(8):
        written.write(frame, joining=(frame + 1,) if frame in (0, 2, 5) else ())
    written.assert_holds({0: [0], 1: [1], 2: [2], 4: [3, 4], 5: [5], 6: [6], 7: [7]})


@torch.no_grad()
def test_frames_of_corrections_are_not_exempt(reinforced_network):
    written = Written(choosing(reinforced_network, 4), capacity_frames=4)
    for frame in range(60):
        written.write(frame, joining=(1,) if frame == 0 else (), annotated=frame % 2 == 0)
        assert len(written.bank.frame_indices) <= 5


def test_frames_that_are_alone_between_exempt_ones_stay(reinforced_network):
    written = Written(reinforced_network, capacity_frames=4)
    for frame in range(20):
        written.write(frame, joining=(frame + 1,) if frame % 2 == 0 else ())
    assert written.bank.frame_indices == list(range(20))


@pytest.mark.parametrize(("asked", "held"), [(12, 12), (10, 8), (7, 4), (2, 4)])
def test_a_capacity_that_the_reduction_does_not_divide_is_rounded_with_one_note(
    reinforced_network, caplog, asked, held
):
    note_once.cache_clear()
    caplog.set_level("INFO")
    for _ in range(2):
        written = Written(reinforced_network, capacity_frames=asked)
    written.write(0, joining=(1,))
    frame = 0
    while written.bank.size == ELEMENTS * (frame + 1):
        frame += 1
        written.write(frame)
    assert frame - 1 == held
    said = f"memory_frames is {asked}, but {held} are held"
    assert caplog.text.count(said) == (asked != held)


@torch.no_grad()
def test_the_gate_sees_only_the_frames_that_may_be_merged_in_order(reinforced_network, monkeypatch):
    written, seen = Written(reinforced_network, capacity_frames=4), []
    reduction = reinforced_network.redundancy_reduction
    monkeypatch.setattr(reduction, "choose", lambda key: seen.append(key) or 2)
    for frame in range(7):
        written.write(frame, joining=(frame + 1,) if frame in (0, 3) else ())
    torch.testing.assert_close(seen, [torch.stack([written.keys[frame] for frame in (1, 2, 4, 5)])])


def test_twelve_frames_are_held_by_default():
    assert (
        system_config("remn").memory.capacity_frames
        == system_config("stcn", memory="redundancy").memory.capacity_frames
        == 12
    )


# In a session


def play(segmenter, frames, masks):
    """The results of a video, and its session."""
    session = segmenter.session()
    return run_session(session, frames, masks), session


@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    at=st.dictionaries(st.integers(1, 20), st.sampled_from([1, 2]), max_size=3),
    removed_at=st.none() | st.integers(5, 20),
    threshold=st.sampled_from([None, 0.0, 0.1, 0.4]),
    capacity=st.sampled_from([4, 8]),
    enhance=st.booleans(),
    factor=st.sampled_from([2, 4]),
    resolution=st.sampled_from([-1, 64]),
)
def test_sessions_agree_with_the_plain_session(
    reinforced_network, made_clip, at, removed_at, threshold, capacity, enhance, factor, resolution
):
    frames = np.concatenate([made_clip.frames, made_clip.frames[::-1]])
    masks = {
        0: made_clip.masks(1),
        **{
            index: made_clip.masks(object_id, min(index, 23 - index))
            for index, object_id in at.items()
        },
    }
    sampling = (
        {"sampling": "every", "mem_every": 1}
        if threshold is None
        else {"memory.sampling_threshold": threshold, "memory.max_gap_frames": 99}
    )
    with double_precision():
        network = fill_reductions(choosing(reinforced_network, factor)).double()
        segmenter = VideoSegmenter(
            network,
            "remn",
            device="cpu",
            enhance=enhance,
            memory_frames=capacity,
            resolution=resolution,
            top_k=7,
            **sampling,
        )
        session, plain = (
            segmenter.session(),
            PlainSession(
                network,
                1,
                top_k=7,
                resolution=resolution,
                enhance=enhance,
                threshold=threshold,
                reduce_frames=capacity,
            ),
        )
        for index, frame in enumerate(frames):
            if index == removed_at:
                session.remove_object(1)
                plain.remove_object(1)
            # the last frame's write would wait for a next one
            held = [write.frame for write in plain.memory]
            result, (ids, probabilities) = (
                session.step(frame, masks.get(index)),
                plain.step(frame, masks.get(index)),
            )
            assert result.object_ids == ids
            torch.testing.assert_close(
                result.probabilities, probabilities, rtol=0, atol=1e-6, check_dtype=False
            )
        assert (session.memory.frame_indices if session.memory else []) == held


def fill_reductions(network):
    """The network, with reductions that are not averages."""
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in (
            *network.redundancy_reduction.keys.parameters(),
            *network.redundancy_reduction.values.parameters(),
        ):
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=random))
    return network


@pytest.mark.parametrize("late", [{}, {4: 2}, {7: 2}], ids=str)
def test_with_modules_that_change_nothing_remn_is_stcn(reinforced_network, made_clip, late):
    network = copy.deepcopy(reinforced_network)
    with torch.no_grad():
        network.foreground_reinforcing.gain.zero_()
    masks = {
        0: made_clip.masks(1),
        **{index: made_clip.masks(object_id, index) for index, object_id in late.items()},
    }
    ours, _ = play(
        VideoSegmenter(network, "remn", device="cpu", sampling="every", memory_frames=1000),
        made_clip.frames,
        masks,
    )
    theirs, _ = play(VideoSegmenter(network, "stcn", device="cpu"), made_clip.frames, masks)
    assert_same_results(ours, theirs)
    assert all(np.array_equal(one.labels, other.labels) for one, other in zip(ours, theirs))


def test_results_are_those_of_every_k_until_the_memory_is_full(
    make_segmenter, network_of_slots, made_clip
):
    frames = np.concatenate([made_clip.frames] * 2)
    settings = {"device": "cpu", "mem_every": 1}
    network = network_of_slots(("reducer",))
    ours, session = play(
        VideoSegmenter(network, memory="redundancy", memory_frames=8, **settings),
        frames,
        {0: made_clip.labels[0]},
    )
    theirs, _ = play(VideoSegmenter(network, **settings), frames, {0: made_clip.labels[0]})
    assert_same_results(ours[:10], theirs[:10])
    assert (
        max(
            (one.probabilities - other.probabilities).abs().max()
            for one, other in zip(ours[10:], theirs[10:])
        )
        > 1e-4
    )
    assert session.memory.size <= 9 * 12
    assert session.memory.megabytes == pytest.approx(
        9 * 12 * (4 * 8 + 4 + 8 + 8 + 2 * (4 * 16 + 1)) / 1e6
    ), "allocated once"


def test_late_objects_join_while_the_memory_is_reduced(make_segmenter, made_clip):
    masks = {0: made_clip.masks(1), 9: made_clip.masks(2, 9), 15: made_clip.masks(1, 3)}
    frames = np.concatenate([made_clip.frames] * 3)
    results, session = play(
        make_segmenter("remn", sampling="every", mem_every=1, memory_frames=4), frames, masks
    )
    assert [result.object_ids for result in results] == [(1,)] * 9 + [(1, 2)] * 27
    assert all(torch.isfinite(result.probabilities).all() for result in results)
    assert {0, 9} <= set(session.memory.frame_indices)
    assert session.memory.size <= (4 + 2) * 12


def test_every_module_can_be_left_out_by_itself(network, made_clip):
    off = {"enhance": ("enhancer", False), "memory.policy": ("reducer", "every-k")}
    for name, (slot, value) in off.items():
        assert (
            slot in system_config("remn").slots
            and slot not in system_config("remn", **{name: value}).slots
        )
    plain = system_config(
        "remn", enhance="false", **{"memory.policy": "every-k", "memory.sampling": "every"}
    )
    assert plain.slots == {} and plain.memory == system_config("stcn").memory
    assert (
        len(
            play(
                VideoSegmenter(network, "remn", device="cpu", enhance=False, memory="every-k"),
                made_clip.frames,
                {0: made_clip.labels[0]},
            )[0]
        )
        == 12
    )


def test_a_network_without_the_reduction_is_refused_naming_what_is_missing(
    network, reinforced_network, tmp_path
):
    with pytest.raises(
        InputError,
        match=r"network tiny: no weights of foreground reinforcing .* redundancy reduction",
    ) as refusal:
        VideoSegmenter(network, "remn", device="cpu")
    assert "--set enhance=false memory.policy=every-k" in str(refusal.value)
    with pytest.raises(InputError, match=r"redundancy reduction .*memory\.policy=every-k"):
        VideoSegmenter(network, memory="redundancy", device="cpu")
    state = {
        name: value
        for name, value in reinforced_network.state_dict().items()
        if name != "redundancy_reduction.gate.conv2.weight"
    }
    save_weights(tmp_path / "whole.pth", reinforced_network)
    torch.save(state, tmp_path / "no_gate.pth")
    assert VideoSegmenter.from_checkpoint(tmp_path / "whole.pth", "remn", device="cpu")
    with pytest.raises(
        InputError, match=r"no_gate\.pth.*redundancy_reduction\.gate\.conv2\.weight is missing"
    ):
        VideoSegmenter.from_checkpoint(tmp_path / "no_gate.pth", "remn", device="cpu")


def test_mixed_precision_merges_frames_too(make_segmenter, made_clip):
    results, session = play(
        make_segmenter("remn", sampling="every", mem_every=1, memory_frames=4, amp=True),
        made_clip.frames,
        {0: made_clip.labels[0]},
    )
    assert len(results) == 12 and session.memory.size <= 5 * 12
