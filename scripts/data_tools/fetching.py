"""Getting one part of a data set: the archive, its checksum, its place."""

import http.client
import shutil
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from dataset.folders import list_folders
from dataset.layout import DAVIS_FRAMES, FRAMES
from scripts.data_tools.archives import check_free, lay_out
from scripts.data_tools.catalogue import DataSet, Part
from util.errors import InputError
from util.files import atomic_write, check_plain_name, file_sha256
from util.progress import Progress
from util.text import counted

_BLOCK_BYTES = 1 << 20
_PATIENCE_SECONDS = 60
_EXTRA_SUFFIXES = (".json", ".txt")
_NETWORK_ERRORS = (
    http.client.HTTPException,
    urllib.error.URLError,
    TimeoutError,
    ConnectionError,
)


def choose_part(data_set: DataSet, name: str | None, archive: Path | None) -> Part:
    """The part named, the only one, or the one whose archive has the given file's name.

    Raises InputError if there is none, or the choice is open.
    """
    parts = {part.name: part for part in data_set.parts}
    if not parts:
        raise InputError(
            f"{data_set.name}: is not laid out by this program; it is published at {data_set.page}"
        )
    if name is not None:
        if name not in parts:
            raise InputError(f"--part {name}: {data_set.name} has {' '.join(parts)}")
        return parts[name]
    if len(parts) == 1:
        return data_set.parts[0]
    named = [part for part in data_set.parts if archive and archive.name == part.file]
    if len(named) == 1:
        return named[0]
    raise InputError(f"{data_set.name}: say which with --part: {' '.join(parts)}")


def download(data_set: DataSet, part: Part, folder: Path) -> Path:
    """The archive of a part in `folder`: the file that is there, or downloaded, whole or not at
    all.

    Raises InputError if there is no direct link, or the download fails.
    """
    if part.url is None or part.file is None:
        raise InputError(
            f"{data_set.name} {part.name}: has no direct link; download it from {data_set.page} "
            "and give it with --archive"
        )
    path = folder / f"{data_set.name}-{part.file}"  # several data sets have a valid.tar.gz
    if path.is_file():
        return path
    _check_space(folder, part)
    try:
        with urllib.request.urlopen(part.url, timeout=_PATIENCE_SECONDS) as source:
            _store(source, path, int(source.headers.get("Content-Length") or 0))
    except _NETWORK_ERRORS as error:
        reason = getattr(error, "reason", None) or error
        raise InputError(
            f"{part.url}: not downloaded ({reason}); download it elsewhere, see {data_set.page}, "
            "and give it with --archive"
        ) from error
    return path


def verify(archive: Path, published: str | None) -> str:
    """What the checksum of an archive says, for the user. published: in hexadecimal digits.

    Raises InputError if they differ, or there is no such file.
    """
    if not archive.is_file():
        raise InputError(f"{archive}: no such file; give the archive as it was downloaded")
    found = file_sha256(archive)
    if published is None:
        return f"{archive.name}: SHA-256 {found}; none is published to compare it with"
    if found != published.lower():
        raise InputError(
            f"{archive}: its SHA-256 is {found}, not {published.lower()}; download it again, or "
            "give another version's with --sha256"
        )
    return f"{archive.name}: SHA-256 {found}, as expected"


def place(part: Part, archive: Path, extras: Sequence[Path], output: Path) -> str:
    """Lay an archive out below `output`, with further files beside the frames; a line says where.

    extras: .json and .txt files that the authors publish beside the archive.
    Raises InputError, see lay_out, and for extras of other kinds.
    """
    for extra in extras:
        check_plain_name(extra.name, str(extra))
        if extra.suffix not in _EXTRA_SUFFIXES or not extra.is_file():
            raise InputError(
                f"{extra}: beside the archive, {' and '.join(_EXTRA_SUFFIXES)} files are taken"
            )
    target = output / part.into
    lay_out(archive, target, part.holds)
    for extra in extras:
        with atomic_write(target / extra.name) as file:
            file.write(extra.read_bytes())
    return f"{target}: {_describe(target)}"


def check_place(part: Part, output: Path) -> None:
    """Raise InputError if something is where the part is to lie."""
    check_free(output / part.into)


def _describe(folder: Path) -> str:
    """What was laid out: its videos, or else the names of what is there."""
    for frames in (DAVIS_FRAMES, FRAMES):
        if (folder / frames).is_dir():
            return f"{counted(len(list_folders(folder / frames)), 'video')} in {frames}"
    return " ".join(sorted(path.name for path in folder.iterdir()))


def _check_space(folder: Path, part: Part) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if part.size is not None and free < part.size:
        raise InputError(
            f"{folder}: {free / 1e9:.0f} GB free, and {part.file} has {part.size / 1e9:.0f} GB; "
            "make room, or choose another --output"
        )


def _store(source: BinaryIO, path: Path, size: int) -> None:
    """size: in bytes; 0 if unknown."""
    blocks = size // _BLOCK_BYTES or None
    with atomic_write(path) as file, Progress(blocks, "megabytes") as progress:
        received = 0
        while block := source.read(_BLOCK_BYTES):
            file.write(block)
            received += len(block)
            progress.advance()
        if size and received != size:
            raise ConnectionError(f"ended after {received:,} of {size:,} bytes")
