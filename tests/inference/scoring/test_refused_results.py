"""Results and truth that cannot be scored, and the words of the line that refuses each."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from media_trees import check_refused
from PIL import Image
from repository import ROOT
from toy_label_maps import HEIGHT, WIDTH, labels_with, write_maps

from inference.scoring import score_folder


@pytest.fixture
def pair(tmp_path) -> tuple[Path, Path]:
    """The truth of bear and cat, four frames each, and perfect results."""
    for side in ("truth", "results"):
        for name in ("bear", "cat"):
            write_maps(tmp_path / side / name, [labels_with(1, 2)] * 4)
    return tmp_path / "truth", tmp_path / "results"


def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def write_meta(truth: Path, content: object) -> None:
    (truth / "meta.json").write_text(json.dumps(content))


ONE_OBJECT = {"objects": {"1": {"category": "cat"}}}

# name: what is done to truth and results, and the words
FILES: dict[str, tuple[Callable[[Path, Path], object], str]] = {
    "no results of a video": (
        lambda truth, results: (results / "cat").rename(results / "gone"),
        "no results for cat; .* --sequences bear",
    ),
    "no result of a frame": (
        lambda truth, results: (results / "cat/00002.png").unlink(),
        r"cat.00002\.png: no such result \(1 of 2.*damaged in its file has no result",
    ),
    "a result of another size": (
        lambda truth, results: write_maps(results / "cat", {"00001": np.zeros((12, 16))}),
        r"00001\.png: 16x12 pixels, the truth 32x24",
    ),
    "an id that the truth does not have": (
        lambda truth, results: write_maps(results / "cat", {"00001": labels_with(1, 2, 9)}),
        r"cat/00001\.png: id 9 in the results, the truth has 1 2",
    ),
    "255 for several objects": (
        lambda truth, results: write_maps(
            results / "cat", [np.where(labels_with(1, 2) > 0, 255, 0)] * 4
        ),
        "255",
    ),
    "a truncated truth": (
        lambda truth, results: truncate(truth / "bear/00001.png"),
        r"00001\.png: damaged or unreadable",
    ),
    "a truncated result": (
        lambda truth, results: truncate(results / "bear/00001.png"),
        r"00001\.png: damaged or unreadable",
    ),
    "a photograph": (
        lambda truth, results: Image.fromarray(noise()).save(results / "bear/00001.png"),
        r"00001\.png: an image of mode RGB;",
    ),
    "16 bits": (
        lambda truth, results: Image.fromarray(noise()[..., 0].astype(np.uint16)).save(
            results / "bear/00001.png"
        ),
        r"00001\.png: an image of mode I",
    ),
    "no image": (
        lambda truth, results: (results / "bear/00001.png").write_text("no image at all"),
        r"00001\.png: not an image",
    ),
    "truth without masks": (
        lambda truth, results: [path.unlink() for path in (truth / "bear").iterdir()],
        "bear: no PNG in it",
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_results_that_cannot_be_scored_are_refused(pair, name):
    damage, words = FILES[name]
    damage(*pair)
    check_refused(lambda: score_folder(*pair), words)


REQUESTS = [
    ({"protocol": "official"}, "choose one of davis strict youtube lvos vost"),
    ({"workers": 0}, "--workers 0"),
    ({"meta": "meta.json"}, "--meta: of no use"),
    ({"sequences": ["bear", "cow"]}, "no sequence cow; it has bear cat"),
    ({"protocol": "youtube"}, "it needs the objects' categories; .*--meta"),
    ({"truth": "nowhere"}, "nowhere: no such folder; --truth"),
    ({"results": "nowhere"}, "nowhere: no such folder; --results"),
]


@pytest.mark.parametrize(("request_", "words"), REQUESTS)
def test_wrong_requests_are_refused(pair, request_, words):
    request_ = {"truth": pair[0], "results": pair[1], **request_}
    check_refused(lambda: score_folder(**request_), words)


METAS = [
    ({"videos": {"bear": ONE_OBJECT, "cat": ONE_OBJECT}}, r"bear: object 2 .* not in meta\.json"),
    ({"videos": [1]}, r"meta\.json: not a meta\.json of YouTube-VOS"),
    ([], r"meta\.json: not a meta\.json of YouTube-VOS"),
]


@pytest.mark.parametrize(("content", "words"), METAS)
def test_categories_are_not_guessed(pair, content, words):
    truth, results = pair
    write_meta(truth.parent, content)
    meta = truth.parent / "meta.json"
    check_refused(lambda: score_folder(truth, results, protocol="youtube", meta=meta), words)


def test_truth_in_which_no_frame_can_be_scored_is_refused(tmp_path):
    write_maps(tmp_path / "bear", [labels_with(1)] * 2)
    words = "no object has a frame to score; masks of frames after.*object 1"
    check_refused(lambda: score_folder(tmp_path, tmp_path), words)


def test_the_script_refuses_with_one_line_and_code_2(tmp_path, pair):
    truth, results = pair
    (results / "cat/00001.png").write_bytes(b"")
    command = [sys.executable, ROOT / "scripts/score.py", "--truth", truth, "--results", results]
    done = subprocess.run(
        [*command, "--json", tmp_path / "scores.json"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert not (tmp_path / "scores.json").exists()
