"""What a study compares: variants, each a way to run some weights, and the weights it was given."""

import dataclasses
import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from model.config import Similarity
from util.errors import InputError

Window = tuple[int, int, int]
"""An attention window of the intra-clip refinement: frames, rows, columns."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Variant:
    """One row of a study's table.

    name: of its run and its folder. Rows of the same name share one run and must have the same
    weights, system and settings.
    line, label: the line of the plots that it belongs to, and the text beside its point.
    columns: the first columns of the row.
    window, similarity: of the refinement, and of keys, if the file may not state them.
    settings: overrides of the system's settings, by short or full name.
    """

    name: str
    line: str
    label: str = ""
    columns: Mapping[str, str]
    weights: Path
    window: Window | None = None
    similarity: Similarity | None = None
    system: str = "stcn"
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def matches(self, pattern: str) -> bool:
        """Whether its name matches a shell pattern."""
        return fnmatch.fnmatchcase(self.name, pattern)

    def flags(self) -> list[str]:
        """The flags of the eval programs that select this variant."""
        flags = ["--model", str(self.weights.resolve())]
        if self.window is not None:
            flags += ["--window", *map(str, self.window)]
        if self.similarity is not None:
            flags += ["--similarity", self.similarity]
        flags += ["--system", self.system]
        if self.settings:
            flags += ["--set", *(f"{name}={_text(value)}" for name, value in self.settings.items())]
        return flags


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) or value is None else str(value)


@dataclasses.dataclass(frozen=True)
class Omission:
    """Rows that cannot be run here, and why.

    subject: what is left out. names: of the variants that are left out; by default the subject.
    """

    subject: str
    reason: str
    names: tuple[str, ...] = ()

    def matches(self, pattern: str) -> bool:
        """Whether one of its names matches a shell pattern."""
        return any(fnmatch.fnmatchcase(name, pattern) for name in self.names or (self.subject,))

    def __str__(self) -> str:
        return f"{self.subject}: {self.reason}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study:
    """The variants to run, in the order of the table's rows, and what the report says about them.

    labels: what the labels beside the points mean.
    """

    name: str
    title: str
    variants: Sequence[Variant]
    left_out: Sequence[Omission] = ()
    labels: str = ""
    notes: Sequence[str] = ()


class Weights:
    """The files of weights of a study, by role.

    given: texts of the form ROLE=FILE. roles: all valid roles. defaults: files of roles for which
    none is given. Raises InputError for texts of another form and for unknown roles. A missing
    file is not an error: the variants that need it are left out.
    """

    def __init__(
        self, given: Iterable[str], roles: Iterable[str], defaults: Mapping[str, Path] | None = None
    ):
        self.roles = tuple(roles)
        self._defaults = dict(defaults or {})
        self._given: dict[str, Path] = {}
        for text in given:
            role, file = self._parse(text)
            if role in self._given:
                raise InputError(f"--weights {text}: {role} is given twice; remove one")
            self._given[role] = file

    def _parse(self, text: str) -> tuple[str, Path]:
        role, equals, file = text.partition("=")
        valid = f"the roles are {', '.join(self.roles)}"
        if not equals or not file:
            raise InputError(f"--weights {text}: ROLE=FILE is needed; {valid}")
        if role not in self.roles:
            raise InputError(f"--weights {text}: no role '{role}'; {valid}")
        return role, Path(file)

    def find(self, role: str) -> Path | None:
        """The role's file; None if there is none."""
        file = self._given.get(role, self._defaults.get(role))
        return file if file is not None and file.is_file() else None

    def is_given(self, role: str) -> bool:
        """Whether a file was named for the role, even if it does not exist."""
        return role in self._given

    def reason_missing(self, role: str) -> str:
        """Why a role has no file, and what to do."""
        if role in self._given:
            return f"{self._given[role]}: no such file"
        return f"no weights of role {role}; give them with --weights {role}=FILE"
