"""How many bytes a video file says it has, by its container's own boxes: what tells a file that was cut off.

The number of frames a header states does not tell it: in AVI it counts empty chunks, in other containers it is missing or was guessed from the duration.
Sources: ISO 14496-12 (MP4, QuickTime), Microsoft's RIFF and ASF specifications, RFC 8794 and RFC 9559 (Matroska, WebM).
"""

from pathlib import Path
from typing import BinaryIO

_EBML_HEADER_BYTES = 1 << 16
_FILLER_BLOCK_BYTES = 1 << 16
_RIFF_UNFINISHED = (
    0,
    0xFFFFFFFF,
)  # sizes that are written first and replaced when a recording is finished
_EBML, _SEGMENT, _CLUSTER = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67", b"\x1f\x43\xb6\x75"
_ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_ASF_HEADER_BYTES_READ = 1 << 20


def is_cut_off(path: Path) -> bool:
    """Whether the file ends before its container says it does. False where the container does not say (MPEG-TS, FLV, raw streams, recordings of open length)."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(16)
        if start[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
            stated = _end_of_boxes(file, size)
        elif start[:4] == b"RIFF":
            stated = _end_of_riff(file, size)
        elif start[:4] == _EBML:
            stated = _end_of_segment(file)
        elif start == _ASF_HEADER:
            stated = _size_in_asf_header(file)
        else:
            stated = 0
    return stated > size


def end_of_media(path: Path) -> int:
    """The position behind the last packet of a Matroska or FLV file; 0 where the file does not say."""
    with path.open("rb") as file:
        start = file.read(4)
        if start[:3] == b"FLV":
            return path.stat().st_size
        return _end_of_clusters(file) if start == _EBML else 0


def filler_at_end(path: Path, start: int) -> int:
    """How many bytes at the file's end, behind position start, are all of one value: reserved by a
    download or a recorder, and not written."""
    position = path.stat().st_size
    with path.open("rb") as file:
        value, count = b"", 0
        while position > start:
            block_start = max(start, position - _FILLER_BLOCK_BYTES)
            file.seek(block_start)
            block = file.read(position - block_start)
            value = value or block[-1:]
            alike = len(block) - len(block.rstrip(value))
            count += alike
            if alike < len(block):
                break
            position = block_start
    return count


def _end_of_clusters(file: BinaryIO) -> int:
    """Of the last Matroska cluster that follows whole elements; 0 where there is none of known length."""
    end, last = _end_of_segment(file), 0
    while end and file.tell() < end:
        kind = file.read(4)
        if kind[:1] == b"\xec":  # Void, the one element here whose ID is of one byte
            file.seek(-3, 1)
        size = _ebml_size(file)
        if size is None or file.tell() + size > end:
            break
        file.seek(size, 1)
        if kind == _CLUSTER:
            last = file.tell()
    return last


def _end_of_boxes(file: BinaryIO, size: int) -> int:
    """Of ISO boxes, each of which says its size."""
    position = 0
    while position + 8 <= size:
        file.seek(position)
        box_size = int.from_bytes(file.read(4), "big")
        if box_size == 1:  # the size follows the kind, in 8 bytes
            file.seek(4, 1)
            box_size = int.from_bytes(file.read(8), "big")
        if box_size == 0:  # to the end of the file
            return size
        if box_size < 8:  # what follows the last box is none
            return position
        position += box_size
    return position


def _end_of_riff(file: BinaryIO, size: int) -> int:
    """Of the RIFF chunks that make up an AVI file: one, or one a gigabyte."""
    position = 0
    while position + 8 <= size:
        file.seek(position)
        kind, chunk_size = file.read(4), int.from_bytes(file.read(4), "little")
        if kind != b"RIFF" or chunk_size in _RIFF_UNFINISHED:
            break
        position += 8 + chunk_size
    return position


def _end_of_segment(file: BinaryIO) -> int:
    """Of the Matroska segment that holds everything; 0 where it is of open length, as browsers record it."""
    file.seek(4)
    header_size = _ebml_size(file)
    if header_size is None or header_size > _EBML_HEADER_BYTES:
        return 0
    file.seek(header_size, 1)
    if file.read(4) != _SEGMENT:
        return 0
    segment_size = _ebml_size(file)
    return 0 if segment_size is None else file.tell() + segment_size


def _ebml_size(file: BinaryIO) -> int | None:
    """The variable-length size at the file's position; None where it is the code for 'unknown', or none."""
    first = file.read(1)
    if not first or first[0] == 0:
        return None
    length = 9 - first[0].bit_length()
    value = int.from_bytes(bytes([first[0] & (0xFF >> length)]) + file.read(length - 1), "big")
    return None if value == (1 << 7 * length) - 1 else value


def _size_in_asf_header(file: BinaryIO) -> int:
    """The file size that the file properties object states; 0 where there is none, or the file was sent while it was made."""
    file.seek(0)
    header = file.read(_ASF_HEADER_BYTES_READ)
    position = header.find(_ASF_FILE_PROPERTIES)
    if position < 0 or len(header) < position + 92:
        return 0
    broadcast = header[position + 88] & 1
    return 0 if broadcast else int.from_bytes(header[position + 40 : position + 48], "little")
