"""What time measurements share: what is run, by turns in one process, so that all sides meet the same state of the machine, and the clock of components.

Legend: H W frame size.
"""

import argparse
import contextlib
import dataclasses
import gc
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from inference import VideoSegmenter
from scripts.benchmarks.reference import ReferenceNetwork, ReferenceVideo
from scripts.benchmarks.synthetic import MovingScene
from util.flags import at_least

CPU = torch.device("cpu")
SIDES = ("reference", "ours")
COMPONENTS = ("key encoding", "value encoding", "reading", "decoding")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Workload:
    """What both sides run."""

    network: str = "stcn"
    height: int = 480
    width: int = 854
    frames: int = 20
    repeats: int = 3

    @staticmethod
    def of(flags: argparse.Namespace) -> "Workload":
        """As the flags say, those of add_workload among them."""
        return Workload(
            **{field.name: getattr(flags, field.name) for field in dataclasses.fields(Workload)}
        )


def add_workload(added: argparse.ArgumentParser) -> None:
    """The flags of whole videos, for several numbers of objects."""
    added.add_argument("--frames", type=at_least(2), default=20, help="of the video")
    added.add_argument(
        "--objects",
        type=at_least(1),
        nargs="+",
        default=[1, 3],
        help="numbers of objects to run with",
    )
    added.add_argument("--repeats", type=at_least(1), default=3, help="runs of each side, by turns")


@dataclasses.dataclass(frozen=True)
class Clip:
    """Frames uint8 [H, W, 3], made before the clock starts, and the first frame's labels [H, W]."""

    frames: list[np.ndarray]
    labels: np.ndarray

    @staticmethod
    def of(workload: Workload, objects: int, frames: int) -> "Clip":
        scene = MovingScene(workload.height, workload.width, objects)
        return Clip(list(scene.frames(frames)), scene.labels(0))

    def reference(self, network: ReferenceNetwork) -> ReferenceVideo:
        return ReferenceVideo(network, self.frames, len(self.frames), self.labels)


def wait_for(device: torch.device) -> None:
    """Until a GPU has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def time_ours(segmenter: VideoSegmenter, clip: Clip) -> float:
    """Seconds of our whole run."""
    start = time.perf_counter()
    for _ in segmenter.segment(clip.frames, clip.labels):
        pass
    return time.perf_counter() - start


class ComponentClock:
    """Adds up the seconds spent in functions, by component; on CUDA each call's, the device's work done before and after."""

    def __init__(self, components: Sequence[str] = COMPONENTS, device: torch.device | None = None):
        self.seconds = dict.fromkeys(components, 0.0)
        self._device = device

    def synchronise(self) -> None:
        """Wait for the device's work."""
        if self._device is not None:
            wait_for(self._device)

    def timed(self, component: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, its time counted towards the component."""

        def counted(*arguments: Any, **keywords: Any) -> Any:
            self.synchronise()
            start = time.perf_counter()
            try:
                return function(*arguments, **keywords)
            finally:
                self.synchronise()
                self.seconds[component] += time.perf_counter() - start

        return counted

    @contextlib.contextmanager
    def watching(self, owners: Sequence[tuple[Any, str]]) -> Iterator[None]:
        """Count the calls of these (owner, method name), one for each component, in the components' order."""
        with contextlib.ExitStack() as stack:
            for component, (owner, method) in zip(self.seconds, owners, strict=True):
                stack.enter_context(
                    patch.object(owner, method, self.timed(component, getattr(owner, method)))
                )
            yield


def turns(repeats: int) -> Iterator[str]:
    """Names of the turns, garbage collected before each."""
    for turn in range(repeats):
        gc.collect()
        yield f"turn {turn + 1} of {repeats}"


def note(text: str) -> None:
    """Progress, apart from the results on stdout."""
    print(text, file=sys.stderr, flush=True)
