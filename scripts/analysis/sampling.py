"""Which frames a memory samples, and why: the command, its table and its pictures."""

import argparse
import collections
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from dataset import Layout
from inference.config import SYSTEMS
from inference.memory import SAMPLINGS
from inference.memory.mask_difference import MEASURES
from scripts.analysis.command import (
    add_command,
    add_model,
    load_segmenter,
    open_videos,
    working_resolution,
)
from scripts.analysis.sampled_frames import ComparedFrame, SampledVideo, follow_sampling
from scripts.common.charts import Line, LinePanel, line_chart
from scripts.common.tables import markdown_table
from util.flags import Commands, add_settings_flag, at_least
from util.settings import parse_settings
from util.text import counted

_REASONS = ("shape", "position", "vanished", "gap")
_TABLE_HEADER = (
    "video",
    "frames",
    "memorised",
    *(f"by {reason}" for reason in _REASONS),
    "J, all frames",
    "J, memorised frames",
)


def panels(videos: Mapping[str, SampledVideo]) -> list[LinePanel]:
    """A chart for each video: the difference from the frame memorised last, of the predicted and of
    the true masks. It falls to 0 after each memorised frame."""
    return [_panel(name, video) for name, video in videos.items()]


def _panel(name: str, video: SampledVideo) -> LinePanel:
    measure = MEASURES[video.measure]
    numbers = {frame.name: float(number) for number, frame in enumerate(video.frames, start=1)}

    def line(title: str, frames: list[ComparedFrame], value: Any, markers: bool = False) -> Line:
        points = [(numbers[frame.name], min(value(frame), 2.0)) for frame in frames]
        return Line(title, points, markers=markers)

    known = [frame for frame in video.frames if frame.true_difference is not None]
    ends = (1.0, float(len(video.frames)))
    lines = [
        line("predicted masks", list(video.frames), lambda frame: measure(frame.difference)),
        line("true masks", known, lambda frame: measure(frame.true_difference)),
        line("1 - J", known, lambda frame: 1 - frame.similarity),
        Line("threshold", [(end, video.threshold) for end in ends], markers=False),
    ]
    title = f"{name}: {counted(len(video.memorised) + 1, 'frame')} of {len(video.frames) + 1}"
    return LinePanel(title, "frame", f"difference ({video.measure})", lines, from_zero=True)


def run_sampling(flags: argparse.Namespace, folder: Path) -> tuple[str, dict[str, Any]]:
    """Which frames adaptive sampling memorises, and why: shape, position or the largest gap."""
    layout = Layout.of(flags.data_path)
    videos, resolution = open_videos(flags, layout), working_resolution(flags, layout)
    settings = {"sampling": flags.sampling, **dict(parse_settings(flags.set))}
    segmenter = load_segmenter(
        flags,
        flags.model,
        flags.similarity,
        system=flags.system,
        resolution=resolution,
        **settings,
    )
    sampled = {}
    for video in videos:
        sampled[video.name] = follow_sampling(
            segmenter,
            video,
            layout.truth_folder / video.name,
            single_object=layout.single_object,
            max_frames=flags.max_frames,
            shown=flags.shown,
        )
        picture = Image.fromarray(sampled[video.name].picture)
        picture.save(folder / f"memorised_{video.name}.png")
    memory = segmenter.config.memory
    line_chart(
        folder / "sampling.png",
        "How much masks differ from those memorised last",
        f"sampling {memory.sampling}; {counted(len(videos), 'video')}",
        panels(sampled),
    )
    table = markdown_table(_TABLE_HEADER, [_row(name, video) for name, video in sampled.items()])
    figures = {name: video.figures() for name, video in sampled.items()}
    return f"### Sampling: {memory.sampling}\n\n{table}", figures


def _row(name: str, video: SampledVideo) -> tuple[object, ...]:
    reasons = collections.Counter(video.reason(frame) for frame in video.memorised)
    similarities = map(video.mean_similarity, (video.frames, video.memorised))
    return (
        name,
        len(video.frames) + 1,
        len(video.memorised) + 1,
        *(reasons[reason] for reason in _REASONS),
        *("" if value is None else f"{100 * value:.1f}" for value in similarities),
    )


def add(commands: Commands) -> None:
    """Add the command and its flags."""
    parser = add_command(commands, "sampling", run_sampling)
    add_model(parser)
    parser.add_argument(
        "--system", choices=tuple(SYSTEMS), default="stcn", help="default: %(default)s"
    )
    parser.add_argument(
        "--sampling", choices=tuple(SAMPLINGS), default="adaptive", help="default: %(default)s"
    )
    add_settings_flag(parser, "settings of the system, such as memory.min_gap_frames=5")
    parser.add_argument(
        "--shown",
        type=at_least(1),
        default=12,
        metavar="N",
        help="memorised frames in a picture, at most (default: %(default)s)",
    )
