"""What a study compares: variants, each a way to run some weights; and the files of weights it was given."""

import dataclasses
import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from util.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Variant:
    """One row. Rows of the same name share one run: they must have the same weights, system and settings."""

    name: str  # of its run, and of its folder
    line: str  # which line of the plots it belongs to
    label: str = ""  # beside its point
    columns: Mapping[str, str]  # the row's first columns
    weights: Path
    window: tuple[int, int, int] | None = (
        None  # of the weights' refinement, where they alone do not tell
    )
    system: str = "stcn"
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # by short or full name

    def fits(self, pattern: str) -> bool:
        """Whether its name does."""
        return fnmatch.fnmatchcase(self.name, pattern)

    def flags(self) -> list[str]:
        """Of the eval scripts."""
        settings = [f"{name}={_text(value)}" for name, value in self.settings.items()]
        window = [] if self.window is None else ["--window", *map(str, self.window)]
        return [
            "--model",
            str(self.weights.resolve()),
            *window,
            "--system",
            self.system,
            *(["--set", *settings] if settings else []),
        ]


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) or value is None else str(value)


@dataclasses.dataclass(frozen=True)
class LeftOut:
    """Rows that cannot be run here, and why. names: those of their variants, by default the one that `what` says."""

    what: str
    reason: str
    names: tuple[str, ...] = ()

    def fits(self, pattern: str) -> bool:
        """Whether one of its names does."""
        return any(fnmatch.fnmatchcase(name, pattern) for name in self.names or (self.what,))

    def __str__(self) -> str:
        return f"{self.what}: {self.reason}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study:
    """What is to be run, in the order of its rows, and what is said of it."""

    name: str
    title: str
    variants: Sequence[Variant]
    left_out: Sequence[LeftOut] = ()
    labels: str = ""  # what the labels beside the points are
    notes: Sequence[str] = ()


class Weights:
    """Files of weights by role. given: ROLE=FILE texts. defaults: files of roles for which none is given, where they are there. roles: every role there is.

    Raises InputError for texts of another form and for unknown roles; a file that is not there is a reason to leave variants out, not an error.
    """

    def __init__(
        self, given: Iterable[str], roles: Iterable[str], defaults: Mapping[str, Path] | None = None
    ):
        self._files = dict(defaults or {})
        self._given: set[str] = set()
        self.roles = roles = tuple(roles)
        for text in given:
            role, equals, file = text.partition("=")
            if not equals or not file:
                raise InputError(
                    f"--weights {text}: ROLE=FILE is needed; the roles are {', '.join(roles)}"
                )
            if role not in roles:
                raise InputError(
                    f"--weights {text}: no role '{role}'; the roles are {', '.join(roles)}"
                )
            if role in self._given:
                raise InputError(f"--weights {text}: {role} is given twice; leave one out")
            self._given.add(role)
            self._files[role] = Path(file)

    def file(self, role: str) -> Path | None:
        """The role's file; None where there is none."""
        file = self._files.get(role)
        return file if file is not None and file.is_file() else None

    def given(self, role: str) -> bool:
        """Whether a file was named for the role, be it there or not."""
        return role in self._given

    def missing(self, role: str) -> str:
        """Why a role has no file, and what to do."""
        if role in self._given:
            return f"{self._files[role]}: no such file"
        return f"no weights of role {role}; give them with --weights {role}=FILE"
