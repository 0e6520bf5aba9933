"""The file of a checkpoint or of weights: torch's zip archive, whose comment says what network it is and holds the SHA-256 of all bytes before it.

`{"network": {…}, "sha256": "…"}` is the comment; in a training checkpoint, whose network is among its entries, the SHA-256 alone. torch.load passes over comments,
here and in the public code, so that the entries are those of the public naming and nothing else; `unzip -z FILE` prints it. A file without a comment, made by another
program, is checked by the CRCs of its entries, which torch.load does not look at.
"""

import errno
import hashlib
import io
import json
import os
import pickle
import re
import struct
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import torch

from util.errors import InputError, is_out_of_memory
from util.files import atomic_write

_END_OF_ARCHIVE, _END_BYTES = (
    b"PK\x05\x06",
    22,
)  # the last record of an archive without a comment: its signature and length
_LONGEST_COMMENT = 65535
_DIGEST = re.compile(rb'"sha256": "([0-9a-f]{64})"}\Z')
_DIGEST_BYTES = 66  # the digits, and what ends the comment
_UNPACKED_FACTOR, _UNPACKED_BYTES = (
    50,
    64 << 20,
)  # what compressed entries may grow to: so many times the file's size, or this
_BLOCK_BYTES = 1 << 20
_ELEMENT_BYTES = {
    "ComplexDouble": 16,
    "ComplexFloat": 8,
    "Double": 8,
    "Long": 8,
    "Float": 4,
    "Int": 4,
    "Half": 2,
    "BFloat16": 2,
    "Short": 2,
}  # of torch's storages


class _Stamped:
    """A binary file that hashes what passes, and holds back an archive's last record until `finish` adds the comment to it. Needs no seeking."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self._hash = hashlib.sha256()
        self._held = b""
        self.error: OSError | None = (
            None  # torch.save reports a failed write, but not why it failed
        )

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        if len(view) < _END_BYTES:
            data = self._held + bytes(view)
            self._pass_on(data[:-_END_BYTES])
            self._held = data[-_END_BYTES:]
        else:
            self._pass_on(self._held)
            self._pass_on(view[:-_END_BYTES])
            self._held = bytes(view[-_END_BYTES:])
        return len(view)

    def flush(self) -> None:
        self._file.flush()

    def finish(self, description: dict[str, Any]) -> None:
        """Write the rest with the comment. Raises ValueError for a description that is too long for one."""
        assert (
            len(self._held) == _END_BYTES
            and self._held.startswith(_END_OF_ARCHIVE)
            and self._held.endswith(b"\0\0")
        ), "an archive without a comment"
        start = json.dumps({**description, "sha256": ""}).encode("ascii")[:-2]
        length = len(start) + _DIGEST_BYTES
        if length > _LONGEST_COMMENT:
            raise ValueError(
                f"the description takes {length:,} bytes; a comment of an archive has room for {_LONGEST_COMMENT:,}"
            )
        self._pass_on(self._held[:-2] + struct.pack("<H", length) + start)
        self._file.write(self._hash.hexdigest().encode("ascii") + b'"}')

    def _pass_on(self, data: bytes | memoryview) -> None:
        self._hash.update(data)
        try:
            self._file.write(data)
        except OSError as error:
            self.error = error
            raise


def write_archive(
    path: str | os.PathLike,
    content: dict[str, Any],
    description: dict[str, Any] | None = None,
    *,
    compress: bool = False,
) -> None:
    """torch.save with the comment, atomically: the file is whole or absent. description: plain values that JSON can hold. Raises OSError where it cannot be written."""
    with atomic_write(path) as file:
        stamped = _Stamped(file)
        try:
            if compress:
                stamped.write(_compressed(content))
            else:
                torch.save(content, stamped)
            stamped.finish(description or {})
        except RuntimeError as error:  # how torch reports a write that failed
            if stamped.error is not None:
                raise OSError(stamped.error.errno, stamped.error.strerror, str(path)) from error
            raise OSError(
                errno.EIO,
                f"could not be written whole, is the disk full? ({str(error).splitlines()[0]})",
                str(path),
            ) from error


def _compressed(content: dict[str, Any]) -> memoryview:
    whole, smaller = io.BytesIO(), io.BytesIO()
    torch.save(content, whole)
    with zipfile.ZipFile(whole) as stored, zipfile.ZipFile(smaller, "w") as compressed:
        for (
            entry
        ) in stored.infolist():  # torch.load reads compressed entries as it reads stored ones
            compressed.writestr(
                zipfile.ZipInfo(entry.filename),
                stored.read(entry),
                zipfile.ZIP_DEFLATED,
                compresslevel=9,
            )  # without a date: the same file each time
    return smaller.getbuffer()


def read_archive(path: Path) -> tuple[Any, dict[str, Any]]:
    """What torch.save wrote, on the CPU, and the description beside it, empty where there is none. Nothing pickled is run.

    Raises InputError where the file is missing, is damaged or is no checkpoint, and OSError where it may not be read.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint file")
    with path.open(
        "rb"
    ) as file:  # a file that may not be read is another matter than a damaged one
        start = file.read(512)
    is_archive = start.startswith(b"PK\x03\x04")  # as torch tells
    description = _checked(path) if is_archive else {}
    try:
        return torch.load(path, map_location="cpu", weights_only=True), description
    except pickle.UnpicklingError as error:
        if is_archive or (
            "weights only" in str(error).lower() and start[:1] == b"\x80"
        ):  # the opcode that starts every pickle since protocol 2
            raise InputError(
                f"{path}: holds pickled code, which is not run; save its state dict alone (torch.save(network.state_dict(), …))"
            ) from error
        raise InputError(
            f"{path}: not a checkpoint (a .pth file made by torch.save was expected)"
        ) from error
    except Exception as error:  # nothing is run, so whatever fails, the content is at fault; torch raises a dozen types for damaged files
        if is_out_of_memory(error):
            raise InputError(
                f"{path}: too little memory to read it ({path.stat().st_size / 1e6:,.0f} MB)"
            ) from error
        if start[257:262] == b"ustar":
            raise InputError(
                f"{path}: in the tar format of torch before 0.1.10, which can hold code; load it in such a version and save its state dict anew"
            ) from error
        raise _damaged(path) from error


def _damaged(path: Path, found: str | None = None) -> InputError:
    if found is None:
        return InputError(
            f"{path}: damaged, or not a checkpoint (a .pth file made by torch.save was expected)"
        )
    return InputError(f"{path}: damaged ({found}); copy it anew, or use an earlier checkpoint")


def _checked(path: Path) -> dict[str, Any]:
    """The description in an archive, every byte of which is as it was written as far as its checksums can tell."""
    try:
        with zipfile.ZipFile(path) as archive:
            size = path.stat().st_size
            entries = archive.infolist()
            description = _comment_checked(path, archive.comment) if archive.comment else {}
            _check_entries(path, entries, size)
            wrong = None if archive.comment else archive.testzip()
            if wrong is not None:
                raise _damaged(
                    path, f"its entry {wrong!r:.80} is not what it was when it was written"
                )
            _check_storages(path, archive, {entry.filename: entry for entry in entries})
            return description
    except InputError:
        raise
    except Exception as error:  # zipfile and pickle raise a dozen types for damaged files
        if is_out_of_memory(error):
            raise InputError(
                f"{path}: too little memory to read it ({path.stat().st_size / 1e6:,.0f} MB)"
            ) from error
        raise _damaged(path) from error


def _comment_checked(path: Path, comment: bytes) -> dict[str, Any]:
    """No other program is known to comment its checkpoints: a comment that is not ours is ours, damaged."""
    match = _DIGEST.search(comment)
    if match is None:
        raise _damaged(
            path,
            "the comment of its archive, which holds its checksum, is not what it was when it was written",
        )
    digest = hashlib.sha256()
    with path.open("rb") as file:
        left = path.stat().st_size - _DIGEST_BYTES
        while left > 0 and (block := file.read(min(left, _BLOCK_BYTES))):
            digest.update(block)
            left -= len(block)
    if digest.hexdigest().encode("ascii") != match[1]:
        raise _damaged(path, "its content does not match its SHA-256")
    return json.loads(comment)


def _check_entries(path: Path, entries: list[zipfile.ZipInfo], size: int) -> None:
    """Before anything is unpacked: what a small file could blow up to, and names that mean one thing to zipfile and another to torch."""
    if any(entry.filename.rpartition("/")[2] == "constants.pkl" for entry in entries):
        raise InputError(
            f"{path}: a TorchScript program, not weights; save its state dict (torch.save(network.state_dict(), …))"
        )
    if len({entry.filename.lower() for entry in entries}) < len(entries):
        raise _damaged(path, "two of its entries have the same name")
    if any(
        entry.compress_type == zipfile.ZIP_STORED and entry.file_size != entry.compress_size
        for entry in entries
    ):
        raise _damaged(path, "the sizes of its entries contradict each other")
    if sum(entry.compress_size for entry in entries) > size:
        raise _damaged(path, "its entries overlap")
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > max(_UNPACKED_FACTOR * size, _UNPACKED_BYTES):
        raise InputError(
            f"{path}: {size / 1e6:,.1f} MB that would unpack to {unpacked / 1e6:,.0f} MB; weights do not compress so well: it is not a checkpoint"
        )


def _check_storages(
    path: Path, archive: zipfile.ZipFile, entries: dict[str, zipfile.ZipInfo]
) -> None:
    """Before anything is loaded: tensors larger than what is stored of them, which some versions of torch (2.4) read from beyond its memory."""
    folder = next(iter(entries)).partition("/")[0]
    outline = _Outline(io.BytesIO(archive.read(f"{folder}/data.pkl")))
    outline.load()
    for key, count in outline.storage_bytes.items():
        entry = entries.get(f"{folder}/data/{key}")
        if entry is None or entry.file_size < count:
            raise _damaged(
                path,
                f"{0 if entry is None else entry.file_size:,} bytes are stored of a tensor of {count:,}",
            )


class _Inert:
    """Stands for whatever a pickle builds that is no plain value."""

    def __init__(self, *_: Any, **__: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def __call__(self, *_: Any, **__: Any) -> "_Inert":
        return self

    append = extend = add = __setstate__


class _Outline(pickle._Unpickler):  # the one in C can be made to allocate gigabytes by a few bytes
    """Goes through a pickle without importing or calling anything, and notes how many bytes its storages take."""

    def __init__(self, file: BinaryIO):
        super().__init__(file)
        self.storage_bytes: dict[str, int] = {}

    def find_class(self, module: str, name: str) -> Any:
        if name == "bytearray":  # torch allows it, of any size
            raise pickle.UnpicklingError("bytearray")
        return type(
            "_Inert",
            (_Inert,),
            {"element_bytes": _ELEMENT_BYTES.get(name.removesuffix("Storage"), 1)},
        )

    def persistent_load(self, pid: Any) -> _Inert:
        _, kind, key, _, count = pid
        self.storage_bytes[str(key)] = max(
            int(count) * kind.element_bytes, self.storage_bytes.get(str(key), 0)
        )
        return _Inert()
