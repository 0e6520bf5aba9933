"""The one-way rule of imports, read from the sources: util ← model, dataset ← inference ← entry scripts; nobody but their tests imports scripts."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from repository import ROOT

PACKAGES = {"util", "model", "dataset", "inference", "scripts"}
ENTRY_SCRIPTS = {path.stem for path in ROOT.glob("*.py")}
MAY_IMPORT = {
    "util": {"util"},
    "model": {"model", "util"},
    "dataset": {"dataset", "util"},
    "inference": {"inference", "model", "dataset", "util"},
    "scripts": {
        "scripts",
        "inference",
        "model",
        "dataset",
        "util",
    },  # their own tools; no other room imports them
    "tests": {"scripts", "inference", "model", "dataset", "util", *ENTRY_SCRIPTS},
    "": {"inference", "model", "dataset", "util"},  # the entry scripts
}
SOURCES = sorted(
    path.relative_to(ROOT)
    for path in (
        *ROOT.glob("*.py"),
        *(path for room in (*PACKAGES, "tests") for path in (ROOT / room).rglob("*.py")),
    )
)


def parse(source: str, path: Path) -> ast.Module:
    return ast.parse(source, filename=str(path))


def imported_modules(tree: ast.Module, path: Path) -> Iterator[str]:
    """Full names of what a file imports, at any depth of its code, relative and dynamic imports included."""
    package = path.parent.parts
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*base, *(node.module or "").split("."))).strip(".")
            yield from (f"{module}.{alias.name}".strip(".") for alias in node.names)
        elif (
            isinstance(node, ast.Call)
            and called_name(node) in ("import_module", "__import__", "run_module")
            and node.args
        ):
            yield str(getattr(node.args[0], "value", ""))


def called_name(call: ast.Call) -> str:
    return getattr(call.func, "attr", getattr(call.func, "id", ""))


def wrong_imports(source: str, path: Path) -> list[str]:
    """Imports of our own packages that the rule forbids to the file at `path` (relative to the root)."""
    room = path.parts[0] if len(path.parts) > 1 else ""
    own = PACKAGES | ENTRY_SCRIPTS | {"tests"}
    heads = {name.split(".")[0] for name in imported_modules(parse(source, path), path)}
    return sorted((heads & own) - MAY_IMPORT.get(room, set()))


def path_edits(source: str, path: Path) -> list[int]:
    """Lines that touch sys.path, or bring it or site.addsitedir in."""
    lines = []
    for node in ast.walk(parse(source, path)):
        attribute = isinstance(node, ast.Attribute) and (
            node.attr == "addsitedir"
            or (node.attr == "path" and getattr(node.value, "id", "") == "sys")
        )
        imported = (
            isinstance(node, ast.ImportFrom)
            and node.module == "sys"
            and any(alias.name == "path" for alias in node.names)
        )
        if attribute or imported:
            lines.append(node.lineno)
    return lines


def star_imports(source: str, path: Path) -> list[int]:
    return [
        node.lineno
        for node in ast.walk(parse(source, path))
        if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names)
    ]


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_imports_go_one_way(path):
    source = (ROOT / path).read_text(encoding="utf-8")
    assert wrong_imports(source, path) == []
    assert path_edits(source, path) == []
    assert star_imports(source, path) == []


def test_the_sources_are_found():
    assert {path.parts[0] for path in SOURCES if len(path.parts) > 1} >= {
        "util",
        "model",
        "dataset",
        "inference",
        "scripts",
        "tests",
    }
    assert Path("train.py") in SOURCES


@pytest.mark.parametrize(
    ("place", "source", "wrong"),
    [
        ("util/a.py", "import model", ["model"]),
        ("model/a.py", "from dataset.video import Frame", ["dataset"]),
        ("dataset/a.py", "def f():\n    from model import build_network", ["model"]),
        ("dataset/b/c.py", "from ...model import x", ["model"]),
        ("model/a.py", "from .. import inference", ["inference"]),
        (
            "model/a.py",
            "import importlib\nimportlib.import_module('inference.session')",
            ["inference"],
        ),
        ("inference/a.py", "from scripts import score", ["scripts"]),
        ("inference/a.py", "import train", ["train"]),
        ("train.py", "import scripts.score as s", ["scripts"]),
        ("scripts/a.py", "import train", ["train"]),
        (
            "model/a.py",
            "from . import config\nfrom util.errors import InputError\nimport torch.utils.data.dataset",
            [],
        ),
        ("inference/memory/a.py", "from ..config import SYSTEMS\nimport dataset, model, util", []),
    ],
)
def test_forbidden_imports_are_recognised(place, source, wrong):
    assert wrong_imports(source, Path(place)) == wrong


def test_path_edits_and_star_imports_are_recognised():
    here = Path("model/a.py")
    assert path_edits("import sys\nsys.path.insert(0, '.')", here) == [2]
    assert path_edits("from sys import path", here) == [1]
    assert path_edits("import os\nos.path.join('a')", here) == []
    assert star_imports("from torch import *", here) == [1]
