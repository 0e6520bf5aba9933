"""`components`: where the time of whole videos goes, in turns of the reference, ours and, if asked
for, STM's design; medians over the turns.

Legend: K objects.
"""

import argparse
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import torch

from inference import VideoSegmenter
from scripts.benchmarks.command import add_command, add_plot
from scripts.benchmarks.reference import MEM_EVERY, ReferenceNetwork
from scripts.benchmarks.stm import StmNetwork
from scripts.benchmarks.synthetic import synthetic_network
from scripts.benchmarks.timing import CPU, RegionTimer, turns
from scripts.benchmarks.workload import COMPONENTS, SIDES, Clip, Workload, add_workload
from scripts.common.charts import BarPanel, bar_chart
from scripts.common.progress import print_progress
from scripts.common.tables import markdown_table
from util.device import select_device
from util.flags import Commands
from util.text import counted

STM = "STM"
Side = Callable[[Clip], dict[str, float]]
"""Runs a clip. Returns the seconds of each component."""

_HEADER = (
    "objects",
    "side",
    "key encoding, ms/frame",
    "value encoding, ms/memorised frame",
    "reading, ms/predicted frame",
    "decoding, ms/predicted frame",
)


def components(
    workload: Workload,
    object_counts: Sequence[int],
    device: torch.device = CPU,
    *,
    beside_stm: bool = False,
) -> list[dict[str, Any]]:
    """Milliseconds of the four components of whole runs: key encoding per frame, value encoding
    per memorised frame, reading and decoding per predicted frame.

    They are timed inside the runs, so that each side works as it does otherwise: frame by frame,
    or several frames together. beside_stm: also of STM's design (see StmNetwork), whose memory
    encoder counts as value encoding. Source: STCN, Figure 5.
    """
    sides = _sides(workload.network, device, beside_stm)
    predicted = workload.frames - 1
    memorised = 1 + (workload.frames - 2) // MEM_EVERY  # the last frame never is
    counts = dict(zip(COMPONENTS, (workload.frames, memorised, predicted, predicted), strict=True))
    rows = []
    for objects in object_counts:
        seconds = _in_turns(sides, Clip.of(workload, objects), objects, workload.repeats)
        milliseconds = {
            side: {name: 1000 * seconds[side][name] / counts[name] for name in COMPONENTS}
            for side in sides
        }
        rows.append(
            {"objects": objects, "memorised_frames": memorised, "milliseconds": milliseconds}
        )
    return rows


def _sides(network_name: str, device: torch.device, beside_stm: bool) -> dict[str, Side]:
    network = synthetic_network(network_name).to(device)
    segmenter = VideoSegmenter(network, "stcn", device=device)

    def time_ours(clip: Clip) -> dict[str, float]:
        with RegionTimer(COMPONENTS, device) as timer:
            for _ in segmenter.segment(clip.frames, clip.labels):
                timer.lap()
        return timer.seconds

    times = (_time_of(ReferenceNetwork(network), device), time_ours)
    sides = dict(zip(SIDES, times, strict=True))
    return {**sides, STM: _time_of(StmNetwork(network), device)} if beside_stm else sides


def _time_of(network: ReferenceNetwork, device: torch.device) -> Side:
    def time_video(clip: Clip) -> dict[str, float]:
        video = clip.reference(network)
        with RegionTimer(COMPONENTS, device) as timer:
            video.run(timer.lap)
        return timer.seconds

    return time_video


def _in_turns(
    sides: dict[str, Side], clip: Clip, objects: int, repeats: int
) -> dict[str, dict[str, float]]:
    """Returns: for each side the median seconds of each component."""
    print_progress(f"objects {objects}: warming up")
    for time_side in sides.values():
        time_side(clip.first(2))
    runs: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    for turn in turns(repeats):
        for side, time_side in sides.items():
            runs[side].append(time_side(clip))
        print_progress(f"{turn}: done")
    return {
        side: {name: statistics.median(run[name] for run in of_side) for name in COMPONENTS}
        for side, of_side in runs.items()
    }


def run_components(flags: argparse.Namespace) -> tuple[str, list[dict[str, Any]]]:
    """Times of key encoding, value encoding, reading and decoding, reference and ours."""
    device, workload = select_device(flags.device), Workload.of(flags)
    rows = components(workload, flags.objects, device, beside_stm=flags.beside == "stm")
    sides = tuple(rows[0]["milliseconds"])
    lines = [
        (row["objects"], side, *(f"{row['milliseconds'][side][name]:.4g}" for name in COMPONENTS))
        for row in rows
        for side in sides
    ]
    video = f"{workload}, up to {rows[0]['memorised_frames']} in memory"
    if flags.plot:
        panels = [
            BarPanel(
                counted(row["objects"], "object"),
                [[row["milliseconds"][side][name] for name in COMPONENTS] for side in sides],
            )
            for row in rows
        ]
        threads = counted(flags.threads, "thread")
        subtitle = f"{video}, {device}, {threads}; value encoding per memorised frame"
        bar_chart(flags.plot, "Milliseconds per frame", subtitle, COMPONENTS, sides, panels)
    title = f"Components: {video}, median of {flags.repeats}"
    return f"### {title}\n\n{markdown_table(_HEADER, lines)}", rows


def add(commands: Commands) -> None:
    """Add the command and its flags."""
    parser = add_command(commands, "components", run_components, "stcn")
    add_workload(parser)
    parser.add_argument(
        "--beside",
        choices=("stm",),
        help="also time STM's design, of random weights: a memory encoder like the key encoder and "
        "an affinity for every object (STCN, Figure 5)",
    )
    add_plot(parser)
