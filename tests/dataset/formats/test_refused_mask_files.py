"""Wrong files of masks, and the words of the one line that refuses each."""

import json
from typing import Any

import numpy as np
import pytest
from media_trees import check_refused
from toy_masks import HEIGHT, SIZE, WIDTH, boxes, write_masks
from toy_trees import write_jpg

from dataset.formats import VideoFrames, read_masks, shapes

pytest.importorskip("pycocotools", reason="pip install pycocotools")

CODE = {"size": list(SIZE), "counts": [5, 3, HEIGHT * WIDTH - 8]}
IMAGE = {"id": 1, "file_name": "bear/0.jpg", "height": HEIGHT, "width": WIDTH}
ANNOTATION = {"id": 8, "image_id": 1, "category_id": 1, "track_id": 1, "segmentation": CODE}
COCO = {"images": [IMAGE], "annotations": [ANNOTATION], "categories": [{"id": 1, "name": "a"}]}
VIDEO = {"id": 1, "name": "bear", "height": HEIGHT, "width": WIDTH, "file_names": ["0.jpg"]}
OBJECT = {"id": 1, "video_id": 1, "category_id": 1, "segmentations": [CODE]}
LABELME = {"imagePath": "a.jpg", "imageHeight": HEIGHT, "imageWidth": WIDTH}
SHAPE = {"label": "dog", "shape_type": "polygon", "points": [[0, 0], [9, 0], [9, 9]]}


def image(**values: Any) -> dict:
    return COCO | {"images": [IMAGE | values]}


def annotation(**values: Any) -> dict:
    return COCO | {"annotations": [ANNOTATION | values]}


def counts(value: Any) -> dict:
    return annotation(segmentation=CODE | {"counts": value})


def ytvis(video: dict, **values: Any) -> dict:
    return {"videos": [VIDEO | video], "annotations": [OBJECT | values]}


def labelme(*shapes: dict, **values: Any) -> dict:
    return LABELME | {"shapes": [SHAPE | shape for shape in shapes]} | values


def cvat(element: str, attributes: str = f'width="{WIDTH}" height="{HEIGHT}"') -> str:
    return f'<annotations><image id="0" name="0.png" {attributes}>{element}</image></annotations>'


MASK = '<mask label="a" rle="{}" left="{}" top="0" width="2" height="2"/>'
TRACK = '<annotations><track id="0" label="a"><box frame="0"/></track></annotations>'
REFUSED: dict[str, tuple[Any, str]] = {
    "no file": (None, "no such file or folder"),
    "no JSON": ("{", "not JSON"),
    "another JSON": ({"a": 1}, "of no format that is read; give one of"),
    "a list of results": ([ANNOTATION], "a list of results does not say how large frames are"),
    "no images": (COCO | {"images": [], "annotations": []}, "no frames with masks"),
    "a file name that leads outside": (image(file_name="../0.jpg"), "leads to another folder"),
    "an absolute file name": (image(file_name="/etc/0.jpg"), "an absolute path"),
    "a file name of Windows": (image(file_name="a\\..\\0.jpg"), "leads to another folder"),
    "a video name that leads outside": (ytvis({"name": "a/../.."}), "leads to another folder"),
    "a file name that is a number": (image(file_name=7), "'file_name' is 7; a text is needed"),
    "no height": (image(height=None), "'height' is missing; a whole number is needed"),
    "half a pixel": (image(height=2.5), "'height' is 2.5; a whole number"),
    "a truth value as height": (image(height=True), "'height' is True; a whole number"),
    "a frame beyond memory": (image(height=10**6, width=10**6), "1000000x1000000; 1 to"),
    "two images of one id": (
        COCO | {"images": [IMAGE, IMAGE | {"file_name": "1.jpg"}]},
        "'id' is 1",
    ),
    "two images of one name": (
        COCO | {"images": [IMAGE, IMAGE | {"id": 2}]},
        "frame 0 of bear, too",
    ),
    "an unknown image": (annotation(image_id=5), "'image_id' is 5; no image has this id"),
    "an unknown category": (annotation(category_id=5), "no category has this id"),
    "a track of text": (annotation(track_id="a"), "'track_id' is 'a'; a whole number"),
    "a mask alone is a box": (annotation(segmentation=None), "no masks, only annotations without"),
    "a mask of another size": (
        annotation(segmentation=CODE | {"size": [9, 8]}),
        "mask of 8x9 for a frame of 37x23",
    ),
    "runs that are too short": (counts([5, 3]), "runs of 8 pixels in all for 37x23, which has 851"),
    "runs that are too long": (counts([5, 3, 10**9]), "runs of 1,000,000,008 pixels"),
    "negative runs": (counts([-1, 852]), "whole numbers are needed"),
    "runs of text": (counts(["a"]), "whole numbers are needed"),
    "a code of another size": (counts("9250<"), "pixels in all for 37x23"),
    "a code that is cut off": (counts("S1`"), "cut off"),
    "a code of other characters": (counts("é"), "'é' in a compressed run-length code"),
    "a code without end": (counts("o" * 40), "a run too long for any frame"),
    "a polygon of two corners": (annotation(segmentation=[[1, 2, 3, 4]]), "three corners at least"),
    "an odd polygon": (annotation(segmentation=[[1, 2, 3, 4, 5, 6, 7]]), "three corners at least"),
    "a polygon of text": (annotation(segmentation=[["a"] * 6]), "finite numbers are needed"),
    "a polygon without end": (
        annotation(segmentation=[[0, 0, 1e999, 0, 5, 5]]),
        "finite numbers are needed",
    ),
    "a polygon far outside": (annotation(segmentation=[[0, 0, 1e6, 0, 5, 5]]), "far outside the"),
    "a segmentation of text": (annotation(segmentation="abc"), "an object with named values"),
    "objects without tracks in several frames": (
        {
            "images": [IMAGE, IMAGE | {"id": 2, "file_name": "bear/1.jpg"}],
            "annotations": [
                {"image_id": number, "category_id": 1, "segmentation": CODE} for number in (1, 1, 2)
            ],
        },
        "without a track or group",
    ),
    "hundreds of objects": (
        COCO | {"annotations": [ANNOTATION | {"track_id": n} for n in range(300)]},
        "300 objects; a mask of 8 bits holds 254",
    ),
    "no file names": (ytvis({"file_names": []}), "the names of the frames' images are needed"),
    "too few segmentations": (ytvis({}, segmentations=[]), "0 segmentations for 1 frame of bear"),
    "no polygons": (ytvis({}, segmentations=[[]]), "no polygon; a list of corners"),
    "an unknown video": (ytvis({}, video_id=3), "no video has this id"),
    "a frame twice": (ytvis({"file_names": ["0.jpg", "0.png"]}), "a frame is named twice"),
    "no XML": ("<a", "not XML"),
    "another XML": ("<a/>", "of no format that is read"),
    "XML with entities": ("<!DOCTYPE a [<!ENTITY b 'c'>]><annotations/>", "with declarations"),
    "nothing in the XML": ("<annotations/>", "no images and no tracks"),
    "tracks without a size": (TRACK, "does not say how large frames are; add --frames"),
    "a box without numbers": (cvat('<box label="a" xtl="a"/>'), "numbers between commas"),
    "an image without width": (cvat("", 'height="4"'), "no attribute 'width'"),
    "a CVAT mask that is cut off": (
        cvat(MASK.format("1, 2", 0)),
        "runs of 3 pixels in all for 2x2",
    ),
    "a CVAT mask outside": (cvat(MASK.format("1, 3", 36)), "a mask in columns 36 to 37"),
    "CVAT's JSON without frames": ({"shapes": [], "tracks": []}, "add --frames, or export XML"),
    "a LabelMe polygon of two points": (labelme({"points": [[0, 0], [1, 1]]}), "three corners"),
    "a LabelMe point of three values": (
        labelme({"points": [[0, 0, 0]] * 3}),
        r"\[x, y\] is needed",
    ),
    "a LabelMe mask that is no image": (
        labelme({"shape_type": "mask", "points": [[0, 0], [1, 1]], "mask": "AAAA"}),
        "mask: not an image",
    ),
    "a LabelMe mask that is not base64": (
        labelme({"shape_type": "mask", "points": [[0, 0], [1, 1]], "mask": "ä"}),
        "not base64",
    ),
    "a LabelMe box of three points": (
        labelme({"shape_type": "rectangle", "points": [[0, 0]] * 3}),
        "two points of x, y are needed",
    ),
    "a LabelMe file without a size": (
        labelme(SHAPE, imageHeight=None),
        "'imageHeight' is missing",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_wrong_file_is_refused_in_one_line(tmp_path, case):
    content, words = REFUSED[case]
    is_xml = isinstance(content, str) and content.startswith("<")
    path = tmp_path / ("in.xml" if is_xml else "in.json")
    if content is not None:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    check_refused(lambda: read_all(path), words)


def read_all(path, **options: Any) -> None:
    for video in read_masks(path, **options).videos:
        for frame in video.frames:
            frame.read()


def test_masks_that_do_not_belong_to_the_frames_are_refused(tmp_path):
    for name in ("0", "1"):
        write_jpg(tmp_path / f"clip/{name}.jpg", np.zeros((HEIGHT, WIDTH, 3), np.uint8))
        write_jpg(tmp_path / f"small/{name}.jpg", np.zeros((HEIGHT - 1, WIDTH, 3), np.uint8))
    masks = write_masks(tmp_path / "masks", {"clip": {"0": boxes(), "7": boxes()}})
    good = write_masks(tmp_path / "good", {"clip": {"1": boxes(id_1=(1, 1, 9, 9))}})
    two = write_masks(tmp_path / "two", {"clip": {"1": boxes()}, "bear": {"1": boxes()}})
    clip = VideoFrames(tmp_path / "clip")
    small = VideoFrames(tmp_path / "small")
    check_refused(lambda: read_all(masks, frames=clip), "no frame 7 in")
    check_refused(lambda: read_all(good, frames=small), "mask of 37x23 for frames of 37x22")
    check_refused(lambda: read_all(two, frames=clip), "frames of one video, but masks of 2")
    check_refused(lambda: VideoFrames(tmp_path / "nowhere"), "no such frames")
    several = VideoFrames(tmp_path)
    check_refused(lambda: read_all(two, frames=several), "no frames of bear; bear/ or a video file")


def test_without_pycocotools_polygons_end_in_one_line_and_codes_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(shapes, "coco_mask", None)
    path = tmp_path / "in.json"
    path.write_text(json.dumps(annotation(segmentation=[[0, 0, 9, 0, 9, 9]])))
    check_refused(lambda: read_all(path), "pip install pycocotools")
    path.write_text(json.dumps(COCO))
    read_all(path)
