"""The report of a study: a Markdown table, JSON and plots."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.common.charts import Line, LinePanel, line_chart
from scripts.common.circumstances import circumstances_line
from scripts.common.tables import markdown_table
from scripts.studies.data import StudyData
from scripts.studies.over_time import OverTime
from scripts.studies.runs import Run
from scripts.studies.variants import Study, Variant
from util.files import write_json

_RESULT_COLUMNS = (
    "J&F",
    "J",
    "F",
    "FPS",
    "peak memory, MB",
    "frames memorised",
    "memory elements",
    "memory, MB",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """A variant, the data it ran on, and its results."""

    variant: Variant
    data: StudyData
    run: Run
    over_time: OverTime | None = None

    @property
    def label(self) -> str:
        return " ".join(filter(None, (self.variant.line, self.variant.label)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """The finished rows of a study.

    data: before it was lengthened. left_out: reasons, of the study's omissions and failed runs.
    circumstances: see scripts.common.circumstances.
    """

    study: Study
    data: StudyData
    rows: Sequence[Row]
    left_out: Sequence[str]
    circumstances: Mapping[str, Any]

    @property
    def several_lengths(self) -> bool:
        """Whether the videos were played at several lengths."""
        return len({row.data.played for row in self.rows}) > 1

    def write(self, out: Path) -> list[Path]:
        """Write OUT/NAME.md, .json, .png and, if it was measured, -over-time.png.

        Returns their paths.
        """
        name = self.study.name
        out.mkdir(parents=True, exist_ok=True)
        paths = [out / f"{name}.md", out / f"{name}.json"]
        paths[0].write_text(self.as_markdown() + "\n")
        write_json(paths[1], self.as_dict())
        if self.rows:
            paths.append(out / f"{name}.png")
            self._draw_accuracy_and_speed(paths[-1])
        if any(row.over_time for row in self.rows):
            paths.append(out / f"{name}-over-time.png")
            self._draw_over_time(paths[-1])
        return paths

    def as_markdown(self) -> str:
        """The table, followed by notes on it."""
        table = self._table() if self.rows else "No variant could be run."
        return "\n\n".join([f"### {self.study.title}", table, *self._notes()])

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values; scores are unrounded fractions."""
        layout = self.data.layout
        data = {
            "root": str(layout.root),
            "split": layout.split,
            "sequences": list(self.data.names),
            "frames": self.data.frame_count,
            "protocol": layout.protocol,
        }
        return {
            "study": self.study.name,
            "title": self.study.title,
            **self.circumstances,
            "data": data,
            "rows": [_as_dict(row) for row in self.rows],
            "left_out": list(self.left_out),
            "notes": list(self.study.notes),
        }

    def _table(self) -> str:
        columns = list(dict.fromkeys(name for row in self.rows for name in row.variant.columns))
        played = ["played"] if self.several_lengths else []
        lines = []
        for row in self.rows:
            first = [row.variant.columns.get(name, "") for name in columns]
            lines.append([*first, *([row.data.played] if played else []), *_results(row.run)])
        return markdown_table([*columns, *played, *_RESULT_COLUMNS], lines)

    def _notes(self) -> list[str]:
        notes = [
            f"{self.data.description}; J and F in %, protocol `{self.data.layout.protocol}`. "
            "Memory elements: the most that the bank held in any video; memory, MB: the size of "
            "its tables at that moment, reserved space included."
        ]
        if self.rows:
            notes.append(
                f"FPS and peak memory are of this run on this machine ({self._devices(' and ')}), "
                "each variant in a process of its own; other work beside it lowers FPS."
            )
        notes += self.study.notes
        if ratios := self._speed_ratios():
            notes.append(f"FPS of longer videos over those of {ratios}.")
        untimed = [
            f"{row.variant.name} ({', '.join(row.run.untimed)})"
            for row in self.rows
            if row.run.untimed
        ]
        if untimed:
            notes.append(
                "Videos whose results existed already, without a record of their time and memory: "
                f"{'; '.join(dict.fromkeys(untimed))}."
            )
        notes += [f"Left out: {reason}." for reason in self.left_out]
        return [*notes, circumstances_line(self.circumstances)]

    def _speed_ratios(self) -> str:
        """The first length, then each variant's FPS at the others, relative to it."""
        runs = {(row.variant.name, row.data.played): row.run for row in self.rows if row.run.frames}
        lengths = list(dict.fromkeys(row.data.played for row in self.rows))
        names = dict.fromkeys(row.variant.name for row in self.rows)
        ratios = [
            f"{name} {played} {runs[name, played].fps / runs[name, lengths[0]].fps:.2f}"
            for name in names
            for played in lengths[1:]
            if (name, played) in runs and (name, lengths[0]) in runs
        ]
        return f"{lengths[0]}: {', '.join(ratios)}" if ratios else ""

    def _devices(self, separator: str) -> str:
        return separator.join(dict.fromkeys(row.run.device for row in self.rows))

    def _subtitle(self) -> str:
        machine, date = self.circumstances["processor"], self.circumstances["date"]
        return f"{self.data.description}; {self._devices(', ')}, {machine}, {date}"

    def _draw_accuracy_and_speed(self, path: Path) -> None:
        points: dict[str, list[tuple[float, float]]] = {}
        point_labels: dict[str, list[str]] = {}
        for row in self.rows:
            line, label = row.variant.line, row.variant.label
            if self.several_lengths:
                line, label = row.label, row.data.played
            points.setdefault(line, []).append((row.run.fps, 100 * row.run.j_and_f))
            point_labels.setdefault(line, []).append(label)
        lines = [Line(name, points[name], point_labels[name]) for name in points]
        labels = "how long videos are played" if self.several_lengths else self.study.labels
        title = "accuracy against speed" + (f"; at the points: {labels}" if labels else "")
        panel = LinePanel(title, "frames a second", "J&F, %", lines)
        line_chart(path, self.study.title, self._subtitle(), [panel])

    def _draw_over_time(self, path: Path) -> None:
        """Draw a row of three panels for each length that the videos were played at."""
        rows = [row for row in self.rows if row.over_time is not None]
        panels = []
        for played in dict.fromkeys(row.data.played for row in rows):
            chosen = [row for row in rows if row.data.played == played]
            videos = f"videos played {played}" if self.several_lengths else "the videos"
            for title, figure, y_label, factor in (
                ("accuracy", "j_and_f", "J&F, %", 100),
                ("memory", "memory_elements", "elements", 1),
                ("time", "milliseconds", "ms a frame", 1),
            ):
                lines = [_line_over_time(row, figure, factor) for row in chosen]
                unit = chosen[0].over_time.unit
                panels.append(LinePanel(f"{title} over {videos}", unit, y_label, lines))
        line_chart(path, self.study.title, self._subtitle(), panels, columns=3)


def _results(run: Run) -> list[str]:
    """The cells of _RESULT_COLUMNS."""
    scores = [f"{100 * value:.1f}" for value in (run.j_and_f, run.j, run.f)]
    if not run.frames:
        return [*scores, *["not measured"] * (len(_RESULT_COLUMNS) - len(scores))]
    return [
        *scores,
        f"{run.fps:.2f}",
        f"{run.peak_memory_mb:,.0f}",
        f"{run.frames_memorised:,}",
        f"{run.memory_elements:,}",
        f"{run.memory_mb:.1f}",
    ]


def _as_dict(row: Row) -> dict[str, Any]:
    run = dataclasses.asdict(row.run)
    del run["folder"]
    return {
        "name": row.variant.name,
        "line": row.variant.line,
        "columns": dict(row.variant.columns),
        "system": row.variant.system,
        "weights": str(row.variant.weights),
        "settings": dict(row.variant.settings),
        "played": row.data.played,
        **run,
        "fps": row.run.fps,
        "over_time": None if row.over_time is None else dataclasses.asdict(row.over_time),
    }


def _line_over_time(row: Row, figure: str, factor: float) -> Line:
    values = zip(row.over_time.times, getattr(row.over_time, figure))
    points = [(time, factor * value) for time, value in values if value is not None]
    return Line(row.label, points, markers=False)
