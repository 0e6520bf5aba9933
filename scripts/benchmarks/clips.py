"""Speed of a clip system by the length of its clips, and where the time goes. Legend: L frames of a clip."""

import argparse
import dataclasses
import gc
import statistics
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch

from inference import VideoSegmenter
from inference.memory import MemoryBank
from scripts.benchmarks.command import add_command, add_plot
from scripts.benchmarks.synthetic import MovingScene, synthetic_network
from scripts.benchmarks.timing import ComponentClock, note
from scripts.common.charts import BarPanel, bar_chart
from scripts.common.tables import markdown_table
from util.device import select_device
from util.flags import Commands, at_least
from util.text import counted

COMPONENTS = ("key encoding", "reading", "refinement", "decoding", "value encoding")
REST = "rest"  # aggregation, resizing, label maps, copies
_WHOLE = "whole"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipWorkload:
    """What is run. frames: of the video, the first with its mask; whole clips follow where every L divides frames - 1."""

    network: str = "pcvos"
    system: str = "pcvos"
    height: int = 480
    width: int = 854
    objects: int = 1
    frames: int = 51
    repeats: int = 3
    device: torch.device = dataclasses.field(default_factory=lambda: torch.device("cpu"))


def clip_speed(workload: ClipWorkload, clip_lengths: Sequence[int]) -> list[dict[str, Any]]:
    """For each L, on the same weights and video, by turns: frames a second, and milliseconds a frame of each component and of the rest; medians over the turns.

    The components are timed inside the runs. Raises InputError for a network that lacks what the system needs.
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
            segmenter = VideoSegmenter(
                network, workload.system, device=workload.device, clip_length=length
            )  # anew, so that only one copy of the weights is held
            given = frames if turn else frames[: 1 + length]
            seconds, parts = _time(segmenter, given, labels)
            if turn:
                for component, part in {
                    **parts,
                    REST: seconds - sum(parts.values()),
                    _WHOLE: seconds,
                }.items():
                    times[length][component].append(part)
            note(
                f"{f'turn {turn} of {workload.repeats}' if turn else 'warming up'}, L = {length}: {len(given) / seconds:.2f} frames/s"
            )
    return [_row(length, times[length], workload.frames) for length in clip_lengths]


def _time(segmenter: VideoSegmenter, frames: list, labels: Any) -> tuple[float, dict[str, float]]:
    """Seconds of the whole run, and of each component in it."""
    network = segmenter.network
    owners = (
        (network, "encode_key"),
        (MemoryBank, "read"),
        (network, "refine"),
        (network, "decode"),
        (network, "encode_value"),
    )
    clock = ComponentClock(COMPONENTS, segmenter.device)
    with clock.watching(owners):
        clock.synchronise()
        start = time.perf_counter()
        for _ in segmenter.segment(frames, labels):
            pass
        clock.synchronise()
        return time.perf_counter() - start, clock.seconds


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
    """Speed by the length of clips, same weights, by turns."""
    fields = ("network", "system", "height", "width", "objects", "frames", "repeats")
    workload = ClipWorkload(
        **{name: getattr(flags, name) for name in fields}, device=select_device(flags.device)
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
    video = f"{flags.system} on {flags.network}, {flags.width}×{flags.height}, {flags.frames} frames, {counted(flags.objects, 'object')}"
    refinement = ", ".join(
        f"{row['milliseconds']['refinement']:.4g} at L = {row['clip_length']}" for row in rows
    )
    if flags.plot:
        panels = [
            BarPanel(
                video.replace("×", "x"),
                [[row["milliseconds"][part] for part in parts] for row in rows],
            )
        ]
        bar_chart(
            flags.plot,
            "Milliseconds a frame",
            f"median of {flags.repeats}, {workload.device}",
            parts,
            [f"L = {row['clip_length']}" for row in rows],
            panels,
        )
    title = f"Clips: {video}, median of {flags.repeats}, {workload.device}"
    return (
        f"### {title}\n\n{table}\n\nOf all frames, in brackets the share of the whole. The refinement costs {refinement} ms a frame.",
        rows,
    )


def add(commands: Commands) -> None:
    """The command and its flags."""
    added = add_command(commands, "clips", run_clips, "pcvos")
    added.add_argument("--system", default="pcvos", help="one that predicts clips")
    added.add_argument(
        "--clip_lengths",
        type=at_least(1),
        nargs="+",
        default=[5, 10, 15, 25],
        help="frames predicted together",
    )
    added.add_argument(
        "--frames",
        type=at_least(2),
        default=51,
        help="of the video: the first with its mask, then clips",
    )
    added.add_argument("--objects", type=at_least(1), default=1, help="number of objects")
    added.add_argument(
        "--repeats", type=at_least(1), default=3, help="runs of each length, by turns"
    )
    add_plot(added)
