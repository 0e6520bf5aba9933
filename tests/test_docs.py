"""The documentation: links resolve, flags exist, commands and Python run on toy data."""

import ast
import dataclasses
import importlib
import re
import shutil
import sys
from pathlib import Path

import documentation
import pytest
import toy_videos
from documentation import PAGES, RUN_BY, Command, blocks_of, page_name
from repository import ROOT
from toy_benchmarks import write_lvos, write_mose, write_viposeg, write_vost
from toy_trees import (
    toy_frames,
    write_davis,
    write_generic,
    write_jpg,
    write_png,
    write_tiny_weights,
    write_youtube,
)

from model import PRESETS
from util.flags import FlagParser

WEIGHTS = {
    "tiny": ("STCN.pth", "L2.pth", "CHECKPOINT.pth"),
    "tiny_pcvos": ("PCVOS.pth",),
    "tiny_remn": ("REMN.pth",),
}
SAMPLE_FRAMES = 5
SEQUENCES = (
    *("blackswan", "bmx-trees", "breakdance", "camel"),
    *("car-shadow", "dog", "libby", "parkour"),
)

# what makes a command quick; left out if the command says otherwise
QUICK = {
    "train.py": {
        "-i": "1",
        "-b": "2",
        "--crop_size": "32",
        "--num_workers": "0",
        "--device": "cpu",
        "--backbone_weights": "none",
    },
    "eval": {"--device": "cpu", "--resolution": "48"},
    "analyse.py": {
        "--device": "cpu",
        "--max_frames": "4",
        "--sequences": "camel",
        "--model": "STCN.pth",
    },
}
# pixels of the documentation's frames → pixels of the toy frames
REPLACED = {"420,230": "20,12", "510,180": "40,30"}


class Parsed(BaseException):
    """Raised after a program has parsed its flags."""


def run(command: Command, monkeypatch: pytest.MonkeyPatch) -> int:
    """Call a program's main; its return value, or 0."""
    path = command.program.removesuffix(".py")
    monkeypatch.setattr(sys, "argv", [command.program, *command.arguments])
    return importlib.import_module(path.replace("/", ".")).main() or 0


def quickened(command: Command) -> Command:
    """The command with flags for toy data."""
    program = Path(command.program).name
    quick = dict(QUICK.get("eval" if program.startswith("eval_") else program, {}))
    given = [REPLACED.get(argument, argument) for argument in command.arguments]
    if program == "train.py":
        stage = given[given.index("--stage") + 1]
        quick["--network"] = {"clip": "tiny_pcvos", "remn": "tiny_remn"}.get(stage, "tiny")
        if "--load_network" in given:
            del quick["--backbone_weights"]
    for flag, value in quick.items():
        given += [] if flag in given else [flag, value]
    return Command(command.where, command.program, tuple(given))


def write_workspace(folder: Path) -> None:
    """A working directory in which the documentation's names are toy data."""
    davis = write_davis(
        folder / "DAVIS", {name: 12 if name == "camel" else 4 for name in SEQUENCES}
    )
    for name in ("2016/val", "2017/train", "2017/test-dev"):
        path = davis / f"ImageSets/{name}.txt"
        path.parent.mkdir(exist_ok=True)
        shutil.copy(davis / "ImageSets/2017/val.txt", path)
    for kind in ("JPEGImages", "Annotations"):
        shutil.copytree(davis / kind / "480p/dog", folder / "STILLS", dirs_exist_ok=True)
        shutil.copytree(davis / kind / "480p", folder / f"YouTube/train/{kind}")
    write_youtube(folder / "YouTube")
    write_generic(folder / "ROOT", "bear", {0: (1, 2)}, count=3)
    write_mose(folder / "MOSE", {"0a1b": 2})
    write_lvos(folder / "LVOS", count=4)
    write_vost(folder / "VOST", count=5)
    write_viposeg(folder / "VIPOSeg", count=3)
    write_own_videos(folder)
    write_sample(folder / "scripts/sample")
    for network, names in WEIGHTS.items():
        for name in names:
            write_tiny_weights(folder / name, network=network)
    dot = dataclasses.replace(PRESETS["tiny"], similarity="dot")
    write_tiny_weights(folder / "DOT.pth", network=dot)


def write_own_videos(folder: Path) -> None:
    """Video files with masks, folders of frames and masks, a truth and its results."""
    images, labels = toy_frames(4, 0)
    (folder / "VIDEOS").mkdir()
    toy_videos.write(folder / "clip.mp4", images)
    shutil.copy(folder / "clip.mp4", folder / "long.mp4")
    shutil.copy(folder / "clip.mp4", folder / "VIDEOS/clip.mp4")
    write_png(folder / "first.png", labels[0])
    write_png(folder / "VIDEOS/clip.png", labels[0])
    write_png(folder / "MASKS/00000.png", labels[0])
    for index in range(len(images)):
        write_jpg(folder / f"FRAMES/{index:05d}.jpg", images[index])
        for kind in ("TRUTH", "RESULTS"):
            write_png(folder / f"{kind}/clip/{index:05d}.png", labels[index])


def write_sample(folder: Path) -> None:
    """The sample clip, with few and small frames."""
    images, labels = toy_frames(SAMPLE_FRAMES, 0)
    for index, image in enumerate(images):
        write_jpg(folder / f"JPEGImages/sample/{index:05d}.jpg", image)
    write_png(folder / "Annotations/sample/00000.png", labels[0])


@pytest.fixture
def workspace(tmp_path, monkeypatch) -> Path:
    write_workspace(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


each_page = pytest.mark.parametrize("page", PAGES, ids=page_name)

# followed in a copy of the repository by test_extending.py, since it changes the code
EXTENDING = ROOT / "docs/extending.md"
SOURCES = [*ROOT.glob("*.py")] + [
    path
    for room in ("dataset", "inference", "model", "util")
    for path in (ROOT / room).rglob("*.py")
]
OWN_PATH = re.compile(r"^(dataset|inference|model|util|scripts|tests|weights|docs)/[\w/.-]*$")
OTHERS_MESSAGES = ("ImportError", "ModuleNotFoundError", "Killed")
VARIES = re.compile(r"…|\bID\b|\(process N on HOST\)|\b0 CUDA devices\b|\bcuda\b")


@each_page
def test_every_link_resolves(page):
    for link in documentation.links_of(page):
        if link.startswith("https://"):
            continue
        target, _, anchor = link.partition("#")
        path = (page.parent / target).resolve() if target else page
        assert path.is_relative_to(ROOT) and path.exists(), f"{page_name(page)}: {link}"
        if anchor:
            assert anchor in documentation.anchors_of(path), f"{page_name(page)}: {link}"


@each_page
def test_every_file_that_is_named_exists(page):
    for span in documentation.code_spans_of(page):
        if OWN_PATH.match(span) and page.name != "CHANGELOG.md":
            assert (ROOT / span).exists() or page == EXTENDING, f"{page_name(page)}: {span}"


def test_every_message_that_is_explained_is_one_of_ours():
    """Of each message in the table of frequent cases, the words between what varies."""
    texts = "\n".join(text for path in SOURCES for text in texts_of(path))
    page = ROOT / "docs/troubleshooting.md"
    rows = [line for line in page.read_text(encoding="utf-8").splitlines() if line[:2] == "| "]
    for message in (span for row in rows for span in re.findall("`([^`]+)`", row.split("|")[1])):
        if not message.startswith(OTHERS_MESSAGES):
            for words in VARIES.split(message):
                assert words.strip() in texts, message


def texts_of(path: Path) -> list[str]:
    """The strings of a Python file, with a gap for each value in them."""
    texts = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            parts = [p.value if isinstance(p, ast.Constant) else "\0" for p in node.values]
            texts.append("".join(parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            texts.append(node.value)
    return texts


@each_page
def test_every_program_takes_the_flags_that_are_named(page, monkeypatch):
    parse = FlagParser.parse_args

    def parse_and_stop(parser, *arguments, **keywords):
        parse(parser, *arguments, **keywords)
        raise Parsed

    monkeypatch.setattr(FlagParser, "parse_args", parse_and_stop)
    for command in () if page == EXTENDING else documentation.commands_of(page):
        with pytest.raises(Parsed):
            run(command, monkeypatch)


@each_page
def test_every_block_of_commands_runs_or_says_why_it_does_not(page, request, monkeypatch, capfd):
    blocks = [block for block in blocks_of(page) if block.language == "bash"]
    for block in blocks:
        if block.note.startswith(RUN_BY):
            tested_by = block.note.removeprefix(RUN_BY).split(";")[0]
            assert (ROOT / tested_by).is_file(), f"{block}: {tested_by}: no such file"
    to_run = [block for block in blocks if block.is_run_here and page != EXTENDING]
    if to_run:
        request.getfixturevalue("workspace")
    for block in to_run:
        for line in documentation.lines_to_run(block):
            command = documentation.command_of(line, str(block))
            assert command is not None, f"{block}: {line}: not one of the project's programs"
            assert run(quickened(command), monkeypatch) == 0, f"{block}: {line}"
            assert "Traceback" not in capfd.readouterr().err


@each_page
def test_every_block_of_python_runs(page, request, monkeypatch):
    blocks = [block for block in blocks_of(page) if block.language == "python"]
    if page == EXTENDING or not blocks:
        return
    request.getfixturevalue("workspace")
    names: dict = {"__name__": "documentation"}
    for block in blocks:
        exec(compile(block.text, str(block), "exec"), names)


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 160


@each_page
def test_lines_have_at_most_100_columns_outside_tables(page):
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        fits = len(line) <= 100 or (line.startswith("|") and page != ROOT / "README.md")
        assert fits, f"{page_name(page)}:{number}"


def test_every_page_of_the_docs_is_in_the_websites_menu():
    menu = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert all(page.name in menu for page in (ROOT / "docs").glob("*.md"))
