"""Reading and writing weights: public and own files, refused files; pickled code never runs."""

import copy
import dataclasses
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from repository import DATA

from inference import SYSTEMS, VideoSegmenter
from inference.segmenter import WEIGHTS_FOLDER
from model import PRESETS, NetworkConfig, build_network, load_network, parameter_count, save_weights
from model.checkpoint import (
    load_state,
    network_state,
    read_checkpoint,
    read_network,
    recognise_preset,
)
from model.config import with_window
from model.training.checkpoints import TrainingState
from scripts import export_weights
from util.errors import InputError

MASK_WEIGHT = "value_encoder.conv1.weight"


@pytest.fixture
def state(network):
    """The tiny network's entries; a copy for each test."""
    return {name: value.clone() for name, value in network.state_dict().items()}


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "network.pth"


def assert_holds(loaded, state):
    for name, value in loaded.state_dict().items():
        torch.testing.assert_close(value, state[name].to(value.dtype), rtol=0, atol=0)


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("wrapper", [None, "network", "state_dict", "model"])
def test_weights_load_bare_and_inside_a_training_checkpoint_with_and_without_prefix(
    state, path, wrapper, prefix
):
    entries = {prefix + name: value for name, value in state.items()}
    torch.save(
        entries
        if wrapper is None
        else {"it": 150000, wrapper: entries, "optimizer": {"state": {}, "param_groups": []}},
        path,
    )
    assert_holds(load_network(path), state)


@pytest.mark.parametrize("name", list(PRESETS))
def test_every_preset_is_recognised_by_names_and_shapes(name):
    with torch.device("meta"):
        state = build_network(name).state_dict()
    assert recognise_preset(state) == PRESETS[name]
    state[MASK_WEIGHT] = state[MASK_WEIGHT][:, :4]
    assert recognise_preset(state) == PRESETS[name]


def test_four_channel_weights_are_widened_with_zeros_for_inference(state, path):
    narrow = {**state, MASK_WEIGHT: state[MASK_WEIGHT][:, :4].clone()}
    torch.save(narrow, path)
    weight = load_network(path).state_dict()[MASK_WEIGHT]
    assert torch.equal(weight[:, :4], state[MASK_WEIGHT][:, :4])
    assert weight.shape == state[MASK_WEIGHT].shape
    assert not weight[:, 4].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_four_channel_weights_are_widened_orthogonally_for_training_on(state, path, dtype):
    torch.save({**state, MASK_WEIGHT: state[MASK_WEIGHT][:, :4].to(dtype)}, path)
    weight = load_network(path, train_on=True).state_dict()[MASK_WEIGHT]
    rows = weight[:, 4].flatten(1)
    torch.testing.assert_close(rows @ rows.T, torch.eye(len(rows)), rtol=0, atol=2e-2)
    torch.testing.assert_close(
        weight[:, :4], state[MASK_WEIGHT][:, :4].to(dtype).float(), rtol=0, atol=0
    )


@pytest.mark.parametrize("left", [0.0, 3e-7])
def test_a_channel_of_the_other_objects_that_was_wiped_out_starts_orthogonal_where_training_goes_on(
    state, path, left
):
    """Weight decay left so little of it in single-object training; for inference it stays."""
    state[MASK_WEIGHT][:, 4] = left * torch.randn_like(state[MASK_WEIGHT][:, 4])
    torch.save(state, path)
    weight = load_network(path, train_on=True).state_dict()[MASK_WEIGHT]
    rows = weight[:, 4].flatten(1)
    torch.testing.assert_close(rows @ rows.T, torch.eye(len(rows)), rtol=0, atol=1e-5)
    assert torch.equal(weight[:, :4], state[MASK_WEIGHT][:, :4])
    assert_holds(load_network(path), state)


def test_a_channel_of_the_other_objects_that_learned_is_kept_where_training_goes_on(state, path):
    state[MASK_WEIGHT][:, 4] *= 0.2
    torch.save(state, path)
    assert_holds(load_network(path, train_on=True), state)


def test_a_slot_the_weights_lack_starts_fresh_where_training_goes_on(network):
    refined = build_network("tiny_pcvos")
    fresh = {name: value.clone() for name, value in refined.state_dict().items()}
    assert load_state(refined, network.state_dict(), train_on=True) == ("refiner",)
    ours = refined.state_dict()
    assert all(torch.equal(ours[name], value) for name, value in network.state_dict().items())
    assert all(
        torch.equal(ours[name], value)
        for name, value in fresh.items()
        if name.startswith(("input_proj.", "refine_transformer."))
    )


def test_a_slot_the_weights_hold_in_part_is_refused_where_training_goes_on():
    state = build_network("tiny_pcvos").state_dict()
    del state["input_proj.key_proj.weight"]
    with pytest.raises(InputError, match=r"input_proj\.key_proj\.weight is missing"):
        load_state(build_network("tiny_pcvos"), state, train_on=True)


def test_half_precision_weights_load_as_single(network, state, path):
    save_weights(path, network, half=True)
    loaded = load_network(path)
    assert all(
        value.dtype in (torch.float32, torch.int64) for value in loaded.state_dict().values()
    )
    assert_holds(
        loaded,
        {
            name: value.half() if value.is_floating_point() else value
            for name, value in state.items()
        },
    )


def test_saved_weights_are_a_flat_dict_of_the_public_names_and_nothing_else(network, state, path):
    save_weights(path, network)
    content = torch.load(path, weights_only=True)
    assert type(content) is dict
    assert list(content) == list(state)
    assert all(torch.equal(content[name], state[name]) for name in state)
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_save_leaves_the_old_file_whole(network, path, monkeypatch):
    save_weights(path, network)
    whole = path.read_bytes()

    def fail(content, file):
        file.write(b"half of it")
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="no space"):
        save_weights(path, network)
    assert path.read_bytes() == whole
    assert list(path.parent.iterdir()) == [path]


def test_a_training_checkpoint_gives_its_averaged_weights_where_it_has_them(network, state, path):
    average = torch.optim.swa_utils.AveragedModel(network).state_dict()
    raw = {name: value + 1 for name, value in state.items()}
    torch.save({"network": raw, "average": average}, path)
    assert_holds(load_network(path), state)
    torch.save({"network": raw, "average": None}, path)
    assert_holds(load_network(path), raw)


def test_derived_entries_of_other_public_checkpoints_are_ignored(state):
    assert (
        network_state({**state, "refine.relative_position_index": torch.zeros(4, 4)}).keys()
        == state.keys()
    )


def test_a_stored_configuration_is_used_and_survives_the_file(path):
    config = NetworkConfig.from_dict(
        {**PRESETS["tiny"].as_dict(), "name": "mine", "key_channels": 10, "similarity": "cosine"}
    )
    network = build_network(config)
    torch.save({"network": network.state_dict(), "network_config": config.as_dict()}, path)
    loaded = load_network(path)
    assert loaded.config == config
    assert_holds(loaded, network.state_dict())


@pytest.mark.parametrize(
    "stored",
    [
        {"key_encoder": 5, "value_encoder": 3},
        {"unknown": 1},
        {**PRESETS["tiny"].as_dict(), "depth": 3},
    ],
)
def test_a_stored_configuration_that_does_not_fit_is_refused(state, path, stored):
    torch.save({"network": state, "network_config": stored}, path)
    with pytest.raises(InputError):
        load_network(path)


def test_weights_of_another_network_are_refused_naming_the_first_entries_in_order(state, path):
    wrong = dict(state)
    names = [name for name in state if name.endswith("conv1.weight") and name != MASK_WEIGHT]
    assert len(names) > 4
    for name in names:
        wrong[name] = torch.zeros(3, 3)
    torch.save(wrong, path)
    with pytest.raises(InputError) as refusal:
        load_network(path)
    message = str(refusal.value)
    assert str(path) in message
    assert f"entries that do not fit: {len(names)}, first" in message
    assert [message.index(name) for name in names[:3]] == sorted(
        message.index(name) for name in names[:3]
    )
    assert "[3, 3], not [8, 3, 7, 7]" in message
    assert "\n" not in message


def test_missing_and_unknown_entries_are_named(network, state):
    del state["decoder.pred.bias"]
    state["decoder.extra"] = torch.zeros(1)
    with pytest.raises(
        InputError,
        match=r"do not fit network tiny: 2, .*pred\.bias is missing; decoder\.extra is not known",
    ):
        load_state(copy.deepcopy(network), state)


def test_a_named_preset_that_does_not_fit_is_refused(state, path):
    torch.save(state, path)
    with pytest.raises(InputError, match="do not fit network stcn_small"):
        load_network(path, "stcn_small")


class _Touch:
    """Unpickling it makes a file."""

    def __init__(self, target: str):
        self.target = target

    def __reduce__(self):
        return Path.touch, (Path(self.target),)


@pytest.mark.parametrize("writer", ["zip", "legacy", "pickle"])
def test_pickled_code_is_refused_and_does_not_run(state, path, tmp_path, writer):
    target = tmp_path / "touched"
    content = {**state, "code": _Touch(str(target))}
    if writer == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=writer == "zip")
    with pytest.raises(InputError, match="pickled code, which is not run"):
        load_network(path)
    assert not target.exists()
    if writer == "pickle":
        pickle.loads(path.read_bytes())
    else:
        torch.load(path, weights_only=False)
    assert target.exists(), "the file was harmless: the test shows nothing"


def assert_refused(path: Path) -> None:
    with pytest.raises(InputError) as refusal:
        load_network(path)
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_truncated_file_is_refused_wherever_it_ends(state, path, legacy):
    torch.save(state, path, _use_new_zipfile_serialization=not legacy)
    whole = path.read_bytes()
    for length in (
        *range(0, 200, 7),
        *np.linspace(200, len(whole) - 1, 60).astype(int),
        len(whole) - 1,
    ):
        path.write_bytes(whole[:length])
        assert_refused(path)


OTHER_FILES = [
    b"",
    b"0.5 0.5\n",
    b"{}",
    b"# a read me\n",
    b'{"it": 3}',
    b"\x89PNG\r\n\x1a\n" + bytes(40),
    b"PK\x03\x04 not a zip",
    b"\x80\x02.",
    b"(dp0\n.",
]


@pytest.mark.parametrize("content", OTHER_FILES)
def test_other_files_are_refused(path, content):
    path.write_bytes(content)
    assert_refused(path)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    content=st.one_of(
        st.binary(max_size=80),
        st.text(max_size=80).map(str.encode),
        st.binary(max_size=80).map(b"\x80\x02".__add__),
    )
)
def test_any_bytes_are_refused(path, content):
    path.write_bytes(content)
    assert_refused(path)


def test_a_folder_and_a_missing_file_are_refused(tmp_path):
    assert_refused(tmp_path)
    assert_refused(tmp_path / "missing.pth")


CONTENTS = {
    "a list": [1, 2],
    "a tensor": torch.zeros(2),
    "an empty dictionary": {},
    "an empty network": {"network": {}},
    "a setting": {"learning_rate": 3.0},
    "numbered entries": {0: torch.zeros(1)},
    "numbered entries inside": {"network": {0: torch.zeros(1)}},
}


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS.keys())
def test_files_without_a_networks_weights_are_refused(path, content):
    torch.save(content, path)
    assert_refused(path)


def test_weights_alone_are_no_training_checkpoint(state, path):
    torch.save(state, path)
    with pytest.raises(InputError, match="--load_network"):
        TrainingState.from_checkpoint(path)


def test_a_segmenter_without_shipped_weights_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr("inference.segmenter.WEIGHTS_FOLDER", tmp_path)
    for system, config in SYSTEMS.items():
        with pytest.raises(InputError, match=rf"{config.shipped_weights}: .*name a checkpoint"):
            VideoSegmenter.from_checkpoint(None, system, device="cpu")


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_system_runs_with_the_weights_shipped_for_it(system, made_clip):
    segmenter = VideoSegmenter.from_checkpoint(None, system, device="cpu")
    results = list(segmenter.segment(made_clip.frames[:3], made_clip.labels[0]))
    assert [result.object_ids for result in results] == [(1, 2)] * 3
    assert parameter_count(segmenter.network) > 1e6


def test_a_segmenter_from_a_file_is_one_of_the_network_in_it(network, state, path, made_clip):
    save_weights(path, network)
    ours = (
        VideoSegmenter.from_checkpoint(path, device="cpu", top_k=5)
        .session()
        .step(made_clip.frames[0], made_clip.labels[0])
    )
    theirs = (
        VideoSegmenter(network, device="cpu", top_k=5)
        .session()
        .step(made_clip.frames[0], made_clip.labels[0])
    )
    assert torch.equal(ours.probabilities, theirs.probabilities)
    assert read_checkpoint(path).keys() == state.keys()


def test_the_public_names_load_into_the_published_preset(path):
    shapes = json.loads((DATA / "stcn_state_dict.json").read_text())
    half = {
        name: torch.zeros(shape, dtype=torch.int64 if name.endswith("tracked") else torch.float16)
        for name, shape in shapes.items()
    }
    torch.save(half, path)
    assert load_network(path).config == PRESETS["stcn"]


def test_the_number_of_key_channels_follows_from_the_weights_but_the_similarity_does_not(
    tmp_path,
):
    config = dataclasses.replace(PRESETS["tiny"], key_channels=5, similarity="dot")
    torch.save(build_network(config).state_dict(), tmp_path / "weights.pth")
    assert load_network(tmp_path / "weights.pth").config == dataclasses.replace(
        config, similarity="l2"
    )
    assert load_network(tmp_path / "weights.pth", similarity="dot").config == config
    assert (
        VideoSegmenter.from_checkpoint(
            tmp_path / "weights.pth", similarity="dot", device="cpu"
        ).network.config
        == config
    )


# What is not seen in names and shapes travels with the weights

TRAINED_OTHERWISE = {
    "similarity": dataclasses.replace(PRESETS["tiny"], similarity="cosine"),
    "window": with_window(PRESETS["tiny_pcvos"], (3, 2, 2)),
    "size": dataclasses.replace(
        PRESETS["tiny"], name="mine", key_channels=5, attention_reduction=2
    ),
}


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("trained", TRAINED_OTHERWISE)
def test_weights_say_what_was_trained(path, trained, half):
    config = TRAINED_OTHERWISE[trained]
    save_weights(path, build_network(config), half=half)
    assert load_network(path).config == config
    assert VideoSegmenter.from_checkpoint(path, device="cpu").network.config == config


def test_exported_weights_say_what_was_trained(tmp_path, monkeypatch):
    config = TRAINED_OTHERWISE["window"]
    network = build_network(config)
    state = {**network.state_dict(), "n_averaged": torch.tensor(3)}
    torch.save(
        {"network": state, "average": state, "network_config": config.as_dict()},
        tmp_path / "checkpoint.pth",
    )
    for flags in ([], ["--half"]):
        monkeypatch.setattr(
            "sys.argv",
            [
                "export_weights.py",
                str(tmp_path / "checkpoint.pth"),
                str(tmp_path / "weights.pth"),
                *flags,
            ],
        )
        export_weights.main()
        assert load_network(tmp_path / "weights.pth").config == config


@pytest.mark.parametrize(
    "asked",
    [
        {"similarity": "l2"},
        {"window": (2, 2, 3)},
        {"network": "tiny"},
        {"network": PRESETS["tiny_pcvos"]},
    ],
)
def test_what_contradicts_the_file_is_refused(path, asked):
    config = dataclasses.replace(TRAINED_OTHERWISE["window"], similarity="dot")
    save_weights(path, build_network(config))
    with pytest.raises(InputError, match=f"{path}: .*as asked for; leave out"):
        load_network(path, **asked)
    assert load_network(path, "tiny_pcvos", similarity="dot", window=(3, 2, 2)).config == config


@pytest.mark.parametrize(
    "save",
    [save_weights, lambda path, network: torch.save(network.state_dict(), path)],
    ids=["said", "not said"],
)
def test_windows_are_refused_for_a_network_without_refinement(path, network, save):
    save(path, network)
    with pytest.raises(InputError, match="without refinement"):
        load_network(path, window=(2, 2, 3))


def test_the_shipped_weights_say_what_they_are_and_are_the_same_tensors():
    for system in SYSTEMS.values():
        file = WEIGHTS_FOLDER / system.shipped_weights
        assert read_network(file).config == PRESETS[file.stem]
        assert b'"sha256": ' in zipfile.ZipFile(file).comment


# Numbers that are no weights

BAD_VALUES = {
    "nan": (lambda value: value.fill_(float("nan")), "is not finite"),
    "one nan": (lambda value: value.index_fill_(0, torch.tensor(0), float("nan")), "is not finite"),
    "infinite": (lambda value: value.fill_(float("-inf")), "is not finite"),
    "beyond single precision": (lambda value: value.double() * 0 + 1e300, "is not finite"),
    "integer": (lambda value: value.to(torch.int32), "is of type int32"),
    "boolean": (lambda value: value > 0, "is of type bool"),
    "complex": (lambda value: value.to(torch.complex64), "is of type complex64"),
    "sparse": (lambda value: value.to_sparse(), "is not a plain tensor"),
}


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("bad", BAD_VALUES)
def test_weights_that_are_no_numbers_are_refused_by_name(state, path, bad, legacy):
    spoil, found = BAD_VALUES[bad]
    for name, train_on in (("key_encoder.bn1.running_mean", False), ("decoder.pred.weight", True)):
        torch.save(
            {**state, name: spoil(state[name].clone())},
            path,
            _use_new_zipfile_serialization=not legacy,
        )
        with pytest.raises(InputError, match=rf"{path}: {name} {found}"):
            load_network(path, "tiny", train_on=train_on)


@pytest.mark.parametrize("variance", [-1e-3, 1e20])
def test_variances_that_none_can_be_are_refused(state, path, variance):
    state["key_encoder.bn1.running_var"][3] = variance
    torch.save(state, path)
    with pytest.raises(InputError, match=r"key_encoder\.bn1\.running_var holds a variance of"):
        load_network(path)


def test_counters_may_be_of_any_real_type(state, path):
    torch.save(
        {
            name: value.half()
            if value.is_floating_point() or name.endswith("weight")
            else value.to(torch.int32)
            for name, value in state.items()
        },
        path,
    )
    load_network(path)
    torch.save({name: value.half() for name, value in state.items()}, path)
    load_network(path)


def test_weights_that_are_not_finite_are_not_written(network, path):
    save_weights(path, network)
    whole = path.read_bytes()
    for half, value in ((False, float("nan")), (True, 1e6)):
        spoilt = copy.deepcopy(network)
        with torch.no_grad():
            spoilt.decoder.pred.bias.fill_(value)
        with pytest.raises(InputError, match=r"not written, since decoder\.pred\.bias"):
            save_weights(path, spoilt, half=half)
    assert path.read_bytes() == whole and list(path.parent.iterdir()) == [path]


# A configuration inside a checkpoint is data


def changed(**fields: Any) -> dict[str, Any]:
    return {**PRESETS["tiny_pcvos"].as_dict(), **fields}


def encoder(**fields: Any) -> dict[str, Any]:
    return {**PRESETS["tiny_pcvos"].as_dict()["key_encoder"], **fields}


def refiner(**fields: Any) -> dict[str, Any]:
    return {**PRESETS["tiny_pcvos"].as_dict()["refiner"], **fields}


NESTED: list = []
for _ in range(200):
    NESTED = [NESTED]
DOUBLED: list = []
for _ in range(60):
    DOUBLED = [DOUBLED, DOUBLED]
STRANGE_CONFIGURATIONS = {
    "many blocks": changed(key_encoder=encoder(depths=(1, 10**9, 1))),
    "wide": changed(key_encoder=encoder(planes=(8, 10**9, 16))),
    "wide and many": changed(
        key_encoder=encoder(planes=(4096, 4096, 4096), depths=(100, 100, 100))
    ),
    "many channels": changed(value_channels=10**9),
    "no channels": changed(key_channels=0),
    "negative": changed(decoder_channels=(16, -12, 8)),
    "a huge window": changed(refiner=refiner(window=(1, 1, 10**6))),
    "a large window": changed(refiner=refiner(window=(64, 64, 64))),
    "a deep refinement": changed(refiner=refiner(depth=10**9)),
    "many policies": changed(reducer={"policies": 60}),
    "an even window": changed(enhancer={"window": (2, 2)}),
    "a number of many digits": changed(key_channels=10**5000),
    "a truth": changed(key_channels=True),
    "a fraction": changed(key_channels=8.0),
    "not a number": changed(key_channels=float("nan")),
    "a text": changed(key_channels="8"),
    "nothing": changed(key_channels=None),
    "a tensor": changed(key_channels=torch.tensor(8)),
    "a list": changed(key_encoder=[1, 2]),
    "two depths": changed(key_encoder=encoder(depths=(1, 1))),
    "a text of depths": changed(key_encoder=encoder(depths="111")),
    "a long name": changed(name="x" * 10**6),
    "lines": changed(name="two\nlines"),
    "another similarity": changed(similarity="l3"),
    "an unhashable similarity": changed(similarity=["l2"]),
    "another block": changed(key_encoder=encoder(block="tower")),
    "nested": changed(name=NESTED),
    "doubled": changed(name=DOUBLED),
    "a nested field": changed(**{"y" * 10**5: NESTED}),
    "numbered": {1: 2},
    "no dictionary": 5,
    "empty": {},
}


@pytest.mark.parametrize("strange", STRANGE_CONFIGURATIONS)
def test_a_strange_configuration_is_refused_in_one_short_line(path, strange):
    torch.save(
        {
            "network": build_network("tiny_pcvos").state_dict(),
            "network_config": STRANGE_CONFIGURATIONS[strange],
        },
        path,
    )
    with pytest.raises(InputError) as refused:
        load_network(path)
    message = str(refused.value)
    assert (
        message.startswith(f"{path}: ")
        and "\n" not in message
        and len(message) < len(str(path)) + 400
    )


def test_tensors_of_no_content_take_no_memory(path):
    """Of a network as large as its names and shapes say, which stores one number."""
    state = {
        name: torch.zeros(()).expand(value.shape) for name, value in network_on_meta(4096).items()
    }
    torch.save(
        {
            "network": state,
            "network_config": {
                **PRESETS["tiny"].as_dict(),
                "key_encoder": encoder(planes=(4096, 4096, 4096), depths=(30, 30, 30)),
            },
        },
        path,
    )
    with pytest.raises(InputError, match="values; at most"):
        load_network(path)


def network_on_meta(planes: int) -> dict[str, torch.Tensor]:
    with torch.device("meta"):
        encoder = dataclasses.replace(
            PRESETS["tiny"].key_encoder, planes=(planes,) * 3, depths=(30, 30, 30)
        )
        return build_network(dataclasses.replace(PRESETS["tiny"], key_encoder=encoder)).state_dict()
