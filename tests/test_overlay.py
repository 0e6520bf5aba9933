"""Pictures of results: the playable video, the contact sheet, the drawing itself."""

import cv2
import numpy as np
import pytest

from inference.overlay import ContactSheet, OverlayWriter, draw_overlay
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


def test_objects_are_half_covered_and_outlined_and_the_background_is_untouched():
    picture = draw_overlay(grey_image(), labels_with_square(2))
    np.testing.assert_array_equal(picture[20, 30], (50, 114, 50))  # halfway to DAVIS's (0, 128, 0)
    np.testing.assert_array_equal(picture[10, 20], (0, 255, 0))
    np.testing.assert_array_equal(picture[29, 49], (0, 255, 0))
    outside = labels_with_square() == 0
    assert (picture[outside] == GREY).all()


def test_a_black_palette_falls_back_to_colours_that_can_be_seen():
    np.testing.assert_array_equal(
        draw_overlay(grey_image(), labels_with_square(1), bytes(768)), draw_overlay(grey_image(), labels_with_square(1), DAVIS_PALETTE)
    )


@pytest.mark.parametrize("size", [(48, 64), (47, 63), (1000, 1201)])
def test_the_video_holds_every_frame_at_a_playable_size(tmp_path, capfd, size):
    count = 5
    with OverlayWriter(tmp_path / "new", "a.b", DAVIS_PALETTE, frames_per_second=10) as overlay:
        for index in range(count):
            overlay.add(f"{index:05d}", grey_image(*size), labels_with_square(2, *size))
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["a.b.png", "a.b.webm"]
    frames = read_video(overlay.video_path)
    height, width = frames[0].shape[:2]
    assert len(frames) == count
    assert height % 2 == width % 2 == 0
    assert max(height, width) <= 854
    assert height / width == pytest.approx(size[0] / size[1], rel=0.05)
    blue, green, red = frames[2][20 * height // size[0], 35 * width // size[1]].astype(int)
    assert green - max(blue, red) > 30
    assert capfd.readouterr().err == ""


def test_the_codec_is_one_that_browsers_play(tmp_path):
    with OverlayWriter(tmp_path, "v", DAVIS_PALETTE) as overlay:
        overlay.add("0", grey_image(), labels_with_square())
    content = overlay.video_path.read_bytes()
    assert content[:4] == b"\x1a\x45\xdf\xa3"  # EBML, the container of WebM
    assert b"webm" in content[:64]
    assert b"V_VP8" in content[:1024]


def test_an_error_leaves_no_picture_behind(tmp_path):
    with pytest.raises(RuntimeError), OverlayWriter(tmp_path, "v", DAVIS_PALETTE) as overlay:
        overlay.add("0", grey_image(), labels_with_square())
        raise RuntimeError("the engine's")
    assert list(tmp_path.iterdir()) == []


def test_a_video_cut_short_by_a_full_disk_is_an_error(tmp_path, monkeypatch):
    class LosingWriter:
        """Loses what it is given, as OpenCV's does without a word when the disk is full."""

        def isOpened(self):
            return True

        def write(self, image):
            pass

        def release(self):
            pass

    monkeypatch.setattr(cv2, "VideoWriter", lambda *arguments: LosingWriter())
    with pytest.raises(OSError, match=r"v\.webm: could not be written whole"), OverlayWriter(tmp_path, "v", DAVIS_PALETTE) as overlay:
        overlay.add("0", grey_image(), labels_with_square())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("count", "shown", "columns", "rows"), [(1, 1, 1, 1), (3, 3, 3, 1), (8, 8, 4, 2), (16, 8, 4, 2), (1000, 8, 4, 2)])
def test_the_sheet_spreads_its_frames_over_the_video_and_holds_few(count, shown, columns, rows):
    sheet, most_held = ContactSheet(), 0
    for index in range(count):
        sheet.add("", np.full((20, 30, 3), 250 * index // count, np.uint8))
        most_held = max(most_held, len(sheet._held))
    picture = sheet.picture()
    assert picture.shape == (rows * 24 - 4, columns * 34 - 4, 3)
    values = [int(picture[24 * (i // columns) + 10, 34 * (i % columns) + 15, 0]) for i in range(shown)]
    assert values == sorted(set(values))
    assert values[0] == 0
    assert values[-1] == 250 * (count - 1) // count, "the last frame"
    even = values[-1] / max(shown - 1, 1)
    assert all(abs(value - number * even) <= 250 / 32 + 250 / count for number, value in enumerate(values))
    assert most_held <= 32


def test_the_sheet_file_shows_the_overlay(tmp_path):
    with OverlayWriter(tmp_path, "v", DAVIS_PALETTE) as overlay:
        overlay.add("", grey_image(), labels_with_square(2))
    np.testing.assert_array_equal(cv2.imread(str(overlay.sheet_path))[20, 30], (50, 114, 50))
