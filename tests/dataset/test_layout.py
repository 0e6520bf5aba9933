"""What a root's layout says about its videos, and how they are opened and scored."""

import shutil

import pytest
from toy_trees import write_davis, write_generic

from dataset import DavisDataset, GenericDataset, Layout
from util.errors import InputError


@pytest.mark.parametrize("part", ["", "trainval"])
@pytest.mark.parametrize(
    ("split_list", "split"),
    [("2017/val.txt", "val"), ("2016/val.txt", "2016val"), ("480p/val.txt", "2016val")],
)
def test_davis_is_opened_by_the_list_that_exists_in_either_folder(
    tmp_path, part, split_list, split
):
    folder = write_davis(tmp_path / part, {"bear": 2, "cow": 1}, split_list)
    (folder / "ImageSets" / split_list).write_text("bear\n")
    layout = Layout.of(tmp_path)
    assert (layout.root, layout.folder, layout.split) == (tmp_path, folder, split)
    assert layout.is_davis
    assert (layout.protocol, layout.resolution) == ("davis", -1)
    assert layout.single_object == (split == "2016val")
    assert layout.frames_folder == folder / "JPEGImages/480p"
    assert layout.masks_folder == layout.truth_folder == folder / "Annotations/480p"
    assert layout.names() == ["bear", "cow"]
    assert [path.name for path in layout.frame_files("bear")] == ["00000.jpg", "00001.jpg"]
    dataset = layout.open()
    assert isinstance(dataset, DavisDataset)
    assert dataset.names == ("bear",)
    assert dataset.single_object == layout.single_object
    assert layout.open(["cow"]).names == ("cow",)


def test_the_split_of_davis_may_be_named(tmp_path):
    write_davis(tmp_path, {"bear": 1})
    layout = Layout.of(tmp_path, "2016val")
    assert (layout.split, layout.single_object) == ("2016val", True)
    with pytest.raises(InputError, match=r"2016/val\.txt: no such list"):
        layout.open()


def test_other_folders_are_opened_whole_and_may_have_a_folder_of_truth(tmp_path):
    root = write_generic(tmp_path, "clip", {0: (1,)}, count=2)
    layout = Layout.of(root)
    assert (layout.root, layout.folder, layout.split) == (root, root, None)
    assert not layout.is_davis
    assert (layout.protocol, layout.resolution, layout.single_object) == ("strict", 480, False)
    assert layout.masks_folder == layout.truth_folder == root / "Annotations"
    (root / "Truth/clip").mkdir(parents=True)
    assert layout.truth_folder == root / "Annotations", "Truth holds no mask"
    shutil.copy(root / "Annotations/clip/00000.png", root / "Truth/clip")
    assert (layout.masks_folder, layout.truth_folder) == (root / "Annotations", root / "Truth")
    dataset = layout.open()
    assert isinstance(dataset, GenericDataset)
    assert dataset.names == ("clip",) == tuple(layout.names())
    with pytest.raises(InputError, match="no sequence 'film'"):
        layout.open(["film"])


@pytest.mark.parametrize("left", ["JPEGImages/480p", "JPEGImages/480p/bear"])
@pytest.mark.parametrize(("empty", "full"), [("trainval", ""), ("", "trainval")])
def test_davis_lies_in_the_folder_that_holds_videos(tmp_path, left, empty, full):
    (tmp_path / empty / left).mkdir(parents=True)
    folder = write_davis(tmp_path / full, {"cow": 1})
    layout = Layout.of(tmp_path)
    assert (layout.folder, layout.split, layout.open().names) == (folder, "val", ("cow",))


@pytest.mark.parametrize("others", [(), ("bear",)])
def test_a_video_named_480p_is_a_video_and_not_the_level_of_davis(tmp_path, others):
    for name in ("480p", *others):
        write_generic(tmp_path, name, {0: (1,)}, count=2)
    layout = Layout.of(tmp_path)
    assert (layout.is_davis, layout.names()) == (False, ["480p", *others])
    assert len(list(layout.open()[0].frames())) == 2
    with pytest.raises(InputError, match="no JPEGImages/480p here or in trainval/"):
        DavisDataset(tmp_path)


def test_plain_folders_are_read_beside_an_empty_level_of_davis(tmp_path):
    (tmp_path / "trainval/JPEGImages/480p").mkdir(parents=True)
    assert Layout.of(tmp_path).is_davis
    write_generic(tmp_path, "clip", {0: (1,)}, count=2)
    assert (Layout.of(tmp_path).is_davis, Layout.of(tmp_path).names()) == (False, ["clip"])


def test_a_picture_beside_the_videos_of_davis_changes_nothing(tmp_path):
    write_davis(tmp_path, {"bear": 1})
    frames = tmp_path / "JPEGImages/480p"
    shutil.copy(frames / "bear/00000.jpg", frames / "preview.jpg")
    assert Layout.of(tmp_path).names() == ["bear"]
