"""Live sources segmented: they end, stall and are stopped, and memory does not grow with them."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from repository import ROOT
from toy_feeds import STALL_SECONDS, ScriptedFeed, StreamingServer, live_video
from toy_trees import file_names, toy_frames, write_png, write_tiny_weights

from dataset import SingleVideoDataset, TruncatedVideoError
from dataset.video.feeds import Feed
from inference import VideoSegmenter
from inference.output.run_folder import RunFolder
from inference.runner import run
from model import build_network
from util.errors import InputError

PATIENCE_SECONDS = 40  # far more than a run takes, far less than its longest wait


def names_of_incomplete(count: int) -> list[str]:
    """The files of a video that ended early after so many frames."""
    return [*(f"{index:05d}.png" for index in range(count)), "incomplete.txt"]


@pytest.fixture
def mask(tmp_path) -> Path:
    write_png(tmp_path / "first.png", toy_frames(1, 0)[1][0])
    return tmp_path / "first.png"


@pytest.fixture(scope="module")
def segmenter():
    return VideoSegmenter(build_network("tiny"), device="cpu", memory="first-and-latest")


@pytest.fixture
def out(tmp_path):
    return RunFolder(tmp_path / "out", {"top_k": 20})


def segment(feed: Feed, mask: Path, segmenter: VideoSegmenter, out: RunFolder, **settings):
    videos = SingleVideoDataset(live_video(feed, mask, **settings), "camera")
    return run(videos, segmenter, out, lookahead=4)


def test_results_of_a_source_that_ends_are_kept_and_marked_incomplete(segmenter, out, mask):
    with pytest.raises(TruncatedVideoError, match="camera 0: ended after 9 frames"):
        segment(ScriptedFeed(9), mask, segmenter, out)
    assert file_names(out.results / "live") == names_of_incomplete(9)
    assert "ended after 9 frames" in (out.results / "live/incomplete.txt").read_text()


def test_a_source_that_stalls_is_given_up_and_its_results_are_kept(segmenter, out, mask):
    start = time.monotonic()
    message = r"camera 0: no frame for 0\.4 seconds \(--stall_seconds\) after 6 frames"
    with pytest.raises(TruncatedVideoError, match=message):
        segment(ScriptedFeed(9, stalls_before=6), mask, segmenter, out, stall_seconds=0.4)
    assert time.monotonic() - start < PATIENCE_SECONDS
    assert file_names(out.results / "live") == names_of_incomplete(6)


@pytest.mark.parametrize(
    ("feed", "message"),
    [
        (ScriptedFeed(0), "gave no frame; check"),
        (ScriptedFeed(5, stalls_before=0), r"no frame for 0\.3 seconds"),
    ],
)
def test_a_source_without_frames_is_refused_before_anything_is_written(
    segmenter, out, mask, feed, message
):
    with pytest.raises(InputError, match=message) as error:
        segment(feed, mask, segmenter, out, stall_seconds=0.3)
    assert not isinstance(error.value, TruncatedVideoError)
    assert not out.root.exists()


def test_a_change_of_the_frames_size_ends_the_video_and_keeps_its_results(segmenter, out, mask):
    with pytest.raises(TruncatedVideoError, match="frames of 64x40 after 64x48 at frame 5"):
        segment(ScriptedFeed(9, changes_at=5), mask, segmenter, out)
    assert file_names(out.results / "live") == names_of_incomplete(5)


def test_all_masks_are_checked_before_the_first_frame_is_segmented(segmenter, out, tmp_path):
    write_png(tmp_path / "masks/00000.png", toy_frames(1, 0)[1][0])
    write_png(tmp_path / "masks/00900.png", np.ones((10, 10), np.uint8))
    with pytest.raises(InputError, match=r"masks/00900\.png: mask of 10x10 for frames of 64x48"):
        segment(ScriptedFeed(5), tmp_path / "masks", segmenter, out)
    assert not out.root.exists()


def test_a_memory_that_grows_is_noted_for_a_live_source(out, mask, capsys):
    growing = VideoSegmenter(build_network("tiny"), device="cpu")
    with pytest.raises(TruncatedVideoError):
        segment(ScriptedFeed(2), mask, growing, out)
    assert "live: memory every-k grows as long as the source runs" in capsys.readouterr().err


# Stopping


def send_when_handled(number: int, ready: Callable[[], bool]) -> threading.Thread:
    """Send this process a signal once a run handles signals and `ready` holds: before, it would
    end the tests."""
    before = signal.getsignal(number)

    def send() -> None:
        while signal.getsignal(number) is before or not ready():
            time.sleep(0.02)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_the_proper_end_of_a_live_source(segmenter, out, mask, capfd, number):
    feed = ScriptedFeed(10_000, interval_seconds=0.01)
    before = signal.getsignal(number)
    sender = send_when_handled(number, lambda: len(list(out.results.glob(".live.part/*.png"))) > 2)
    totals = segment(feed, mask, segmenter, out, newest_only=True)
    sender.join()
    names = file_names(out.results / "live")
    assert 2 < totals.frames == len(names)
    assert names[0] == "00000.png" and "incomplete.txt" not in names
    assert re.search(r"frames? dropped to keep up", capfd.readouterr().err)
    assert signal.getsignal(number) is before and feed.read_count < 10_000


def test_a_signal_ends_the_wait_for_a_frame_that_does_not_come(segmenter, out, mask):
    feed = ScriptedFeed(9, stalls_before=3)
    start = time.monotonic()

    def is_stalling() -> bool:
        return feed.read_count == 3 and time.monotonic() - start > STALL_SECONDS / 3

    sender = send_when_handled(signal.SIGINT, is_stalling)
    totals = segment(feed, mask, segmenter, out, stall_seconds=60)
    sender.join()
    assert time.monotonic() - start < PATIENCE_SECONDS and totals.frames == 3
    assert file_names(out.results / "live") == [f"{index:05d}.png" for index in range(3)]


# Streams, from the command line


def start_eval_generic(*flags) -> subprocess.Popen:
    command = [sys.executable, str(ROOT / "eval_generic.py"), "--device", "cpu", *map(str, flags)]
    return subprocess.Popen(
        command,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def result_folder(output: Path) -> Path:
    (folder,) = (path for path in output.iterdir() if path.is_dir() and path.name != "overlays")
    return folder


def wait_for_masks(process: subprocess.Popen, output: Path, count: int) -> None:
    """Wait until a run has written so many masks, or has ended."""
    deadline = time.monotonic() + 240
    while len(list(output.glob(".*.part/*.png"))) < count and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_network_streams_end_stall_and_are_stopped_from_the_command_line(tmp_path, mask):
    weights = write_tiny_weights(tmp_path / "tiny.pth")
    flags = ["--mask", mask, "--model", weights, "--resolution", "-1"]
    flags += ["--memory", "first-and-latest"]
    own_flags = {
        "ends": ["--stall_seconds", "8"],
        "stalls": ["--stall_seconds", "8"],
        "runs": ["--realtime", "--overlay"],
    }
    with StreamingServer() as url:
        processes = {
            name: start_eval_generic(
                "--video", f"{url}/{name}", "--output", tmp_path / name, *own, *flags
            )
            for name, own in own_flags.items()
        }
        wait_for_masks(processes["runs"], tmp_path / "runs", 12)
        processes["runs"].send_signal(signal.SIGINT)
        outputs = {name: process.communicate(timeout=240) for name, process in processes.items()}
    for name, message in (
        ("ends", "ended after 8 frames"),
        ("stalls", "no frame for 8 seconds (--stall_seconds) after 8 frames"),
    ):
        out, err = outputs[name]
        assert (processes[name].returncode, out) == (2, ""), err
        last_line = err.splitlines()[-1]
        assert last_line.startswith("error: http://127.0.0.1:") and message in last_line
        assert file_names(result_folder(tmp_path / name)) == names_of_incomplete(8)
    out, err = outputs["runs"]
    assert processes["runs"].returncode == 0, err
    totals = json.loads(out)
    assert totals["frames"] >= 12 and totals["memory_elements"] == 24 and "SIGINT: stopping" in err
    folder = result_folder(tmp_path / "runs")
    assert len(file_names(folder)) == totals["frames"]
    assert len(file_names(tmp_path / "runs/overlays")) == 2
    with Image.open(folder / "00000.png") as image:
        assert np.array_equal(np.asarray(image), toy_frames(1, 0)[1][0])
    shown = [err for _, err in outputs.values()] + [(tmp_path / "runs/config.json").read_text()]
    assert "secret" not in "".join(shown) and "Traceback" not in "".join(shown)


# Memory

LONG_VIDEO_PROGRAM = """
import sys
import numpy as np
import torch
from dataset import Frame, SingleVideoDataset, Video
from inference import VideoSegmenter
from inference.output.run_folder import RunFolder
from inference.runner import run
from model import build_network
from util.device import resident_mb
from util.palette import DAVIS_PALETTE

torch.set_num_threads(1)

class Long(Video):
    name, frame_count, first_index = "long", None, 0
    palette, object_ids, ignored_masks = DAVIS_PALETTE, (1,), 0

    def frames(self):
        for index in range(500):
            image = np.full((288, 384, 3), index % 200, np.uint8)
            image[index % 99 : index % 99 + 90, 50:150] = (200, 30, 90)
            labels = None
            if index == 0:
                labels = np.zeros((288, 384), np.uint8)
                labels[:90, 50:150] = 1
            if index in (150, 499):
                print(resident_mb(), flush=True)
            yield Frame(index=index, name=f"{index:05d}", image=image, labels=labels, required=True)

    def validate(self):
        pass

segmenter = VideoSegmenter(
    build_network("tiny"), device="cpu", memory="first-and-latest", resolution=32
)
videos = SingleVideoDataset(Long(), "long")
totals = run(videos, segmenter, RunFolder(sys.argv[1], {}), overlays=True)
print(totals.memory_elements)
"""


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="resident memory is read from /proc"
)
def test_a_long_video_takes_no_more_memory_than_a_short_one(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-c", LONG_VIDEO_PROGRAM, str(tmp_path / "out")],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stderr
    early_mb, late_mb, elements = map(float, ended.stdout.split())
    assert len(file_names(tmp_path / "out/long")) == 500 and elements == 12
    assert late_mb - early_mb < 20  # 350 frames take 116 MB, their label maps 39 MB
