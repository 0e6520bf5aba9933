"""The record of a reproduced table: which figures agree, where and how they were measured."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.common.circumstances import circumstances_line
from scripts.common.tables import markdown_table
from scripts.reproduction.figures import Table
from scripts.reproduction.outcomes import Outcome
from util.files import write_json
from util.run_record import package_versions


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """The outcomes of a table. circumstances: see scripts.common.circumstances."""

    name: str
    table: Table
    outcomes: Sequence[Outcome]
    circumstances: Mapping[str, Any]

    @property
    def changed(self) -> list[str]:
        """The figures that differ by more than their noise, in words."""
        return [
            f"{outcome.row.name}, {figure.name}: {figure.shown(figure.expected)} became "
            f"{figure.shown(value)} (noise {figure.noise:g})"
            for outcome in self.outcomes
            for figure, value, verdict in outcome.verdicts()
            if verdict == "changed"
        ]

    @property
    def failed(self) -> list[str]:
        """The rows whose command failed, in words."""
        return [
            f"{outcome.row.name}: {outcome.problem}"
            for outcome in self.outcomes
            if outcome.problem is not None and not outcome.left_out
        ]

    def write(self, path: Path) -> None:
        """Write everything as JSON, atomically."""
        settings = [run["settings"] for outcome in self.outcomes for run in outcome.runs]
        write_json(
            path,
            {
                "what": self.name,
                "title": self.table.title,
                "page": self.table.page,
                **self.circumstances,
                "versions": package_versions(),
                "seeds": _seeds(settings),
                "changed": self.changed,
                "rows": [outcome.as_dict() for outcome in self.outcomes],
            },
        )

    def as_markdown(self) -> str:
        """The table, what changed, what is missing, and the circumstances."""
        lines = [
            (
                outcome.row.name,
                figure.name,
                figure.shown(figure.expected),
                figure.shown(value),
                "" if figure.of_machine or figure.expected is None else f"{figure.noise:g}",
                verdict,
            )
            for outcome in self.outcomes
            for figure, value, verdict in outcome.verdicts()
        ]
        header = ("row", "figure", "expected", "measured", "noise", "verdict")
        left_out = [
            f"{outcome.row.name}: {outcome.problem}"
            for outcome in self.outcomes
            if outcome.left_out
        ]
        parts = [
            f"### {self.table.title} ({self.table.page})",
            markdown_table(header, lines) if lines else "No row could be run.",
            *(f"Changed: {text}." for text in self.changed),
            *(f"Failed: {text}." for text in self.failed),
            *(f"Left out: {text}." for text in left_out),
        ]
        if lines and not self.changed and not self.failed:
            parts.append("No figure has changed by more than its noise.")
        return "\n\n".join([*parts, circumstances_line(self.circumstances)])


def _seeds(settings: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """The seeds of the evaluations by their names, each with its values."""
    seeds: dict[str, list[Any]] = {}
    for one in settings:
        for group, values in one.items():
            named = values.items() if isinstance(values, Mapping) else [("", values)]
            for name, value in named:
                full = f"{group}.{name}" if name else group
                if full.endswith("seed") and value not in seeds.setdefault(full, []):
                    seeds[full].append(value)
    return seeds
