"""Writing files so that a reader never meets half of one. Texts that people and their programs wrote: lists of names, palettes, JSON. Names of files: their order, and which of them may come from data."""

import codecs
import contextlib
import glob
import hashlib
import json
import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from util.errors import InputError

_UNFINISHED = ".part"


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """A binary file object whose content appears at `path` whole, or not at all.

    Writes to a temporary file in the same folder (made if missing), renamed on success and removed on failure. Of a link, the file it leads to is replaced.
    What is no regular file (/dev/stdout, /dev/null, a FIFO) is written to. Raises OSError naming `path`.
    """
    with name_path_in_errors(path):
        descriptor = _opened_stream(path)
        if descriptor is not None:
            with os.fdopen(descriptor, "wb") as file:
                yield file
            return
    path = Path(path)
    if path.is_symlink():
        path = path.resolve()
    with name_path_in_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(
            prefix=f".{path.name}.", suffix=_UNFINISHED, dir=path.parent
        )
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(
                    file.fileno()
                )  # before the name: after a power cut, it must not stand for pages that were never written
            temporary.chmod(
                0o666 & ~_umask()
            )  # mkstemp makes the file private; results are for sharing
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def _opened_stream(path: str | os.PathLike) -> int | None:
    """A descriptor to write to where `path` is there and is no regular file, or is this process's own output; None for a file to be replaced.

    A folder is left to the renaming, which refuses it.
    """
    try:
        status = os.stat(path)  # noqa: PTH116 - samestat takes what os gives
    except FileNotFoundError:
        return None
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        with contextlib.suppress(OSError):  # it is closed
            if os.path.samestat(status, os.fstat(number)):
                if stream is not None:
                    stream.flush()
                return os.dup(number)
    if stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode):
        return None
    return os.open(path, os.O_WRONLY)


@contextlib.contextmanager
def name_path_in_errors(path: str | os.PathLike) -> Iterator[None]:
    """Errors of the system that name no file (a full disk is met when writing or closing), or a temporary one of `path`, name `path`."""
    path = Path(path)
    try:
        yield
    except OSError as error:
        unnamed = error.filename is None or Path(os.fsdecode(error.filename)).name.startswith(
            f".{path.name}."
        )
        if error.errno is None or not unnamed:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def file_sha256(path: str | os.PathLike) -> str:
    """The SHA-256 of a file's content."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:  # noqa: PTH123 - paths of any kind
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def atomic_folder(path: str | os.PathLike) -> Iterator[Path]:
    """An empty folder whose content appears at `path`, where nothing is yet, whole or not at all.

    It is a temporary one of no other name in the same folder (made if missing), renamed on success and removed on failure. Raises OSError where `path` is taken.
    """
    path = Path(path)
    missing = [folder for folder in path.parents if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=_UNFINISHED, dir=path.parent))
    try:
        yield temporary
        temporary.chmod(0o777 & ~_umask())  # mkdtemp makes the folder private
        temporary.rename(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        for folder in missing:
            with contextlib.suppress(OSError):  # somebody else's by now
                folder.rmdir()
        raise


@contextlib.contextmanager
def atomic_files(folder: str | os.PathLike) -> Iterator[Path]:
    """An empty folder whose files appear in `folder` once all are written, replacing those of their names, or not at all; a new `folder` then does not appear either.

    Raises OSError where `folder` is a file, or cannot be written to, and where it holds a folder of the name of one of them.
    """
    folder = Path(folder)
    if not folder.exists():
        with atomic_folder(folder) as temporary:
            yield temporary
        return
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder}: a file; a folder is needed")
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder))
    try:
        yield temporary
        files = sorted(temporary.iterdir())
        for file in files:
            if (folder / file.name).is_dir():
                raise IsADirectoryError(
                    f"{folder / file.name}: a folder, where a file is to be written; move it away, or choose another folder"
                )
        for file in files:
            file.replace(folder / file.name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_unfinished(folder: Path, name: str | None = None) -> None:
    """Remove what atomic_write and atomic_folder left in a folder where their process was killed, of the file or folder `name` or of all files.

    No other process may be writing there.
    """
    for path in folder.glob(f".{'' if name is None else glob.escape(name) + '.'}*{_UNFINISHED}"):
        if not path.is_dir():
            path.unlink(missing_ok=True)
        elif name is not None:
            shutil.rmtree(path, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def read_text(path: Path, form: str) -> str:
    """A text in UTF-8, with a byte order mark or without, as Windows programs write it. form: what it should hold, for the message.

    Raises InputError where it is something else, such as a binary file or UTF-16; OSError where it cannot be read.
    """
    content = path.read_bytes()
    try:
        if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            reason = "it begins as UTF-16 does"
        elif "\0" in (text := content.decode("utf-8-sig")):
            reason = "a byte of 0 in it"
        else:
            return text
    except UnicodeDecodeError as error:
        reason = f"{error.reason} at byte {error.start}"
    raise InputError(f"{path}: not a text of UTF-8 ({reason}); write it anew, {form}")


def read_json(path: Path) -> Any:
    """What a text of JSON holds. Raises InputError where it is none, or is nested too deeply to be read; OSError where it cannot be read."""
    try:
        return json.loads(read_text(path, "as JSON"))
    except InputError:
        raise
    except RecursionError:
        reason = "nested too deeply"
    except ValueError as error:
        reason = str(error)
    raise InputError(f"{path}: not JSON ({reason}); write it anew, or copy it again")


_LONGEST_BYTES = 200  # file systems take 255; temporary files beside the results add to the name
_WINDOWS_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)


def natural_key(name: str) -> list[str | int]:
    """Sorts 2 before 10 and frame_9 before frame_10: runs of digits compare as numbers."""
    return [
        int(part) if position % 2 else part
        for position, part in enumerate(re.split(r"([0-9]+)", name))
    ]


def check_plain_name(name: str, place: str) -> None:
    """Raise InputError unless a name that data gives is the plain name of one file or folder: results of this name then stay where results go.

    place: where the name was found, for the message.
    """
    if trouble := _trouble_of(name):
        raise InputError(f"{place}: the name {name!r} {trouble}; give it a plain name")


def _trouble_of(name: str) -> str | None:
    if not name.strip():
        return "is empty"
    if name in (".", "..") or "/" in name or "\\" in name:
        return "leads to another folder"
    if any(ord(character) < 32 or ord(character) == 127 for character in name):
        return "holds a control character"
    if name.startswith("."):
        return "begins with a dot, as names of hidden files do"
    try:
        length = len(os.fsencode(name))
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can spell
        return "holds what is no character"
    if length > _LONGEST_BYTES:
        return f"is longer than {_LONGEST_BYTES} bytes"
    if os.name == "nt" and (
        _WINDOWS_DEVICES.fullmatch(name) or name[-1] in ". " or set(name) & set('<>:"|?*')
    ):
        return "is none that Windows can give a file"
    return None
