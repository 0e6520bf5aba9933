"""The folder that a script writes its report to."""

from pathlib import Path

from util.errors import InputError


def check_output_folder(output: Path) -> None:
    """Refuse an output that is a file, or lies below one, before anything is read or run."""
    existing = next(path for path in (output, *output.absolute().parents) if path.exists())
    if not existing.is_dir():
        found = "a file" if existing == output else f"{existing} is a file"
        raise InputError(f"--output {output}: {found}; a folder is needed")
