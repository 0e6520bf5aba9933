"""What a table of the documentation consists of: rows, each a command, and the figures it makes."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from util.errors import InputError

TOTALS_NAME = "totals.json"  # the last line of a command's output, which the eval programs end with


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figure:
    """One number of a table.

    file: that the command of its row writes below its folder, or TOTALS_NAME. path: to the number
    in that JSON file, keys separated by slashes; NAME=VALUE[,NAME=VALUE…] is the entry of a list
    with these values. factor: from the file's unit to the one of the table.
    expected: what the documentation or the paper says; None: it is open. noise: by how much a
    measurement may differ from it. digits: after the point, as the table shows it. of_machine: it
    depends on the machine and is not judged.
    """

    name: str
    file: str
    path: str
    expected: float | None = None
    noise: float = 0.0
    factor: float = 1.0
    digits: int = 1
    of_machine: bool = False

    def read(self, folder: Path) -> float:
        """Its value in the results of a run in `folder`. Raises InputError if it is not there."""
        path = folder / self.file
        try:
            value: Any = json.loads(path.read_text(encoding="utf-8"))
            for key in self.path.split("/"):
                value = _entry(value, key) if isinstance(value, list) else value[key]
            return float(value) * self.factor
        except FileNotFoundError as error:
            raise InputError(f"{self.file}: the command did not write it") from error
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{self.file}: has no number at {self.path}") from error

    def verdict(self, measured: float) -> str:
        """Whether a measurement agrees: same, changed, open, or not judged."""
        if self.of_machine:
            return "not judged"
        if self.expected is None:
            return "open"
        # as shown, since the expected figure is rounded too
        difference = abs(float(self.shown(measured)) - self.expected)
        return "same" if difference <= self.noise + 1e-9 else "changed"

    def shown(self, value: float | None) -> str:
        """A value as the table shows it; open for None."""
        return "open" if value is None else f"{value:.{self.digits}f}"


def _entry(entries: Sequence[Mapping[str, Any]], key: str) -> Mapping[str, Any]:
    """The first entry with the values of a text NAME=VALUE[,NAME=VALUE…]. Raises KeyError."""
    wanted = dict(part.split("=", 1) for part in key.split(","))
    for entry in entries:
        if all(str(entry.get(name)) == value for name, value in wanted.items()):
            return entry
    raise KeyError(key)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """A command and the figures that it makes.

    command: a program of this repository with its flags, in which {davis}, {weights} and
    {repository} stand for folders. --output and --device are added. needs: a file without which
    the row is left out. source: where the file is published.
    """

    name: str
    command: str
    figures: Sequence[Figure]
    needs: str | None = None
    source: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    """A table of the documentation. page: where it stands, PAGE#SECTION of the repository."""

    title: str
    page: str
    rows: Sequence[Row]
