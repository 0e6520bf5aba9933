"""The output folder of a run: what its results were made with, which are there, and what may be replaced.

OUT/config.json holds the settings that decide the results, the names of the videos made (or being made) with them, and notes on the latest run. A video's
folder is whole or absent; one that holds incomplete.txt has the results of a damaged video and counts as not made.
"""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from inference.overlay import VIDEO_SUFFIX
from util.errors import InputError
from util.run_record import write_json

CONFIG_NAME, SCORES_NAMES, OVERLAYS_NAME = "config.json", ("scores.json", "scores.csv"), "overlays"
INCOMPLETE_NAME = "incomplete.txt"
_SEQUENCES, _RUN = "sequences", "run"
_DIFFERENCES_SHOWN = 3


class RunFolder:
    """OUT, for the results made with `settings`.

    settings: everything that decides the results, as plain values; compared with those of an earlier run into the same folder. run: what does not
    (device, processes, date), recorded only. results: the folder of VIDEO/FRAME.png, OUT or a subfolder. overwrite: replace results of these videos, whatever
    their settings; folders that no run recorded are never replaced.
    """

    def __init__(self, root: str | Path, settings: Mapping[str, Any], *, run: Mapping[str, Any] | None = None, subfolder: str = ".", overwrite: bool = False):
        self.root = Path(root)
        self.results = self.root / subfolder
        self._settings = json.loads(json.dumps(settings))  # as they will be read back: tuples are lists
        self._run = dict(run or {})
        self._overwrite = overwrite

    @property
    def config_path(self) -> Path:
        """OUT/config.json."""
        return self.root / CONFIG_NAME

    @property
    def overlays(self) -> Path:
        """OUT/overlays: pictures of the results, VIDEO.webm and VIDEO.png."""
        return self.root / OVERLAYS_NAME

    def check(self, names: Sequence[str]) -> None:
        """Whether videos of these names may be written here. Changes nothing. Raises InputError naming the difference, or the folder in the way."""
        recorded = self._recorded()
        if recorded is None or not self._present(recorded[_SEQUENCES]):  # a run that came to nothing holds no later one to its settings
            if foreign := self._present(names):
                raise InputError(f"{foreign[0]}: is there already, and no {CONFIG_NAME} in {self.root} says how it was made; choose another --output or move it away")
            return
        if self._overwrite:
            return
        if differences := list(_differences(_settings_of(recorded), self._settings)):
            shown = ", ".join(differences[:_DIFFERENCES_SHOWN]) + (f" and {len(differences) - _DIFFERENCES_SHOWN} more" if len(differences) > _DIFFERENCES_SHOWN else "")
            raise InputError(f"{self.config_path}: the results here were made with {shown}; choose another --output, or replace them with --overwrite")
        if stale := self._present([name for name in names if name not in recorded[_SEQUENCES]]):
            raise InputError(f"{stale[0]}: was made with settings that {CONFIG_NAME} no longer holds; choose another --output, or replace it with --overwrite")

    def prepare(self, names: Sequence[str], *, with_overlays: bool = False) -> list[str]:
        """Record the run and return the names still to be made, in order; what is left of these, and scores of the former results, is removed.

        with_overlays: a video without its overlay counts as not made. Raises InputError as check does.
        """
        self.check(names)
        recorded = self._recorded()
        same = recorded is not None and not any(_differences(_settings_of(recorded), self._settings))
        made = list(dict.fromkeys([*(recorded[_SEQUENCES] if same else ()), *names]))
        unfinished = [name for name in names if self._overwrite or not self.finished(name, with_overlay=with_overlays)]
        for name in unfinished:
            shutil.rmtree(self.results / name, ignore_errors=True)
            for path in self._overlay_files(name):
                path.unlink(missing_ok=True)
        if unfinished:
            for name in SCORES_NAMES:
                (self.root / name).unlink(missing_ok=True)
        write_json(self.config_path, {**self._settings, _SEQUENCES: made, _RUN: self._run})
        return unfinished

    def finished(self, name: str, *, with_overlay: bool = False) -> bool:
        """Whether this video's results are there, whole; and its overlay, if asked."""
        folder = self.results / name
        whole = folder.is_dir() and not (folder / INCOMPLETE_NAME).exists()
        return whole and (not with_overlay or all(path.exists() for path in self._overlay_files(name)))

    def mark_incomplete(self, name: str, reason: str) -> None:
        """Say beside the results of a video that they end early, and why; a later run makes them again."""
        (self.results / name / INCOMPLETE_NAME).write_text(reason + "\n", encoding="utf-8")

    def _overlay_files(self, name: str) -> list[Path]:
        return [self.overlays / f"{name}{suffix}" for suffix in (VIDEO_SUFFIX, ".png")]

    def _present(self, names: Sequence[str]) -> list[Path]:
        return [self.results / name for name in names if (self.results / name).exists()]

    def _recorded(self) -> dict[str, Any] | None:
        """What config.json says; None where there is none."""
        try:
            content = json.loads(self.config_path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except ValueError:
            content = None
        if not isinstance(content, dict) or not isinstance(content.get(_SEQUENCES), list):
            raise InputError(f"{self.config_path}: was not written by an evaluation; choose another --output")
        return content


def _settings_of(recorded: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in recorded.items() if name not in (_SEQUENCES, _RUN)}


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """'name old (now new)' for each setting that differs; nested ones as memory.policy."""
    old, new = _flat(old), _flat(new)
    for name in {**new, **old}:
        if name not in old or name not in new or old[name] != new[name]:
            yield f"{name} {old.get(name, 'not set')} (now {new.get(name, 'not set')})"


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat.update(_flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value})
    return flat
