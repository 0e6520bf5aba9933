"""`reading`: one memory read, reference and ours in turns; medians over the turns.

Legend: K objects, N memory elements, M query positions, C channels, h w at stride 16.
"""

import argparse
import dataclasses
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from inference.memory import MemoryBank, PositionKernel, ReadingConfig
from model.config import preset
from model.network import STRIDE
from scripts.benchmarks.command import add_command, add_object_count
from scripts.benchmarks.reference import ReferenceMemory
from scripts.benchmarks.timing import CPU, turns, wait_for
from scripts.common.progress import print_progress
from scripts.common.tables import markdown_table
from util.device import cuda_arithmetic, select_device
from util.flags import Commands, at_least
from util.ranges import check_ranges
from util.settings import select_fields

KERNELIZED = "ours, kernelized"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Read:
    """What is read: a memory of `memory_frames` frames of this size, of random keys and values
    with the network's numbers of channels. kernel_sigma: also read with a kernel of this width."""

    network: str = "stcn"
    height: int = 480
    width: int = 854
    memory_frames: int = 100
    objects: int = 3
    top_k: int = 20
    kernel_sigma: float | None = None
    repeats: int = 5

    @property
    def grid(self) -> tuple[int, int]:
        """h, w."""
        return -(-self.height // STRIDE), -(-self.width // STRIDE)

    @property
    def positions(self) -> int:
        """M, and the memory elements of a frame."""
        return self.grid[0] * self.grid[1]


def reading(read: Read, device: torch.device = CPU) -> dict[str, Any]:
    """Seconds of one read on both sides, and how far their readouts differ."""
    sides = _sides(read, device)
    times: dict[str, list[float]] = {side: [] for side in sides}
    with torch.no_grad(), cuda_arithmetic(device, tf32=False):
        readouts = [sides[side]() for side in sides]  # warms all up
        difference = (readouts[0] - readouts[1]).abs().max().item()
        for turn in turns(read.repeats):
            for side in sides:
                wait_for(device)
                start = time.perf_counter()
                sides[side]()
                wait_for(device)
                times[side].append(time.perf_counter() - start)
            seconds = ", ".join(f"{side} {times[side][-1]:.3f} s" for side in sides)
            print_progress(f"{turn}: {seconds}")
    median = {side: statistics.median(values) for side, values in times.items()}
    return {
        "memory_elements": read.memory_frames * read.positions,
        "query_positions": read.positions,
        "objects": read.objects,
        "seconds_per_read": median,
        "speedup": median["reference"] / median["ours"],
        "largest_readout_difference": difference,
        "runs_seconds": times,
    }


def _sides(read: Read, device: torch.device) -> dict[str, Callable[[], Tensor]]:
    """Fill both memories. Returns: for each side a function that reads, [K, C^v, M]."""
    print_progress("filling both memories")
    config, generator = preset(read.network), torch.Generator().manual_seed(0)
    elements = read.memory_frames * read.positions

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(device)

    keys = random(1, config.key_channels, elements)
    values = random(read.objects, config.value_channels, elements)
    query = random(1, config.key_channels, *read.grid)
    bank, memory = MemoryBank(capacity=elements), ReferenceMemory(read.top_k)
    for frame in range(read.memory_frames):
        rows = slice(frame * read.positions, (frame + 1) * read.positions)
        by_object = {number: values[number, :, rows].T for number in range(read.objects)}
        bank.write(frame, keys[0, :, rows].T, by_object)
    memory.keys, memory.values = keys, values  # as if written frame by frame, without the copies
    query_rows = query[0].flatten(1).T.contiguous()

    def ours(kernel: PositionKernel | None = None) -> Tensor:
        return bank.read(query_rows, range(read.objects), read.top_k, kernel).transpose(1, 2)

    sides = {"reference": lambda: memory.read(query).flatten(2), "ours": ours}
    if read.kernel_sigma is not None:
        sides[KERNELIZED] = lambda: ours(PositionKernel(read.kernel_sigma, read.grid))
    return sides


def run_reading(flags: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """Seconds of one memory read, reference and ours."""
    read = select_fields(Read, flags)
    check_ranges(ReadingConfig(kernel_sigma=read.kernel_sigma), "--")
    result = reading(read, select_device(flags.device))
    medians = result["seconds_per_read"]
    header = ("memory frames", "objects", *(f"{side}, s" for side in medians), "times faster")
    seconds = (f"{median:.3f}" for median in medians.values())
    row = (read.memory_frames, read.objects, *seconds, f"{result['speedup']:.2f}")
    sizes = (
        f"{read.network}, {read.width}×{read.height}, {result['memory_elements']:,} memory "
        f"elements, {result['query_positions']:,} query positions, top {read.top_k}"
    )
    agreement = f"Readouts agree within {result['largest_readout_difference']:.1e}."
    title = f"Reading one frame: {sizes}, median of {read.repeats}"
    return f"### {title}\n\n{markdown_table(header, [row])}\n\n{agreement}", result


def add(commands: Commands) -> None:
    """Add the command and its flags."""
    parser = add_command(commands, "reading", run_reading, "stcn")
    parser.add_argument("--memory_frames", type=at_least(1), default=100, help="frames in memory")
    add_object_count(parser, default=3)
    parser.add_argument(
        "--top_k", type=at_least(1), default=20, help="elements read for each query position"
    )
    parser.add_argument(
        "--kernel_sigma",
        type=float,
        metavar="SIGMA",
        help="also time kernelized reading (KMN), with a Gaussian of this width in positions",
    )
    parser.add_argument(
        "--repeats", type=at_least(1), default=5, help="reads of each side, in turns"
    )
