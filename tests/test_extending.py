"""docs/extending.md, followed to the letter in a copy of the repository."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import documentation
import pytest
from repository import ROOT
from test_docs import quickened, write_workspace
from toy_trees import toy_frames, write_jpg, write_png

PAGE = ROOT / "docs/extending.md"
PACKAGES = ("dataset", "inference", "model", "util", "weights")
FILE, CHANGE = "file: ", "change: "

# runs programs one after the other in one process, which saves importing torch for each
RUN_ALL = """
import importlib, json, sys
for program, arguments in json.loads(sys.argv[1]):
    sys.argv = [program, *arguments]
    assert not importlib.import_module(program.removesuffix(".py")).main(), program
"""


def follow(page: Path, copy: Path) -> None:
    """Make the page's new files and changes in a copy of the repository."""
    for block in documentation.blocks_of(page):
        if block.note.startswith(FILE):
            path = copy / block.note.removeprefix(FILE)
            assert not path.exists(), f"{block}: {path.name} exists already"
            path.write_text(block.text + "\n", encoding="utf-8")
        elif block.note.startswith(CHANGE):
            path = copy / block.note.removeprefix(CHANGE)
            before, after = (
                "".join(f"{line[1:]}\n" for line in block.text.splitlines() if line[0] in signs)
                for signs in (" -", " +")
            )
            text = path.read_text(encoding="utf-8")
            assert text.count(before) == 1, f"{block}: {path.name} holds this not exactly once"
            path.write_text(text.replace(before, after), encoding="utf-8")


@pytest.fixture
def copy(tmp_path) -> Path:
    folder = tmp_path / "copy"
    for name in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for path in ROOT.glob("*.py"):
        shutil.copy(path, folder)
    return folder


def test_a_newcomer_can_follow_the_page(copy, tmp_path):
    workspace = tmp_path / "work"
    write_workspace(workspace)
    images, labels = toy_frames(3, 0)
    for index, image in enumerate(images):
        write_jpg(workspace / f"CLIPS/bear/frames/{index:05d}.jpg", image)
    write_png(workspace / "CLIPS/bear/mask.png", labels[0])
    follow(PAGE, copy)
    commands = [quickened(command) for command in documentation.commands_of(PAGE)]
    calls = [(command.program, command.arguments) for command in commands]
    done = subprocess.run(
        [sys.executable, "-c", RUN_ALL, json.dumps(calls)],
        cwd=workspace,
        env={**os.environ, "PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    for name in ("lifo", "l1", "clips"):
        assert (workspace / f"results/{name}/camel/00011.png").is_file()
        record = json.loads((workspace / f"results/{name}/config.json").read_text())
        assert name in json.dumps(record)
    assert (workspace / "results/clips-data/bear/00002.png").is_file()
