"""What a run took: time inside the sessions, memory, and numbers of frames."""

import dataclasses
import json
import time
from collections.abc import Sequence

import torch

from inference.propagation import Propagation
from inference.session import SegmentationSession
from util.device import peak_memory_mb, reset_peak_memory


@dataclasses.dataclass(frozen=True, kw_only=True)
class Totals:
    """What a run took; megabytes are 10^6 bytes.

    frames: those segmented. frames_skipped: further frames that were neither asked for nor
    memorised, and changed nothing.
    seconds: inside the sessions, without loading the network, waiting for frames, or writing.
    peak_memory_mb: allocated by torch on CUDA, resident in the process elsewhere.
    memory_elements, memory_mb: of the largest memory bank of any video.

    If several processes shared the run, frames are those of all, seconds those of the busiest, and
    memory that of the largest.
    """

    frames: int = 0
    frames_skipped: int = 0
    seconds: float = 0.0
    peak_memory_mb: float = 0.0
    memory_elements: int = 0
    memory_mb: float = 0.0

    @staticmethod
    def of_processes(totals: Sequence["Totals"]) -> "Totals":
        return Totals(
            frames=sum(part.frames for part in totals),
            frames_skipped=sum(part.frames_skipped for part in totals),
            seconds=max(part.seconds for part in totals),
            peak_memory_mb=max(part.peak_memory_mb for part in totals),
            memory_elements=max(part.memory_elements for part in totals),
            memory_mb=max(part.memory_mb for part in totals),
        )

    def as_json(self) -> str:
        """One line with all fields and fps; frames_skipped only if there are any."""
        values = {
            "frames": self.frames,
            "seconds": round(self.seconds, 4),
            "fps": round(self.frames / self.seconds if self.seconds else 0.0, 3),
            "peak_memory_mb": round(self.peak_memory_mb, 1),
            "memory_elements": self.memory_elements,
            "memory_mb": round(self.memory_mb, 3),
            **({"frames_skipped": self.frames_skipped} if self.frames_skipped else {}),
        }
        return json.dumps(values)


class Measurements:
    """Collects what the videos of one process take, on one device."""

    def __init__(self, device: torch.device):
        self.clock = DeviceClock(device)
        self._device = device
        self._frames, self._frames_skipped = 0, 0
        self._memory_elements, self._memory_mb = 0, 0.0  # the largest so far
        reset_peak_memory(device)

    def update_memory(self, session: SegmentationSession | Propagation) -> None:
        """Note what the memory of a session holds now."""
        if session.memory is not None:
            self._memory_elements = max(self._memory_elements, session.memory.size)
            self._memory_mb = max(self._memory_mb, session.memory.megabytes)

    def add_frames(self, session: SegmentationSession | Propagation) -> None:
        """Count the frames of a session that has ended."""
        self._frames += session.frames_given - session.frames_skipped
        self._frames_skipped += session.frames_skipped

    @property
    def peak_memory_mb(self) -> float:
        return peak_memory_mb(self._device)

    @property
    def totals(self) -> Totals:
        return Totals(
            frames=self._frames,
            frames_skipped=self._frames_skipped,
            seconds=self.clock.seconds,
            peak_memory_mb=self.peak_memory_mb,
            memory_elements=self._memory_elements,
            memory_mb=self._memory_mb,
        )


class DeviceClock:
    """A context manager that adds up the seconds spent in its blocks.

    The device is synchronised at both ends, so that its own work counts.
    """

    def __init__(self, device: torch.device):
        self.seconds = 0.0
        self._device = device

    def __enter__(self) -> None:
        self._synchronise()
        self._start_seconds = time.perf_counter()

    def __exit__(self, kind, error, traceback) -> None:
        if kind is None:
            self._synchronise()
        self.seconds += time.perf_counter() - self._start_seconds

    def _synchronise(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        elif self._device.type == "mps":
            torch.mps.synchronize()
