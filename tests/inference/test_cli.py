"""The eval scripts as users run them: results, output folders, notes, exit codes.

What they refuse is in test_refused_requests.py.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import tiny_network_name
from eval_commands import EvalCommand
from PIL import Image
from repository import ROOT
from toy_trees import (
    file_names,
    toy_frames,
    write_davis,
    write_generic,
    write_png,
    write_tiny_weights,
    write_youtube,
)

import eval_davis
import eval_generic
import eval_youtube
from inference.config import SYSTEMS

TOTALS = ["frames", "seconds", "fps", "peak_memory_mb", "memory_elements", "memory_mb"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_tiny_weights(tmp_path_factory.mktemp("weights") / "tiny.pth")


@pytest.fixture(scope="module")
def davis(tmp_path_factory):
    return write_davis(tmp_path_factory.mktemp("davis"), {"bear": 4, "camel": 5, "dog": 4})


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def command(monkeypatch, capsys, weights, out) -> EvalCommand:
    return EvalCommand(monkeypatch, capsys, output=out, model=weights)


def read_json(path: Path) -> dict:
    return json.loads(path.read_text())


def frame_count(ended) -> int:
    """The frames of the totals, which end standard output."""
    return json.loads(ended.out.strip().splitlines()[-1])["frames"]


def write_clip(folder: Path, rate: float = 10) -> list[str | Path]:
    """A video file of five frames and its mask; returns the flags that name them."""
    images, labels = toy_frames(5, 0, (7,))
    codec = cv2.VideoWriter_fourcc(*"MJPG")
    video = cv2.VideoWriter(str(folder / "clip.avi"), codec, rate, (64, 48))
    for image in images:
        video.write(image[..., ::-1].copy())
    video.release()
    write_png(folder / "first.png", labels[0])
    files = ["--video", folder / "clip.avi", "--mask", folder / "first.png"]
    return [*files, "--resolution", "-1"]


# Settings and config.json


def test_config_json_holds_settings_weights_hash_and_data(command, davis, weights, out):
    settings = ["--mem_every", "2", "--set", "memory.include_last=yes"]
    ended = command.succeed(
        eval_davis, "--davis_path", davis, *settings, "--sequences", "dog", "bear"
    )
    config = read_json(out / "config.json")
    expected = {"system": "stcn", "network": "tiny", "top_k": 20, "resolution": -1, "split": "val"}
    expected |= {"data_root": str(davis), "sequences": ["dog", "bear"]}
    assert config | expected == config
    memory = {"policy": "every-k", "write_every_frames": 2, "include_last": True}
    assert config["memory"] | memory == config["memory"]
    assert config["weights_sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    totals = json.loads(ended.out.strip().splitlines()[-1])
    assert list(totals) == TOTALS and totals["frames"] == 8
    assert min(totals["seconds"], totals["fps"], totals["peak_memory_mb"]) > 0


@pytest.mark.parametrize(
    ("split_list", "split", "every"),
    [("2017/test-dev.txt", "testdev", 3), ("2016/val.txt", "2016val", 5)],
)
def test_the_split_decides_how_often_frames_are_memorised(
    command, out, tmp_path, split_list, split, every
):
    root = write_davis(tmp_path / "data", {"bear": 3}, split_list)
    command.succeed(eval_davis, "--davis_path", root, "--split", split)
    assert read_json(out / "config.json")["memory"]["write_every_frames"] == every


def test_a_clip_length_sets_how_often_frames_are_memorised(command, out, tmp_path):
    root = write_davis(tmp_path / "data", {"bear": 5}, "2017/test-dev.txt")
    command.succeed(eval_davis, "--davis_path", root, "--split", "testdev", "--clip_length", "4")
    config = read_json(out / "config.json")
    assert (config["clip_length"], config["memory"]["write_every_frames"]) == (4, 4)


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_system_runs_from_the_command_line(command, davis, out, tmp_path, system):
    weights = write_tiny_weights(tmp_path / "weights.pth", network=tiny_network_name(system))
    ended = command.succeed(
        eval_davis, "--davis_path", davis, "--system", system, "--model", weights
    )
    assert frame_count(ended) == 13
    assert read_json(out / "config.json")["system"] == system


# Resuming, and results of other settings


def test_a_run_of_the_same_settings_adds_other_sequences(command, davis, out):
    command.succeed(eval_davis, "--davis_path", davis, "--sequences", "bear")
    ended = command.succeed(eval_davis, "--davis_path", davis)
    assert frame_count(ended) == 9 and "1 of 3 videos are finished" in ended.err
    assert read_json(out / "config.json")["sequences"] == ["bear", "camel", "dog"]


@pytest.mark.parametrize(
    ("flags", "difference"),
    [
        (["--top_k", "7"], "top_k 20 (now 7)"),
        (["--memory", "first-and-latest"], "memory.policy every-k (now first-and-latest)"),
        (["--model"], "weights_sha256"),
    ],
)
def test_results_of_other_settings_are_replaced_only_if_overwritten(
    command, davis, out, tmp_path, flags, difference
):
    if flags == ["--model"]:
        flags = ["--model", write_tiny_weights(tmp_path / "other.pth", seed=1)]
    request = [eval_davis, "--davis_path", davis]
    command.succeed(*request, "--sequences", "bear", "camel")
    before = (out / "config.json").read_bytes()
    assert difference in command.refuse(*request, *flags)
    assert (out / "config.json").read_bytes() == before
    ended = command.succeed(*request, "--sequences", "bear", "--overwrite", *flags)
    assert frame_count(ended) == 4
    assert read_json(out / "config.json")["sequences"] == ["bear"]
    # the results of camel are of the former settings
    assert "camel" in command.refuse(*request, *flags)
    assert frame_count(command.succeed(*request, "--overwrite", *flags)) == 13


def test_a_memory_too_small_for_a_frame_is_refused_and_leaves_no_video(command, davis, out):
    request = [eval_davis, "--davis_path", davis, "--system", "lfu", "--max_memory_mb"]
    line = command.refuse(*request, "0.0001")
    assert "bear" in line and "max_memory_mb is 0.0001" in line and "give at least 0.0" in line
    assert [path.name for path in out.iterdir()] == ["config.json"]
    # nothing was made with the former settings, so they do not bind a later run
    command.succeed(*request, "1", "--sequences", "bear")
    assert (out / "bear").is_dir()


# Notes


def test_megabytes_of_memory_are_reported_as_frames_once_for_all_videos(command, davis):
    flags = ["--davis_path", davis, "--system", "lfu", "--max_memory_mb", "0.0521"]
    _, _, err = command.succeed(eval_davis, *flags)
    assert sum("memory: 0.0521 MB hold" in line for line in err.splitlines()) == 1
    assert re.search(r"hold \d+ elements, \d+\.\d frames' worth, with 2 objects", err)


@pytest.mark.parametrize(
    ("system", "parts", "left_out"),
    [
        ("pcvos", ["intra-clip refinement"], ["--set", "refine=false"]),
        (
            "remn",
            ["foreground reinforcing", "redundancy reduction"],
            ["--sampling", "every", "--set", "enhance=false", "memory.policy=every-k"],
        ),
    ],
)
def test_parts_of_a_network_that_the_system_does_not_use_are_reported(
    command, davis, tmp_path, system, parts, left_out
):
    weights = write_tiny_weights(tmp_path / "weights.pth", network=tiny_network_name(system))
    request = [eval_davis, "--davis_path", davis, "--sequences", "bear", "--model", weights]
    runs = [("stcn", [], True), (system, [], False), (system, left_out, False)]
    for number, (used, settings, is_reported) in enumerate(runs):
        output = ["--output", tmp_path / str(number)]
        _, _, err = command.succeed(*request, "--system", used, *settings, *output)
        for part in parts:
            note = f"note: the checkpoint's {part} was not used; --system {system} uses it"
            assert (note in err) == is_reported


def test_corrections_are_used_only_if_asked_for(command, tmp_path):
    root = write_generic(tmp_path / "data", "clip", {0: (1,), 3: (1,)})
    given = np.asarray(Image.open(root / "Annotations/clip/00003.png"))
    for flags, used in (([], False), (["--corrections"], True)):
        output = tmp_path / f"out{len(flags)}"
        ended = command.succeed(eval_generic, "--data_path", root, "--output", output, *flags)
        assert ("1 later mask ignored" in ended.err) != used
        assert np.array_equal(np.asarray(Image.open(output / "clip/00003.png")), given) == used


# Scores


def test_scores_are_a_table_and_files_and_are_removed_with_their_results(command, davis, out):
    lines = command.succeed(eval_davis, "--davis_path", davis, "--score").out.splitlines()
    assert lines[0].startswith("protocol davis") and json.loads(lines[-1])["frames"] == 13
    assert len(read_json(out / "scores.json")["objects"]) == 6 and (out / "scores.csv").exists()
    command.succeed(eval_davis, "--davis_path", davis, "--top_k", "3", "--overwrite")
    assert file_names(out) == ["bear", "camel", "config.json", "dog"]


def test_generic_results_are_scored_against_a_given_truth(command, out, tmp_path):
    root = write_generic(tmp_path / "data", "clip", {0: (1,), 2: (2,)})
    truth = write_generic(tmp_path / "truth", "clip", dict.fromkeys(range(6), (1, 2)))
    ended = command.succeed(eval_generic, "--data_path", root, "--truth", truth / "Annotations")
    assert "protocol strict" in ended.out
    objects = read_json(out / "scores.json")["objects"]
    assert [row["object_id"] for row in objects] == [1, 2]  # the late one too


# YouTube-VOS and video files


def test_youtube_results_lie_in_annotations_for_the_frames_asked_for(command, out, tmp_path):
    root = write_youtube(tmp_path / "data")
    command.succeed(eval_youtube, "--yv_path", root)
    assert file_names(out) == ["Annotations", "config.json"]
    assert file_names(out / "Annotations/aa11") == ["00000.png", "00005.png", "00010.png"]
    assert read_json(out / "config.json")["resolution"] == 480
    line = command.refuse(eval_youtube, "--yv_path", root, "--output_all")
    assert "output_all False (now True)" in line
    command.succeed(eval_youtube, "--yv_path", root, "--output_all", "--overwrite")
    assert len(file_names(out / "Annotations/aa11")) == 11


def test_youtube_can_read_the_frames_asked_for_only_and_reports_it(command, out, tmp_path):
    root = write_youtube(tmp_path / "data")
    weights = write_tiny_weights(tmp_path / "weights.pth", network="tiny_pcvos")
    request = [eval_youtube, "--yv_path", root, "--model", weights, "--system", "pcvos"]
    ended = command.succeed(*request, "--required_frames_only")
    assert frame_count(ended) == 3
    assert "only the frames that meta.json asks for were read" in ended.err
    assert file_names(out / "Annotations/aa11") == ["00000.png", "00005.png", "00010.png"]
    assert read_json(out / "config.json")["required_frames_only"] is True
    assert "required_frames_only True (now False)" in command.refuse(*request)


def test_a_video_file_with_a_mask_gives_masks_and_an_overlay(command, out, tmp_path):
    ended = command.succeed(eval_generic, *write_clip(tmp_path), "--overlay")
    assert frame_count(ended) == 5
    assert file_names(out / "clip") == [f"{index:05d}.png" for index in range(5)]
    given = np.asarray(Image.open(tmp_path / "first.png"))
    assert np.array_equal(np.asarray(Image.open(out / "clip/00000.png")), given)
    assert file_names(out / "overlays") == ["clip.mp4", "clip.png"]


def test_a_video_file_played_in_real_time_is_recorded_as_such(command, out, tmp_path):
    flags = write_clip(tmp_path, rate=5)
    ended = command.succeed(eval_generic, *flags, "--realtime")
    totals = json.loads(ended.out)
    assert 1 <= totals["frames"] <= 5 and totals["memory_elements"] == 12
    assert f"clip: {5 - totals['frames']} frames dropped" in ended.err
    assert read_json(out / "config.json")["realtime"] is True
    assert "realtime True (now not set)" in command.refuse(eval_generic, *flags)


# Exit codes


def test_as_a_program_it_exits_with_its_code_and_without_a_traceback(davis, weights, out):
    program = [sys.executable, str(ROOT / "eval_davis.py"), "--davis_path", str(davis)]
    program += ["--model", str(weights), "--output", str(out), "--device", "cpu"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def run(*flags: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [*program, *flags], env=environment, capture_output=True, text=True, cwd=out.parent
        )

    done = run("--sequences", "bear")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["frames"] == 4
    # a line on the mask, a line on the frames
    assert "\nbear: 4 frames, " in done.stderr and done.stderr.count("\n") == 2
    wrong = run("--top_k", "3")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.startswith("error: ") and "Traceback" not in wrong.stderr


def test_the_other_videos_are_finished_before_wrong_ones_are_named(command, out, tmp_path):
    root = write_davis(tmp_path / "data", {"bear": 3, "camel": 3, "dog": 3})
    (root / "JPEGImages/480p/bear/00001.jpg").write_bytes(b"no image")
    (root / "Annotations/480p/camel/00000.png").write_bytes(b"no image")
    ended = command(eval_davis, "--davis_path", root)
    assert ended.code == 2 and frame_count(ended) >= 3
    *_, before, bear, camel = ended.err.splitlines()
    assert not before.startswith("error: ")
    assert re.match(r"error: .*bear/00001\.jpg: not an image", bear)
    assert re.match(r"error: .*camel/00000\.png: not an image", camel)
    assert file_names(out) == ["config.json", "dog"]
