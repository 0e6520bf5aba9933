"""Wrong requests of the eval scripts and of validation, and the words that refuse each.

Wrong images, masks and videos are in tests/dataset, wrong results to score in
scoring/test_refused_results.py.
"""

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import tiny_network_name
from eval_commands import EvalCommand
from media_trees import check_refused
from toy_trees import (
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
import eval_youtube
from dataset import DavisDataset, SingleVideoDataset
from inference.output.run_folder import RunFolder
from inference.output.writer import ResultWriter
from inference.runner import run
from inference.validation import Validator
from model.config import PRESETS
from util.folder_lock import LOCK_NAME


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_tiny_weights(tmp_path_factory.mktemp("weights") / "tiny.pth")


@pytest.fixture(scope="module")
def davis(tmp_path_factory):
    return write_davis(tmp_path_factory.mktemp("davis"), {"bear": 3, "camel": 3, "dog": 3})


@pytest.fixture
def command(monkeypatch, capsys, weights, tmp_path) -> EvalCommand:
    return EvalCommand(monkeypatch, capsys, output=tmp_path / "out", model=weights)


# Flags of eval_davis.py, for bear, camel and dog


REQUESTS = [
    ("--mem_every 0", "memory.write_every_frames is 0"),
    ("--top_k 0", "top_k is 0"),
    ("--top_k many", "--top_k: invalid int value"),
    ("--resolution 5", "resolution is 5"),
    ("--lookahead 0", "--lookahead: 0: at least 1"),
    ("--clip_length 5 --mem_every 3", "mem_every is 3 and clip_length 5"),
    ("--clip_length 0", "clip_length is 0"),
    ("--system pcvos --clip_length 0", "clip_length is 0"),
    (
        "--system pcvos",
        r"no weights of intra-clip refinement \(input_proj\.\*, refine_transformer\.\*\), which "
        "system pcvos needs",
    ),
    ("--system newest", "stcn"),
    ("--memory everything", "every-k"),
    ("--memory_frames 4", "memory_frames: memory every-k has no bound .* choose memory lfu"),
    ("--system lfu --memory_frames 0", "memory.capacity_frames is 0; it must be at least 1"),
    (
        "--system lfu --memory_frames 2 --max_memory_mb 50",
        "memory_frames is 2 and max_memory_mb 50; give one of them",
    ),
    ("--system lfu --max_memory_mb -1", "max_megabytes is -1"),
    ("--network huge", "stcn_small"),
    ("--network stcn", "holds network tiny, not stcn as asked for"),
    ("--device toaster", "not a device"),
    ("--top 5", "the flags are"),
    ("--sequences unicorn", "bear camel dog"),
    ("--split best", "2016val"),
    ("--set memory.colour=red", "memory.policy"),
    ("--set top_k", "KEY=VALUE"),
    ("--set top_k=3 --top_k 4", "given twice"),
    ("--set amp=perhaps", "true or false"),
    ("--corrections", "--corrections: DAVIS"),
    ("--palette nowhere.png", "nowhere.png"),
    ("--model nowhere.pth", "nowhere.pth: no such checkpoint"),
    ("--scales 0.1", "scale is 0.1; it must be at least 0.25 and at most 4"),
    ("--scales 9 1", "scale is 9"),
    ("--scales large", "--scales: invalid float value"),
    ("--scales", "--scales: expected at least one"),
    ("--davis_path nowhere", "nowhere"),
    ("--output /dev/null", "/dev/null: results cannot be written here"),
]


@pytest.mark.parametrize(("flags", "words"), REQUESTS)
def test_a_wrong_request_is_refused_before_anything_is_written(
    command, davis, tmp_path, flags, words
):
    line = command.refuse(eval_davis, "--davis_path", davis, *flags.split())
    assert re.search(words, line), line
    assert not any(tmp_path.iterdir())


ONE_SOURCE = "give either --data_path, or --video and --mask"
GENERIC_REQUESTS = [
    ("", ONE_SOURCE),
    ("--data_path a --video b --mask c", ONE_SOURCE),
    ("--video b", ONE_SOURCE),
    ("--mask c", ONE_SOURCE),
    ("--video b --data_path a", ONE_SOURCE),
    ("--data_path a --realtime", "--realtime and live sources: go with --video alone"),
    ("--video 0 --mask m.png --truth t", "--realtime and live sources: .* without --truth"),
    (
        "--video 0 --mask m.png --frame_range 0 900",
        "--frame_range: not for --realtime and live sources",
    ),
    ("--video 0 --mask m.png --direction both", "--direction both: .* live sources cannot"),
    ("--video a --mask m.png --realtime --direction backward", "--direction backward: .* live"),
    ("--video a.mp4 --mask m.png --direction sideways", "choose from .*forward.*both"),
    ("--video a.mp4 --mask m.png --sequences bear", "--sequences: .* leave it out with --video"),
    ("--video a.mp4 --mask m.png --frame_range 9 9", "frame range 9 to 9: two whole numbers"),
]


@pytest.mark.parametrize(("flags", "words"), GENERIC_REQUESTS)
def test_flags_that_do_not_go_together_are_refused(command, tmp_path, flags, words):
    line = command.refuse(eval_generic, *flags.split())
    assert re.search(words, line), line
    assert not any(tmp_path.iterdir())


def test_frames_that_are_not_read_cannot_be_written(command, tmp_path):
    flags = ["--yv_path", write_youtube(tmp_path / "data")]
    flags += ["--output_all", "--required_frames_only"]
    assert "leave one of them out" in command.refuse(eval_youtube, *flags)


def test_missing_shipped_weights_ask_for_a_checkpoint(
    monkeypatch, capsys, davis, command, tmp_path
):
    monkeypatch.setattr("inference.segmenter.WEIGHTS_FOLDER", tmp_path)
    command = EvalCommand(monkeypatch, capsys, output=tmp_path / "out", model=None)
    assert "--model" in command.refuse(eval_davis, "--davis_path", davis)


def test_a_score_without_the_truth_is_refused_before_any_work(command, tmp_path):
    root = write_davis(tmp_path / "data", {"bear": 3})
    for index in (1, 2):
        (root / f"Annotations/480p/bear/{index:05d}.png").unlink()
    assert "leave --score out" in command.refuse(eval_davis, "--davis_path", root, "--score")
    assert not (tmp_path / "out").exists()


# Output folders. A row arranges files, and earlier runs, below a folder; it returns a script and
# its flags. Whatever lies below the folder stays as it is.


Arrange = Callable[[Path, EvalCommand], tuple]
FOLDERS: dict[str, tuple[Arrange, str]] = {}


def refused_with(words: str, *values: str) -> Callable[[Callable], Callable]:
    """Add a row, or one for each value that its function takes besides."""

    def add(arrange: Callable) -> Callable:
        for value in values or (None,):
            name = arrange.__name__ if value is None else f"{arrange.__name__}: {value[:30]}"
            given = () if value is None else (value,)
            FOLDERS[name] = (
                lambda folder, command, given=given: arrange(folder, command, *given),
                words,
            )
        return arrange

    return add


@refused_with("data's own folder", "data", "data/out", "data/JPEGImages/out", ".", "data/../data/o")
def results_among_the_data(folder: Path, command: EvalCommand, place: str) -> tuple:
    root = write_generic(folder / "data", "clip", {0: (1,)})
    return eval_generic, "--data_path", root, "--output", folder / place


@refused_with("data's own folder")
def a_link_from_the_results_into_the_data(folder: Path, command: EvalCommand) -> tuple:
    root = write_youtube(folder / "data")
    (folder / "out").mkdir()
    (folder / "out/Annotations").symlink_to(root / "valid/Annotations")
    return eval_youtube, "--yv_path", root


@refused_with("data's own folder")
def results_below_a_link_to_the_data(folder: Path, command: EvalCommand) -> tuple:
    root = write_youtube(folder / "data")
    (folder / "data_again").symlink_to(root)
    return eval_youtube, "--yv_path", root, "--output", folder / "data_again/out"


@refused_with("bear: a link")
def a_link_in_place_of_a_video(folder: Path, command: EvalCommand) -> tuple:
    root = write_davis(folder / "data", {"bear": 3, "camel": 3})
    command.succeed(eval_davis, "--davis_path", root, "--sequences", "camel")
    (folder / "mine").mkdir()
    (folder / "mine/file").write_text("precious")
    (folder / "out/bear").symlink_to(folder / "mine")
    return eval_davis, "--davis_path", root


@refused_with("holds frames or masks")
def masks_in_place_of_results(folder: Path, command: EvalCommand) -> tuple:
    images, labels = toy_frames(3, 0)
    for index, image in enumerate(images):
        write_jpg(folder / f"frames/clip/{index:05d}.jpg", image)
    write_png(folder / "out/clip/00000.png", labels[0])
    return eval_generic, "--video", folder / "frames/clip", "--mask", folder / "out/clip"


@refused_with("no config.json in")
def a_folder_of_another_program(folder: Path, command: EvalCommand) -> tuple:
    write_png(folder / "out/bear/00000.png", np.ones((48, 64), np.uint8))
    return eval_davis, "--davis_path", write_davis(folder / "data", {"bear": 3})


@refused_with("bear: is there already")
def a_folder_that_no_run_recorded_beside_one_of_a_run(folder: Path, command: EvalCommand) -> tuple:
    root = write_davis(folder / "data", {"bear": 3, "camel": 3})
    command.succeed(eval_davis, "--davis_path", root, "--sequences", "camel")
    write_png(folder / "out/bear/mine.png", np.ones((48, 64), np.uint8))
    return eval_davis, "--davis_path", root


@refused_with("is there already", "scores.json", "overlays/bear.png")
def files_of_others_with_names_of_ours(folder: Path, command: EvalCommand, name: str) -> tuple:
    (folder / "out/overlays").mkdir(parents=True)
    (folder / "out" / name).write_text("mine")
    root = write_davis(folder / "data", {"bear": 3})
    return eval_davis, "--davis_path", root, "--overlay"


@refused_with("taken: results cannot be written here")
def a_file_in_place_of_the_output(folder: Path, command: EvalCommand) -> tuple:
    (folder / "taken").write_text("")
    root = write_davis(folder / "data", {"bear": 3})
    return eval_davis, "--davis_path", root, "--output", folder / "taken"


@refused_with(
    "not written by an evaluation",
    '{"learning_rate": 1}',
    "[]",
    "{",
    '{"sequences": ["../../victim"]}',
    '{"sequences": "bear"}',
    '{"sequences": [], "inputs": 3}',
    '{"sequences": [], "results": ".."}',
    "[" * 100_000,
)
def config_json_of_another_program(folder: Path, command: EvalCommand, content: str) -> tuple:
    (folder / "out").mkdir()
    (folder / "out/config.json").write_text(content)
    return eval_davis, "--davis_path", write_davis(folder / "data", {"bear": 3})


@refused_with("not written by an evaluation", "mkfifo", "mkdir")
def something_else_called_config_json(folder: Path, command: EvalCommand, make: str) -> tuple:
    (folder / "out").mkdir()
    getattr(os, make)(folder / "out/config.json")
    return eval_davis, "--davis_path", write_davis(folder / "data", {"bear": 3})


@refused_with(r"holds results of another script \(eval_youtube.py\)")
def results_of_another_script(folder: Path, command: EvalCommand) -> tuple:
    command.succeed(eval_youtube, "--yv_path", write_youtube(folder / "youtube"))
    return eval_generic, "--data_path", write_generic(folder / "generic", "aa11", {0: (1,)})


@refused_with(
    "--trace", "config.json", "scores.csv", "bear/00000.png", "overlays/bear.png", LOCK_NAME
)
def a_trace_among_the_files_of_the_run(folder: Path, command: EvalCommand, name: str) -> tuple:
    root = write_davis(folder / "data", {"bear": 3})
    return eval_davis, "--davis_path", root, "--trace", folder / "out" / name


@refused_with("is no trace")
def a_trace_over_a_file_of_another_kind(folder: Path, command: EvalCommand) -> tuple:
    (folder / "weights.pth").write_bytes(b"weights")
    root = write_davis(folder / "data", {"bear": 3})
    return eval_davis, "--davis_path", root, "--trace", folder / "weights.pth"


@refused_with("No space left on device: '/dev/full'")
def a_trace_on_a_full_disk(folder: Path, command: EvalCommand) -> tuple:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    root = write_davis(folder / "data", {"bear": 3})
    return eval_davis, "--davis_path", root, "--trace", "/dev/full"


# Names from data never lead out of the output folder


@refused_with("the name '", "..", "../../victim", "a/../..", ".git")
def a_name_in_a_list_that_leads_out(folder: Path, command: EvalCommand, name: str) -> tuple:
    root, output = write_davis(folder / "deep/data", {"bear": 3}), folder / "deep/p/out"
    command.succeed(eval_davis, "--davis_path", root, "--output", output)
    (folder / "deep/victim").mkdir()
    (folder / "deep/p/thesis.txt").write_text("precious")
    for kind in ("JPEGImages", "Annotations"):  # what a name of '..' would lead to
        shutil.copytree(root / kind / "480p/bear", root / kind, dirs_exist_ok=True)
    (root / "ImageSets/2017/val.txt").write_text(f"bear\n{name}\n")
    return eval_davis, "--davis_path", root, "--output", output


@refused_with(
    "meta.json",
    "../../victim 00000",
    "/victim 00000",
    " 00000",
    "aa11 ../00000",
    "aa11 /etc/passwd",
)
def a_name_in_meta_json_that_leads_out(folder: Path, command: EvalCommand, names: str) -> tuple:
    video, frame = names.split(" ")
    root = write_youtube(folder / "data")
    objects = {"1": {"category": "cat", "frames": [frame]}}
    meta = {"videos": {video: {"objects": objects}}}
    (root / "valid/meta.json").write_text(json.dumps(meta))
    return eval_youtube, "--yv_path", root


OWN_NAMES = ("config.json", "overlays", "scores.json", "scores.csv", "Annotations", "Config.JSON")


@refused_with("a video is called", *OWN_NAMES)
def a_video_named_as_a_file_of_every_run(folder: Path, command: EvalCommand, name: str) -> tuple:
    return eval_generic, "--data_path", write_generic(folder / "data", name, {0: (1,)})


def tree(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder; the content of regular files."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


@pytest.mark.parametrize("name", FOLDERS)
def test_where_results_must_not_lie_nothing_is_written_or_removed(command, tmp_path, name):
    arrange, words = FOLDERS[name]
    script, *flags = arrange(tmp_path, command)
    before = tree(tmp_path)
    for overwrite in ([], ["--overwrite"]):
        line = command.refuse(script, *flags, *overwrite)
        assert re.search(words, line), line
        assert tree(tmp_path) == before


def test_names_of_videos_are_checked_whoever_calls_the_runner(make_segmenter, tmp_path):
    dataset = DavisDataset(write_davis(tmp_path / "data", {"bear": 3}))
    dataset = SingleVideoDataset(dataset[0], tmp_path / "data")
    dataset.names = ("../victim",)
    before = tree(tmp_path)
    out = RunFolder(tmp_path / "out", {})
    check_refused(lambda: run(dataset, make_segmenter(), out), "leads to another folder")
    assert tree(tmp_path) == before


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_a_folder_that_cannot_be_written_is_refused_at_once(tmp_path, name):
    (tmp_path / "file").write_text("")
    check_refused(lambda: ResultWriter(tmp_path / name), "results cannot be written here")


# Validation


VALIDATION_SETTINGS = [
    ({"sequences": ["goat"]}, "goat"),
    ({"max_frames": 2}, "at least 3"),
    ({"resolution": 4}, "at least 16"),
    ({"system": "films"}, "films"),
    ({"films": 1}, "films"),
]


@pytest.mark.parametrize(("settings", "words"), VALIDATION_SETTINGS)
def test_wrong_settings_of_a_validation_are_refused_before_training(davis, settings, words):
    check_refused(lambda: Validator(davis, **settings), words)


def test_a_validation_root_without_videos_is_refused(tmp_path):
    check_refused(lambda: Validator(tmp_path), "JPEGImages")


@pytest.mark.parametrize(
    ("system", "missing"),
    [("remn", r"foreground_reinforcing\.\*.*redundancy_reduction"), ("pcvos", r"\*")],
)
def test_a_network_without_what_the_system_uses_is_refused_before_it_is_scored(
    davis, system, missing
):
    validator = Validator(davis, ["camel"], system=system)
    validator.check(PRESETS[tiny_network_name(system)])
    words = f"^validation of network tiny: no weights of .*{missing}.*system {system} needs"
    check_refused(lambda: validator.check(PRESETS["tiny"]), words + ".*train a network")


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def shrink(path: Path) -> None:
    write_png(path, np.ones((24, 32), np.uint8))


def remove(path: Path) -> None:
    path.unlink()


DAMAGED_TRUTH = {
    "a mask that is truncated": (truncate, r"/00003\.png: (damaged|not an image)"),
    "a mask of another size": (shrink, r"/00003\.png: mask of 32x24 for a frame of 64x48"),
}


@pytest.mark.parametrize("name", DAMAGED_TRUTH)
@pytest.mark.parametrize("folder", ["Annotations/480p/bear", "Truth/dog"])
def test_truth_that_cannot_be_compared_is_refused_before_training(tmp_path, folder, name):
    damage, words = DAMAGED_TRUTH[name]
    if "480p" in folder:
        root = write_davis(tmp_path / "root", {"bear": 5})
    else:
        root = write_generic(tmp_path / "root", "dog", dict.fromkeys(range(5), (1, 2)), count=5)
        shutil.copytree(root / "Annotations", root / "Truth")
    damage(root / folder / "00003.png")
    check_refused(lambda: Validator(root), f"^{re.escape(str(root / folder))}{words}")
    # frames that are not validated on are not read
    assert Validator(root, max_frames=3).sequences == (Path(folder).name,)


TRUTH_DAMAGED_LATER = [
    (shrink, r".*the truth 32x24 \({path}\)"),
    (truncate, "{path}: (damaged|not an image)"),
    (remove, "{path}: no such label map"),
]


@pytest.mark.parametrize(("damage", "words"), TRUTH_DAMAGED_LATER)
def test_truth_that_is_damaged_during_the_training_is_named(tmp_path, network, damage, words):
    root = write_davis(tmp_path / "root", {"bear": 5})
    validator = Validator(root)
    path = root / "Annotations/480p/bear/00003.png"
    damage(path)
    check_refused(lambda: validator.score(network), f"^{words.format(path=re.escape(str(path)))}")


def test_truth_of_the_first_frame_only_is_refused(tmp_path):
    root = write_davis(tmp_path, {"bear": 5})
    for index in range(1, 5):
        remove(root / f"Annotations/480p/bear/{index:05d}.png")
    check_refused(lambda: Validator(root), "bear: 1 mask in the 5 frames")


def test_masks_given_after_the_first_frame_are_read_before_training(tmp_path):
    root = write_generic(tmp_path / "root", "dog", dict.fromkeys(range(5), (1, 2)), count=5)
    shutil.copytree(root / "Annotations", root / "Truth")
    shrink(root / "Annotations/dog/00001.png")
    check_refused(lambda: Validator(root), r"dog/00001\.png: mask of 32x24 for frames of 64x48")
