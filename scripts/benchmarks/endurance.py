"""Long videos: does a frame take as long, and the process as much memory, at the end as at the start? Memory policies by turns, each in a process of its own.

A turn is a block of frames: all policies meet the same state of the machine, and each process's peak memory is its own. Frames are made before the clock starts.
"""

import argparse
import dataclasses
import multiprocessing
import statistics
import time
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any

import torch

from inference import VideoSegmenter
from scripts.benchmarks.command import add_command
from scripts.benchmarks.synthetic import MovingScene, synthetic_network
from scripts.benchmarks.timing import note, wait_for
from scripts.common.tables import markdown_table
from util.device import peak_memory_mb, select_device
from util.errors import InputError
from util.flags import Commands, at_least
from util.text import counted

BLOCK_FRAMES = 5  # as many as lie between two writes, so that all blocks are alike
# the rows there may be: settings of VideoSegmenter
_POLICIES = {
    "every-k": {"memory": "every-k"},
    "first-and-latest": {"memory": "first-and-latest"},
    **{
        f"{policy}:{frames}": {"memory": policy, "memory_frames": frames}
        for policy in ("lfu", "lfu-weight", "fifo", "random")
        for frames in (1, 2, 4, 8)
    },
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """One video played by each policy. frames are those after the warm_up_frames, in which memories fill; both multiples of 10 blocks."""

    network: str
    height: int
    width: int
    frames: int
    warm_up_frames: int
    objects: int
    threads: int
    device: str = "cpu"


@dataclasses.dataclass(frozen=True)
class _Block:
    """What a turn took, and where the process stands after it; memory in 10^6 bytes."""

    seconds: float
    process_peak_mb: float
    memory_mb: float
    memory_elements: int


def endurance(run: Run, policies: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row of figures for each policy, {name: settings of VideoSegmenter}: the last tenth of the frames beside the first, and the peaks after both.

    Seconds a frame are medians over the blocks of a tenth. Raises InputError for a run of other lengths than whole tenths of blocks.
    """
    if (
        run.frames % (10 * BLOCK_FRAMES)
        or run.warm_up_frames % BLOCK_FRAMES
        or not run.warm_up_frames
    ):
        raise InputError(
            f"{run.frames} frames after {run.warm_up_frames}: multiples of {10 * BLOCK_FRAMES} and of {BLOCK_FRAMES} are needed"
        )
    blocks: dict[str, list[_Block]] = {name: [] for name in policies}
    context = multiprocessing.get_context("spawn")
    players = {}
    for name, settings in policies.items():
        ours, theirs = context.Pipe()
        process = context.Process(target=_play, args=(theirs, run, dict(settings)), daemon=True)
        process.start()
        theirs.close()
        players[name] = process, ours
    try:
        for start in range(0, run.warm_up_frames + run.frames, BLOCK_FRAMES):
            for name, (_, pipe) in players.items():
                pipe.send(start)
                blocks[name].append(_received(pipe, name))
            if (start + BLOCK_FRAMES) % (run.frames // 10) == 0:
                note(f"{start + BLOCK_FRAMES} of {run.warm_up_frames + run.frames} frames")
    finally:
        for process, pipe in players.values():
            pipe.close()
            process.terminate()
            process.join()
    return [_row(name, done[run.warm_up_frames // BLOCK_FRAMES :]) for name, done in blocks.items()]


def _received(pipe: Connection, name: str) -> _Block:
    try:
        return pipe.recv()
    except EOFError as error:
        raise InputError(
            f"{name}: its process was ended before its end, most likely for want of memory; ask for fewer or smaller frames"
        ) from error


def _play(pipe: Connection, run: Run, settings: Mapping[str, Any]) -> None:
    torch.set_num_threads(run.threads)
    scene = MovingScene(run.height, run.width, run.objects)
    device = select_device(run.device)
    session = VideoSegmenter(
        synthetic_network(run.network), "stcn", device=device, **settings
    ).session()
    while True:
        try:
            first = pipe.recv()
        except EOFError:
            return
        frames = [scene.frame(first + offset) for offset in range(BLOCK_FRAMES)]
        start = time.perf_counter()
        for offset, frame in enumerate(frames):
            session.step(frame, scene.labels(0) if first + offset == 0 else None)
        wait_for(device)
        seconds = time.perf_counter() - start
        pipe.send(
            _Block(seconds, peak_memory_mb(device), session.memory.megabytes, session.memory.size)
        )


def _row(name: str, blocks: Sequence[_Block]) -> dict[str, Any]:
    tenth = len(blocks) // 10
    parts = {"first": blocks[:tenth], "last": blocks[-tenth:]}
    seconds = {
        part: statistics.median(block.seconds for block in some) / BLOCK_FRAMES
        for part, some in parts.items()
    }
    return {
        "policy": name,
        "seconds_per_frame": seconds,
        "time_ratio": seconds["last"] / seconds["first"],
        "memory_elements": {part: some[-1].memory_elements for part, some in parts.items()},
        "memory_mb": {part: some[-1].memory_mb for part, some in parts.items()},
        "process_peak_mb": {part: some[-1].process_peak_mb for part, some in parts.items()},
        "tenths_seconds_per_frame": [
            statistics.median(block.seconds for block in blocks[start : start + tenth])
            / BLOCK_FRAMES
            for start in range(0, len(blocks), tenth)
        ],
    }


def run_endurance(flags: argparse.Namespace) -> tuple[str, list[dict[str, Any]]]:
    """Does a frame of a long video take as long, and the process as much memory, at its end as at its start?"""
    sizes = {
        name: getattr(flags, name)
        for name in (
            "network",
            "height",
            "width",
            "frames",
            "warm_up_frames",
            "objects",
            "threads",
            "device",
        )
    }
    rows = endurance(Run(**sizes), {name: _POLICIES[name] for name in flags.policies})
    header = (
        "memory",
        "first tenth, ms/frame",
        "last tenth, ms/frame",
        "last / first",
        "bank, MB",
        "process peak, MB",
        "last / first",
    )
    table = markdown_table(header, (_table_row(row) for row in rows))
    title = f"Endurance: {flags.network}, {flags.width}×{flags.height}, {counted(flags.objects, 'object')}, {flags.frames:,} frames after {flags.warm_up_frames}"
    return (
        f"### {title}\n\n{table}\n\nBank and peak: after the first tenth and at the end. Medians over blocks of {BLOCK_FRAMES} frames.",
        rows,
    )


def _table_row(row: dict[str, Any]) -> tuple[str, ...]:
    seconds, bank, peak = row["seconds_per_frame"], row["memory_mb"], row["process_peak_mb"]
    times = (
        f"{1000 * seconds['first']:.2f}",
        f"{1000 * seconds['last']:.2f}",
        f"{row['time_ratio']:.3f}",
    )
    return (
        row["policy"],
        *times,
        f"{bank['first']:.2f}, {bank['last']:.2f}",
        f"{peak['first']:.0f}, {peak['last']:.0f}",
        f"{peak['last'] / peak['first']:.3f}",
    )


def add(commands: Commands) -> None:
    """The command and its flags."""
    added = add_command(commands, "endurance", run_endurance, "tiny")
    added.set_defaults(height=240, width=427, threads=1)
    added.add_argument(
        "--frames",
        type=at_least(50),
        default=5000,
        help="of the video, after the first ones; a multiple of 50",
    )
    added.add_argument(
        "--warm_up_frames", type=at_least(5), default=100, help="first ones, in which memories fill"
    )
    added.add_argument("--objects", type=at_least(1), default=1, help="number of objects")
    added.add_argument(
        "--policies",
        nargs="+",
        choices=_POLICIES,
        default=["every-k", "first-and-latest", "lfu:2", "lfu:4"],
        metavar="MEMORY",
        help="%(choices)s",
    )
