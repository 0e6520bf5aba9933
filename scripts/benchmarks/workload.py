"""What the benchmarks of whole videos run on both sides, the reference and our engine.

Legend: H W frame size.
"""

import argparse
import dataclasses

import numpy as np

from scripts.benchmarks.command import add_object_counts
from scripts.benchmarks.reference import ReferenceNetwork, ReferenceVideo
from scripts.benchmarks.synthetic import MovingScene
from util.flags import at_least
from util.settings import select_fields

SIDES = ("reference", "ours")
# Regions that both sides label for torch.profiler.
COMPONENTS = ("key encoding", "value encoding", "reading", "decoding")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Workload:
    """A synthetic video and the preset of the network. repeats: runs of each side."""

    network: str = "stcn"
    height: int = 480
    width: int = 854
    frames: int = 20
    repeats: int = 3

    @staticmethod
    def of(flags: argparse.Namespace) -> "Workload":
        """The workload of a command that has the flags of `add_workload`."""
        return select_fields(Workload, flags)

    def __str__(self) -> str:
        return f"{self.network}, {self.width}×{self.height}, {self.frames} frames"


def add_workload(parser: argparse.ArgumentParser) -> None:
    """Add the flags of commands that run whole videos with several numbers of objects."""
    parser.add_argument("--frames", type=at_least(2), default=20, help="of the video")
    add_object_counts(parser)
    parser.add_argument(
        "--repeats", type=at_least(1), default=3, help="runs of each side, in turns"
    )


@dataclasses.dataclass(frozen=True)
class Clip:
    """Frames uint8 [H, W, 3], computed in advance, and the first frame's labels [H, W]."""

    frames: list[np.ndarray]
    labels: np.ndarray

    @staticmethod
    def of(workload: Workload, objects: int) -> "Clip":
        """The video of a workload, with this number of objects."""
        scene = MovingScene(workload.height, workload.width, objects)
        return Clip(list(scene.frames(workload.frames)), scene.labels(0))

    def first(self, count: int) -> "Clip":
        """The first `count` frames."""
        return Clip(self.frames[:count], self.labels)

    def reference(self, network: ReferenceNetwork) -> ReferenceVideo:
        """The same video, prepared for the reference."""
        return ReferenceVideo(network, self.frames, len(self.frames), self.labels)
