"""Texts that people and their programs wrote: lists of names, palettes, JSON."""

import codecs
import json
from pathlib import Path
from typing import Any

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


def read_json(path: Path) -> Any:
    """What a text of JSON holds. Raises InputError where it is none, or is nested too deeply to be read; OSError where it cannot be read."""
    try:
        return json.loads(read_text(path, "as JSON"))
    except InputError:
        raise
    except RecursionError:
        reason = "nested too deeply"
    except ValueError as error:
        reason = str(error)
    raise InputError(f"{path}: not JSON ({reason}); write it anew, or copy it again")
