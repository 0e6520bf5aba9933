"""Names of files and folders become lists of images, masks and videos, in natural order."""

import stat
from pathlib import Path

from util.errors import InputError
from util.files import natural_key

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
MASK_SUFFIXES = (".png",)


def short_path(path: Path) -> str:
    """How messages name a file: its folder and its name, 'bear/00003.jpg'."""
    return f"{path.parent.name}/{path.name}" if path.parent.name else path.name


def without_path(error: InputError, path: Path) -> str:
    """An error's message without the file's name, full or short, at its beginning."""
    return str(error).removeprefix(f"{path}: ").removeprefix(f"{short_path(path)}: ")


def path_key(path: Path) -> tuple:
    """Sort key of files: by the numbers in their stems; equal numbers (1, 01) by their spelling."""
    return natural_key(path.stem), path.name


def has_suffix(path: Path, suffixes: tuple[str, ...]) -> bool:
    """Whether a name ends in one of the suffixes, in any case, and is not hidden (macOS '._x')."""
    return path.suffix.lower() in suffixes and not path.name.startswith(".")


def require_file(path: Path, source: str | None = None) -> None:
    """Raise InputError if the path is missing or is not a regular file.

    Refused are a dangling link, a folder, and a pipe, which would block the reader forever.
    source: how the message names the file; by default its folder and its name.
    """
    source = source or short_path(path)
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        if path.is_symlink():
            target = path.readlink()
            raise InputError(
                f"{source}: a link to {target}, which is not there; put that back or remove the "
                "link"
            ) from error
        raise InputError(f"{source}: no such file; put it back or leave the video out") from error
    except (OSError, ValueError) as error:  # a link to itself, an unreadable folder
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{source}: cannot be read ({reason}); replace the file") from error
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe, socket or device"
        raise InputError(f"{source}: {kind} under a file's name; rename or remove it")


def require_folder(folder: Path, expectation: str) -> None:
    """Raise InputError if the path is missing or is not a folder. expectation: what is needed."""
    if not folder.is_dir():
        finding = "not a folder" if folder.exists() else "no such folder"
        raise InputError(f"{folder}: {finding}; {expectation}")


def list_files(folder: Path, suffixes: tuple[str, ...] = IMAGE_SUFFIXES) -> list[Path]:
    """The files of a folder that have one of the suffixes, in natural order.

    Suffixes match in any case. Hidden files and files of other kinds are ignored.

    Raises:
        InputError: the folder is missing, two files share a stem, or something with such a name
            is not a file (see require_file).
    """
    kinds = "/".join(suffix[1:] for suffix in suffixes)
    require_folder(folder, f"a folder of {kinds} files is needed")
    files = sorted((path for path in folder.iterdir() if has_suffix(path, suffixes)), key=path_key)
    by_stem: dict[str, Path] = {}
    for file in files:
        require_file(file)
        other = by_stem.setdefault(file.stem, file)
        if other is not file:
            raise InputError(same_stem_message(file, other))
    return files


def same_stem_message(path: Path, other: Path) -> str:
    """The message for two files whose names differ only in their suffix."""
    return (
        f"{short_path(path)}: {other.name} has the same name but for its ending; keep one of them"
    )


def list_folders(folder: Path) -> list[str]:
    """The names of the folders inside a folder, sorted: its videos. Hidden ones are ignored."""
    return sorted(
        path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")
    )


def holds_files(folder: Path, suffixes: tuple[str, ...] = IMAGE_SUFFIXES) -> bool:
    """Whether list_files would return any file. Stops at the first one."""
    return any(has_suffix(path, suffixes) and path.is_file() for path in folder.iterdir())


def holds_videos(folder: Path, suffixes: tuple[str, ...] = IMAGE_SUFFIXES) -> bool:
    """Whether any folder inside this one holds such files.

    True for a folder of videos, False for the folder of one video's frames.
    """
    return folder.is_dir() and any(
        holds_files(folder / name, suffixes) for name in list_folders(folder)
    )
