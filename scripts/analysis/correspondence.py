"""Points of one frame, matched in later frames by the network's keys.

Legend: P points, M positions of a frame at stride 16, C^k key channels, H W frame size in pixels.

The key at a point is compared with the keys of each later frame; the point's match is the most
similar position. Masks and the frames between the two have no influence: this shows what the
affinity alone can tell. Source: STCN, Figure 6.
"""

import argparse
import collections
import dataclasses
import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dataset import Frame, Layout, Video, prefetch
from inference import VideoSegmenter
from inference.output.contact_sheet import ContactSheet
from model.config import Similarity
from model.matching import similarity
from scripts.analysis.command import (
    add_command,
    add_model,
    load_segmenter,
    open_videos,
    working_resolution,
)
from scripts.analysis.grid import Grid
from scripts.analysis.points import Point, mark_points, points_on
from scripts.analysis.truth import Truth
from scripts.common.tables import markdown_table
from util.errors import InputError
from util.flags import Commands, at_least


@dataclasses.dataclass(frozen=True, kw_only=True)
class Match:
    """The position that a point matches in one frame.

    weight: of the position among all of the frame, 0..1. object_id: there, by the truth; None
    without truth.
    """

    frame: str
    x: float
    y: float
    weight: float
    object_id: int | None

    def figures(self) -> dict[str, Any]:
        """Plain values, rounded."""
        return {
            "frame": self.frame,
            "x": round(self.x, 1),
            "y": round(self.y, 1),
            "weight": round(self.weight, 5),
            "object_id": self.object_id,
        }


@dataclasses.dataclass(frozen=True, kw_only=True)
class Track:
    """One point of the source frame, and its matches in order."""

    x: float
    y: float
    object_id: int | None
    matches: Sequence[Match]

    @property
    def mean_weight(self) -> float:
        return float(np.mean([match.weight for match in self.matches]))

    @property
    def same_object(self) -> float | None:
        """The share of matches on the point's object, among those with truth.

        None if there are none, or if the point is on the background.
        """
        known = [
            match.object_id == self.object_id
            for match in self.matches
            if match.object_id is not None
        ]
        return float(np.mean(known)) if known and self.object_id else None

    def figures(self) -> dict[str, Any]:
        """Plain values: the point, its mean weight, the share on its object, its matches."""
        return {
            "x": self.x,
            "y": self.y,
            "object_id": self.object_id,
            "mean_weight": self.mean_weight,
            "same_object": self.same_object,
            "matches": [match.figures() for match in self.matches],
        }


def most_similar(point_keys: Tensor, frame_keys: Tensor, kind: Similarity) -> tuple[Tensor, Tensor]:
    """The most similar of frame_keys [M, C^k] for each of point_keys [P, C^k].

    Returns positions [P], and their weights [P] in the softmax over all M.
    """
    with torch.no_grad():
        best = similarity(frame_keys, point_keys, kind=kind).softmax(-1).max(-1)
    return best.indices, best.values


@dataclasses.dataclass(frozen=True, kw_only=True)
class PointSettings:
    """Which points are matched.

    resolution: shorter side that frames are resized to; -1: as stored.
    points: None chooses points_per_object on each object, by its given mask or its truth.
    source: the points' frame, counted from the first annotated one.
    max_frames: how many frames are read from the source on; None: all.
    shown: how many later frames the picture shows.
    """

    resolution: int
    points: Sequence[Point] | None = None
    points_per_object: int = 3
    source: int = 0
    max_frames: int | None = None
    shown: int = 11


@dataclasses.dataclass(frozen=True)
class Correspondence:
    """The tracks of a video's points, and a picture of the source and some later frames, RGB uint8
    [H', W', 3]."""

    tracks: Sequence[Track]
    picture: np.ndarray


def match_points(
    segmenter: VideoSegmenter,
    video: Video,
    settings: PointSettings,
    truth_folder: Path | None = None,
    single_object: bool = False,
) -> Correspondence:
    """Match points of a frame in the frames after it.

    truth_folder: of FRAME.png for any frames. single_object: all ids there are the video's one
    object. Raises InputError for points outside the frame, a source beyond the video, no mask to
    choose points from, or truth whose size is not that of the frames.
    """
    first, later = _split_frames(video, settings)
    grid = Grid(first.image.shape[:2], settings.resolution)
    # The ids of a video are known once its first frame was read.
    truth = Truth(truth_folder, video.object_ids[0] if single_object else None)
    labels = first.labels
    if labels is None:
        labels = truth.labels(first.name, grid.size)
    points = settings.points
    if points is None:
        if labels is None:
            raise InputError(
                f"{video.name}: no mask of frame {first.name} to choose points on; give "
                "--points x,y …"
            )
        points = points_on(labels, settings.points_per_object)
    cells = [grid.cell_of(x, y) for x, y in points]
    point_keys = grid.keys(segmenter, first.image)[cells]
    matches: dict[int, list[Match]] = collections.defaultdict(list)
    sheet = ContactSheet(settings.shown + 1)
    sheet.add(first.name, mark_points(first.image, points))  # a sheet keeps its first frame
    for frame in later:
        frame_matches = _match_frame(segmenter, grid, point_keys, frame, truth)
        for number, match in enumerate(frame_matches):
            matches[number].append(match)
        positions = [(match.x, match.y) for match in frame_matches]
        sheet.add(frame.name, mark_points(frame.image, positions))
    if not matches:
        raise InputError(f"{video.name}: no frame after {first.name} to find points in")
    tracks = [
        Track(x=x, y=y, object_id=_id_at(labels, x, y), matches=matches[number])
        for number, (x, y) in enumerate(points)
    ]
    return Correspondence(tracks, sheet.picture())


def _split_frames(video: Video, settings: PointSettings) -> tuple[Frame, Iterator[Frame]]:
    """The source frame, and the frames after it."""
    source, count = settings.source, settings.max_frames
    end = None if count is None else source + count
    frames = itertools.islice(prefetch(video.frames()), source, end)
    first = next(frames, None)
    if first is None:
        raise InputError(f"{video.name}: has no frame {source} after its first mask")
    return first, frames


def _match_frame(
    segmenter: VideoSegmenter,
    grid: Grid,
    point_keys: Tensor,
    frame: Frame,
    truth: Truth,
) -> list[Match]:
    kind = segmenter.network.config.similarity
    cells, weights = most_similar(point_keys, grid.keys(segmenter, frame.image), kind)
    labels = truth.labels(frame.name, grid.size)
    matches = []
    for cell, weight in zip(cells.tolist(), weights.tolist(), strict=True):
        x, y = grid.centre_of(cell)
        object_id = _id_at(labels, x, y)
        matches.append(Match(frame=frame.name, x=x, y=y, weight=weight, object_id=object_id))
    return matches


def _id_at(labels: np.ndarray | None, x: float, y: float) -> int | None:
    return None if labels is None else int(labels[int(y), int(x)])


def run_correspondence(flags: argparse.Namespace, folder: Path) -> tuple[str, dict[str, Any]]:
    """Points of a frame, and the positions with the most similar keys in later frames."""
    layout = Layout.of(flags.data_path)
    videos, settings = open_videos(flags, layout), _settings(flags, layout)
    if flags.points and len(videos) > 1:
        raise InputError(
            f"--points: of one video; name it with --sequences (there are {len(videos)} here)"
        )
    segmenter = load_segmenter(flags, flags.model, flags.similarity)
    figures, rows = {}, []
    for video in videos:
        truth = layout.truth_folder / video.name
        found = match_points(segmenter, video, settings, truth, layout.single_object)
        Image.fromarray(found.picture).save(folder / f"correspondence_{video.name}.png")
        figures[video.name] = [track.figures() for track in found.tracks]
        rows += [_row(video.name, number, track) for number, track in enumerate(found.tracks, 1)]
    table = markdown_table(
        ("video", "point", "x,y", "object", "frames", "mean weight", "found on its object, %"), rows
    )
    title = f"points of frame {flags.frame}, each frame's most similar position"
    return f"### Correspondence: {title}\n\n{table}", figures


def _settings(flags: argparse.Namespace, layout: Layout) -> PointSettings:
    return PointSettings(
        resolution=working_resolution(flags, layout),
        points=flags.points,
        points_per_object=flags.points_per_object,
        source=flags.frame,
        max_frames=flags.max_frames,
        shown=flags.shown,
    )


def _row(video: str, number: int, track: Track) -> tuple[object, ...]:
    return (
        video,
        number,
        f"{track.x:.0f},{track.y:.0f}",
        track.object_id or "",
        len(track.matches),
        f"{track.mean_weight:.3f}",
        "" if track.same_object is None else f"{100 * track.same_object:.0f}",
    )


def _parse_point(text: str) -> Point:
    """The type of --points."""
    if not re.fullmatch(r"\d+(\.\d+)?,\d+(\.\d+)?", text):
        raise argparse.ArgumentTypeError(f"{text}: x,y in pixels is expected, such as 320,200")
    x, y = text.split(",")
    return float(x), float(y)


def add(commands: Commands) -> None:
    """Add the command and its flags."""
    parser = add_command(commands, "correspondence", run_correspondence)
    add_model(parser)
    parser.add_argument(
        "--points",
        type=_parse_point,
        nargs="+",
        metavar="X,Y",
        help="in pixels from the upper left corner (default: some on each object)",
    )
    parser.add_argument(
        "--points_per_object",
        type=at_least(1),
        default=3,
        metavar="N",
        help="if --points is not given (default: %(default)s)",
    )
    parser.add_argument(
        "--frame",
        type=at_least(0),
        default=0,
        metavar="N",
        help="the points' frame, counted from the first mask (default: %(default)s)",
    )
    parser.add_argument(
        "--shown",
        type=at_least(1),
        default=11,
        metavar="N",
        help="later frames in the picture, at most (default: %(default)s)",
    )
