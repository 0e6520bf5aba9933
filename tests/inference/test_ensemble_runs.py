"""Ensembles and test-time augmentation from the command line: results, config.json, refusals."""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import tiny_network
from eval_commands import EvalCommand
from PIL import Image
from toy_trees import (
    write_davis,
)

import eval_davis
from inference import EnsembleSegmenter, VideoSegmenter
from model import save_weights


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> list[Path]:
    """Two networks that predict every object of a toy video."""
    paths = [tmp_path_factory.mktemp("weights") / f"{scale}.pth" for scale in (0.5, 2)]
    for path, scale in zip(paths, (0.5, 2)):
        save_weights(path, tiny_network(scale))
    return paths


@pytest.fixture
def command(monkeypatch, capsys, weights, tmp_path) -> EvalCommand:
    return EvalCommand(monkeypatch, capsys, output=tmp_path / "out", model=weights[0])


def read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image)


ENSEMBLES = [
    (["--scales", "1", "1.3"], {"scales": [1.0, 1.3], "flip": False}, {"scales": [1, 1.3]}),
    (["--flip"], {"scales": [1.0], "flip": True}, {"flip": True}),
]


@pytest.mark.parametrize(("flags", "recorded", "keywords"), ENSEMBLES, ids=str)
def test_scales_and_flip_are_those_of_an_ensemble_and_are_recorded(
    command, weights, tmp_path, flags, recorded, keywords
):
    root = write_davis(tmp_path / "davis", {"bear": 4})
    command.succeed(eval_davis, "--davis_path", root, *flags)
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert config | recorded == config and isinstance(config["weights_sha256"], str)
    segmenter = VideoSegmenter.from_checkpoint(weights[0], device="cpu")
    frames = [read(path) for path in sorted((root / "JPEGImages/480p/bear").iterdir())]
    mask = read(root / "Annotations/480p/bear/00000.png")
    for result in EnsembleSegmenter([segmenter], **keywords).segment(frames, mask):
        written = read(tmp_path / f"out/bear/{result.frame_index:05d}.png")
        assert np.array_equal(written, result.labels)


def test_a_run_of_one_network_and_view_records_no_ensemble(command, tmp_path):
    root = write_davis(tmp_path / "davis", {"bear": 3})
    command.succeed(eval_davis, "--davis_path", root)
    before = (tmp_path / "out/config.json").read_bytes()
    assert {"scales", "flip"}.isdisjoint(json.loads(before))
    command.succeed(eval_davis, "--davis_path", root, "--scales", "1")
    assert (
        json.loads((tmp_path / "out/config.json").read_bytes()).keys() == json.loads(before).keys()
    )


def test_an_ensemble_resumes_and_other_members_are_refused(command, weights, tmp_path):
    root = write_davis(tmp_path / "davis", {"bear": 3, "dog": 3})
    request = [eval_davis, "--davis_path", root, "--model", *weights]
    command.succeed(*request, "--scales", "1", "1.3", "--sequences", "bear")
    ended = command.succeed(*request, "--scales", "1", "1.3")
    assert "1 of 2 videos are finished" in ended.err
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert config["network"] == ["tiny", "tiny"] and len(set(config["weights_sha256"])) == 2
    assert len(config["run"]["weights"]) == 2
    for flags, words in (
        (["--scales", "1"], "scales [1.0, 1.3] (now not set)"),
        (["--scales", "1", "1.3", "--flip"], "flip False (now True)"),
        (["--scales", "1.3"], "scales [1.0, 1.3] (now [1.3])"),
        (["--scales", "1", "1.3", "--model", weights[0]], "weights_sha256 ["),
    ):
        assert words in command.refuse(*request, *flags)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--model A nowhere.pth", "nowhere.pth: no such checkpoint"),
        ("--model A A --system pcvos", "no weights of intra-clip refinement"),
        ("--model A A --network stcn", "holds network tiny, not stcn"),
    ],
)
def test_a_wrong_ensemble_is_refused_before_anything_is_written(
    command, weights, tmp_path, tmp_path_factory, flags, words
):
    root = write_davis(tmp_path_factory.mktemp("davis") / "davis", {"bear": 3})
    words_given = [weights[0] if word == "A" else word for word in flags.split()]
    assert words in command.refuse(eval_davis, "--davis_path", root, *words_given)
    assert not any(tmp_path.iterdir())
