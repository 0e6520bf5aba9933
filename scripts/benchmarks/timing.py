"""Time measurements, reference and ours by turns in one process, so that both meet the same state of the machine; medians over the turns.

Legend: K objects, T frames, N memory elements, M query positions, C channels, H W frame size.
"""

import contextlib
import dataclasses
import gc
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from inference import VideoSegmenter
from inference.memory import MemoryBank
from model import VOSNetwork
from model.config import preset

from .material import MovingScene, made_up_network
from .reference import ReferenceMemory, ReferenceNetwork, ReferenceVideo

FIRST_FRAMES = 7  # the frames the published code was timed on
CHECK_FRAMES = 7  # compared frame by frame before timing: one written to memory in between, at mem_every 5
TIE = 1e-3  # labels may differ where the two best probabilities are closer
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


@dataclasses.dataclass(frozen=True)
class _Clip:
    """Frames uint8 [H, W, 3], made before the clock starts, and the first frame's labels [H, W]."""

    frames: list[np.ndarray]
    labels: np.ndarray

    @staticmethod
    def of(workload: Workload, objects: int, frames: int) -> "_Clip":
        scene = MovingScene(workload.height, workload.width, objects)
        return _Clip(list(scene.frames(frames)), scene.labels(0))

    def reference(self, network: ReferenceNetwork) -> ReferenceVideo:
        return ReferenceVideo(network, self.frames, len(self.frames), self.labels)


@dataclasses.dataclass(frozen=True)
class Agreement:
    """How far the two sides' results lie apart. Pixels whose two best probabilities are within 1e-3 of each other are ties."""

    largest_probability_difference: float
    labels_differing: int  # outside ties
    pixels: int
    ties: int

    def sentence(self) -> str:
        return (
            f"The two sides: probabilities within {self.largest_probability_difference:.1e}, labels differ at {self.labels_differing} of "
            f"{self.pixels:,} pixels ({self.ties:,} others are ties)."
        )


def compare(network: VOSNetwork, segmenter: VideoSegmenter, frames: list[np.ndarray], labels: np.ndarray, lookahead: int | None = None) -> Agreement:
    """Run both sides over a short video and compare the results of every frame."""
    video = ReferenceVideo(ReferenceNetwork(network), frames, len(frames), labels)
    reference_labels = video.run()
    settings = {} if lookahead is None else {"lookahead": lookahead}
    largest, differing, ties = 0.0, 0, 0
    for result in segmenter.segment(frames, labels, **settings):
        expected = video.padding.crop(video.probabilities[:, result.frame_index, 0])
        largest = max(largest, (result.probabilities - expected).abs().max().item())
        best = expected.topk(2, dim=0).values
        tie = (best[0] - best[1] < TIE).numpy()
        differing += int(((result.labels != reference_labels[result.frame_index]) & ~tie).sum())
        ties += int(tie.sum())
    return Agreement(largest, differing, labels.size * len(frames), ties)


def speed(workload: Workload, object_counts: Sequence[int]) -> list[dict[str, Any]]:
    """Seconds a frame from uint8 frames to label maps, for each number of objects: medians of both sides, and of the reference's first seven frames."""
    network = made_up_network(workload.network)
    segmenter, reference = VideoSegmenter(network, "stcn", device="cpu"), ReferenceNetwork(network)
    rows = []
    for objects in object_counts:
        clip = _Clip.of(workload, objects, workload.frames)
        note(f"objects {objects}: comparing results, and warming up")
        agreement = compare(network, segmenter, clip.frames[:CHECK_FRAMES], clip.labels)
        times: dict[str, list[float]] = defaultdict(list)
        for turn in _turns(workload.repeats):
            whole, first = _time_reference(reference, clip)
            times["reference"].append(whole)
            times["first"].append(first)
            times["ours"].append(_time_ours(segmenter, clip))
            note(f"{turn}: reference {times['reference'][-1]:.2f} s, ours {times['ours'][-1]:.2f} s")
        median = {side: statistics.median(values) for side, values in times.items()}
        rows.append(
            {
                "objects": objects,
                "seconds_per_frame": {side: median[side] / workload.frames for side in SIDES},
                "speedup": median["reference"] / median["ours"],
                "reference_first_frames": min(FIRST_FRAMES, workload.frames),
                "reference_seconds_per_first_frame": median["first"] / min(FIRST_FRAMES, workload.frames),
                "runs_seconds": {side: times[side] for side in SIDES},
                "agreement": dataclasses.asdict(agreement),
                "agreement_sentence": agreement.sentence(),
            }
        )
    return rows


def _time_reference(network: ReferenceNetwork, clip: _Clip) -> tuple[float, float]:
    """Seconds of the whole run, and of its first frames without the preparation of the whole video."""
    start = time.perf_counter()
    video = clip.reference(network)
    prepared = time.perf_counter()
    marks: list[float] = []
    video.run(lambda: marks.append(time.perf_counter()))
    end = time.perf_counter()
    return end - start, marks[min(FIRST_FRAMES, len(marks)) - 1] - prepared


def _time_ours(segmenter: VideoSegmenter, clip: _Clip) -> float:
    start = time.perf_counter()
    for _ in segmenter.segment(clip.frames, clip.labels):
        pass
    return time.perf_counter() - start


def reading(network: str, height: int, width: int, memory_frames: int, objects: int, top_k: int, repeats: int) -> dict[str, Any]:
    """Seconds of one frame's reading from a memory of random keys and values of that network's widths, `memory_frames` frames of it."""
    config = preset(network)
    grid = -(-height // 16), -(-width // 16)
    positions = grid[0] * grid[1]
    generator = torch.Generator().manual_seed(0)
    bank, memory = MemoryBank(capacity=memory_frames * positions), ReferenceMemory(top_k)
    note("filling both memories")
    keys = torch.randn(1, config.key_channels, memory_frames * positions, generator=generator)
    values = torch.randn(objects, config.value_channels, memory_frames * positions, generator=generator)
    for frame in range(memory_frames):
        rows = slice(frame * positions, (frame + 1) * positions)
        bank.write(frame, keys[0, :, rows].T, {number: values[number, :, rows].T for number in range(objects)})
    memory.keys, memory.values = keys, values  # what writing frame after frame ends in, without its copying
    query = torch.randn(1, config.key_channels, *grid, generator=generator)
    query_rows = query[0].flatten(1).T.contiguous()
    sides: dict[str, Callable[[], Tensor]] = {"reference": lambda: memory.read(query), "ours": lambda: bank.read(query_rows, range(objects), top_k)}
    times: dict[str, list[float]] = {side: [] for side in SIDES}
    with torch.no_grad():
        difference = (sides["ours"]().transpose(1, 2) - sides["reference"]().flatten(2)).abs().max().item()
        for turn in _turns(repeats):
            for side, read in sides.items():
                start = time.perf_counter()
                read()
                times[side].append(time.perf_counter() - start)
            note(f"{turn}: reference {times['reference'][-1]:.3f} s, ours {times['ours'][-1]:.3f} s")
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


class ComponentClock:
    """Adds up the seconds spent in functions, by component; on CUDA each call's, the device's work done before and after."""

    def __init__(self, components: Sequence[str] = COMPONENTS, device: torch.device | None = None):
        self.seconds = dict.fromkeys(components, 0.0)
        self._device = device

    def synchronise(self) -> None:
        """Wait for the device's work."""
        if self._device is not None and self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

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
                stack.enter_context(patch.object(owner, method, self.timed(component, getattr(owner, method))))
            yield


def components(workload: Workload, object_counts: Sequence[int]) -> list[dict[str, Any]]:
    """Milliseconds of the four parts of whole runs: key encoding a frame, value encoding a memorised frame, reading and decoding a predicted frame.

    The parts are timed inside the runs, so that each side works as it does (frame by frame; several frames at once). Source: STCN, Figure 5.
    """
    network = made_up_network(workload.network)
    segmenter, reference = VideoSegmenter(network, "stcn", device="cpu"), ReferenceNetwork(network)
    owners = {
        "reference": ((reference, "encode_key"), (reference, "encode_value"), (ReferenceMemory, "read"), (reference, "decode")),
        "ours": ((segmenter.network, "encode_key"), (segmenter.network, "encode_value"), (MemoryBank, "read"), (segmenter.network, "decode")),
    }
    rows = []
    for objects in object_counts:
        clip = _Clip.of(workload, objects, workload.frames)
        video = clip.reference(reference)
        runs = {"reference": lambda clip=clip: clip.reference(reference).run(), "ours": lambda clip=clip: list(segmenter.segment(clip.frames, clip.labels))}
        note(f"objects {objects}: warming up")
        warm_up = _Clip(clip.frames[:2], clip.labels)
        warm_up.reference(reference).run()
        _time_ours(segmenter, warm_up)
        memorised = 1 + (workload.frames - 2) // video.mem_every  # the last frame never is
        shares = dict(zip(COMPONENTS, (workload.frames, memorised, workload.frames - 1, workload.frames - 1), strict=True))
        times: dict[str, dict[str, list[float]]] = {side: defaultdict(list) for side in SIDES}
        for turn in _turns(workload.repeats):
            for side in SIDES:
                clock = ComponentClock()
                with clock.watching(owners[side]):
                    runs[side]()
                for component, seconds in clock.seconds.items():
                    times[side][component].append(1000 * seconds / shares[component])
            note(f"{turn}: done")
        milliseconds = {side: {component: statistics.median(values) for component, values in times[side].items()} for side in SIDES}
        rows.append({"objects": objects, "memorised_frames": memorised, "milliseconds": milliseconds})
    return rows


def _turns(repeats: int) -> Iterator[str]:
    for turn in range(repeats):
        gc.collect()
        yield f"turn {turn + 1} of {repeats}"


def note(text: str) -> None:
    """Progress, apart from the results on stdout."""
    print(text, file=sys.stderr, flush=True)
