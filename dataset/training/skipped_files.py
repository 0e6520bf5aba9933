"""Files that training passes over: damaged ones, and masks without objects. Each is named once and counted; too many damaged ones end the training."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from util.errors import InputError

MAX_DAMAGED_SHARE = 0.01
"""Of all files of the training data; more of them damaged means that the data set is, and training on the rest would be another training."""
MAX_NAMED_MASKS = 20
"""Masks without objects that are named one by one: video data sets hold thousands, of frames before an object comes or after it left."""


@dataclass(frozen=True, kw_only=True)
class SkippedFile:
    """damaged: it cannot be used at all; otherwise it is a whole mask that holds no object. reason: what was found, and what to do."""

    path: Path
    reason: str
    damaged: bool

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class UnusableFileError(InputError):
    """A file that no sample can be made of."""

    def __init__(self, path: Path, reason: str, damaged: bool = True):
        self.skipped = SkippedFile(path=path, reason=reason, damaged=damaged)
        super().__init__(str(self.skipped))


class SkipLog:
    """The files skipped so far, each once. total_files: how many files the training data has."""

    def __init__(self, total_files: int):
        self.total_files = total_files
        self.files: dict[Path, SkippedFile] = {}
        self.damaged: list[SkippedFile] = []

    def add(self, skipped: Iterable[SkippedFile]) -> list[str]:
        """Count these files. Returns a line for each that is new, to be shown; masks without objects are named up to MAX_NAMED_MASKS of them."""
        lines = []
        for file in skipped:
            if file.path in self.files:
                continue
            self.files[file.path] = file
            if file.damaged:
                self.damaged.append(file)
            whole = len(self.files) - len(self.damaged)
            if file.damaged or whole <= MAX_NAMED_MASKS:
                lines.append(f"skipped {file}")
            if not file.damaged and whole == MAX_NAMED_MASKS:
                lines.append("further masks without objects are skipped and counted, but not named")
        return lines

    def check(self) -> None:
        """Raises InputError where more than MAX_DAMAGED_SHARE of all files are known to be damaged."""
        if len(self.damaged) > MAX_DAMAGED_SHARE * self.total_files:
            first = ", ".join(str(file.path) for file in self.damaged[:3])
            raise InputError(
                f"{first}: {len(self.damaged)} of the {self.total_files} files of the training data are damaged, more than {MAX_DAMAGED_SHARE:.0%}; "
                "check the roots with scripts/verify_data.py and replace what it names"
            )
