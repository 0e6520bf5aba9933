"""`policies`: memory policies compared with full memories: seconds per frame, in turns in one
process, and the ratio that the components' times predict.

A turn is as many frames as lie between two writes of every-k, so that all turns of a policy are
alike.

Legend: K objects, N memory elements, C channels.
"""

import argparse
import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from inference import SegmentationSession, VideoSegmenter
from inference.memory import MemoryBank
from model import NetworkConfig
from model.config import preset
from scripts.benchmarks.command import add_command, add_object_counts
from scripts.benchmarks.synthetic import MovingScene, synthetic_network
from scripts.benchmarks.timing import CPU, RegionTimer
from scripts.benchmarks.workload import COMPONENTS, Workload
from scripts.common.progress import print_progress
from scripts.common.tables import markdown_table
from util.device import select_device
from util.flags import Commands, at_least

TURN_FRAMES = 5
_WARM_UP_TURNS = 3  # in which the smallest memories fill
_HEADER = (
    "objects",
    "compared with",
    "s/frame",
    "LFU(2), s/frame",
    "times faster",
    "predicted",
    "measured / predicted",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ComparedPolicy:
    """A memory policy in the comparison.

    settings: of VideoSegmenter.
    writes_per_turn: frames that it memorises in a turn.
    filled_frames: how many frames its memory holds in the middle of the timed turns; None: as many
        as the policy keeps.
    """

    name: str
    settings: Mapping[str, Any]
    writes_per_turn: int
    filled_frames: int | None = None


@dataclasses.dataclass(frozen=True)
class PolicyTimes:
    """What was measured of a policy: seconds per frame of each turn, and for each component the
    seconds per frame (value encoding: per memorised frame) of each turn."""

    policy: ComparedPolicy
    memory_elements: int
    seconds_per_frame: Sequence[float]
    component_seconds: Mapping[str, Sequence[float]]


def compared_policies(memory_frames: int) -> list[ComparedPolicy]:
    """LFU(2), and what it is compared with: first-and-latest, and every-5 with `memory_frames`
    frames in memory."""
    return [
        ComparedPolicy(
            name="LFU(2)", settings={"memory": "lfu", "memory_frames": 2}, writes_per_turn=1
        ),
        ComparedPolicy(
            name="first-and-latest",
            settings={"memory": "first-and-latest"},
            writes_per_turn=TURN_FRAMES,
        ),
        ComparedPolicy(
            name=f"every-5 at {memory_frames} frames",
            settings={"memory": "every-k"},
            writes_per_turn=1,
            filled_frames=memory_frames,
        ),
    ]


def compare_policies(
    workload: Workload,
    object_counts: Sequence[int],
    policies: Sequence[ComparedPolicy],
    device: torch.device = CPU,
) -> list[dict[str, Any]]:
    """How many times faster the first policy is than each other one, measured and predicted.

    workload: `repeats` turns are timed; `frames` is not used.
    Returns: a row for each number of objects and each policy but the first.
    """
    network = synthetic_network(workload.network)
    segmenters = [
        VideoSegmenter(network, "stcn", device=device, **policy.settings) for policy in policies
    ]
    rows = []
    for objects in object_counts:
        print_progress(f"objects {objects}: filling memories")
        scene = MovingScene(workload.height, workload.width, objects)
        sessions = [segmenter.session() for segmenter in segmenters]
        rows += rows_of(objects, _time_in_turns(policies, sessions, scene, workload, device))
    return rows


def _time_in_turns(
    policies: Sequence[ComparedPolicy],
    sessions: Sequence[SegmentationSession],
    scene: MovingScene,
    workload: Workload,
    device: torch.device,
) -> list[PolicyTimes]:
    timers: list[list[RegionTimer]] = [[] for _ in policies]
    for turn in range(-_WARM_UP_TURNS, workload.repeats):
        first = (turn + _WARM_UP_TURNS) * TURN_FRAMES
        frames = [scene.frame(first + offset) for offset in range(TURN_FRAMES)]
        for policy, session, of_policy in zip(policies, sessions, timers, strict=True):
            timer = _play(session, frames, None if first else scene.labels(0), device)
            if turn >= 0:
                of_policy.append(timer)
            elif turn == -1 and policy.filled_frames is not None:
                # The memory grows by a frame per turn, and has this size in the middle.
                filled = policy.filled_frames - workload.repeats // 2
                _fill(session.memory, preset(workload.network), filled)
        if turn >= 0:
            seconds = ", ".join(
                f"{policy.name} {of_policy[-1].elapsed_seconds / TURN_FRAMES:.3f} s/frame"
                for policy, of_policy in zip(policies, timers, strict=True)
            )
            print_progress(f"turn {turn + 1} of {workload.repeats}: {seconds}")
    return [
        _policy_times(policy, session.memory.size, of_policy)
        for policy, session, of_policy in zip(policies, sessions, timers, strict=True)
    ]


def _play(
    session: SegmentationSession,
    frames: Sequence[np.ndarray],
    labels: np.ndarray | None,
    device: torch.device,
) -> RegionTimer:
    """Segment the frames of a turn; `labels` are the first one's, if it is the video's first."""
    with RegionTimer(COMPONENTS, device) as timer:
        for frame in frames:
            session.step(frame, labels)
            labels = None
            timer.lap()
    return timer


def _policy_times(
    policy: ComparedPolicy, memory_elements: int, timers: Sequence[RegionTimer]
) -> PolicyTimes:
    counts = dict.fromkeys(COMPONENTS, TURN_FRAMES) | {"value encoding": policy.writes_per_turn}
    return PolicyTimes(
        policy,
        memory_elements,
        [timer.elapsed_seconds / TURN_FRAMES for timer in timers],
        {name: [timer.seconds[name] / counts[name] for timer in timers] for name in COMPONENTS},
    )


def _fill(bank: MemoryBank, config: NetworkConfig, frame_count: int) -> None:
    """Write random elements until the bank holds `frame_count` frames. The time of a read does not
    depend on what is read."""
    held, generator = len(bank.frame_indices), torch.Generator().manual_seed(0)
    elements, latest, device = bank.size // held, int(bank.frames[-1]), bank.keys.device

    def random(channels: int) -> torch.Tensor:
        return torch.randn(elements, channels, generator=generator).to(device)

    for _ in range(frame_count - held):
        values = {object_id: random(config.value_channels) for object_id in bank.object_ids}
        bank.write(latest, random(config.key_channels), values)


def rows_of(objects: int, times: Sequence[PolicyTimes]) -> list[dict[str, Any]]:
    """A row of figures for each policy but the first, which the others are compared with.

    Predicted seconds per frame: key encoding, reading, decoding, and value encoding as often as
    the policy memorises. Reading is the median of the policy's own turns, the others are medians
    over the turns of all policies. Whatever else a frame takes is left out.
    """
    shared = {
        name: statistics.median(
            seconds for policy in times for seconds in policy.component_seconds[name]
        )
        for name in COMPONENTS
    }
    first, *others = times
    return [
        {
            "objects": objects,
            "faster": first.policy.name,
            "than": other.policy.name,
            "seconds_per_frame": {
                each.policy.name: statistics.median(each.seconds_per_frame)
                for each in (first, other)
            },
            "speedup": statistics.median(other.seconds_per_frame)
            / statistics.median(first.seconds_per_frame),
            "predicted_speedup": _predicted(other, shared) / _predicted(first, shared),
            "milliseconds": {
                each.policy.name: {
                    name: 1000 * statistics.median(each.component_seconds[name])
                    for name in COMPONENTS
                }
                for each in (first, other)
            },
            "memory_elements": {each.policy.name: each.memory_elements for each in (first, other)},
            "turns_seconds_per_frame": {
                each.policy.name: list(each.seconds_per_frame) for each in (first, other)
            },
        }
        for other in others
    ]


def _predicted(times: PolicyTimes, shared: Mapping[str, float]) -> float:
    reading = statistics.median(times.component_seconds["reading"])
    writing = shared["value encoding"] * times.policy.writes_per_turn / TURN_FRAMES
    return shared["key encoding"] + shared["decoding"] + reading + writing


def run_policies(flags: argparse.Namespace) -> tuple[str, list[dict[str, Any]]]:
    """Seconds per frame of LFU with 2 frames, first-and-latest and a full every-5 memory, and what
    the components' times predict."""
    workload = Workload(
        network=flags.network, height=flags.height, width=flags.width, repeats=flags.repeats
    )
    policies = compared_policies(flags.memory_frames)
    rows = compare_policies(workload, flags.objects, policies, select_device(flags.device))
    table = markdown_table(_HEADER, (_table_row(row) for row in rows))
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
    video = f"{flags.network}, {flags.width}×{flags.height}, frame by frame"
    title = f"Memory policies: {video}, median of {flags.repeats} turns of {TURN_FRAMES} frames"
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
    """Add the command and its flags."""
    parser = add_command(commands, "policies", run_policies, "stcn")
    add_object_counts(parser)
    parser.add_argument(
        "--memory_frames", type=at_least(8), default=100, help="frames in the every-5 memory"
    )
    parser.add_argument("--repeats", type=at_least(1), default=9, help="turns of each policy")
