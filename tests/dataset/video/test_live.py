"""Live sources: frames that come at their own pace, are dropped or waited for, end and stall."""

import math
import os
import re
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from toy_feeds import ScriptedFeed, live_video, read_slowly, write_video
from toy_trees import toy_frames, write_png

from dataset import TruncatedVideoError, is_live_address, open_live
from dataset.video.feeds import CameraFeed, FileFeed
from util.errors import InputError


@pytest.fixture
def mask(tmp_path) -> Path:
    write_png(tmp_path / "first.png", toy_frames(1, 0)[1][0])
    return tmp_path / "first.png"


def test_a_source_waits_for_a_slow_reader_and_holds_few_frames(mask):
    feed = ScriptedFeed(30)
    video = live_video(feed, mask)
    positions = []
    with pytest.raises(TruncatedVideoError, match="camera 0: ended after 30 frames"):
        for frame in video.frames():
            positions.append(frame.index)
            time.sleep(0.005)
            # This frame, four that wait, and one that the thread is about to add.
            assert feed.read_count <= frame.index + 7
    assert positions == list(range(30)) and video.dropped_frames == 0


def test_with_newest_only_a_slow_reader_gets_the_newest_frame_and_the_others_are_counted(mask):
    video = live_video(ScriptedFeed(40, interval_seconds=0.01), mask, newest_only=True)
    positions = read_slowly(video, 0.05)
    assert positions[0] == 0 and positions[-1] == 39 and positions == sorted(positions)
    assert 2 <= len(positions) < 35
    assert len(positions) + video.dropped_frames == 40


def test_frames_with_masks_are_never_dropped(tmp_path):
    labels = toy_frames(20, 0)[1]
    for index, object_id in ((2, 1), (7, 2), (8, 1)):
        mask = np.where(labels[index] == object_id, labels[index], 0).astype(np.uint8)
        write_png(tmp_path / f"masks/{index:05d}.png", mask)
    feed = ScriptedFeed(20, interval_seconds=0.005)
    video = live_video(feed, tmp_path / "masks", newest_only=True, corrections=True)
    given = {}
    with pytest.raises(TruncatedVideoError):
        for frame in video.frames():
            if frame.labels is not None:
                given[frame.index] = set(np.unique(frame.labels)) - {0}
            time.sleep(0.1)
    assert given == {2: {1}, 7: {2}, 8: {1}}
    assert video.dropped_frames > 5


def test_colours_are_rgb(mask):
    first = next(live_video(ScriptedFeed(1), mask).frames())
    assert np.array_equal(first.image, toy_frames(1, 0)[0][0])


@pytest.mark.parametrize(
    ("address", "is_live"),
    [
        ("0", True),
        ("12", True),
        ("rtsp://host/live", True),
        ("http://host/live?token=" + 5000 * "a", True),  # longer than a file name may be
        ("clip.mp4", False),
        ("missing/clip.mp4", False),
        ("file:///tmp/clip.mp4", False),
        (None, False),
        ("7", False),  # a folder of this name exists
    ],
)
def test_cameras_and_streams_are_distinguished_from_files(tmp_path, monkeypatch, address, is_live):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "7").mkdir()
    assert is_live_address(address) == is_live


def test_passwords_stay_out_of_names_and_addresses(mask):
    url = "rtsp://me:secret@10.0.0.7:554/live/main?token=secret"
    video = open_live(url, mask, newest_only=True, stall_seconds=1)
    assert video.address == "rtsp://10.0.0.7:554/live/main"
    assert video.name.startswith("10.0.0.7_554_live_main_20") and "secret" not in video.name
    assert open_live("3", mask, newest_only=True, stall_seconds=1).name.startswith("camera3_20")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("frames", "a folder of frames has no rate"),
        ("none.mp4", "no such video"),
        ("first.png", "images have no rate"),
        ("http://me:secret@[bad/x", "--video http://…: not a URL"),
        ("rstp://me:secret@host/x", "no stream that is read"),
        ("file2://me:secret@host/x", "no stream that is read"),
        ("concat://me:secret@host/x", "no stream that is read"),
    ],
)
def test_what_cannot_be_live_is_refused_without_its_password(
    tmp_path, monkeypatch, mask, address, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "frames").mkdir()
    with pytest.raises(InputError, match=message) as error:
        open_live(address, mask, newest_only=True, stall_seconds=1)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("address", ["0", "clip.avi"])
@pytest.mark.parametrize("seconds", [0, -1, 1e12, math.inf, math.nan])
def test_a_wait_of_no_time_or_more_than_a_day_is_refused(
    tmp_path, monkeypatch, mask, address, seconds
):
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "clip.avi", 2, 40)
    message = re.escape(f"stall_seconds {seconds:g}: must be above 0 and at most 86400")
    with pytest.raises(InputError, match=message):
        open_live(address, mask, newest_only=True, stall_seconds=seconds)


def test_a_missing_mask_is_refused_before_the_source_is_opened(tmp_path):
    with pytest.raises(InputError, match="no such mask"):
        open_live("0", tmp_path / "none.png", newest_only=True, stall_seconds=1)


@pytest.mark.parametrize("number", ["99999999999999999999", "9" * 5000])
def test_a_number_that_no_camera_has_is_refused(mask, number):
    with pytest.raises(InputError, match=f"^camera {number}: cannot be opened"):
        open_live(number, mask, newest_only=True, stall_seconds=1).validate()


def test_a_file_is_played_at_its_own_rate_to_its_end(tmp_path, mask):
    write_video(tmp_path / "clip.avi", 12, 40)
    video = live_video(FileFeed(tmp_path / "clip.avi"), mask, newest_only=True)
    start = time.monotonic()
    assert [frame.index for frame in video.frames()][-1] == 11
    assert time.monotonic() - start >= 11 / 40
    slow = live_video(FileFeed(tmp_path / "clip.avi"), mask, newest_only=True)
    assert len(read_slowly(slow, 0.08)) + slow.dropped_frames == 12 and slow.dropped_frames > 2


def test_a_played_file_that_is_cut_off_ends_with_an_error(tmp_path, mask):
    write_video(tmp_path / "clip.avi", 18, 100)
    os.truncate(tmp_path / "clip.avi", (tmp_path / "clip.avi").stat().st_size * 6 // 10)
    with pytest.raises(TruncatedVideoError, match="of 18 frames"):
        list(live_video(FileFeed(tmp_path / "clip.avi"), mask).frames())


class ToyCapture:
    """In place of cv2.VideoCapture: camera 0 gives five frames and is then unplugged."""

    def __init__(self, number, *arguments):
        self.remaining = list(toy_frames(5, 0)[0])
        self.number = number

    def isOpened(self):
        return self.number == 0

    def get(self, what):
        return 30.0

    def read(self):
        if not self.remaining:
            return False, None
        return True, self.remaining.pop(0)[..., ::-1].copy()

    def release(self):
        pass


def test_a_camera_is_opened_by_its_number(monkeypatch, mask):
    monkeypatch.setattr(cv2, "VideoCapture", ToyCapture)
    video = live_video(CameraFeed("0"), mask)
    video.validate()
    assert video.frames_per_second == 30
    assert len(read_slowly(video, 0)) == 5
    with pytest.raises(InputError, match="camera 1: cannot be opened"):
        live_video(CameraFeed("1"), mask).validate()
