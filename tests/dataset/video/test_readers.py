"""The data sets: which frames and masks come out of a tree of files, and which trees are refused."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from media_trees import HEIGHT, WIDTH, labelled, make_generic, make_labels, save_frame, save_mask
from PIL import Image

from dataset import (
    DavisDataset,
    GenericDataset,
    VideoFile,
    YoutubeDataset,
    available_split,
    check_masks,
)
from dataset.video.mask_selection import MaskSelection
from util.errors import InputError
from util.palette import DAVIS_PALETTE


def make_davis(
    root: Path,
    ids: tuple[int, ...] = (1, 2),
    list_file: str = "2017/val.txt",
    line: str = "bear",
    palette: bytes | None = DAVIS_PALETTE,
) -> Path:
    for index in range(3):
        save_frame(root / f"JPEGImages/480p/bear/{index:05d}.jpg", index)
        save_mask(root / f"Annotations/480p/bear/{index:05d}.png", *ids, palette=palette)
    (root / "ImageSets" / list_file).parent.mkdir(parents=True)
    (root / "ImageSets" / list_file).write_text(line + "\n")
    return root


def make_youtube(root: Path) -> Path:
    for number in range(0, 25, 5):
        save_frame(root / f"valid/JPEGImages/abc/{number:05d}.jpg", number)
    save_mask(root / "valid/Annotations/abc/00000.png", 3)
    save_mask(root / "valid/Annotations/abc/00010.png", 3, 7)
    objects = {
        "3": {"category": "cat", "frames": ["00000", "00010"]},
        "7": {"category": "dog", "frames": ["00010", "00020"]},
    }
    (root / "valid/meta.json").write_text(json.dumps({"videos": {"abc": {"objects": objects}}}))
    return root


@pytest.mark.parametrize("folder", ["trainval", ""])
def test_davis_is_found_in_trainval_and_in_the_root_itself(tmp_path, folder):
    make_davis(tmp_path / folder)
    dataset = DavisDataset(tmp_path)
    assert dataset.names == ("bear",)
    check_masks(dataset)
    frames = list(dataset[0].frames())
    assert [frame.name for frame in frames] == ["00000", "00001", "00002"]
    assert all(frame.required and frame.image.shape == (HEIGHT, WIDTH, 3) for frame in frames)


def test_davis_reads_the_first_mask_alone(tmp_path):
    make_davis(tmp_path)
    save_mask(tmp_path / "Annotations/480p/bear/00001.png", 1, 2, 9)
    assert labelled(DavisDataset(tmp_path)[0]) == {0: [1, 2]}


def test_davis_test_dev_lies_in_its_own_folder(tmp_path):
    make_davis(tmp_path / "test-dev", list_file="2017/test-dev.txt")
    assert labelled(DavisDataset(tmp_path, "testdev")[0]) == {0: [1, 2]}


@pytest.mark.parametrize(
    ("list_file", "line"),
    [
        ("2016/val.txt", "bear"),
        (
            "480p/val.txt",
            "/JPEGImages/480p/bear/00000.jpg /Annotations/480p/bear/00000.png\n/JPEGImages/480p/bear/00001.jpg x",
        ),
    ],
)
def test_davis_2016_keeps_the_id_255_of_binary_masks(tmp_path, list_file, line):
    make_davis(tmp_path, ids=(255,), list_file=list_file, line=line, palette=None)
    dataset = DavisDataset(tmp_path, "2016val")
    assert dataset.names == ("bear",)
    video = dataset[0]
    assert labelled(video) == {0: [255]}
    assert video.object_ids == (255,)
    assert video.palette == DAVIS_PALETTE


@pytest.mark.parametrize("part", ["", "trainval"])
def test_the_split_of_a_root_is_the_first_whose_list_is_there(part, tmp_path):
    make_davis(tmp_path / part, list_file="480p/val.txt")
    assert available_split(tmp_path) == "2016val"
    (tmp_path / part / "ImageSets/2017").mkdir(exist_ok=True)
    (tmp_path / part / "ImageSets/2017/val.txt").write_text("bear\n")
    assert available_split(tmp_path) == "val"
    for path in (tmp_path / part / "ImageSets").glob("*/val.txt"):
        path.unlink()
    assert available_split(tmp_path) == "val"


def test_davis_2016_merges_the_ids_of_2017_masks(tmp_path):
    make_davis(tmp_path, ids=(1, 2, 5), list_file="2016/val.txt")
    (frame, *_) = DavisDataset(tmp_path, "2016val")[0].frames()
    np.testing.assert_array_equal(frame.labels, make_labels(1, 2, 5) > 0)


def test_sequences_outside_the_split_are_read_and_unknown_ones_refused_with_the_valid_ones(
    tmp_path,
):
    make_davis(tmp_path)
    save_frame(tmp_path / "JPEGImages/480p/other/00000.jpg")
    assert DavisDataset(tmp_path, sequences=["other", "bear", "bear"]).names == ("other", "bear")
    for unknown in ("lion", "..", "other/../bear"):
        with pytest.raises(InputError, match=r"no sequence .*; there are: bear"):
            DavisDataset(tmp_path, sequences=[unknown])


def test_a_missing_split_list_names_the_lists_that_are_there(tmp_path):
    make_davis(tmp_path, list_file="2016/val.txt")
    with pytest.raises(
        InputError,
        match=r"2017/val\.txt: no such list for --split val; there are: 2016/val\.txt; use --split 2016val$",
    ):
        DavisDataset(tmp_path)
    with pytest.raises(InputError, match="480p"):
        DavisDataset(tmp_path / "nowhere")


@pytest.mark.parametrize("content", [b"\xff\xfe\x00a", "bear\n".encode("utf-16-le"), b"b\xe9ar\n"])
def test_a_list_that_is_no_text_of_utf_8_is_refused_by_its_name(tmp_path, content):
    make_davis(tmp_path)
    (tmp_path / "ImageSets/2017/val.txt").write_bytes(content)
    with pytest.raises(
        InputError,
        match=r"ImageSets/2017/val\.txt: not a text of UTF-8 \(.*\); save it as UTF-8, a name a line",
    ):
        DavisDataset(tmp_path)


def test_a_lost_frame_in_an_even_numbering_is_refused_and_a_sparse_numbering_is_not(tmp_path):
    make_davis(tmp_path)
    (tmp_path / "JPEGImages/480p/bear/00001.jpg").unlink()
    save_frame(tmp_path / "JPEGImages/480p/bear/00003.jpg")
    with pytest.raises(
        InputError, match=r"bear/00001\.jpg: frame missing between 00000\.jpg and 00002\.jpg"
    ):
        check_masks(DavisDataset(tmp_path))
    for number in (3, 10, 17, 90):
        save_frame(tmp_path / f"g/JPEGImages/v/{number}.jpg")
    save_mask(tmp_path / "g/Annotations/v/3.png", 1)
    assert [frame.name for frame in GenericDataset(tmp_path / "g")[0].frames()] == [
        "3",
        "10",
        "17",
        "90",
    ]


def test_youtube_objects_join_where_they_first_appear_and_meta_says_which_frames_are_wanted(
    tmp_path,
):
    video = YoutubeDataset(make_youtube(tmp_path))[0]
    frames = list(video.frames())
    assert [(frame.name, frame.required) for frame in frames] == [
        ("00000", True),
        ("00005", False),
        ("00010", True),
        ("00015", False),
        ("00020", True),
    ]
    assert labelled(video) == {0: [3], 2: [7]}
    assert (video.object_ids, video.ignored_masks) == ((3, 7), 1)


def test_youtube_reads_all_frames_where_they_are_present_and_wants_the_same(tmp_path):
    make_youtube(tmp_path)
    for number in range(21):
        save_frame(
            tmp_path / f"all_frames/valid_all_frames/JPEGImages/abc/{number:05d}.jpg", number
        )
    video = YoutubeDataset(tmp_path)[0]
    frames = list(video.frames())
    assert len(frames) == video.frame_count == 21
    assert [frame.name for frame in frames if frame.required] == ["00000", "00010", "00020"]
    assert labelled(video) == {0: [3], 10: [7]}
    assert all(frame.required for frame in YoutubeDataset(tmp_path, output_all=True)[0].frames())


def test_youtube_frames_asked_for_alone_are_read_with_those_that_have_masks(tmp_path):
    make_youtube(tmp_path)
    every = YoutubeDataset(tmp_path)[0]
    video = YoutubeDataset(tmp_path, required_frames_only=True)[0]
    frames, wanted = (
        list(video.frames()),
        [frame for frame in every.frames() if frame.required or frame.labels is not None],
    )
    assert [(frame.name, frame.required) for frame in frames] == [
        (frame.name, frame.required) for frame in wanted
    ]
    assert len(frames) == video.frame_count < every.frame_count
    assert all(
        np.array_equal(one.image, other.image) for one, other in zip(frames, wanted, strict=True)
    )
    assert [frame.name for frame in frames if frame.labels is not None] == [
        frame.name for frame in wanted if frame.labels is not None
    ]
    with pytest.raises(InputError, match="leave one of them out"):
        YoutubeDataset(tmp_path, output_all=True, required_frames_only=True)


def test_youtube_refuses_a_tree_without_a_wanted_frame_or_without_meta(tmp_path):
    make_youtube(tmp_path)
    (tmp_path / "valid/JPEGImages/abc/00020.jpg").unlink()
    with pytest.raises(InputError, match=r"abc: meta\.json asks for frame 00020"):
        check_masks(YoutubeDataset(tmp_path))
    (tmp_path / "valid/meta.json").write_text("[]")
    with pytest.raises(InputError, match=r"meta\.json: not YouTube-VOS's"):
        YoutubeDataset(tmp_path)
    (tmp_path / "valid/meta.json").unlink()
    with pytest.raises(InputError, match=r"meta\.json: missing"):
        YoutubeDataset(tmp_path)


def test_a_mask_for_every_frame_gives_away_only_where_each_object_first_appears(tmp_path):
    make_generic(
        tmp_path, {"00000": (1,), "00001": (1, 200), "00002": (200, 1), "00003": (1, 200, 7)}
    )
    video = GenericDataset(tmp_path)[0]
    assert labelled(video) == {0: [1], 1: [200], 3: [7]}
    assert (video.object_ids, video.ignored_masks) == ((1, 7, 200), 5)
    frames = list(video.frames())
    np.testing.assert_array_equal(frames[1].labels, np.where(make_labels(1, 200) == 200, 200, 0))


def test_corrections_make_every_mask_count(tmp_path):
    make_generic(tmp_path, {"00000": (1,), "00002": (1, 7)})
    video = GenericDataset(tmp_path, corrections=True)[0]
    assert labelled(video) == {0: [1], 2: [1, 7]}
    assert video.ignored_masks == 0


def test_frames_begin_at_the_first_mask_and_can_be_read_again(tmp_path):
    make_generic(tmp_path, {"00002": (4,)})
    video = GenericDataset(tmp_path)[0]
    assert (video.first_index, video.frame_count, video.object_ids) == (2, 4, ())
    for _ in range(2):
        assert [(frame.index, frame.name) for frame in video.frames()] == [
            (2, "00002"),
            (3, "00003"),
        ]
        assert (video.object_ids, video.ignored_masks) == ((4,), 0)


def test_the_truths_palette_is_carried_over_and_padded(tmp_path):
    make_generic(tmp_path, {"00000": (1,)})
    image = Image.fromarray(make_labels(1))
    image.putpalette(bytes([0, 0, 0, 9, 8, 7]))
    image.save(tmp_path / "Annotations/clip/00000.png", bits=8)
    palette = GenericDataset(tmp_path)[0].palette
    assert palette[:6] == bytes([0, 0, 0, 9, 8, 7])
    assert len(palette) == 768


def test_frames_are_ordered_by_number_and_other_peoples_files_are_passed_over(tmp_path):
    folder = tmp_path / "JPEGImages/clip"
    for stem in ("10", "2", "1"):
        save_frame(folder / f"{stem}.jpg", int(stem))
    for stray in ("._2.jpg", "Thumbs.db", "notes.txt"):
        (folder / stray).write_bytes(b"stray")
    (tmp_path / "JPEGImages/.hidden").mkdir()
    save_mask(tmp_path / "Annotations/clip/2.png", 1)
    (tmp_path / "Annotations/clip/._2.png").write_bytes(b"stray")
    dataset = GenericDataset(tmp_path)
    assert dataset.names == ("clip",)
    assert [frame.name for frame in dataset[0].frames()] == ["2", "10"]


def test_a_one_frame_video_is_read(tmp_path):
    assert labelled(GenericDataset(make_generic(tmp_path, {"00000": (7, 200)}, frames=1))[0]) == {
        0: [7, 200]
    }


@pytest.mark.parametrize(
    "damage",
    [
        "no masks",
        "no mask folder",
        "empty mask",
        "mask without frame",
        "mask size",
        "no frames",
        "twice",
        "tiny",
        "id 255",
    ],
)
def test_a_wrong_tree_is_refused_before_any_work(tmp_path, damage):
    make_generic(tmp_path, {"00000": (1,)})
    mask, frames = tmp_path / "Annotations/clip/00000.png", tmp_path / "JPEGImages/clip"
    expected = {
        "no masks": r"Annotations/clip: no mask",
        "no mask folder": r"Annotations/clip: no such folder",
        "empty mask": r"clip/00000\.png: no object",
        "mask without frame": r"clip/00009\.png: no frame 00009",
        "mask size": r"clip/00000\.png: mask of 41x24 for frames of 40x24",
        "no frames": r"clip: no frames",
        "twice": r"clip/00000\.png: 00000\.jpg has the same name",
        "tiny": r"clip/00000\.jpg: frame of 40x15",
        "id 255": r"clip/00000\.png: id 255 beside 1",
    }[damage]
    if damage in ("no masks", "no mask folder"):
        mask.unlink()
    if damage == "no mask folder":
        mask.parent.rmdir()
    if damage == "empty mask":
        save_mask(mask)
    if damage == "mask without frame":
        save_mask(mask.with_stem("00009"), 1)
    if damage == "mask size":
        save_mask(mask, 1, size=(WIDTH + 1, HEIGHT))
    if damage == "no frames":
        for frame in frames.iterdir():
            frame.unlink()
    if damage == "twice":
        save_frame(frames / "00000.png")
    if damage == "tiny":
        save_frame(frames / "00000.jpg", size=(WIDTH, 15))
        save_mask(mask, 1, size=(WIDTH, 15))
    if damage == "id 255":
        save_mask(mask, 1, 255)
    with pytest.raises(InputError, match=expected):
        check_masks(GenericDataset(tmp_path))


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_truncated_frame_is_refused_by_name_after_the_frames_before_it(tmp_path, suffix):
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    make_generic(tmp_path, {"00000": (1,)})
    (tmp_path / "JPEGImages/clip/00002.jpg").unlink()
    path = tmp_path / f"JPEGImages/clip/00002{suffix}"
    Image.fromarray(noise).save(path)
    os.truncate(path, path.stat().st_size * 2 // 3)
    read = []
    with pytest.raises(InputError, match=rf"clip/00002{suffix}: damaged"):
        for frame in GenericDataset(tmp_path)[0].frames():
            read.append(frame.index)
    assert read == [0, 1]


def test_a_truncated_mask_and_a_changing_frame_size_are_refused_by_name(tmp_path):
    make_generic(tmp_path, {"00000": (1,)})
    save_frame(tmp_path / "JPEGImages/clip/00003.jpg", size=(WIDTH, HEIGHT + 2))
    with pytest.raises(InputError, match=r"clip/00003\.jpg: frame of 40x26 in a video of 40x24"):
        list(GenericDataset(tmp_path)[0].frames())
    mask = tmp_path / "Annotations/clip/00000.png"
    os.truncate(mask, mask.stat().st_size - 30)
    with pytest.raises(InputError, match=r"clip/00000\.png: damaged"):
        check_masks(GenericDataset(tmp_path))
    mask.write_text("no image")
    with pytest.raises(InputError, match=r"clip/00000\.png: not an image"):
        check_masks(GenericDataset(tmp_path))


def test_255_joining_late_is_refused():
    selection = MaskSelection()
    selection.select(make_labels(1), "a.png")
    with pytest.raises(InputError, match=r"b\.png: id 255 beside 1"):
        selection.select(make_labels(255), "b.png")


@pytest.mark.skipif(
    "VOS_DATA" not in os.environ, reason="set VOS_DATA to the folder of real data to run"
)
def test_real_trees_are_read():
    root = Path(os.environ["VOS_DATA"])
    check_masks(DavisDataset(root / "davis-val", "2016val"))
    composite = GenericDataset(root / "composite", sequences=["swan-libby-late"])[0]
    assert labelled(composite) == {0: [1, 4], 12: [9]}
    clip = composite.name
    leaky = VideoFile(root / "composite/JPEGImages" / clip, root / "composite/Truth" / clip)
    assert labelled(leaky) == {0: [1, 4], 12: [9]}
    assert leaky.ignored_masks > 100
