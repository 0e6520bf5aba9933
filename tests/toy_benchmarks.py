"""Toy benchmarks in their documented layouts, and checkers of submissions.

The checkers follow the published descriptions alone: MOSE-api's README and score.py, the
evaluation_codalab.py and README of LVOS's toolkit, VOST's evaluation code, and VIPOSeg's README and
vop_eval.py.

Legend: T frames.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image
from toy_trees import file_names, toy_frames, write_jpg, write_png

LVOS_STEP = 5  # frame numbers from one published frame to the next
VOID = 255


def write_mose(root: Path, videos: Mapping[str, int], split: str = "valid") -> Path:
    """Videos by their numbers of frames; only the first frame has a mask."""
    for seed, (name, count) in enumerate(videos.items()):
        images, labels = toy_frames(count, seed)
        for index in range(count):
            write_jpg(root / f"{split}/JPEGImages/{name}/{index:05d}.jpg", images[index])
        write_png(root / f"{split}/Annotations/{name}/00000.png", labels[0])
    return root


def lvos_name(position: int) -> str:
    """The stem of the frame at a position of an LVOS video."""
    return f"{1 + LVOS_STEP * position:08d}"


def write_lvos(root: Path, names: tuple[str, ...] = ("aaa", "bbb"), count: int = 6) -> Path:
    """Videos with a mask for every frame: object 1 is absent from frame 2, object 2 joins at 3."""
    videos = {}
    for seed, name in enumerate(names):
        images, labels = toy_frames(count, seed)
        labels[:3][labels[:3] == 2] = 0
        labels[2] = 0
        for position in range(count):
            stem = lvos_name(position)
            write_jpg(root / f"val/JPEGImages/{name}/{stem}.jpg", images[position])
            write_png(root / f"val/Annotations/{name}/{stem}.png", labels[position])
        spans = {"1": (0, count), "2": (3, count)}
        videos[name] = {
            "objects": {
                object_id: {
                    "frame_range": {
                        "start": str(int(lvos_name(start))),
                        "end": str(int(lvos_name(end - 1))),
                        "frame_nums": str(end - start),
                    }
                }
                for object_id, (start, end) in spans.items()
            }
        }
    (root / "val/val_meta.json").write_text(json.dumps({"videos": videos}))
    (root / "val/unseen_videos.txt").write_text(f"{names[0]}\nelsewhere")
    return root


def vost_name(position: int) -> str:
    """The stem of a frame at 10 frames per second."""
    return f"frame{6 * position:05d}"


def write_vost(root: Path, names: tuple[str, ...] = ("1_cut_onion",), count: int = 9) -> Path:
    """Videos at 10 frames per second, with masks at 5: objects 1 and 2, void, and 3 that joins."""
    for seed, name in enumerate(names):
        images, labels = toy_frames(count, seed)
        labels[:, :4, :8] = VOID
        labels[2:, 40:, 40:] = 3
        for position in range(count):
            stem = vost_name(position)
            write_jpg(root / f"JPEGImages_10fps/{name}/{stem}.jpg", images[position])
            if position % 2 == 0:
                write_jpg(root / f"JPEGImages/{name}/{stem}.jpg", images[position])
                write_png(root / f"Annotations/{name}/{stem}.png", labels[position])
    (root / "ImageSets").mkdir(exist_ok=True)
    (root / "ImageSets/val.txt").write_text("\n".join(names))
    return root


def write_viposeg(root: Path, names: tuple[str, ...] = ("1_abc", "2_def"), count: int = 5) -> Path:
    """Videos with two objects, of which the second joins at frame 2; the truth lies apart."""
    for seed, name in enumerate(names):
        images, labels = toy_frames(count, seed)
        labels[:2][labels[:2] == 2] = 0
        for index in range(count):
            write_jpg(root / f"valid/JPEGImages/{name}/{index:08d}.jpg", images[index])
            write_png(root / f"valid/Annotations_gt/{name}/{index:08d}.png", labels[index])
        write_png(root / f"valid/Annotations/{name}/{0:08d}.png", labels[0])
        write_png(root / f"valid/Annotations/{name}/{2:08d}.png", labels[2] * (labels[2] == 2))
    return root


def check_png(path: Path, size: tuple[int, int], ids: set[int]) -> None:
    """An indexed PNG of the frame's size that holds the background and these ids at most."""
    with Image.open(path) as image:
        assert image.format == "PNG" and image.mode == "P", path
        assert image.size == size, path
        assert set(np.unique(image).tolist()) <= {0, *ids}, path


def size_of(image: Path) -> tuple[int, int]:
    with Image.open(image) as opened:
        return opened.size


def check_mose(submission: Path, data: Path) -> None:
    """A folder per video of valid, with an indexed PNG for each of its frames, and no other."""
    videos = data / "valid/JPEGImages"
    assert [path for path in file_names(submission) if (submission / path).is_dir()] == file_names(
        videos
    )
    for name in file_names(videos):
        frames = sorted((videos / name).glob("*.jpg"))
        assert file_names(submission / name) == [f"{frame.stem}.png" for frame in frames]
        first = np.asarray(Image.open(data / f"valid/Annotations/{name}/00000.png"))
        for frame in frames:
            result = submission / name / f"{frame.stem}.png"
            check_png(result, size_of(frame), set(np.unique(first).tolist()))


def check_lvos(submission: Path, data: Path) -> None:
    """In Annotations, several folders, among them all videos of the meta file; in each of them the
    frames of every object, five numbers apart."""
    folder = submission / "Annotations"
    videos = json.loads((data / "val/val_meta.json").read_text())["videos"]
    assert len(file_names(folder)) > 1
    for name, video in videos.items():
        for entry in video["objects"].values():
            span = entry["frame_range"]
            for number in range(int(span["start"]), int(span["end"]), LVOS_STEP):
                frame = data / f"val/JPEGImages/{name}/{number:08d}.jpg"
                ids = {int(object_id) for object_id in video["objects"]}
                check_png(folder / name / f"{number:08d}.png", size_of(frame), ids)


def check_vost(submission: Path, data: Path) -> None:
    """A folder per video of the list, with a PNG for each annotated frame but the first and the
    last, whose ids are at most the largest of the first mask."""
    for name in (data / "ImageSets/val.txt").read_text().split():
        masks = sorted((data / "Annotations" / name).glob("*.png"))
        first = np.asarray(Image.open(masks[0]))
        largest = int(first[first != VOID].max())
        for mask in masks[1:-1]:
            result = submission / name / mask.name
            check_png(result, size_of(mask), set(range(1, largest + 1)))


def check_viposeg(submission: Path, data: Path) -> None:
    """In a folder that holds nothing else, a folder per video, with a PNG for each frame of the
    truth and no other."""
    folder, truth = submission / "Annotations", data / "valid/Annotations_gt"
    assert file_names(folder) == file_names(truth)
    for name in file_names(truth):
        assert file_names(folder / name) == file_names(truth / name)
        for frame in file_names(truth / name):
            check_png(folder / name / frame, size_of(truth / name / frame), {1, 2})


def write_burst(root: Path, sequence: dict[str, object]) -> Path:
    """An annotation file of one sequence, and its frames. sequence: entries that differ from those
    of a video of 7 frames, of which every third is annotated."""
    images, _ = toy_frames(7, 0)
    names = [f"frame{index:04d}.jpg" for index in range(7)]
    entry = {
        "width": images.shape[2],
        "height": images.shape[1],
        "id": 4,
        "seq_name": "scene_0_967-2279",
        "dataset": "HACS",
        "fps": 30,
        "all_image_paths": names,
        "annotated_image_paths": names[::3],
        "neg_category_ids": [],
        "not_exhaustive_category_ids": [],
        "track_category_ids": {"1": 805, "2": 95},
        "segmentations": [{}, {}, {}],
        **sequence,
    }
    for name, image in zip(names, images, strict=True):
        write_jpg(root / f"frames/HACS/scene_0_967-2279/{name}", image)
    content = {"sequences": [entry], "categories": [], "split": "val"}
    (root / "annotations.json").write_text(json.dumps(content))
    return root
