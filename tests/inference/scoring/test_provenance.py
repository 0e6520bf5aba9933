"""Notes on results that may not be what they are taken for."""

import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_trees import toy_frames, write_davis, write_jpg, write_png

from dataset import DavisDataset
from inference import VideoSegmenter
from inference.output.run_folder import RunFolder
from inference.runner import run
from inference.scoring import score_folder
from model import build_network
from util.errors import InputError


@pytest.fixture
def made(tmp_path) -> tuple[Path, Path]:
    """The truth of two videos, and a run's results of them."""
    root, out = write_davis(tmp_path / "data", {"bear": 6, "camel": 6}), tmp_path / "out"
    torch.manual_seed(0)
    run(DavisDataset(root), VideoSegmenter(build_network("tiny"), device="cpu"), RunFolder(out, {}))
    return root, out


def doubts(truth: Path, results: Path, **flags) -> list[str]:
    """Notes without the hint at shifted frames, which an untrained network may cause."""
    return [
        note
        for note in score_folder(truth, results, **flags).notes
        if "fit the truth much better" not in note
    ]


def test_results_of_a_run_leave_no_doubt(made):
    assert doubts(*made) == []
    assert doubts(*made, sequences=["camel"]) == []


def test_frames_without_their_counterpart_are_named(made):
    root, out = made
    (out / "bear/00005.png").unlink()  # the last frame, which is not scored
    shutil.copy(out / "camel/00005.png", out / "camel/00006.png")
    shutil.copytree(out / "camel", out / "dog")
    assert doubts(root, out) == [
        "the results lack 1 frame of the truth (bear/00005)",
        "1 frame of the results without truth, not scored (camel/00006)",
        "1 video of the results without truth, not scored (dog)",
    ]
    (root / "Annotations/480p/camel/00003.png").unlink()
    assert "2 frames of the results without truth, not scored (camel/00003, camel/00006)" in doubts(
        root, out
    )


def test_results_that_end_early_are_named(made):
    root, out = made
    (out / "bear/incomplete.txt").write_text("bear.mp4: ends after 5 of 6 frames\n")
    assert doubts(root, out) == [
        "bear: its results end early (incomplete.txt: bear.mp4: ends after 5 of 6 frames)"
    ]
    (out / "bear/00004.png").unlink()
    words = r"\(1 of 4 frames of bear have none; incomplete\.txt: bear\.mp4: ends after 5"
    with pytest.raises(InputError, match=r"00004\.png: no such result " + words):
        score_folder(root, out)


def test_results_older_than_the_recorded_run_are_named(made):
    root, out = made
    assert doubts(root, out) == []
    os.utime(out / "bear/00002.png", (time.time() - 3600,) * 2)
    assert doubts(root, out) == [
        "bear: these results are older than the run that config.json describes"
    ]


@pytest.mark.parametrize("change", ["frame", "mask", "removed"])
def test_results_of_inputs_that_changed_since_are_named(made, change):
    root, out = made
    if change == "frame":
        write_jpg(root / "JPEGImages/480p/camel/00003.jpg", np.zeros((48, 64, 3), np.uint8))
    elif change == "mask":
        path = root / "Annotations/480p/camel/00000.png"
        path.write_bytes(path.read_bytes())
    else:
        (root / "JPEGImages/480p/camel/00003.jpg").unlink()
    assert doubts(root, out) == [
        "camel: frames or masks were changed, removed or copied again after these results were made"
    ]


def test_results_without_a_record_are_named(made):
    root, out = made
    path = out / "config.json"
    config = json.loads(path.read_text())
    path.write_text(
        json.dumps(
            {**config, "sequences": ["camel"], "inputs": {"camel": config["inputs"]["camel"]}}
        )
    )
    assert doubts(root, out) == ["bear: config.json does not say how these results were made"]
    path.write_text(json.dumps({key: value for key, value in config.items() if key != "inputs"}))
    assert "earlier version" in doubts(root, out)[0]
    for content in (
        '{"learning_rate": 1}',
        "",
        '{"sequences": [], "inputs": {"bear": 3, "camel": {"made_since": 4}}, "results": "."}',
    ):  # another program's, damaged
        path.write_text(content)
        score_folder(root, out)


def test_truth_given_as_results_is_named(made):
    root, _ = made
    assert doubts(root, root / "Annotations/480p") == [
        "bear, camel: the results are the truth's own files"
    ]


def test_missing_data_is_no_doubt(made, tmp_path):
    root, out = made
    shutil.copytree(root / "Annotations/480p", tmp_path / "truth")
    shutil.rmtree(root)
    assert doubts(tmp_path / "truth", out) == []


def test_results_in_two_folders_are_refused_unless_a_record_tells(made, tmp_path):
    root, out = made
    (out / "config.json").rename(tmp_path / "config.json")
    shutil.copytree(root / "Annotations/480p/bear", out / "Annotations/bear")
    with pytest.raises(
        InputError, match=r"results of bear are in .*out/bear and in .*Annotations/bear"
    ):
        score_folder(root, out)
    (tmp_path / "config.json").rename(out / "config.json")  # says where the run put them
    assert score_folder(root, out).overall.jf_mean < 0.9


def shifted(truth: Path, by: int, noise: float = 0.0) -> Path:
    """Results named `by` frames too late, with some pixels wrong."""
    generator = np.random.default_rng(0)
    _, labels = toy_frames(12, 0)
    for index in range(12):
        write_png(truth / f"truth/bear/{index:05d}.png", labels[index])
        result = labels[np.clip(index - by, 0, 11)].copy()
        result[generator.random(result.shape) < noise] = 0
        write_png(truth / f"results/bear/{index:05d}.png", result)
    return truth


@pytest.mark.parametrize(("by", "side"), [(1, "after"), (-1, "before"), (0, None), (3, None)])
@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_results_that_would_fit_better_one_frame_off_are_noted(tmp_path, by, side, noise):
    root = shifted(tmp_path, by, noise)
    hints = [
        note
        for note in score_folder(root / "truth", root / "results").notes
        if "fit the truth much better" in note
    ]
    if by == 0:
        assert hints == []
    elif side is not None:
        (hint,) = hints
        words = f"the results of the frame {side} each one fit the truth much better (J "
        assert hint.startswith(f"bear: {words}")
        assert "look at how the frames are numbered" in hint
