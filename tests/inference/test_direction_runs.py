"""eval_generic.py --direction: which frames are written, and how a run resumes."""

import json
from pathlib import Path

import numpy as np
import pytest
import toy_videos
from eval_commands import EvalCommand
from PIL import Image
from toy_trees import file_names, toy_frames, write_generic, write_png, write_tiny_weights

import eval_generic

QUICK = ("--resolution", 32)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_tiny_weights(tmp_path_factory.mktemp("weights") / "tiny.pth")


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def command(monkeypatch, capsys, weights, out) -> EvalCommand:
    return EvalCommand(monkeypatch, capsys, output=out, model=weights)


def frames_from(first: int, last: int) -> list[str]:
    return [f"{index:05d}.png" for index in range(first, last + 1)]


def test_a_mask_in_the_middle_reaches_the_frames_that_the_direction_says(command, out, tmp_path):
    root = write_generic(tmp_path / "data", "clip", {2: (7,), 4: (7, 9)})
    flags = ("--data_path", root, *QUICK)
    for direction, written in (
        ("backward", frames_from(0, 4)),
        ("both", frames_from(0, 5)),
        ("forward", frames_from(2, 5)),
    ):
        ended = command.succeed(eval_generic, *flags, "--direction", direction, "--overwrite")
        assert file_names(out / "clip") == written
        assert json.loads(ended.out.splitlines()[-1])["frames"] == len(written)
        assert "1 later mask ignored" in ended.err
        labels = np.asarray(Image.open(out / "clip/00004.png"))
        given = np.asarray(Image.open(root / "Annotations/clip/00004.png"))
        assert np.array_equal(labels == 9, given == 9)
    assert json.loads((out / "config.json").read_text())["direction"] == "forward"


def test_a_run_resumes_in_its_direction_and_refuses_another(command, tmp_path, out):
    root = write_generic(tmp_path / "data", "clip", {2: (7,)}, count=4)
    flags = ("--data_path", root, "--direction", "both", *QUICK)
    command.succeed(eval_generic, *flags)
    first = (out / "clip/00000.png").stat().st_mtime_ns
    assert "finished already" in command.succeed(eval_generic, *flags).err
    assert (out / "clip/00000.png").stat().st_mtime_ns == first
    line = command.refuse(eval_generic, "--data_path", root, *QUICK)
    assert "direction both (now forward)" in line and "--overwrite" in line
    line = command.refuse(eval_generic, *flags, "--permanent_memory")
    assert "memory.permanent False (now True)" in line


def test_a_video_file_gives_what_its_frames_give(command, tmp_path, out):
    images, labels = toy_frames(9, 0)
    video = toy_videos.write(tmp_path / "clip.mp4", images, options=toy_videos.H264)
    for index in (3, 6):
        write_png(tmp_path / f"masks/{index:05d}.png", labels[index])
    frames = tmp_path / "frames/clip"
    frames.mkdir(parents=True)
    for picture in toy_videos.read_pictures(video)[0]:
        Image.fromarray(picture.image).save(frames / f"{picture.index:05d}.png")
    flags = ["--direction", "both", "--permanent_memory", "--corrections", *QUICK]
    for source, output in ((video, out), (frames, tmp_path / "again")):
        more = ["--mask", tmp_path / "masks", "--output", output]
        command.succeed(eval_generic, "--video", source, *more, *flags)
    assert file_names(out / "clip") == frames_from(0, 8)
    for name in frames_from(0, 8):
        assert (out / "clip" / name).read_bytes() == (tmp_path / "again/clip" / name).read_bytes()


def test_a_file_cut_off_behind_its_masks_keeps_the_results_before(command, tmp_path, out):
    images, labels = toy_frames(9, 0)
    path = toy_videos.write(tmp_path / "clip.mkv", images, options=toy_videos.H264)
    path.write_bytes(path.read_bytes()[:-200])
    write_png(tmp_path / "00002.png", labels[2])
    flags = ("--mask", tmp_path / "00002.png", "--direction", "both", *QUICK)
    ended = command(eval_generic, "--video", path, *flags)
    assert ended.code == 2 and "Traceback" not in ended.err
    names = file_names(out / "clip")
    assert names[:3] == frames_from(0, 2) and "incomplete.txt" in names


@pytest.mark.parametrize("damaged", [3, 6])
def test_a_mask_of_a_damaged_frame_is_refused(command, tmp_path, out, damaged):
    images, labels = toy_frames(9, 0)
    path = toy_videos.write(tmp_path / "clip.avi", images, "mjpeg", "yuvj444p")
    assert toy_videos.damage(path, [damaged]) == [damaged]
    for index in (3, 6):
        write_png(tmp_path / f"masks/{index:05d}.png", labels[index])
    flags = ("--mask", tmp_path / "masks", "--direction", "both", "--corrections", *QUICK)
    line = command.refuse(eval_generic, "--video", path, *flags)
    assert f"frames [{damaged}]" in line and "damaged" in line
    assert not (out / "clip").exists()
