"""Which elements a bounded memory keeps, and how often they are used: the command, its pictures.

Legend: N memory elements (positions at stride 16), H W frame size in pixels.
"""

import argparse
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dataset import Layout, Video, prefetch
from inference import VideoSegmenter
from inference.config import SYSTEMS
from inference.memory import POLICIES
from inference.output.contact_sheet import ContactSheet
from scripts.analysis.capacities import make_validators, memory_settings, score_capacities
from scripts.analysis.command import (
    add_command,
    add_model,
    load_segmenter,
    open_videos,
    percent,
    working_resolution,
)
from scripts.analysis.element_history import (
    ElementHistory,
    FollowedVideo,
    check_counts_uses,
    follow_elements,
)
from scripts.analysis.grid import Grid
from scripts.common.charts import Line, LinePanel, line_chart
from scripts.common.tables import markdown_table
from util.flags import Commands, at_least
from util.text import counted

_DARKENED = 0.2  # the brightness of a pixel whose element was evicted, relative to the frame's
_CURVE_POINTS = 100
_TABLE_HEADER = (
    "video",
    "alive",
    "alive: oldest frame",
    "alive: mean age",
    "alive: uses a frame",
    "gone",
    "gone: mean age",
    "gone: uses a frame",
    "gone: never used, %",
)


def draw_alive(video: Video, followed: FollowedVideo, resolution: int, shown: int) -> np.ndarray:
    """A picture of what is alive at the end, RGB uint8 [H', W', 3].

    It shows up to `shown` frames that still hold elements, evenly chosen, bright at the elements
    that are alive. The video is read again.
    """
    grid, history = Grid(followed.size, resolution), followed.history
    frames = np.unique(history.frames[history.alive])
    indices = np.linspace(0, len(frames) - 1, min(shown, len(frames))).round().astype(int)
    chosen = set(frames[np.unique(indices)].tolist())
    sheet = ContactSheet(shown)
    for index, frame in enumerate(itertools.islice(prefetch(video.frames()), max(chosen) + 1)):
        if index in chosen:
            cells = np.zeros(grid.shape[0] * grid.shape[1], bool)
            cells[history.positions[history.alive & (history.frames == index)]] = True
            alive = grid.to_pixels(cells.astype(np.uint8)) > 0
            title = f"{followed.frame_names[index]}: {cells.mean():.0%}"
            sheet.add(title, highlight(frame.image, alive))
    return sheet.picture()


def highlight(image: np.ndarray, alive: np.ndarray) -> np.ndarray:
    """The image, uint8 RGB [H, W, 3], unchanged where alive [H, W] is true and dark grey
    elsewhere."""
    grey = image.mean(axis=2, keepdims=True) * _DARKENED
    return np.where(alive[..., None], image, grey).astype(np.uint8)


def panels(histories: Mapping[str, ElementHistory]) -> list[LinePanel]:
    """Two charts: how often elements are used, alive and evicted; how much of each frame is
    alive."""
    uses = [
        Line(name, _quantile_curve(rates), markers=False)
        for name, alive in (("alive at the end", True), ("gone", False))
        if len(rates := _joined_rates(histories, alive))
    ]
    alive_lines = [
        Line(name, _alive_by_frame(history), markers=False) for name, history in histories.items()
    ]
    return [
        LinePanel(
            "how often elements are used",
            "% of the elements, least used first",
            "uses a frame",
            uses,
            from_zero=True,
        ),
        LinePanel(
            "what is left of each frame at the end",
            "frame",
            "% of its elements alive",
            alive_lines,
            from_zero=True,
        ),
    ]


def _joined_rates(histories: Mapping[str, ElementHistory], alive: bool) -> np.ndarray:
    """The uses per frame of all videos' elements that are alive, or evicted."""
    return np.concatenate([history.rates[history.alive == alive] for history in histories.values()])


def _quantile_curve(values: np.ndarray) -> list[tuple[float, float]]:
    shares = np.linspace(0, 1, _CURVE_POINTS + 1)
    return [(100 * share, float(np.quantile(values, share))) for share in shares]


def _alive_by_frame(history: ElementHistory) -> list[tuple[float, float]]:
    return [
        (float(frame), 100 * float(history.alive[history.frames == frame].mean()))
        for frame in np.unique(history.frames)
    ]


def run_memory(flags: argparse.Namespace, folder: Path) -> tuple[str, dict[str, Any]]:
    """Which elements a bounded memory keeps and how often they are used; accuracy by capacity."""
    layout = Layout.of(flags.data_path)
    videos, resolution = open_videos(flags, layout), working_resolution(flags, layout)
    segmenter = _load_segmenter(flags, resolution)
    validators = make_validators(flags) if flags.capacities else None
    check_counts_uses(segmenter)
    histories = {}
    for video in videos:
        followed = follow_elements(segmenter, video, max_frames=flags.max_frames)
        histories[video.name] = followed.history
        picture = draw_alive(video, followed, resolution, flags.shown)
        Image.fromarray(picture).save(folder / f"alive_{video.name}.png")
    memory = segmenter.config.memory
    held = f"memory {memory.policy}, {counted(memory.capacity_frames, 'frame')}"
    subtitle = f"{held}; {counted(len(videos), 'video')}"
    line_chart(folder / "use.png", "How a memory is used", subtitle, panels(histories))
    rows = [_row(name, history) for name, history in histories.items()]
    text = f"### Memory use: {held}\n\n{markdown_table(_TABLE_HEADER, rows)}"
    figures: dict[str, Any] = {
        "memory": held,
        "videos": {name: history.figures() for name, history in histories.items()},
    }
    if validators is not None:
        table, figures["capacities"] = score_capacities(flags, folder, segmenter, validators)
        text += "\n\n" + table
    return text, figures


def _load_segmenter(flags: argparse.Namespace, resolution: int) -> VideoSegmenter:
    settings = memory_settings(flags)
    if flags.memory_frames is not None:
        settings["memory_frames"] = flags.memory_frames
    return load_segmenter(
        flags,
        flags.model,
        flags.similarity,
        system=flags.system,
        resolution=resolution,
        **settings,
    )


def _row(name: str, history: ElementHistory) -> tuple[object, ...]:
    alive, evicted = history.alive, ~history.alive
    never_used = percent((history.uses[evicted] == 0).mean()) if evicted.any() else ""
    return (
        name,
        f"{alive.sum():,}",
        history.frames[alive].min(),
        *_means(history, alive),
        f"{evicted.sum():,}",
        *_means(history, evicted),
        never_used,
    )


def _means(history: ElementHistory, chosen: np.ndarray) -> tuple[str, str]:
    """Mean age and mean uses per frame."""
    if not chosen.any():
        return "", ""
    return f"{history.ages[chosen].mean():.1f}", f"{history.rates[chosen].mean():.2f}"


def add(commands: Commands) -> None:
    """Add the command and its flags."""
    parser = add_command(commands, "memory", run_memory)
    add_model(parser)
    parser.add_argument(
        "--system", choices=tuple(SYSTEMS), default="lfu", help="default: %(default)s"
    )
    parser.add_argument(
        "--memory", choices=tuple(POLICIES), help="a policy that replaces the system's"
    )
    parser.add_argument(
        "--memory_frames",
        type=at_least(1),
        metavar="N",
        help="its capacity (default: the system's)",
    )
    parser.add_argument(
        "--mem_every",
        type=at_least(1),
        metavar="N",
        help="memorise every N-th frame (default: the system's)",
    )
    parser.add_argument(
        "--capacities",
        type=at_least(1),
        nargs="+",
        metavar="N",
        help="also score each capacity, every-k and first-and-latest; needs the truth of every "
        "frame",
    )
    parser.add_argument(
        "--shown",
        type=at_least(1),
        default=12,
        metavar="N",
        help="frames in a map, at most (default: %(default)s)",
    )
