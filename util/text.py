"""How programs put things to people. Keeping users, passwords and tokens of URLs off the screen and out of records, mistyped ones too."""

import re
import reprlib
from typing import Any


def counted(count: int, noun: str, ending: str = "s") -> str:
    """A number of things: '1 frame', '2 frames', '1,500 frames'. ending: of the plural, added to the noun ('es': '2 processes')."""
    return f"{count:,} {noun}" + ending * (count != 1)


def short_repr(value: Any) -> str:
    """A value out of a file, which may be anything, as a short text of one line."""
    try:
        return " ".join(_SHORT.repr(value).split())
    except ValueError:  # Python writes no number of thousands of digits
        return f"a {type(value).__name__} of very many digits"


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80
_SHORT.maxlevel = 2


_WORD = re.compile(r"[^\s'\"()]+")
_FLAG = re.compile(r"--?[\w-]+=")
_SCHEME = re.compile(
    r"[A-Za-z][\w+.-]+(:/+|//+|[:/](?=[^/@]+:[^@]*@))"
)  # rtsp://, rtsp:/, rtsp//, and rtsp: or rtsp/ before user:password@
_PORT_ALONE = re.compile(r"[^:]*(:\d*)?|\[.*")


def without_secrets(text: str) -> str:
    """A URL, or a text with some, less every user, password and query. A name with an @ stays, unless a colon before it makes it look like user:password@host."""
    return _WORD.sub(lambda found: _clean(found[0]), text)


def _clean(word: str) -> str:
    flag = found[0] if (found := _FLAG.match(word)) else ""
    scheme = found[0] if (found := _SCHEME.match(word, len(flag))) else ""
    authority, slash, path = word[len(flag) + len(scheme) :].partition("/")
    user, at, host = authority.rpartition("@")
    if at and (scheme or ":" in user):
        authority = host
    elif "@" in path and not _PORT_ALONE.fullmatch(authority):  # a slash in the password
        authority, slash, path = path.rpartition("@")[2].partition("/")
    rest = slash + path
    if scheme:
        kept = re.split(r"[?#]", authority + rest, maxsplit=1)
        rest, authority = kept[0] + (word[-1] if len(kept) > 1 and word[-1] in ":;," else ""), ""
    return flag + scheme + authority + rest
