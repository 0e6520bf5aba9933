"""What OUT/config.json says about the results beside it."""

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from inference.output.paths import SUBFOLDERS
from util.errors import InputError
from util.files import check_plain_name, write_json

MADE_SINCE = "made_since"  # of a video's inputs: when work on its results began
# the keys of config.json beside the settings
_SUBFOLDER, _SEQUENCES, _FORMER = "results", "sequences", "former_sequences"
_INPUTS, _RUN = "inputs", "run"
_DIFFERENCES_SHOWN = 3
# settings that were added later, with what earlier versions did, whose records lack them
_ADDED_SETTINGS = {
    "memory.permanent": False,
    "direction": "forward",
    "reading.kernel_sigma": None,
    "memory.exempt_joins": True,
    "memory.sampling_measure": "largest",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecordedRun:
    """The content of config.json.

    settings: everything that decides the results. sequences: the videos that are made, or being
    made, with these settings. former: videos present with results of other settings.
    subfolders: of OUT, one of which holds the results. inputs: by video, what identifies its
    inputs; None if an earlier version wrote the file. run: notes on the latest run.
    """

    settings: Mapping[str, Any]
    sequences: tuple[str, ...]
    former: tuple[str, ...] = ()
    subfolders: tuple[str, ...]
    inputs: Mapping[str, Any] | None
    run: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @staticmethod
    def of(settings: Mapping[str, Any], subfolder: str, run: Mapping[str, Any]) -> "RecordedRun":
        """The record of a run that has made nothing yet."""
        # as they will be read back: tuples become lists
        plain_settings, plain_run = json.loads(json.dumps([settings, run]))
        return RecordedRun(
            settings=plain_settings,
            sequences=(),
            subfolders=(subfolder,),
            inputs={},
            run=plain_run,
        )

    @staticmethod
    def read(path: Path) -> "RecordedRun | None":
        """The record in a file; None if there is no file.

        Raises InputError if no run wrote the file.
        """
        try:
            if path.exists() and not path.is_file():
                raise ValueError("not a regular file")
            return _parse(json.loads(path.read_text(encoding="utf-8")), str(path))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise InputError(
                f"{path}: was not written by an evaluation; choose another --output"
            ) from error

    def write(self, path: Path) -> None:
        """Replace the file atomically."""
        former = {_FORMER: self.former} if self.former else {}
        content = {
            **self.settings,
            _SUBFOLDER: self.subfolders[0],
            _SEQUENCES: self.sequences,
            **former,
            _INPUTS: self.inputs,
            _RUN: self.run,
        }
        write_json(path, content)

    @property
    def videos(self) -> list[str]:
        """The videos that runs have written here, with any settings."""
        return list(dict.fromkeys([*self.sequences, *self.former]))

    def difference(self, settings: Mapping[str, Any]) -> str:
        """'name old (now new)' for the first settings that differ, and how many more do.

        Nested settings are named as memory.policy. Empty if none differs.
        """
        differences = list(_differences(self.settings, settings))
        beyond = len(differences) - _DIFFERENCES_SHOWN
        return ", ".join(differences[:_DIFFERENCES_SHOWN]) + (
            f" and {beyond} more" if beyond > 0 else ""
        )


def _parse(content: Any, source: str) -> RecordedRun:
    """Raises any of the errors that RecordedRun.read explains if `content` has another form."""
    sequences, former = content.pop(_SEQUENCES), content.pop(_FORMER, [])
    inputs, run = content.pop(_INPUTS, None), content.pop(_RUN, {})
    subfolder = content.pop(_SUBFOLDER, None)  # None: an earlier version wrote the file
    for name in [*sequences, *former]:
        check_plain_name(name, source)
    if not (
        isinstance(sequences, list)
        and isinstance(inputs, dict | None)
        and subfolder in (None, *SUBFOLDERS)
    ):
        raise ValueError("values of other types")
    return RecordedRun(
        settings=content,
        sequences=tuple(sequences),
        former=tuple(former),
        subfolders=SUBFOLDERS if subfolder is None else (subfolder,),
        inputs=inputs,
        run=run,
    )


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    old, new = dict(_flat(old)), dict(_flat(new))
    old = {name: value for name, value in _ADDED_SETTINGS.items() if name in new} | old
    for name in {**new, **old}:
        if name not in old or name not in new or old[name] != new[name]:
            yield f"{name} {old.get(name, 'not set')} (now {new.get(name, 'not set')})"


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
