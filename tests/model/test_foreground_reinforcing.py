"""Foreground reinforcing against its formula, written out position by position.

Legend: B batch, K objects, C channels, h w at stride 16.
"""

import copy
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import assert_same_results

from inference import VideoSegmenter
from model import PRESETS, EnhancerConfig, NetworkConfig, build_network, load_network, save_weights
from model.foreground_reinforcing import ForegroundReinforcing, foreground_at_stride_16
from util.errors import InputError

WINDOWS = [(1, 1), (3, 3), (3, 5), (7, 7)]


def module_of(window, gain=0.7, channels=4):
    torch.manual_seed(0)
    module = ForegroundReinforcing(EnhancerConfig(window=window), channels).double()
    with torch.no_grad():
        module.gain.fill_(gain)
    return module


def draw(batch=2, channels=4, height=5, width=9):
    random = torch.Generator().manual_seed(1)
    key = torch.randn(batch, channels, height, width, generator=random, dtype=torch.double)
    return key, torch.rand(batch, 1, height, width, generator=random, dtype=torch.double)


@torch.no_grad()
@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_what_a_position_receives_is_the_sum_of_what_its_neighbours_attend_to_it(window):
    module, (key, foreground) = module_of(window), draw()
    attention = module.attention(key, foreground) * foreground
    rows, columns = window
    expected = torch.zeros(2, 1, 5, 9, dtype=torch.double)
    for b, y, x in np.ndindex(2, 5, 9):
        for place in range(rows * columns):
            to_y, to_x = y + place // columns - rows // 2, x + place % columns - columns // 2
            if 0 <= to_y < 5 and 0 <= to_x < 9:
                expected[b, 0, to_y, to_x] += attention[b, place, y, x]
    torch.testing.assert_close(module.received(attention), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(
        module(key, foreground), key * (1 + 0.7 * expected), rtol=0, atol=1e-12
    )


@torch.no_grad()
def test_attention_is_a_softmax_over_two_convolutions_of_key_and_mask():
    module, (key, foreground) = module_of((3, 5)), draw()
    local = F.conv2d(
        torch.cat([key, foreground], 1), module.local.weight, module.local.bias, padding=(1, 2)
    )
    expected = F.conv2d(local, module.attend.weight, module.attend.bias).exp()
    torch.testing.assert_close(
        module.attention(key, foreground), expected / expected.sum(1, keepdim=True)
    )
    assert (
        module.attention(key, foreground) - module.attention(key, 1 - foreground)
    ).abs().max() > 1e-3, "the mask is looked at"


@torch.no_grad()
def test_each_position_shares_itself_out_once_over_its_window():
    module, (key, foreground) = module_of((3, 5)), draw()
    attention = module.attention(key, foreground)
    assert attention.shape == (2, 15, 5, 9)
    torch.testing.assert_close(attention.sum(1), torch.ones(2, 5, 9, dtype=torch.double))
    inside = torch.zeros(2, 1, 5, 9, dtype=torch.double)
    inside[:, :, 2, 4] = 1  # far from every border: nothing is lost
    torch.testing.assert_close(
        module.received(attention * inside).sum((1, 2, 3)), torch.ones(2, dtype=torch.double)
    )
    received = module.received(attention * inside)
    assert received[:, :, 1:4, 2:7].gt(0).all() and received.gt(0).sum() == 2 * 15, (
        "it reaches the window around it, and nothing else"
    )


def test_the_untrained_module_is_the_identity_and_learns():
    module, (key, foreground) = module_of((3, 5), gain=0.0), draw()
    assert torch.equal(module(key, foreground), key)
    assert ForegroundReinforcing(EnhancerConfig(), 4).gain.item() == 0
    module(key, foreground).square().sum().backward()
    assert module.gain.grad.abs() > 0
    module, key = module_of((3, 5)), key.requires_grad_()
    module(key, foreground.requires_grad_()).square().sum().backward()
    assert all(x.grad.abs().sum() > 0 for x in (key, foreground, *module.parameters()))


def test_the_window_is_seven_by_seven_and_one_without_a_middle_is_refused():
    assert (
        EnhancerConfig().window
        == PRESETS["remn"].enhancer.window
        == PRESETS["remn_small"].enhancer.window
        == (7, 7)
    )
    for window in ((4, 4), (3, 2), (-1, 3)):
        with pytest.raises(
            InputError, match=rf"window is {window[0]}×{window[1]}; rows and columns must be odd"
        ):
            ForegroundReinforcing(EnhancerConfig(window=window), 4)


@torch.no_grad()
def test_where_all_objects_are_absent_the_key_is_plain(reinforced_network):
    key, masks = torch.randn(1, 8, 3, 4), torch.zeros(1, 2, 48, 64)
    assert torch.equal(reinforced_network.enhance_query(key, masks), key)
    assert reinforced_network.enhance_query(key, None) is key


@torch.no_grad()
def test_an_absent_object_changes_nothing_beside_another(reinforced_network):
    key, masks = torch.randn(1, 8, 3, 4), torch.rand(1, 1, 48, 64)
    with_absent = torch.cat([masks, torch.zeros_like(masks)], 1)
    enhanced = reinforced_network.enhance_query(key, masks)
    assert torch.equal(reinforced_network.enhance_query(key, with_absent), enhanced)
    assert (enhanced - key).abs().max() > 0.1


def test_the_foreground_is_the_union_of_all_objects_averaged_over_each_positions_area():
    masks = torch.zeros(1, 2, 32, 48)
    masks[0, 0, :16, :8], masks[0, 1, :16, 8:12], masks[0, 1, 16:, 32:] = 1, 0.5, 1
    torch.testing.assert_close(
        foreground_at_stride_16(masks), torch.tensor([[[[0.625, 0, 0], [0, 0, 1]]]])
    )


def test_a_network_without_the_module_passes_queries_through(network):
    key = torch.randn(1, 8, 3, 4)
    assert network.enhance_query(key, torch.rand(1, 2, 48, 64)) is key


def test_a_stored_configuration_keeps_its_slots():
    values = json.loads(json.dumps(PRESETS["tiny_remn"].as_dict()))
    assert NetworkConfig.from_dict(values) == PRESETS["tiny_remn"]
    assert values["enhancer"] == {"window": [3, 5]} and "refiner" not in values


# In a session


PLAIN = {"memory.policy": "every-k", "memory.sampling": "every"}


def play(segmenter, frames, masks, **options):
    session = segmenter.session(**options)
    results = [session.step(frame, masks.get(index)) for index, frame in enumerate(frames)]
    return [result for result in results if result is not None] + session.flush()


@pytest.fixture
def segmenter(reinforced_network) -> VideoSegmenter:
    return VideoSegmenter(reinforced_network, "remn", device="cpu", **PLAIN)


def test_each_frame_is_given_the_masks_of_the_one_before_and_memory_keys_stay_plain(
    segmenter, made_clip, monkeypatch
):
    given, masks = [], {0: made_clip.masks(1), 4: made_clip.masks(2, 4)}
    plain = type(segmenter.network).enhance_query
    monkeypatch.setattr(
        segmenter.network,
        "enhance_query",
        lambda key, previous: (
            given.append((key, previous)) or plain(segmenter.network, key, previous)
        ),
    )
    session = segmenter.session(lookahead=8)
    assert session.latency_frames == 0, "it does not look ahead"
    results = [
        session.step(frame, masks.get(index)) for index, frame in enumerate(made_clip.frames)
    ]
    assert len(given) == 11, "the first frame is not predicted"
    for before, (_, previous) in zip(results, given):
        torch.testing.assert_close(previous[0], before.probabilities[1:], rtol=0, atol=1e-6)
    memory_key = session.memory.keys[-12:].T.reshape(8, 3, 4)
    assert session.memory.frame_indices == [0, 4, 9]
    torch.testing.assert_close(memory_key, given[8][0][0], rtol=0, atol=1e-6)


def test_with_a_gain_of_zero_results_are_stcns_and_with_another_they_are_not(
    reinforced_network, segmenter, made_clip
):
    untrained = copy.deepcopy(reinforced_network)
    with torch.no_grad():
        untrained.foreground_reinforcing.gain.zero_()
    masks = {0: made_clip.masks(1), 4: made_clip.masks(2, 4)}
    plain = play(VideoSegmenter(untrained, "stcn", device="cpu"), made_clip.frames, masks)
    assert_same_results(
        play(VideoSegmenter(untrained, "remn", device="cpu", **PLAIN), made_clip.frames, masks),
        plain,
    )
    enhanced = play(segmenter, made_clip.frames, masks)
    assert torch.equal(enhanced[0].probabilities, plain[0].probabilities)
    assert all(
        (one.probabilities - other.probabilities).abs().max() > 1e-3
        for one, other in zip(enhanced[1:4], plain[1:4])
    )
    assert_same_results(
        play(
            VideoSegmenter(reinforced_network, "remn", device="cpu", enhance=False, **PLAIN),
            made_clip.frames,
            masks,
        ),
        plain,
    )


def test_a_removed_object_leaves_the_previous_masks(segmenter, made_clip):
    session, alone = segmenter.session(), segmenter.session()
    for index in range(3):
        session.step(made_clip.frames[index], made_clip.labels[0] if index == 0 else None)
    session.remove_object(2)
    assert session._previous_masks.shape[1] == 1
    assert session.step(made_clip.frames[3]).object_ids == (1,)
    session.remove_object(1)
    assert not session.step(made_clip.frames[4]).labels.any()
    ours = [
        session.step(made_clip.frames[index], made_clip.labels[5] if index == 5 else None)
        for index in range(5, 9)
    ]
    theirs = [
        alone.step(made_clip.frames[index], made_clip.labels[5] if index == 5 else None)
        for index in range(5, 9)
    ]
    assert all(
        torch.equal(one.probabilities, other.probabilities) for one, other in zip(ours, theirs)
    ), "nothing is left of the objects before"


def test_an_object_absent_from_the_previous_mask_is_no_obstacle(segmenter, made_clip):
    frames = made_clip.frames.copy()
    frames[3:9] = (
        frames[0][made_clip.labels[0] == 0].mean(0).astype(np.uint8)
    )  # nothing but background
    results = play(segmenter, frames, {0: made_clip.labels[0]})
    assert len(results) == 12 and all(
        torch.isfinite(result.probabilities).all() for result in results
    )


def test_clips_are_refused_beside_it(network, reinforced_network):
    with pytest.raises(InputError, match=r"clip_length is 5.*frame by frame.*enhance=false"):
        VideoSegmenter(reinforced_network, "remn", device="cpu", clip_length=5)


def test_a_network_that_lacks_what_a_system_uses_is_refused_by_what_it_lacks(
    network, reinforced_network, tmp_path, made_clip
):
    with pytest.raises(
        InputError,
        match=r"network tiny: .*\(foreground_reinforcing\.\*\).*system remn.*enhance=false",
    ) as refusal:
        VideoSegmenter(network, "remn", device="cpu")
    assert "\n" not in str(refusal.value)
    save_weights(tmp_path / "stcn.pth", network)
    with pytest.raises(InputError, match=r"stcn\.pth: no weights of foreground reinforcing"):
        VideoSegmenter.from_checkpoint(tmp_path / "stcn.pth", "remn", device="cpu")
    state = dict(reinforced_network.state_dict())
    del state["foreground_reinforcing.attend.weight"]
    torch.save(state, tmp_path / "part.pth")
    with pytest.raises(
        InputError,
        match=r"nearest is tiny_remn, .*: 1, first foreground_.*\.attend\.weight is missing",
    ):
        VideoSegmenter.from_checkpoint(tmp_path / "part.pth", "remn", device="cpu")
    segmenter = VideoSegmenter.from_checkpoint(
        tmp_path / "stcn.pth", "remn", enhance=False, device="cpu", **PLAIN
    )
    assert len(play(segmenter, made_clip.frames, {0: made_clip.labels[0]})) == 12


def test_weights_are_recognised_by_names_and_shapes(reinforced_network, tmp_path):
    save_weights(tmp_path / "weights.pth", reinforced_network, half=True)
    assert load_network(tmp_path / "weights.pth").config == PRESETS["tiny_remn"]
    with torch.device("meta"):
        assert (
            build_network("remn_small").state_dict().keys()
            > build_network("stcn_small").state_dict().keys()
        )
