"""Lists and layouts as they come: byte order marks, archives unpacked elsewhere."""

import codecs
import json
import shutil

import pytest
from toy_trees import toy_frames, write_davis, write_generic, write_jpg, write_youtube

from dataset import DavisDataset, YoutubeDataset, read_palette
from dataset.training.video_layouts import find_videos
from inference.scoring.metadata import read_youtube_metadata
from scripts.data_tools.verification import VideoTask
from util.errors import InputError


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
    assert read_youtube_metadata(meta)


ALL_FRAMES_FOLDERS = [
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


@pytest.mark.parametrize("folder", ALL_FRAMES_FOLDERS)
@pytest.mark.parametrize("split", ["valid", "test"])
def test_all_frames_are_read_from_where_the_archives_unpack_to(tmp_path, folder, split):
    write_youtube(tmp_path / "made")
    root = tmp_path / "root"
    shutil.copytree(tmp_path / "made/valid", root / split)
    folder = folder.replace("valid", split)
    shutil.copytree(tmp_path / "made/all_frames/valid_all_frames/JPEGImages", root / folder)
    other = {"valid": "test", "test": "valid"}[split]
    shutil.copytree(
        tmp_path / "made/valid/JPEGImages", root / f"all_frames/{other}_all_frames/JPEGImages"
    )
    dataset = YoutubeDataset(root, split)
    assert dataset[0].frame_count == 11
    assert (dataset.frames_read, dataset.notes) == ("all", (f"frames: all, from {root / folder}",))


def test_a_copy_of_every_fifth_frame_is_reported_with_the_remedy(tmp_path):
    root = write_youtube(tmp_path)
    shutil.rmtree(root / "all_frames")
    dataset = YoutubeDataset(root)
    assert dataset.frames_read == "every fifth"
    assert dataset[0].frame_count == 3
    (note,) = dataset.notes
    assert note.startswith("frames every fifth: no all_frames/valid_all_frames/JPEGImages")
    assert "results are lower" in note
    assert [frame.schedule_index for frame in dataset[0].frames()] == [0, 5, 10]


def test_videos_with_some_of_their_frames_are_counted(tmp_path):
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
    with pytest.raises(InputError, match=rf"clip/00003\{suffix}: 2 masks .* no PNG"):
        find_videos(root)
    found = VideoTask(
        images=root / "JPEGImages/clip",
        labels=root / "Annotations/clip",
        every_frame=False,
        fast=True,
    )()
    assert sum("a mask that is no PNG" in finding.text for finding in found.findings) == 2
