"""Command-line flags whose errors are one line."""

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from util.errors import InputError
from util.text import without_secrets

_BEGINNING_BYTES = 1024

Commands = (
    argparse._SubParsersAction
)  # what add_subparsers returns; argparse has no public name for it


class DefaultsFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Help that ends with a flag's default, where there is one that the text does not name."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default is None or action.default is False or action.default == []:
            return action.help
        if "default" in (action.help or ""):
            return action.help
        return super()._get_help_string(action)


class FlagParser(argparse.ArgumentParser):
    """argparse whose errors are InputErrors; flags are not abbreviated, and an unknown one is answered with the valid ones."""

    def __init__(self, *arguments: Any, **keywords: Any):
        super().__init__(*arguments, allow_abbrev=False, **keywords)

    def parse_args(self, *arguments: Any, **keywords: Any) -> argparse.Namespace:
        flags, unknown = self.parse_known_args(*arguments, **keywords)
        if unknown:
            self._command_of(flags)._refuse(unknown)
        self._command_of(flags)._refuse_same_files(flags)
        return flags

    def _command_of(self, flags: argparse.Namespace) -> "FlagParser":
        """The parser of the command that was given, where there are commands: it knows the flags."""
        commands = next((action for action in self._actions if isinstance(action, Commands)), None)
        return (
            self
            if commands is None
            else commands.choices[getattr(flags, commands.dest)]._command_of(flags)
        )

    def _refuse(self, unknown: Sequence[str]) -> NoReturn:
        valid = " ".join(
            option
            for action in self._actions
            for option in action.option_strings
            if action.help != argparse.SUPPRESS
        )
        flags = [
            word.partition("=")[0] for word in unknown if word.startswith("-")
        ]  # without their values, which may be passwords
        self.error(f"{' '.join(flags or unknown)}: not known; the flags are {valid}")

    def _parse_optional(self, arg_string: str) -> Any:
        """A file that is there, whose name begins with a hyphen, is a value and no flag (argparse takes None for that)."""
        if (
            arg_string.startswith("-")
            and arg_string not in self._option_string_actions
            and os.path.lexists(arg_string)
        ):
            return None
        return super()._parse_optional(arg_string)

    def _refuse_same_files(self, flags: argparse.Namespace) -> None:
        """A file to be written is no other flag's file, which would be lost. Devices and pipes take both."""
        paths = {
            action.option_strings[0]: getattr(flags, action.dest, None)
            for action in self._actions
            if action.option_strings
        }
        for written in (
            action.option_strings[0]
            for action in self._actions
            if action.type in (output_text_path, output_image_path)
        ):
            for other, path in paths.items():
                if (
                    other != written
                    and isinstance(path, Path)
                    and _is_same_file(path, paths[written])
                ):
                    self.error(
                        f"{written} and {other} both name {path}; give each a file of its own"
                    )

    def error(self, message: str) -> NoReturn:
        raise InputError(without_secrets(f"{self.prog}: {message}"))


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


def _is_same_file(one: Path, other: Path | None) -> bool:
    if other is None or (other.exists() and not other.is_file()):
        return False
    return one.resolve() == other.resolve() or (
        one.exists() and other.exists() and one.samefile(other)
    )


def output_image_path(text: str) -> Path:
    """A flag's type: the path of a picture to be written, refused before any work where it is a folder."""
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{path}: a folder; a file's name is needed")
    return path


def output_text_path(text: str) -> Path:
    """A flag's type: the path of a text to be written, refused before any work where a folder is there, or a file that holds no text (a mask, weights)."""
    path = output_image_path(text)
    if path.is_file():
        with path.open("rb") as file:
            if b"\0" in file.read(_BEGINNING_BYTES):
                raise argparse.ArgumentTypeError(
                    f"{path}: is there already, and holds no text; name another file"
                )
    return path
