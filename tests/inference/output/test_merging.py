"""Merging the probabilities that several runs wrote."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from eval_commands import EvalCommand
from PIL import Image
from soft_runs import PALETTE, read, save_two_networks, write_two_videos
from toy_trees import (
    file_names,
    write_davis,
    write_png,
    write_youtube,
)

import eval_davis
import eval_generic
import eval_youtube
from inference.output.merging import merge
from scripts import merge as merge_script
from util.errors import InputError, run_command


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> list[Path]:
    return save_two_networks(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def generic(tmp_path_factory) -> Path:
    return write_two_videos(tmp_path_factory.mktemp("generic"))


@pytest.fixture
def command(monkeypatch, capsys, weights, tmp_path) -> EvalCommand:
    return EvalCommand(monkeypatch, capsys, output=tmp_path / "out", model=weights[0])


def merged_equals_ensemble(merged: Path, runs: list[Path], ensemble: Path, video: str) -> int:
    """Check that labels are equal outside ties; returns the number of frames."""
    paths = sorted((ensemble / video).glob("*.png"))
    for path in paths:
        labels = read(merged / video / path.name)
        means = {}
        for folder in (runs[0] / "probabilities" / video).iterdir():
            levels = [
                read(run / "probabilities" / video / folder.name / path.name)
                for run in runs
                if (folder / path.name).exists()
            ]
            if levels:
                means[int(folder.name)] = np.mean(levels, axis=0)
        ordered = np.sort(np.stack(list(means.values())), axis=0)
        tie = ordered[-1] - ordered[-2] <= 1 + 1e-6  # 1/255: two errors of 8-bit rounding
        assert (labels == read(path))[~tie].all()
        assert tie.mean() < 0.1
    return len(paths)


@pytest.mark.parametrize("views", [[], ["--scales", "1", "1.3", "--flip"]], ids=str)
def test_merged_probabilities_of_separate_runs_equal_the_ensemble_in_step(
    command, generic, weights, tmp_path, views
):
    request = [eval_generic, "--data_path", generic, "--resolution", "-1", *views]
    runs = [tmp_path / "a", tmp_path / "b"]
    for run, model in zip(runs, weights):
        command.succeed(*request, "--soft", "--model", model, "--output", run)
    command.succeed(*request, "--model", *weights, "--output", tmp_path / "ensemble")
    assert merge(runs, tmp_path / "merged") == 9
    frames = [
        merged_equals_ensemble(tmp_path / "merged", runs, tmp_path / "ensemble", video)
        for video in ("bear", "lion")
    ]
    assert frames == [5, 4]
    with Image.open(tmp_path / "merged/lion/00000.png") as image:
        assert image.mode == "P" and bytes(image.getpalette()) == PALETTE
    config = json.loads((tmp_path / "merged/config.json").read_text())
    assert config["script"] == "merge.py" and config["sequences"] == ["bear", "lion"]
    hashes = [json.loads((run / "config.json").read_text())["weights_sha256"] for run in runs]
    assert [run["weights_sha256"] for run in config["runs"]] == hashes


def test_merged_results_lie_in_the_subfolder_of_their_runs(command, weights, tmp_path):
    root = write_youtube(tmp_path / "youtube")
    runs = [tmp_path / "a", tmp_path / "b"]
    for run, model in zip(runs, weights):
        command.succeed(
            eval_youtube, "--yv_path", root, "--soft", "--model", model, "--output", run
        )
    assert merge(runs, tmp_path / "merged") == 3
    assert file_names(tmp_path / "merged/Annotations") == ["aa11"]


def test_the_command_prints_what_it_merged(command, weights, tmp_path, monkeypatch, capsys):
    root = write_davis(tmp_path / "davis", {"bear": 3})
    for run, model in zip("ab", weights):
        command.succeed(
            *(eval_davis, "--davis_path", root, "--soft"),
            *("--model", model, "--output", tmp_path / run),
        )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["merge.py", "a", "b", "--output", "merged"])
    merge_script.main()
    assert capsys.readouterr().out == "merged: 3 frames merged from 2 runs\n"


# What is refused


@pytest.fixture(scope="module")
def finished(weights, generic, tmp_path_factory) -> Path:
    """Runs a and b with probabilities, and hard, a run without."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        for name, soft in (("a", ["--soft"]), ("b", ["--soft"]), ("hard", [])):
            words = ["--data_path", generic, "--resolution", "-1", "--model", weights[0]]
            words += ["--device", "cpu", "--output", folder / name, *soft]
            patch.setattr("sys.argv", ["eval_generic.py", *map(str, words)])
            eval_generic.main()
    return folder


def remove_frame(folder: Path) -> None:
    for path in folder.glob("b/bear/00004.png"), folder.glob("b/probabilities/bear/*/00004.png"):
        for file in path:
            file.unlink()


def shrink(folder: Path) -> None:
    for path in (folder / "b/probabilities/bear").glob("*/00003.png"):
        Image.fromarray(read(path)[:20]).save(path)


REFUSED: list[tuple[str, Callable[[Path], object] | None, str]] = [
    ("a", None, "give the output folders of two runs"),
    ("a b --output a", None, "a: is there already; choose another --output"),
    ("a b --output a/c", None, "a/c: lies in a"),
    ("a nowhere", None, "nowhere: holds no config.json"),
    ("a hard", None, "hard/probabilities/bear: is missing; run it again with --soft"),
    ("a b", lambda folder: shutil.rmtree(folder / "b/bear"), "b/bear: is missing; finish the run"),
    ("a b", lambda folder: (folder / "b/bear/incomplete.txt").touch(), "b/bear: ends early"),
    ("a b", remove_frame, "b/bear: lacks 00004.png, which a holds"),
    (
        "a b",
        lambda folder: shutil.rmtree(folder / "b/probabilities/bear/3"),
        "b: bear/00002 shows objects 1, but a: 1 3",
    ),
    (
        "a b",
        lambda folder: (folder / "b/probabilities/bear/0/00001.png").unlink(),
        "0/00001.png: is missing",
    ),
    (
        "a b",
        lambda folder: (folder / "b/probabilities/bear/x").mkdir(),
        "b/probabilities/bear/x: is no folder of an object's id",
    ),
    ("a b", shrink, "0/00003.png: 64×20 pixels, but 64×48 pixels in a"),
    (
        "a b",
        lambda folder: write_png(
            folder / "b/probabilities/bear/1/00001.png", np.zeros((48, 64), np.uint8)
        ),
        "1/00001.png: not a grey image",
    ),
    (
        "a b",
        lambda folder: (folder / "b/probabilities/bear/1/00001.png").write_bytes(b"none"),
        "00001.png: not an image",
    ),
]


@pytest.mark.parametrize(("runs", "change", "words"), REFUSED)
def test_runs_that_do_not_agree_are_refused_with_one_line_and_nothing_is_written(
    finished, tmp_path, runs, change, words, monkeypatch, capsys
):
    for path in finished.iterdir():
        shutil.copytree(path, tmp_path / path.name)
    if change is not None:
        change(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.chdir(tmp_path)
    output = [] if "--output" in runs else ["--output", "merged"]
    monkeypatch.setattr("sys.argv", ["merge.py", *runs.split(), *output])
    with pytest.raises(SystemExit) as end:
        run_command(merge_script.main)
    error = capsys.readouterr().err
    assert end.value.code == 2 and error.count("\n") == 1 and error.startswith("error: ")
    assert re.search(words, error), error
    assert sorted(tmp_path.rglob("*")) == before


def test_other_videos_are_refused(command, generic, tmp_path):
    request = [eval_generic, "--data_path", generic, "--resolution", "-1", "--soft"]
    command.succeed(*request, "--output", tmp_path / "a")
    command.succeed(*request, "--output", tmp_path / "b", "--sequences", "lion")
    with pytest.raises(InputError, match=r"b: videos lion, but .*a: bear lion"):
        merge([tmp_path / "a", tmp_path / "b"], tmp_path / "merged")
