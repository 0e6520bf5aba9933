"""eval_generic.py --benchmark: submissions as the servers and toolkits take them, and scores."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from eval_commands import EvalCommand
from toy_benchmarks import (
    check_lvos,
    check_mose,
    check_viposeg,
    check_vost,
    write_lvos,
    write_mose,
    write_viposeg,
    write_vost,
)
from toy_trees import file_names, write_tiny_weights

import eval_generic

Made = tuple[Callable[[Path], Path], Callable[[Path, Path], None]]
BENCHMARKS: dict[str, Made] = {
    "mose": (lambda root: write_mose(root, {"0a1b": 3, "2c3d": 2}), check_mose),
    "lvos": (lambda root: write_lvos(root, count=5), check_lvos),
    "vost": (lambda root: write_vost(root, count=7), check_vost),
    "viposeg": (write_viposeg, check_viposeg),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A folder of toy benchmarks by their names."""
    folder = tmp_path_factory.mktemp("benchmarks")
    for name, (write, _) in BENCHMARKS.items():
        write(folder / name)
    return folder


@pytest.fixture
def command(monkeypatch, capsys, tmp_path, tmp_path_factory) -> EvalCommand:
    weights = write_tiny_weights(tmp_path_factory.mktemp("weights") / "tiny.pth")
    return EvalCommand(monkeypatch, capsys, output=tmp_path / "out", model=weights)


def flags_of(data: Path, name: str) -> list[object]:
    return ["--data_path", data / name, "--benchmark", name, "--resolution", "48"]


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_run_writes_what_the_benchmark_takes(command, data, tmp_path, name):
    command.succeed(eval_generic, *flags_of(data, name))
    BENCHMARKS[name][1](tmp_path / "out", data / name)
    recorded = (tmp_path / "out/config.json").read_text()
    assert f'"benchmark": "{name}"' in recorded


def test_lvos_is_scored_by_its_protocol_with_the_files_beside_the_frames(command, data, tmp_path):
    out = command.succeed(eval_generic, *flags_of(data, "lvos"), "--score").out
    assert out.startswith("protocol lvos (LVOS: ") and "seen, unseen   G " in out
    scores = json.loads((tmp_path / "out/scores.json").read_text())
    # of five frames, object 1 is scored in three; object 2, of the last two, in none
    rows = [(row["sequence"], row["object_id"], row["frames"]) for row in scores["objects"]]
    assert rows == [("aaa", 1, 3), ("bbb", 1, 3)]
    assert [row["seen"] for row in scores["objects"]] == [False, True]


def test_vost_is_scored_on_the_annotated_frames(command, data, tmp_path):
    out = command.succeed(eval_generic, *flags_of(data, "vost"), "--score").out
    assert out.startswith("protocol vost (VOST: ") and "void (255) counts as background" in out
    scores = json.loads((tmp_path / "out/scores.json").read_text())
    assert [(row["object_id"], row["frames"]) for row in scores["objects"]] == [(1, 2), (2, 2)]
    assert set(scores["overall"]["extras"]) == {"J_tr"}


def test_viposeg_is_scored_against_the_truth_that_lies_apart(command, data, tmp_path):
    command.succeed(eval_generic, *flags_of(data, "viposeg"), "--score")
    scores = json.loads((tmp_path / "out/scores.json").read_text())
    assert scores["protocol"] == "strict"
    rows = [(row["sequence"], row["object_id"], row["frames"]) for row in scores["objects"]]
    assert rows == [("1_abc", 1, 3), ("1_abc", 2, 1), ("2_def", 1, 3), ("2_def", 2, 1)]


def test_another_truth_and_protocol_may_be_named(command, data):
    flags = ["--truth", data / "vost/Annotations", "--protocol", "strict"]
    out = command.succeed(eval_generic, *flags_of(data, "vost"), *flags).out
    assert out.startswith("protocol strict")


def test_a_run_resumes(command, data, tmp_path):
    first = command.succeed(eval_generic, *flags_of(data, "mose"), "--sequences", "0a1b")
    again = command.succeed(eval_generic, *flags_of(data, "mose"))
    frames = [json.loads(ended.out.splitlines()[-1])["frames"] for ended in (first, again)]
    assert frames == [3, 2]
    assert {"0a1b", "2c3d"} <= set(file_names(tmp_path / "out"))


REFUSED = [
    ("mose", "--score", "the truth of MOSE valid is not public"),
    ("mose", "--split best", "no split 'best' of MOSE; there are: valid test train"),
    ("mose", "--corrections", "--corrections: not for a benchmark, whose rules are fixed"),
    ("mose", "--frame_range 0 9", "--frame_range: not for a benchmark"),
    ("mose", "--score --truth t", "--score and --truth: give one of them"),
    ("vost", "--sequences bear", "no sequence 'bear'"),
    ("lvos", "--split test", "no Annotations in it"),
]


@pytest.mark.parametrize(("name", "flags", "words"), REFUSED)
def test_a_wrong_request_is_refused_before_anything_is_written(
    command, data, tmp_path, name, flags, words
):
    line = command.refuse(eval_generic, *flags_of(data, name), *flags.split())
    assert re.search(words, line), line
    assert not any(tmp_path.iterdir())


def test_scores_that_cannot_be_computed_are_refused_before_the_run(command, data, tmp_path):
    shutil.copytree(data / "lvos", tmp_path / "data/lvos")
    (tmp_path / "data/lvos/val/val_meta.json").write_text("[]")
    line = command.refuse(eval_generic, *flags_of(tmp_path / "data", "lvos"), "--score")
    assert "val_meta.json: not a val_meta.json of LVOS" in line
    assert file_names(tmp_path) == ["data"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--data_path a --split val", "--split: goes with --benchmark"),
        ("--data_path a --score", "--score: goes with --benchmark"),
        ("--video a --mask m.png --benchmark mose", "--benchmark: is read from --data_path"),
        ("--data_path a --benchmark coco", "invalid choice: 'coco'"),
    ],
)
def test_flags_of_benchmarks_stand_together(command, flags, words):
    assert words in command.refuse(eval_generic, *flags.split())
