"""Where a video file ends according to its container, which shows whether it was cut off.

The number of frames in the header does not show it: in AVI it includes empty chunks, in other
containers it is missing or was guessed from the duration.

Sources: ISO 14496-12 (MP4, QuickTime), Microsoft's RIFF and ASF specifications, RFC 8794 and
RFC 9559 (Matroska, WebM).
"""

from pathlib import Path
from typing import BinaryIO

_FILLER_BLOCK_BYTES = 1 << 16

_ISO_FIRST_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
# Sizes that a recorder writes first, and replaces when the recording is finished.
_RIFF_UNFINISHED_SIZES = (0, 0xFFFFFFFF)
_EBML, _SEGMENT, _CLUSTER = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67", b"\x1f\x43\xb6\x75"
_VOID_FIRST_BYTE = b"\xec"
_MAX_EBML_HEADER_BYTES = 1 << 16
_ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_ASF_HEADER_BYTES_READ = 1 << 20
# Offsets in the file properties object, and its length up to the flags.
_ASF_SIZE, _ASF_FLAGS, _ASF_PROPERTIES_BYTES = slice(40, 48), 88, 92


def is_cut_off(path: Path) -> bool:
    """Whether a file ends before its container says it does.

    False if the container does not say it (MPEG-TS, FLV, raw streams, recordings of open length).
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(16)
        if start[4:8] in _ISO_FIRST_BOXES:
            stated_end = _end_of_boxes(file, size)
        elif start[:4] == b"RIFF":
            stated_end = _end_of_riff(file, size)
        elif start[:4] == _EBML:
            stated_end = _end_of_segment(file)
        elif start == _ASF_HEADER:
            stated_end = _size_in_asf_header(file)
        else:
            stated_end = 0
    return stated_end > size


def end_of_media(path: Path) -> int:
    """The position behind the last packet of a Matroska or FLV file; 0 if the file does not say."""
    with path.open("rb") as file:
        start = file.read(4)
        if start[:3] == b"FLV":
            return path.stat().st_size
        return _end_of_clusters(file) if start == _EBML else 0


def filler_at_end(path: Path, start: int) -> int:
    """The number of bytes at the end of a file, behind position `start`, that have one value.

    A download or a recorder reserved them and did not write them.
    """
    position = path.stat().st_size
    with path.open("rb") as file:
        value, count = b"", 0
        while position > start:
            block_start = max(start, position - _FILLER_BLOCK_BYTES)
            file.seek(block_start)
            block = file.read(position - block_start)
            value = value or block[-1:]
            equal = len(block) - len(block.rstrip(value))
            count += equal
            if equal < len(block):
                break
            position = block_start
    return count


def _end_of_boxes(file: BinaryIO, size: int) -> int:
    """The end of the last ISO box. Each box states its size."""
    position = 0
    while position + 8 <= size:
        file.seek(position)
        box_size = int.from_bytes(file.read(4), "big")
        if box_size == 1:  # the size follows the kind, in 8 bytes
            file.seek(4, 1)
            box_size = int.from_bytes(file.read(8), "big")
        if box_size == 0:  # the box extends to the end of the file
            return size
        if box_size < 8:  # not a box
            return position
        position += box_size
    return position


def _end_of_riff(file: BinaryIO, size: int) -> int:
    """The end of the last RIFF chunk of an AVI file, which has one or more (one a gigabyte)."""
    position = 0
    while position + 8 <= size:
        file.seek(position)
        kind, chunk_size = file.read(4), int.from_bytes(file.read(4), "little")
        if kind != b"RIFF" or chunk_size in _RIFF_UNFINISHED_SIZES:
            break
        position += 8 + chunk_size
    return position


def _end_of_segment(file: BinaryIO) -> int:
    """The end of the Matroska segment, which holds everything.

    0 if its length is open, as in recordings of browsers. Leaves the file at the segment's start.
    """
    file.seek(4)
    header_size = _read_ebml_size(file)
    if header_size is None or header_size > _MAX_EBML_HEADER_BYTES:
        return 0
    file.seek(header_size, 1)
    if file.read(4) != _SEGMENT:
        return 0
    segment_size = _read_ebml_size(file)
    return 0 if segment_size is None else file.tell() + segment_size


def _end_of_clusters(file: BinaryIO) -> int:
    """The end of the last complete Matroska cluster; 0 if there is none of known length."""
    end, last_cluster_end = _end_of_segment(file), 0
    while end and file.tell() < end:
        kind = file.read(4)
        if kind[:1] == _VOID_FIRST_BYTE:  # the only element here whose ID has one byte
            file.seek(-3, 1)
        size = _read_ebml_size(file)
        if size is None or file.tell() + size > end:
            break
        file.seek(size, 1)
        if kind == _CLUSTER:
            last_cluster_end = file.tell()
    return last_cluster_end


def _read_ebml_size(file: BinaryIO) -> int | None:
    """A size of variable length at the file's position; None if it is invalid or 'unknown'."""
    first = file.read(1)
    if not first or first[0] == 0:
        return None
    length = 9 - first[0].bit_length()
    value = int.from_bytes(bytes([first[0] & (0xFF >> length)]) + file.read(length - 1), "big")
    return None if value == (1 << 7 * length) - 1 else value


def _size_in_asf_header(file: BinaryIO) -> int:
    """The file size in the file properties object; 0 if it is missing, or the file is a broadcast,
    whose size was not known when it was written."""
    file.seek(0)
    header = file.read(_ASF_HEADER_BYTES_READ)
    position = header.find(_ASF_FILE_PROPERTIES)
    if position < 0 or len(header) < position + _ASF_PROPERTIES_BYTES:
        return 0
    properties = header[position:]
    is_broadcast = properties[_ASF_FLAGS] & 1
    return 0 if is_broadcast else int.from_bytes(properties[_ASF_SIZE], "little")
