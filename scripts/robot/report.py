"""The report of the robot: a Markdown table, JSON and a plot."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.common.charts import Line, LinePanel, line_chart
from scripts.common.circumstances import circumstances_line
from scripts.common.tables import markdown_table
from scripts.robot.curve import READ_AT_SECONDS, AnnotatedVideo, Curve
from util.files import atomic_write, write_json
from util.text import counted

_NAME = "interactive"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """A way to annotate, and the videos that were annotated so.

    input: masks or scribbles. chosen_by: how frames were chosen.
    """

    input: str
    method: str
    chosen_by: str
    videos: Sequence[AnnotatedVideo]

    @property
    def name(self) -> str:
        return f"{self.method}, {self.chosen_by}, {self.input}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """The rows that are finished.

    data: what was annotated, in words. circumstances: see scripts.common.circumstances.
    """

    rows: Sequence[Row]
    round_count: int
    data: str
    circumstances: Mapping[str, Any]

    def write(self, out: Path) -> list[Path]:
        """Write OUT/interactive.md, .json and .png. Returns their paths."""
        out.mkdir(parents=True, exist_ok=True)
        paths = [out / f"{_NAME}{suffix}" for suffix in (".md", ".json", ".png")]
        with atomic_write(paths[0]) as file:
            file.write((self.as_markdown() + "\n").encode())
        write_json(paths[1], self.as_dict())
        self._draw(paths[2])
        return paths

    def as_markdown(self) -> str:
        """The table, followed by notes on it."""
        shown = [number for number in (1, 2, 4, 8, 16) if number < self.round_count]
        shown.append(self.round_count)
        header = [
            *("input", "method", "frames chosen by"),
            *(f"J&F, round {number}" for number in shown),
            "AUC",
            f"J&F at {READ_AT_SECONDS} s",
            "seconds, first round",
            "seconds, a later round",
        ]
        lines = [self._line(row, shown) for row in self.rows]
        notes = [
            f"{self.data}. J&F in %, means over all frames and objects; AUC and J&F at"
            f" {READ_AT_SECONDS} s as the DAVIS interactive track defines them, without rounds that"
            " end after the available time. Seconds are those"
            " of this run on this machine; other work beside it raises them.",
            circumstances_line(self.circumstances),
        ]
        return "\n\n".join([markdown_table(header, lines), *notes])

    def _line(self, row: Row, shown: Sequence[int]) -> list[str]:
        curve = Curve.of(row.videos, self.round_count)
        by_round = Curve.of(row.videos, self.round_count, drop_late=False).j_and_f
        after = [100 * by_round[number - 1] for number in shown]
        later = [one.seconds for video in row.videos for one in video.rounds[1:]]
        first = [video.rounds[0].seconds for video in row.videos]
        return [
            *(row.input, row.method, row.chosen_by),
            *(f"{value:.1f}" for value in (*after, 100 * curve.area(), 100 * curve.at())),
            f"{sum(first) / len(first):.1f}",
            f"{sum(later) / len(later):.1f}" if later else "",
        ]

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values; scores are unrounded fractions."""
        return {
            **self.circumstances,
            "data": self.data,
            "rounds": self.round_count,
            "rows": [self._row_as_dict(row) for row in self.rows],
        }

    def _row_as_dict(self, row: Row) -> dict[str, Any]:
        curve = Curve.of(row.videos, self.round_count)
        all_rounds = Curve.of(row.videos, self.round_count, drop_late=False)
        return {
            "input": row.input,
            "method": row.method,
            "chosen_by": row.chosen_by,
            "j_and_f": all_rounds.j_and_f.tolist(),
            "j": all_rounds.j.tolist(),
            "f": all_rounds.f.tolist(),
            "accumulated_seconds": all_rounds.seconds.tolist(),
            "available_seconds": curve.available_seconds,
            "auc": curve.area(),
            f"j_and_f_at_{READ_AT_SECONDS}_s": curve.at(),
            "videos": [dataclasses.asdict(video) for video in row.videos],
        }

    def _draw(self, path: Path) -> None:
        curves = {
            row.name: Curve.of(row.videos, self.round_count, drop_late=False) for row in self.rows
        }
        by_round = [
            Line(name, [(number, 100 * value) for number, value in enumerate(curve.j_and_f, 1)])
            for name, curve in curves.items()
        ]
        by_time = [
            Line(name, list(zip(curve.seconds.tolist(), (100 * curve.j_and_f).tolist())))
            for name, curve in curves.items()
        ]
        panels = [
            LinePanel("accuracy against rounds", "round", "J&F, %", by_round),
            LinePanel("accuracy against time", "accumulated seconds", "J&F, %", by_time),
        ]
        machine, date = self.circumstances["processor"], self.circumstances["date"]
        subtitle = f"{self.data}; {counted(self.round_count, 'round')}; {machine}, {date}"
        line_chart(path, "Interactive annotation by the robot", subtitle, panels)
