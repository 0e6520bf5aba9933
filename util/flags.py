"""Command-line flags: a parser whose errors are InputErrors, and types of values."""

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from util.errors import InputError
from util.text import without_secrets

_BINARY_PROBE_BYTES = 1024

Commands = argparse._SubParsersAction
"""What add_subparsers returns; argparse has no public name for it."""


class DefaultsFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Help that ends with a flag's default, if there is one that the text does not name."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default is None or action.default is False or action.default == []:
            return action.help
        if "default" in (action.help or ""):
            return action.help
        return super()._get_help_string(action)


class FlagParser(argparse.ArgumentParser):
    """An argparse parser that raises InputError, in one line without secrets of URLs.

    Flags cannot be abbreviated. The error for an unknown flag lists the valid ones. A flag of
    type `output_text_path` or `output_image_path` must not name the file of another flag.
    """

    def __init__(self, *arguments: Any, **keywords: Any):
        super().__init__(*arguments, allow_abbrev=False, **keywords)

    def parse_args(self, *arguments: Any, **keywords: Any) -> argparse.Namespace:
        flags, unknown = self.parse_known_args(*arguments, **keywords)
        command = self._parser_of_command(flags)
        if unknown:
            command._refuse_unknown(unknown)
        command._refuse_same_files(flags)
        return flags

    def error(self, message: str) -> NoReturn:
        raise InputError(without_secrets(f"{self.prog}: {message}"))

    def _parser_of_command(self, flags: argparse.Namespace) -> "FlagParser":
        """The parser of the given command, if there are commands: it knows the flags."""
        commands = next((action for action in self._actions if isinstance(action, Commands)), None)
        if commands is None:
            return self
        return commands.choices[getattr(flags, commands.dest)]._parser_of_command(flags)

    def _refuse_unknown(self, unknown: Sequence[str]) -> NoReturn:
        valid = " ".join(
            option
            for action in self._actions
            for option in action.option_strings
            if action.help != argparse.SUPPRESS
        )
        # Values, which may be passwords, are not shown.
        flags = [word.partition("=")[0] for word in unknown if word.startswith("-")]
        self.error(f"{' '.join(flags or unknown)}: not known; the flags are {valid}")

    def _parse_optional(self, arg_string: str) -> Any:
        """Take a word that begins with a hyphen but names an existing file as a value, which
        argparse expresses by None."""
        if (
            arg_string.startswith("-")
            and arg_string not in self._option_string_actions
            and os.path.lexists(arg_string)
        ):
            return None
        return super()._parse_optional(arg_string)

    def _refuse_same_files(self, flags: argparse.Namespace) -> None:
        """Refuse to overwrite another flag's file. Devices and pipes may be named twice."""
        actions = [action for action in self._actions if action.option_strings]
        paths = {action.option_strings[0]: getattr(flags, action.dest, None) for action in actions}
        written_flags = [
            action.option_strings[0]
            for action in actions
            if action.type in (output_text_path, output_image_path)
        ]
        for written in written_flags:
            for other, path in paths.items():
                if other == written or not isinstance(path, Path):
                    continue
                if _is_same_file(path, paths[written]):
                    self.error(
                        f"{written} and {other} both name {path}; give each a file of its own"
                    )


def _is_same_file(one: Path, other: Path | None) -> bool:
    if other is None or (other.exists() and not other.is_file()):
        return False
    if one.resolve() == other.resolve():
        return True
    return one.exists() and other.exists() and one.samefile(other)


def at_least(smallest: int, multiple_of: int = 1) -> Callable[[str], int]:
    """The type of a flag whose value is a whole number of at least `smallest` that is a multiple of
    `multiple_of`."""

    def number(text: str) -> int:
        value = int(text)
        if value < smallest:
            raise argparse.ArgumentTypeError(f"{value}: at least {smallest} is needed")
        if value % multiple_of:
            raise argparse.ArgumentTypeError(f"{value}: a multiple of {multiple_of} is needed")
        return value

    return number


def add_settings_flag(parser: argparse._ActionsContainer, text: str) -> None:
    """Add --set KEY=VALUE …, a list of texts for util.settings.parse_settings. text: its help."""
    parser.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help=text
    )


def output_image_path(text: str) -> Path:
    """The type of a flag that names an image to write. An existing folder is refused."""
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{path}: a folder; a file's name is needed")
    return path


def output_text_path(text: str) -> Path:
    """The type of a flag that names a text to write. An existing folder, and an existing file that
    is not a text (a mask, weights), are refused."""
    path = output_image_path(text)
    if path.is_file():
        with path.open("rb") as file:
            if b"\0" in file.read(_BINARY_PROBE_BYTES):
                raise argparse.ArgumentTypeError(
                    f"{path}: is there already, and holds no text; name another file"
                )
    return path
