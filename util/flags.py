"""Command-line flags whose errors are one line."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from util.errors import InputError

Commands = argparse._SubParsersAction  # what add_subparsers returns; argparse has no public name for it


class FlagParser(argparse.ArgumentParser):
    """argparse whose errors are InputErrors; flags are not abbreviated, and an unknown one is answered with the valid ones."""

    def __init__(self, *arguments: Any, **keywords: Any):
        super().__init__(*arguments, allow_abbrev=False, **keywords)

    def parse_args(self, *arguments: Any, **keywords: Any) -> argparse.Namespace:
        flags, unknown = self.parse_known_args(*arguments, **keywords)
        if unknown:
            self._command_of(flags)._refuse(unknown)
        return flags

    def _command_of(self, flags: argparse.Namespace) -> "FlagParser":
        """The parser of the command that was given, where there are commands: it knows the flags."""
        commands = next((action for action in self._actions if isinstance(action, Commands)), None)
        return self if commands is None else commands.choices[getattr(flags, commands.dest)]._command_of(flags)

    def _refuse(self, unknown: Sequence[str]) -> NoReturn:
        valid = " ".join(option for action in self._actions for option in action.option_strings if action.help != argparse.SUPPRESS)
        self.error(f"{' '.join(unknown)}: not known; the flags are {valid}")

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{self.prog}: {message}")


def at_least(smallest: int, multiple_of: int = 1) -> Callable[[str], int]:
    """A flag's type: a whole number, this or more, and a multiple of the other."""

    def number(text: str) -> int:
        value = int(text)
        if value < smallest:
            raise argparse.ArgumentTypeError(f"{value}: at least {smallest} is needed")
        if value % multiple_of:
            raise argparse.ArgumentTypeError(f"{value}: a multiple of {multiple_of} is needed")
        return value

    return number


def new_file(text: str) -> Path:
    """A flag's type: the path of a file to be written, refused before any work where it is a folder."""
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{path}: a folder; a file's name is needed")
    return path
