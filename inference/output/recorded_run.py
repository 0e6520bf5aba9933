"""What OUT/config.json says of the results beside it."""

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from util.errors import InputError
from util.files import check_plain_name
from util.run_record import write_json

CONFIG_NAME, OVERLAYS_NAME = "config.json", "overlays"
INCOMPLETE_NAME = "incomplete.txt"  # in a video's folder
SUBFOLDERS = (".", "Annotations")  # of OUT, where scripts write
MADE_SINCE = "made_since"  # of a video's inputs: when the making of its results began
_SUBFOLDER, _SEQUENCES, _FORMER, _INPUTS, _RUN = (
    "results",
    "sequences",
    "former_sequences",
    "inputs",
    "run",
)
_DIFFERENCES_SHOWN = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecordedRun:
    """settings: all that decides the results. sequences: videos made, or being made, with them. former: videos that are there of other settings. subfolders: of
    OUT, one of which holds the results. inputs: what identifies each video's, by name; None where an earlier version wrote the file. run: notes on the latest.
    """

    settings: Mapping[str, Any]
    sequences: tuple[str, ...]
    former: tuple[str, ...] = ()
    subfolders: tuple[str, ...]
    inputs: Mapping[str, Any] | None
    run: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @staticmethod
    def of(settings: Mapping[str, Any], subfolder: str, run: Mapping[str, Any]) -> "RecordedRun":
        """Of a run that has made nothing yet."""
        plain = json.loads(
            json.dumps([settings, run])
        )  # as they will be read back: tuples are lists
        return RecordedRun(
            settings=plain[0], sequences=(), subfolders=(subfolder,), inputs={}, run=plain[1]
        )

    @staticmethod
    def read(path: Path) -> "RecordedRun | None":
        """None where there is no such file. Raises InputError for one that no run wrote."""
        try:
            if path.exists() and not path.is_file():
                raise ValueError("no regular file")
            content = json.loads(path.read_text(encoding="utf-8"))
            sequences, former, inputs = (
                content.pop(_SEQUENCES),
                content.pop(_FORMER, []),
                content.pop(_INPUTS, None),
            )
            subfolder, run = content.pop(_SUBFOLDER, None), content.pop(_RUN, {})
            for name in [*sequences, *former]:
                check_plain_name(name, str(path))
            if not (
                isinstance(sequences, list)
                and isinstance(inputs, dict | None)
                and subfolder in (None, *SUBFOLDERS)
            ):
                raise ValueError("values of other kinds")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise InputError(
                f"{path}: was not written by an evaluation; choose another --output"
            ) from error
        subfolders = SUBFOLDERS if subfolder is None else (subfolder,)
        return RecordedRun(
            settings=content,
            sequences=tuple(sequences),
            former=tuple(former),
            subfolders=subfolders,
            inputs=inputs,
            run=run,
        )

    def write(self, path: Path) -> None:
        """Replace the file, at once."""
        former = {_FORMER: self.former} if self.former else {}
        write_json(
            path,
            {
                **self.settings,
                _SUBFOLDER: self.subfolders[0],
                _SEQUENCES: self.sequences,
                **former,
                _INPUTS: self.inputs,
                _RUN: self.run,
            },
        )

    @property
    def known(self) -> list[str]:
        """The videos that runs have written here, of whatever settings."""
        return list(dict.fromkeys([*self.sequences, *self.former]))

    def difference(self, settings: Mapping[str, Any]) -> str:
        """'name old (now new)' for the first settings that differ, nested ones as memory.policy; empty where none does."""
        differences = list(_differences(self.settings, settings))
        more = (
            f" and {len(differences) - _DIFFERENCES_SHOWN} more"
            if len(differences) > _DIFFERENCES_SHOWN
            else ""
        )
        return ", ".join(differences[:_DIFFERENCES_SHOWN]) + more


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    old, new = dict(_flat(old)), dict(_flat(new))
    for name in {**new, **old}:
        if name not in old or name not in new or old[name] != new[name]:
            yield f"{name} {old.get(name, 'not set')} (now {new.get(name, 'not set')})"


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in settings.items():
        yield from (
            _flat(value, f"{prefix}{name}.")
            if isinstance(value, dict)
            else [(prefix + name, value)]
        )
