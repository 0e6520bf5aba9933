"""`components`: where the time of whole videos goes, reference and ours by turns; medians over the turns. Legend: K objects."""

import argparse
import statistics
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch

from inference import VideoSegmenter
from inference.memory import MemoryBank
from scripts.benchmarks.command import add_command, add_plot
from scripts.benchmarks.reference import ReferenceMemory, ReferenceNetwork
from scripts.benchmarks.synthetic import synthetic_network
from scripts.benchmarks.timing import (
    COMPONENTS,
    CPU,
    SIDES,
    Clip,
    ComponentClock,
    Workload,
    add_workload,
    note,
    time_ours,
    turns,
)
from scripts.common.charts import BarPanel, bar_chart
from scripts.common.tables import markdown_table
from util.device import select_device
from util.flags import Commands
from util.text import counted


def components(
    workload: Workload, object_counts: Sequence[int], device: torch.device = CPU
) -> list[dict[str, Any]]:
    """Milliseconds of the four parts of whole runs: key encoding a frame, value encoding a memorised frame, reading and decoding a predicted frame.

    The parts are timed inside the runs, so that each side works as it does (frame by frame; several frames at once). Source: STCN, Figure 5.
    """
    network = synthetic_network(workload.network).to(device)
    segmenter, reference = VideoSegmenter(network, "stcn", device=device), ReferenceNetwork(network)
    owners = {
        "reference": (
            (reference, "encode_key"),
            (reference, "encode_value"),
            (ReferenceMemory, "read"),
            (reference, "decode"),
        ),
        "ours": (
            (segmenter.network, "encode_key"),
            (segmenter.network, "encode_value"),
            (MemoryBank, "read"),
            (segmenter.network, "decode"),
        ),
    }
    rows = []
    for objects in object_counts:
        clip = Clip.of(workload, objects, workload.frames)
        video = clip.reference(reference)
        runs = {
            "reference": lambda clip=clip: clip.reference(reference).run(),
            "ours": lambda clip=clip: list(segmenter.segment(clip.frames, clip.labels)),
        }
        note(f"objects {objects}: warming up")
        warm_up = Clip(clip.frames[:2], clip.labels)
        warm_up.reference(reference).run()
        time_ours(segmenter, warm_up)
        memorised = 1 + (workload.frames - 2) // video.mem_every  # the last frame never is
        shares = dict(
            zip(
                COMPONENTS,
                (workload.frames, memorised, workload.frames - 1, workload.frames - 1),
                strict=True,
            )
        )
        times: dict[str, dict[str, list[float]]] = {side: defaultdict(list) for side in SIDES}
        for turn in turns(workload.repeats):
            for side in SIDES:
                clock = ComponentClock(device=device)
                with clock.watching(owners[side]):
                    runs[side]()
                for component, seconds in clock.seconds.items():
                    times[side][component].append(1000 * seconds / shares[component])
            note(f"{turn}: done")
        milliseconds = {
            side: {
                component: statistics.median(values) for component, values in times[side].items()
            }
            for side in SIDES
        }
        rows.append(
            {"objects": objects, "memorised_frames": memorised, "milliseconds": milliseconds}
        )
    return rows


def run_components(flags: argparse.Namespace) -> tuple[str, list[dict[str, Any]]]:
    """Where the time goes."""
    device = select_device(flags.device)
    rows = components(Workload.of(flags), flags.objects, device)
    lines = [
        (
            row["objects"],
            side,
            *(f"{row['milliseconds'][side][component]:.4g}" for component in COMPONENTS),
        )
        for row in rows
        for side in SIDES
    ]
    units = (
        "key encoding, ms/frame",
        "value encoding, ms/memorised frame",
        "reading, ms/predicted frame",
        "decoding, ms/predicted frame",
    )
    table = markdown_table(("objects", "side", *units), lines)
    video = f"{flags.network}, {flags.width}×{flags.height}, {flags.frames} frames, up to {rows[0]['memorised_frames']} in memory"
    title = f"Components: {video}, median of {flags.repeats}"
    if flags.plot:
        panels = [
            BarPanel(
                counted(row["objects"], "object"),
                [[row["milliseconds"][side][part] for part in COMPONENTS] for side in SIDES],
            )
            for row in rows
        ]
        subtitle = f"{video}, {device}, {counted(flags.threads, 'thread')}; value encoding a memorised frame".replace(
            "×", "x"
        )  # not in Pillow's own font
        bar_chart(flags.plot, "Milliseconds a frame", subtitle, COMPONENTS, SIDES, panels)
    return f"### {title}\n\n{table}", rows


def add(commands: Commands) -> None:
    """The command and its flags."""
    added = add_command(commands, "components", run_components, "stcn")
    add_workload(added)
    add_plot(added)
