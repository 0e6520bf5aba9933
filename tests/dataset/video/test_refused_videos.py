"""Wrong videos and data sets, and the words of the one line that refuses each.

A row makes a wrong input in an empty folder and reads it.
"""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from media_trees import (
    HEIGHT,
    WIDTH,
    check_refused,
    make_davis,
    make_generic,
    make_labels,
    save_frame,
    save_mask,
)
from PIL import Image
from toy_trees import write_davis, write_youtube

from dataset import (
    DavisDataset,
    GenericDataset,
    Layout,
    VideoFile,
    YoutubeDataset,
    check_masks,
)
from inference.scoring.metadata import read_youtube_metadata

Row = tuple[Callable[[Path], object], str]


def remove_masks(masks: Path, frames: Path) -> None:
    for mask in masks.iterdir():
        mask.unlink()


def remove_frames(masks: Path, frames: Path) -> None:
    for frame in frames.iterdir():
        frame.unlink()


def make_tiny(masks: Path, frames: Path) -> None:
    save_frame(frames / "00000.jpg", size=(WIDTH, 15))
    save_mask(masks / "00000.png", 1, size=(WIDTH, 15))


def lose_a_frame(masks: Path, frames: Path) -> None:
    (frames / "00002.jpg").unlink()


def cut_short(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 30)


def later_mask(suffix: str, kind: str | None = None) -> Callable[[Path, Path], None]:
    """A mask of frame 3 in another format."""
    return lambda masks, frames: Image.fromarray(make_labels(1)).save(
        masks / f"00003{suffix}", kind
    )


def cut_later_mask_short(masks: Path, frames: Path) -> None:
    save_mask(masks / "00003.png", 1)
    cut_short(masks / "00003.png")


TREES: dict[str, tuple[Callable[[Path, Path], object], str]] = {
    "no masks": (remove_masks, "Annotations/clip: no mask"),
    "no folder of masks": (
        lambda masks, frames: shutil.rmtree(masks),
        "Annotations/clip: no such folder",
    ),
    "an empty first mask": (
        lambda masks, frames: save_mask(masks / "00000.png"),
        r"clip/00000\.png: no object",
    ),
    "a mask without its frame": (
        lambda masks, frames: save_mask(masks / "00009.png", 1),
        r"clip/00009\.png: no frame 00009",
    ),
    "a mask of another size": (
        lambda masks, frames: save_mask(masks / "00000.png", 1, size=(WIDTH + 1, HEIGHT)),
        r"clip/00000\.png: mask of 41x24 for frames of 40x24",
    ),
    "no frames": (remove_frames, "clip: no frames"),
    "a frame twice": (
        lambda masks, frames: save_frame(frames / "00000.png"),
        r"clip/00000\.png: 00000\.jpg has the same name",
    ),
    "tiny frames": (make_tiny, r"clip/00000\.jpg: frame of 40x15"),
    "255 beside an id": (
        lambda masks, frames: save_mask(masks / "00000.png", 1, 255),
        r"clip/00000\.png: id 255 beside 1",
    ),
    "255 that joins late": (
        lambda masks, frames: save_mask(masks / "00002.png", 255),
        r"clip/00002\.png: id 255 beside 1",
    ),
    "a lost frame": (
        lose_a_frame,
        r"clip/00002\.jpg: frame missing between 00001\.jpg and 00003\.jpg",
    ),
    "a truncated mask": (
        lambda masks, frames: cut_short(masks / "00000.png"),
        r"clip/00000\.png: damaged",
    ),
    "a mask that is a text": (
        lambda masks, frames: (masks / "00000.png").write_text("no image"),
        r"clip/00000\.png: not an image",
    ),
    "a later mask of another size": (
        lambda masks, frames: save_mask(masks / "00003.png", 1, size=(WIDTH - 1, HEIGHT)),
        r"clip/00003\.png: mask of 39x24 for frames of 40x24",
    ),
    "a later truncated mask": (cut_later_mask_short, r"clip/00003\.png: damaged"),
    "a later mask with JPEG content": (
        later_mask(".png", "JPEG"),
        r"clip/00003\.png: a JPEG file",
    ),
    "a later .jpg mask": (later_mask(".jpg"), r"clip/00003\.jpg: named as frame 00003, but no PNG"),
    "a later .bmp mask": (later_mask(".bmp"), r"clip/00003\.bmp: named as frame 00003, but no PNG"),
    "a later .tif mask": (later_mask(".tif"), r"clip/00003\.tif: named as frame 00003, but no PNG"),
}


@pytest.mark.parametrize("name", TREES)
def test_a_wrong_tree_is_refused_before_any_work(tmp_path, name):
    change, words = TREES[name]
    make_generic(tmp_path, {"00000": (1,)})
    change(tmp_path / "Annotations/clip", tmp_path / "JPEGImages/clip")
    check_refused(lambda: check_masks(GenericDataset(tmp_path)), words)


def davis_list(content: bytes) -> Callable[[Path], object]:
    def read(root: Path) -> None:
        make_davis(root)
        (root / "ImageSets/2017/val.txt").write_bytes(content)
        DavisDataset(root)

    return read


def davis_sequence(name: str) -> Callable[[Path], object]:
    def read(root: Path) -> None:
        save_frame(make_davis(root) / "JPEGImages/480p/other/00000.jpg")
        DavisDataset(root, sequences=[name])

    return read


def davis_without_first_mask(root: Path) -> None:
    make_davis(root)
    (root / "Annotations/480p/bear/00000.png").unlink()
    check_masks(DavisDataset(root))


def folders_without_videos(root: Path) -> None:
    (root / "JPEGImages/.hidden").mkdir(parents=True)
    Layout.of(root).names()


def meta_json(content: str, read: Callable[[Path], object]) -> Callable[[Path], object]:
    def change(root: Path) -> None:
        write_youtube(root)
        (root / "valid/meta.json").write_text(content)
        read(root)

    return change


def read_youtube_without(path: str) -> Callable[[Path], object]:
    def read(root: Path) -> None:
        write_youtube(root)
        shutil.rmtree(root / "all_frames")
        (root / path).unlink()
        check_masks(YoutubeDataset(root))

    return read


def read_youtube_of_hostile_names(root: Path) -> None:
    objects = {"1": {"frames": ["../../00000"]}}
    meta = json.dumps({"videos": {"aa11": {"objects": objects}}})
    meta_json(meta, YoutubeDataset)(root)


NO_LIST = r"ImageSets/2017/val\.txt: not a text of UTF-8 \(.*\); .* a name a line"
NO_JSON = r"meta\.json: not JSON \("
NO_JSON_CONTENTS = {
    "deep lists": "[" * 100_000,
    "deep objects": '{"a":' * 100_000,
    "an unfinished text": '{"videos": ',
    "a number of 5,000 digits": '{"videos": 1' + "0" * 5000 + "}",
    "nothing": "",
}

DATA_SETS: dict[str, Row] = {
    "DAVIS with a list in UTF-16 LE": (davis_list("bear\n".encode("utf-16-le")), NO_LIST),
    "DAVIS with a list in UTF-16 BE": (davis_list("bear\n".encode("utf-16-be")), NO_LIST),
    "DAVIS with a list in UTF-16": (davis_list("bear\n".encode("utf-16")), NO_LIST),
    "DAVIS with a list in Latin-1": (davis_list(b"b\xe9ar\n"), NO_LIST),
    "DAVIS with a binary list": (davis_list(b"\xff\xfe\x00a"), NO_LIST),
    "DAVIS with an empty list": (davis_list(b"\n"), r"val\.txt: lists no sequence"),
    "DAVIS with another split's list": (
        lambda root: DavisDataset(make_davis(root, list_file="2016/val.txt")),
        r"2017/val\.txt: no such list for --split val; there are: 2016/val\.txt; "
        r"use --split 2016val$",
    ),
    "DAVIS without frames": (lambda root: DavisDataset(root / "nowhere"), "480p"),
    "DAVIS of an unknown split": (
        lambda root: DavisDataset(root, "train"),
        "no split 'train' of DAVIS; there are: val testdev 2016val",
    ),
    "DAVIS without a first mask": (davis_without_first_mask, r"00000\.png: no such mask"),
    "an unknown sequence": (davis_sequence("lion"), "no sequence 'lion'; there are: bear"),
    "the folder above": (davis_sequence(".."), "no sequence '..'; there are: bear"),
    "a path": (davis_sequence("other/../bear"), "no sequence .*; there are: bear"),
    "a root of no layout": (Layout.of, "no JPEGImages/480p or JPEGImages here"),
    "a root without videos": (folders_without_videos, r"no videos in .*JPEGImages; a folder"),
    "an unknown split of YouTube-VOS": (
        lambda root: YoutubeDataset(root, "train"),
        "no split 'train' of YouTube-VOS; there are: valid test",
    ),
    "every frame and only some frames": (
        lambda root: YoutubeDataset(
            write_youtube(root), output_all=True, required_frames_only=True
        ),
        "leave one of them out",
    ),
    "YouTube-VOS without a wanted frame": (
        read_youtube_without("valid/JPEGImages/aa11/00010.jpg"),
        r"aa11: meta\.json asks for frame 00010",
    ),
    "YouTube-VOS without meta.json": (
        read_youtube_without("valid/meta.json"),
        r"meta\.json: missing",
    ),
    "another meta.json": (meta_json("[]", YoutubeDataset), r"meta\.json: not YouTube-VOS's"),
    "a meta.json whose names lead elsewhere": (
        read_youtube_of_hostile_names,
        r"meta\.json, frames: the name '\.\./\.\./00000' leads to another folder",
    ),
    **{
        f"a meta.json of {kind}": (meta_json(content, YoutubeDataset), NO_JSON)
        for kind, content in NO_JSON_CONTENTS.items()
    },
    **{
        f"categories of {kind}": (
            meta_json(content, lambda root: read_youtube_metadata(root / "valid/meta.json")),
            NO_JSON,
        )
        for kind, content in NO_JSON_CONTENTS.items()
    },
}


@pytest.mark.parametrize("name", DATA_SETS)
def test_a_wrong_data_set_is_refused(tmp_path, name):
    read, words = DATA_SETS[name]
    check_refused(lambda: read(tmp_path), words)


def stack(folder: Path, sizes: list[tuple[int, int]]) -> Path:
    pages = [Image.new("RGB", size, (number, 0, 0)) for number, size in enumerate(sizes)]
    pages[0].save(folder / "clip.tif", save_all=True, append_images=pages[1:])
    save_mask(folder / "mask.png", 1)
    return folder / "clip.tif"


def read_stack(*sizes: tuple[int, int]) -> Callable[[Path], object]:
    return lambda folder: list(VideoFile(stack(folder, list(sizes)), folder / "mask.png").frames())


def read_stack_with_late_mask(folder: Path) -> None:
    save_mask(folder / "masks/00004.png", 1)
    VideoFile(stack(folder, [(WIDTH, HEIGHT)] * 4), folder / "masks")


def read_folder_of_videos(*images: str) -> Callable[[Path], object]:
    def read(folder: Path) -> None:
        (folder / "clips").mkdir()
        (folder / "clips/a.mp4").touch()
        save_mask(folder / "first.png", 1)
        for name in images:
            save_mask(folder / "clips" / name, 1)
        VideoFile(folder / "clips", folder / "first.png")

    return read


VIDEOS: dict[str, Row] = {
    "a still image": (read_stack((WIDTH, HEIGHT)), r"clip\.tif: a still image"),
    "a stack of two sizes": (
        read_stack((WIDTH, HEIGHT), (WIDTH, HEIGHT + 8)),
        r"clip\.tif: image 1 of 40x32 in a stack of 40x24",
    ),
    "a mask beyond a stack": (
        read_stack_with_late_mask,
        r"no frame 4 in clip\.tif, which has 4 images",
    ),
    "a folder of video files": (
        read_folder_of_videos(),
        "holds video files and no frames; .*--data_path",
    ),
    "a folder of video files and masks": (
        read_folder_of_videos("a.png"),
        "holds video files and images of their names; .*--data_path",
    ),
    "no mask": (
        lambda folder: VideoFile(stack(folder, [(WIDTH, HEIGHT)] * 2), folder / "none.png"),
        r"none\.png: no such mask; give a PNG",
    ),
    "a URL of another machine": (
        lambda folder: VideoFile("file://other/clip.mp4", folder / "mask.png"),
        "file://other/clip.mp4: a file of another machine",
    ),
    "a data path without videos": (
        lambda folder: GenericDataset(folder),
        "JPEGImages: no such folder; --data_path is the folder that holds",
    ),
    "an unknown video": (
        lambda folder: GenericDataset(make_generic(folder, {"00000": (1,)}), ["film"]),
        "no sequence 'film'; there are: clip",
    ),
}


@pytest.mark.parametrize("name", VIDEOS)
def test_a_wrong_video_is_refused(tmp_path, name):
    read, words = VIDEOS[name]
    check_refused(lambda: read(tmp_path), words)


def test_an_unnamed_video_of_many_is_refused_with_some_of_the_names(tmp_path):
    root = write_davis(tmp_path, {f"v{number:02d}": 1 for number in range(25)})
    check_refused(lambda: DavisDataset(root, sequences=["bear"]), "there are: v00 .*v19 and 5 more")
