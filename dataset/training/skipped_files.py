"""Files that training skips: damaged ones, and masks without objects.

Each is reported once and counted; too many damaged files end the training.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from util.errors import InputError

MAX_DAMAGED_SHARE = 0.01
"""Of all files of the training data. With more, the data set itself is broken."""
MAX_REPORTED_MASKS = 20
"""Masks without objects that are reported one by one. Video data sets hold thousands: frames before
an object appears or after it has left."""


@dataclass(frozen=True, kw_only=True)
class SkippedFile:
    """A file that no sample can be made of.

    reason: what was found, and what to do. damaged: whether the file is unusable; otherwise it is
    an intact mask without objects.
    """

    path: Path
    reason: str
    damaged: bool

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class UnusableFileError(InputError):
    """Raised while a sample is drawn from such a file; `skipped` describes it."""

    def __init__(self, path: Path, reason: str, damaged: bool = True):
        self.skipped = SkippedFile(path=path, reason=reason, damaged=damaged)
        super().__init__(str(self.skipped))


class SkipLog:
    """The files skipped so far. total_files: the number of files of the training data."""

    def __init__(self, total_files: int):
        self.total_files = total_files
        self.files: dict[Path, SkippedFile] = {}
        self.damaged: list[SkippedFile] = []

    def add(self, skipped: Iterable[SkippedFile]) -> list[str]:
        """Count these files. Returns lines to be shown, one for each file that is new.

        Masks without objects get a line up to MAX_REPORTED_MASKS of them.
        """
        lines = []
        for file in skipped:
            if file.path in self.files:
                continue
            self.files[file.path] = file
            if file.damaged:
                self.damaged.append(file)
            empty_masks = len(self.files) - len(self.damaged)
            if file.damaged or empty_masks <= MAX_REPORTED_MASKS:
                lines.append(f"skipped {file}")
            if not file.damaged and empty_masks == MAX_REPORTED_MASKS:
                lines.append("further masks without objects are skipped and counted, but not named")
        return lines

    def check(self) -> None:
        """Raise InputError if more than MAX_DAMAGED_SHARE of all files are damaged."""
        if len(self.damaged) > MAX_DAMAGED_SHARE * self.total_files:
            first = ", ".join(str(file.path) for file in self.damaged[:3])
            raise InputError(
                f"{first}: {len(self.damaged)} of the {self.total_files} files of the training "
                f"data are damaged, more than {MAX_DAMAGED_SHARE:.0%}; check the roots with "
                "scripts/verify_data.py and replace what it names"
            )
