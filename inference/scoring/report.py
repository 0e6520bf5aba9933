"""The scores of a folder of results: as a table, as JSON, as CSV.

Scores are fractions in the fields and the files, percentages in the table.
"""

import csv
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np

from inference.scoring.metrics import Statistics
from util.files import atomic_write, write_json

_COLUMNS = ("J&F", "J mean", "J recall", "J decay", "F mean", "F recall", "F decay")


@dataclass(frozen=True, kw_only=True)
class Scores:
    """J and F of one object, or their means over objects.

    Means and recalls are in 0..1, decays in -1..1 (lower is better).
    """

    jf_mean: float
    j_mean: float
    j_recall: float
    j_decay: float
    f_mean: float
    f_recall: float
    f_decay: float

    @classmethod
    def of(cls, j: Statistics, f: Statistics) -> "Scores":
        return cls(
            jf_mean=(j.mean + f.mean) / 2,
            **{f"j_{name}": value for name, value in asdict(j).items()},
            **{f"f_{name}": value for name, value in asdict(f).items()},
        )


@dataclass(frozen=True, kw_only=True)
class SeenUnseenScores:
    """The scores that YouTube-VOS and LVOS rank by, in 0..1.

    J and F over the objects of kinds seen and unseen in training, and the mean G of those that are
    known. A score is None if no object is of its kind, or if the kinds seen in training are
    unknown. extras: the protocol's other measures, each the mean of its two means.
    """

    g: float | None
    j_seen: float | None
    f_seen: float | None
    j_unseen: float | None
    f_unseen: float | None
    extras: Mapping[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class OverallScores(Scores):
    """Means over all objects of all sequences, each object counting once.

    extras: the means of the protocol's other measures, by name.
    """

    extras: Mapping[str, float] = field(default_factory=dict)
    seen_unseen: SeenUnseenScores | None = None


@dataclass(frozen=True, kw_only=True)
class ObjectScores(Scores):
    """One object of one sequence. frames: the number of scored frames.

    seen: whether its kind was in the training set; None if unknown or irrelevant.
    extras: the protocol's other measures, by name.
    """

    sequence: str
    object_id: int
    frames: int
    seen: bool | None = None
    extras: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Report:
    """The scores of a folder of results, and the protocol they follow.

    notes: what was left out, differs from the official toolkit, or looks wrong.
    """

    protocol: str
    protocol_title: str
    overall: OverallScores
    objects: Sequence[ObjectScores]
    notes: Sequence[str] = ()

    def as_table(self) -> str:
        """Aligned text with percentages: a line per object, the overall line, the notes."""
        header = ("sequence", "object", "frames", *_COLUMNS, *self.overall.extras)
        rows = [
            (row.sequence, str(row.object_id), str(row.frames), *_percentages(row))
            for row in self.objects
        ]
        total = (
            "overall",
            f"{len(self.objects)}",
            f"{sum(row.frames for row in self.objects)}",
            *_percentages(self.overall),
        )
        lines = [
            f"protocol {self.protocol} ({self.protocol_title}); %",
            aligned_table(header, rows, total),
        ]
        if self.overall.seen_unseen is not None:
            lines.append("seen, unseen   " + _seen_unseen_line(self.overall.seen_unseen))
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])

    def as_dict(self) -> dict[str, Any]:
        """All fields, with scores as unrounded fractions.

        overall.youtube repeats overall.seen_unseen under the name that version 0.9 wrote.
        """
        content = asdict(self)
        content["overall"]["youtube"] = content["overall"]["seen_unseen"]
        return content

    def write_json(self, path: str | os.PathLike) -> None:
        """Write as_dict(). Raises OSError naming the file."""
        write_json(path, self.as_dict())

    def write_csv(self, path: str | os.PathLike) -> None:
        """Write a line per object and a last one, "overall", with scores as unrounded fractions.

        Raises OSError naming the file.
        """
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        names = [column.name for column in fields(Scores)]
        names += self.overall.extras
        writer.writerow(["protocol", "sequence", "object_id", "frames", *names])
        for row in self.objects:
            writer.writerow(
                [
                    self.protocol,
                    row.sequence,
                    row.object_id,
                    row.frames,
                    *_values(row),
                ]
            )
        frames = sum(row.frames for row in self.objects)
        writer.writerow([self.protocol, "overall", "", frames, *_values(self.overall)])
        with atomic_write(path) as file:
            # a name that is not UTF-8 is written as its own bytes
            file.write(text.getvalue().encode(errors="surrogateescape"))


def overall_scores(objects: Sequence[ObjectScores], seen_unseen: bool) -> OverallScores:
    """The means over objects, of which there is at least one. seen_unseen: also by kind."""
    means = {
        column.name: _mean(getattr(row, column.name) for row in objects)
        for column in fields(Scores)
    }
    return OverallScores(
        **means,
        extras=_extra_means(objects),
        seen_unseen=_seen_unseen_scores(objects) if seen_unseen else None,
    )


def _seen_unseen_scores(objects: Sequence[ObjectScores]) -> SeenUnseenScores:
    seen, unseen = ([row for row in objects if row.seen is kind] for kind in (True, False))
    four = {
        "j_seen": _mean(row.j_mean for row in seen),
        "f_seen": _mean(row.f_mean for row in seen),
        "j_unseen": _mean(row.j_mean for row in unseen),
        "f_unseen": _mean(row.f_mean for row in unseen),
    }
    halves = [_extra_means(rows) for rows in (seen, unseen) if rows]
    return SeenUnseenScores(
        g=_mean(value for value in four.values() if value is not None),
        **four,
        extras={name: _mean(half[name] for half in halves) for name in objects[0].extras},
    )


def _seen_unseen_line(scores: SeenUnseenScores) -> str:
    values = asdict(scores)
    values |= values.pop("extras")
    return "   ".join(
        f"{_capitalised(name.replace('_', ' '))} {_percentage(value)}"
        for name, value in values.items()
    )


def _capitalised(name: str) -> str:
    return name[:1].upper() + name[1:]


def _extra_means(objects: Sequence[ObjectScores]) -> dict[str, float]:
    return {name: _mean(row.extras[name] for row in objects) for name in objects[0].extras}


def _mean(values: Iterable[float]) -> float | None:
    values = list(values)
    return float(np.mean(values)) if values else None


def _values(scores: ObjectScores | OverallScores) -> list[float]:
    """A row's scores in the order of the columns."""
    return [*(getattr(scores, column.name) for column in fields(Scores)), *scores.extras.values()]


def _percentages(scores: ObjectScores | OverallScores) -> tuple[str, ...]:
    return tuple(map(_percentage, _values(scores)))


def _percentage(fraction: float | None) -> str:
    return "-" if fraction is None else f"{100 * fraction:.1f}"


def aligned_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], total: Sequence[str]
) -> str:
    """Aligned text: the header, the rows between two rules, and the total."""
    widths = [max(map(len, column)) for column in zip(header, *rows, total, strict=True)]
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    lines = (_aligned(cells, widths) for cells in rows)
    return "\n".join([_aligned(header, widths), rule, *lines, rule, _aligned(total, widths)])


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    """The first cell is aligned to the left, the others, which are numbers, to the right."""
    return "  ".join(
        [
            cells[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)),
        ]
    )
