"""The files that a video's results are made from, and whether they are still the same."""

import dataclasses
import hashlib
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from util.files import file_sha256
from util.text import counted

_SINCE = " since its results were made"
_KINDS = {"frames": "frame", "masks": "mask"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """change: what has changed; None if nothing has. record: of the files now, if unchanged."""

    change: str | None = None
    record: dict[str, Any] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class InputFiles:
    """The files that decide a video's results; empty if they are not known.

    frames: in order, or the one video file; none of a live source. masks: of any of its frames.
    wanted: names of the frames whose results are wanted; None for all.
    """

    frames: Sequence[Path] = ()
    masks: Sequence[Path] = ()
    wanted: Collection[str] | None = None

    def record(self, *, read: bool = True) -> dict[str, Any]:
        """What identifies the files, as plain values.

        read: hash the content of every file; otherwise a file counts as changed as soon as its
        time changes. Raises OSError if a file is missing.
        """
        kinds = {
            kind: {
                **self._listing(kind),
                "content": _content_sha256(getattr(self, kind)) if read else None,
            }
            for kind in _KINDS
        }
        return {**kinds, "wanted": self._wanted_sha256()}

    def compare(self, recorded: Any) -> Comparison:
        """Compare with an earlier record(). Contents are read only if sizes or times differ."""
        if not isinstance(recorded, dict):
            return Comparison(change="nothing says what its results were made from")
        record: dict[str, Any] = {"wanted": self._wanted_sha256()}
        for kind in _KINDS:
            now, then = self._listing(kind), recorded.get(kind)
            if not isinstance(then, dict) or then.get("names") != now["names"]:
                return Comparison(change=self._name_change(kind, then) + _SINCE)
            record[kind] = {**now, "content": then.get("content")}
            if then.get("listing") != now["listing"]:  # touched or copied
                record[kind]["content"] = _content_sha256(getattr(self, kind))
                if record[kind]["content"] != then.get("content"):
                    return Comparison(change=f"{self._noun(kind)} changed{_SINCE}")
        if record["wanted"] != recorded.get("wanted"):
            return Comparison(change=f"other frames are asked for{_SINCE}")
        return Comparison(record=record)

    def untouched_since(self, recorded: Mapping[str, Any]) -> bool:
        """Whether names, sizes and times equal those of an earlier record()."""
        return all(self._listing(kind)["listing"] == recorded[kind]["listing"] for kind in _KINDS)

    def _listing(self, kind: str) -> dict[str, Any]:
        paths = getattr(self, kind)
        return {
            "files": len(paths),
            "folder": str(paths[0].parent.resolve()) if paths else None,
            "first": paths[0].name if paths else None,
            "names": _sha256(path.name for path in paths),
            "listing": _sha256(_status_line(path) for path in paths),
        }

    def _wanted_sha256(self) -> str | None:
        return None if self.wanted is None else _sha256(sorted(self.wanted))

    def _name_change(self, kind: str, then: Any) -> str:
        now = len(getattr(self, kind))
        before = then.get("files") if isinstance(then, dict) else None
        if before == now:
            return f"names of {self._noun(kind)} changed"
        return f"{counted(now, _KINDS[kind])} instead of {before}"

    def _noun(self, kind: str) -> str:
        return "video file" if kind == "frames" and len(self.frames) == 1 else f"{_KINDS[kind]}s"


def _status_line(path: Path) -> str:
    """A file's name, size and times.

    The time of the last change of any kind (ctime) reveals a file that was replaced by one of the
    same size and modification time. Of a link, the target counts.
    """
    status = path.stat()
    return (
        f"{path.name}\n{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}"
    )


def _content_sha256(paths: Sequence[Path]) -> str | None:
    return _sha256(file_sha256(path) for path in paths) if paths else None


def _sha256(texts: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for text in texts:
        digest.update(os.fsencode(text) + b"\n\n")
    return digest.hexdigest()
