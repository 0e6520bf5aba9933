"""How benchmarks measure time. All sides run in turns in one process, so that all of them meet the
same state of the machine."""

import gc
import os
import time
from collections.abc import Iterator, Sequence
from types import TracebackType

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

CPU = torch.device("cpu")
# Keeps torch's profiler from printing a line at each start and stop.
os.environ.setdefault("KINETO_LOG_LEVEL", "6")


def wait_for(device: torch.device) -> None:
    """Wait until a GPU has finished its queued work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def turns(repeats: int) -> Iterator[str]:
    """The titles of the turns; garbage is collected before each turn."""
    for turn in range(repeats):
        gc.collect()
        yield f"turn {turn + 1} of {repeats}"


class RegionTimer:
    """Sums up the time spent in regions that code labels with `torch.profiler.record_function`.

    seconds: by region: on the CPU the time that passed, on CUDA the time of the region's kernels.
    elapsed_seconds: of all laps. On CUDA it includes gaps in which no kernel ran.

    Regions instead of forward hooks, since reading the memory is not a module, and the reference
    calls inner modules only. The profiler makes runs 1 to 3 % slower (CPU; tiny, stcn_small and
    stcn at 480p), all parts alike. It records every operation, thousands per frame: call `lap`
    after each frame to evaluate and free them. The time this takes is not counted.
    """

    def __init__(self, regions: Sequence[str], device: torch.device):
        self.seconds = dict.fromkeys(regions, 0.0)
        self.elapsed_seconds = 0.0
        self._device = device
        self._activities = [ProfilerActivity.CPU]
        if device.type == "cuda":
            self._activities.append(ProfilerActivity.CUDA)

    def __enter__(self) -> "RegionTimer":
        self._start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()

    def lap(self) -> None:
        """Add up what was recorded since the last lap, and forget it. Not to be called inside a
        region."""
        self._stop()
        self._start()

    def _start(self) -> None:
        wait_for(self._device)
        self._profiler = profile(activities=self._activities)
        self._profiler.start()
        self._started = time.perf_counter()

    def _stop(self) -> None:
        wait_for(self._device)
        self.elapsed_seconds += time.perf_counter() - self._started
        self._profiler.stop()
        on_gpu = self._device.type == "cuda"
        for event in self._profiler.events():
            # A region on CUDA is also an event of the GPU, from its first kernel to its last.
            if event.name in self.seconds and event.device_type == DeviceType.CPU:
                microseconds = event.device_time_total if on_gpu else event.cpu_time_total
                self.seconds[event.name] += microseconds / 1e6
