"""Live sources: frames that come at their own pace, are dropped or waited for, end, stall, and are stopped."""

import http.server
import json
import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from repository import ROOT
from toy_trees import HEIGHT, WIDTH, file_names, toy_frames, write_png, write_tiny_weights

from dataset import LiveVideo, SingleVideoDataset, TruncatedVideoError, is_live_address, open_live
from dataset.video.feeds import CameraFeed, Feed, FileFeed
from inference import VideoSegmenter
from inference.output.run_folder import RunFolder
from inference.runner import run
from model import build_network
from util.errors import InputError


class ScriptedFeed(Feed):
    """Made-up frames, `count` of them, `interval_seconds` apart; before frame `stalls_before`, if that is given, it hangs for three seconds."""

    address = "camera 0"

    def __init__(
        self,
        count: int,
        interval_seconds: float = 0.0,
        stalls_before: int | None = None,
        changes_at: int | None = None,
    ):
        self.images = list(toy_frames(min(count, 20), 0)[0])
        self.count, self.interval_seconds, self.stalls_before, self.changes_at = (
            count,
            interval_seconds,
            stalls_before,
            changes_at,
        )
        self.read_count = 0

    def open(self):
        self.frames_per_second = 25.0

    def read(self):
        if self.read_count == self.stalls_before:
            time.sleep(3)
        if self.read_count >= self.count:
            return None
        time.sleep(self.interval_seconds)
        image = self.images[self.read_count % len(self.images)]
        self.read_count += 1
        return (
            image[:40]
            if self.changes_at is not None and self.read_count > self.changes_at
            else image
        )

    def close(self):
        pass

    def check_end(self, frames_read):
        raise TruncatedVideoError(f"{self.address}: ended after {frames_read} frames")


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


def live_video(feed: Feed, mask: Path, *, newest_only: bool = False, **settings) -> LiveVideo:
    return LiveVideo(feed, mask, "live", newest_only=newest_only, **settings)


def segment(feed: Feed, mask: Path, segmenter: VideoSegmenter, out: RunFolder, **settings):
    return run(
        SingleVideoDataset(live_video(feed, mask, **settings), "camera"),
        segmenter,
        out,
        lookahead=4,
    )


def read_slowly(video: LiveVideo, seconds: float) -> list[int]:
    """Positions of a live video's frames, to its end."""
    positions = []
    try:
        for frame in video.frames():
            assert frame.name == f"{frame.index:05d}"
            positions.append(frame.index)
            time.sleep(seconds)
    except TruncatedVideoError:
        pass
    return positions


def test_every_frame_is_read_however_slowly_where_none_may_be_dropped_and_few_are_held(mask):
    feed = ScriptedFeed(30)
    video = live_video(feed, mask)
    positions = []
    with pytest.raises(TruncatedVideoError, match="camera 0: ended after 30 frames"):
        for frame in video.frames():
            positions.append(frame.index)
            time.sleep(0.005)
            assert (
                feed.read_count <= frame.index + 7
            )  # this one, four that wait, one that the thread has in its hands
    assert positions == list(range(30)) and video.dropped_frames == 0


def test_a_slow_reader_gets_the_newest_frame_and_the_rest_is_dropped_and_counted(mask):
    video = live_video(ScriptedFeed(40, interval_seconds=0.01), mask, newest_only=True)
    positions = read_slowly(video, 0.05)
    assert positions[0] == 0 and positions[-1] == 39 and positions == sorted(positions)
    assert 2 <= len(positions) < 35
    assert len(positions) + video.dropped_frames == 40


def test_frames_with_masks_are_never_dropped(tmp_path):
    labels = toy_frames(20, 0)[1]
    for index, object_id in ((2, 1), (7, 2), (8, 1)):
        write_png(
            tmp_path / f"masks/{index:05d}.png",
            np.where(labels[index] == object_id, labels[index], 0).astype(np.uint8),
        )
    video = live_video(
        ScriptedFeed(20, interval_seconds=0.005),
        tmp_path / "masks",
        newest_only=True,
        corrections=True,
    )
    given = {}
    with pytest.raises(TruncatedVideoError):
        for frame in video.frames():
            if frame.labels is not None:
                given[frame.index] = set(np.unique(frame.labels)) - {0}
            time.sleep(0.1)
    assert given == {2: {1}, 7: {2}, 8: {1}}
    assert video.dropped_frames > 5


def test_colours_are_rgb(mask):
    video = live_video(ScriptedFeed(1), mask)
    first = next(video.frames())
    assert np.array_equal(first.image, toy_frames(1, 0)[0][0])


def test_a_source_that_ends_keeps_whole_what_was_segmented_and_says_so(segmenter, out, mask):
    with pytest.raises(TruncatedVideoError, match="camera 0: ended after 9 frames"):
        segment(ScriptedFeed(9), mask, segmenter, out)
    assert file_names(out.results / "live") == [
        *(f"{index:05d}.png" for index in range(9)),
        "incomplete.txt",
    ]
    assert "ended after 9 frames" in (out.results / "live/incomplete.txt").read_text()


def test_a_source_that_stalls_is_given_up_after_a_while_and_its_results_are_kept(
    segmenter, out, mask
):
    start = time.monotonic()
    with pytest.raises(
        TruncatedVideoError,
        match=r"camera 0: no frame for 0\.4 seconds \(--stall_seconds\) after 6 frames",
    ):
        segment(ScriptedFeed(9, stalls_before=6), mask, segmenter, out, stall_seconds=0.4)
    assert time.monotonic() - start < 40
    assert file_names(out.results / "live") == [
        *(f"{index:05d}.png" for index in range(6)),
        "incomplete.txt",
    ]


@pytest.mark.parametrize(
    ("feed", "said"),
    [
        (ScriptedFeed(0), "gave no frame; check"),
        (ScriptedFeed(5, stalls_before=0), r"no frame for 0\.3 seconds"),
    ],
)
def test_a_source_without_any_frame_is_refused_before_anything_is_written(
    segmenter, out, mask, feed, said
):
    with pytest.raises(InputError, match=said) as error:
        segment(feed, mask, segmenter, out, stall_seconds=0.3)
    assert not isinstance(error.value, TruncatedVideoError)
    assert not out.root.exists()


def test_a_change_of_the_frames_size_ends_the_video_and_keeps_it(segmenter, out, mask):
    with pytest.raises(TruncatedVideoError, match="frames of 64x40 after 64x48 at frame 5"):
        segment(ScriptedFeed(9, changes_at=5), mask, segmenter, out)
    assert len(file_names(out.results / "live")) == 6


def test_every_mask_is_looked_at_before_the_first_frame_is_segmented(
    segmenter, out, tmp_path, mask
):
    write_png(tmp_path / "masks/00000.png", toy_frames(1, 0)[1][0])
    write_png(tmp_path / "masks/00900.png", np.ones((10, 10), np.uint8))
    with pytest.raises(InputError, match=r"masks/00900\.png: mask of 10x10 for frames of 64x48"):
        segment(ScriptedFeed(5), tmp_path / "masks", segmenter, out)
    assert not out.root.exists()


def send_once_minded(number: int, ready: Callable[[], bool]) -> threading.Thread:
    """Sends this process a signal once a run minds signals and `ready` holds: earlier ones would end the tests."""
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
    sender = send_once_minded(number, lambda: len(list(out.results.glob(".live.part/*.png"))) > 2)
    totals = segment(feed, mask, segmenter, out, newest_only=True)
    sender.join()
    names = file_names(out.results / "live")
    assert (
        2 < totals.frames == len(names)
        and names[0] == "00000.png"
        and "incomplete.txt" not in names
    )
    assert re.search(r"frames? dropped to keep up", capfd.readouterr().err)
    assert signal.getsignal(number) is before and feed.read_count < 10_000


def test_a_signal_also_ends_the_wait_for_a_frame_that_does_not_come(segmenter, out, mask):
    feed = ScriptedFeed(9, stalls_before=3)
    start = time.monotonic()
    sender = send_once_minded(
        signal.SIGINT, lambda: feed.read_count == 3 and time.monotonic() - start > 1
    )
    totals = segment(feed, mask, segmenter, out, stall_seconds=60)
    sender.join()
    assert time.monotonic() - start < 40 and totals.frames == 3
    assert file_names(out.results / "live") == [f"{index:05d}.png" for index in range(3)]


def test_a_memory_that_grows_is_said_for_a_live_source(out, mask, capsys):
    growing = VideoSegmenter(build_network("tiny"), device="cpu")
    with pytest.raises(TruncatedVideoError):
        segment(ScriptedFeed(2), mask, growing, out)
    assert "live: memory every-k grows as long as the source runs" in capsys.readouterr().err


def test_addresses_of_cameras_and_streams_are_told_from_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_live_address("0") and is_live_address("12") and is_live_address("rtsp://host/live")
    assert not is_live_address("clip.mp4") and not is_live_address("missing/clip.mp4")
    (tmp_path / "0").mkdir()
    assert not is_live_address("0")
    assert is_live_address("http://host/live?token=" + 5000 * "a")  # longer than a file name may be


def test_passwords_stay_out_of_names_and_records(mask):
    video = open_live(
        "rtsp://me:secret@10.0.0.7:554/live/main?token=secret",
        mask,
        newest_only=True,
        stall_seconds=1,
    )
    assert video.address == "rtsp://10.0.0.7:554/live/main"
    assert video.name.startswith("10.0.0.7_554_live_main_20") and "secret" not in video.name
    assert open_live("3", mask, newest_only=True, stall_seconds=1).name.startswith("camera3_20")


def test_what_cannot_be_live_is_refused(tmp_path, mask):
    (tmp_path / "frames").mkdir()
    for address, said in (
        (tmp_path / "frames", "a folder of frames has no rate"),
        (tmp_path / "none.mp4", "no such video"),
    ):
        with pytest.raises(InputError, match=said):
            open_live(str(address), mask, newest_only=True, stall_seconds=1)
    with pytest.raises(InputError, match="stall_seconds 0: must be above 0"):
        open_live("0", mask, newest_only=True, stall_seconds=0)
    write_video(tmp_path / "clip.avi", 2, 40)
    for seconds in (math.nan, math.inf, 1e12, -1):
        for address in ("0", str(tmp_path / "clip.avi")):
            with pytest.raises(
                InputError,
                match=f"stall_seconds {seconds:g}".replace("+", r"\+")
                + ": must be above 0 and at most 86400",
            ):
                open_live(address, mask, newest_only=True, stall_seconds=seconds)
    with pytest.raises(InputError, match="no such mask"):
        open_live("0", tmp_path / "none.png", newest_only=True, stall_seconds=1)


@pytest.mark.parametrize("number", ["99999999999999999999", "9" * 5000])
def test_a_number_that_no_camera_has_is_refused_in_words(mask, number):
    with pytest.raises(InputError, match=f"^camera {number}: cannot be opened"):
        open_live(number, mask, newest_only=True, stall_seconds=1).validate()


def test_an_address_that_is_no_url_is_refused_without_its_password(mask):
    with pytest.raises(InputError, match="--video http://…: not a URL") as error:
        open_live("http://me:secret@[bad/x", mask, newest_only=True, stall_seconds=1)
    assert "secret" not in str(error.value)


def write_video(path: Path, count: int, rate: float) -> None:
    video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), rate, (WIDTH, HEIGHT))
    for image in toy_frames(count, 0)[0]:
        video.write(image[..., ::-1].copy())
    video.release()


def test_a_file_is_played_at_its_own_rate_and_its_end_is_proper(tmp_path, mask):
    write_video(tmp_path / "clip.avi", 12, 40)
    video = live_video(FileFeed(tmp_path / "clip.avi"), mask, newest_only=True)
    start = time.monotonic()
    assert [frame.index for frame in video.frames()][-1] == 11
    assert time.monotonic() - start >= 11 / 40
    slow = live_video(FileFeed(tmp_path / "clip.avi"), mask, newest_only=True)
    assert len(read_slowly(slow, 0.08)) + slow.dropped_frames == 12 and slow.dropped_frames > 2


def test_a_file_cut_short_is_noticed_when_played_too(tmp_path, mask):
    write_video(tmp_path / "clip.avi", 18, 100)
    os.truncate(tmp_path / "clip.avi", (tmp_path / "clip.avi").stat().st_size * 6 // 10)
    with pytest.raises(TruncatedVideoError, match="of 18 frames"):
        list(live_video(FileFeed(tmp_path / "clip.avi"), mask).frames())


class CameraOfImages:
    """Stands in for cv2.VideoCapture: a camera that gives five frames and is then unplugged."""

    def __init__(self, number, *arguments):
        self.left = list(toy_frames(5, 0)[0])
        self.number = number

    def isOpened(self):
        return self.number == 0

    def get(self, what):
        return 30.0

    def read(self):
        return (True, self.left.pop(0)[..., ::-1].copy()) if self.left else (False, None)

    def release(self):
        pass


def test_a_camera_is_opened_by_its_number(monkeypatch, mask):
    monkeypatch.setattr(cv2, "VideoCapture", CameraOfImages)
    video = live_video(CameraFeed("0"), mask)
    video.validate()
    assert video.frames_per_second == 30
    assert len(read_slowly(video, 0)) == 5
    with pytest.raises(InputError, match="camera 1: cannot be opened"):
        live_video(CameraFeed("1"), mask).validate()


class StreamingServer:
    """Motion JPEG over HTTP, as network cameras send it: 8 frames at /ends, which then closes, and at /stalls, which then stays silent; /goes never ends."""

    def __enter__(self) -> str:
        released = self._released = threading.Event()
        jpegs = [
            cv2.imencode(".jpg", image[..., ::-1])[1].tobytes() for image in toy_frames(8, 0)[0]
        ]

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                sent = 0
                while not released.is_set() and (sent < 8 or self.path == "/goes"):
                    jpeg = jpegs[sent % 8]
                    try:
                        self.wfile.write(
                            b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n"
                            % (len(jpeg), jpeg)
                        )
                    except OSError:
                        return
                    sent += 1
                    time.sleep(0.03)
                if self.path == "/stalls":
                    released.wait(30)

            def log_message(self, *arguments):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return f"http://me:secret@127.0.0.1:{self._server.server_port}"

    def __exit__(self, *exception):
        self._released.set()
        self._server.shutdown()
        self._server.server_close()


def eval_generic(*flags) -> subprocess.Popen:
    command = [sys.executable, str(ROOT / "eval_generic.py"), "--device", "cpu", *map(str, flags)]
    return subprocess.Popen(
        command,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_network_streams_end_stall_and_are_stopped_from_the_command_line(tmp_path, mask):
    weights = write_tiny_weights(tmp_path / "tiny.pth")
    shared = [
        "--mask",
        mask,
        "--model",
        weights,
        "--resolution",
        "-1",
        "--memory",
        "first-and-latest",
    ]
    with StreamingServer() as url:
        runs = {
            name: eval_generic(
                "--video",
                f"{url}/{name}",
                "--output",
                tmp_path / name,
                "--stall_seconds",
                "8",
                *shared,
            )
            for name in ("ends", "stalls")
        }
        runs["goes"] = eval_generic(
            "--video",
            f"{url}/goes",
            "--output",
            tmp_path / "goes",
            "--realtime",
            "--overlay",
            *shared,
        )
        deadline = time.monotonic() + 240
        while (
            len(list((tmp_path / "goes").glob(".*.part/*.png"))) < 12
            and time.monotonic() < deadline
            and runs["goes"].poll() is None
        ):
            time.sleep(0.05)
        runs["goes"].send_signal(signal.SIGINT)
        ends = {
            name: (process.communicate(timeout=240), process.returncode)
            for name, process in runs.items()
        }
    for name, said in (
        ("ends", "ended after 8 frames"),
        ("stalls", "no frame for 8 seconds (--stall_seconds) after 8 frames"),
    ):
        (out, err), code = ends[name]
        assert (code, out) == (2, ""), err
        assert (
            err.splitlines()[-1].startswith("error: http://127.0.0.1:")
            and said in err.splitlines()[-1]
        )
        (folder,) = (path for path in (tmp_path / name).iterdir() if path.is_dir())
        assert file_names(folder) == [*(f"{index:05d}.png" for index in range(8)), "incomplete.txt"]
    (out, err), code = ends["goes"]
    assert code == 0, err
    totals = json.loads(out)
    assert totals["frames"] >= 12 and totals["memory_elements"] == 24 and "SIGINT: stopping" in err
    (folder,) = (
        path for path in (tmp_path / "goes").iterdir() if path.is_dir() and path.name != "overlays"
    )
    assert (
        len(file_names(folder)) == totals["frames"]
        and len(file_names(tmp_path / "goes/overlays")) == 2
    )
    with Image.open(folder / "00000.png") as image:
        assert np.array_equal(np.asarray(image), toy_frames(1, 0)[1][0])
    everything = "".join(
        [*(err for (_, err), _ in ends.values()), (tmp_path / "goes/config.json").read_text()]
    )
    assert "secret" not in everything and "Traceback" not in everything


_ENDLESS = """
import sys
from pathlib import Path
import numpy as np
import torch
from dataset import Frame, SingleVideoDataset, Video
from inference import VideoSegmenter
from inference.output.run_folder import RunFolder
from inference.runner import run
from model import build_network
from util.palette import DAVIS_PALETTE

torch.set_num_threads(1)

def resident_mb():
    return int(next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS")).split()[1]) / 1000

class Long(Video):
    name, frame_count, first_index, palette, object_ids, ignored_masks = "long", None, 0, DAVIS_PALETTE, (1,), 0

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

segmenter = VideoSegmenter(build_network("tiny"), device="cpu", memory="first-and-latest", resolution=32)
totals = run(SingleVideoDataset(Long(), "long"), segmenter, RunFolder(sys.argv[1], {}), overlays=True)
print(totals.memory_elements)
"""


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="resident memory is read from /proc"
)
def test_a_long_video_takes_no_more_memory_than_a_short_one(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", _ENDLESS, str(tmp_path / "out")],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    early, late, elements = map(float, done.stdout.split())
    assert len(file_names(tmp_path / "out/long")) == 500 and elements == 12
    assert late - early < 20  # 350 frames are 116 MB, their label maps 39 MB
