"""Accuracy against the capacity of a bounded memory, beside two reference memories."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inference import VideoSegmenter
from inference.config import SYSTEMS
from inference.validation import ValidationScores, Validator
from scripts.common.charts import Line, LinePanel, line_chart
from scripts.common.tables import markdown_table
from util.progress import Progress
from util.text import counted

_REFERENCES = ("every-k", "first-and-latest")  # what grows, and what is smallest


def memory_settings(flags: argparse.Namespace) -> dict[str, Any]:
    """What the flags change in the system's memory, except for its capacity."""
    values = {"memory": flags.memory, "mem_every": flags.mem_every}
    return {name: value for name, value in values.items() if value is not None}


def make_validators(flags: argparse.Namespace) -> dict[str, Validator]:
    """A validator for each memory that is compared, by name.

    Raises InputError if the data lacks what they need, before anything is scored.
    """
    policy = memory_settings(flags).get("memory") or SYSTEMS[flags.system].memory.policy
    settings = {
        f"{policy} {capacity}": {"memory": policy, "memory_frames": capacity}
        for capacity in flags.capacities
    } | {name: {"memory": name} for name in _REFERENCES}
    common = {
        "resolution": flags.resolution,
        "max_frames": flags.max_frames,
        "system": flags.system,
    }
    if flags.mem_every is not None:
        common["mem_every"] = flags.mem_every
    return {
        name: Validator(flags.data_path, flags.sequences, **common, **values)
        for name, values in settings.items()
    }


def score_capacities(
    flags: argparse.Namespace,
    folder: Path,
    segmenter: VideoSegmenter,
    validators: Mapping[str, Validator],
) -> tuple[str, dict[str, Any]]:
    """Score each memory, and draw J&F against capacity as capacity.png in the folder.

    Returns a table in Markdown, and its figures as plain values.
    """
    scores = {}
    with Progress(len(validators), "memories") as progress:
        for name, validator in validators.items():
            scores[name] = validator.score(segmenter.network)
            progress.advance(status=f"{name}: J&F {100 * scores[name].j_and_f:.1f}")
    video_count = len(next(iter(validators.values())).sequences)
    line_chart(
        folder / "capacity.png",
        "Accuracy against capacity",
        counted(video_count, "video"),
        [_panel(segmenter.config.memory.policy, flags.capacities, scores)],
    )
    return _table(scores), {name: _figures(each) for name, each in scores.items()}


def _panel(policy: str, capacities: list[int], scores: Mapping[str, ValidationScores]) -> LinePanel:
    bounded = [
        (float(capacity), 100 * scores[f"{policy} {capacity}"].j_and_f) for capacity in capacities
    ]
    ends = (min(capacities), max(capacities))
    references = [
        Line(name, [(float(end), 100 * scores[name].j_and_f) for end in ends], markers=False)
        for name in _REFERENCES
    ]
    lines = [Line(policy, bounded, [f"{value:.1f}" for _, value in bounded]), *references]
    return LinePanel("J&F of each memory", "capacity, frames", "J&F, %", lines)


def _table(scores: Mapping[str, ValidationScores]) -> str:
    rows = [
        (
            name,
            *(f"{100 * value:.1f}" for value in (each.j_and_f, each.j, each.f)),
            f"{each.seconds:.0f}",
        )
        for name, each in scores.items()
    ]
    return markdown_table(("memory", "J&F", "J", "F", "seconds"), rows)


def _figures(scores: ValidationScores) -> dict[str, Any]:
    return {
        "j_and_f": scores.j_and_f,
        "j": scores.j,
        "f": scores.f,
        "per_sequence": dict(scores.per_sequence),
        "seconds": scores.seconds,
    }
