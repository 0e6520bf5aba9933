"""Making the documentation's tables again: rows, verdicts, records, and the authors' files."""

import contextlib
import functools
import importlib
import io
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from deterministic import weight
from documentation import anchors_of
from repository import DATA, ROOT
from toy_trees import write_davis, write_tiny_weights

from scripts import reproduce
from scripts.reproduction import outcomes
from scripts.reproduction.figures import Figure, Row, Table
from scripts.reproduction.tables import TABLES
from scripts.studies.runs import FailedRunError
from util.errors import InputError
from util.flags import FlagParser


@pytest.fixture(scope="module")
def davis(tmp_path_factory):
    return write_davis(tmp_path_factory.mktemp("davis") / "toy", {"bear": 3})


@pytest.fixture
def reproduced(monkeypatch, tmp_path, capsys):
    """reproduced(flags) runs the script with its commands in this process: its exit code, its
    output and its record."""

    def run_here(command: list[str]) -> str:
        module = importlib.import_module(Path(command[1]).stem)
        monkeypatch.setattr(sys, "argv", command[1:])
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            try:
                module.main()
            except InputError as error:
                raise FailedRunError(str(error)) from error
        return printed.getvalue()

    def run(*flags: object) -> tuple[int, str, dict]:
        monkeypatch.setattr(outcomes, "run_to_end", run_here)
        output = ["--output", tmp_path / "out", "--device", "cpu"]
        monkeypatch.setattr(sys, "argv", ["reproduce.py", *map(str, [*flags, *output])])
        code = reproduce.main()
        what = flags[flags.index("--what") + 1]
        record = json.loads((tmp_path / f"out/{what}.json").read_text())
        assert [path.name for path in (tmp_path / "out").iterdir()] == [f"{what}.json"]
        return code, capsys.readouterr().out, record

    return run


def scored(name: str, expected: float | None, **fields: object) -> Figure:
    return Figure(
        name=name, file="scores.json", path="overall/jf_mean", expected=expected, **fields
    )


def test_figures_are_compared_with_the_documentation_within_their_noise(
    davis, tmp_path, monkeypatch, reproduced
):
    model = write_tiny_weights(tmp_path / "tiny.pth")
    command = f"eval_davis.py --davis_path {{davis}} --score --model {model}"
    figures = [
        scored("changed", 3.0, noise=0.5),
        scored("same", 3.0, noise=3.0),
        scored("open", None),
        Figure(name="speed", file="totals.json", path="fps", of_machine=True),
        Figure(name="bear", file="scores.json", path="objects/sequence=bear,object_id=2/j_mean"),
    ]
    rows = [
        Row(name="tiny", command=command, figures=figures),
        Row(name="broken", command=f"{command} --system pcvos", figures=figures),
        Row(name="missing", command=command, figures=figures, needs="{weights}/a.pth", source="X"),
        Row(name="no figure", command=command, figures=[Figure(name="a", file="b", path="c")]),
    ]
    monkeypatch.setitem(reproduce.TABLES, "sample", Table(title="Toy", page="x.md", rows=rows))
    code, text, record = reproduced("--what", "sample", "--davis_path", davis)
    assert code == 1
    tiny, broken, missing, no_figure = record["rows"]
    verdicts = {figure["name"]: figure["verdict"] for figure in tiny["figures"]}
    assert verdicts == {
        "changed": "changed",
        "same": "same",
        "open": "open",
        "speed": "not judged",
        "bear": "open",
    }
    (change,) = record["changed"]
    assert change.startswith("tiny, changed: 3.0 became ") and change.endswith("(noise 0.5)")
    assert "no weights of intra-clip refinement" in broken["problem"]
    assert missing["problem"].endswith("a.pth: no such file; it is published at X")
    assert "b: the command did not write it" in no_figure["problem"]
    assert "Changed: tiny, changed" in text and "Left out: missing" in text
    assert "Failed: broken" in text and "Failed: no figure" in text

    only = ("--what", "sample", "--davis_path", davis, "--rows", "miss*", "ti*")
    figures.pop(0)
    code, text, record = reproduced(*only)
    assert code == 0 and "No figure has changed by more than its noise." in text
    assert [row["name"] for row in record["rows"]] == ["tiny", "missing"]


def test_a_record_says_by_what_and_from_what_its_figures_were_made(
    davis, tmp_path, monkeypatch, reproduced
):
    model = write_tiny_weights(tmp_path / "tiny.pth")
    row = Row(
        name="tiny",
        command=f"eval_davis.py --davis_path {{davis}} --score --model {model} --memory random",
        figures=[scored("J&F", None)],
    )
    monkeypatch.setitem(reproduce.TABLES, "sample", Table(title="Toy", page="x.md", rows=[row]))
    code, _, record = reproduced("--what", "sample", "--davis_path", davis)
    assert code == 0
    (made,) = record["rows"]
    assert made["command"].startswith(f"python eval_davis.py --davis_path {davis}")
    (run,) = made["runs"]
    assert run["settings"]["memory"]["policy"] == "random" and record["seeds"] == {
        "memory.seed": [0]
    }
    assert {"commit", "date", "processor", "torch", "threads"} <= record.keys()
    assert {"numpy", "opencv-python-headless", "opencv-python"} & record["versions"].keys()
    assert len(run["data"]["bear"]["frames"]) == 64 and len(run["settings"]["weights_sha256"]) == 64

    copy = write_davis(tmp_path / "copy", {"bear": 3})
    _, _, of_copy = reproduced("--what", "sample", "--davis_path", copy)
    assert of_copy["rows"][0]["runs"][0]["data_sha256"] == run["data_sha256"]
    other = write_davis(tmp_path / "other", {"dog": 3})
    _, _, of_other = reproduced("--what", "sample", "--davis_path", other)
    assert of_other["rows"][0]["runs"][0]["data_sha256"] != run["data_sha256"]


@functools.cache
def value_of(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """The value of an entry of the authors' files."""
    if name.endswith("relative_position_index"):
        return torch.zeros(shape, dtype=torch.int64)
    return torch.from_numpy(np.asarray(weight(name, shape)))


@pytest.fixture(scope="module")
def authors_files(tmp_path_factory):
    """A folder of stcn.pth, stcn_s0.pth and pcvos.pth: deterministic values by the public names and
    shapes."""
    folder = tmp_path_factory.mktemp("saves")
    first = "value_encoder.conv1.weight"
    for name, listed, changed in (
        ("stcn", "stcn", {}),
        ("stcn_s0", "stcn", {first: [64, 4, 7, 7]}),  # of one object: no channel for the others
        ("pcvos", "pcvos", {}),
    ):
        shapes = json.loads((DATA / f"{listed}_state_dict.json").read_text()) | changed
        state = {entry: value_of(entry, tuple(shape)) for entry, shape in shapes.items()}
        torch.save(state, folder / f"{name}.pth")
    value_of.cache_clear()
    yield folder
    for path in folder.iterdir():  # 650 MB
        path.unlink()


def test_the_authors_files_run_on_davis_with_the_published_figure_beside_ours(
    davis, authors_files, reproduced
):
    flags = ("--what", "authors", "--davis_path", davis, "--weights", authors_files)
    code, text, record = reproduced(*flags)
    assert code == 1  # these weights have learned nothing
    measured = {
        row["name"]: {figure["name"]: figure for figure in row["figures"]} for row in record["rows"]
    }
    assert {name: rows["J&F"]["expected"] for name, rows in measured.items()} == {
        "stcn": 85.3,
        "stcn_s0": None,
        "pcvos": 86.1,
    }
    assert measured["stcn_s0"]["J&F"]["verdict"] == "open"
    networks = [row["runs"][0]["settings"]["network"] for row in record["rows"]]
    assert networks == ["stcn", "stcn", "pcvos"]
    assert "| stcn | J&F | 85.3 |" in text and "| stcn_s0 | J&F | open |" in text


def test_a_file_that_is_missing_is_named_with_the_address_where_it_is_published(
    davis, tmp_path, monkeypatch
):
    monkeypatch.setattr(sys, "argv", ["reproduce.py", "--what", "authors"])
    flags = reproduce._parser().parse_args()
    flags.davis_path, flags.weights = davis, tmp_path
    rows = TABLES["authors"].rows
    with pytest.raises(InputError, match=r"no row can be run: .*stcn\.pth: no such file.*github"):
        reproduce.folders_of(flags, rows)
    (tmp_path / "pcvos.pth").touch()
    folders = reproduce.folders_of(flags, rows)
    missing = [outcomes.missing_file(row, folders) for row in rows]
    assert missing[2] is None and "releases/tag/1.0" in missing[1]


def section_of(page: str) -> str:
    """The text of PAGE, or of the section of PAGE#ANCHOR up to the next heading."""
    name, _, anchor = page.partition("#")
    path = ROOT / name
    if not anchor:
        return path.read_text(encoding="utf-8")
    assert anchor in anchors_of(path), page
    parts = re.split(r"^(?=#+ )", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    for part in parts:
        title = part.partition("\n")[0].lstrip("# ").lower()
        if re.sub(r"[^\w\- ]", "", title).replace(" ", "-") == anchor:
            return part
    raise AssertionError(page)


@pytest.mark.parametrize("name", TABLES)
def test_the_expected_figures_are_those_of_the_documentation(name):
    section = section_of(TABLES[name].page)
    for row in TABLES[name].rows:
        for figure in row.figures:
            if figure.expected is not None:
                text = re.escape(figure.shown(figure.expected))
                shown = re.search(rf"(?<![\d.]){text}(?!\d|\.\d)", section)
                assert shown, f"{TABLES[name].page}: {row.name}, {figure.name}, {figure.expected}"


class Parsed(BaseException):
    """Raised after a program has parsed its flags."""


@pytest.mark.parametrize("name", TABLES)
def test_every_command_of_a_table_is_one_that_its_program_takes(name, monkeypatch):
    parse = FlagParser.parse_args

    def parse_and_stop(parser, *arguments, **keywords):
        parse(parser, *arguments, **keywords)
        raise Parsed

    monkeypatch.setattr(FlagParser, "parse_args", parse_and_stop)
    folders = {"davis": ROOT, "weights": ROOT, "repository": ROOT}
    for row in TABLES[name].rows:
        program, *flags = outcomes._command(row, folders, ROOT / "out", "cpu")
        monkeypatch.setattr(sys, "argv", [program, *flags])
        with pytest.raises(Parsed):
            importlib.import_module(program.removesuffix(".py").replace("/", ".")).main()


def test_the_list_names_every_table_and_command(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["reproduce.py", "--list"])
    assert reproduce.main() == 0
    listed = capsys.readouterr().out
    for name, table in TABLES.items():
        assert f"{name}: {table.title}" in listed
        assert all(f"{row.name}: python {row.command}" in listed for row in table.rows)
