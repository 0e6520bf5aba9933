"""The rules of imports, read from the sources.

Rooms import in one direction: util ← model, dataset ← inference ← annotator, entry programs.
Nothing imports scripts or the annotator but they themselves and their tests, and no modules import
each other in a circle.
"""

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from repository import ROOT

PACKAGES = {"util", "model", "dataset", "inference", "annotator", "scripts"}
ENTRY_PROGRAMS = {path.stem for path in ROOT.glob("*.py")}
LIBRARY = {"inference", "model", "dataset", "util"}
MAY_IMPORT = {
    "util": {"util"},
    "model": {"model", "util"},
    "dataset": {"dataset", "util"},
    "inference": LIBRARY,
    "annotator": {"annotator", *LIBRARY},
    "scripts": {"scripts", *LIBRARY},
    "tests": {"scripts", "annotator", *LIBRARY, *ENTRY_PROGRAMS},
    "": LIBRARY,  # the entry programs
}
SOURCES = sorted(
    path.relative_to(ROOT)
    for path in (
        *ROOT.glob("*.py"),
        *(path for room in (*PACKAGES, "tests") for path in (ROOT / room).rglob("*.py")),
    )
)


def imported_modules(tree: ast.Module, path: Path) -> Iterator[str]:
    """The full names of what a file imports, at any depth of its code.

    `from a import b` yields a.b. Relative and dynamic imports are included.
    """
    package = path.parent.parts
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*base, *(node.module or "").split("."))).strip(".")
            yield from (f"{module}.{alias.name}".strip(".") for alias in node.names)
        elif isinstance(node, ast.Call) and is_dynamic_import(node):
            yield str(getattr(node.args[0], "value", ""))


def is_dynamic_import(call: ast.Call) -> bool:
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    return name in ("import_module", "__import__", "run_module") and bool(call.args)


def forbidden_imports(source: str, path: Path) -> list[str]:
    """The packages of ours that the file at `path`, relative to the root, must not import."""
    room = path.parts[0] if len(path.parts) > 1 else ""
    ours = PACKAGES | ENTRY_PROGRAMS | {"tests"}
    packages = {name.split(".")[0] for name in imported_modules(ast.parse(source), path)}
    return sorted((packages & ours) - MAY_IMPORT.get(room, set()))


def path_edits(source: str) -> list[int]:
    """The lines that use sys.path or site.addsitedir."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        used = isinstance(node, ast.Attribute) and (
            node.attr == "addsitedir"
            or (node.attr == "path" and getattr(node.value, "id", "") == "sys")
        )
        imported = (
            isinstance(node, ast.ImportFrom)
            and node.module == "sys"
            and any(alias.name == "path" for alias in node.names)
        )
        if used or imported:
            lines.append(node.lineno)
    return lines


def star_imports(source: str) -> list[int]:
    """The lines that import everything from a module."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names)
    ]


def import_circle(sources: dict[Path, str]) -> list[str]:
    """The modules of one import circle; an empty list if there is none.

    sources: by path relative to the root. An import inside a function counts as well, so that it
    cannot hide a circle. A package imported for its submodule is not counted.
    """
    modules = {module_name(path): path for path in sources}
    graph = {}
    for module, path in modules.items():
        names = imported_modules(ast.parse(sources[path]), path)
        # In a.b, b is a submodule or a name in module a.
        targets = {name if name in modules else name.rpartition(".")[0] for name in names}
        graph[module] = targets & modules.keys()
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return []


def module_name(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_imports_follow_the_direction_of_the_rooms(path):
    source = (ROOT / path).read_text(encoding="utf-8")
    assert forbidden_imports(source, path) == []
    assert path_edits(source) == []
    assert star_imports(source) == []


def test_no_modules_import_each_other_in_a_circle():
    sources = {path: (ROOT / path).read_text(encoding="utf-8") for path in SOURCES}
    assert import_circle(sources) == []


def test_all_rooms_have_sources():
    rooms = {path.parts[0] for path in SOURCES if len(path.parts) > 1}
    assert rooms == {*PACKAGES, "tests"} and Path("train.py") in SOURCES


@pytest.mark.parametrize(
    ("path", "source", "forbidden"),
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
        ("inference/a.py", "from annotator.guard import Guard", ["annotator"]),
        ("scripts/a.py", "import annotator", ["annotator"]),
        ("annotator/a.py", "from inference.interactive import Stroke", []),
        ("annotator/a.py", "from scripts import score", ["scripts"]),
        ("train.py", "import scripts.score as s", ["scripts"]),
        ("scripts/a.py", "import train", ["train"]),
        ("model/a.py", "from . import config\nfrom util.errors import InputError", []),
        ("model/a.py", "import torch.utils.data.dataset", []),
        ("inference/memory/a.py", "from ..config import SYSTEMS\nimport dataset, model, util", []),
    ],
)
def test_forbidden_imports_are_recognised(path, source, forbidden):
    assert forbidden_imports(source, Path(path)) == forbidden


@pytest.mark.parametrize(
    ("sources", "circle"),
    [
        ({"model/a.py": "import model.b", "model/b.py": "from model.a import x"}, True),
        ({"model/a.py": "from . import b", "model/b.py": "def f():\n    import model.a"}, True),
        ({"model/__init__.py": "from model.a import x", "model/a.py": "from model import x"}, True),
        ({"model/__init__.py": "from model.a import x", "model/a.py": "from . import x"}, True),
        ({"model/__init__.py": "from model import a", "model/a.py": "import util.a"}, False),
        ({"model/a.py": "import model.b", "model/b.py": "import torch"}, False),
    ],
)
def test_import_circles_are_recognised(sources, circle):
    sources = {Path(path): source for path, source in sources.items()}
    assert bool(import_circle(sources)) == circle


def test_path_edits_and_star_imports_are_recognised():
    assert path_edits("import sys\nsys.path.insert(0, '.')") == [2]
    assert path_edits("from sys import path") == [1]
    assert path_edits("import os\nos.path.join('a')") == []
    assert star_imports("from torch import *") == [1]
