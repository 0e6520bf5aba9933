"""The network against the published implementation's numbers, and properties of every preset.

Legend: B batch, K objects, C channels, h w at stride 16.
"""

import copy
import dataclasses
import json
import zlib

import numpy as np
import pytest
import torch
from deterministic import clip, fill
from repository import DATA

from model import PRESETS, VOSNetwork, build_network, parameter_count
from model.blocks import CBAM, ResBlock, convolve_parts
from model.fusion import inference_copy
from model.soft_aggregation import aggregate
from util.errors import InputError
from util.images import Padding, normalise_images


@pytest.fixture(scope="module")
def published() -> VOSNetwork:
    return fill(build_network("stcn")).eval()


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    return dict(np.load(DATA / "stcn_golden.npz"))


@pytest.fixture(scope="module")
def first_frame() -> tuple[torch.Tensor, torch.Tensor]:
    """Frame 0 of the golden clip, padded: image and one-hot masks [1, 3 or 2, 128, 208]."""
    frames, labels = clip(1)
    padding = Padding.to_multiple(116, 204, 16)
    image = normalise_images(torch.from_numpy(frames).permute(0, 3, 1, 2))
    masks = torch.stack([torch.from_numpy(labels == object_id) for object_id in (1, 2)], 1).float()
    return padding.pad(image), padding.pad(masks)


def random_inputs(
    network: VOSNetwork, batch: int = 2, objects: int = 3, height: int = 48, width: int = 32
):
    random = torch.Generator().manual_seed(0)
    images = torch.randn(batch, 3, height, width, generator=random)
    masks = torch.rand(batch, objects, height, width, generator=random) / objects
    readout = torch.randn(
        batch, objects, network.config.value_channels, height // 16, width // 16, generator=random
    )
    return images, masks, readout


def test_the_made_clip_is_the_one_the_golden_files_were_measured_on():
    frames, labels = clip()
    assert frames.shape == (12, 116, 204, 3)
    assert (zlib.crc32(frames), zlib.crc32(labels)) == (4120264268, 82599753)


def test_names_and_shapes_are_those_of_the_public_checkpoint(published):
    expected = json.loads((DATA / "stcn_state_dict.json").read_text())
    assert {name: list(value.shape) for name, value in published.state_dict().items()} == expected


@torch.no_grad()
def test_key_features_equal_the_published_implementation(published, golden, first_frame):
    features = published.encode_key(first_frame[0])
    for ours, name in (
        (features.key, "k16"),
        (features.appearance, "f16_thin"),
        (features.feature_s16, "f16"),
    ):
        torch.testing.assert_close(
            ours, torch.from_numpy(golden[f"key0/{name}"]), rtol=1e-4, atol=2e-4
        )


@torch.no_grad()
def test_values_equal_the_published_implementation(published, golden, first_frame):
    image, masks = first_frame
    features = published.encode_key(image)
    masks = aggregate(masks).softmax(1)[:, 1:]  # the first mask enters after soft aggregation
    values = published.encode_value(image, features.feature_s16, masks)
    torch.testing.assert_close(
        values[0], torch.from_numpy(golden["mem/values0"]), rtol=1e-4, atol=2e-4
    )


@pytest.mark.parametrize("name", ["tiny", "tiny_pcvos", "stcn_lite0"])
def test_weights_held_in_half_precision_compute_what_casting_them_at_every_call_does(name):
    network = fill(build_network(name))
    images = torch.randn(2, 3, 48, 64, generator=torch.Generator().manual_seed(0))
    cast, held = inference_copy(network), inference_copy(network, dtype=torch.bfloat16)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for one, other in zip(
            dataclasses.astuple(cast.encode_key(images)),
            dataclasses.astuple(held.encode_key(images)),
            strict=True,
        ):
            assert torch.equal(one, other)
    assert held.key_proj.key_proj.weight.dtype == torch.bfloat16
    assert network.key_proj.key_proj.weight.dtype == torch.float32


@torch.no_grad()
@pytest.mark.parametrize("name", list(PRESETS))
def test_fused_copy_computes_the_same_and_leaves_the_original_alone(name):
    network = fill(build_network(name)).train()
    before = copy.deepcopy(network.state_dict())
    fused = inference_copy(network)
    assert network.training
    assert all(module.training for module in network.modules())
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in fused.modules())
    assert not any(
        module.training for module in fused.modules() if not isinstance(module, torch.nn.Identity)
    )
    assert not any(parameter.requires_grad for parameter in fused.parameters())

    network.eval()
    images, masks, readout = random_inputs(network)
    plain, quick = network.encode_key(images), fused.encode_key(images)
    for field in ("key", "appearance", "feature_s16", "feature_s8", "feature_s4"):
        torch.testing.assert_close(
            getattr(quick, field), getattr(plain, field), rtol=1e-4, atol=1e-4
        )
    values = network.encode_value(images, plain.feature_s16, masks)
    torch.testing.assert_close(
        fused.encode_value(images, plain.feature_s16, masks), values, rtol=1e-4, atol=1e-4
    )
    torch.testing.assert_close(
        fused.decode(readout, plain), network.decode(readout, plain), rtol=1e-4, atol=1e-4
    )
    refined = network.refine(readout[None], plain.feature_s16[None])
    torch.testing.assert_close(
        fused.refine(readout[None], plain.feature_s16[None]), refined, rtol=1e-4, atol=1e-4
    )


@torch.no_grad()
@pytest.mark.parametrize("name", ["stcn_small", "tiny"])
def test_shapes_follow_the_configuration(name):
    network = build_network(name).eval()
    config = network.config
    images, masks, readout = random_inputs(network)
    features = network.encode_key(images)
    channels_s4, channels_s8, channels_s16 = config.key_encoder.channels
    assert features.key.shape == (2, config.key_channels, 3, 2)
    assert features.appearance.shape == (2, config.value_channels, 3, 2)
    assert features.feature_s16.shape == (2, channels_s16, 3, 2)
    assert features.feature_s8.shape == (2, channels_s8, 6, 4)
    assert features.feature_s4.shape == (2, channels_s4, 12, 8)
    assert network.encode_value(images, features.feature_s16, masks).shape == (
        2,
        3,
        config.value_channels,
        3,
        2,
    )
    assert network.decode(readout, features).shape == (2, 3, 48, 32)


@torch.no_grad()
def test_objects_computed_together_equal_objects_computed_alone(network):
    network = copy.deepcopy(network).eval()
    images, masks, readout = random_inputs(network)
    features = network.encode_key(images)
    values, logits = (
        network.encode_value(images, features.feature_s16, masks),
        network.decode(readout, features),
    )
    others = masks.sum(1, keepdim=True) - masks
    for k in range(3):
        alone = network.encode_value(
            images, features.feature_s16, masks[:, k : k + 1], others[:, k : k + 1]
        )
        torch.testing.assert_close(alone[:, 0], values[:, k], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(
            network.decode(readout[:, k : k + 1], features)[:, 0],
            logits[:, k],
            rtol=1e-4,
            atol=1e-5,
        )


@torch.no_grad()
def test_features_of_some_frames_are_those_frames_features(network):
    network = copy.deepcopy(network).eval()
    images = random_inputs(network)[0]
    both, second = network.encode_key(images), network.encode_key(images[1:])
    torch.testing.assert_close(both[1:].key, second.key, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(both[1:].feature_s4, second.feature_s4, rtol=1e-4, atol=1e-5)


def test_an_object_sees_the_other_objects_only_through_their_sum(network):
    network = copy.deepcopy(network).eval()
    images, masks, _ = random_inputs(network)
    with torch.no_grad():
        feature = network.encode_key(images).feature_s16
        values = network.encode_value(images, feature, masks)
        swapped = network.encode_value(images, feature, masks[:, [0, 2, 1]])
        without = network.encode_value(images, feature, masks[:, :1])
    torch.testing.assert_close(swapped[:, 0], values[:, 0], rtol=1e-4, atol=1e-5)
    assert (without[:, 0] - values[:, 0]).abs().max() > 1e-3


@pytest.mark.parametrize("shared_first", [False, True])
@pytest.mark.parametrize("stride", [1, 2])
def test_convolving_parts_equals_convolving_their_concatenation(shared_first, stride):
    convolution = torch.nn.Conv2d(5, 4, 3, padding=1, stride=stride)
    own, shared = torch.randn(2, 3, 2, 8, 6), torch.randn(2, 3, 8, 6)
    expanded = shared[:, None].expand(-1, 3, -1, -1, -1)
    whole = torch.cat([expanded, own] if shared_first else [own, expanded], dim=2)
    expected = convolution(whole.flatten(0, 1)).unflatten(0, (2, 3))
    torch.testing.assert_close(
        convolve_parts(convolution, own, shared, shared_first=shared_first),
        expected,
        rtol=1e-4,
        atol=1e-5,
    )


def test_residual_block_in_parts_equals_the_block_on_the_concatenation():
    block, own, shared = ResBlock(5, 4), torch.randn(2, 3, 2, 8, 6), torch.randn(2, 3, 8, 6)
    expected = block(
        torch.cat([own, shared[:, None].expand(-1, 3, -1, -1, -1)], dim=2).flatten(0, 1)
    )
    torch.testing.assert_close(block.forward_parts(own, shared), expected, rtol=1e-4, atol=1e-5)


def test_attention_only_damps():
    x = torch.randn(2, 16, 5, 7)
    damped = CBAM(16, 4)(x)
    assert (damped.abs() <= x.abs()).all()
    assert (damped * x >= 0).all()


def test_the_small_network_is_small_enough_to_ship():
    assert 3e6 <= parameter_count(build_network("stcn_small")) <= 8e6


def test_key_projection_starts_orthogonal_without_bias():
    projection = build_network("tiny").key_proj.key_proj
    rows = projection.weight.detach().flatten(1)
    torch.testing.assert_close(rows @ rows.T, torch.eye(len(rows)), rtol=0, atol=1e-5)
    assert not projection.bias.any()


def test_value_encoder_convolutions_carry_biases():
    encoder = build_network("tiny").value_encoder
    assert all(
        module.bias is not None
        for module in encoder.modules()
        if isinstance(module, torch.nn.Conv2d)
    )


def test_an_unknown_preset_is_refused_with_the_valid_ones():
    with pytest.raises(InputError, match=r"resnet9.*stcn, stcn_small, tiny"):
        build_network("resnet9")


@pytest.mark.parametrize(
    ("height", "width"), [(116, 204), (17, 33), (16, 16), (100, 50), (480, 854)]
)
def test_padding_is_even_with_the_odd_pixel_at_the_bottom_right_and_crops_back(height, width):
    padding = Padding.to_multiple(height, width, 16)
    images = torch.rand(2, 3, height, width) + 1
    padded = padding.pad(images)
    assert padded.shape[2] % 16 == padded.shape[3] % 16 == 0
    assert padded.shape[2] - height < 16
    assert padding.bottom - padding.top in (0, 1)
    assert padding.right - padding.left in (0, 1)
    assert torch.equal(padding.crop(padded), images)
    assert padded.sum() == pytest.approx(float(images.sum()), rel=1e-4)
