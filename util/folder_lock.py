"""One program at a time in a folder of results."""

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
_held: set[int] = set()


@contextlib.contextmanager
def folder_lock(folder: Path, remedy: str) -> Iterator[None]:
    """Hold a folder (made if missing) for this process until the block is left. remedy: what to do where another process holds it.

    Leaving the block also removes the folders made for it that are still empty. Raises InputError where another process holds the folder, OSError where it
    cannot be made or written to.
    """
    made = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with file_lock(folder / LOCK_NAME, remedy):
            yield
    finally:
        for parent in made:
            with contextlib.suppress(OSError):  # not empty
                parent.rmdir()


@contextlib.contextmanager
def file_lock(path: Path, remedy: str | None = None) -> Iterator[None]:
    """Hold the lock that this file stands for until the block is left; then the file is removed.

    The system drops the lock of a process that is killed, so that a file left behind stops nobody. Where the file system or the platform has no locks, nothing
    is held. remedy: what to do where another process holds it, which raises InputError; None: wait for it.
    """
    descriptor = _acquired(path, remedy)
    try:
        yield
    finally:
        if descriptor is not None:
            path.unlink(
                missing_ok=True
            )  # while it is held: who opened this file before finds that its name has gone
            _held.discard(descriptor)
            os.close(descriptor)


def _acquired(path: Path, remedy: str | None) -> int | None:
    """The descriptor that holds the lock; None where there are no locks."""
    while fcntl is not None:
        descriptor = _opened(path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if remedy is None else fcntl.LOCK_NB))
        except BlockingIOError:
            holder = os.read(descriptor, 200).decode(errors="replace").strip()
            os.close(descriptor)
            raise InputError(
                f"{path.parent}: another run{holder and f' ({holder})'} is writing here; {remedy}"
            ) from None
        except OSError:
            os.close(descriptor)
            path.unlink(missing_ok=True)
            break
        if _is_named(descriptor, path):
            _held.add(descriptor)
            with contextlib.suppress(OSError):  # a note for whoever finds it held
                os.ftruncate(descriptor, 0)
                os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
            return descriptor
        os.close(descriptor)  # its holder removed it meanwhile
    return None


def _opened(path: Path) -> int:
    no_link = getattr(os, "O_NOFOLLOW", 0)
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | no_link, 0o666)
    except PermissionError:
        if not path.exists():
            raise
        return os.open(path, os.O_RDONLY | no_link)  # another user's, left behind


def _is_named(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))  # noqa: PTH116 - samestat takes what os gives
    except FileNotFoundError:
        return False


def _release_in_child() -> None:
    """A forked process (a worker that loads data) shares the lock, and would hold it when its parent has been killed."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_release_in_child)
