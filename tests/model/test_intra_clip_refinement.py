"""Intra-clip refinement against the published implementation's numbers and against its formula
written out over all pairs of tokens.

Legend: B clips, L frames, K objects, C channels, h w at stride 16.
"""

import json

import numpy as np
import pytest
import torch
from deterministic import weight
from plain_session import refine_by_pairs
from repository import DATA

from model import (
    PRESETS,
    NetworkConfig,
    RefinerConfig,
    build_network,
    load_network,
    parameter_count,
)
from model.intra_clip_refinement import IntraClipRefinement

SMALL = RefinerConfig(key_channels=6, window=(2, 3, 4))


def filled(config: RefinerConfig, value_channels: int) -> IntraClipRefinement:
    """Deterministic weights, by the names they have in a network."""
    module = IntraClipRefinement(config, value_channels)
    shapes = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    module.load_state_dict(
        {
            name: torch.from_numpy(weight(f"refine_transformer.{name}", shape))
            for name, shape in shapes.items()
        }
    )
    return module


@torch.no_grad()
def test_refinement_equals_the_published_implementation():
    random = np.random.Generator(np.random.PCG64(7))
    local_key, readout = (
        torch.from_numpy(random.standard_normal((batch, channels, 5, 8, 13)).astype(np.float32))
        for batch, channels in ((1, 256), (2, 512))
    )
    ours = filled(PRESETS["pcvos"].refiner, 512)(
        readout.permute(2, 0, 1, 3, 4)[None], local_key.transpose(1, 2)
    )
    expected = torch.from_numpy(np.load(DATA / "pcvos_golden.npz")["refine/out"])
    torch.testing.assert_close(ours[0].permute(1, 2, 0, 3, 4), expected, rtol=1e-5, atol=2e-5)


def draw(size, objects=2, clips=1, key_channels=6, value_channels=8):
    random = torch.Generator().manual_seed(sum(size))
    readout = torch.randn(
        clips, size[0], objects, value_channels, *size[1:], generator=random, dtype=torch.double
    )
    return readout, torch.randn(
        clips, size[0], key_channels, *size[1:], generator=random, dtype=torch.double
    )


SIZES = [
    (1, 1, 1),
    (1, 3, 4),
    (2, 3, 4),
    (1, 5, 9),
    (3, 3, 4),
    (2, 6, 8),
    (5, 2, 3),
    (5, 4, 5),
    (8, 7, 4),
    (4, 3, 13),
]


@torch.no_grad()
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_refinement_of_clips_of_any_size_equals_the_formula_over_all_pairs(size):
    module = filled(SMALL, 8).double()
    readout, local_key = draw(size, clips=2)
    ours = module(readout, local_key)
    for clip in range(2):
        torch.testing.assert_close(
            ours[clip], refine_by_pairs(module, readout[clip], local_key[clip]), rtol=0, atol=1e-10
        )


@torch.no_grad()
def test_objects_refined_together_equal_objects_refined_alone(monkeypatch):
    module = filled(SMALL, 8).double()
    readout, local_key = draw((5, 4, 5), objects=5)
    together = module(readout, local_key)
    for k in range(5):
        torch.testing.assert_close(
            module(readout[:, :, k : k + 1], local_key),
            together[:, :, k : k + 1],
            rtol=0,
            atol=1e-10,
        )
    monkeypatch.setattr(
        "model.intra_clip_refinement._TOKENS_AT_ONCE_ON_CPU", 2 * 5 * 4 * 5
    )  # two objects at a time
    torch.testing.assert_close(module(readout, local_key), together, rtol=0, atol=1e-10)


def test_gradients_reach_the_readout_the_local_key_and_every_weight():
    module = filled(SMALL, 8).double()
    readout, local_key = (x.requires_grad_() for x in draw((3, 4, 5)))
    module(readout, local_key).square().sum().backward()
    assert all(x.grad.abs().sum() > 0 for x in (readout, local_key, *module.parameters()))


def test_weights_start_as_published():
    network = build_network("pcvos_small")
    rows = network.input_proj.key_proj.weight.detach().flatten(1)
    torch.testing.assert_close(rows @ rows.T, torch.eye(len(rows)), rtol=0, atol=1e-4)
    for name, value in network.refine_transformer.state_dict().items():
        if name.endswith(".bias"):
            assert not value.any(), name
        elif "norm" in name:
            assert (value == 1).all(), name
        else:
            assert 0.015 < value.std() < 0.025 and value.abs().max() <= 2, name


def test_a_network_without_refinement_passes_readouts_through(network):
    readout = torch.randn(1, 2, 3, 16, 3, 4)
    assert network.refine(readout, torch.randn(1, 2, 16, 3, 4)) is readout


def test_names_and_shapes_are_those_of_the_public_checkpoint(tmp_path):
    public = json.loads((DATA / "pcvos_state_dict.json").read_text())
    with torch.device("meta"):
        ours = {
            name: list(value.shape) for name, value in build_network("pcvos").state_dict().items()
        }
    assert ours == {
        name: shape
        for name, shape in public.items()
        if not name.endswith("relative_position_index")
    }
    whole = ("tracked", "relative_position_index")
    torch.save(
        {
            name: torch.zeros(shape, dtype=torch.int64 if name.endswith(whole) else torch.float16)
            for name, shape in public.items()
        },
        tmp_path / "public.pth",
    )
    assert load_network(tmp_path / "public.pth").config == PRESETS["pcvos"]


def test_a_stored_configuration_keeps_its_refinement():
    for name in ("tiny", "tiny_pcvos"):
        values = json.loads(json.dumps(PRESETS[name].as_dict()))
        assert ("refiner" in values) == (PRESETS[name].refiner is not None)
        assert NetworkConfig.from_dict(values) == PRESETS[name]


def test_the_small_networks_refinement_is_small_enough_to_ship():
    added = parameter_count(build_network("pcvos_small")) - parameter_count(
        build_network("stcn_small")
    )
    assert 2 * added <= 10e6  # bytes, in half precision
