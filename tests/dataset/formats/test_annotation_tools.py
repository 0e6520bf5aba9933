"""Masks of COCO, YouTube-VIS, CVAT and LabelMe: which pixels, which objects, which frames."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageDraw
from toy_masks import HEIGHT, SIZE, WIDTH, boxes, write_masks
from toy_trees import write_jpg, write_png

from dataset.formats import MaskVideo, VideoFrames, read_masks
from dataset.formats.run_lengths import coco_mask_of, encode_mask
from util.palette import DAVIS_PALETTE

coco_mask = pytest.importorskip("pycocotools.mask", reason="pip install pycocotools")

POLYGON = [3.5, 2.0, 20.25, 4.0, 12.0, 17.75]
BOX = [5.0, 3.0, 15.0, 3.0, 15.0, 10.0, 5.0, 10.0]  # columns 5..14, rows 3..9
IN_BOX = boxes(id_1=(5, 3, 15, 10)) > 0


def read_one(path: Path, content: Any, **options: Any) -> MaskVideo:
    """The only video of a file with this content: JSON, or XML as a text."""
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    (video,) = read_masks(path, **options).videos
    return video


def labels(video: MaskVideo) -> list[np.ndarray]:
    return [frame.read() for frame in video.frames]


@pytest.fixture
def frames(tmp_path) -> VideoFrames:
    """Four frames, frame_7.jpg to frame_10.jpg."""
    for number in range(7, 11):
        image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        write_jpg(tmp_path / f"clip/frame_{number}.jpg", image)
    return VideoFrames(tmp_path / "clip")


# COCO


@settings(max_examples=40, deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_run_length_codes_are_those_of_pycocotools(mask):
    code = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    counts = code["counts"].decode()
    assert (coco_mask_of(counts, mask.shape, "here") == mask).all()
    assert encode_mask(mask) == {"size": list(mask.shape), "counts": counts}


def coco(*annotations: dict, names: tuple[str, ...] = ("bear/0.jpg", "bear/1.jpg")) -> dict:
    return {
        "images": [
            {"id": f"image {n}", "file_name": name, "height": HEIGHT, "width": WIDTH}
            for n, name in enumerate(names)
        ],
        "annotations": [
            {"id": n, "image_id": "image 0", "category_id": 7} | annotation
            for n, annotation in enumerate(annotations)
        ],
        "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}],
    }


def test_polygons_are_the_pixels_that_pycocotools_says(tmp_path):
    content = coco({"segmentation": [POLYGON, [30, 1, 36, 1, 36, 20]], "track_id": 5})
    video = read_one(tmp_path / "a.json", content)
    codes = coco_mask.frPyObjects([POLYGON, [30, 1, 36, 1, 36, 20]], *SIZE)
    first, second = labels(video)
    assert (first == 5 * coco_mask.decode(coco_mask.merge(codes))).all() and first.any()
    assert not second.any() and video.name == "bear"
    boxed = read_one(tmp_path / "b.json", coco({"segmentation": [BOX], "track_id": 1}))
    assert (labels(boxed)[0] == IN_BOX).all()


@pytest.mark.parametrize(
    ("annotations", "ids"),
    [
        # one of each category: the category's number
        ([{"category_id": 7}, {"category_id": 3}], (3, 7)),
        # two of a category in the only frame: in order
        ([{}, {}], (1, 2)),
        ([{"track_id": 200}, {"track_id": 1}], (1, 200)),
        ([{"instance_id": 4}, {"attributes": {"track_id": 6}}], (4, 6)),
        ([{"track_id": 0}, {"track_id": 254}], (1, 2)),
        ([{"track_id": 255}], (255,)),
        ([{"track_id": 255}, {"track_id": 3}], (1, 2)),
    ],
)
def test_ids_are_those_of_tracks_or_categories_where_they_fit(tmp_path, annotations, ids):
    shown = [{"segmentation": [BOX]} | annotation for annotation in annotations]
    assert read_one(tmp_path / "a.json", coco(*shown)).object_ids == ids


def test_of_overlapping_objects_the_later_one_counts_and_a_note_says_so(tmp_path):
    left = {"segmentation": [BOX], "track_id": 2}
    right = {"segmentation": [[10, 0, 20, 0, 20, 23, 10, 23]], "track_id": 1}
    video = read_one(tmp_path / "a.json", coco(left, right))
    assert (labels(video)[0] == boxes(id_2=(5, 3, 10, 10), id_1=(10, 0, 20, 23))).all()
    assert video.notes[-1].startswith("bear: objects overlap, first in frame 0")


def test_crowds_and_annotations_without_masks_are_left_out_with_a_note(tmp_path):
    crowd = {"segmentation": {"size": SIZE, "counts": [HEIGHT * WIDTH]}, "iscrowd": 1}
    content = coco(crowd, {"bbox": [0, 0, 2, 2]}, {"segmentation": [BOX]}, {"segmentation": []})
    video = read_one(tmp_path / "a.json", content)
    assert video.notes == [
        "bear: crowds left out: 1",
        "bear: annotations without a mask left out: 2",
    ]
    assert set(np.unique(labels(video)[0])) == {0, 7}


def test_images_without_folders_are_the_video_of_the_files_name(tmp_path):
    names = ("10.jpg", "9.jpg", "./x.png")
    video = read_one(tmp_path / "clip.json", coco({"segmentation": [BOX]}, names=names))
    assert video.name == "clip" and {frame.name for frame in video.frames} == {"10", "9", "x"}


def test_youtube_vis_without_tracks_numbers_objects_by_their_place(tmp_path):
    code = {
        "size": list(SIZE),
        "counts": coco_mask.encode(np.asfortranarray(IN_BOX, np.uint8))["counts"].decode(),
    }
    content = {
        "videos": [
            {
                "id": 9,
                "height": HEIGHT,
                "width": WIDTH,
                "file_names": ["bear/00000.jpg", "bear/00005.jpg"],
            }
        ],
        "annotations": [
            {"id": 41, "video_id": 9, "category_id": 1, "segmentations": [None, None]},
            {"id": 42, "video_id": 9, "category_id": 1, "segmentations": [code, None]},
            {"id": 43, "video_id": 9, "category_id": 1, "segmentations": [None, [BOX]]},
        ],
        "categories": [{"id": 1, "name": "dog"}],
    }
    video = read_one(tmp_path / "a.json", content)
    assert video.name == "bear" and video.object_ids == (2, 3)
    first, second = labels(video)
    assert (first == 2 * IN_BOX).all() and (second == 3 * IN_BOX).all()


# CVAT

SIZE_XML = f"<original_size><width>{WIDTH}</width><height>{HEIGHT}</height></original_size>"
TASK = f"<meta><task><id>4</id><name>clip.mp4</name>{SIZE_XML}</task></meta>"
POINTS = ";".join(f"{x},{y}" for x, y in zip(BOX[::2], BOX[1::2]))
# rows 1 to 2, columns 4 to 6: three pixels of the object, two beside it, one of it
CODE = 'rle="0, 3, 2, 1" left="4" top="1" width="3" height="2"'


def test_cvat_tracks_are_objects_in_numbered_frames(tmp_path):
    video = read_one(
        tmp_path / "annotations.xml",
        f"""<?xml version="1.0" encoding="utf-8"?><annotations>{TASK}
        <track id="3" label="dog" source="manual">
          <mask frame="0" outside="0" keyframe="1" {CODE} z_order="2"></mask>
          <mask frame="7" outside="1" keyframe="1" {CODE}></mask>
        </track>
        <track id="5" label="cat">
          <polygon frame="0" outside="0" points="{POINTS}" z_order="1"></polygon>
          <box frame="2" outside="0" xtl="5" ytl="3" xbr="15" ybr="10"></box>
          <polyline frame="2" outside="0" points="{POINTS}"></polyline>
        </track></annotations>""",
    )
    assert video.name == "clip" and [f.name for f in video.frames] == ["00000", "00002", "00007"]
    assert video.object_ids == (3, 5) and video.objects[3].category == "dog"
    first, second, third = labels(video)
    expected = 5 * IN_BOX.astype(np.uint8)
    expected[1, 4:7] = expected[2, 6] = 3
    assert (first == expected).all() and (second == 5 * IN_BOX).all() and not third.any()
    assert video.notes[0] == "clip: shapes without an area left out: polyline (1)"


def test_cvat_frames_take_the_names_of_the_frames_that_are_given(tmp_path, frames):
    track = f'<track id="1" label="a"><polygon frame="2" points="{POINTS}"/></track>'
    xml = f"<annotations><meta><task><name>clip</name></task></meta>{track}</annotations>"
    video = read_one(tmp_path / "a.xml", xml, frames=frames)
    (frame,) = video.frames
    assert frame.name == "frame_9" and frame.file_name == "clip/frame_9.jpg"
    assert (frame.read() == IN_BOX).all()


def test_cvat_images_are_objects_by_label_and_group(tmp_path):
    size = f'width="{WIDTH}" height="{HEIGHT}"'
    video = read_one(
        tmp_path / "a.xml",
        f"""<annotations><image id="0" name="sub/bear/a9.png" {size}>
          <polygon label="dog" group_id="1" points="{POINTS}"/>
          <box label="dog" group_id="1" xtl="20" ytl="0" xbr="22" ybr="2"/>
          <ellipse label="dog" group_id="2" cx="30" cy="10" rx="3" ry="2" rotation="90"/>
        </image><image id="1" name="sub/bear/a10.png" {size}>
          <box label="dog" group_id="2" xtl="5" ytl="3" xbr="15" ybr="10"/>
        </image></annotations>""",
    )
    assert [frame.name for frame in video.frames] == ["a9", "a10"]
    first, second = labels(video)
    assert ((first == 1) == (IN_BOX | (boxes(id_1=(20, 0, 22, 2)) > 0))).all()
    assert (first == 2).any(1).nonzero()[0].tolist() == list(range(7, 13))
    assert (first == 2).any(0).nonzero()[0].tolist() == [28, 29, 30, 31]
    assert (second == 2 * IN_BOX).all()
    assert "dog (group 1) → 1, dog (group 2) → 2" in video.notes[0]


def test_cvat_json_needs_frames_and_has_masks_at_key_frames(tmp_path, frames):
    code = [0, 3, 2, 1, 4, 1, 6, 2]
    job = {
        "version": 0,
        "tags": [],
        "shapes": [
            {"type": "mask", "frame": 3, "label": "cat", "points": code},
            {"type": "points", "frame": 3, "label": "cat", "points": [1, 1]},
        ],
        "tracks": [
            {
                "label": "dog",
                "frame": 0,
                "shapes": [
                    {"type": "polygon", "frame": 0, "points": BOX, "outside": False},
                    {"type": "polygon", "frame": 1, "points": BOX, "outside": True},
                ],
            }
        ],
    }
    video = read_one(tmp_path / "annotations.json", [job], frames=frames)
    assert [frame.name for frame in video.frames] == ["frame_7", "frame_8", "frame_10"]
    first, second, third = labels(video)
    assert (first == IN_BOX).all() and not second.any()
    assert third[1].tolist()[3:8] == [0, 2, 2, 2, 0] and third.sum() == 8
    assert any("key frames" in note for note in video.notes)


# LabelMe


def labelme(*shapes: dict) -> dict:
    return {
        "version": "5.5.0",
        "imagePath": "..\\images\\anything.jpg",
        "imageHeight": HEIGHT,
        "imageWidth": WIDTH,
        "shapes": [{"label": "dog", "group_id": None, "flags": {}} | shape for shape in shapes],
    }


def png_of(mask: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(mask).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def test_labelme_shapes_cover_the_pixels_that_labelme_draws(tmp_path):
    corners = [[3.5, 2.0], [20.25, 4.0], [12.0, 17.75]]
    drawn = Image.new("1", (WIDTH, HEIGHT))
    ImageDraw.Draw(drawn).polygon([tuple(c) for c in corners], fill=1, outline=1)
    part = np.array([[1, 0], [1, 1]], bool)
    (tmp_path / "bear").mkdir()
    video = read_one(
        tmp_path / "bear/a7.json",
        labelme(
            {"label": "1", "points": corners, "shape_type": "polygon"},
            {
                "label": "7",
                "points": [[30, 5], [31, 6]],
                "shape_type": "mask",
                "mask": png_of(part),
            },
            {"label": "9", "points": [[30, 15], [30, 18]], "shape_type": "circle"},
            {"label": "9", "points": [[0, 0], [9, 9]], "shape_type": "line"},
        ),
    )
    (frame,) = labels(video)
    assert video.name == "bear" and video.frames[0].name == "a7" and video.object_ids == (1, 7, 9)
    assert ((frame == 1) == np.array(drawn)).all()
    assert frame[5:7, 30:32].tolist() == [[7, 0], [7, 7]]
    assert (frame == 9).any(0).nonzero()[0].tolist() == list(range(27, 33))
    assert video.notes == ["bear: shapes without an area left out: line (1)"]


def test_a_folder_of_labelme_files_is_a_video_whose_groups_are_objects(tmp_path):
    folder = tmp_path / "clip"
    rectangle = {"points": [[15, 10], [5, 3]], "shape_type": "rectangle"}
    other = {"points": [[20, 3], [30, 10]], "shape_type": "rectangle", "group_id": 5}
    folder.mkdir()
    for number, shapes in ((9, [rectangle, other]), (10, [other]), (11, [])):
        (folder / f"{number}.json").write_text(json.dumps(labelme(*shapes)))
        write_png(folder / f"{number}.png", boxes())  # the images that were annotated
    imported = read_masks(folder)
    (video,) = imported.videos
    assert imported.format.name == "labelme" and [f.name for f in video.frames] == ["9", "10", "11"]
    first, second, third = labels(video)
    assert (first == boxes(id_1=(5, 3, 15, 10), id_2=(20, 3, 30, 10))).all()
    assert (second == boxes(id_2=(20, 3, 30, 10))).all() and not third.any()


# Mask files


def test_mask_files_are_read_as_everywhere(tmp_path):
    ids = boxes(id_1=(1, 1, 12, 12), id_2=(15, 3, 30, 20))
    coloured = Image.fromarray(ids)
    coloured.putpalette(DAVIS_PALETTE)
    (tmp_path / "bear").mkdir()
    coloured.convert("RGB").save(tmp_path / "bear/0.png")
    (video,) = read_masks(tmp_path, colours=DAVIS_PALETTE).videos
    assert (labels(video)[0] == ids).all() and video.object_ids == (1, 2)
    (numbered,) = read_masks(tmp_path, colours="auto").videos
    assert numbered.object_ids == (1, 2) and "--palette auto" in numbered.notes[0]
    photograph = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    cut_out = np.dstack((photograph, (IN_BOX * 255).astype(np.uint8)))
    Image.fromarray(cut_out).save(tmp_path / "cut.png")
    (video,) = read_masks(tmp_path / "cut.png").videos
    assert (labels(video)[0] == IN_BOX).all() and "alpha" in video.notes[0]


def test_masks_are_found_in_the_folders_of_data_sets(tmp_path):
    frame = boxes(id_3=(1, 1, 9, 9))
    write_masks(tmp_path / "davis/Annotations/480p", {"bear": {"00000": frame}})
    write_masks(tmp_path / "youtube/Annotations", {"bear": {"00000": frame}})
    write_masks(tmp_path / "one", {".": {"00000": frame}})
    meta = {"videos": {"bear": {"objects": {"3": {"category": "dog", "frames": ["00000"]}}}}}
    (tmp_path / "youtube/meta.json").write_text(json.dumps(meta))
    for name, video_name in (("davis", "bear"), ("youtube", "bear"), ("one", "one")):
        imported = read_masks(tmp_path / name)
        (video,) = imported.videos
        assert imported.format.name == "png" and video.name == video_name
        assert (labels(video)[0] == frame).all()
    assert read_masks(tmp_path / "youtube").videos[0].objects[3].category == "dog"
