"""Pretrained encoders compute torchvision's features; failed downloads say what to do."""

import socket
from pathlib import Path
from urllib.error import HTTPError, URLError

import pytest
import torch
from torchvision import models

from model import build_network
from model.backbones import fetch_backbones, load_backbones
from util.errors import InputError

FILES = {"resnet50": "resnet50-0676ba61.pth", "resnet18": "resnet18-f37072fd.pth"}


def made_up_resnet(name: str) -> torch.nn.Module:
    """Random weights, and batch norms that do something."""
    torch.manual_seed(1)
    network = models.get_model(name).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for values in (module.weight.data, module.running_var):
                values.uniform_(0.5, 1.5)
            for values in (module.bias.data, module.running_mean):
                values.uniform_(-0.5, 0.5)
    return network


@pytest.fixture(scope="module")
def resnets():
    return {name: made_up_resnet(name) for name in FILES}


@pytest.fixture(scope="module")
def files(resnets, tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("weights")
    for name, network in resnets.items():
        torch.save(network.state_dict(), folder / f"{name}.pth")
    return {name: str(folder / f"{name}.pth") for name in resnets}


@pytest.fixture(scope="module")
def published():
    """For what is refused: not to be changed."""
    return build_network("stcn")


@pytest.fixture(autouse=True)
def no_network(tmp_path, monkeypatch):
    def refused(url, *_, **__):
        raise URLError("no network in tests")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("torch.hub.download_url_to_file", refused)


def layers(resnet: torch.nn.Module, images: torch.Tensor) -> list[torch.Tensor]:
    x = resnet.maxpool(resnet.relu(resnet.bn1(resnet.conv1(images))))
    outputs = []
    for layer in (resnet.layer1, resnet.layer2, resnet.layer3):
        x = layer(x)
        outputs.append(x)
    return outputs


@torch.no_grad()
def test_features_are_those_of_torchvision_and_the_rest_of_the_network_stays(resnets, files):
    torch.manual_seed(0)
    network = build_network("stcn").eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    random_state = torch.get_rng_state()
    lines = load_backbones(network, [files["resnet18"], files["resnet50"]])
    assert torch.equal(torch.get_rng_state(), random_state)
    assert lines == [f"key encoder: {files['resnet50']}", f"value encoder: {files['resnet18']}"]

    images = torch.randn(1, 3, 48, 64, generator=torch.Generator().manual_seed(0))
    for ours, theirs in zip(
        network.key_encoder(images), layers(resnets["resnet50"], images), strict=True
    ):
        torch.testing.assert_close(ours, theirs)
    without_masks = torch.cat([images, torch.zeros(1, 2, 48, 64)], dim=1)
    value_encoder = network.value_encoder
    for ours, theirs in zip(
        value_encoder.stages(value_encoder.conv1(without_masks)),
        layers(resnets["resnet18"], images),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)

    after = network.state_dict()
    assert torch.equal(
        after["value_encoder.conv1.weight"][:, 3:], before["value_encoder.conv1.weight"][:, 3:]
    )
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    parts = ("conv1.", "bn1.", "res2.", "layer1.", "layer2.", "layer3.")
    assert all(
        name.split(".", 1)[0] in ("key_encoder", "value_encoder")
        and name.split(".", 1)[1].startswith(parts)
        for name in changed
    )
    biases = [
        value
        for name, value in after.items()
        if name.startswith("value_encoder")
        and "conv" in name
        and name.endswith("bias")
        and "fuser" not in name
    ]
    assert len(biases) == 1 + 2 * 2 * 3 and all((bias == 0).all() for bias in biases)


def test_imagenet_weights_come_from_torchvision_first_version_and_are_fetched_once(
    resnets, monkeypatch
):
    fetched = []

    def download(url, path, hash_prefix=None, **_):
        fetched.append((url, hash_prefix, socket.getdefaulttimeout()))
        torch.save(resnets[Path(path).name.split("-")[0]].state_dict(), path)

    monkeypatch.setattr("torch.hub.download_url_to_file", download)
    network = build_network("stcn")
    fetch_backbones(network, ["imagenet"])
    assert [url.rsplit("/", 1)[1] for url, _, _ in fetched] == list(FILES.values())
    assert [prefix for _, prefix, _ in fetched] == ["0676ba61", "f37072fd"]
    assert (
        all(timeout is not None for _, _, timeout in fetched) and socket.getdefaulttimeout() is None
    )
    lines = load_backbones(network, ["imagenet"])
    assert len(fetched) == 2
    assert "resnet50" in lines[0] and "resnet18" in lines[1]
    assert torch.equal(
        network.key_encoder.res2[0].conv1.weight, resnets["resnet50"].layer1[0].conv1.weight
    )


@pytest.mark.parametrize(
    "error",
    [
        URLError("Name or service not known"),
        HTTPError("u", 403, "Forbidden", None, None),
        TimeoutError("timed out"),
        RuntimeError('invalid hash value (expected "0676ba61", got "00")'),
    ],
)
def test_without_the_network_one_line_says_which_files_are_wanted_and_where(
    error, published, monkeypatch, tmp_path
):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("torch.hub.download_url_to_file", fail)
    for function in (fetch_backbones, load_backbones):
        with pytest.raises(InputError) as caught:
            function(published, ["imagenet"])
        message = str(caught.value)
        assert (
            "https://download.pytorch.org/models/resnet50-0676ba61.pth" in message
            and "--backbone_weights none" in message
        )
        assert (
            f"{FILES['resnet50']} and {FILES['resnet18']} into {tmp_path / 'torch/hub/checkpoints'}"
            in message
        )
        assert "\n" not in message


def test_a_damaged_file_in_the_cache_is_named(published, tmp_path):
    folder = tmp_path / "torch/hub/checkpoints"
    folder.mkdir(parents=True)
    for name in FILES.values():
        (folder / name).write_bytes(b"half a download")
    with pytest.raises(InputError, match=FILES["resnet50"]):
        load_backbones(published, ["imagenet"])


@pytest.mark.parametrize("name", ["stcn_small", "tiny"])
def test_imagenet_is_refused_for_networks_of_other_encoders(name):
    for function in (fetch_backbones, load_backbones):
        with pytest.raises(InputError, match=f"{name} are none of resnet50, resnet18"):
            function(build_network(name), ["imagenet"])


def test_none_changes_nothing():
    network = build_network("tiny")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    fetch_backbones(network, ["none"])
    assert load_backbones(network, ["none"]) == [
        "key encoder: not pretrained",
        "value encoder: not pretrained",
    ]
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_one_file_leaves_the_other_encoder_as_it_is(files):
    network = build_network("stcn")
    before = network.value_encoder.conv1.weight.clone()
    assert load_backbones(network, [files["resnet50"]])[1] == "value encoder: not pretrained"
    assert torch.equal(network.value_encoder.conv1.weight, before)


def test_a_file_within_a_training_checkpoint_of_others_is_found(resnets, tmp_path):
    state = {f"module.{name}": value for name, value in resnets["resnet18"].state_dict().items()}
    torch.save({"state_dict": state, "epoch": 90}, tmp_path / "own.pth")
    network = build_network("stcn")
    load_backbones(network, [str(tmp_path / "own.pth")])
    assert torch.equal(
        network.value_encoder.layer3[1].conv2.weight, resnets["resnet18"].layer3[1].conv2.weight
    )


def test_wrong_files_are_refused(published, files, resnets, tmp_path):
    more = {
        **resnets["resnet18"].state_dict(),
        "layer1.2.conv1.weight": torch.zeros(64, 64, 3, 3),
    }  # as a resnet34 has, beside all entries of a resnet18
    torch.save(more, tmp_path / "deeper.pth")
    with pytest.raises(InputError, match=r"deeper\.pth: fits neither encoder"):
        load_backbones(published, [str(tmp_path / "deeper.pth")])
    with pytest.raises(InputError, match="give one for each"):
        load_backbones(published, [files["resnet18"], files["resnet18"]])
    with pytest.raises(InputError, match="no such checkpoint"):
        load_backbones(published, [str(tmp_path / "nowhere.pth")])
    with pytest.raises(InputError, match="give imagenet, none, or files"):
        load_backbones(published, ["imagenet", files["resnet18"]])
