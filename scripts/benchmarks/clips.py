"""`clips`: speed of a clip system by clip length, and where the time goes.

Legend: L frames of a clip.
"""

import argparse
import dataclasses
import gc
import statistics
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from inference import VideoSegmenter
from scripts.benchmarks.command import add_command, add_object_count, add_plot
from scripts.benchmarks.synthetic import MovingScene, synthetic_network
from scripts.benchmarks.timing import CPU, RegionTimer
from scripts.common.charts import BarPanel, bar_chart
from scripts.common.progress import print_progress
from scripts.common.tables import markdown_table
from util.device import select_device
from util.flags import Commands, at_least
from util.text import counted

COMPONENTS = ("key encoding", "reading", "refinement", "decoding", "value encoding")
REST = "rest"  # aggregation, resizing, label maps, copies
_WHOLE = "whole"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipWorkload:
    """What is run. frames: of the video, the first with its mask; clips are whole if every L
    divides frames - 1."""

    network: str = "pcvos"
    system: str = "pcvos"
    height: int = 480
    width: int = 854
    objects: int = 1
    frames: int = 51
    repeats: int = 3
    device: torch.device = CPU


def clip_speed(workload: ClipWorkload, clip_lengths: Sequence[int]) -> list[dict[str, Any]]:
    """For each L, in turns on the same weights and video: frames per second, and milliseconds per
    frame of each component and of the rest. Medians over the turns.

    The components are timed inside the runs.
    Raises: InputError if the network lacks what the system needs.
    """
    network = synthetic_network(workload.network)
    scene = MovingScene(workload.height, workload.width, workload.objects)
    frames, labels = list(scene.frames(workload.frames)), scene.labels(0)
    times: dict[int, dict[str, list[float]]] = {
        length: defaultdict(list) for length in clip_lengths
    }
    for turn in range(workload.repeats + 1):
        for length in clip_lengths:
            gc.collect()
            # Built in every turn, so that only one copy of the weights exists at a time.
            segmenter = VideoSegmenter(
                network, workload.system, device=workload.device, clip_length=length
            )
            given = frames if turn else frames[: 1 + length]
            timer = _time(segmenter, given, labels)
            title = f"turn {turn} of {workload.repeats}" if turn else "warming up"
            fps = len(given) / timer.elapsed_seconds
            print_progress(f"{title}, L = {length}: {fps:.2f} frames/s")
            if turn:
                rest = timer.elapsed_seconds - sum(timer.seconds.values())
                parts = {**timer.seconds, REST: rest, _WHOLE: timer.elapsed_seconds}
                for component, seconds in parts.items():
                    times[length][component].append(seconds)
    return [_row(length, times[length], workload.frames) for length in clip_lengths]


def _time(
    segmenter: VideoSegmenter, frames: Sequence[np.ndarray], labels: np.ndarray
) -> RegionTimer:
    with RegionTimer(COMPONENTS, segmenter.device) as timer:
        for _ in segmenter.segment(frames, labels):
            timer.lap()
    return timer


def _row(length: int, times: dict[str, list[float]], frames: int) -> dict[str, Any]:
    seconds = {component: statistics.median(values) for component, values in times.items()}
    whole = seconds.pop(_WHOLE)
    return {
        "clip_length": length,
        "fps": frames / whole,
        "milliseconds": {component: 1000 * part / frames for component, part in seconds.items()},
        "share": {component: part / whole for component, part in seconds.items()},
    }


def run_clips(flags: argparse.Namespace) -> tuple[str, list[dict[str, Any]]]:
    """Frames per second and component times of a clip system, by clip length."""
    names = [field.name for field in dataclasses.fields(ClipWorkload) if field.name != "device"]
    workload = ClipWorkload(
        **{name: getattr(flags, name) for name in names}, device=select_device(flags.device)
    )
    rows = clip_speed(workload, flags.clip_lengths)
    parts = (*COMPONENTS, REST)
    lines = [
        (
            row["clip_length"],
            f"{row['fps']:.2f}",
            *(f"{row['milliseconds'][part]:.4g} ({row['share'][part]:.0%})" for part in parts),
        )
        for row in rows
    ]
    table = markdown_table(("L", "FPS", *(f"{part}, ms/frame" for part in parts)), lines)
    size = f"{flags.width}×{flags.height}, {flags.frames} frames"
    video = f"{flags.system} on {flags.network}, {size}, {counted(flags.objects, 'object')}"
    how = f"median of {flags.repeats}, {workload.device}"
    if flags.plot:
        values = [[row["milliseconds"][part] for part in parts] for row in rows]
        series = [f"L = {row['clip_length']}" for row in rows]
        panels = [BarPanel(video, values)]
        bar_chart(flags.plot, "Milliseconds per frame", how, parts, series, panels)
    refinement = ", ".join(
        f"{row['milliseconds']['refinement']:.4g} at L = {row['clip_length']}" for row in rows
    )
    notes = (
        "Means over all frames; in brackets the share of the whole. "
        f"Refinement, ms per frame: {refinement}."
    )
    return f"### Clips: {video}, {how}\n\n{table}\n\n{notes}", rows


def add(commands: Commands) -> None:
    """Add the command and its flags."""
    parser = add_command(commands, "clips", run_clips, "pcvos")
    parser.add_argument("--system", default="pcvos", help="a system that predicts clips")
    parser.add_argument(
        "--clip_lengths",
        type=at_least(1),
        nargs="+",
        default=[5, 10, 15, 25],
        help="numbers of frames predicted together",
    )
    parser.add_argument(
        "--frames",
        type=at_least(2),
        default=51,
        help="of the video: the first with its mask, then clips",
    )
    add_object_count(parser)
    parser.add_argument(
        "--repeats", type=at_least(1), default=3, help="runs of each length, in turns"
    )
    add_plot(parser)
