"""Running an eval script inside a test, as a user runs it from a shell."""

import sys
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest

from inference import cli


class Ended(NamedTuple):
    """How a program ended: its exit code, standard output and standard error."""

    code: int
    out: str
    err: str


class EvalCommand:
    """Runs the main of a script in this process, on the CPU.

    output, model: the values of these flags, unless a call gives others. model None: no such flag.
    """

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture,
        *,
        output: Path,
        model: Path | None,
    ):
        self._monkeypatch, self._capsys = monkeypatch, capsys
        self._defaults = {"--output": output, "--model": model, "--device": "cpu"}

    def __call__(self, script: ModuleType, *flags: object) -> Ended:
        words = [str(flag) for flag in flags]
        for name, value in self._defaults.items():
            words += [] if name in words or value is None else [name, str(value)]
        self._monkeypatch.setattr(sys, "argv", [f"{script.__name__}.py", *words])
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.start(script.main)
        return Ended(end.value.code, *self._capsys.readouterr())

    def succeed(self, script: ModuleType, *flags: object) -> Ended:
        """Run it and assert exit code 0."""
        ended = self(script, *flags)
        assert ended.code == 0, ended.err
        return ended

    def refuse(self, script: ModuleType, *flags: object) -> str:
        """Run it and assert that it refuses its input: exit code 2 and one line, returned."""
        code, out, err = self(script, *flags)
        assert code == 2 and out == "" and err.startswith("error: ") and err.count("\n") == 1, err
        return err
