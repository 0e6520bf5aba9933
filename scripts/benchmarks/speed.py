"""`speed`: seconds a frame of whole videos, reference and ours by turns; medians over the turns. Legend: K objects, H W frame size."""

import argparse
import dataclasses
import statistics
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from inference import VideoSegmenter
from model import VOSNetwork
from scripts.benchmarks.command import add_command
from scripts.benchmarks.reference import ReferenceNetwork, ReferenceVideo
from scripts.benchmarks.synthetic import synthetic_network
from scripts.benchmarks.timing import (
    CPU,
    SIDES,
    Clip,
    Workload,
    add_workload,
    note,
    time_ours,
    turns,
    wait_for,
)
from scripts.common.tables import markdown_table
from util.device import select_device
from util.flags import Commands
from util.text import counted

FIRST_FRAMES = 7  # the frames the published code was timed on
CHECK_FRAMES = (
    7  # compared frame by frame before timing: one written to memory in between, at mem_every 5
)
TIE = 1e-3  # labels may differ where the two best probabilities are closer
# seconds a frame of the published code over its first seven frames, 480×854, two cores: what the reference's ratio is to be held against
PUBLISHED_SECONDS = {1: 2.1, 3: 4.4}


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


def compare(
    network: VOSNetwork,
    segmenter: VideoSegmenter,
    frames: list[np.ndarray],
    labels: np.ndarray,
    lookahead: int | None = None,
) -> Agreement:
    """Run both sides over a short video and compare the results of every frame."""
    video = ReferenceVideo(ReferenceNetwork(network), frames, len(frames), labels)
    reference_labels = video.run()
    settings = {} if lookahead is None else {"lookahead": lookahead}
    largest, differing, ties = 0.0, 0, 0
    for result in segmenter.segment(frames, labels, **settings):
        expected = video.padding.crop(video.probabilities[:, result.frame_index, 0]).cpu()
        largest = max(largest, (result.probabilities.cpu() - expected).abs().max().item())
        best = expected.topk(2, dim=0).values
        tie = (best[0] - best[1] < TIE).numpy()
        differing += int(((result.labels != reference_labels[result.frame_index]) & ~tie).sum())
        ties += int(tie.sum())
    return Agreement(largest, differing, labels.size * len(frames), ties)


def speed(
    workload: Workload, object_counts: Sequence[int], device: torch.device = CPU
) -> list[dict[str, Any]]:
    """Seconds a frame from uint8 frames to label maps, for each number of objects: medians of both sides, and of the reference's first seven frames."""
    network = synthetic_network(workload.network).to(device)
    segmenter, reference = VideoSegmenter(network, "stcn", device=device), ReferenceNetwork(network)
    rows = []
    for objects in object_counts:
        clip = Clip.of(workload, objects, workload.frames)
        note(f"objects {objects}: comparing results, and warming up")
        agreement = compare(network, segmenter, clip.frames[:CHECK_FRAMES], clip.labels)
        times: dict[str, list[float]] = defaultdict(list)
        for turn in turns(workload.repeats):
            whole, first = _time_reference(reference, clip)
            times["reference"].append(whole)
            times["first"].append(first)
            times["ours"].append(time_ours(segmenter, clip))
            note(
                f"{turn}: reference {times['reference'][-1]:.2f} s, ours {times['ours'][-1]:.2f} s"
            )
        median = {side: statistics.median(values) for side, values in times.items()}
        rows.append(
            {
                "objects": objects,
                "seconds_per_frame": {side: median[side] / workload.frames for side in SIDES},
                "speedup": median["reference"] / median["ours"],
                "reference_first_frames": min(FIRST_FRAMES, workload.frames),
                "reference_seconds_per_first_frame": median["first"]
                / min(FIRST_FRAMES, workload.frames),
                "runs_seconds": {side: times[side] for side in SIDES},
                "agreement": dataclasses.asdict(agreement),
                "agreement_sentence": agreement.sentence(),
            }
        )
    return rows


def _time_reference(network: ReferenceNetwork, clip: Clip) -> tuple[float, float]:
    """Seconds of the whole run, and of its first frames without the preparation of the whole video."""
    start = time.perf_counter()
    video = clip.reference(network)
    prepared = time.perf_counter()
    marks: list[float] = []

    def mark() -> None:
        wait_for(network.device)
        marks.append(time.perf_counter())

    video.run(mark)
    end = time.perf_counter()
    return end - start, marks[min(FIRST_FRAMES, len(marks)) - 1] - prepared


def run_speed(flags: argparse.Namespace) -> tuple[str, list[dict[str, Any]]]:
    """Both sides over whole videos."""
    rows = speed(Workload.of(flags), flags.objects, select_device(flags.device))
    table = markdown_table(
        ("objects", "reference, s/frame", "ours, s/frame", "times faster"),
        (
            (
                row["objects"],
                *(f"{row['seconds_per_frame'][side]:.3f}" for side in SIDES),
                f"{row['speedup']:.2f}",
            )
            for row in rows
        ),
    )
    first = {row["objects"]: row["reference_seconds_per_first_frame"] for row in rows}
    lines = [
        table,
        "",
        f"Reference over its first {rows[0]['reference_first_frames']} frames: "
        + _counts(first)
        + ".",
    ]
    if (
        flags.network == "stcn"
        and (flags.height, flags.width) == (480, 854)
        and first.keys() >= PUBLISHED_SECONDS.keys()
    ):
        ratio, published = first[3] / first[1], PUBLISHED_SECONDS[3] / PUBLISHED_SECONDS[1]
        lines[-1] += (
            f" Ratio {ratio:.2f}; the published code's is {published:.2f} ({_counts(PUBLISHED_SECONDS)}; {ratio / published - 1:+.0%})."
        )
    lines += [
        f"{counted(row['objects'], 'object').capitalize()}, first {CHECK_FRAMES} frames: {row['agreement_sentence']}"
        for row in rows
    ]
    title = f"Speed: {flags.network}, {flags.width}×{flags.height}, {flags.frames} frames, from RGB frames to label maps, median of {flags.repeats}"
    return f"### {title}\n\n" + "\n".join(lines), rows


def _counts(seconds: dict[int, float]) -> str:
    return ", ".join(
        f"{value:.2f} s/frame with {counted(objects, 'object')}"
        for objects, value in seconds.items()
    )


def add(commands: Commands) -> None:
    """The command and its flags."""
    add_workload(add_command(commands, "speed", run_speed, "stcn"))
