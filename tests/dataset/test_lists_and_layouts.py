"""Lists and layouts as they come: byte order marks, archives unpacked elsewhere."""

import codecs
import json
import shutil

import pytest
from toy_trees import toy_frames, write_davis, write_generic, write_jpg, write_youtube

from dataset import DavisDataset, YoutubeDataset, read_palette
from dataset.training.video_clips import find_videos
from inference.scoring.protocols import read_categories
from scripts.data_tools.verification import VideoTask
from util.errors import InputError
from util.files import read_text


@pytest.mark.parametrize("ending", ["\n", "\r\n", "  \r\n"])
def test_lists_with_a_byte_order_mark_are_read(tmp_path, ending):
    root = write_davis(tmp_path / "davis", {"bear": 1, "cow": 1})
    (root / "ImageSets/2017/val.txt").write_bytes(
        codecs.BOM_UTF8 + f"bear{ending}cow{ending}".encode()
    )
    assert DavisDataset(root).names == ("bear", "cow")
    palette = tmp_path / "colours.txt"
    palette.write_bytes(codecs.BOM_UTF8 + f"0 0 0{ending}1 2 3{ending}".encode())
    assert read_palette(palette)[:6] == bytes((0, 0, 0, 1, 2, 3))
    meta = write_youtube(tmp_path / "yv") / "valid/meta.json"
    meta.write_bytes(codecs.BOM_UTF8 + meta.read_bytes().replace(b" ", ending.encode()))
    assert YoutubeDataset(tmp_path / "yv").names == ("aa11",)
    assert read_categories(meta).objects


def test_a_list_in_utf_16_is_refused_by_name(tmp_path):
    for number, encoding in enumerate(("utf-16", "utf-16-le", "utf-16-be")):
        path = tmp_path / f"{number}.txt"
        path.write_bytes("bear\ncow\n".encode(encoding))
        with pytest.raises(
            InputError,
            match=rf"{number}\.txt: not a text of UTF-8 \((it begins as UTF-16 does|a byte of 0 in it)\); save it as UTF-8, a name a line",
        ):
            read_text(path, "a name a line")


@pytest.mark.parametrize(
    "content",
    ["[" * 100_000, '{"a":' * 100_000, '{"videos": ', '{"videos": 1' + "0" * 5000 + "}", ""],
)
def test_a_meta_json_that_is_no_json_is_refused_by_name(tmp_path, content):
    meta = write_youtube(tmp_path / "yv") / "valid/meta.json"
    meta.write_text(content)
    for read in (lambda: YoutubeDataset(tmp_path / "yv"), lambda: read_categories(meta)):
        with pytest.raises(
            InputError, match=r"meta\.json: not JSON \(.*\); write it or copy it again"
        ):
            read()


PLACES = [
    "all_frames/valid_all_frames/JPEGImages",
    "valid_all_frames/JPEGImages",
    "valid_all_frames/valid_all_frames/JPEGImages",
    "all_frames/JPEGImages",
    "all_frames/valid/JPEGImages",
    "valid/valid_all_frames/JPEGImages",
    "valid/all_frames/JPEGImages",
    "all_frames/valid_all_frames",
    "all_frames/valid_all_frames/valid/JPEGImages",
]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("split", ["valid", "test"])
def test_all_frames_are_found_where_the_archives_unpack_to(tmp_path, place, split):
    write_youtube(tmp_path / "made")
    root = tmp_path / "root"
    shutil.copytree(tmp_path / "made/valid", root / split)
    place = place.replace("valid", split)
    shutil.copytree(tmp_path / "made/all_frames/valid_all_frames/JPEGImages", root / place)
    other = {"valid": "test", "test": "valid"}[split]
    shutil.copytree(
        tmp_path / "made/valid/JPEGImages", root / f"all_frames/{other}_all_frames/JPEGImages"
    )
    dataset = YoutubeDataset(root, split)
    assert dataset[0].frame_count == 11
    assert (dataset.frames_read, dataset.notes) == ("all", (f"frames: all, from {root / place}",))


def test_every_fifth_frame_alone_is_said_with_what_to_do(tmp_path):
    root = write_youtube(tmp_path)
    shutil.rmtree(root / "all_frames")
    dataset = YoutubeDataset(root)
    assert dataset.frames_read == "every fifth" and dataset[0].frame_count == 3
    assert (
        dataset.notes[0].startswith(
            "frames every fifth: no all_frames/valid_all_frames/JPEGImages or the like in"
        )
        and "results are lower" in dataset.notes[0]
    )
    assert [frame.schedule_index for frame in dataset[0].frames()] == [0, 5, 10]


def test_videos_whose_frames_are_not_all_there_are_counted(tmp_path):
    root = write_youtube(tmp_path)
    meta = json.loads((root / "valid/meta.json").read_text())
    meta["videos"]["bb22"] = meta["videos"]["aa11"]
    (root / "valid/meta.json").write_text(json.dumps(meta))
    for folder in ("JPEGImages", "Annotations"):
        shutil.copytree(root / f"valid/{folder}/aa11", root / f"valid/{folder}/bb22")
    dataset = YoutubeDataset(root)
    assert dataset.frames_read == "all, but every fifth of 1 video"
    assert dataset.notes[0].startswith("frames every fifth of 1 video, such as bb22: not in ")
    assert [video.frame_count for video in dataset] == [11, 3]


@pytest.mark.parametrize("suffix", [".jpg", ".bmp", ".JPEG"])
def test_training_masks_that_are_no_png_are_named(tmp_path, suffix):
    root = write_generic(tmp_path, "clip", {0: (1,), 1: (1,), 2: (1,)})
    image = toy_frames(1, 0)[0][0]
    for index in (3, 4):
        write_jpg(root / f"made/{index:05d}.jpg", image)
        (root / f"made/{index:05d}.jpg").rename(root / f"Annotations/clip/{index:05d}{suffix}")
    with pytest.raises(
        InputError,
        match=rf"clip/00003\{suffix}: 2 masks of frames that are no PNG; training reads PNG masks alone",
    ):
        find_videos(root)
    found = VideoTask(
        images=root / "JPEGImages/clip",
        labels=root / "Annotations/clip",
        every_frame=False,
        fast=True,
    )()
    assert sum("a mask that is no PNG" in finding.text for finding in found.findings) == 2
