"""`memory` and `stream`: peak memory of a run. Each run has its own process, since the peak of a
process never falls.

The peak is that of the resident memory once the network is built. The growth is the peak minus the
memory at that moment.
"""

import argparse
import contextlib
import dataclasses
import gc
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import torch

from inference import VideoSegmenter
from scripts.benchmarks.command import add_command, add_object_count
from scripts.benchmarks.reference import ReferenceNetwork, ReferenceVideo
from scripts.benchmarks.synthetic import MovingScene, synthetic_network
from scripts.common.progress import print_progress
from scripts.common.tables import markdown_table
from util.device import peak_memory_mb, reset_peak_memory, resident_mb, select_device
from util.errors import InputError
from util.flags import Commands, at_least
from util.text import counted

_RESET_PEAK = Path("/proc/self/clear_refs")
_HEADER = ("", "network built, MB", "peak, MB", "growth, MB", "time, s")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Probe:
    """A run to be measured.

    side: "ours" streams, frame in, labels out; "reference" holds the whole video.
    memory: the memory policy of ours.
    """

    side: str
    network: str
    height: int
    width: int
    frames: int
    objects: int
    threads: int
    memory: str = "every-k"
    device: str = "cpu"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Peak:
    """What was measured; memory in 10^6 bytes."""

    baseline_mb: float  # once the network is built
    peak_mb: float
    seconds: float

    @property
    def growth_mb(self) -> float:
        """The memory that the video took."""
        return self.peak_mb - self.baseline_mb

    def as_dict(self) -> dict[str, float]:
        """All figures, as plain values."""
        return {**dataclasses.asdict(self), "growth_mb": self.growth_mb}


def measure(probe: Probe) -> Peak:
    """Run the probe in a new process.

    Raises: InputError if that process is ended from outside, as it is when memory runs out.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(_run, probe).result()
        except BrokenProcessPool as error:
            raise InputError(
                f"{probe.side}, {probe.frames} frames of {probe.width}×{probe.height}: the process "
                "was ended early, most likely because memory ran out; use fewer or smaller frames"
            ) from error


def _run(probe: Probe) -> Peak:
    torch.set_num_threads(probe.threads)
    scene = MovingScene(probe.height, probe.width, probe.objects)
    device = select_device(probe.device)
    network, labels = synthetic_network(probe.network).to(device), scene.labels(0)
    streams = probe.side == "ours"
    if streams:
        segmenter = VideoSegmenter(network, "stcn", device=device, memory=probe.memory)
        del network
    gc.collect()
    baseline = _reset_peak(device)
    start = time.perf_counter()
    frames = scene.frames(probe.frames)
    if streams:
        session = segmenter.session()
        for index, frame in enumerate(frames):
            session.step(frame, labels if index == 0 else None)
        session.flush()
    else:
        ReferenceVideo(ReferenceNetwork(network), frames, probe.frames, labels).run()
    return Peak(
        baseline_mb=baseline, peak_mb=peak_memory_mb(device), seconds=time.perf_counter() - start
    )


def _reset_peak(device: torch.device) -> float:
    """Restart the measurement of the peak, if the system can (CUDA, Linux).

    Returns: the memory in use now, in 10^6 bytes.
    """
    if device.type == "cuda":
        reset_peak_memory(device)
        return torch.cuda.memory_allocated(device) / 1e6
    with contextlib.suppress(OSError):
        _RESET_PEAK.write_text("5")
    return resident_mb()


def run_memory(flags: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """Peak memory of ours, which streams, and of the reference, which holds the video. Both
    memorise every fifth frame."""
    peaks = {}
    for side in ("ours", "reference"):
        print_progress(f"{side}: {flags.frames} frames")
        peaks[side] = measure(_probe(flags, side, flags.frames))
    ratio = peaks["ours"].growth_mb / peaks["reference"].growth_mb
    table = markdown_table(_HEADER, [_row(side, peak) for side, peak in peaks.items()])
    title = f"Peak memory: {_video(flags)}, {flags.frames} frames"
    notes = f"Ours takes {ratio:.3f} of the reference's memory for the video (1/{1 / ratio:.1f})."
    return f"### {title}\n\n{table}\n\n{notes}", {
        "growth_ratio": ratio,
        "peaks": {side: peak.as_dict() for side, peak in peaks.items()},
    }


def run_stream(flags: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """Peak memory of a short and of a long video with a bounded memory."""
    if len(flags.frames) != 2:
        raise InputError(
            f"--frames {' '.join(map(str, flags.frames))}: two lengths are compared; "
            "give two numbers"
        )
    peaks = []
    for frames in flags.frames:
        print_progress(f"{frames} frames")
        peaks.append(measure(_probe(flags, "ours", frames, flags.memory)))
    short, long = peaks
    ratio, growth_ratio = long.peak_mb / short.peak_mb, long.growth_mb / short.growth_mb
    names = (f"{frames:,} frames" for frames in flags.frames)
    table = markdown_table(_HEADER, map(_row, names, peaks))
    notes = (
        f"The longer video's peak is {ratio:.4f} of the shorter one's; "
        f"of the growth alone, {growth_ratio:.4f}."
    )
    title = f"Streaming: {_video(flags)}, memory {flags.memory}"
    return f"### {title}\n\n{table}\n\n{notes}", {
        "peak_ratio": ratio,
        "growth_ratio": growth_ratio,
        "frames": flags.frames,
        "peaks": [peak.as_dict() for peak in peaks],
    }


def _probe(flags: argparse.Namespace, side: str, frames: int, memory: str = "every-k") -> Probe:
    names = ("network", "height", "width", "objects", "threads", "device")
    shared = {name: getattr(flags, name) for name in names}
    return Probe(side=side, frames=frames, memory=memory, **shared)


def _video(flags: argparse.Namespace) -> str:
    size = f"{flags.width}×{flags.height}"
    return f"{flags.network}, {size}, {counted(flags.objects, 'object')}"


def _row(name: str, peak: Peak) -> tuple[str, ...]:
    return (
        name,
        f"{peak.baseline_mb:.0f}",
        f"{peak.peak_mb:.0f}",
        f"{peak.growth_mb:.1f}",
        f"{peak.seconds:.1f}",
    )


def add(commands: Commands) -> None:
    """Add both commands and their flags."""
    parser = add_command(commands, "memory", run_memory, "tiny")
    parser.add_argument("--frames", type=at_least(2), default=500, help="of the video")
    add_object_count(parser)
    parser = add_command(commands, "stream", run_stream, "tiny")
    parser.add_argument(
        "--frames",
        type=at_least(2),
        nargs="+",
        default=[200, 2000],
        help="lengths of the two videos",
    )
    add_object_count(parser)
    parser.add_argument("--memory", default="first-and-latest", help="memory policy")
