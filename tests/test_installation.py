"""The project runs from a plain clone, from any working directory, and installed by pip."""

import importlib.metadata
import importlib.util
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from repository import ROOT

from util.run_record import package_versions

PACKAGES = ("annotator", "dataset", "inference", "model", "scripts", "util")
SCRIPTS = sorted(path for path in (ROOT / "scripts").glob("*.py") if not path.name.startswith("_"))
HOSTILE_MODULES = ("csv", "json", "argparse", "util", "model", "torch")
CLEAN_ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


@pytest.fixture
def hostile_folder(tmp_path: Path) -> Path:
    """A working directory whose modules have the names of others, and print if imported."""
    folder = tmp_path / "there"
    for name in HOSTILE_MODULES:
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text('print("THE WORKING DIRECTORY")\n')
    return folder


@pytest.mark.parametrize(
    "script", [ROOT / "scripts/score.py", ROOT / "eval_generic.py"], ids=lambda path: path.name
)
def test_a_program_started_by_path_imports_nothing_of_the_working_directory(script, hostile_folder):
    done = subprocess.run(
        [sys.executable, str(script), "--help"],
        cwd=hostile_folder,
        env=CLEAN_ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert (
        done.stdout.startswith("usage: " + script.name)
        and "WORKING DIRECTORY" not in done.stdout + done.stderr
    )


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_every_script_finds_the_project_when_started_by_path(script, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(script), "--help"])
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.syspath_prepend(script.parent)
    monkeypatch.delitem(sys.modules, "_packages", raising=False)
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(script), run_name="__main__")
    assert ended.value.code == 0 and capsys.readouterr().out.startswith("usage: ")
    assert sys.meta_path[0].__name__ == "_ProjectPackages"
    sys.modules.pop("_packages")


def test_the_finder_of_the_scripts_knows_the_projects_packages_alone():
    finder = runpy.run_path(str(ROOT / "scripts/_packages.py"))["_ProjectPackages"]
    try:
        assert all(
            finder.find_spec(name).origin == str(ROOT / name / "__init__.py") for name in PACKAGES
        )
        assert [
            finder.find_spec(name) for name in ("csv", "torch", "tests", "weights", "notebooks")
        ] == [None] * 5
        assert (
            # Modules of a package that was found are left to the ordinary finder.
            finder.find_spec("util.errors", [str(ROOT / "util")]) is None
        )
    finally:
        sys.meta_path[:] = [each for each in sys.meta_path if each is not finder]


def test_an_editable_install_makes_packages_and_programs_importable_from_anywhere(tmp_path):
    setuptools_version = (
        tuple(map(int, importlib.metadata.version("setuptools").split(".")[:2]))
        if importlib.util.find_spec("setuptools")
        else (0,)
    )
    if setuptools_version < (77,):
        pytest.skip("building without network needs setuptools 77 here")
    clone, site, elsewhere = tmp_path / "clone", tmp_path / "site", tmp_path / "elsewhere"
    for name in PACKAGES:
        shutil.copytree(
            ROOT / name,
            clone / name,
            ignore=shutil.ignore_patterns("__pycache__", "*.jpg", "*.png"),
        )
    for path in (
        *ROOT.glob("*.py"),
        *ROOT.glob("*.toml"),
        *ROOT.glob("requirements*.txt"),
        ROOT / "README.md",
        ROOT / "LICENSE",
    ):
        shutil.copy(path, clone)
    (clone / "weights").mkdir()
    shutil.copy(ROOT / "weights/README.md", clone / "weights")
    elsewhere.mkdir()
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-index",
        "--no-deps",
        "--no-build-isolation",
        "--target",
        str(site),
        "--editable",
        str(clone),
    ]
    made = subprocess.run(
        pip, cwd=elsewhere, env=CLEAN_ENVIRONMENT, capture_output=True, text=True, timeout=120
    )
    assert made.returncode == 0, made.stderr
    names = (*PACKAGES, "train", "eval_davis", "eval_youtube", "eval_generic")
    ask = (
        f"import importlib.util as u, site; site.addsitedir({str(site)!r}); "
        f"print(*(u.find_spec(name).origin for name in {names}), sep='\\n')"
    )
    asked = subprocess.run(
        [sys.executable, "-I", "-S", "-c", ask],
        cwd=elsewhere,
        env=CLEAN_ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert [
        Path(line).relative_to(clone).parts[0].removesuffix(".py") for line in asked.stdout.split()
    ] == list(names), asked.stderr
    about = next(site.glob("*.dist-info/METADATA")).read_text(encoding="utf-8")
    wanted = [
        line
        for line in (ROOT / "requirements.txt").read_text().splitlines()
        if line and line[0] not in "#-"
    ]
    assert re.findall(r"^Requires-Dist: (.*)$", about, re.MULTILINE) == wanted
    assert re.search(r"^Version: \d+\.\d+\.\d+$", about, re.MULTILINE)


def test_every_package_declares_that_it_is_typed():
    assert all((ROOT / name / "py.typed").exists() for name in PACKAGES if name != "scripts")


def test_the_lowest_versions_are_those_that_the_requirements_allow():
    """constraints-lowest.txt fixes each package at its bound."""
    bounds = dict(
        line.split(">=")
        for name in ("requirements.txt", "requirements-formats.txt")
        for line in (ROOT / name).read_text().splitlines()
        if ">=" in line
    )
    fixed = dict(
        line.split("==")
        for line in (ROOT / "constraints-lowest.txt").read_text().splitlines()
        if "==" in line
    )
    assert bounds.keys() <= fixed.keys()
    for name, bound in bounds.items():
        assert fixed[name] == bound or fixed[name].startswith(bound + "."), name


def test_the_version_of_headless_opencv_is_recorded_too(monkeypatch):
    def version(name: str) -> str:
        if name == "opencv-python":
            raise importlib.metadata.PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr(importlib.metadata, "version", version)
    versions = package_versions()
    assert "opencv-python" not in versions and versions["opencv-python-headless"] == "1.0"
