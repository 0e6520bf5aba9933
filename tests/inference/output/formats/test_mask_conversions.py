"""Masks of videos in other formats: what is written comes back equal."""

import json

import numpy as np
import pytest
from toy_masks import SIZE, VIDEOS, as_lists, boxes, labels_of, write_masks

from dataset.formats import read_masks
from inference.output.formats import EXPORTS, convert_masks, export_masks

coco_mask = pytest.importorskip("pycocotools.mask", reason="pip install pycocotools")

READABLE = ["png", "davis", "youtube-vos", "coco", "ytvis"]


@pytest.fixture(scope="module")
def masks(tmp_path_factory):
    return write_masks(tmp_path_factory.mktemp("masks"))


@pytest.fixture(scope="module")
def converted(masks, tmp_path_factory):
    """The toy masks in every format that can be read again, by its name."""
    root = tmp_path_factory.mktemp("converted")
    paths = {}
    for name in READABLE:
        paths[name] = root / (f"{name}.json" if EXPORTS[name].is_file else name)
        convert_masks(masks, paths[name], name)
    return paths


@pytest.mark.parametrize("name", READABLE)
def test_masks_come_back_equal(converted, name):
    assert labels_of(read_masks(converted[name]).videos) == as_lists(VIDEOS)


@pytest.mark.parametrize("first", ["coco", "ytvis"])
@pytest.mark.parametrize("second", READABLE)
def test_masks_survive_two_conversions(converted, tmp_path, first, second):
    out = tmp_path / ("out.json" if EXPORTS[second].is_file else "out")
    convert_masks(converted[first], out, second)
    assert labels_of(read_masks(out).videos) == as_lists(VIDEOS)


def test_pycocotools_decodes_what_is_written_for_coco(converted):
    content = json.loads(converted["coco"].read_text())
    images = {image["id"]: image["file_name"] for image in content["images"]}
    assert len(images) == 7  # frames without objects are listed, too
    shown = {name: np.zeros(SIZE, np.uint8) for name in images.values()}
    for annotation in content["annotations"]:
        mask = coco_mask.decode(annotation["segmentation"])
        assert annotation["area"] == coco_mask.area(annotation["segmentation"])
        assert annotation["bbox"] == coco_mask.toBbox(annotation["segmentation"]).tolist()
        shown[images[annotation["image_id"]]] += mask * np.uint8(annotation["track_id"])
    assert {
        f"{video}/{frame}.jpg": labels.tolist()
        for video, frames in VIDEOS.items()
        for frame, labels in frames.items()
    } == {name: labels.tolist() for name, labels in shown.items()}


def test_youtube_vis_has_null_where_an_object_is_not_shown(converted):
    content = json.loads(converted["ytvis"].read_text())
    bear = content["videos"][0]
    assert bear["file_names"][1] == "bear/00005.jpg" and bear["length"] == 5
    assert (bear["height"], bear["width"]) == SIZE
    shown = {
        annotation["track_id"]: [code is not None for code in annotation["segmentations"]]
        for annotation in content["annotations"]
        if annotation["video_id"] == bear["id"]
    }
    assert shown[1] == [True, True, False, False, True]
    assert shown[200] == [False, True, False, True, False]
    assert shown[254] == [False, False, False, False, True]
    ids = [annotation["id"] for annotation in content["annotations"]]
    assert len(set(ids)) == len(ids) == 5


def test_meta_json_lists_the_frames_that_show_an_object(converted):
    videos = json.loads((converted["youtube-vos"] / "meta.json").read_text())["videos"]
    frames = {index: entry["frames"] for index, entry in videos["bear"]["objects"].items()}
    assert frames == {
        "1": ["00000", "00005", "00020"],
        "9": ["00015"],
        "200": ["00005", "00015"],
        "254": ["00020"],
    }
    assert list(videos["lion"]["objects"]) == ["255"]


def test_categories_and_numbers_of_the_source_are_written_again(tmp_path):
    code = {"size": list(SIZE), "counts": [0, 5, SIZE[0] * SIZE[1] - 5]}
    content = {
        "images": [
            {"id": 77, "file_name": "bear/0.jpg", "height": SIZE[0], "width": SIZE[1]},
            {"id": 5, "file_name": "bear/1.jpg", "height": SIZE[0], "width": SIZE[1]},
        ],
        "annotations": [
            {"id": 1, "image_id": 77, "category_id": 18, "track_id": 900, "segmentation": code},
            {"id": 2, "image_id": 5, "category_id": 3, "track_id": 0, "segmentation": code},
        ],
        "categories": [{"id": 3, "name": "car"}, {"id": 18, "name": "dog"}],
    }
    source = tmp_path / "in.json"
    source.write_text(json.dumps(content))
    (video,) = convert_masks(source, tmp_path / "out.json", "coco").videos
    assert video.object_ids == (1, 2)
    assert video.notes == ["bear: objects are numbered: track 0 → 1, track 900 → 2"]
    written = json.loads((tmp_path / "out.json").read_text())
    assert written["categories"] == content["categories"]
    kept = [(a["category_id"], a["track_id"]) for a in written["annotations"]]
    assert kept == [(18, 900), (3, 0)]
    convert_masks(source, tmp_path / "youtube", "youtube-vos")
    (again,) = read_masks(tmp_path / "youtube").videos
    assert [info.category for info in again.objects.values()] == ["car", "dog"]


def test_void_stays_in_mask_files_and_is_no_object_elsewhere(tmp_path):
    labels = boxes(id_4=(1, 1, 20, 20), id_255=(20, 1, 30, 20))
    source = write_masks(tmp_path / "in", {"bear": {"0": labels}})
    convert_masks(source, tmp_path / "davis", "davis")
    (video,) = read_masks(tmp_path / "davis").videos
    assert (video.frames[0].read() == labels).all() and video.object_ids == (4,)
    assert "void" in video.notes[0]
    convert_masks(source, tmp_path / "coco.json", "coco")
    (video,) = read_masks(tmp_path / "coco.json").videos
    assert (video.frames[0].read() == np.where(labels == 255, 0, labels)).all()


def test_some_objects_alone_can_be_converted(masks, tmp_path):
    videos = [video for video in read_masks(masks).videos if video.name == "bear"]
    export_masks([videos[0].only({200, 9})], tmp_path / "out", "png")
    (video,) = read_masks(tmp_path / "out").videos
    assert video.object_ids == (9, 200) and len(video.frames) == 5
    wanted = np.where(np.isin(VIDEOS["bear"]["00015"], (9, 200)), VIDEOS["bear"]["00015"], 0)
    assert (video.frames[3].read() == wanted).all()
