"""Names of files: their order, and which of them may come from data."""

import os
import re

from util.errors import InputError

_LONGEST_BYTES = 200  # file systems take 255; temporary files beside the results add to the name
_WINDOWS_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)


def natural_key(name: str) -> list[str | int]:
    """Sorts 2 before 10 and frame_9 before frame_10: runs of digits compare as numbers."""
    return [int(part) if position % 2 else part for position, part in enumerate(re.split(r"([0-9]+)", name))]


def check_plain_name(name: str, place: str) -> None:
    """Raise InputError unless a name that data gives is the plain name of one file or folder: results of this name then stay where results go.

    place: where the name was found, for the message.
    """
    if trouble := _trouble_of(name):
        raise InputError(f"{place}: the name {name!r} {trouble}; give it a plain name")


def _trouble_of(name: str) -> str | None:
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
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can spell
        return "holds what is no character"
    if length > _LONGEST_BYTES:
        return f"is longer than {_LONGEST_BYTES} bytes"
    if os.name == "nt" and (_WINDOWS_DEVICES.fullmatch(name) or name[-1] in ". " or set(name) & set('<>:"|?*')):
        return "is none that Windows can give a file"
    return None
