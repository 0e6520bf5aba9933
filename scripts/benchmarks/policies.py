"""Memory policies beside one another on a full memory: seconds a frame, by turns in one process, and what the components' times predict of them.

Legend: K objects, N memory elements, C channels. A turn is as many frames as lie between two writes of every-k: all turns of a side are alike.
"""

import argparse
import dataclasses
import statistics
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch

from inference import SegmentationSession, VideoSegmenter
from inference.memory import MemoryBank
from model import NetworkConfig
from scripts.benchmarks.command import add_command
from scripts.benchmarks.synthetic import MovingScene, synthetic_network
from scripts.benchmarks.timing import COMPONENTS, CPU, ComponentClock, Workload, note, wait_for
from scripts.common.tables import markdown_table
from util.device import select_device
from util.flags import Commands, at_least

TURN_FRAMES = 5
_WARM_UP_TURNS = 3  # in which the smallest memories fill


@dataclasses.dataclass(frozen=True, kw_only=True)
class Contestant:
    """A policy's settings, how many frames it writes in a turn, and of how many frames its memory is filled before the turns that are timed."""

    name: str
    settings: tuple[tuple[str, Any], ...]
    writes_a_turn: int
    filled_frames: int | None = None


def contestants(memory_frames: int) -> list[Contestant]:
    """LFU(2), and what it is compared with: first-and-latest, and every-5 with `memory_frames` frames in memory."""
    return [
        Contestant(
            name="LFU(2)", settings=(("memory", "lfu"), ("memory_frames", 2)), writes_a_turn=1
        ),
        Contestant(
            name="first-and-latest",
            settings=(("memory", "first-and-latest"),),
            writes_a_turn=TURN_FRAMES,
        ),
        Contestant(
            name=f"every-5 at {memory_frames} frames",
            settings=(("memory", "every-k"),),
            writes_a_turn=1,
            filled_frames=memory_frames,
        ),
    ]


def compare_policies(
    workload: Workload,
    object_counts: Sequence[int],
    sides: Sequence[Contestant],
    device: torch.device = CPU,
) -> list[dict[str, Any]]:
    """For each number of objects, and each side but the first: how many times faster the first is, measured and predicted.

    workload.repeats turns are timed; `frames` has no meaning here. Predicted: the medians of key encoding, value encoding and decoding over all sides, of reading
    over the side's own turns, each as often as the side needs it; what else a frame takes is left out.
    """
    network = synthetic_network(workload.network)
    segmenters = {
        side.name: VideoSegmenter(network, "stcn", device=device, **dict(side.settings))
        for side in sides
    }
    rows = []
    for objects in object_counts:
        note(f"objects {objects}: filling memories")
        scene = MovingScene(workload.height, workload.width, objects)
        sessions = {name: segmenter.session() for name, segmenter in segmenters.items()}
        turns: dict[str, list[float]] = defaultdict(list)
        parts: dict[str, dict[str, list[float]]] = {side.name: defaultdict(list) for side in sides}
        for turn in range(_WARM_UP_TURNS + workload.repeats):
            frames = [scene.frame(turn * TURN_FRAMES + offset) for offset in range(TURN_FRAMES)]
            for side in sides:
                clock = ComponentClock(device=device)
                network_in_use = segmenters[side.name].network
                with clock.watching(
                    (
                        (network_in_use, "encode_key"),
                        (network_in_use, "encode_value"),
                        (MemoryBank, "read"),
                        (network_in_use, "decode"),
                    )
                ):
                    seconds = _play(
                        device, sessions[side.name], frames, scene.labels(0) if turn == 0 else None
                    )
                if turn == _WARM_UP_TURNS - 1 and side.filled_frames is not None:
                    _fill(
                        sessions[side.name].memory,
                        network.config,
                        side.filled_frames - workload.repeats // 2,
                    )  # it grows by a frame a turn
                if turn >= _WARM_UP_TURNS:
                    turns[side.name].append(seconds / TURN_FRAMES)
                    for component, spent in clock.seconds.items():
                        parts[side.name][component].append(
                            spent
                            / (side.writes_a_turn if component == "value encoding" else TURN_FRAMES)
                        )
            if turn >= _WARM_UP_TURNS:
                note(
                    f"turn {turn - _WARM_UP_TURNS + 1} of {workload.repeats}: "
                    + ", ".join(f"{name} {times[-1]:.3f} s/frame" for name, times in turns.items())
                )
        rows += _rows(
            objects,
            sides,
            turns,
            parts,
            {name: session.memory.size for name, session in sessions.items()},
        )
    return rows


def _play(
    device: torch.device, session: SegmentationSession, frames: Sequence[Any], labels: Any
) -> float:
    start = time.perf_counter()
    for frame in frames:
        session.step(frame, labels)
        labels = None
    wait_for(device)
    return time.perf_counter() - start


def _fill(bank: MemoryBank, config: NetworkConfig, frame_count: int) -> None:
    """Write random elements until the bank holds `frame_count` frames: what a read takes does not depend on what is read."""
    held, generator = len(bank.frame_indices), torch.Generator().manual_seed(0)
    elements, latest, device = bank.size // held, int(bank.frames[-1]), bank.keys.device
    for _ in range(frame_count - held):
        values = {
            object_id: torch.randn(elements, config.value_channels, generator=generator).to(device)
            for object_id in bank.object_ids
        }
        bank.write(
            latest,
            torch.randn(elements, config.key_channels, generator=generator).to(device),
            values,
        )


def _rows(
    objects: int,
    sides: Sequence[Contestant],
    turns: dict[str, list[float]],
    parts: dict[str, dict[str, list[float]]],
    elements: dict[str, int],
) -> list[dict[str, Any]]:
    shared = {
        name: statistics.median(seconds for side in sides for seconds in parts[side.name][name])
        for name in COMPONENTS
    }
    measured = {side.name: statistics.median(turns[side.name]) for side in sides}
    predicted = {}
    for side in sides:
        reading = statistics.median(parts[side.name]["reading"])
        predicted[side.name] = (
            shared["key encoding"]
            + shared["decoding"]
            + reading
            + shared["value encoding"] * side.writes_a_turn / TURN_FRAMES
        )
    first, *others = sides
    return [
        {
            "objects": objects,
            "faster": first.name,
            "than": other.name,
            "seconds_per_frame": {side.name: measured[side.name] for side in (first, other)},
            "speedup": measured[other.name] / measured[first.name],
            "predicted_speedup": predicted[other.name] / predicted[first.name],
            "milliseconds": {
                side.name: {
                    name: 1000 * statistics.median(parts[side.name][name]) for name in COMPONENTS
                }
                for side in (first, other)
            },
            "memory_elements": {side.name: elements[side.name] for side in (first, other)},
            "turns_seconds_per_frame": {side.name: turns[side.name] for side in (first, other)},
        }
        for other in others
    ]


def run_policies(flags: argparse.Namespace) -> tuple[str, list[dict[str, Any]]]:
    """LFU with 2 frames beside first-and-latest and every-5 with a grown memory: seconds a frame, and what the components' times predict."""
    workload = Workload(
        network=flags.network,
        height=flags.height,
        width=flags.width,
        frames=TURN_FRAMES,
        repeats=flags.repeats,
    )
    rows = compare_policies(
        workload, flags.objects, contestants(flags.memory_frames), select_device(flags.device)
    )
    header = (
        "objects",
        "beside",
        "s/frame",
        "LFU(2), s/frame",
        "times faster",
        "predicted",
        "measured / predicted",
    )
    table = markdown_table(header, (_table_row(row) for row in rows))
    components = markdown_table(
        ("objects", "memory", *(f"{name}, ms" for name in COMPONENTS)),
        (
            (
                row["objects"],
                name,
                *(f"{row['milliseconds'][name][part]:.1f}" for part in COMPONENTS),
            )
            for row in rows
            for name in (row["than"], row["faster"])
        ),
    )
    title = f"Memory policies: {flags.network}, {flags.width}×{flags.height}, frame by frame, median of {flags.repeats} turns of {TURN_FRAMES} frames"
    return f"### {title}\n\n{table}\n\n{components}", rows


def _table_row(row: dict[str, Any]) -> tuple[str, ...]:
    seconds, gain, predicted = row["seconds_per_frame"], row["speedup"], row["predicted_speedup"]
    return (
        str(row["objects"]),
        row["than"],
        f"{seconds[row['than']]:.3f}",
        f"{seconds[row['faster']]:.3f}",
        f"{gain:.2f}",
        f"{predicted:.2f}",
        f"{gain / predicted:.3f}",
    )


def add(commands: Commands) -> None:
    """The command and its flags."""
    added = add_command(commands, "policies", run_policies, "stcn")
    added.add_argument(
        "--objects",
        type=at_least(1),
        nargs="+",
        default=[1, 3],
        help="numbers of objects to run with",
    )
    added.add_argument(
        "--memory_frames", type=at_least(8), default=100, help="frames in memory of every-5"
    )
    added.add_argument("--repeats", type=at_least(1), default=9, help="turns of each side")
