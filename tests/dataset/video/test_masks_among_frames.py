"""Masks among the frames are excluded or refused; frames of mixed kinds are read."""

import numpy as np
import pytest
from media_trees import save_frame, save_mask
from PIL import Image

from dataset import VideoFile
from util.errors import InputError


def make_frames(folder, stems, suffix=".jpg"):
    for number, stem in enumerate(stems):
        save_frame(folder / f"{stem}{suffix}", number)


def names(video):
    return [frame.name for frame in video.frames()]


NUMBERED = [f"{index:05d}" for index in range(6)]


@pytest.mark.parametrize("mask", ["mask.png", "a_mask.png", "zz.png"])
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp"])
def test_the_given_mask_is_not_a_frame(tmp_path, mask, suffix):
    make_frames(tmp_path / "video", NUMBERED, suffix)
    save_mask(tmp_path / "video" / mask, 1)
    video = VideoFile(tmp_path / "video", tmp_path / "video" / mask)
    assert names(video) == NUMBERED and video.first_index == 0


@pytest.mark.parametrize("frames", [".jpg", ".png"])
@pytest.mark.parametrize(
    ("count", "mask"), [(1, "mask"), (6, "{}_mask"), (6, "{}-gt"), (6, "mask{}"), (3, "{}_mask")]
)
def test_other_masks_among_the_frames_are_refused(tmp_path, frames, count, mask):
    make_frames(tmp_path / "video", NUMBERED, frames)
    for stem in NUMBERED[:count]:
        save_mask(tmp_path / "video" / f"{mask.format(stem)}.png", 1)
    save_mask(tmp_path / "first.png", 1)
    words = rf"video: 6 \{frames} \(00000\{frames}, …\) and {count} \.png \(.*which are the frames"
    with pytest.raises(InputError, match=words):
        VideoFile(tmp_path / "video", tmp_path / "first.png")


def test_colour_images_with_a_word_added_are_refused(tmp_path):
    make_frames(tmp_path / "video", NUMBERED)
    make_frames(tmp_path / "video", [f"{stem}_mask" for stem in NUMBERED])
    save_mask(tmp_path / "first.png", 1)
    words = r"video: 6 \.jpg \(00000\.jpg, …\) and 6 \.jpg \(00000_mask\.jpg, …\): which are"
    with pytest.raises(InputError, match=words):
        VideoFile(tmp_path / "video", tmp_path / "first.png")


@pytest.mark.parametrize("mask", ["mask", "first_mask", "mask_00000", "gt"])
def test_a_mask_like_the_frames_is_refused_by_its_name(tmp_path, mask):
    (tmp_path / "video").mkdir()
    for stem in (*NUMBERED, mask):
        Image.fromarray(np.zeros((32, 32), np.uint8)).save(tmp_path / "video" / f"{stem}.png")
    save_mask(tmp_path / "first.png", 1)
    words = rf"6 \.png \(00000\.png, …\) and 1 \.png \({mask}\.png\): which are the frames"
    with pytest.raises(InputError, match=words):
        VideoFile(tmp_path / "video", tmp_path / "first.png")


@pytest.mark.parametrize(
    "stems",
    [
        ["00000", "00001"],
        ["a", "b", "night", "night_2"],
        ["IMG_1", "IMG_2", "DSC_3"],
        ["mask_1", "mask_2"],
    ],
)
def test_frames_of_any_names_are_frames(tmp_path, stems):
    make_frames(tmp_path / "video", stems[:-1], ".jpg")
    make_frames(tmp_path / "video", stems[-1:], ".jpeg")
    save_mask(tmp_path / "first.png", 1)
    assert sorted(names(VideoFile(tmp_path / "video", tmp_path / "first.png"))) == sorted(stems)


def test_grey_and_numbered_frames_of_two_endings_are_frames(tmp_path):
    make_frames(tmp_path / "video", NUMBERED[:3], ".jpg")
    make_frames(tmp_path / "video", NUMBERED[3:], ".png")
    save_mask(tmp_path / "first.png", 1)
    assert names(VideoFile(tmp_path / "video", tmp_path / "first.png")) == NUMBERED
