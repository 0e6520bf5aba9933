"""The eval scripts as users run them: flags, output folders, exit codes."""

import hashlib
import json
import os
import re
import subprocess
import sys

import cv2
import numpy as np
import pytest
from conftest import tiny_network_name
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
from inference import cli
from inference.config import SYSTEMS


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_tiny_weights(tmp_path_factory.mktemp("weights") / "tiny.pth")


@pytest.fixture(scope="module")
def davis(tmp_path_factory):
    return write_davis(tmp_path_factory.mktemp("davis"), {"bear": 4, "camel": 5, "dog": 4})


@pytest.fixture
def command(monkeypatch, capsys, weights, tmp_path):
    """Runs a script's main with flags; returns its exit code, stdout and stderr. --output is tmp_path/out and --model the tiny network unless given."""

    def run(script, *flags):
        flags = [str(flag) for flag in flags]
        for name, value in (
            ("--output", tmp_path / "out"),
            ("--model", weights),
            ("--device", "cpu"),
        ):
            flags += [] if name in flags else [name, str(value)]
        monkeypatch.setattr(sys, "argv", [f"{script.__name__}.py", *flags])
        with pytest.raises(SystemExit) as end:
            cli.start(script.main)
        output = capsys.readouterr()
        return end.value.code, output.out, output.err

    return run


def refused(end: tuple[int, str, str]) -> str:
    """The one line a refused command leaves on stderr."""
    code, out, err = end
    assert code == 2 and out == "" and err.startswith("error: ") and err.count("\n") == 1, err
    return err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--mem_every", "0"], "memory.write_every_frames is 0"),
        (["--top_k", "0"], "top_k is 0"),
        (["--top_k", "many"], "--top_k: invalid int value"),
        (["--resolution", "5"], "resolution is 5"),
        (["--lookahead", "0"], "--lookahead: 0: at least 1"),
        (["--clip_length", "5", "--mem_every", "3"], "mem_every is 3 and clip_length 5"),
        (["--clip_length", "0"], "clip_length is 0"),
        (["--system", "pcvos", "--clip_length", "0"], "clip_length is 0"),
        (
            ["--system", "pcvos"],
            "no weights of intra-clip refinement (input_proj.*, refine_transformer.*), which system pcvos needs",
        ),
        (["--system", "newest"], "stcn"),
        (["--memory", "everything"], "every-k"),
        (
            ["--memory_frames", "4"],
            "memory_frames: memory every-k has no bound to set; leave it out, or choose memory lfu",
        ),
        (
            ["--system", "lfu", "--memory_frames", "0"],
            "memory.capacity_frames is 0; it must be at least 1",
        ),
        (
            ["--system", "lfu", "--memory_frames", "2", "--max_memory_mb", "50"],
            "memory_frames is 2 and max_memory_mb 50; give one of them",
        ),
        (["--system", "lfu", "--max_memory_mb", "-1"], "memory.max_megabytes is -1"),
        (["--network", "huge"], "stcn_small"),
        (["--device", "toaster"], "not a device"),
        (["--top", "5"], "the flags are"),
        (["--sequences", "unicorn"], "bear camel dog"),
        (["--split", "best"], "2016val"),
        (["--set", "memory.colour=red"], "memory.policy"),
        (["--set", "top_k"], "KEY=VALUE"),
        (["--set", "top_k=3", "--top_k", "4"], "given twice"),
        (["--set", "amp=perhaps"], "true or false"),
        (["--corrections"], "--corrections: DAVIS"),
        (["--palette", "nowhere.png"], "nowhere.png"),
        (["--model", "nowhere.pth"], "nowhere.pth: no such checkpoint"),
        (["--network", "stcn"], "holds network tiny, not stcn as asked for"),
        (["--davis_path", "nowhere"], "nowhere"),
    ],
)
def test_a_wrong_request_is_one_line_that_says_what_is_valid(command, davis, tmp_path, flags, said):
    assert said in refused(command(eval_davis, "--davis_path", davis, *flags))
    assert not (tmp_path / "out").exists()


def test_a_memory_too_small_for_a_frame_is_refused_and_no_video_is_there(command, davis, tmp_path):
    said = refused(
        command(eval_davis, "--davis_path", davis, "--system", "lfu", "--max_memory_mb", "0.0001")
    )
    assert (
        "bear" in said
        and "max_memory_mb is 0.0001, but one frame with its objects takes" in said
        and "give at least 0.0" in said
    )
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["config.json"]
    code, _, err = command(
        eval_davis,
        "--davis_path",
        davis,
        "--system",
        "lfu",
        "--max_memory_mb",
        "1",
        "--sequences",
        "bear",
    )
    assert code == 0 and (tmp_path / "out/bear").is_dir(), (
        err
    )  # nothing was made with the former settings, so they bind nobody


def test_megabytes_of_memory_are_said_as_frames_once_however_many_videos_there_are(command, davis):
    code, _, err = command(
        eval_davis, "--davis_path", davis, "--system", "lfu", "--max_memory_mb", "0.0521"
    )
    assert code == 0
    assert sum("memory: 0.0521 MB hold" in line for line in err.splitlines()) == 1
    assert re.search(r"hold \d+ elements, \d+\.\d frames' worth, with 2 objects", err)


def test_the_shipped_weights_missing_asks_for_a_checkpoint(monkeypatch, davis, tmp_path, capsys):
    monkeypatch.setattr("inference.segmenter.WEIGHTS_FOLDER", tmp_path)
    monkeypatch.setattr(
        sys,
        "argv",
        ["eval_davis.py", "--davis_path", str(davis), "--output", str(tmp_path / "out")],
    )
    with pytest.raises(SystemExit) as end:
        cli.start(eval_davis.main)
    assert end.value.code == 2 and "--model" in capsys.readouterr().err


def test_config_json_holds_settings_weights_hash_and_data(command, davis, weights, tmp_path):
    code, out, _ = command(
        eval_davis,
        "--davis_path",
        davis,
        "--mem_every",
        "2",
        "--set",
        "memory.include_last=yes",
        "--sequences",
        "dog",
        "bear",
    )
    assert code == 0
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert (
        config["system"] == "stcn"
        and config["network"] == "tiny"
        and config["top_k"] == 20
        and config["resolution"] == -1
    )
    assert config["memory"] == {
        **config["memory"],
        "policy": "every-k",
        "write_every_frames": 2,
        "include_last": True,
    }
    assert config["weights_sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert (config["data_root"], config["split"], config["sequences"]) == (
        str(davis),
        "val",
        ["dog", "bear"],
    )
    totals = json.loads(out.strip().splitlines()[-1])
    assert list(totals) == [
        "frames",
        "seconds",
        "fps",
        "peak_memory_mb",
        "memory_elements",
        "memory_mb",
    ]
    assert (
        totals["frames"] == 8
        and totals["seconds"] > 0
        and totals["fps"] > 0
        and totals["peak_memory_mb"] > 0
    )


def test_the_same_settings_go_on_with_other_sequences(command, davis, tmp_path):
    command(eval_davis, "--davis_path", davis, "--sequences", "bear")
    code, out, err = command(eval_davis, "--davis_path", davis)
    assert code == 0 and json.loads(out)["frames"] == 9 and "1 of 3 videos are finished" in err
    assert json.loads((tmp_path / "out/config.json").read_text())["sequences"] == [
        "bear",
        "camel",
        "dog",
    ]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--top_k", "7"], "top_k 20 (now 7)"),
        (["--memory", "first-and-latest"], "memory.policy every-k (now first-and-latest)"),
        (["--model"], "weights_sha256"),
    ],
)
def test_other_settings_are_refused_by_name_unless_overwritten(
    command, davis, tmp_path, flags, said
):
    if flags == ["--model"]:
        flags = ["--model", write_tiny_weights(tmp_path / "other.pth", seed=1)]
    command(eval_davis, "--davis_path", davis, "--sequences", "bear", "camel")
    before = (tmp_path / "out/config.json").read_bytes()
    assert said in refused(command(eval_davis, "--davis_path", davis, *flags))
    assert (tmp_path / "out/config.json").read_bytes() == before
    code, out, _ = command(
        eval_davis, "--davis_path", davis, "--sequences", "bear", "--overwrite", *flags
    )
    assert code == 0 and json.loads(out)["frames"] == 4
    assert json.loads((tmp_path / "out/config.json").read_text())["sequences"] == ["bear"]
    assert "camel" in refused(
        command(eval_davis, "--davis_path", davis, *flags)
    )  # its results are of the former settings
    code, out, _ = command(eval_davis, "--davis_path", davis, "--overwrite", *flags)
    assert code == 0 and json.loads(out)["frames"] == 13


def test_folders_of_others_are_never_replaced(command, davis, tmp_path):
    truth = tmp_path / "out/bear/00000.png"
    write_png(truth, np.ones((48, 64), np.uint8))
    content = truth.read_bytes()
    for flags in ([], ["--overwrite"]):
        assert "no config.json" in refused(command(eval_davis, "--davis_path", davis, *flags))
        (tmp_path / "out/config.json").write_text('{"learning_rate": 1}')
        assert "not written by an evaluation" in refused(
            command(eval_davis, "--davis_path", davis, *flags)
        )
        (tmp_path / "out/config.json").unlink()
    assert truth.read_bytes() == content and file_names(tmp_path / "out/bear") == ["00000.png"]


def test_an_output_that_is_a_file_is_refused(command, davis, tmp_path):
    (tmp_path / "taken").write_text("")
    assert "taken" in refused(
        command(eval_davis, "--davis_path", davis, "--output", tmp_path / "taken")
    )


def test_scores_are_a_table_and_files_and_leave_with_the_results_they_are_of(
    command, davis, tmp_path
):
    code, out, _ = command(eval_davis, "--davis_path", davis, "--score")
    lines = out.strip().splitlines()
    assert (
        code == 0
        and lines[0].startswith("protocol davis")
        and json.loads(lines[-1])["frames"] == 13
    )
    assert (
        len(json.loads((tmp_path / "out/scores.json").read_text())["objects"]) == 6
        and (tmp_path / "out/scores.csv").exists()
    )
    command(eval_davis, "--davis_path", davis, "--top_k", "3", "--overwrite")
    assert file_names(tmp_path / "out") == ["bear", "camel", "config.json", "dog"]


def test_score_without_the_truth_is_refused_before_any_work(command, tmp_path):
    root = write_davis(tmp_path / "data", {"bear": 3})
    (root / "Annotations/480p/bear/00001.png").unlink()
    (root / "Annotations/480p/bear/00002.png").unlink()
    assert "leave --score out" in refused(command(eval_davis, "--davis_path", root, "--score"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("split_list", "split", "every"),
    [("2017/test-dev.txt", "testdev", 3), ("2016/val.txt", "2016val", 5)],
)
def test_the_split_decides_how_often_frames_are_memorised(
    command, tmp_path, split_list, split, every
):
    root = write_davis(tmp_path / "data", {"bear": 3}, split_list)
    assert command(eval_davis, "--davis_path", root, "--split", split)[0] == 0
    assert (
        json.loads((tmp_path / "out/config.json").read_text())["memory"]["write_every_frames"]
        == every
    )


def test_a_clip_length_sets_how_often_frames_are_memorised(command, tmp_path):
    root = write_davis(tmp_path / "data", {"bear": 5}, "2017/test-dev.txt")
    assert (
        command(eval_davis, "--davis_path", root, "--split", "testdev", "--clip_length", "4")[0]
        == 0
    )
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert (config["clip_length"], config["memory"]["write_every_frames"]) == (4, 4)


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_system_runs_from_the_command_line(command, davis, tmp_path, system):
    weights = write_tiny_weights(tmp_path / "weights.pth", network=tiny_network_name(system))
    code, out, _ = command(
        eval_davis, "--davis_path", davis, "--system", system, "--model", weights
    )
    assert code == 0 and json.loads(out)["frames"] == 13
    assert json.loads((tmp_path / "out/config.json").read_text())["system"] == system


def test_youtube_results_lie_in_annotations_for_the_frames_asked_for(command, tmp_path):
    root = write_youtube(tmp_path / "data")
    assert command(eval_youtube, "--yv_path", root)[0] == 0
    assert file_names(tmp_path / "out") == ["Annotations", "config.json"]
    assert file_names(tmp_path / "out/Annotations/aa11") == ["00000.png", "00005.png", "00010.png"]
    assert json.loads((tmp_path / "out/config.json").read_text())["resolution"] == 480
    assert "output_all False (now True)" in refused(
        command(eval_youtube, "--yv_path", root, "--output_all")
    )
    code, _, _ = command(eval_youtube, "--yv_path", root, "--output_all", "--overwrite")
    assert code == 0 and len(file_names(tmp_path / "out/Annotations/aa11")) == 11


def test_youtube_reads_the_frames_asked_for_alone_where_that_is_wanted_and_says_so(
    command, tmp_path
):
    root = write_youtube(tmp_path / "data")
    weights = write_tiny_weights(tmp_path / "weights.pth", network="tiny_pcvos")
    flags = ["--yv_path", root, "--model", weights, "--system", "pcvos", "--required_frames_only"]
    code, out, err = command(eval_youtube, *flags)
    assert code == 0 and json.loads(out)["frames"] == 3
    assert (
        "only the frames that meta.json asks for were read (--required_frames_only): results differ"
        in err
    )
    assert file_names(tmp_path / "out/Annotations/aa11") == ["00000.png", "00005.png", "00010.png"]
    assert json.loads((tmp_path / "out/config.json").read_text())["required_frames_only"] is True
    assert "required_frames_only True (now False)" in refused(command(eval_youtube, *flags[:-1]))
    assert "leave one of them out" in refused(
        command(eval_youtube, *flags, "--output_all", "--output", tmp_path / "other")
    )


@pytest.mark.parametrize(
    ("system", "parts"),
    [
        ("pcvos", ["intra-clip refinement"]),
        ("remn", ["foreground reinforcing", "redundancy reduction"]),
    ],
)
def test_parts_of_a_network_that_are_there_and_not_used_are_said(
    command, davis, tmp_path, system, parts
):
    weights = write_tiny_weights(tmp_path / "weights.pth", network=tiny_network_name(system))
    left_out = (
        ["--set", "refine=false"]
        if system == "pcvos"
        else ["--sampling", "every", "--set", "enhance=false", "memory.policy=every-k"]
    )
    for number, (run, settings, said) in enumerate(
        [("stcn", [], True), (system, [], False), (system, left_out, False)]
    ):
        out = tmp_path / str(number)
        code, _, err = command(
            eval_davis,
            "--davis_path",
            davis,
            "--sequences",
            "bear",
            "--model",
            weights,
            "--system",
            run,
            *settings,
            "--output",
            out,
        )
        assert code == 0
        assert all(
            (f"note: the checkpoint's {part} was not used; --system {system} uses it" in err)
            == said
            for part in parts
        )


def test_a_video_file_with_a_mask_gives_masks_and_an_overlay(command, tmp_path):
    images, labels = toy_frames(5, 0, (7,))
    video = cv2.VideoWriter(
        str(tmp_path / "clip.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48)
    )
    for image in images:
        video.write(image[..., ::-1].copy())
    video.release()
    write_png(tmp_path / "first.png", labels[0])
    code, out, _ = command(
        eval_generic,
        "--video",
        tmp_path / "clip.avi",
        "--mask",
        tmp_path / "first.png",
        "--overlay",
        "--resolution",
        "-1",
    )
    assert code == 0 and json.loads(out)["frames"] == 5
    assert file_names(tmp_path / "out/clip") == [f"{index:05d}.png" for index in range(5)]
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out/clip/00000.png")), labels[0])
    assert file_names(tmp_path / "out/overlays") == ["clip.mp4", "clip.png"]


def test_corrections_are_used_only_when_asked_for(command, tmp_path):
    root = write_generic(tmp_path / "data", "clip", {0: (1,), 3: (1,)})
    given = np.asarray(Image.open(root / "Annotations/clip/00003.png"))
    for flags, used in (([], False), (["--corrections"], True)):
        output = tmp_path / f"out{len(flags)}"
        code, _, err = command(eval_generic, "--data_path", root, "--output", output, *flags)
        assert code == 0 and ("1 later mask ignored" in err) != used
        assert np.array_equal(np.asarray(Image.open(output / "clip/00003.png")), given) == used


def test_generic_results_are_scored_against_a_given_truth(command, tmp_path):
    root = write_generic(tmp_path / "data", "clip", {0: (1,), 2: (2,)})
    truth = (
        write_generic(tmp_path / "truth", "clip", dict.fromkeys(range(6), (1, 2))) / "Annotations"
    )
    code, out, _ = command(eval_generic, "--data_path", root, "--truth", truth)
    assert code == 0 and "protocol strict" in out
    assert [
        row["object_id"]
        for row in json.loads((tmp_path / "out/scores.json").read_text())["objects"]
    ] == [1, 2]  # the late one too


@pytest.mark.parametrize(
    "flags",
    [
        [],
        ["--data_path", "a", "--video", "b", "--mask", "c"],
        ["--video", "b"],
        ["--mask", "c"],
        ["--video", "b", "--data_path", "a"],
    ],
)
def test_generic_wants_folders_or_one_video_with_its_mask(command, flags):
    assert "--data_path, or --video and --mask" in refused(command(eval_generic, *flags))


@pytest.mark.parametrize(
    "flags",
    [["--data_path", "a", "--realtime"], ["--video", "0", "--mask", "m.png", "--truth", "t"]],
)
def test_live_sources_go_without_folders_and_truth(command, flags):
    if "--data_path" in flags:
        assert "--realtime and live sources: go with --video alone" in refused(
            command(eval_generic, *flags)
        )
    else:
        assert "without --truth" in refused(command(eval_generic, *flags))


def test_live_sources_go_without_a_frame_range(command):
    flags = ["--video", "0", "--mask", "m.png", "--frame_range", "0", "900"]
    assert "--frame_range: not for --realtime and live sources" in refused(
        command(eval_generic, *flags)
    )


def test_a_video_file_played_in_real_time_is_recorded_as_such(command, tmp_path):
    images, labels = toy_frames(5, 0, (7,))
    video = cv2.VideoWriter(
        str(tmp_path / "clip.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 5, (64, 48)
    )
    for image in images:
        video.write(image[..., ::-1].copy())
    video.release()
    write_png(tmp_path / "first.png", labels[0])
    flags = [
        "--video",
        tmp_path / "clip.avi",
        "--mask",
        tmp_path / "first.png",
        "--resolution",
        "-1",
    ]
    code, out, err = command(eval_generic, *flags, "--realtime")
    totals = json.loads(out)
    assert (
        code == 0
        and 1 <= totals["frames"] <= 5
        and totals["memory_elements"] == 12
        and f"clip: {5 - totals['frames']} frames dropped" in err
    )
    assert json.loads((tmp_path / "out/config.json").read_text())["realtime"] is True
    assert "realtime True (now not set)" in refused(command(eval_generic, *flags))


def test_as_a_program_it_exits_with_its_code_and_without_a_traceback(davis, weights, tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    shared = [
        sys.executable,
        str(ROOT / "eval_davis.py"),
        "--davis_path",
        str(davis),
        "--model",
        str(weights),
        "--output",
        str(tmp_path / "out"),
        "--device",
        "cpu",
    ]
    done = subprocess.run(
        [*shared, "--sequences", "bear"],
        env=environment,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert (
        json.loads(done.stdout)["frames"] == 4
        and "\nbear: 4 frames, " in done.stderr
        and done.stderr.count("\n") == 2
    )  # the mask, the frames
    wrong = subprocess.run(
        [*shared, "--top_k", "3"], env=environment, capture_output=True, text=True, cwd=tmp_path
    )
    assert (
        wrong.returncode == 2
        and wrong.stdout == ""
        and wrong.stderr.startswith("error: ")
        and "Traceback" not in wrong.stderr
    )


def test_one_bad_video_costs_the_others_nothing_and_is_named_at_the_end(command, tmp_path):
    root = write_davis(tmp_path / "data", {"bear": 3, "camel": 3, "dog": 3})
    (root / "JPEGImages/480p/bear/00001.jpg").write_bytes(b"no image")
    (root / "Annotations/480p/camel/00000.png").write_bytes(b"no image")
    code, out, err = command(eval_davis, "--davis_path", root)
    assert code == 2 and json.loads(out)["frames"] >= 3
    lines = err.splitlines()
    assert [line.startswith("error: ") for line in lines[-3:]] == [False, True, True]
    assert (
        "bear/00001.jpg: not an image" in lines[-2] and "camel/00000.png: not an image" in lines[-1]
    )
    assert file_names(tmp_path / "out") == ["config.json", "dog"]
