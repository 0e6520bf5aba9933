"""Points of one frame found again in later frames by the network's keys. Legend: P points, M positions of a frame, C^k key channels, H W frame size.

A point's key is compared with the keys of each later frame; the most similar position is where it went. Neither masks nor what lies between the two frames play
a part: this is what the affinity alone knows. Source: STCN, Figure 6.
"""

import argparse
import collections
import dataclasses
import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dataset import Layout, Video, prefetch, read_label_map
from dataset.label_map import present_ids
from inference import VideoSegmenter
from inference.output.contact_sheet import ContactSheet
from model.config import Similarity
from model.matching import similarity
from scripts.common.tables import markdown_table
from util.errors import InputError
from util.flags import Commands, at_least
from util.palette import DAVIS_PALETTE

from .command import add_command, add_model, segmenter_of, videos_of
from .grid import Grid

_COLOURS = [
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (213, 94, 0),
    (204, 121, 167),
    (255, 255, 255),
    (0, 114, 178),
]  # Okabe and Ito's
_DEEP = 0.5  # points on an object lie at least this part of its greatest depth from its edge


@dataclasses.dataclass(frozen=True, kw_only=True)
class Match:
    """Where a point went in one frame. weight: of this position among all of the frame, 0..1. object_id: what the truth says is there, None without truth."""

    frame: str
    x: float
    y: float
    weight: float
    object_id: int | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Track:
    """One point of the source frame and its matches, in order."""

    x: float
    y: float
    object_id: int | None
    matches: Sequence[Match]

    @property
    def mean_weight(self) -> float:
        return float(np.mean([match.weight for match in self.matches]))

    @property
    def same_object(self) -> float | None:
        """The share of matches on the object the point is on, of those the truth knows; None where there are none, or the point is on the background."""
        known = [
            match.object_id == self.object_id
            for match in self.matches
            if match.object_id is not None
        ]
        return float(np.mean(known)) if known and self.object_id else None

    def figures(self) -> dict[str, Any]:
        """Plain values: the point, its mean weight and share on its object, its matches."""
        matches = [
            {
                "frame": match.frame,
                "x": round(match.x, 1),
                "y": round(match.y, 1),
                "weight": round(match.weight, 5),
                "object_id": match.object_id,
            }
            for match in self.matches
        ]
        return {
            "x": self.x,
            "y": self.y,
            "object_id": self.object_id,
            "mean_weight": self.mean_weight,
            "same_object": self.same_object,
            "matches": matches,
        }


def most_similar(point_keys: Tensor, frame_keys: Tensor, kind: Similarity) -> tuple[Tensor, Tensor]:
    """For point_keys [P, C^k] the most similar of frame_keys [M, C^k]: positions [P], and their weights [P] in the softmax over all M."""
    with torch.no_grad():
        best = similarity(frame_keys, point_keys, kind=kind).softmax(-1).max(-1)
    return best.indices, best.values


def points_on(labels: np.ndarray, count: int) -> list[tuple[float, float]]:
    """`count` points (x, y) on each object of labels uint8 [H, W], well inside it and far from one another."""
    points = []
    for object_id in present_ids(labels):
        depth = cv2.distanceTransform(
            np.pad(labels == object_id, 1).astype(np.uint8), cv2.DIST_L2, 5
        )[1:-1, 1:-1]
        rows, columns = np.nonzero(depth >= _DEEP * depth.max())
        chosen = [int(np.argmax(depth[rows, columns]))]
        nearest = np.full(len(rows), np.inf)
        while len(chosen) < min(count, len(rows)):
            nearest = np.minimum(
                nearest, np.hypot(rows - rows[chosen[-1]], columns - columns[chosen[-1]])
            )
            chosen.append(int(np.argmax(nearest)))
        points += [(float(columns[number]), float(rows[number])) for number in chosen]
    return points


def follow(
    segmenter: VideoSegmenter,
    video: Video,
    *,
    resolution: int,
    points: Sequence[tuple[float, float]] | None = None,
    points_per_object: int = 3,
    source: int = 0,
    max_frames: int | None = None,
    truth: Path | None = None,
    single_object: bool = False,
    shown: int = 11,
) -> tuple[list[Track], np.ndarray]:
    """Find points of a frame in the frames after it. Returns the tracks and a picture of the points' frame and `shown` later ones, RGB uint8 [H', W', 3].

    source: how many frames after the first annotated one the points are in. points: (x, y) in pixels; None: some on each object there, by its given mask or its
    truth. truth: a folder of FRAME.png, of any of the frames. single_object: all its ids are the video's one object. Raises InputError for points outside the frame,
    a source beyond the video, no mask to take points from, or truth of another size than the frames.
    """
    frames = itertools.islice(
        prefetch(video.frames()), source, None if max_frames is None else source + max_frames
    )
    first = next(frames, None)
    if first is None:
        raise InputError(f"{video.name}: has no frame {source} after its first mask")
    grid = Grid(first.image.shape[:2], resolution)
    only_id = video.object_ids[0] if single_object else None
    labels = (
        _truth_of(truth, first.name, grid.size, only_id) if first.labels is None else first.labels
    )
    if points is None:
        if labels is None:
            raise InputError(
                f"{video.name}: no mask of frame {first.name} to choose points on; give --points x,y …"
            )
        points = points_on(labels, points_per_object)
    cells = [grid.cell_of(x, y) for x, y in points]
    point_keys = grid.keys(segmenter, first.image)[cells]
    matches: dict[int, list[Match]] = collections.defaultdict(list)
    sheet = ContactSheet(shown + 1)
    sheet.add(first.name, mark_points(first.image, points))  # a sheet's first frame stays
    for frame in frames:
        positions, weights = most_similar(
            point_keys, grid.keys(segmenter, frame.image), segmenter.network.config.similarity
        )
        there = _truth_of(truth, frame.name, grid.size, only_id)
        places = [grid.centre_of(int(position)) for position in positions]
        for number, ((x, y), weight) in enumerate(zip(places, weights.tolist(), strict=True)):
            matches[number].append(
                Match(frame=frame.name, x=x, y=y, weight=weight, object_id=_id_at(there, x, y))
            )
        sheet.add(frame.name, mark_points(frame.image, places))
    if not matches:
        raise InputError(f"{video.name}: no frame after {first.name} to find points in")
    tracks = [
        Track(x=x, y=y, object_id=_id_at(labels, x, y), matches=matches[number])
        for number, (x, y) in enumerate(points)
    ]
    return tracks, sheet.picture()


def mark_points(image: np.ndarray, places: Sequence[tuple[float, float]]) -> np.ndarray:
    """A copy of the image uint8 RGB [H, W, 3] with a numbered dot at each place, in that point's colour; one dot with all their numbers where several are."""
    picture = image.copy()
    radius = max(round(min(image.shape[:2]) / 45), 3)
    numbers: dict[tuple[int, int], list[int]] = {}
    for number, (x, y) in enumerate(places):
        numbers.setdefault((round(x), round(y)), []).append(number)
    for centre, points in numbers.items():
        cv2.circle(picture, centre, radius + 2, (0, 0, 0), cv2.FILLED, cv2.LINE_AA)
        cv2.circle(
            picture, centre, radius, _COLOURS[points[0] % len(_COLOURS)], cv2.FILLED, cv2.LINE_AA
        )
        text, scale = ",".join(str(number + 1) for number in points), radius / 13
        (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
        cv2.putText(
            picture,
            text,
            (centre[0] - width // 2, centre[1] + height // 2),
            cv2.FONT_HERSHEY_SIMPLEX,
            scale,
            (0, 0, 0),
            max(radius // 6, 1),
            cv2.LINE_AA,
        )
    return picture


def _truth_of(
    folder: Path | None, name: str, size: tuple[int, int], only_id: int | None
) -> np.ndarray | None:
    """Ids uint8 [H, W]; None where there is no such file. only_id: what every id of an object is taken for."""
    path = None if folder is None else folder / f"{name}.png"
    if path is None or not path.is_file():
        return None
    labels = read_label_map(path, size, DAVIS_PALETTE).labels
    return labels if only_id is None else np.where(labels > 0, np.uint8(only_id), np.uint8(0))


def _id_at(labels: np.ndarray | None, x: float, y: float) -> int | None:
    return None if labels is None else int(labels[int(y), int(x)])


def run_correspondence(flags: argparse.Namespace, folder: Path) -> tuple[str, dict[str, Any]]:
    """Points of a frame, found in later frames as the positions whose keys are most similar."""
    layout = Layout.of(flags.data_path)
    videos, resolution = videos_of(flags, layout)
    if flags.points and len(videos) > 1:
        raise InputError(
            f"--points: of one video; name it with --sequences (there are {len(videos)} here)"
        )
    segmenter = segmenter_of(flags, flags.model, flags.similarity)
    points = [_point(text) for text in flags.points] if flags.points else None
    figures, rows = {}, []
    for video in videos:
        tracks, picture = follow(
            segmenter,
            video,
            resolution=resolution,
            points=points,
            points_per_object=flags.points_per_object,
            source=flags.frame,
            max_frames=flags.max_frames,
            truth=layout.truth_folder / video.name,
            single_object=layout.single_object,
            shown=flags.shown,
        )
        Image.fromarray(picture).save(folder / f"correspondence_{video.name}.png")
        for number, track in enumerate(tracks, 1):
            same = "" if track.same_object is None else f"{100 * track.same_object:.0f}"
            rows.append(
                (
                    video.name,
                    number,
                    f"{track.x:.0f},{track.y:.0f}",
                    track.object_id or "",
                    len(track.matches),
                    f"{track.mean_weight:.3f}",
                    same,
                )
            )
        figures[video.name] = [track.figures() for track in tracks]
    table = markdown_table(
        ("video", "point", "x,y", "object", "frames", "mean weight", "found on its object, %"), rows
    )
    return (
        f"### Correspondence: points of frame {flags.frame}, each frame's most similar position\n\n{table}",
        figures,
    )


def _point(text: str) -> tuple[float, float]:
    if not re.fullmatch(r"\d+(\.\d+)?,\d+(\.\d+)?", text):
        raise InputError(f"--points {text}: x,y in pixels is expected, such as 320,200")
    x, y = text.split(",")
    return float(x), float(y)


def add(commands: Commands) -> None:
    """The command and its flags."""
    added = add_command(commands, "correspondence", run_correspondence)
    add_model(added)
    added.add_argument(
        "--points",
        nargs="+",
        metavar="X,Y",
        help="in pixels from the upper left corner (default: some on each object)",
    )
    added.add_argument(
        "--points_per_object",
        type=at_least(1),
        default=3,
        metavar="N",
        help="where --points is not given (default: %(default)s)",
    )
    added.add_argument(
        "--frame",
        type=at_least(0),
        default=0,
        metavar="N",
        help="the points' frame, counted from the first mask (default: %(default)s)",
    )
    added.add_argument(
        "--shown",
        type=at_least(1),
        default=11,
        metavar="N",
        help="frames in the picture beside the first, at most (default: %(default)s)",
    )
