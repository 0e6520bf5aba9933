"""Networks without CBAM in the value encoder: what they compute, load and train."""

import json

import pytest
import torch
from deterministic import fill
from toy_training import take_steps, toy_batch, trainer_of

from model import PRESETS, build_network, load_network, save_weights
from model.config import NetworkConfig
from util.errors import InputError

WITHOUT = [name for name, config in PRESETS.items() if not config.fuser_attention]


def test_there_are_presets_without_cbam_that_differ_in_nothing_else():
    assert {"stcn_no_cbam", "stcn_lite0_no_cbam", "tiny_no_cbam"} == set(WITHOUT)
    for name in WITHOUT:
        with torch.device("meta"):
            ours, theirs = (build_network(one) for one in (name, name.removesuffix("_no_cbam")))
        missing = set(theirs.state_dict()) - set(ours.state_dict())
        assert set(ours.state_dict()) < set(theirs.state_dict())
        assert missing and all(".fuser.attention." in entry for entry in missing)


@torch.no_grad()
def test_the_value_is_that_of_the_two_blocks_alone():
    network = fill(build_network("tiny_no_cbam")).eval()
    images, masks = torch.rand(1, 3, 32, 48), torch.rand(1, 2, 32, 48)
    feature = network.encode_key(images).feature_s16
    value = network.encode_value(images, feature, masks)
    encoder, fuser = network.value_encoder, network.value_encoder.fuser
    for number in range(2):
        x = torch.cat([images, masks[:, [number]], masks[:, [1 - number]]], dim=1)
        own = encoder.stages(encoder.conv1(x))[-1]
        expected = fuser.block2(fuser.block1(torch.cat([own, feature], dim=1)))
        torch.testing.assert_close(value[:, number], expected)


def test_the_choice_travels_with_the_weights_and_is_recognised_without(tmp_path):
    network = build_network("tiny_no_cbam")
    save_weights(tmp_path / "ours.pth", network)
    torch.save(network.state_dict(), tmp_path / "bare.pth")
    for name in ("ours.pth", "bare.pth"):
        loaded = load_network(tmp_path / name)
        assert loaded.config == PRESETS["tiny_no_cbam"]
        assert all(map(torch.equal, loaded.state_dict().values(), network.state_dict().values()))
    with pytest.raises(InputError, match="holds network tiny_no_cbam, not tiny"):
        load_network(tmp_path / "ours.pth", "tiny")
    with pytest.raises(InputError, match=r"value_encoder\.fuser\.attention\S+ is missing"):
        load_network(tmp_path / "bare.pth", "tiny")


def test_the_record_of_a_network_with_cbam_is_that_of_earlier_versions():
    assert "fuser_attention" not in PRESETS["tiny"].as_dict()
    for name in ("tiny", "tiny_no_cbam"):
        values = json.loads(json.dumps(PRESETS[name].as_dict()))
        assert NetworkConfig.from_dict(values) == PRESETS[name]


def test_it_learns(tmp_path):
    trainer = trainer_of(build_network("tiny_no_cbam"), learning_rate=1e-2)
    batch = toy_batch()
    before = trainer.forward(batch).loss.item()
    take_steps(trainer, batch, 4)
    assert trainer.forward(batch).loss.item() < before
    save_weights(tmp_path / "weights.pth", trainer.network)
    assert not load_network(tmp_path / "weights.pth").config.fuser_attention
