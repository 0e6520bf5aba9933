"""Peak memory of a run, each in a process of its own: what a process once held, its peak keeps showing.

The peak is that of the resident memory after the network is built, the growth what it exceeds the memory at that moment by.
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
from scripts.benchmarks.command import add_command
from scripts.benchmarks.reference import ReferenceNetwork, ReferenceVideo
from scripts.benchmarks.synthetic import MovingScene, synthetic_network
from scripts.benchmarks.timing import note
from scripts.common.tables import markdown_table
from util.device import peak_memory_mb, reset_peak_memory, resident_mb, select_device
from util.errors import InputError
from util.flags import Commands, at_least
from util.text import counted

_CLEAR = Path("/proc/self/clear_refs")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Probe:
    """One run to be measured. side: "ours" streams, frame in, labels out; "reference" holds the whole video. memory: ours' policy."""

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
    """What was measured; in 10^6 bytes."""

    baseline_mb: float  # resident once the network is built
    peak_mb: float
    seconds: float

    @property
    def growth_mb(self) -> float:
        """What the video took."""
        return self.peak_mb - self.baseline_mb


def measure(probe: Probe) -> Peak:
    """Run the probe in a fresh process. Raises InputError if that process is ended, as by a machine out of memory."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(_run, probe).result()
        except BrokenProcessPool as error:
            raise InputError(
                f"{probe.side}, {probe.frames} frames of {probe.width}×{probe.height}: the process was ended before its end, most likely for want of memory; "
                "ask for fewer or smaller frames"
            ) from error


def _run(probe: Probe) -> Peak:
    torch.set_num_threads(probe.threads)
    scene = MovingScene(probe.height, probe.width, probe.objects)
    device = select_device(probe.device)
    network = synthetic_network(probe.network).to(device)
    labels = scene.labels(0)
    segmenter = (
        VideoSegmenter(network, "stcn", device=device, memory=probe.memory)
        if probe.side == "ours"
        else None
    )
    if segmenter is not None:
        del network
    gc.collect()
    baseline = _reset_peak(device)
    start = time.perf_counter()
    if segmenter is not None:
        session = segmenter.session()
        for index, frame in enumerate(scene.frames(probe.frames)):
            session.step(frame, labels if index == 0 else None)
        session.flush()
    else:
        ReferenceVideo(
            ReferenceNetwork(network), scene.frames(probe.frames), probe.frames, labels
        ).run()
    return Peak(
        baseline_mb=baseline, peak_mb=peak_memory_mb(device), seconds=time.perf_counter() - start
    )


def _reset_peak(device: torch.device) -> float:
    """Let the peak count from now on where the system can (CUDA, Linux), and return the memory held now."""
    if device.type == "cuda":
        reset_peak_memory(device)
        return torch.cuda.memory_allocated(device) / 1e6
    with contextlib.suppress(OSError):
        _CLEAR.write_text("5")
    return resident_mb()


def run_memory(flags: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """Ours streaming against the reference holding the video, every fifth frame memorised by both."""
    peaks = {}
    for side in ("ours", "reference"):
        note(f"{side}: {flags.frames} frames")
        peaks[side] = measure(_probe(flags, side, flags.frames))
    ratio = peaks["ours"].growth_mb / peaks["reference"].growth_mb
    table = markdown_table(_PEAK_HEADER, [_peak_row(side, peak) for side, peak in peaks.items()])
    title = f"Peak memory: {flags.network}, {flags.width}×{flags.height}, {flags.frames} frames, {counted(flags.objects, 'object')}"
    text = f"### {title}\n\n{table}\n\nOurs takes {ratio:.3f} of the reference's memory for the video (1/{1 / ratio:.1f})."
    return text, {
        "growth_ratio": ratio,
        "peaks": {side: _peak_values(peak) for side, peak in peaks.items()},
    }


def run_stream(flags: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """A bounded memory's peak does not depend on the video's length."""
    if len(flags.frames) != 2:
        raise InputError(
            f"--frames {' '.join(map(str, flags.frames))}: two lengths are compared; give two numbers"
        )
    peaks = []
    for frames in flags.frames:
        note(f"{frames} frames")
        peaks.append(measure(_probe(flags, "ours", frames, flags.memory)))
    short, long = peaks
    ratio, growth_ratio = long.peak_mb / short.peak_mb, long.growth_mb / short.growth_mb
    table = markdown_table(
        _PEAK_HEADER,
        [
            _peak_row(f"{frames:,} frames", peak)
            for frames, peak in zip(flags.frames, peaks, strict=True)
        ],
    )
    title = f"Streaming: {flags.network}, {flags.width}×{flags.height}, {counted(flags.objects, 'object')}, memory {flags.memory}"
    text = f"### {title}\n\n{table}\n\nThe longer video's peak is {ratio:.4f} of the shorter one's; of the growth alone, {growth_ratio:.4f}."
    return text, {
        "peak_ratio": ratio,
        "growth_ratio": growth_ratio,
        "frames": flags.frames,
        "peaks": [_peak_values(peak) for peak in peaks],
    }


def _probe(flags: argparse.Namespace, side: str, frames: int, memory: str = "every-k") -> Probe:
    return Probe(
        side=side,
        network=flags.network,
        height=flags.height,
        width=flags.width,
        frames=frames,
        objects=flags.objects,
        threads=flags.threads,
        memory=memory,
        device=flags.device,
    )


_PEAK_HEADER = ("", "network built, MB", "peak, MB", "growth, MB", "time, s")


def _peak_row(name: str, peak: Peak) -> tuple[str, ...]:
    return (
        name,
        f"{peak.baseline_mb:.0f}",
        f"{peak.peak_mb:.0f}",
        f"{peak.growth_mb:.1f}",
        f"{peak.seconds:.1f}",
    )


def _peak_values(peak: Peak) -> dict[str, float]:
    return {**dataclasses.asdict(peak), "growth_mb": peak.growth_mb}


def add(commands: Commands) -> None:
    """The two commands and their flags."""
    added = add_command(commands, "memory", run_memory, "tiny")
    added.add_argument("--frames", type=at_least(2), default=500, help="of the video")
    added.add_argument("--objects", type=at_least(1), default=1, help="number of objects")
    added = add_command(commands, "stream", run_stream, "tiny")
    added.add_argument(
        "--frames",
        type=at_least(2),
        nargs="+",
        default=[200, 2000],
        help="lengths of the two videos",
    )
    added.add_argument("--objects", type=at_least(1), default=1, help="number of objects")
    added.add_argument("--memory", default="first-and-latest", help="the memory's policy")
