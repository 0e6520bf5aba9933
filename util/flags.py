"""Command-line flags whose errors are one line."""

import argparse
from collections.abc import Callable
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
            valid = " ".join(option for action in self._actions for option in action.option_strings if action.help != argparse.SUPPRESS)
            commands = " (of a command, those that its --help shows)" if self._subparsers else ""
            self.error(f"{' '.join(unknown)}: not known; the flags are {valid}{commands}")
        return flags

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
