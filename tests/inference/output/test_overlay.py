"""Pictures of results: the playable video, the contact sheet, the drawing itself."""

import errno
import os

import av
import cv2
import numpy as np
import pytest

import dataset.video.pyav
import inference.output.overlay
import inference.output.video_file
from dataset.video.pyav import WrittenFile
from inference.output.contact_sheet import ContactSheet
from inference.output.overlay import OverlayWriter, draw_overlay
from inference.output.video_file import MP4, Encoding
from util.errors import InputError
from util.palette import DAVIS_PALETTE

GREY = 100


def grey_image(height: int = 48, width: int = 64) -> np.ndarray:
    return np.full((height, width, 3), GREY, np.uint8)


def labels_with_square(object_id: int = 1, height: int = 48, width: int = 64) -> np.ndarray:
    labels = np.zeros((height, width), np.uint8)
    labels[10:30, 20:50] = object_id
    return labels


def read_video(path) -> list[np.ndarray]:
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (read := capture.read())[0]:
        frames.append(read[1])
    return frames


def test_objects_are_blended_and_outlined_and_the_background_is_unchanged():
    picture = draw_overlay(grey_image(), labels_with_square(2))
    np.testing.assert_array_equal(picture[20, 30], (50, 114, 50))  # halfway to DAVIS's (0, 128, 0)
    np.testing.assert_array_equal(picture[10, 20], (0, 255, 0))
    np.testing.assert_array_equal(picture[29, 49], (0, 255, 0))
    outside = labels_with_square() == 0
    assert (picture[outside] == GREY).all()


def test_a_black_palette_is_replaced_by_the_colours_of_davis():
    np.testing.assert_array_equal(
        draw_overlay(grey_image(), labels_with_square(1), bytes(768)),
        draw_overlay(grey_image(), labels_with_square(1), DAVIS_PALETTE),
    )


@pytest.mark.parametrize("size", [(48, 64), (47, 63), (1000, 1201)])
def test_the_video_holds_every_frame_at_a_playable_size(tmp_path, capfd, size):
    count = 5
    with OverlayWriter(tmp_path / "new", "a.b", DAVIS_PALETTE, frames_per_second=10) as overlay:
        for index in range(count):
            overlay.add(f"{index:05d}", grey_image(*size), labels_with_square(2, *size))
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["a.b.mp4", "a.b.png"]
    frames = read_video(overlay.video_path)
    height, width = frames[0].shape[:2]
    assert len(frames) == count
    assert height % 2 == width % 2 == 0
    assert max(height, width) <= 854
    assert height / width == pytest.approx(size[0] / size[1], rel=0.05)
    blue, green, red = frames[2][20 * height // size[0], 35 * width // size[1]].astype(int)
    assert green - max(blue, red) > 30
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("encoder", "suffix", "codec"),
    [("libx264", ".mp4", "h264"), ("libvpx-vp9", ".webm", "vp9"), ("libvpx", ".webm", "vp8")],
)
def test_the_codec_is_one_that_browsers_play(tmp_path, monkeypatch, encoder, suffix, codec):
    if encoder not in av.codecs_available:
        pytest.skip(f"this FFmpeg has no {encoder}")
    monkeypatch.setattr(
        inference.output.overlay,
        "_ENCODERS",
        {encoder: inference.output.overlay._ENCODERS[encoder]},
    )
    with OverlayWriter(tmp_path, "v", DAVIS_PALETTE) as overlay:
        for index in range(3):
            overlay.add(str(index), grey_image(), labels_with_square())
    assert overlay.video_path.suffix == suffix
    with av.open(str(overlay.video_path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.codec.canonical_name, stream.codec_context.pix_fmt) == (
            codec,
            "yuv420p",
        )
    if suffix == ".mp4":
        content = overlay.video_path.read_bytes()
        assert 0 < content.index(b"moov") < content.index(b"mdat"), (
            "the index comes first, so that a browser need not have the whole file"
        )


def test_frames_are_shown_as_long_as_in_the_video(tmp_path):
    seconds = [2.0, 2.04, 2.08, 2.5, 2.54]
    with OverlayWriter(tmp_path, "v", DAVIS_PALETTE, frames_per_second=25) as overlay:
        for index, time in enumerate(seconds):
            overlay.add(str(index), grey_image(), labels_with_square(), time)
    with av.open(str(overlay.video_path)) as container:
        shown = [frame.time for frame in container.decode(video=0)]
    assert shown == pytest.approx([time - 2 for time in seconds], abs=0.002)


def test_names_may_be_other_bytes_than_utf_8_and_are_not_taken_for_addresses(tmp_path):
    for name in (os.fsdecode(b"clip\xff"), "12:30:05", "%05d", "-x"):
        with OverlayWriter(tmp_path / "new", name, DAVIS_PALETTE) as overlay:
            overlay.add(os.fsdecode(b"frame\xff"), grey_image(), labels_with_square())
        assert (
            overlay.video_path == tmp_path / "new" / f"{name}.mp4"
            and overlay.video_path.stat().st_size > 100
        )
        assert overlay.sheet_path.exists()


def test_an_error_leaves_no_files(tmp_path):
    with pytest.raises(RuntimeError), OverlayWriter(tmp_path, "v", DAVIS_PALETTE) as overlay:
        overlay.add("0", grey_image(), labels_with_square())
        raise RuntimeError("the session's")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("bytes_left", [0, 100, 2000])
def test_a_full_disk_is_an_error(tmp_path, monkeypatch, bytes_left):
    class FullDisk:
        """Takes some bytes and no more."""

        def __init__(self, file):
            self.file, self.left = file, bytes_left
            self.seek, self.tell = file.seek, file.tell

        def write(self, content):
            self.left -= len(content)
            if self.left < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return self.file.write(content)

    monkeypatch.setattr(
        inference.output.video_file, "WrittenFile", lambda file: WrittenFile(FullDisk(file))
    )
    with (
        pytest.raises(OSError, match=r"v\.mp4: could not be written completely"),
        OverlayWriter(tmp_path, "v", DAVIS_PALETTE) as overlay,
    ):
        for index in range(200):
            overlay.add(str(index), grey_image(), labels_with_square())
    assert list(tmp_path.iterdir()) == []


def test_an_overlay_without_pyav_or_an_encoder_is_refused_in_one_line(tmp_path, monkeypatch):
    none = Encoding(encoder="none", suffix=MP4, options={})
    monkeypatch.setattr(inference.output.overlay, "_ENCODERS", {"none": none})
    with pytest.raises(InputError, match="no encoder of none"):
        OverlayWriter(tmp_path, "v", DAVIS_PALETTE)
    monkeypatch.setattr(dataset.video.pyav, "av", None)
    with pytest.raises(InputError, match="pip install av"):
        OverlayWriter(tmp_path, "v", DAVIS_PALETTE)


@pytest.mark.parametrize(
    ("count", "shown", "columns", "rows"),
    [(1, 1, 1, 1), (3, 3, 3, 1), (8, 8, 4, 2), (16, 8, 4, 2), (1000, 8, 4, 2)],
)
def test_the_sheet_spreads_its_frames_over_the_video_and_holds_few(count, shown, columns, rows):
    sheet, most_held = ContactSheet(), 0
    for index in range(count):
        sheet.add("", np.full((20, 30, 3), 250 * index // count, np.uint8))
        most_held = max(most_held, sheet.held_count)
    picture = sheet.picture()
    assert picture.shape == (rows * 24 - 4, columns * 34 - 4, 3)
    values = [
        int(picture[24 * (i // columns) + 10, 34 * (i % columns) + 15, 0]) for i in range(shown)
    ]
    assert values == sorted(set(values))
    assert values[0] == 0
    assert values[-1] == 250 * (count - 1) // count, "the last frame"
    even = values[-1] / max(shown - 1, 1)
    assert all(
        abs(value - number * even) <= 250 / 32 + 250 / count for number, value in enumerate(values)
    )
    assert most_held <= 32


def test_the_sheet_file_shows_the_overlay(tmp_path):
    with OverlayWriter(tmp_path, "v", DAVIS_PALETTE) as overlay:
        overlay.add("", grey_image(), labels_with_square(2))
    np.testing.assert_array_equal(cv2.imread(str(overlay.sheet_path))[20, 30], (50, 114, 50))
