"""Masks as COCO's JSON of images and as YouTube-VIS's of videos, with compressed run-length codes.

Both hold the ids as track_id, so that they come back as they were.

Sources: cocodataset.org, 'Data format'; the YouTube-VIS challenge's description of its label files.
"""

import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dataset.formats import MaskFrame, MaskVideo, ObjectInfo
from dataset.formats.run_lengths import encode_mask
from inference.output.formats.label_maps import DEFAULT_CATEGORY
from inference.output.formats.options import ExportOptions
from util.files import atomic_write

_IMAGE_SUFFIX = ".jpg"


def write_coco(videos: Sequence[MaskVideo], out: Path, options: ExportOptions) -> None:
    """A file of videos, images, categories, and an annotation for each object in each frame."""
    categories = _Categories(videos)
    images: list[dict] = []
    annotations: list[dict] = []
    for video_id, video in enumerate(videos, 1):
        for frame in video.frames:
            height, width = frame.size
            image = {
                "id": len(images) + 1,
                "file_name": _file_name(video, frame),
                "width": width,
                "height": height,
                "video_id": video_id,
            }
            images.append(image)
            for object_id, coded in _coded_masks(video, frame):
                info = video.objects[object_id]
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": image["id"],
                        "category_id": categories.id_of(info),
                        "track_id": _track_id(object_id, info),
                        "segmentation": coded.code,
                        "area": coded.area,
                        "bbox": coded.box,
                        "iscrowd": 0,
                    }
                )
    content = {
        "videos": [{"id": n, "name": video.name} for n, video in enumerate(videos, 1)],
        "images": images,
        "annotations": annotations,
        "categories": categories.entries(),
    }
    _write(out, content)


def write_youtube_vis(videos: Sequence[MaskVideo], out: Path, options: ExportOptions) -> None:
    """A file of videos, categories, and an annotation for each object of each video, with null for
    the frames that do not show it. Raises InputError for a video whose frames differ in size."""
    categories = _Categories(videos)
    entries: list[dict] = []
    annotations: list[dict] = []
    for video_id, video in enumerate(videos, 1):
        height, width = video.size()
        length = len(video.frames)
        common = {"width": width, "height": height, "length": length}
        names = [_file_name(video, frame) for frame in video.frames]
        entries.append({"id": video_id, "name": video.name, **common, "file_names": names})
        masks = {object_id: [None] * length for object_id in video.objects}
        for position, frame in enumerate(video.frames):
            for object_id, coded in _coded_masks(video, frame):
                masks[object_id][position] = coded
        for object_id, found in masks.items():
            info = video.objects[object_id]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "video_id": video_id,
                    "category_id": categories.id_of(info),
                    "track_id": _track_id(object_id, info),
                    **common,
                    "segmentations": [coded and coded.code for coded in found],
                    "areas": [coded and coded.area for coded in found],
                    "bboxes": [coded and coded.box for coded in found],
                    "iscrowd": 0,
                }
            )
    content = {"videos": entries, "annotations": annotations, "categories": categories.entries()}
    _write(out, content)


class _CodedMask(NamedTuple):
    """code: see encode_mask. area: pixels. box: x, y, width, height of the mask."""

    code: dict
    area: int
    box: list[int]


def _coded_masks(video: MaskVideo, frame: MaskFrame) -> Iterator[tuple[int, _CodedMask]]:
    """The objects that a frame shows, with their masks."""
    labels = frame.read()
    for object_id in video.objects:
        mask = labels == object_id
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if rows.size:
            left, top = int(columns[0]), int(rows[0])
            box = [left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1]
            yield object_id, _CodedMask(encode_mask(mask), int(mask.sum()), box)


class _Categories:
    """The categories of all objects, by the numbers that their source has, or else from 1."""

    def __init__(self, videos: Sequence[MaskVideo]):
        infos = [info for video in videos for info in video.objects.values()]
        stated = {info.category_id: _category(info) for info in infos}
        names = dict.fromkeys(map(_category, infos))
        is_stated = None not in stated and all(
            stated[info.category_id] == _category(info) for info in infos
        )
        self._ids = None if is_stated else dict(zip(names, itertools.count(1)))
        self._entries = stated if is_stated else {index: name for name, index in self._ids.items()}

    def id_of(self, info: ObjectInfo) -> int:
        return info.category_id if self._ids is None else self._ids[_category(info)]

    def entries(self) -> list[dict]:
        return [{"id": index, "name": name} for index, name in sorted(self._entries.items())]


def _category(info: ObjectInfo) -> str:
    return info.category or DEFAULT_CATEGORY


def _track_id(object_id: int, info: ObjectInfo) -> int:
    return object_id if info.track_id is None else info.track_id


def _file_name(video: MaskVideo, frame: MaskFrame) -> str:
    return frame.file_name or f"{video.name}/{frame.name}{_IMAGE_SUFFIX}"


def _write(path: Path, content: Any) -> None:
    """Without spaces between values, since codes of thousands of masks make large files."""
    with atomic_write(path) as file:
        file.write((json.dumps(content, separators=(",", ":")) + "\n").encode())
