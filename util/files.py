"""Files and their names: names that data may give, texts that people wrote, atomic writing.

Atomic means that a reader never sees half a file, even if the writing process is killed.
"""

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
# File systems allow 255 bytes; temporary files beside the results have longer names.
_MAX_NAME_BYTES = 200
_WINDOWS_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)
_WINDOWS_RESERVED = set('<>:"|?*')
_HASH_BLOCK_BYTES = 1 << 20


# Names


def natural_key(name: str) -> list[str | int]:
    """A sorting key by which runs of digits compare as numbers: frame_9 precedes frame_10."""
    return [
        int(part) if position % 2 else part
        for position, part in enumerate(re.split(r"([0-9]+)", name))
    ]


def check_plain_name(name: str, source: str) -> None:
    """Check that a name given by data is the plain name of one file or folder, so that results of
    this name stay in the output folder.

    source: where the name was read, for the message.
    Raises: InputError otherwise.
    """
    if problem := _name_problem(name):
        raise InputError(f"{source}: the name {name!r} {problem}; give it a plain name")


def _name_problem(name: str) -> str | None:
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
    except UnicodeEncodeError:  # half a surrogate pair, which JSON can express
        return "holds what is no character"
    if length > _MAX_NAME_BYTES:
        return f"is longer than {_MAX_NAME_BYTES} bytes"
    if os.name == "nt" and (
        _WINDOWS_DEVICES.fullmatch(name) or name[-1] in ". " or set(name) & _WINDOWS_RESERVED
    ):
        return "is not a valid name of a file on Windows"
    return None


# Reading


def read_text(path: Path, form: str) -> str:
    """Read a UTF-8 text, with or without the byte order mark that Windows programs write.

    form: what the text should hold, for the message.
    Raises: InputError for anything else, such as a binary file or UTF-16; OSError if the file
        cannot be read.
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
    raise InputError(f"{path}: not a text of UTF-8 ({reason}); save it as UTF-8, {form}")


def read_json(path: Path) -> Any:
    """Read a JSON file. Raises InputError if it is not JSON, or nested too deeply;
    OSError if it cannot be read."""
    text = read_text(path, "as JSON")
    try:
        return json.loads(text)
    except RecursionError:
        reason = "nested too deeply"
    except ValueError as error:
        reason = str(error)
    raise InputError(f"{path}: not JSON ({reason}); write it or copy it again")


def file_sha256(path: str | os.PathLike) -> str:
    """The SHA-256 of a file's content, in hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:  # noqa: PTH123 - paths of any kind
        while block := file.read(_HASH_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


# Writing


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """Open a binary file whose content appears at `path` whole, or not at all.

    The content goes to a temporary file in the same folder (created if missing), which is renamed
    on success and removed on failure. If `path` is a link, its target is replaced. If it is not
    a regular file (/dev/stdout, /dev/null, a FIFO), it is written to directly.

    Raises: OSError naming `path`.
    """
    with name_path_in_errors(path):
        descriptor = _open_special_file(path)
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
                # Before the renaming: after a power cut, the name must not stand for pages that
                # were never written.
                os.fsync(file.fileno())
            temporary.chmod(0o666 & ~_umask())  # mkstemp makes the file private
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def _open_special_file(path: str | os.PathLike) -> int | None:
    """A descriptor to write to if `path` is not a regular file, or is this process's own output.

    None for a file to be replaced, and for a folder, which the renaming will refuse.
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
    """Make OSErrors inside the block name `path` if they name no file (as those about a full disk,
    when writing or closing), or a temporary file of `path`."""
    path = Path(path)
    try:
        yield
    except OSError as error:
        names_other_file = error.filename is not None and not Path(
            os.fsdecode(error.filename)
        ).name.startswith(f".{path.name}.")
        if error.errno is None or names_other_file:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def write_json(path: str | os.PathLike, content: Any) -> None:
    """Write indented JSON, atomically. Raises OSError naming `path`."""
    with atomic_write(path) as file:
        file.write((json.dumps(content, indent=2) + "\n").encode())


@contextlib.contextmanager
def atomic_folder(path: str | os.PathLike) -> Iterator[Path]:
    """An empty folder whose content appears at `path`, which must not exist, whole or not at all.

    It is a temporary folder in the same folder (created if missing), renamed on success and
    removed on failure. Raises OSError if `path` exists.
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
            with contextlib.suppress(OSError):  # another process uses it by now
                folder.rmdir()
        raise


@contextlib.contextmanager
def atomic_files(folder: str | os.PathLike) -> Iterator[Path]:
    """An empty folder whose files appear in `folder` once all of them are written, or not at all.

    They replace files of the same names. On failure, a new `folder` does not appear either.

    Raises: OSError if `folder` is a file or cannot be written to, or holds a folder of the name of
        one of the files.
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
                    f"{folder / file.name}: a folder, where a file is to be written; move it "
                    "away, or choose another folder"
                )
        for file in files:
            file.replace(folder / file.name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_unfinished(folder: Path, name: str | None = None) -> None:
    """Remove the unfinished files that killed processes left in a folder: those of atomic_write and
    atomic_folder.

    name: the file or folder that was being written; None: all files, no folders. No other process
    may be writing there.
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
