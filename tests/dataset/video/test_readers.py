"""Which frames and masks of a data set are read. Refused trees: test_refused_videos.py."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from media_trees import (
    HEIGHT,
    WIDTH,
    labelled,
    make_davis,
    make_generic,
    make_labels,
    save_frame,
    save_mask,
)
from PIL import Image

from dataset import (
    DavisDataset,
    GenericDataset,
    VideoFile,
    YoutubeDataset,
    available_split,
    check_masks,
)
from util.errors import InputError
from util.palette import DAVIS_PALETTE


def make_youtube(root: Path) -> Path:
    """One video of every fifth frame; object 3 is there from the start, object 7 joins later."""
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
def test_davis_is_read_from_trainval_and_from_the_root_itself(tmp_path, folder):
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
            "/JPEGImages/480p/bear/00000.jpg /Annotations/480p/bear/00000.png\n"
            "/JPEGImages/480p/bear/00001.jpg x",
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
def test_the_split_of_a_root_is_the_first_whose_list_exists(part, tmp_path):
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


def test_sequences_outside_the_split_are_read_if_named(tmp_path):
    make_davis(tmp_path)
    save_frame(tmp_path / "JPEGImages/480p/other/00000.jpg")
    assert DavisDataset(tmp_path, sequences=["other", "bear", "bear"]).names == ("other", "bear")


def test_a_sparse_numbering_is_no_sign_of_lost_frames(tmp_path):
    for number in (3, 10, 17, 90):
        save_frame(tmp_path / f"JPEGImages/v/{number}.jpg")
    save_mask(tmp_path / "Annotations/v/3.png", 1)
    names = [frame.name for frame in GenericDataset(tmp_path)[0].frames()]
    assert names == ["3", "10", "17", "90"]


def test_youtube_objects_join_at_their_first_mask_and_meta_lists_the_wanted_frames(tmp_path):
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


def test_youtube_reads_all_frames_if_they_exist_and_wants_the_same_ones(tmp_path):
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


def test_youtube_required_frames_are_read_with_those_that_have_masks(tmp_path):
    make_youtube(tmp_path)
    every = YoutubeDataset(tmp_path)[0]
    video = YoutubeDataset(tmp_path, required_frames_only=True)[0]
    frames = list(video.frames())
    wanted = [frame for frame in every.frames() if frame.required or frame.labels is not None]
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


def test_a_mask_for_every_frame_leaks_only_the_first_mask_of_each_object(tmp_path):
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


def test_the_masks_palette_is_kept_and_padded(tmp_path):
    make_generic(tmp_path, {"00000": (1,)})
    image = Image.fromarray(make_labels(1))
    image.putpalette(bytes([0, 0, 0, 9, 8, 7]))
    image.save(tmp_path / "Annotations/clip/00000.png", bits=8)
    palette = GenericDataset(tmp_path)[0].palette
    assert palette[:6] == bytes([0, 0, 0, 9, 8, 7])
    assert len(palette) == 768


def test_frames_are_ordered_by_number_and_other_files_are_ignored(tmp_path):
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
    root = make_generic(tmp_path, {"00000": (7, 200)}, frames=1)
    assert labelled(GenericDataset(root)[0]) == {0: [7, 200]}


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


def test_a_changing_frame_size_is_refused_by_name(tmp_path):
    make_generic(tmp_path, {"00000": (1,)})
    save_frame(tmp_path / "JPEGImages/clip/00003.jpg", size=(WIDTH, HEIGHT + 2))
    with pytest.raises(InputError, match=r"clip/00003\.jpg: frame of 40x26 in a video of 40x24"):
        list(GenericDataset(tmp_path)[0].frames())


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
