"""`reading`: one frame's reading, reference and ours by turns; medians over the turns. Legend: K objects, N memory elements, M query positions, C channels."""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from inference.memory import MemoryBank
from model.config import preset
from scripts.benchmarks.command import add_command
from scripts.benchmarks.reference import ReferenceMemory
from scripts.benchmarks.timing import CPU, SIDES, note, turns, wait_for
from scripts.common.tables import markdown_table
from util.device import cuda_arithmetic, select_device
from util.flags import Commands, at_least


def reading(
    network: str,
    height: int,
    width: int,
    memory_frames: int,
    objects: int,
    top_k: int,
    repeats: int,
    device: torch.device = CPU,
) -> dict[str, Any]:
    """Seconds of one frame's reading from a memory of random keys and values of that network's widths, `memory_frames` frames of it."""
    config = preset(network)
    grid = -(-height // 16), -(-width // 16)
    positions = grid[0] * grid[1]
    generator = torch.Generator().manual_seed(0)
    bank, memory = MemoryBank(capacity=memory_frames * positions), ReferenceMemory(top_k)
    note("filling both memories")
    keys = torch.randn(1, config.key_channels, memory_frames * positions, generator=generator).to(
        device
    )
    values = torch.randn(
        objects, config.value_channels, memory_frames * positions, generator=generator
    ).to(device)
    for frame in range(memory_frames):
        rows = slice(frame * positions, (frame + 1) * positions)
        bank.write(
            frame,
            keys[0, :, rows].T,
            {number: values[number, :, rows].T for number in range(objects)},
        )
    memory.keys, memory.values = (
        keys,
        values,
    )  # what writing frame after frame ends in, without its copying
    query = torch.randn(1, config.key_channels, *grid, generator=generator).to(device)
    query_rows = query[0].flatten(1).T.contiguous()
    sides: dict[str, Callable[[], Tensor]] = {
        "reference": lambda: memory.read(query),
        "ours": lambda: bank.read(query_rows, range(objects), top_k),
    }
    times: dict[str, list[float]] = {side: [] for side in SIDES}
    with torch.no_grad(), cuda_arithmetic(device, tf32=False):
        difference = (
            (sides["ours"]().transpose(1, 2) - sides["reference"]().flatten(2)).abs().max().item()
        )
        for turn in turns(repeats):
            for side, read in sides.items():
                wait_for(device)
                start = time.perf_counter()
                read()
                wait_for(device)
                times[side].append(time.perf_counter() - start)
            note(
                f"{turn}: reference {times['reference'][-1]:.3f} s, ours {times['ours'][-1]:.3f} s"
            )
    median = {side: statistics.median(values) for side, values in times.items()}
    return {
        "memory_elements": memory_frames * positions,
        "query_positions": positions,
        "objects": objects,
        "seconds_per_read": median,
        "speedup": median["reference"] / median["ours"],
        "largest_readout_difference": difference,
        "runs_seconds": times,
    }


def run_reading(flags: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """Both sides' reading alone."""
    result = reading(
        flags.network,
        flags.height,
        flags.width,
        flags.memory_frames,
        flags.objects,
        flags.top_k,
        flags.repeats,
        select_device(flags.device),
    )
    table = markdown_table(
        ("memory frames", "objects", "reference, s", "ours, s", "times faster"),
        [
            (
                flags.memory_frames,
                flags.objects,
                *(f"{result['seconds_per_read'][side]:.3f}" for side in SIDES),
                f"{result['speedup']:.2f}",
            )
        ],
    )
    sizes = f"{result['memory_elements']:,} memory elements, {result['query_positions']:,} query positions, top {flags.top_k}"
    title = f"Reading one frame: {flags.network}, {flags.width}×{flags.height}, {sizes}, median of {flags.repeats}"
    return (
        f"### {title}\n\n{table}\n\nReadouts agree within {result['largest_readout_difference']:.1e}.",
        result,
    )


def add(commands: Commands) -> None:
    """The command and its flags."""
    added = add_command(commands, "reading", run_reading, "stcn")
    added.add_argument("--memory_frames", type=at_least(1), default=100, help="frames in memory")
    added.add_argument("--objects", type=at_least(1), default=3, help="number of objects")
    added.add_argument(
        "--top_k", type=at_least(1), default=20, help="elements each query position reads"
    )
    added.add_argument(
        "--repeats", type=at_least(1), default=5, help="reads of each side, by turns"
    )
