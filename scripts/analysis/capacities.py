"""Accuracy against the capacity of a bounded memory, beside the memories it lies between."""

import argparse
from pathlib import Path
from typing import Any

from inference import VideoSegmenter
from inference.config import SYSTEMS
from inference.validation import Validator
from scripts.common.charts import Line, LinePanel, line_chart
from scripts.common.tables import markdown_table
from util.progress import Progress
from util.text import counted

_REFERENCES = ("every-k", "first-and-latest")


def validators_of(flags: argparse.Namespace) -> dict[str, Validator]:
    """One for each memory that is compared; all of them are looked at before the first is scored."""
    policy = memory_settings(flags).get("memory") or SYSTEMS[flags.system].memory.policy
    settings = {
        f"{policy} {capacity}": {"memory": policy, "memory_frames": capacity}
        for capacity in flags.capacities
    } | {name: {"memory": name} for name in _REFERENCES}
    every = {} if flags.mem_every is None else {"mem_every": flags.mem_every}
    common = {
        "resolution": flags.resolution,
        "max_frames": flags.max_frames,
        "system": flags.system,
        **every,
    }
    return {
        name: Validator(flags.data_path, flags.sequences, **common, **values)
        for name, values in settings.items()
    }


def memory_settings(flags: argparse.Namespace) -> dict[str, Any]:
    """What the flags change of the system's memory, its capacity aside."""
    return {
        name: value
        for name, value in (("memory", flags.memory), ("mem_every", flags.mem_every))
        if value is not None
    }


def score_capacities(
    flags: argparse.Namespace,
    folder: Path,
    segmenter: VideoSegmenter,
    validators: dict[str, Validator],
) -> tuple[str, dict[str, Any]]:
    """J and F for each capacity, and of the memories it lies between: a table, and its figures; the chart goes into the folder."""
    scores = {}
    with Progress(len(validators), "memories") as progress:
        for name, each in validators.items():
            scores[name] = each.score(segmenter.network)
            progress.advance(status=f"{name}: J&F {100 * scores[name].j_and_f:.1f}")
    policy = segmenter.config.memory.policy
    bounded = [
        (float(capacity), 100 * scores[f"{policy} {capacity}"].j_and_f)
        for capacity in flags.capacities
    ]
    ends = (min(flags.capacities), max(flags.capacities))
    others = [
        Line(name, [(float(end), 100 * scores[name].j_and_f) for end in ends], markers=False)
        for name in _REFERENCES
    ]
    lines = [Line(policy, bounded, [f"{value:.1f}" for _, value in bounded]), *others]
    chart = LinePanel("J&F of each memory", "capacity, frames", "J&F, %", lines)
    line_chart(
        folder / "capacity.png",
        "Accuracy against capacity",
        counted(len(next(iter(validators.values())).sequences), "video"),
        [chart],
    )
    rows = [
        (
            name,
            *(f"{100 * value:.1f}" for value in (each.j_and_f, each.j, each.f)),
            f"{each.seconds:.0f}",
        )
        for name, each in scores.items()
    ]
    figures = {
        name: {
            "j_and_f": each.j_and_f,
            "j": each.j,
            "f": each.f,
            "per_sequence": dict(each.per_sequence),
            "seconds": each.seconds,
        }
        for name, each in scores.items()
    }
    return markdown_table(("memory", "J&F", "J", "F", "seconds"), rows), figures
