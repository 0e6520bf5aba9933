"""Files of checkpoints and weights: torch's zip archive with a comment that describes the network.

The comment is `{"network": {…}, "sha256": "…"}`; the SHA-256 covers all bytes before it. In a
training checkpoint, whose entries describe the network, the comment holds the SHA-256 alone.
torch.load ignores comments, here and in the public code, so the entries have the public names and
nothing else.
`unzip -z FILE` prints the comment. A file without a comment, written by another program, is
verified by the CRCs of its entries, which torch.load does not check.
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

# Signature and length of the last record of an archive without a comment.
_END_OF_ARCHIVE, _END_BYTES = b"PK\x05\x06", 22
_LONGEST_COMMENT = 65535
_DIGEST = re.compile(rb'"sha256": "([0-9a-f]{64})"}\Z')
_DIGEST_BYTES = 66  # the digits and the end of the comment
# Compressed entries may unpack to this many times the file's size, or to this size.
_UNPACKED_FACTOR, _UNPACKED_BYTES = 50, 64 << 20
_BLOCK_BYTES = 1 << 20
_ELEMENT_BYTES = {  # of torch's storages
    "ComplexDouble": 16,
    "ComplexFloat": 8,
    "Double": 8,
    "Long": 8,
    "Float": 4,
    "Int": 4,
    "Half": 2,
    "BFloat16": 2,
    "Short": 2,
}


class _StampedFile:
    """Writes an archive, hashes it, and adds the comment to its last record; never seeks.

    The last record is held back until `finish` knows the comment.
    """

    def __init__(self, file: BinaryIO):
        self._file = file
        self._hash = hashlib.sha256()
        self._held = b""
        # torch.save reports that a write failed, but not why: the reason is kept here.
        self.error: OSError | None = None

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
        """Write the last record and the comment. Raises ValueError for a too long description."""
        held = self._held
        assert len(held) == _END_BYTES and held.startswith(_END_OF_ARCHIVE), "not an archive"
        assert held.endswith(b"\0\0"), "the archive has a comment already"
        start = json.dumps({**description, "sha256": ""}).encode("ascii")[:-2]
        length = len(start) + _DIGEST_BYTES
        if length > _LONGEST_COMMENT:
            raise ValueError(
                f"the description takes {length:,} bytes; "
                f"an archive's comment holds at most {_LONGEST_COMMENT:,}"
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
    """torch.save with the comment, atomically: the file is whole or absent.

    description: plain values that JSON can hold. compress: deflate the entries; torch.load reads
    them like stored ones. Raises OSError if the file cannot be written.
    """
    with atomic_write(path) as file:
        stamped = _StampedFile(file)
        try:
            if compress:
                stamped.write(_compressed(content))
            else:
                torch.save(content, stamped)
            stamped.finish(description or {})
        except RuntimeError as error:  # how torch reports a write that failed
            if stamped.error is not None:
                raise OSError(stamped.error.errno, stamped.error.strerror, str(path)) from error
            reason = str(error).splitlines()[0]
            message = f"could not be written whole, is the disk full? ({reason})"
            raise OSError(errno.EIO, message, str(path)) from error


def _compressed(content: dict[str, Any]) -> memoryview:
    whole, smaller = io.BytesIO(), io.BytesIO()
    torch.save(content, whole)
    with zipfile.ZipFile(whole) as stored, zipfile.ZipFile(smaller, "w") as compressed:
        for entry in stored.infolist():
            undated = zipfile.ZipInfo(entry.filename)  # so that the same content is the same file
            data = stored.read(entry)
            compressed.writestr(undated, data, zipfile.ZIP_DEFLATED, compresslevel=9)
    return smaller.getbuffer()


def read_archive(path: Path) -> tuple[Any, dict[str, Any]]:
    """Read what torch.save wrote, on the CPU, and the description beside it ({} if it has none).

    Pickled code is never run. Raises InputError if the file is missing, damaged or not a
    checkpoint, and OSError if it cannot be read.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint file")
    with path.open("rb") as file:  # raises OSError: an unreadable file is not a damaged one
        start = file.read(512)
    is_archive = start.startswith(b"PK\x03\x04")  # torch decides by the same bytes
    description = _verified_description(path) if is_archive else {}
    try:
        return torch.load(path, map_location="cpu", weights_only=True), description
    except pickle.UnpicklingError as error:
        is_pickle = start[:1] == b"\x80"  # the first opcode of every pickle since protocol 2
        if is_archive or ("weights only" in str(error).lower() and is_pickle):
            raise InputError(
                f"{path}: holds pickled code, which is not run; "
                "save its state dict alone (torch.save(network.state_dict(), …))"
            ) from error
        raise InputError(
            f"{path}: not a checkpoint (a .pth file made by torch.save was expected)"
        ) from error
    except Exception as error:  # torch raises a dozen types for damaged files
        if start[257:262] == b"ustar":
            raise InputError(
                f"{path}: in the tar format of torch before 0.1.10, which can hold code; "
                "load it with such a version and save its state dict again"
            ) from error
        raise _reading_error(path, error) from error


def _reading_error(path: Path, error: Exception) -> InputError:
    """The error to raise when reading failed with `error`, which is not an InputError."""
    if is_out_of_memory(error):
        megabytes = path.stat().st_size / 1e6
        return InputError(f"{path}: too little memory to read it ({megabytes:,.0f} MB)")
    return InputError(
        f"{path}: damaged, or not a checkpoint (a .pth file made by torch.save was expected)"
    )


def _damaged(path: Path, finding: str) -> InputError:
    return InputError(f"{path}: damaged ({finding}); copy it again, or use an earlier checkpoint")


def _verified_description(path: Path) -> dict[str, Any]:
    """The description in an archive whose checksums match. Raises InputError otherwise."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            description = _verified_comment(path, archive.comment) if archive.comment else {}
            _check_entries(path, entries)
            wrong = None if archive.comment else archive.testzip()
            if wrong is not None:
                raise _damaged(path, f"its entry {wrong!r:.80} does not match its CRC")
            _check_storages(path, archive, {entry.filename: entry for entry in entries})
            return description
    except InputError:
        raise
    except Exception as error:  # zipfile and pickle raise a dozen types for damaged files
        raise _reading_error(path, error) from error


def _verified_comment(path: Path, comment: bytes) -> dict[str, Any]:
    """The comment as plain values.

    No other program is known to comment its checkpoints: an unknown comment is a damaged one of
    ours.
    """
    match = _DIGEST.search(comment)
    if match is None:
        raise _damaged(path, "the comment of its archive does not end with a checksum")
    digest = hashlib.sha256()
    with path.open("rb") as file:
        left = path.stat().st_size - _DIGEST_BYTES
        while left > 0 and (block := file.read(min(left, _BLOCK_BYTES))):
            digest.update(block)
            left -= len(block)
    if digest.hexdigest().encode("ascii") != match[1]:
        raise _damaged(path, "its content does not match its SHA-256")
    return json.loads(comment)


def _check_entries(path: Path, entries: list[zipfile.ZipInfo]) -> None:
    """Before unpacking: refuse archive bombs, and names that zipfile and torch read differently."""
    size = path.stat().st_size
    if any(entry.filename.rpartition("/")[2] == "constants.pkl" for entry in entries):
        raise InputError(
            f"{path}: a TorchScript program, not weights; "
            "save its state dict (torch.save(network.state_dict(), …))"
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
            f"{path}: {size / 1e6:,.1f} MB that would unpack to {unpacked / 1e6:,.0f} MB; "
            "weights do not compress so well: it is not a checkpoint"
        )


def _check_storages(
    path: Path, archive: zipfile.ZipFile, entries: dict[str, zipfile.ZipInfo]
) -> None:
    """Before loading: refuse tensors larger than their stored bytes.

    Some versions of torch (2.4) read beyond their memory for these.
    """
    folder = next(iter(entries)).partition("/")[0]
    outline = _Outline(io.BytesIO(archive.read(f"{folder}/data.pkl")))
    outline.load()
    for key, count in outline.storage_bytes.items():
        entry = entries.get(f"{folder}/data/{key}")
        if entry is None or entry.file_size < count:
            stored = 0 if entry is None else entry.file_size
            raise _damaged(path, f"a tensor of {count:,} bytes has {stored:,} bytes stored")


class _Inert:
    """Stands for everything a pickle builds that is not a plain value."""

    def __init__(self, *_: Any, **__: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def __call__(self, *_: Any, **__: Any) -> "_Inert":
        return self

    append = extend = add = __setstate__


class _Outline(pickle._Unpickler):
    """Walks through a pickle without importing or calling anything; records its storages' sizes.

    The unpickler written in Python is used, since a few bytes make the one in C allocate gigabytes.
    """

    def __init__(self, file: BinaryIO):
        super().__init__(file)
        self.storage_bytes: dict[str, int] = {}

    def find_class(self, module: str, name: str) -> Any:
        if name == "bytearray":  # torch allows it, of any size
            raise pickle.UnpicklingError("bytearray")
        element_bytes = _ELEMENT_BYTES.get(name.removesuffix("Storage"), 1)
        return type("_Inert", (_Inert,), {"element_bytes": element_bytes})

    def persistent_load(self, pid: Any) -> _Inert:
        _, kind, key, _, count = pid
        self.storage_bytes[str(key)] = max(
            int(count) * kind.element_bytes, self.storage_bytes.get(str(key), 0)
        )
        return _Inert()
