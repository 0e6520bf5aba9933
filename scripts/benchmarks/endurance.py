"""`endurance`: time per frame and memory at the start and at the end of a long video, for several
memory policies.

Each policy runs in its own process, which gives it its own peak memory. The policies take turns of
one block of frames, so that all of them meet the same state of the machine. Frames are computed
before the clock starts.
"""

import argparse
import contextlib
import dataclasses
import multiprocessing
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any

import torch

from inference import VideoSegmenter
from scripts.benchmarks.command import add_command, add_object_count
from scripts.benchmarks.synthetic import MovingScene, synthetic_network
from scripts.benchmarks.timing import wait_for
from scripts.common.progress import print_progress
from scripts.common.tables import markdown_table
from util.device import peak_memory_mb, select_device
from util.errors import InputError
from util.flags import Commands, at_least
from util.settings import select_fields
from util.text import counted

BLOCK_FRAMES = 5  # as many as lie between two writes of every-k, so that all blocks are alike
# The values of --policies: settings of VideoSegmenter.
_POLICIES = {
    "every-k": {"memory": "every-k"},
    "first-and-latest": {"memory": "first-and-latest"},
    **{
        f"{policy}:{frames}": {"memory": policy, "memory_frames": frames}
        for policy in ("lfu", "lfu-weight", "fifo", "random")
        for frames in (1, 2, 4, 8)
    },
}
_HEADER = (
    "memory",
    "first tenth, ms/frame",
    "last tenth, ms/frame",
    "last / first",
    "bank, MB",
    "process peak, MB",
    "last / first",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """A video that every policy segments.

    frames: after the warm-up, a multiple of 10 blocks.
    warm_up_frames: in which the memories fill, a positive multiple of a block.
    """

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
    """What one block took, and the state of the process after it; memory in 10^6 bytes."""

    seconds: float
    process_peak_mb: float
    memory_mb: float
    memory_elements: int


def endurance(run: Run, policies: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Compare the first and the last tenth of the frames after the warm-up.

    policies: settings of VideoSegmenter by name.
    Returns: a row of figures for each policy. Seconds per frame are medians over blocks.
    Raises: InputError if the numbers of frames are not multiples as Run says.
    """
    tenth = 10 * BLOCK_FRAMES
    if run.frames % tenth or run.warm_up_frames % BLOCK_FRAMES or run.warm_up_frames < 1:
        raise InputError(
            f"{run.frames} frames after {run.warm_up_frames} of warm-up: "
            f"multiples of {tenth} and of {BLOCK_FRAMES} are needed"
        )
    blocks: dict[str, list[_Block]] = {name: [] for name in policies}
    total = run.warm_up_frames + run.frames
    with _players(run, policies) as pipes:
        for start in range(0, total, BLOCK_FRAMES):
            for name, pipe in pipes.items():
                pipe.send(start)
                blocks[name].append(_receive(pipe, name))
            if (start + BLOCK_FRAMES) % (run.frames // 10) == 0:
                print_progress(f"{start + BLOCK_FRAMES} of {total} frames")
    return [_row(name, done[run.warm_up_frames // BLOCK_FRAMES :]) for name, done in blocks.items()]


@contextlib.contextmanager
def _players(
    run: Run, policies: Mapping[str, Mapping[str, Any]]
) -> Iterator[dict[str, Connection]]:
    """Start a process for each policy, and end all of them when the context closes.

    Yields: for each policy a pipe that takes the index of a block's first frame and returns the
    block.
    """
    context = multiprocessing.get_context("spawn")
    processes, pipes = [], {}
    for name, settings in policies.items():
        pipes[name], far_end = context.Pipe()
        process = context.Process(target=_play, args=(far_end, run, dict(settings)), daemon=True)
        process.start()
        far_end.close()
        processes.append(process)
    try:
        yield pipes
    finally:
        for process, pipe in zip(processes, pipes.values(), strict=True):
            pipe.close()
            process.terminate()
            process.join()


def _receive(pipe: Connection, name: str) -> _Block:
    try:
        return pipe.recv()
    except EOFError as error:
        raise InputError(
            f"{name}: its process was ended early, most likely because memory ran out; "
            "use fewer or smaller frames"
        ) from error


def _play(pipe: Connection, run: Run, settings: Mapping[str, Any]) -> None:
    """Segment block by block, as the pipe asks, until it is closed."""
    torch.set_num_threads(run.threads)
    scene = MovingScene(run.height, run.width, run.objects)
    device, network = select_device(run.device), synthetic_network(run.network)
    session = VideoSegmenter(network, "stcn", device=device, **settings).session()
    del network
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
    size = len(blocks) // 10
    tenths = [blocks[start : start + size] for start in range(0, len(blocks), size)]
    seconds = [statistics.median(block.seconds for block in tenth) for tenth in tenths]
    ends = {"first": tenths[0][-1], "last": tenths[-1][-1]}
    return {
        "policy": name,
        "seconds_per_frame": {
            "first": seconds[0] / BLOCK_FRAMES,
            "last": seconds[-1] / BLOCK_FRAMES,
        },
        "time_ratio": seconds[-1] / seconds[0],
        "memory_elements": {part: block.memory_elements for part, block in ends.items()},
        "memory_mb": {part: block.memory_mb for part, block in ends.items()},
        "process_peak_mb": {part: block.process_peak_mb for part, block in ends.items()},
        "tenths_seconds_per_frame": [value / BLOCK_FRAMES for value in seconds],
    }


def run_endurance(flags: argparse.Namespace) -> tuple[str, list[dict[str, Any]]]:
    """Time per frame and memory at the start and at the end of a long video, by memory policy."""
    run = select_fields(Run, flags)
    rows = endurance(run, {name: _POLICIES[name] for name in flags.policies})
    table = markdown_table(_HEADER, (_table_row(row) for row in rows))
    video = f"{run.network}, {run.width}×{run.height}, {counted(run.objects, 'object')}"
    frames = f"{run.frames:,} frames after {run.warm_up_frames} of warm-up"
    notes = (
        "Bank and peak: after the first tenth and at the end. "
        f"Medians over blocks of {BLOCK_FRAMES} frames."
    )
    return f"### Endurance: {video}, {frames}\n\n{table}\n\n{notes}", rows


def _table_row(row: dict[str, Any]) -> tuple[str, ...]:
    seconds, bank, peak = row["seconds_per_frame"], row["memory_mb"], row["process_peak_mb"]
    return (
        row["policy"],
        f"{1000 * seconds['first']:.2f}",
        f"{1000 * seconds['last']:.2f}",
        f"{row['time_ratio']:.3f}",
        f"{bank['first']:.2f}, {bank['last']:.2f}",
        f"{peak['first']:.0f}, {peak['last']:.0f}",
        f"{peak['last'] / peak['first']:.3f}",
    )


def add(commands: Commands) -> None:
    """Add the command and its flags."""
    parser = add_command(commands, "endurance", run_endurance, "tiny")
    parser.set_defaults(height=240, width=427, threads=1)
    parser.add_argument(
        "--frames",
        type=at_least(50),
        default=5000,
        help="of the video, after the warm-up; a multiple of 50",
    )
    parser.add_argument(
        "--warm_up_frames",
        type=at_least(5),
        default=100,
        help="first frames, in which the memories fill; a multiple of 5",
    )
    add_object_count(parser)
    parser.add_argument(
        "--policies",
        nargs="+",
        choices=_POLICIES,
        default=["every-k", "first-and-latest", "lfu:2", "lfu:4"],
        metavar="MEMORY",
        help="%(choices)s",
    )
