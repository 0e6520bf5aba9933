"""Writing files so that a reader never meets half of one."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_UNFINISHED = ".part"


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """A binary file object whose content appears at `path` whole, or not at all.

    Writes to a temporary file in the same folder (made if missing), renamed on success and removed on failure.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=_UNFINISHED, dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # before the name: after a power cut, it must not stand for pages that were never written
        temporary.chmod(0o666 & ~_umask())  # mkstemp makes the file private; results are for sharing
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def atomic_folder(path: str | os.PathLike) -> Iterator[Path]:
    """An empty folder whose content appears at `path`, where nothing is yet, whole or not at all.

    It is a temporary one of no other name in the same folder (made if missing), renamed on success and removed on failure. Raises OSError where `path` is taken.
    """
    path = Path(path)
    missing = [folder for folder in path.parents if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
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
                raise IsADirectoryError(f"{folder / file.name}: a folder, where a file is to be written; move it away, or choose another folder")
        for file in files:
            file.replace(folder / file.name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_unfinished(folder: Path) -> None:
    """Remove what atomic_write left in a folder where its process was killed. No other process may be writing there."""
    for path in folder.glob(f".*{_UNFINISHED}"):
        path.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
