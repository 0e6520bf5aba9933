"""Running a table's rows, and what is recorded of each."""

import dataclasses
import hashlib
import json
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from inference.output.paths import CONFIG_NAME
from inference.output.recorded_run import RecordedRun
from scripts.reproduction.figures import TOTALS_NAME, Figure, Row
from scripts.studies.runs import FailedRunError, run_to_end
from util.errors import InputError

REPOSITORY = Path(__file__).resolve().parent.parent.parent


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a row gave.

    figures: measured ones, in the table's units. problem: why there are none; left_out: because a
    file is missing, otherwise because the command failed. command: as it was run. runs: what each
    evaluation in it recorded of its settings and data.
    """

    row: Row
    command: str
    seconds: float = 0.0
    figures: Mapping[str, float] = dataclasses.field(default_factory=dict)
    problem: str | None = None
    left_out: bool = False
    runs: tuple[Mapping[str, Any], ...] = ()

    def verdicts(self) -> Iterator[tuple[Figure, float, str]]:
        """Each measured figure, its value and the verdict on it."""
        for figure in self.row.figures:
            if figure.name in self.figures:
                value = self.figures[figure.name]
                yield figure, value, figure.verdict(value)

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "name": self.row.name,
            "command": self.command,
            "seconds": self.seconds,
            "problem": self.problem,
            "figures": [
                {
                    "name": figure.name,
                    "expected": figure.expected,
                    "noise": figure.noise,
                    "measured": value,
                    "verdict": verdict,
                }
                for figure, value, verdict in self.verdicts()
            ],
            "runs": list(self.runs),
        }


def missing_file(row: Row, folders: Mapping[str, Path]) -> str | None:
    """That the file which a row needs is missing, in words; None if it is there."""
    needed = None if row.needs is None else Path(row.needs.format(**folders))
    if needed is None or needed.is_file():
        return None
    return f"{needed}: no such file; it is published at {row.source}"


def reproduce(row: Row, folders: Mapping[str, Path], output: Path, device: str) -> Outcome:
    """Run a row's command from scratch, in a temporary folder of `output`, and read its figures.

    folders: what {davis}, {weights} and {repository} stand for.
    """
    problem = missing_file(row, folders)
    with tempfile.TemporaryDirectory(prefix=".run-", dir=output) as out:
        command = _command(row, folders, Path(out), device)
        shown = shlex.join(["python", *command]).replace(out, "OUT")
        if problem is not None:
            return Outcome(row=row, command=shown, problem=problem, left_out=True)
        start_seconds = time.perf_counter()
        try:
            printed = run_to_end([sys.executable, str(REPOSITORY / command[0]), *command[1:]])
            _keep_totals(printed, Path(out))
            figures = {figure.name: figure.read(Path(out)) for figure in row.figures}
        except (FailedRunError, InputError) as error:
            return Outcome(row=row, command=shown, problem=str(error))
        return Outcome(
            row=row,
            command=shown,
            seconds=time.perf_counter() - start_seconds,
            figures=figures,
            runs=tuple(_recorded_runs(Path(out))),
        )


def _command(row: Row, folders: Mapping[str, Path], out: Path, device: str) -> list[str]:
    words = [word.format(**folders) for word in shlex.split(row.command)]
    return [*words, "--output", str(out), "--device", device]


def _keep_totals(printed: str, out: Path) -> None:
    """Write the line that ends the output of an eval program to a file of its own."""
    last = printed.strip().rpartition("\n")[2]
    if last.startswith("{"):
        (out / TOTALS_NAME).write_text(last)


def _recorded_runs(out: Path) -> Iterator[dict[str, Any]]:
    """Of each evaluation below `out`: its settings, its circumstances, and what its data are."""
    for path in sorted(out.rglob(CONFIG_NAME)):
        recorded = RecordedRun.read(path)
        videos = {
            name: {kind: files[kind]["content"] for kind in ("frames", "masks")}
            for name, files in sorted((recorded.inputs or {}).items())
        }
        yield {
            "folder": path.parent.relative_to(out).as_posix(),
            "settings": dict(recorded.settings),
            "run": dict(recorded.run),
            "data_sha256": hashlib.sha256(json.dumps(videos).encode()).hexdigest(),
            "data": videos,
        }
