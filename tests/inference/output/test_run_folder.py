"""The output folder of a run: results of the same inputs are kept, others are made again.

What may not be an output folder is in ../test_refused_requests.py, runs that are interrupted are in
test_interrupted_runs.py.
"""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from eval_commands import EvalCommand
from PIL import Image
from toy_trees import (
    file_names,
    toy_frames,
    write_davis,
    write_generic,
    write_jpg,
    write_png,
    write_tiny_weights,
    write_youtube,
)

import eval_davis
import eval_generic
from dataset import DavisDataset, GenericDataset, SingleVideoDataset, YoutubeDataset
from inference import VideoSegmenter
from inference.output.run_folder import RunFolder
from inference.runner import run
from model import build_network
from util.errors import InputError
from util.folder_lock import LOCK_NAME


@pytest.fixture(scope="module")
def segmenter():
    torch.manual_seed(0)
    return VideoSegmenter(build_network("tiny"), device="cpu")


@pytest.fixture
def out(tmp_path):
    return RunFolder(tmp_path / "out", {"top_k": 20})


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_tiny_weights(tmp_path_factory.mktemp("weights") / "tiny.pth")


@pytest.fixture
def command(monkeypatch, capsys, weights, out) -> EvalCommand:
    return EvalCommand(monkeypatch, capsys, output=out.root, model=weights)


def test_videos_in_a_folder_of_their_own_may_have_any_name(segmenter, tmp_path):
    out = RunFolder(tmp_path / "out", {}, subfolder="Annotations")
    run(GenericDataset(write_generic(tmp_path / "data", "config.json", {0: (1,)})), segmenter, out)
    assert len(file_names(out.results / "config.json")) == 6


# The same inputs


def replace_frame(root: Path) -> None:
    """Another image under the same name, with the same size and time."""
    path = root / "JPEGImages/480p/camel/00002.jpg"
    before, content = path.stat(), bytearray(path.read_bytes())
    content[-100:-50] = bytes(50)
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace_mask(root: Path) -> None:
    labels = np.asarray(Image.open(root / "Annotations/480p/camel/00000.png")).copy()
    labels[labels == 1] = 7
    write_png(root / "Annotations/480p/camel/00000.png", labels)


def add_frame(root: Path) -> None:
    shutil.copy(root / "JPEGImages/480p/camel/00000.jpg", root / "JPEGImages/480p/camel/00004.jpg")


def remove_frame(root: Path) -> None:
    (root / "JPEGImages/480p/camel/00003.jpg").unlink()


def rename_frames(root: Path) -> None:
    for path in (
        *(root / "JPEGImages/480p/camel").iterdir(),
        *(root / "Annotations/480p/camel").iterdir(),
    ):
        path.rename(path.with_stem(f"frame_{path.stem}"))


CHANGES: list[tuple[Callable[[Path], None], str]] = [
    (replace_frame, "camel: frames changed"),
    (replace_mask, "camel: masks changed"),
    (add_frame, "camel: 5 frames instead of 4"),
    (remove_frame, "camel: 3 frames instead of 4"),
    (rename_frames, "camel: names of frames changed"),
]


@pytest.mark.parametrize(("change", "words"), CHANGES)
def test_a_video_whose_inputs_changed_is_made_again_and_no_other(
    segmenter, out, tmp_path, caplog, change, words
):
    caplog.set_level("INFO")
    root = write_davis(tmp_path / "data", {"bear": 4, "camel": 4})
    run(DavisDataset(root), segmenter, out)
    bear = (out.results / "bear/00000.png").stat().st_mtime_ns
    change(root)
    caplog.clear()
    frames = run(DavisDataset(root), segmenter, out).frames
    assert f"{words} since its results were made; it is made again" in caplog.text
    assert frames == len(file_names(out.results / "camel"))
    assert frames == len(file_names(root / "JPEGImages/480p/camel"))
    assert (out.results / "bear/00000.png").stat().st_mtime_ns == bear
    assert run(DavisDataset(root), segmenter, out).frames == 0


def test_touched_and_copied_inputs_of_the_same_content_are_not_made_again(segmenter, out, tmp_path):
    root = write_davis(tmp_path / "data", {"bear": 3})
    run(DavisDataset(root), segmenter, out)
    for path in root.rglob("*.*"):
        os.utime(path)
    assert run(DavisDataset(root), segmenter, out).frames == 0
    shutil.copytree(root, tmp_path / "copy")
    shutil.rmtree(root)
    shutil.copytree(tmp_path / "copy", root)
    assert run(DavisDataset(root), segmenter, out).frames == 0


def test_a_mask_added_and_other_frames_asked_for_are_inputs_too(segmenter, out, tmp_path, caplog):
    caplog.set_level("INFO")
    root = write_generic(tmp_path / "generic", "clip", {0: (1,), 3: (2,)})
    later = (root / "Annotations/clip/00003.png").read_bytes()
    (root / "Annotations/clip/00003.png").unlink()
    run(GenericDataset(root), segmenter, out)
    (root / "Annotations/clip/00003.png").write_bytes(later)
    assert run(GenericDataset(root), segmenter, out).frames == 6
    assert "clip: 2 masks instead of 1 since its results were made" in caplog.text
    root, out = write_youtube(tmp_path / "youtube"), RunFolder(tmp_path / "other", {})
    run(YoutubeDataset(root), segmenter, out)
    meta = json.loads((root / "valid/meta.json").read_text())
    meta["videos"]["aa11"]["objects"]["1"]["frames"].append("00007")
    (root / "valid/meta.json").write_text(json.dumps(meta))
    run(YoutubeDataset(root), segmenter, out)
    assert "aa11: other frames are asked for" in caplog.text
    assert "00007.png" in file_names(out.results / "aa11")


def test_a_folder_of_frames_whose_mask_is_replaced_is_made_again(command, tmp_path):
    images, labels = toy_frames(5, 0)
    for index, image in enumerate(images):
        write_jpg(tmp_path / f"clip/{index:05d}.jpg", image)
    write_png(tmp_path / "first.png", labels[0])
    flags = ["--video", tmp_path / "clip", "--mask", tmp_path / "first.png"]
    command.succeed(eval_generic, *flags)
    write_png(tmp_path / "first.png", (labels[0] == 1).astype(np.uint8))
    ended = command.succeed(eval_generic, *flags)
    assert "clip: masks changed since its results were made; it is made again" in ended.err
    # another file is another request
    write_png(tmp_path / "second.png", labels[0])
    assert "mask" in command.refuse(eval_generic, *flags[:-1], tmp_path / "second.png")


def test_inputs_that_change_while_they_are_segmented_leave_no_results(segmenter, out, tmp_path):
    root = write_davis(tmp_path / "data", {"bear": 4})
    dataset = DavisDataset(root)
    video = dataset[0]
    frames = video.frames

    def changing():
        for frame in frames():
            if frame.index == 2:
                write_jpg(root / "JPEGImages/480p/bear/00000.jpg", 255 - frame.image)
            yield frame

    video.frames = changing
    with pytest.raises(
        InputError, match="bear: its frames or masks changed while it was segmented; start again"
    ):
        run(SingleVideoDataset(video, root), segmenter, out)
    assert file_names(out.results) == ["config.json"]
    assert run(dataset, segmenter, out).frames == 4


def test_results_of_a_version_without_records_are_replaced_only_if_overwritten(
    command, out, tmp_path
):
    request = [eval_davis, "--davis_path", write_davis(tmp_path / "data", {"bear": 3})]
    command.succeed(*request)
    path = out.paths.config
    config = json.loads(path.read_text())
    for name in ("inputs", "results", "script"):
        del config[name]
    path.write_text(json.dumps(config))
    words = "earlier version, which did not record what results were made from"
    assert words in command.refuse(*request)
    command.succeed(*request, "--overwrite")
    command.succeed(*request)


def test_results_of_a_version_that_lacked_later_settings_are_resumed(command, out, tmp_path):
    root = write_generic(tmp_path / "data", "clip", {0: (1, 2)})
    command.succeed(eval_generic, "--data_path", root)
    config = json.loads(out.paths.config.read_text())
    del config["memory"]["permanent"], config["direction"], config["reading"]
    out.paths.config.write_text(json.dumps(config))
    ended = command.succeed(eval_generic, "--data_path", root)
    assert "1 of 1 videos are finished already" in ended.err
    out.paths.config.write_text(json.dumps(config))
    later = (["--permanent_memory"], ["--direction", "both"], ["--set", "reading.kernel_sigma=7"])
    for flags in later:
        assert "now" in command.refuse(eval_generic, "--data_path", root, *flags)


def test_scores_are_of_the_folder_and_the_videos_that_the_run_wrote(command, out, tmp_path):
    root = write_generic(tmp_path / "data", "clip", {0: (1, 2)})
    whole = write_generic(tmp_path / "truth", "clip", dict.fromkeys(range(6), (1, 2)))
    truth = whole / "Annotations"
    # perfect results in folders that belong to nobody
    for folder in (out.root / "Annotations", truth / "Annotations"):
        shutil.copytree(truth / "clip", folder / "clip")
    command.succeed(eval_generic, "--data_path", root, "--truth", truth)
    assert json.loads((out.root / "scores.json").read_text())["overall"]["jf_mean"] < 0.9


# One run at a time


def test_a_second_run_into_a_folder_is_refused_until_the_first_has_ended(command, out, tmp_path):
    root = write_davis(tmp_path / "data", {"bear": 3})
    with out.hold():
        line = command.refuse(eval_davis, "--davis_path", root)
        assert f"another run (process {os.getpid()} on " in line
        assert "wait until it has ended, or choose another --output" in line
    command.succeed(eval_davis, "--davis_path", root)
    assert LOCK_NAME not in file_names(out.root)
