"""Unpacking archives of data sets: nothing leaves the folder, nothing appears half."""

import contextlib
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple

from util.errors import InputError
from util.files import atomic_folder
from util.text import short_repr

_UNPACKED = ".unpacked"  # no archive's own name: hidden names are left out
_LITTER = ("__MACOSX",)  # of macOS's archiver
_DEEPEST = 4  # folders inside an archive in which the data set's own is looked for
_DAMAGE = (
    EOFError,
    NotImplementedError,
    RuntimeError,  # an encrypted file
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
)


class _Member(NamedTuple):
    """A file or folder of an archive. kind: 'file', 'folder', or what else it is."""

    name: str
    kind: str
    handle: zipfile.ZipInfo | tarfile.TarInfo


def lay_out(archive: Path, target: Path, holds: Sequence[str]) -> None:
    """Unpack a .zip or .tar archive so that `target` holds the folders `holds`.

    The folder inside the archive that holds them becomes `target`, whatever lies above it or beside
    it. target: must not exist, or be empty; it appears whole or not at all.

    Raises:
        InputError: target is not empty; or the archive is damaged, lacks the folders, or holds
            links, devices or names that lead outside.
    """
    check_free(target)
    if target.is_dir():
        target.rmdir()
    with atomic_folder(target) as temporary:
        unpacked = temporary / _UNPACKED
        unpacked.mkdir()
        _unpack(archive, unpacked)
        for child in _folder_holding(unpacked, holds, archive).iterdir():
            child.rename(temporary / child.name)
        shutil.rmtree(unpacked)


def check_free(target: Path) -> None:
    """Raise InputError if a path is a file or a folder that is not empty."""
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise InputError(f"{target}: is there already; move it away, or choose another --output")


def _unpack(archive: Path, folder: Path) -> None:
    with _explain_damage(archive), _opened(archive) as opened:
        for member in _members(opened):
            path = _path_inside(member, folder, archive)
            if path is None:
                continue
            if member.kind == "folder":
                path.mkdir(parents=True, exist_ok=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            with _content(opened, member) as source, path.open("wb") as file:
                shutil.copyfileobj(source, file)


@contextlib.contextmanager
def _explain_damage(archive: Path) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        raise InputError(
            f"{archive}: damaged, or not a .zip or .tar archive ({error}); download it again"
        ) from error


@contextlib.contextmanager
def _opened(archive: Path) -> Iterator[zipfile.ZipFile | tarfile.TarFile]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            yield opened
    else:
        with tarfile.open(archive, "r|*") as opened:
            yield opened


def _members(opened: zipfile.ZipFile | tarfile.TarFile) -> Iterator[_Member]:
    if isinstance(opened, zipfile.ZipFile):
        for info in opened.infolist():
            mode = info.external_attr >> 16
            kind = "folder" if info.is_dir() else "link" if stat.S_ISLNK(mode) else "file"
            yield _Member(info.filename, kind, info)
        return
    for entry in opened:
        kinds = ((entry.isfile(), "file"), (entry.isdir(), "folder"), (entry.isdev(), "device"))
        kind = next((name for is_kind, name in kinds if is_kind), "link")
        yield _Member(entry.name, kind, entry)


def _content(opened: zipfile.ZipFile | tarfile.TarFile, member: _Member) -> BinaryIO:
    if isinstance(opened, zipfile.ZipFile):
        return opened.open(member.handle)
    return opened.extractfile(member.handle)


def _path_inside(member: _Member, folder: Path, archive: Path) -> Path | None:
    """Where a member goes; None for hidden files and litter, which are left out."""
    name = PurePosixPath(member.name)
    shown = short_repr(member.name)
    if name.is_absolute() or ".." in name.parts or "\\" in member.name or ":" in member.name:
        raise InputError(f"{archive}: {shown} leads outside the archive; nothing was unpacked")
    if any(part.startswith(".") or part in _LITTER for part in name.parts):
        return None
    if member.kind not in ("file", "folder"):
        raise InputError(
            f"{archive}: {shown} is a {member.kind}; an archive of frames and masks holds files "
            "only; nothing was unpacked"
        )
    return folder.joinpath(*name.parts)


def _folder_holding(folder: Path, holds: Sequence[str], archive: Path) -> Path:
    """The folder at or below `folder` that holds all these names; the highest one."""
    level = [folder]
    for _ in range(_DEEPEST):
        for candidate in level:
            if all((candidate / name).exists() for name in holds):
                return candidate
        level = [path for above in level for path in sorted(above.iterdir()) if path.is_dir()]
    raise InputError(
        f"{archive}: no folder in it holds {' and '.join(holds)}; is it the archive of another "
        "part or data set?"
    )
