"""`speed`: seconds per frame of whole videos, reference and ours in turns; medians over the turns.

Legend: K objects, H W frame size.
"""

import argparse
import dataclasses
import statistics
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch

from inference import VideoSegmenter
from model import VOSNetwork
from scripts.benchmarks.command import add_command
from scripts.benchmarks.reference import ReferenceNetwork
from scripts.benchmarks.synthetic import synthetic_network
from scripts.benchmarks.timing import CPU, turns, wait_for
from scripts.benchmarks.workload import SIDES, Clip, Workload, add_workload
from scripts.common.progress import print_progress
from scripts.common.tables import markdown_table
from util.device import select_device
from util.flags import Commands
from util.text import counted

FIRST_FRAMES = 7  # the frames that the published code was timed on
# Compared frame by frame before timing. One of them is written to memory after the first frame.
CHECK_FRAMES = 7
TIE = 1e-3  # labels may differ if the two largest probabilities are closer
# By number of objects: what the published code took per frame over its first seven frames at
# 480×854 on two cores. The ratio of the reference's times should be near theirs.
PUBLISHED_SECONDS = {1: 2.1, 3: 4.4}


@dataclasses.dataclass(frozen=True)
class Agreement:
    """How far the results of both sides differ. Pixels whose two largest probabilities are within
    1e-3 of each other are ties."""

    largest_probability_difference: float
    labels_differing: int  # outside ties
    pixels: int
    ties: int

    def sentence(self) -> str:
        """The same in words, for the report."""
        return (
            f"The two sides: probabilities within {self.largest_probability_difference:.1e}, "
            f"labels differ at {self.labels_differing} of {self.pixels:,} pixels "
            f"({self.ties:,} others are ties)."
        )


def compare(
    network: VOSNetwork, segmenter: VideoSegmenter, clip: Clip, lookahead: int | None = None
) -> Agreement:
    """Run both sides on a short video and compare the results of every frame."""
    video = clip.reference(ReferenceNetwork(network))
    reference_labels = video.run()
    settings = {} if lookahead is None else {"lookahead": lookahead}
    largest, differing, ties = 0.0, 0, 0
    for result in segmenter.segment(clip.frames, clip.labels, **settings):
        expected = video.padding.crop(video.probabilities[:, result.frame_index, 0]).cpu()
        largest = max(largest, (result.probabilities.cpu() - expected).abs().max().item())
        best = expected.topk(2, dim=0).values
        tie = (best[0] - best[1] < TIE).numpy()
        differing += int(((result.labels != reference_labels[result.frame_index]) & ~tie).sum())
        ties += int(tie.sum())
    return Agreement(largest, differing, clip.labels.size * len(clip.frames), ties)


def speed(
    workload: Workload, object_counts: Sequence[int], device: torch.device = CPU
) -> list[dict[str, Any]]:
    """Seconds per frame from uint8 frames to label maps, for each number of objects: medians of
    both sides, and of the reference's first seven frames."""
    network = synthetic_network(workload.network).to(device)
    segmenter, reference = VideoSegmenter(network, "stcn", device=device), ReferenceNetwork(network)
    rows = []
    for objects in object_counts:
        clip = Clip.of(workload, objects)
        print_progress(f"objects {objects}: comparing results, and warming up")
        agreement = compare(network, segmenter, clip.first(CHECK_FRAMES))
        times: dict[str, list[float]] = defaultdict(list)
        for turn in turns(workload.repeats):
            whole, first = _time_reference(reference, clip)
            times["reference"].append(whole)
            times["first"].append(first)
            times["ours"].append(_time_ours(segmenter, clip))
            print_progress(f"{turn}: reference {whole:.2f} s, ours {times['ours'][-1]:.2f} s")
        median = {side: statistics.median(values) for side, values in times.items()}
        first_frames = min(FIRST_FRAMES, workload.frames)
        rows.append(
            {
                "objects": objects,
                "seconds_per_frame": {side: median[side] / workload.frames for side in SIDES},
                "speedup": median["reference"] / median["ours"],
                "reference_first_frames": first_frames,
                "reference_seconds_per_first_frame": median["first"] / first_frames,
                "runs_seconds": {side: times[side] for side in SIDES},
                "agreement": dataclasses.asdict(agreement),
                "agreement_sentence": agreement.sentence(),
            }
        )
    return rows


def _time_reference(network: ReferenceNetwork, clip: Clip) -> tuple[float, float]:
    """Returns: seconds of the whole run, and of its first frames without the preparation of the
    whole video."""
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


def _time_ours(segmenter: VideoSegmenter, clip: Clip) -> float:
    start = time.perf_counter()
    for _ in segmenter.segment(clip.frames, clip.labels):
        pass
    return time.perf_counter() - start


def run_speed(flags: argparse.Namespace) -> tuple[str, list[dict[str, Any]]]:
    """Seconds per frame of whole videos, reference and ours."""
    workload = Workload.of(flags)
    rows = speed(workload, flags.objects, select_device(flags.device))
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
    agreements = [
        f"{counted(row['objects'], 'object').capitalize()}, first {CHECK_FRAMES} frames: "
        f"{row['agreement_sentence']}"
        for row in rows
    ]
    title = f"Speed: {workload}, from RGB frames to label maps, median of {flags.repeats}"
    return f"### {title}\n\n" + "\n".join(
        [table, "", _first_frames(flags, rows), *agreements]
    ), rows


def _first_frames(flags: argparse.Namespace, rows: Sequence[dict[str, Any]]) -> str:
    """The reference's first frames, compared with the published code's if the workload is its."""
    seconds = {row["objects"]: row["reference_seconds_per_first_frame"] for row in rows}
    count = rows[0]["reference_first_frames"]
    text = f"Reference over its first {count} frames: {_by_objects(seconds)}."
    same_workload = flags.network == "stcn" and (flags.height, flags.width) == (480, 854)
    if same_workload and seconds.keys() >= PUBLISHED_SECONDS.keys():
        ratio, published = seconds[3] / seconds[1], PUBLISHED_SECONDS[3] / PUBLISHED_SECONDS[1]
        text += (
            f" Ratio {ratio:.2f}; the published code's is {published:.2f} "
            f"({_by_objects(PUBLISHED_SECONDS)}; {ratio / published - 1:+.0%})."
        )
    return text


def _by_objects(seconds: dict[int, float]) -> str:
    return ", ".join(
        f"{value:.2f} s/frame with {counted(objects, 'object')}"
        for objects, value in seconds.items()
    )


def add(commands: Commands) -> None:
    """Add the command and its flags."""
    add_workload(add_command(commands, "speed", run_speed, "stcn"))
