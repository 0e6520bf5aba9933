"""Peak memory of a run, each in a process of its own: what a process once held, its peak keeps showing.

The peak is that of the resident memory after the network is built, the growth what it exceeds the memory at that moment by.
"""

import contextlib
import dataclasses
import gc
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import torch

from inference import VideoSegmenter
from util.errors import InputError
from util.memory import peak_resident_mb, resident_mb

from .material import MovingScene, made_up_network
from .reference import ReferenceNetwork, ReferenceVideo

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
    network = made_up_network(probe.network)
    labels = scene.labels(0)
    segmenter = VideoSegmenter(network, "stcn", device="cpu", memory=probe.memory) if probe.side == "ours" else None
    if segmenter is not None:
        del network
    gc.collect()
    baseline = _reset_peak()
    start = time.perf_counter()
    if segmenter is not None:
        session = segmenter.session()
        for index, frame in enumerate(scene.frames(probe.frames)):
            session.step(frame, labels if index == 0 else None)
        session.flush()
    else:
        ReferenceVideo(ReferenceNetwork(network), scene.frames(probe.frames), probe.frames, labels).run()
    return Peak(baseline_mb=baseline, peak_mb=peak_resident_mb(), seconds=time.perf_counter() - start)


def _reset_peak() -> float:
    """Let the peak count from now on where the system can (Linux), and return the resident memory."""
    with contextlib.suppress(OSError):
        _CLEAR.write_text("5")
    return resident_mb()
