"""Locks between processes, so that one program at a time writes into a folder of results."""

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from util.errors import InputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

LOCK_NAME = ".run.lock"
_HOLDER_BYTES = 200
_held_descriptors: set[int] = set()


@contextlib.contextmanager
def folder_lock(folder: Path, remedy: str) -> Iterator[None]:
    """Hold a folder, which is created if missing, for this process during the block.

    Folders created for it that are still empty at the end are removed.

    remedy: what to do if another process holds the folder, for the message.
    Raises: InputError if another process holds the folder; OSError if it cannot be created or
        written to.
    """
    created = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with file_lock(folder / LOCK_NAME, remedy):
            yield
    finally:
        for parent in created:
            with contextlib.suppress(OSError):  # not empty
                parent.rmdir()


@contextlib.contextmanager
def file_lock(path: Path, remedy: str | None = None) -> Iterator[None]:
    """Hold the lock that a file stands for during the block; then remove the file.

    The system releases the lock of a killed process, so a leftover file blocks nobody. If the
    file system or the platform has no locks, nothing is locked.

    remedy: what to do if another process holds the lock, for the message; None: wait for it.
    Raises: InputError if another process holds the lock and remedy is given.
    """
    descriptor = _acquire(path, remedy)
    try:
        yield
    finally:
        if descriptor is not None:
            # Before the lock is released: a process that has opened this file meanwhile must see
            # that its name is gone.
            path.unlink(missing_ok=True)
            _held_descriptors.discard(descriptor)
            os.close(descriptor)


def _acquire(path: Path, remedy: str | None) -> int | None:
    """The descriptor that holds the lock; None if there are no locks."""
    while fcntl is not None:
        descriptor = _open_lock_file(path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if remedy is None else fcntl.LOCK_NB))
        except BlockingIOError:
            holder = os.read(descriptor, _HOLDER_BYTES).decode(errors="replace").strip()
            os.close(descriptor)
            raise InputError(
                f"{path.parent}: another run (process {holder or 'unknown'}) is writing here; "
                f"{remedy}"
            ) from None
        except OSError:
            os.close(descriptor)
            path.unlink(missing_ok=True)
            break
        if _is_at(descriptor, path):
            _held_descriptors.add(descriptor)
            _write_holder(descriptor)
            return descriptor
        os.close(descriptor)  # its holder has removed the file meanwhile
    return None


def _open_lock_file(path: Path) -> int:
    no_link = getattr(os, "O_NOFOLLOW", 0)
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | no_link, 0o666)
    except PermissionError:
        if not path.exists():
            raise
        return os.open(path, os.O_RDONLY | no_link)  # left behind by another user


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether the open file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))  # noqa: PTH116
    except FileNotFoundError:
        return False


def _write_holder(descriptor: int) -> None:
    """Note who holds the lock, for the message of a process that cannot get it."""
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()} on {socket.gethostname()}\n".encode())


def _release_in_child() -> None:
    """A forked process (a data loading worker) shares the lock, and would still hold it after its
    parent was killed."""
    for descriptor in _held_descriptors:
        os.close(descriptor)
    _held_descriptors.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_release_in_child)
