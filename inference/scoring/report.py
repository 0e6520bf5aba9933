"""The scores of a folder of results: as a table, as JSON, as CSV.

Scores are fractions in the fields and the files, percentages in the table.
"""

import csv
import io
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields

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
class YouTubeScores:
    """The scores that YouTube-VOS ranks by, in 0..1.

    J and F over the objects of categories seen and unseen in training, and the mean G of those that
    are known. A score is None if no object is of its kind, or if the categories seen in training
    are unknown.
    """

    g: float | None
    j_seen: float | None
    f_seen: float | None
    j_unseen: float | None
    f_unseen: float | None


@dataclass(frozen=True, kw_only=True)
class OverallScores(Scores):
    """Means over all objects of all sequences, each object counting once."""

    youtube: YouTubeScores | None = None


@dataclass(frozen=True, kw_only=True)
class ObjectScores(Scores):
    """One object of one sequence. frames: the number of scored frames.

    seen: whether its category was in the training set; None if unknown or irrelevant.
    """

    sequence: str
    object_id: int
    frames: int
    seen: bool | None = None


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
        header = ("sequence", "object", "frames", *_COLUMNS)
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
        widths = [max(map(len, column)) for column in zip(header, *rows, total, strict=True)]
        rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
        lines = [
            f"protocol {self.protocol} ({self.protocol_title}); %",
            _aligned(header, widths),
            rule,
        ]
        lines += [_aligned(row, widths) for row in rows]
        lines += [rule, _aligned(total, widths)]
        if youtube := self.overall.youtube:
            lines.append(
                "unofficial   "
                + "   ".join(
                    f"{name.replace('_', ' ').capitalize()} {_percentage(value)}"
                    for name, value in asdict(youtube).items()
                )
            )
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])

    def write_json(self, path: str | os.PathLike) -> None:
        """Write all fields, with scores as unrounded fractions. Raises OSError naming the file."""
        write_json(path, asdict(self))

    def write_csv(self, path: str | os.PathLike) -> None:
        """Write a line per object and a last one, "overall", with scores as unrounded fractions.

        Raises OSError naming the file.
        """
        names = [field.name for field in fields(Scores)]
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["protocol", "sequence", "object_id", "frames", *names])
        for row in self.objects:
            writer.writerow(
                [
                    self.protocol,
                    row.sequence,
                    row.object_id,
                    row.frames,
                    *(getattr(row, name) for name in names),
                ]
            )
        frames = sum(row.frames for row in self.objects)
        writer.writerow(
            [self.protocol, "overall", "", frames, *(getattr(self.overall, name) for name in names)]
        )
        with atomic_write(path) as file:
            # a name that is not UTF-8 is written as its own bytes
            file.write(text.getvalue().encode(errors="surrogateescape"))


def overall_scores(objects: Sequence[ObjectScores], youtube: bool) -> OverallScores:
    """The means over objects, of which there is at least one. youtube: also YouTube-VOS's own."""
    means = {
        field.name: _mean(getattr(row, field.name) for row in objects) for field in fields(Scores)
    }
    return OverallScores(**means, youtube=_youtube_scores(objects) if youtube else None)


def _youtube_scores(objects: Sequence[ObjectScores]) -> YouTubeScores:
    seen, unseen = ([row for row in objects if row.seen is kind] for kind in (True, False))
    four = {
        "j_seen": _mean(row.j_mean for row in seen),
        "f_seen": _mean(row.f_mean for row in seen),
        "j_unseen": _mean(row.j_mean for row in unseen),
        "f_unseen": _mean(row.f_mean for row in unseen),
    }
    return YouTubeScores(g=_mean(value for value in four.values() if value is not None), **four)


def _mean(values: Iterable[float]) -> float | None:
    values = list(values)
    return float(np.mean(values)) if values else None


def _percentages(scores: Scores) -> tuple[str, ...]:
    return tuple(_percentage(getattr(scores, field.name)) for field in fields(Scores))


def _percentage(fraction: float | None) -> str:
    return "-" if fraction is None else f"{100 * fraction:.1f}"


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    """The first cell is aligned to the left, the others, which are numbers, to the right."""
    return "  ".join(
        [
            cells[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)),
        ]
    )
