"""Texts that people and their programs wrote: lists of names, palettes, JSON."""

import codecs
from pathlib import Path

from util.errors import InputError


def read_text(path: Path, form: str) -> str:
    """A text in UTF-8, with a byte order mark or without, as Windows programs write it. form: what it should hold, for the message.

    Raises InputError where it is something else, such as a binary file or UTF-16; OSError where it cannot be read.
    """
    content = path.read_bytes()
    try:
        if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            reason = "it begins as UTF-16 does"
        elif "\0" in (text := content.decode("utf-8-sig")):
            reason = "a byte of 0 in it"
        else:
            return text
    except UnicodeDecodeError as error:
        reason = f"{error.reason} at byte {error.start}"
    raise InputError(f"{path}: not a text of UTF-8 ({reason}); write it anew, {form}")
