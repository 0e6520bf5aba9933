"""COCO's JSON files of images, and YouTube-VIS's of videos.

Sources: cocodataset.org, 'Data format'; the YouTube-VIS challenge's description of its label files.

Legend: H W height and width of a frame in pixels.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dataset.formats.documents import Document
from dataset.formats.fields import Fields
from dataset.formats.mask_video import MaskVideo
from dataset.formats.names import frame_name, video_name
from dataset.formats.options import ImportOptions
from dataset.formats.regions import FrameEntry, Region, video_of_regions
from dataset.formats.run_lengths import coco_mask_of, runs_mask
from dataset.formats.shapes import Size, polygons_mask
from dataset.image_file import size_text
from util.errors import InputError
from util.text import counted, short_repr

_TRACK_NAMES = ("track_id", "instance_id")


def is_coco(document: Document) -> bool:
    """Whether a file lists images and annotations."""
    return _has_lists(document, "images", "annotations")


def is_youtube_vis(document: Document) -> bool:
    """Whether a file lists videos and annotations, without images."""
    return _has_lists(document, "videos", "annotations") and not is_coco(document)


def _has_lists(document: Document, *names: str) -> bool:
    content = document.json
    return isinstance(content, dict) and all(isinstance(content.get(n), list) for n in names)


def read_coco(document: Document, options: ImportOptions) -> list[MaskVideo]:
    """The videos of a COCO file: by video_id, or by the folders in the images' names.

    track_id or instance_id, of an annotation or of its attributes, says which object it shows.
    Crowds and annotations without a mask are left out, with a note. Raises InputError for entries
    that are missing, repeated or malformed.
    """
    content = document.fields()
    categories = _read_categories(content)
    videos = {
        video.identifier("id"): video_name(video.text("name"), video.where)
        for video in content.entries("videos", "video", default=[])
        if video.has("name")
    }
    images: dict[int | str, tuple[str, str, FrameEntry]] = {}
    frames: dict[str, dict[str, FrameEntry]] = {}
    for image in content.entries("images", "image"):
        file_name = image.text("file_name")
        folder, frame = frame_name(file_name, image.where)
        known = videos.get(image.any("video_id")) if image.has("video_id") else None
        video = known or folder or document.path.stem
        entry = FrameEntry(size=image.size(), file_name=file_name)
        if image.identifier("id") in images:
            raise image.error("id", "another image has it; give each an id of its own")
        if frames.setdefault(video, {}).setdefault(frame, entry) is not entry:
            raise image.error("file_name", f"another image is frame {frame} of {video}, too")
        images[image.identifier("id")] = video, frame, entry
    regions: dict[str, list[Region]] = {video: [] for video in frames}
    notes: dict[str, int] = {}
    for annotation in content.entries("annotations", "annotation"):
        if (image_id := annotation.identifier("image_id")) not in images:
            raise annotation.error("image_id", "no image has this id; add the image's entry")
        video, frame, entry = images[image_id]
        segmentation = annotation.any("segmentation")
        if reason := _reason_to_skip(annotation, segmentation):
            notes[reason] = notes.get(reason, 0) + 1
            continue
        regions[video].append(_region(annotation, frame, segmentation, entry.size, categories))
    return _videos(frames, regions, notes, document)


def read_youtube_vis(document: Document, options: ImportOptions) -> list[MaskVideo]:
    """The videos of a YouTube-VIS file. An annotation is an object; null means that a frame does
    not show it. Its id is its track_id, or its place among the video's annotations, from 1.

    Raises InputError as read_coco.
    """
    content = document.fields()
    categories = _read_categories(content)
    videos: dict[int | str, tuple[str, list[str], Size]] = {}
    frames: dict[str, dict[str, FrameEntry]] = {}
    for video in content.entries("videos", "video"):
        names = video.array("file_names")
        if not names or not all(isinstance(name, str) for name in names):
            raise video.error("file_names", "the names of the frames' images are needed")
        found = [frame_name(name, video.where) for name in names]
        stated = video.text("name", None) or found[0].video or str(video.identifier("id"))
        name = video_name(stated, video.where)
        size = video.size()
        if video.identifier("id") in videos or name in frames:
            raise video.error("id", f"another video has it, or its name {name}, too")
        frames[name] = {
            found[n].frame: FrameEntry(size=size, file_name=names[n]) for n in range(len(names))
        }
        if len(frames[name]) < len(names):
            raise video.error("file_names", "a frame is named twice")
        videos[video.identifier("id")] = name, [one.frame for one in found], size
    regions: dict[str, list[Region]] = {name: [] for name in frames}
    annotations = content.entries("annotations", "annotation")
    places = _Places(annotations)
    for annotation in annotations:
        if (video_id := annotation.identifier("video_id")) not in videos:
            raise annotation.error("video_id", "no video has this id; add the video's entry")
        name, frame_names, size = videos[video_id]
        segmentations = annotation.array("segmentations")
        if len(segmentations) != len(frame_names):
            raise InputError(
                f"{annotation.where}: {len(segmentations)} segmentations for "
                f"{counted(len(frame_names), 'frame')} of {name}; one for each is needed, or null"
            )
        place = places.next(name)
        regions[name] += [
            _region(annotation, frame, segmentation, size, categories, place)
            for frame, segmentation in zip(frame_names, segmentations, strict=True)
            if segmentation is not None
        ]
    return _videos(frames, regions, {}, document)


class _Places:
    """Counts the annotations of each video, if none of the file names its track."""

    def __init__(self, annotations: Sequence[Fields]):
        tracks = [_track(annotation) for annotation in annotations]
        self._counts: dict[str, int] = {}
        if None in tracks and any(track is not None for track in tracks):
            raise annotations[tracks.index(None)].error("track_id", "other annotations have one")

    def next(self, video: str) -> int:
        self._counts[video] = self._counts.get(video, 0) + 1
        return self._counts[video]


def _videos(
    frames: Mapping[str, Mapping[str, FrameEntry]],
    regions: Mapping[str, Sequence[Region]],
    notes: Mapping[str, int],
    document: Document,
) -> list[MaskVideo]:
    if notes and not any(regions.values()):
        raise InputError(f"{document.path}: no masks, only {', '.join(notes)}; export masks")
    left_out = [f"{reason} left out: {count}" for reason, count in notes.items()]
    return [
        video_of_regions(name, frames[name], regions[name], left_out if n == 0 else ())
        for n, name in enumerate(frames)
    ]


def _reason_to_skip(annotation: Fields, segmentation: Any) -> str | None:
    if annotation.any("iscrowd") == 1:
        return "crowds"
    return None if segmentation else "annotations without a mask"


def _region(
    annotation: Fields,
    frame: str,
    segmentation: Any,
    size: Size,
    categories: Mapping[int, str],
    place: int | None = None,
) -> Region:
    """One annotation in one frame. place: its track if it names none."""
    category_id = annotation.integer("category_id", None)
    if category_id is not None and categories and category_id not in categories:
        raise annotation.error("category_id", "no category has this id; add the category's entry")
    where = f"{annotation.where}, frame {frame}"
    track = _track(annotation)
    return Region(
        frame=frame,
        mask=functools.partial(segmentation_mask, segmentation, size, where),
        where=where,
        label=categories.get(category_id) if category_id is not None else None,
        category_id=category_id,
        track=place if track is None else track,
    )


def _track(annotation: Fields) -> int | None:
    attributes = annotation.any("attributes")
    places = [annotation]
    if isinstance(attributes, dict):
        places.append(Fields(attributes, f"{annotation.where}, attributes"))
    for place in places:
        for name in _TRACK_NAMES:
            if place.has(name):
                return place.integer(name)
    return None


def _read_categories(content: Fields) -> dict[int, str]:
    return {
        category.integer("id"): category.text("name")
        for category in content.entries("categories", "category", default=[])
    }


def segmentation_mask(segmentation: Any, size: Size, where: str) -> np.ndarray:
    """COCO's segmentation, bool [H, W]: a list of polygons, or run-length codes, compressed or not.

    Raises InputError if it is neither, or is of another size.
    """
    if isinstance(segmentation, list):
        return polygons_mask(segmentation, size, where)
    code = Fields(segmentation, where)
    stated = code.array("size")
    if stated != list(size):
        found = size_text(stated) if len(stated) == 2 else short_repr(stated)
        raise InputError(f"{where}: mask of {found} for a frame of {size_text(size)}; correct one")
    counts = code.any("counts")
    if isinstance(counts, str):
        return coco_mask_of(counts, size, where)
    return runs_mask(code.array("counts"), size, "F", where)
