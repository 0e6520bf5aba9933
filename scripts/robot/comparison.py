"""Ways to annotate, compared over the same videos."""

import argparse
import contextlib
import itertools
import random
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from inference import VideoSegmenter
from inference.interactive.suggesting import SUGGESTIONS, Suggestion
from scripts.common.circumstances import circumstances
from scripts.common.output_folder import check_output_folder
from scripts.common.progress import print_progress
from scripts.robot.curve import AnnotatedVideo
from scripts.robot.inputs import Scribbles, TrueMasks
from scripts.robot.propagators import ForwardRounds, ProjectRounds, Propagator
from scripts.robot.report import Report, Row
from scripts.robot.rounds import Choice, annotate_in_rounds, worst_first
from scripts.studies.truth_videos import TruthVideo, open_segmenter, open_truth_videos
from util.device import select_device
from util.errors import InputError
from util.process import exit_on_sigterm
from util.text import counted

INPUTS = {"masks": TrueMasks, "scribbles": Scribbles}


class Method(NamedTuple):
    """A way to propagate. title: in the report. only_touched: see InteractiveProject.propagate."""

    title: str
    permanent: bool = False
    only_touched: bool = False


FORWARD = "forward"
METHODS = {
    FORWARD: Method("forward, corrections"),
    "both": Method("both directions"),
    "permanent": Method("both, permanent memory", permanent=True),
    "touched": Method("both, permanent memory, touched stretches", True, only_touched=True),
}


def random_frames(seed: int) -> Choice:
    """Frames that are not annotated yet, in random order."""
    generator = random.Random(seed)

    def choose(propagator: Propagator, j: np.ndarray, annotated: Sequence[int]) -> Iterable[int]:
        frames = [index for index in range(len(j)) if index not in annotated]
        return generator.sample(frames, len(frames))

    return choose


def suggested_frames(by: Suggestion) -> Choice:
    """Frames that the project suggests."""
    return lambda propagator, j, annotated: propagator.suggest(by)


class Chooser(NamedTuple):
    """A way to choose frames. title: in the report. make: takes a seed."""

    title: str
    make: Callable[[int], Choice]


CHOICES = {
    "worst": Chooser("the worst J", lambda seed: worst_first),
    "random": Chooser("chance", random_frames),
    **{
        by: Chooser(f"suggestion by {by}", lambda seed, by=by: suggested_frames(by))
        for by in SUGGESTIONS
    },
}


class Way(NamedTuple):
    """One row of the report: names in INPUTS, METHODS and CHOICES."""

    input: str
    method: str
    chosen_by: str


def compare(flags: argparse.Namespace) -> Report:
    """Annotate the videos in every requested way, one video after another.

    The report is written to flags.output after each video; it has the videos so far. Raises
    InputError if videos or the truth are missing, or the settings are wrong.
    """
    check_output_folder(flags.output)
    videos = open_truth_videos(
        flags.root, flags.sequences, fewest_frames=2, max_frames=flags.max_frames
    )
    names = itertools.product(flags.input, flags.methods, flags.choose)
    ways = list(dict.fromkeys(Way(*each) for each in names))
    _check(ways)
    permanent = {METHODS[way.method].permanent for way in ways}
    segmenters = {
        value: open_segmenter(flags, permanent_memory=value) for value in sorted(permanent)
    }
    measured = circumstances(torch.get_num_threads(), select_device(flags.device))
    done: dict[Way, list[AnnotatedVideo]] = {way: [] for way in ways}
    for number, video in enumerate(videos, start=1):
        for way in ways:
            segmenter = segmenters[METHODS[way.method].permanent]
            with exit_on_sigterm():  # removes the temporary project
                done[way].append(_annotate(way, video, segmenter, flags))
            _print_last(way, done[way][-1])
        report = Report(
            rows=[_row(way, done[way]) for way in ways],
            round_count=flags.rounds,
            data=_description(flags, videos[:number]),
            circumstances=measured,
        )
        report.write(flags.output)
    return report


def _check(ways: Sequence[Way]) -> None:
    """Raise InputError if a way to choose frames does not go with a way to propagate."""
    for way in ways:
        if way.method == FORWARD and way.chosen_by in SUGGESTIONS:
            raise InputError(
                f"--choose {way.chosen_by}: projects suggest frames, and --methods {FORWARD} has"
                " none; choose other methods for it"
            )


def _annotate(
    way: Way, video: TruthVideo, segmenter: VideoSegmenter, flags: argparse.Namespace
) -> AnnotatedVideo:
    """Raises InputError if the truth shows no object."""
    object_ids = video.object_ids(range(len(video)))
    if not object_ids:
        raise InputError(f"{video.name}: no frame's truth shows an object; leave the video out")
    with tempfile.TemporaryDirectory() as folder:
        propagator = _propagator(way, video, segmenter, Path(folder))
        with contextlib.closing(propagator):
            rounds = annotate_in_rounds(
                video,
                object_ids,
                propagator,
                INPUTS[way.input](video, object_ids),
                CHOICES[way.chosen_by].make(flags.seed),
                flags.rounds,
            )
            rounds = list(rounds)
    return AnnotatedVideo(name=video.name, object_count=len(object_ids), rounds=rounds)


def _propagator(way: Way, video: TruthVideo, segmenter: VideoSegmenter, folder: Path) -> Propagator:
    if way.method == FORWARD:
        return ForwardRounds(segmenter, video)
    only_touched = METHODS[way.method].only_touched
    return ProjectRounds(segmenter, video, folder / "project", only_touched=only_touched)


def _row(way: Way, videos: Sequence[AnnotatedVideo]) -> Row:
    return Row(
        input=way.input,
        method=METHODS[way.method].title,
        chosen_by=CHOICES[way.chosen_by].title,
        videos=tuple(videos),
    )


def _description(flags: argparse.Namespace, videos: Sequence[TruthVideo]) -> str:
    lines = "as stored" if flags.resolution == -1 else f"at {flags.resolution} lines"
    frames = counted(sum(map(len, videos)), "frame")
    names = ", ".join(video.name for video in videos)
    sequences = counted(len(videos), "sequence")
    return f"{flags.root.resolve().name}, {sequences} ({names}), {frames}, {lines}"


def _print_last(way: Way, video: AnnotatedVideo) -> None:
    last = video.rounds[-1]
    seconds = sum(one.seconds for one in video.rounds)
    print_progress(
        f"{video.name}: {', '.join(way)}: J&F {100 * last.j_and_f:.1f} after"
        f" {counted(len(video.rounds), 'round')}, {seconds:.0f} seconds"
    )
