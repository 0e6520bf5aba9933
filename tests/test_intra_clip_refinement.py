"""Intra-clip refinement against the published implementation's numbers and against its formula written out over all pairs of tokens.

Legend: B clips, L frames, K objects, C channels, h w at stride 16, P tokens of the padded clip.
"""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from deterministic import weight

from model import PRESETS, NetworkConfig, RefinerConfig, build_network, load_network, parameter_count
from model.intra_clip_refinement import IntraClipRefinement, relative_position_index

DATA = Path(__file__).parent / "data"
SMALL = RefinerConfig(key_channels=6, window=(2, 3, 4))


def filled(config: RefinerConfig, value_channels: int) -> IntraClipRefinement:
    """Deterministic weights, by the names they have in a network."""
    module = IntraClipRefinement(config, value_channels)
    shapes = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    module.load_state_dict({name: torch.from_numpy(weight(f"refine_transformer.{name}", shape)) for name, shape in shapes.items()})
    return module


@torch.no_grad()
def test_refinement_equals_the_published_implementation():
    random = np.random.Generator(np.random.PCG64(7))
    local_key, readout = (torch.from_numpy(random.standard_normal((batch, channels, 5, 8, 13)).astype(np.float32)) for batch, channels in ((1, 256), (2, 512)))
    ours = filled(PRESETS["pcvos"].refiner, 512)(readout.permute(2, 0, 1, 3, 4)[None], local_key.transpose(1, 2))
    expected = torch.from_numpy(np.load(DATA / "pcvos_golden.npz")["refine/out"])
    torch.testing.assert_close(ours[0].permute(1, 2, 0, 3, 4), expected, rtol=1e-5, atol=2e-5)


def attention_by_pairs(block, key, value, window, shifted):
    """The formula of one attention layer over all pairs of padded tokens, in double: key [L, h, w, C], value [L, h, w, C] → [L, h, w, C]."""
    size = value.shape[:3]
    sides = [min(length, side) for length, side in zip(size, window)]
    shift = [side // 2 if shifted and length > side else 0 for length, side in zip(size, sides)]
    padded = [-(-length // side) * side for length, side in zip(size, sides)]
    key, value = (F.pad(x, (0, 0, *itertools.chain(*((0, to - length) for to, length in zip(padded[::-1], size[::-1]))))).flatten(0, 2) for x in (key, value))
    at = torch.cartesian_prod(*map(torch.arange, padded))
    moved = torch.stack([(at[:, axis] - shift[axis]) % padded[axis] for axis in range(3)], 1)
    place = sum((moved[:, axis] % sides[axis]) * [sides[1] * sides[2], sides[2], 1][axis] for axis in range(3))
    inside = (moved // torch.tensor(sides))[:, None] == (moved // torch.tensor(sides))[None]
    came_round = moved > at
    table = block.attn.relative_position_bias_table[relative_position_index(window)][..., 0]
    projected = block.attn.qk(key)
    scores = projected @ projected.T / key.shape[1] ** 0.5 + table[place[:, None], place[None]]
    scores = scores - 100.0 * (came_round[:, None] != came_round[None]).any(-1)
    weights = scores.masked_fill(~inside.all(-1), float("-inf")).softmax(1)
    return block.attn.proj(weights @ block.attn.v(value)).unflatten(0, padded)[: size[0], : size[1], : size[2]]


def refine_by_pairs(module, readout, local_key):
    """readout [L, K, C, h, w], local_key [L, C, h, w] → [L, K, C, h, w], one object at a time."""
    key, objects = local_key.permute(0, 2, 3, 1), []
    for x in readout.permute(1, 0, 3, 4, 2):
        for number, block in enumerate(module.layers[0].blocks):
            x = x + attention_by_pairs(block, block.norm1(key), block.norm1_v(x), module.window, number % 2 == 1)
            x = x + block.mlp.fc2(F.gelu(block.mlp.fc1(block.norm2(x))))
        objects.append(module.norm(x))
    return torch.stack(objects).permute(1, 0, 4, 2, 3)


def draw(size, objects=2, clips=1, key_channels=6, value_channels=8):
    random = torch.Generator().manual_seed(sum(size))
    readout = torch.randn(clips, size[0], objects, value_channels, *size[1:], generator=random, dtype=torch.double)
    return readout, torch.randn(clips, size[0], key_channels, *size[1:], generator=random, dtype=torch.double)


SIZES = [(1, 1, 1), (1, 3, 4), (2, 3, 4), (1, 5, 9), (3, 3, 4), (2, 6, 8), (5, 2, 3), (5, 4, 5), (8, 7, 4), (4, 3, 13)]


@torch.no_grad()
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_refinement_of_clips_of_any_size_equals_the_formula_over_all_pairs(size):
    module = filled(SMALL, 8).double()
    readout, local_key = draw(size, clips=2)
    ours = module(readout, local_key)
    for clip in range(2):
        torch.testing.assert_close(ours[clip], refine_by_pairs(module, readout[clip], local_key[clip]), rtol=0, atol=1e-10)


@torch.no_grad()
def test_objects_refined_together_equal_objects_refined_alone(monkeypatch):
    module = filled(SMALL, 8).double()
    readout, local_key = draw((5, 4, 5), objects=5)
    together = module(readout, local_key)
    for k in range(5):
        torch.testing.assert_close(module(readout[:, :, k : k + 1], local_key), together[:, :, k : k + 1], rtol=0, atol=1e-10)
    monkeypatch.setattr("model.intra_clip_refinement._TOKENS_AT_ONCE", 2 * 5 * 4 * 5)  # two objects at a time
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
        ours = {name: list(value.shape) for name, value in build_network("pcvos").state_dict().items()}
    assert ours == {name: shape for name, shape in public.items() if not name.endswith("relative_position_index")}
    whole = ("tracked", "relative_position_index")
    torch.save({name: torch.zeros(shape, dtype=torch.int64 if name.endswith(whole) else torch.float16) for name, shape in public.items()}, tmp_path / "public.pth")
    assert load_network(tmp_path / "public.pth").config == PRESETS["pcvos"]


def test_a_stored_configuration_keeps_its_refinement():
    for name in ("tiny", "tiny_pcvos"):
        values = json.loads(json.dumps(PRESETS[name].as_dict()))
        assert ("refiner" in values) == (PRESETS[name].refiner is not None)
        assert NetworkConfig.from_dict(values) == PRESETS[name]


def test_the_small_networks_refinement_is_small_enough_to_ship():
    added = parameter_count(build_network("pcvos_small")) - parameter_count(build_network("stcn_small"))
    assert 2 * added <= 10e6  # bytes, in half precision
