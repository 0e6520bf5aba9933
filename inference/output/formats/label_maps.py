"""Masks as indexed PNGs: plain, as DAVIS and as YouTube-VOS lay them out."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from dataset.formats import MaskFrame, MaskVideo
from dataset.label_map import present_ids
from dataset.layout import DAVIS_MASKS, LISTS, MASKS
from inference.output.formats.options import ExportOptions
from inference.output.writer import ResultWriter
from util.files import write_json

DEFAULT_CATEGORY = "object"
_DAVIS_LIST = f"{LISTS}/2017/val.txt"
_META = "meta.json"

Decoded = tuple[MaskVideo, MaskFrame, np.ndarray]
"""A frame of a video with its labels, uint8 [H, W]."""


def write_plain(videos: Sequence[MaskVideo], out: Path, options: ExportOptions) -> None:
    """OUT/VIDEO/FRAME.png."""
    for _ in _written(videos, out):
        pass


def write_davis(videos: Sequence[MaskVideo], out: Path, options: ExportOptions) -> None:
    """OUT/Annotations/480p/VIDEO/FRAME.png, and ImageSets/2017/val.txt, which names the videos."""
    write_plain(videos, out / DAVIS_MASKS, options)
    listed = out / _DAVIS_LIST
    listed.parent.mkdir(parents=True)
    listed.write_text("".join(f"{video.name}\n" for video in videos), encoding="utf-8")


def write_youtube_vos(videos: Sequence[MaskVideo], out: Path, options: ExportOptions) -> None:
    """OUT/Annotations/VIDEO/FRAME.png, and meta.json: for each object its category and the frames
    whose masks show it."""
    shown: dict[str, dict[int, list[str]]] = {video.name: {} for video in videos}
    for video, frame, labels in _written(videos, out / MASKS):
        for object_id in present_ids(labels):
            if object_id in video.objects:
                shown[video.name].setdefault(object_id, []).append(frame.name)
    write_json(out / _META, {"videos": {video.name: _entry(video, shown) for video in videos}})


def _entry(video: MaskVideo, shown: dict[str, dict[int, list[str]]]) -> dict:
    frames = shown[video.name]
    return {
        "objects": {
            str(object_id): {
                "category": video.objects[object_id].category or DEFAULT_CATEGORY,
                "frames": frames[object_id],
            }
            for object_id in sorted(frames)
        }
    }


def _written(videos: Iterable[MaskVideo], folder: Path) -> Iterator[Decoded]:
    """Write FOLDER/VIDEO/FRAME.png, and yield each frame once it is queued."""
    with ResultWriter(folder) as results:
        for video in videos:
            with results.video(video.name, video.palette) as writer:
                for frame in video.frames:
                    labels = frame.read()
                    writer.write(frame.name, labels)
                    yield video, frame, labels
