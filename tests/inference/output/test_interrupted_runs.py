"""Runs that are killed, end early or are interfered with: nothing half-made is taken for whole."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from repository import ROOT
from toy_trees import file_names, write_davis, write_generic

from dataset import DavisDataset, GenericDataset, SingleVideoDataset, TruncatedVideoError
from inference import VideoSegmenter
from inference.output.run_folder import RunFolder
from inference.runner import run
from model import build_network
from util.errors import InputError

# Runs on two videos, each killed at another change of its output folder, and resumed.
KILLED_RUNS = """
import os, pathlib, sys
import torch
from dataset import GenericDataset
from inference import VideoSegmenter
from inference.output.run_folder import RunFolder
from inference.runner import run
from model import build_network

torch.set_num_threads(1)
torch.manual_seed(0)
segmenter = VideoSegmenter(build_network("tiny"), device="cpu")
root, base = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
changes = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree", "open")
writes = os.O_WRONLY | os.O_RDWR | os.O_CREAT

def segment(out, overwrite, limit):
    "Run, killed at the `limit`-th change of its folder. Returns whether it came to its end."
    process = os.fork()
    if process == 0:
        count = 0
        def count_changes(event, arguments):
            nonlocal count
            if event not in changes or str(out) not in str(arguments[0]):
                return
            if event == "open" and not (arguments[2] or 0) & writes:
                return
            count += 1
            if count == limit:
                os._exit(9)
        sys.addaudithook(count_changes)
        sys.stderr = open(os.devnull, "w")
        folder = RunFolder(out, {"top_k": 20}, overwrite=overwrite)
        run(GenericDataset(root), segmenter, folder)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0

def finished(out):
    "The videos that a run would take for finished."
    folders = [path for path in out.glob("[!.]*") if path.is_dir()]
    return [path.name for path in folders if not (path / "incomplete.txt").exists()]

def content(out, name="*"):
    return {str(path.relative_to(out)): path.read_bytes() for path in out.glob(f"{name}/*.png")}

reference = base / "reference"
assert segment(reference, False, -1)
stride = int(sys.argv[3])  # 1: every change
for overwrite in (False, True):
    limit = int(overwrite) + 1 - stride
    ended = False
    while not ended:
        limit += stride
        out = base / f"out-{overwrite}-{limit}"
        if overwrite:
            assert segment(out, False, -1)
        ended = segment(out, overwrite, limit)
        for name in finished(out):
            assert content(out, name) == content(reference, name), (overwrite, limit, name)
        assert segment(out, False, -1)
        assert content(out) == content(reference), (overwrite, limit)
        names = sorted(path.name for path in out.iterdir())
        assert names == ["a", "b", "config.json"], (overwrite, limit, names)
    assert limit > 20, limit
print("held")
"""


@pytest.fixture(scope="module")
def segmenter():
    torch.manual_seed(0)
    return VideoSegmenter(build_network("tiny"), device="cpu")


@pytest.fixture
def out(tmp_path):
    return RunFolder(tmp_path / "out", {"top_k": 20})


def test_results_that_another_program_removed_during_the_run_are_not_taken_for_whole(
    segmenter, out, tmp_path
):
    dataset = DavisDataset(write_davis(tmp_path / "data", {"bear": 4}))
    video = dataset[0]
    frames = video.frames

    def interfered():
        yield from frames()
        while not (written := list((out.results / ".bear.part").glob("*.png"))):
            time.sleep(0.01)
        written[0].unlink()

    video.frames = interfered
    with pytest.raises(InputError, match=r"bear: 3 of 4 results are there"):
        run(SingleVideoDataset(video, tmp_path / "data"), segmenter, out)
    assert file_names(out.results) == ["config.json"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_run_killed_at_any_change_of_its_folder_leaves_nothing_half_made_as_whole(tmp_path):
    for name in ("a", "b"):
        write_generic(tmp_path / "data", name, {0: (1, 2)}, count=2)
    stride = os.environ.get("KILL_STRIDE", "9")
    command = [sys.executable, "-c", KILLED_RUNS, tmp_path / "data", tmp_path, stride]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.stdout == "held\n", done.stderr


def ending_early(dataset: GenericDataset) -> SingleVideoDataset:
    video = dataset[0]
    frames = video.frames

    def two():
        for frame in frames():
            if frame.index == 2:
                raise TruncatedVideoError("clip: ends after 2 of 6 frames")
            yield frame

    video.frames = two
    return SingleVideoDataset(video, dataset.root)


def test_a_video_that_ends_early_appears_together_with_incomplete_txt(
    segmenter, out, tmp_path, monkeypatch
):
    appeared = []
    rename = Path.rename

    def observed(path, target):
        if target == out.results / "clip":
            appeared.append(file_names(path))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", observed)
    dataset = GenericDataset(write_generic(tmp_path / "data", "clip", {0: (1,)}))
    with pytest.raises(InputError, match="ends after"):
        run(ending_early(dataset), segmenter, out)
    assert appeared == [["00000.png", "00001.png", "incomplete.txt"]]


def test_the_next_run_removes_what_a_killed_run_left_and_nothing_else(segmenter, out, tmp_path):
    dataset = DavisDataset(write_davis(tmp_path / "data", {"bear": 3}))
    for folder in (".bear.part", ".bear.old", ".camera0_2026.part"):
        (out.root / folder).mkdir(parents=True)
        (out.root / folder / "00000.png").write_text("")
    (out.root / "overlays").mkdir()
    for name in (
        ".config.json.x8s_1abc.part",
        "overlays/.bear.part.webm",
        "overlays/.bear.png.12345678.part",
        ".mine.part",
        ".mine.old",
    ):
        (out.root / name).write_text("")
    run(dataset, segmenter, out)
    # the recording of a camera cannot be made again
    kept = [".camera0_2026.part", ".mine.old", ".mine.part"]
    assert file_names(out.root) == [*kept, "bear", "config.json", "overlays"]
    assert file_names(out.root / "overlays") == []
