"""Probabilities beside the label maps."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from eval_commands import EvalCommand
from soft_runs import read, save_two_networks, write_two_videos
from toy_trees import (
    file_names,
)

import eval_generic
from inference import VideoSegmenter
from inference.output.soft import SoftWriter, to_levels
from inference.results import FrameResult


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> list[Path]:
    return save_two_networks(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def generic(tmp_path_factory) -> Path:
    return write_two_videos(tmp_path_factory.mktemp("generic"))


@pytest.fixture
def command(monkeypatch, capsys, weights, tmp_path) -> EvalCommand:
    return EvalCommand(monkeypatch, capsys, output=tmp_path / "out", model=weights[0])


def read_tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.png"))
    }


def test_probabilities_are_written_for_the_background_and_each_object_from_its_first_frame_on(
    command, generic, weights, tmp_path
):
    command.succeed(eval_generic, "--data_path", generic, "--resolution", "-1", "--soft")
    out = tmp_path / "out"
    assert file_names(out / "probabilities") == ["bear", "lion"]
    assert file_names(out / "probabilities/bear") == ["0", "1", "3"]
    frames = [f"{index:05d}.png" for index in range(5)]
    assert file_names(out / "probabilities/bear/1") == frames
    assert file_names(out / "probabilities/bear/3") == frames[2:]
    assert file_names(out / "bear") == frames
    video = generic / "JPEGImages/bear"
    segmenter = VideoSegmenter.from_checkpoint(weights[0], device="cpu")
    masks = {i: read(generic / f"Annotations/bear/{i:05d}.png") for i in (0, 2)}
    for result in segmenter.segment([read(path) for path in sorted(video.iterdir())], masks):
        for number, object_id in enumerate((0, *result.object_ids)):
            level = read(out / f"probabilities/bear/{object_id}/{result.frame_index:05d}.png")
            error = np.abs(level / 255 - result.probabilities[number].numpy())
            assert level.dtype == np.uint8 and error.max() <= 1 / 510 + 1e-6


def test_label_maps_are_the_same_with_and_without_probabilities(command, generic, tmp_path):
    request = [eval_generic, "--data_path", generic, "--resolution", "-1"]
    command.succeed(*request)
    command.succeed(*request, "--soft", "--output", tmp_path / "soft")
    for video in ("bear", "lion"):
        assert read_tree(tmp_path / "out" / video) == read_tree(tmp_path / "soft" / video)


def test_a_video_without_its_probabilities_is_made_again(command, generic, tmp_path):
    request = [eval_generic, "--data_path", generic, "--resolution", "-1"]
    command.succeed(*request)
    soft = tmp_path / "out/probabilities"
    assert "2 of 2" not in command.succeed(*request, "--soft").err
    shutil.rmtree(soft / "lion")
    assert "1 of 2 videos are finished" in command.succeed(*request, "--soft").err
    assert file_names(soft) == ["bear", "lion"]
    # those of former settings do not stay beside results of others
    command.succeed(*request, "--top_k", "5", "--overwrite")
    assert file_names(soft) == []


def test_probabilities_of_a_video_appear_whole_or_not_at_all(tmp_path):
    result = FrameResult.of(0, (4,), torch.tensor([0.25, 0.75])[:, None, None].expand(2, 16, 20))
    with SoftWriter(tmp_path / "soft") as writer:
        with pytest.raises(RuntimeError), writer.video("bear") as video:
            video.write("00000", result)
            raise RuntimeError("the session's")
        assert file_names(tmp_path / "soft") == []
        with writer.video("bear") as video:
            video.write("00000", result)
            assert not (tmp_path / "soft/bear").exists()
    assert file_names(tmp_path / "soft/bear") == ["0", "4"]
    assert np.unique(read(tmp_path / "soft/bear/4/00000.png")).tolist() == [191]


def test_every_probability_is_rounded_to_the_nearest_level():
    probabilities = torch.rand(3, 50, 50)
    error = to_levels(probabilities).astype(np.float64) / 255 - probabilities.double().numpy()
    assert np.abs(error).max() <= 1 / 510 + 1e-7
