"""What is said of a study: a Markdown table, JSON, plots."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.common.charts import Line, LinePanel, line_chart
from scripts.common.circumstances import circumstances_line
from scripts.common.tables import markdown_table
from util.run_record import write_json

from .data import StudyData
from .over_time import OverTime
from .runs import Run
from .variants import Study, Variant

_FIGURES = (
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
    """A variant, what it ran on and what came of it."""

    variant: Variant
    data: StudyData
    run: Run
    over_time: OverTime | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Findings:
    """A study's rows so far. left_out: the study's and those that failed. where: the circumstances, see scripts.common.circumstances."""

    study: Study
    data: StudyData  # as it was given
    rows: Sequence[Row]
    left_out: Sequence[str]
    where: Mapping[str, Any]

    @property
    def several_lengths(self) -> bool:
        """Whether the videos were played at several lengths."""
        return len({row.data.played for row in self.rows}) > 1

    def write(self, out: Path) -> list[Path]:
        """OUT/NAME.md, .json, .png and, where it was measured, -over-time.png. Returns their paths."""
        base = out / self.study.name
        paths = [base.with_name(f"{base.name}.md"), base.with_name(f"{base.name}.json")]
        paths[0].parent.mkdir(parents=True, exist_ok=True)
        paths[0].write_text(self.as_markdown() + "\n")
        write_json(paths[1], self.as_dict())
        if self.rows:
            paths.append(base.with_name(f"{base.name}.png"))
            self._draw_accuracy_and_speed(paths[-1])
        if any(row.over_time for row in self.rows):
            paths.append(base.with_name(f"{base.name}-over-time.png"))
            self._draw_over_time(paths[-1])
        return paths

    def as_markdown(self) -> str:
        """The table, and under it what must be known of it."""
        columns = list(dict.fromkeys(name for row in self.rows for name in row.variant.columns))
        played = ["played"] if self.several_lengths else []
        lines = []
        for row in self.rows:
            first = [row.variant.columns.get(name, "") for name in columns]
            lines.append([*first, *([row.data.played] if played else []), *_figures(row.run)])
        parts = [
            f"### {self.study.title}",
            markdown_table([*columns, *played, *_FIGURES], lines)
            if lines
            else "No variant could be run.",
            *self._notes(),
        ]
        return "\n\n".join(parts)

    def as_dict(self) -> dict[str, Any]:
        """All of it as plain values; scores as fractions, unrounded."""
        rows = [
            {
                "name": row.variant.name,
                "line": row.variant.line,
                "columns": dict(row.variant.columns),
                "system": row.variant.system,
                "weights": str(row.variant.weights),
                "settings": dict(row.variant.settings),
                "played": row.data.played,
                **{
                    name: value
                    for name, value in dataclasses.asdict(row.run).items()
                    if name != "folder"
                },
                "fps": row.run.fps,
                "over_time": None if row.over_time is None else dataclasses.asdict(row.over_time),
            }
            for row in self.rows
        ]
        data = {
            "root": str(self.data.layout.root),
            "split": self.data.layout.split,
            "sequences": list(self.data.names),
            "frames": self.data.frame_count,
            "protocol": self.data.layout.protocol,
        }
        return {
            "study": self.study.name,
            "title": self.study.title,
            **self.where,
            "data": data,
            "rows": rows,
            "left_out": list(self.left_out),
            "notes": list(self.study.notes),
        }

    def _notes(self) -> list[str]:
        devices = " and ".join(dict.fromkeys(row.run.device for row in self.rows))
        held = "Memory elements: the most the bank held in any video; memory, MB: its tables then, with the room that is reserved."
        lines = [
            f"{self.data.description}; J and F in %, protocol `{self.data.layout.protocol}`. {held}"
        ]
        if self.rows:
            lines.append(
                f"FPS and peak memory are of this run on this machine ({devices}), each variant in a process of its own; other work beside it lowers FPS."
            )
        lines += self.study.notes
        if ratios := self._speed_ratios():
            lines.append("FPS of longer videos over those of " + ratios + ".")
        if untimed := [
            f"{row.variant.name} ({', '.join(row.run.untimed)})"
            for row in self.rows
            if row.run.untimed
        ]:
            lines.append(
                "Videos whose results were there already, without a record of their time and memory: "
                + "; ".join(dict.fromkeys(untimed))
                + "."
            )
        lines += [f"Left out: {reason}." for reason in self.left_out]
        return [*lines, circumstances_line(dict(self.where))]

    def _speed_ratios(self) -> str:
        """How speed depends on length: the first length's, then each variant's ratios to it."""
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

    def _subtitle(self) -> str:
        devices = ", ".join(dict.fromkeys(row.run.device for row in self.rows))
        return (
            f"{self.data.description}; {devices}, {self.where['processor']}, {self.where['date']}"
        )

    def _draw_accuracy_and_speed(self, path: Path) -> None:
        lines: dict[str, list[tuple[float, float, str]]] = {}
        for row in self.rows:
            name, label = (
                (_name(row.variant), row.data.played)
                if self.several_lengths
                else (row.variant.line, row.variant.label)
            )
            lines.setdefault(name, []).append((row.run.fps, 100 * row.run.j_and_f, label))
        drawn = [
            Line(name, [point[:2] for point in points], [point[2] for point in points])
            for name, points in lines.items()
        ]
        labels = "how long videos are played" if self.several_lengths else self.study.labels
        title = "accuracy against speed" + (f"; at the points: {labels}" if labels else "")
        line_chart(
            path,
            self.study.title,
            self._subtitle(),
            [LinePanel(title, "frames a second", "J&F, %", drawn)],
        )

    def _draw_over_time(self, path: Path) -> None:
        rows = [row for row in self.rows if row.over_time is not None]
        panels = []
        for played in dict.fromkeys(row.data.played for row in rows):
            these = [row for row in rows if row.data.played == played]
            of = f" over videos played {played}" if self.several_lengths else " over the videos"
            across = these[0].over_time.unit
            for title, figure, up, factor in (
                ("accuracy", "j_and_f", "J&F, %", 100),
                ("memory", "memory_elements", "elements", 1),
                ("time", "milliseconds", "ms a frame", 1),
            ):
                panels.append(
                    LinePanel(
                        title + of,
                        across,
                        up,
                        [_line_over_time(row, figure, factor) for row in these],
                    )
                )
        line_chart(path, self.study.title, self._subtitle(), panels, columns=3)


def _figures(run: Run) -> list[str]:
    scores = [f"{100 * value:.1f}" for value in (run.j_and_f, run.j, run.f)]
    if not run.frames:
        return [*scores, *["not measured"] * (len(_FIGURES) - len(scores))]
    return [
        *scores,
        f"{run.fps:.2f}",
        f"{run.peak_memory_mb:,.0f}",
        f"{run.frames_memorised:,}",
        f"{run.memory_elements:,}",
        f"{run.memory_mb:.1f}",
    ]


def _line_over_time(row: Row, figure: str, factor: float) -> Line:
    points = [
        (time, factor * value)
        for time, value in zip(row.over_time.times, getattr(row.over_time, figure))
        if value is not None
    ]
    return Line(_name(row.variant), points, markers=False)


def _name(variant: Variant) -> str:
    return " ".join(filter(None, (variant.line, variant.label)))
