"""The output folder of a run: nothing outside it, nothing stale in it, nothing half made taken for whole, and one run at a time."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from repository import ROOT
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
import eval_youtube
from dataset import (
    DavisDataset,
    GenericDataset,
    SingleVideoDataset,
    TruncatedVideoError,
    YoutubeDataset,
)
from inference import VideoSegmenter, cli
from inference.output.run_folder import RunFolder
from inference.runner import run
from model import build_network
from util.errors import InputError
from util.files import atomic_write, check_plain_name
from util.folder_lock import LOCK_NAME, folder_lock


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
def command(monkeypatch, capsys, weights, tmp_path) -> Callable[..., tuple[int, str]]:
    """Runs a script's main with flags; returns its exit code and stderr. --output is tmp_path/out unless given."""

    def run_script(script, *flags):
        flags = [str(flag) for flag in (*flags, "--model", weights, "--device", "cpu")]
        flags += [] if "--output" in flags else ["--output", str(tmp_path / "out")]
        monkeypatch.setattr(sys, "argv", [f"{script.__name__}.py", *flags])
        with pytest.raises(SystemExit) as end:
            cli.start(script.main)
        return end.value.code, capsys.readouterr().err

    return run_script


def tree(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder."""
    return {
        str(path.relative_to(folder)): None if path.is_dir() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
    }


def refused(end: tuple[int, str]) -> str:
    code, err = end
    assert code == 2 and err.startswith("error: ") and err.count("\n") == 1, err
    return err


# Names


@pytest.mark.parametrize(
    "name",
    [
        "..",
        ".",
        "",
        " ",
        "/",
        "/tmp/x",
        "../x",
        "a/b",
        "a/../../b",
        "a\\b",
        "..\\x",
        "a\0b",
        "a\nb",
        "\x1b[2J",
        ".hidden",
        "x" * 201,
        "\ud800",
    ],
)
def test_names_that_are_no_plain_names_are_refused(name):
    with pytest.raises(InputError, match=r"^meta\.json: the name .*; give it a plain name$"):
        check_plain_name(name, "meta.json")


@pytest.mark.parametrize(
    "name",
    ["bear", "a b", "a..b", "clip.", "01", "café", "日本", "a:b", "-x", "x" * 200, "a\udcff"],
)
def test_odd_names_that_stay_where_they_are_put_are_taken(name):
    check_plain_name(name, "meta.json")


@pytest.mark.parametrize("name", ["..", "../../victim", "a/../..", ".git"])
def test_a_name_in_a_list_that_leads_out_is_refused_and_nothing_is_written_or_deleted(
    command, tmp_path, name
):
    root = write_davis(tmp_path / "deep/data", {"bear": 3})
    assert command(eval_davis, "--davis_path", root, "--output", tmp_path / "deep/p/out")[0] == 0
    (tmp_path / "deep/victim").mkdir()
    (tmp_path / "deep/p/thesis.txt").write_text("precious")
    for folder in ("JPEGImages", "Annotations"):  # what a name of '..' finds there
        shutil.copytree(root / folder / "480p/bear", root / folder, dirs_exist_ok=True)
    (root / "ImageSets/2017/val.txt").write_text(f"bear\n{name}\n")
    before = tree(tmp_path)
    assert "the name '" in refused(
        command(
            eval_davis, "--davis_path", root, "--output", tmp_path / "deep/p/out", "--overwrite"
        )
    )
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    ("video", "frame"),
    [
        ("../../victim", "00000"),
        ("/victim", "00000"),
        ("", "00000"),
        ("aa11", "../00000"),
        ("aa11", "/etc/passwd"),
    ],
)
def test_names_of_videos_and_frames_in_meta_json_are_refused_alike(command, tmp_path, video, frame):
    root = write_youtube(tmp_path / "data")
    (root / "valid/meta.json").write_text(
        json.dumps({"videos": {video: {"objects": {"1": {"category": "cat", "frames": [frame]}}}}})
    )
    assert "meta.json" in refused(command(eval_youtube, "--yv_path", root))
    assert not (tmp_path / "out").exists()


def test_whoever_gives_a_run_videos_of_such_names_is_refused_too(segmenter, out, tmp_path):
    dataset = DavisDataset(write_davis(tmp_path / "data", {"bear": 3}))
    dataset = SingleVideoDataset(dataset[0], tmp_path / "data")
    dataset.names = ("../victim",)
    with pytest.raises(InputError, match="leads to another folder"):
        run(dataset, segmenter, out)
    assert file_names(tmp_path) == ["data"]


@pytest.mark.parametrize(
    "name", ["config.json", "overlays", "scores.json", "scores.csv", "Annotations", "Config.JSON"]
)
def test_videos_named_as_files_of_every_run_are_refused_before_any_work(command, tmp_path, name):
    root = write_generic(tmp_path / "data", name, {0: (1,)})
    assert f"a video is called {name}" in refused(command(eval_generic, "--data_path", root))
    assert file_names(tmp_path) == ["data"]


def test_videos_in_a_folder_of_their_own_may_have_any_name(segmenter, tmp_path):
    out = RunFolder(tmp_path / "out", {}, subfolder="Annotations")
    run(GenericDataset(write_generic(tmp_path / "data", "config.json", {0: (1,)})), segmenter, out)
    assert len(file_names(out.results / "config.json")) == 6


# Places


@pytest.mark.parametrize(
    "place", ["data", "data/out", "data/JPEGImages/out", ".", "data/../data/new"]
)
def test_results_lie_apart_from_the_data(command, tmp_path, place):
    root = write_generic(tmp_path / "data", "clip", {0: (1,)})
    before = tree(tmp_path)
    assert "data's own folder" in refused(
        command(eval_generic, "--data_path", root, "--output", tmp_path / place)
    )
    assert tree(tmp_path) == before


def test_a_link_does_not_hide_that_results_lie_in_the_data(command, tmp_path):
    root = write_youtube(tmp_path / "data")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/Annotations").symlink_to(root / "valid/Annotations")
    before = tree(root)
    refused(command(eval_youtube, "--yv_path", root, "--overwrite"))
    (tmp_path / "data_again").symlink_to(root)
    refused(command(eval_youtube, "--yv_path", root, "--output", tmp_path / "data_again/out"))
    assert tree(root) == before


def test_a_link_in_a_videos_place_is_refused_and_what_it_leads_to_stays(command, tmp_path):
    root = write_davis(tmp_path / "data", {"bear": 3, "camel": 3})
    assert command(eval_davis, "--davis_path", root, "--sequences", "camel")[0] == 0
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/file").write_text("precious")
    (tmp_path / "out/bear").symlink_to(tmp_path / "mine")
    for flags in ([], ["--overwrite"]):
        assert "bear: a link" in refused(command(eval_davis, "--davis_path", root, *flags))
    assert tree(tmp_path / "mine") == {"file": b"precious"} and (tmp_path / "out/bear").is_symlink()


def test_masks_in_the_place_of_results_stay(command, tmp_path):
    images, labels = toy_frames(3, 0)
    for index, image in enumerate(images):
        write_jpg(tmp_path / f"frames/clip/{index:05d}.jpg", image)
    write_png(tmp_path / "clip/00000.png", labels[0])
    before = tree(tmp_path)
    flags = [
        "--video",
        tmp_path / "frames/clip",
        "--mask",
        tmp_path / "clip",
        "--output",
        tmp_path,
        "--overwrite",
    ]
    assert "holds" in refused(command(eval_generic, *flags))
    assert tree(tmp_path) == before


def test_a_folder_no_run_recorded_stays_also_where_a_run_recorded_others(command, tmp_path):
    root = write_davis(tmp_path / "data", {"bear": 3, "camel": 3})
    assert command(eval_davis, "--davis_path", root, "--sequences", "camel")[0] == 0
    write_png(tmp_path / "out/bear/mine.png", np.ones((48, 64), np.uint8))
    for flags in ([], ["--overwrite"]):
        assert "bear: is there already" in refused(
            command(eval_davis, "--davis_path", root, *flags)
        )
    assert file_names(tmp_path / "out/bear") == ["mine.png"]


@pytest.mark.parametrize("name", ["scores.json", "overlays/bear.png"])
def test_files_of_others_with_names_of_ours_stay(command, tmp_path, name):
    root = write_davis(tmp_path / "data", {"bear": 3})
    (tmp_path / "out/overlays").mkdir(parents=True)
    (tmp_path / "out" / name).write_text("mine")
    assert "is there already" in refused(
        command(eval_davis, "--davis_path", root, "--overwrite", "--overlay")
    )
    assert (tmp_path / "out" / name).read_text() == "mine"


@pytest.mark.parametrize(
    "trace", ["config.json", "scores.csv", "bear/00000.png", "overlays/bear.png", LOCK_NAME]
)
def test_a_trace_in_the_place_of_the_runs_own_files_is_refused(command, tmp_path, trace):
    root = write_davis(tmp_path / "data", {"bear": 3})
    assert "--trace" in refused(
        command(eval_davis, "--davis_path", root, "--trace", tmp_path / "out" / trace)
    )
    assert file_names(tmp_path) == ["data"]


def test_a_trace_over_a_file_of_another_kind_is_refused_and_the_file_stays(
    command, tmp_path, weights
):
    root, content = write_davis(tmp_path / "data", {"bear": 3}), weights.read_bytes()
    assert "is no trace" in refused(command(eval_davis, "--davis_path", root, "--trace", weights))
    assert weights.read_bytes() == content and file_names(tmp_path) == ["data"]
    for _ in range(2):  # a trace, and an empty file, are gone on with
        assert (
            command(
                eval_davis,
                "--davis_path",
                root,
                "--trace",
                tmp_path / "out/trace.jsonl",
                "--overwrite",
            )[0]
            == 0
        )
    assert (tmp_path / "out/trace.jsonl").read_text().count('"video": "bear"') == 6


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_trace_on_a_full_disk_is_named(command, tmp_path):
    root = write_davis(tmp_path / "data", {"bear": 3})
    assert "No space left on device: '/dev/full'" in refused(
        command(eval_davis, "--davis_path", root, "--trace", "/dev/full")
    )


# The same inputs


def replace_frame(root: Path) -> None:
    """Another picture under the same name, of the same size and time."""
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


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (replace_frame, "camel: frames changed"),
        (replace_mask, "camel: masks changed"),
        (add_frame, "camel: 5 frames instead of 4"),
        (remove_frame, "camel: 3 frames instead of 4"),
        (rename_frames, "camel: names of frames changed"),
    ],
)
def test_results_of_inputs_that_changed_are_made_again_and_no_others(
    segmenter, out, tmp_path, caplog, change, said
):
    caplog.set_level("INFO")
    root = write_davis(tmp_path / "data", {"bear": 4, "camel": 4})
    run(DavisDataset(root), segmenter, out)
    bear = (out.results / "bear/00000.png").stat().st_mtime_ns
    change(root)
    caplog.clear()
    frames = run(DavisDataset(root), segmenter, out).frames
    assert f"{said} since its results were made; it is made again" in caplog.text
    assert (
        frames
        == len(file_names(out.results / "camel"))
        == len(file_names(root / "JPEGImages/480p/camel"))
    )
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


def test_a_video_file_or_its_mask_replaced_in_place_is_made_again(command, tmp_path):
    images, labels = toy_frames(5, 0)
    for name, count in (("clip", 5), ("other", 3)):
        Image.fromarray(images[0]).save(
            tmp_path / f"{name}.gif",
            save_all=True,
            append_images=[Image.fromarray(image) for image in images[1:count]],
            duration=40,
        )
    for index, image in enumerate(images):
        write_jpg(tmp_path / f"clip/{index:05d}.jpg", image)
    write_png(tmp_path / "first.png", labels[0])
    flags = ["--video", tmp_path / "clip", "--mask", tmp_path / "first.png"]
    assert command(eval_generic, *flags)[0] == 0
    write_png(tmp_path / "first.png", (labels[0] == 1).astype(np.uint8))
    code, err = command(eval_generic, *flags)
    assert code == 0 and "clip: masks changed since its results were made; it is made again" in err
    write_png(tmp_path / "second.png", labels[0])
    assert "mask" in refused(
        command(eval_generic, *flags[:-1], tmp_path / "second.png")
    )  # another file is another request


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


def test_results_of_another_script_in_the_folder_are_refused_whatever_is_overwritten(
    command, tmp_path
):
    youtube = write_youtube(tmp_path / "youtube")
    generic = write_generic(tmp_path / "generic", "aa11", {0: (1,)})
    assert command(eval_youtube, "--yv_path", youtube)[0] == 0
    for flags in ([], ["--overwrite"]):
        assert "holds results of another script (eval_youtube.py)" in refused(
            command(eval_generic, "--data_path", generic, *flags)
        )
    other = ["--output", tmp_path / "other"]
    assert command(eval_generic, "--data_path", generic, *other)[0] == 0
    assert "eval_generic.py" in refused(command(eval_youtube, "--yv_path", youtube, *other))


def test_results_that_an_earlier_version_left_are_refused_with_what_to_do(command, tmp_path):
    root = write_davis(tmp_path / "data", {"bear": 3})
    assert command(eval_davis, "--davis_path", root)[0] == 0
    path = tmp_path / "out/config.json"
    path.write_text(
        json.dumps(
            {
                key: value
                for key, value in json.loads(path.read_text()).items()
                if key not in ("inputs", "results", "script")
            }
        )
    )
    assert "earlier version, which did not record what results were made from" in refused(
        command(eval_davis, "--davis_path", root)
    )
    assert command(eval_davis, "--davis_path", root, "--overwrite")[0] == 0
    assert command(eval_davis, "--davis_path", root)[0] == 0


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "{",
        '{"sequences": ["../../victim"]}',
        '{"sequences": "bear"}',
        '{"sequences": [], "inputs": 3}',
        '{"sequences": [], "results": ".."}',
        "[" * 100_000,
    ],
)
def test_a_config_json_that_no_run_wrote_is_refused(command, tmp_path, content):
    root = write_davis(tmp_path / "data", {"bear": 3})
    (tmp_path / "out").mkdir()
    (tmp_path / "out/config.json").write_text(content)
    for flags in ([], ["--overwrite"]):
        assert "not written by an evaluation" in refused(
            command(eval_davis, "--davis_path", root, *flags)
        )
    assert (tmp_path / "out/config.json").read_text() == content
    if content == "[]":
        for make in (os.mkfifo, os.mkdir):
            (tmp_path / "out/config.json").unlink()
            make(tmp_path / "out/config.json")
            assert "not written by an evaluation" in refused(
                command(eval_davis, "--davis_path", root)
            )


def test_scores_are_of_the_folder_and_the_videos_that_the_run_wrote(command, tmp_path):
    root = write_generic(tmp_path / "data", "clip", {0: (1, 2)})
    truth = (
        write_generic(tmp_path / "truth", "clip", dict.fromkeys(range(6), (1, 2))) / "Annotations"
    )
    for perfect in (
        tmp_path / "out/Annotations",
        truth / "Annotations",
    ):  # where the scores were looked for
        shutil.copytree(truth / "clip", perfect / "clip")
    assert command(eval_generic, "--data_path", root, "--truth", truth)[0] == 0
    assert json.loads((tmp_path / "out/scores.json").read_text())["overall"]["jf_mean"] < 0.9


# One run at a time


def test_a_second_run_into_a_folder_ends_with_one_line(segmenter, out, command, tmp_path):
    root = write_davis(tmp_path / "data", {"bear": 3})
    with out.hold():
        said = refused(command(eval_davis, "--davis_path", root))
        assert (
            f"another run (process {os.getpid()} on " in said
            and "is writing here; wait until it has ended, or choose another --output" in said
        )
    assert command(eval_davis, "--davis_path", root)[0] == 0
    assert LOCK_NAME not in file_names(tmp_path / "out")


def test_the_lock_of_a_killed_run_stops_nobody_and_folders_made_for_one_go_with_it(tmp_path):
    folder = tmp_path / "runs/one"
    program = "import pathlib, sys, time; from util.folder_lock import folder_lock\nwith folder_lock(pathlib.Path(sys.argv[1]), 'wait'): print('held', flush=True); time.sleep(60)"
    with subprocess.Popen(
        [sys.executable, "-c", program, str(folder)], cwd=ROOT, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(InputError, match="another run"), folder_lock(folder, "wait"):
            pass
        holder.send_signal(signal.SIGKILL)
    assert file_names(folder) == [LOCK_NAME]
    with folder_lock(folder, "wait"):
        pass
    assert file_names(folder) == []
    with folder_lock(tmp_path / "new/one", "wait"):
        assert file_names(tmp_path / "new/one") == [LOCK_NAME]
    assert file_names(tmp_path) == ["runs"]


def test_without_locks_a_run_goes_on_without(monkeypatch, tmp_path):
    def unsupported(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("util.folder_lock.fcntl.flock", unsupported)
    with folder_lock(tmp_path / "one", "wait"), folder_lock(tmp_path / "one", "wait"):
        assert file_names(tmp_path / "one") == []
    monkeypatch.setattr("util.folder_lock.fcntl", None)
    with folder_lock(tmp_path / "one", "wait"):
        pass


def test_a_lock_file_that_is_a_link_is_not_followed(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "mine").write_text("precious")
    (tmp_path / "out" / LOCK_NAME).symlink_to(tmp_path / "mine")
    with pytest.raises(OSError, match="symbolic link"), folder_lock(tmp_path / "out", "wait"):
        pass
    assert (tmp_path / "mine").read_text() == "precious"


def test_results_that_another_program_removed_meanwhile_are_not_taken_for_whole(
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


# Killed at any point

KILLED = '''
import os, pathlib, sys
import numpy as np, torch
from dataset import GenericDataset
from inference import VideoSegmenter
from inference.output.run_folder import RunFolder
from inference.runner import run
from model import build_network

torch.set_num_threads(1)
torch.manual_seed(0)
segmenter = VideoSegmenter(build_network("tiny"), device="cpu")
root, base = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
written = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree", "open")

def segment(out, overwrite, limit):
    """A run that is killed at its `limit`-th change of its folder. Returns whether it came to its end."""
    process = os.fork()
    if process == 0:
        count = 0
        def hook(event, arguments):
            nonlocal count
            if event in written and str(out) in str(arguments[0]) and (event != "open" or (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)):
                count += 1
                if count == limit:
                    os._exit(9)
        sys.addaudithook(hook)
        sys.stderr = open(os.devnull, "w")
        run(GenericDataset(root), segmenter, RunFolder(out, {"top_k": 20}, overwrite=overwrite))
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0

def whole(out):
    """The videos that a run would take for finished."""
    return sorted(path.name for path in out.iterdir() if path.is_dir() and not path.name.startswith(".") and not (path / "incomplete.txt").exists()) if out.exists() else []

def content(out):
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*.png"))}

reference = base / "reference"
assert segment(reference, False, -1)
expected = content(reference)
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
        for name in whole(out):
            files = {path: data for path, data in content(out).items() if path.startswith(name + "/")}
            assert files == {path: data for path, data in expected.items() if path.startswith(name + "/")}, (overwrite, limit, name, sorted(files))
        assert segment(out, False, -1)
        assert content(out) == expected and sorted(path.name for path in out.iterdir()) == ["a", "b", "config.json"], (overwrite, limit, sorted(out.iterdir()))
    assert limit > 20, limit
print("held")
'''


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_run_killed_at_any_change_of_its_folder_leaves_nothing_half_made_as_whole(tmp_path):
    for name in ("a", "b"):
        write_generic(tmp_path / "data", name, {0: (1, 2)}, count=2)
    command = [
        sys.executable,
        "-c",
        KILLED,
        str(tmp_path / "data"),
        str(tmp_path),
        os.environ.get("KILL_STRIDE", "9"),
    ]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.stdout == "held\n", done.stderr


def test_a_video_that_ends_early_is_never_there_without_saying_so(
    segmenter, out, tmp_path, monkeypatch
):
    from inference.output.writer import VideoWriter

    seen = []
    publish = VideoWriter._publish

    def looked_at(writer):
        publish(writer)
        seen.append(file_names(out.results / "clip"))

    monkeypatch.setattr(VideoWriter, "_publish", looked_at)
    with pytest.raises(InputError, match="ends after"):
        run(
            ending_early(GenericDataset(write_generic(tmp_path / "data", "clip", {0: (1,)}))),
            segmenter,
            out,
        )
    assert seen == [["00000.png", "00001.png", "incomplete.txt"]]


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


def test_what_a_killed_run_left_is_cleared_by_the_next_and_nothing_else(segmenter, out, tmp_path):
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
    assert file_names(out.root) == [
        ".camera0_2026.part",
        ".mine.old",
        ".mine.part",
        "bear",
        "config.json",
        "overlays",
    ]  # a camera's recording cannot be made again
    assert file_names(out.root / "overlays") == []


def test_a_write_to_what_is_no_regular_file_goes_into_it(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    with atomic_write(tmp_path / "pipe") as file:
        file.write(b"whole")
    assert os.read(reader, 100) == b"whole"
    os.close(reader)
    (tmp_path / "target").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    (tmp_path / "dangling").symlink_to("later")
    for name in ("link", "dangling"):
        with atomic_write(tmp_path / name) as file:
            file.write(b"new")
    assert (tmp_path / "target").read_text() == (tmp_path / "later").read_text() == "new"
    assert (
        file_names(tmp_path) == ["dangling", "later", "link", "pipe", "target"]
        and (tmp_path / "link").is_symlink()
    )
