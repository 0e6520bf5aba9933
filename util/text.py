"""Wording for people: counts, short representations, and URLs without users, passwords and tokens.

Secrets must stay off the screen and out of records even if their URL is mistyped.
"""

import re
import reprlib
from typing import Any


def counted(count: int, noun: str, ending: str = "s") -> str:
    """A number of things: '1 frame', '2 frames', '1,500 frames'. ending: the plural's, added to
    the noun ('es': '2 processes')."""
    return f"{count:,} {noun}" + ending * (count != 1)


def short_repr(value: Any) -> str:
    """Any value read from a file as a short text of one line."""
    try:
        return " ".join(_SHORT.repr(value).split())
    except ValueError:  # Python refuses to write an integer of thousands of digits
        return f"a {type(value).__name__} of very many digits"


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80
_SHORT.maxlevel = 2


_WORD = re.compile(r"[^\s'\"()]+")
_FLAG = re.compile(r"--?[\w-]+=")
# rtsp://, rtsp:/, rtsp//, and rtsp: or rtsp/ before user:password@
_SCHEME = re.compile(r"[A-Za-z][\w+.-]+(:/+|//+|[:/](?=[^/@]+:[^@]*@))")
_HOST_AND_PORT = re.compile(r"[^:]*(:\d*)?|\[.*")


def without_secrets(text: str) -> str:
    """A text whose URLs lose user, password and query.

    A file name with an @ is unchanged, unless a colon before it makes it look like
    user:password@host.
    """
    return _WORD.sub(lambda found: _without_secrets_in_word(found[0]), text)


def _without_secrets_in_word(word: str) -> str:
    flag = found[0] if (found := _FLAG.match(word)) else ""
    scheme = found[0] if (found := _SCHEME.match(word, len(flag))) else ""
    authority, slash, path = word[len(flag) + len(scheme) :].partition("/")
    user, at, host = authority.rpartition("@")
    if at and (scheme or ":" in user):
        authority = host
    elif "@" in path and not _HOST_AND_PORT.fullmatch(authority):  # a slash in the password
        authority, slash, path = path.rpartition("@")[2].partition("/")
    address = authority + slash + path
    if not scheme:
        return flag + address
    address, *query = re.split(r"[?#]", address, maxsplit=1)
    # The punctuation of a message behind the URL is kept.
    punctuation = word[-1] if query and word[-1] in ":;," else ""
    return flag + scheme + address + punctuation
