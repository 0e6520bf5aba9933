"""What a video's results are made from, and whether it is still the same: the files' names, sizes, times and content."""

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
class InputFiles:
    """The files that decide a video's results, none where they are not known.

    frames: in order, or the one video file; none of a live source. masks: of any of its frames. wanted: names of the frames whose results are wanted, None for all.
    """

    frames: Sequence[Path] = ()
    masks: Sequence[Path] = ()
    wanted: Collection[str] | None = None

    def record(self, *, read: bool = True) -> dict[str, Any]:
        """What identifies them, as plain values. read: every file, for its content; otherwise what is touched counts as changed. Raises OSError where one is gone."""
        kinds = {
            kind: {
                **self._listing(kind),
                "content": _content_sha256(getattr(self, kind)) if read else None,
            }
            for kind in _KINDS
        }
        return {**kinds, "wanted": self._wanted_sha256()}

    def compared(self, recorded: Any) -> "Comparison":
        """With what record() gave at another time, as a file kept it. Files are read only where their sizes or times differ."""
        if not isinstance(recorded, dict):
            return Comparison(change="nothing says what its results were made from")
        record: dict[str, Any] = {"wanted": self._wanted_sha256()}
        for kind in _KINDS:
            now, then = self._listing(kind), recorded.get(kind)
            if not isinstance(then, dict) or then.get("names") != now["names"]:
                return Comparison(change=self._renamed(kind, then) + _SINCE)
            record[kind] = {**now, "content": then.get("content")}
            if then.get("listing") != now["listing"]:  # touched, or copied here anew
                record[kind]["content"] = _content_sha256(getattr(self, kind))
                if record[kind]["content"] != then.get("content"):
                    return Comparison(change=f"{self._noun(kind)} changed{_SINCE}")
        if record["wanted"] != recorded.get("wanted"):
            return Comparison(change=f"other frames are asked for{_SINCE}")
        return Comparison(record=record)

    def untouched_since(self, recorded: Mapping[str, Any]) -> bool:
        """Whether names, sizes and times are those of a record made a moment ago."""
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

    def _renamed(self, kind: str, then: Any) -> str:
        before, now = (
            then.get("files") if isinstance(then, dict) else None,
            len(getattr(self, kind)),
        )
        return (
            f"names of {self._noun(kind)} changed"
            if before == now
            else f"{counted(now, _KINDS[kind])} instead of {before}"
        )

    def _noun(self, kind: str) -> str:
        return "video file" if kind == "frames" and len(self.frames) == 1 else f"{_KINDS[kind]}s"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """change: what has changed, None where nothing has. record: what identifies the files now, where nothing has."""

    change: str | None = None
    record: dict[str, Any] | None = None


def _status_line(path: Path) -> str:
    """The time of the last change of any kind (ctime) tells a file that was replaced by one of the same size and time."""
    status = os.stat(path)  # noqa: PTH116 - of a link, the file it leads to
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
