"""The output folder of a run: what its results were made with and from, which are there, and what may be replaced.

OUT/config.json holds the settings that decide the results, the names of the videos made (or being made) with them, what identifies each one's inputs, and
notes on the latest run. A video's folder is whole or absent; one that holds incomplete.txt has the results of a damaged video and counts as not made. Whatever
is interrupted, and at any point: a folder counts as made only if config.json holds its settings and inputs, and it got its name after both were written.
"""

import contextlib
import dataclasses
import datetime
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dataset.frame_range import FrameRange
from dataset.video.inputs import InputFiles
from inference.output.overlay import VIDEO_SUFFIXES
from inference.output.recorded_run import (
    CONFIG_NAME,
    INCOMPLETE_NAME,
    MADE_SINCE,
    OVERLAYS_NAME,
    SUBFOLDERS,
    RecordedRun,
)
from util.errors import InputError
from util.files import check_plain_name, remove_unfinished
from util.folder_lock import LOCK_NAME, file_lock, folder_lock

SCORES_NAMES = ("scores.json", "scores.csv")
PART, REPLACED = "part", "old"  # .VIDEO.part is being written, .VIDEO.old is being removed
_ELSEWHERE = "choose another --output"


def temporary_folder(folder: Path, kind: str) -> Path:
    """Beside a video's folder. Names are fixed, so that what a killed run left behind is found and removed by the next."""
    return folder.with_name(f".{folder.name}.{kind}")


class RunFolder:
    """OUT, for the results made with `settings`.

    settings: everything that decides the results, as plain values; compared with those of an earlier run into the same folder. run: what does not
    (device, processes, date), recorded only. results: the folder of VIDEO/FRAME.png, OUT or a subfolder. overwrite: replace results of these videos, whatever
    their settings; folders that no run recorded are never replaced.
    """

    def __init__(
        self,
        root: str | Path,
        settings: Mapping[str, Any],
        *,
        run: Mapping[str, Any] | None = None,
        subfolder: str = ".",
        overwrite: bool = False,
    ):
        self.root = Path(root)
        self.results = self.root / subfolder
        self._subfolder = subfolder
        self._new = RecordedRun.of(settings, subfolder, run or {})
        self._overwrite = overwrite
        self._holders = 0
        self._begun: tuple[InputFiles, dict[str, Any]] = InputFiles(), {}

    @property
    def config_path(self) -> Path:
        """OUT/config.json."""
        return self.root / CONFIG_NAME

    @property
    def overlays(self) -> Path:
        """OUT/overlays: pictures of the results, VIDEO.mp4 (or .webm) and VIDEO.png."""
        return self.root / OVERLAYS_NAME

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold OUT for the processes of this run alone; may be nested. The main process does it for all. Raises InputError where another run holds it."""
        with contextlib.ExitStack() as stack:
            if self._holders == 0:
                try:
                    stack.enter_context(
                        folder_lock(self.root, f"wait until it has ended, or {_ELSEWHERE}")
                    )
                except OSError as error:
                    raise InputError(
                        f"{self.root}: results cannot be written here ({error.strerror}); {_ELSEWHERE}"
                    ) from error
            self._holders += 1
            try:
                yield
            finally:
                self._holders -= 1

    def check_request(
        self,
        videos: Mapping[str, InputFiles],
        *,
        data_root: Path | None = None,
        trace: Path | None = None,
    ) -> None:
        """Whether results of these videos, and a trace, may lie where they are to, whatever is there. Changes nothing.

        Raises InputError for names that are not plain or that a run's own files have, for results among the data, and for a trace among the results.
        """
        self._check_names(videos)
        self._check_place(videos, data_root)
        if trace is not None:
            self._check_trace(trace, videos)

    def check(self, videos: Mapping[str, InputFiles]) -> None:
        """Whether results of these videos go with what is here. Changes nothing. Raises InputError naming the difference, or the folder in the way."""
        recorded = RecordedRun.read(self.config_path)
        known = [] if recorded is None else recorded.known
        scores = [
            path
            for path in (self.root / name for name in SCORES_NAMES)
            if recorded is None and path.exists()
        ]
        if foreign := [*self._present([name for name in videos if name not in known]), *scores]:
            raise InputError(
                f"{foreign[0]}: is there already, and no {CONFIG_NAME} in {self.root} says how it was made; {_ELSEWHERE} or move it away"
            )
        if recorded is None or not self._present(
            known, *recorded.subfolders
        ):  # a run that came to nothing holds no later one to its settings
            return
        if self._subfolder not in recorded.subfolders:
            where = self.root / recorded.subfolders[0]
            raise InputError(
                f"{where}: holds results of another script ({recorded.settings.get('script')}); {_ELSEWHERE}"
            )
        if self._overwrite:
            return
        if recorded.inputs is None:
            found = "was written by an earlier version, which did not record what results were made from"
            raise InputError(
                f"{self.config_path}: {found}; {_ELSEWHERE}, or make them again with --overwrite"
            )
        if difference := recorded.difference(self._new.settings):
            raise InputError(
                f"{self.config_path}: the results here were made with {difference}; {_ELSEWHERE}, or replace them with --overwrite"
            )
        if stale := self._present([name for name in videos if name not in recorded.sequences]):
            raise InputError(
                f"{stale[0]}: was made with settings that {CONFIG_NAME} no longer holds; {_ELSEWHERE}, or replace it with --overwrite"
            )

    def prepare(
        self, videos: Mapping[str, InputFiles], *, with_overlays: bool = False
    ) -> list[str]:
        """Record the run and return the names still to be made, in order; what is left of these, and scores of the former results, is removed.

        videos: by name, what each is made from; results of other inputs are made again, and that is said. with_overlays: a video without its overlay counts as
        not made. To be called after check, by one process that holds the folder.
        """
        recorded = RecordedRun.read(self.config_path)
        known = [] if recorded is None else recorded.known
        record = (
            self._new
            if recorded is None
            or recorded.inputs is None
            or recorded.difference(self._new.settings)
            else recorded
        )
        inputs = dict(record.inputs)
        self._remove_leftovers(videos)
        unfinished = []
        for name, files in videos.items():
            if not self._overwrite and self._whole(name, with_overlay=with_overlays):
                comparison = files.compare(inputs.get(name))
                if comparison.change is None:
                    inputs[name] |= comparison.record
                    continue
                print(f"{name}: {comparison.change}; it is made again", file=sys.stderr, flush=True)
            inputs.pop(name, None)
            unfinished.append(name)
        if unfinished:
            for name in SCORES_NAMES:
                (self.root / name).unlink(missing_ok=True)
        for name in unfinished:
            self._remove(name)
        sequences = tuple(dict.fromkeys([*record.sequences, *videos]))
        former = tuple(name for name in known if name not in sequences and self._present([name]))
        record = dataclasses.replace(
            record,
            sequences=sequences,
            former=former,
            inputs=inputs,
            subfolders=self._new.subfolders,
            run=self._new.run,
        )
        record.write(self.config_path)
        return unfinished

    def begin(
        self,
        name: str,
        files: InputFiles,
        frame_range: FrameRange | None = None,
        *,
        read: bool = True,
    ) -> None:
        """Record what a video's results are about to be made from, and what its 16-bit frames are
        scaled by. By the process that makes them.

        read: the files' content too, for which a live source does not wait. Raises OSError where a
        file is gone.
        """
        scale = {} if frame_range is None else {"frame_range": [frame_range.low, frame_range.high]}
        inputs = {
            **files.record(read=read),
            **scale,
            MADE_SINCE: datetime.datetime.now(datetime.timezone.utc).isoformat(),
        }
        with file_lock(self.root / f".{CONFIG_NAME}.lock"):
            record = RecordedRun.read(self.config_path)
            if record is None or name not in record.sequences:
                raise InputError(
                    f"{self.config_path}: was removed or replaced while the run went on; start it again"
                )
            dataclasses.replace(record, inputs={**record.inputs, name: inputs}).write(
                self.config_path
            )
        self._begun = files, inputs

    def check_untouched(self, name: str) -> None:
        """Raise InputError where an input of the video begun last has changed since."""
        files, inputs = self._begun
        if not files.untouched_since(inputs):
            raise InputError(
                f"{name}: its frames or masks changed while it was segmented; start again"
            )

    def _whole(self, name: str, *, with_overlay: bool = False) -> bool:
        """Whether this video's results are there, whole; and its overlay, if asked."""
        folder = self.results / name
        whole = folder.is_dir() and not (folder / INCOMPLETE_NAME).exists()
        *videos, sheet = self._overlay_files(name)
        return whole and (
            not with_overlay or (sheet.exists() and any(video.exists() for video in videos))
        )

    def _remove(self, name: str) -> None:
        """A folder that is only half removed must not keep the name of a whole one."""
        folder, doomed = self.results / name, temporary_folder(self.results / name, REPLACED)
        if folder.exists():
            folder.rename(doomed)
            shutil.rmtree(doomed, ignore_errors=True)
        for path in self._overlay_files(name):
            path.unlink(missing_ok=True)

    def _remove_leftovers(self, names: Iterable[str]) -> None:
        """What a killed run left of these videos and of its own files."""
        for name in (CONFIG_NAME, *SCORES_NAMES):
            remove_unfinished(self.root, name)
        for name in names:
            for kind in (PART, REPLACED):
                shutil.rmtree(temporary_folder(self.results / name, kind), ignore_errors=True)
            for path in self._overlay_files(name):
                remove_unfinished(self.overlays, path.name)
                path.with_name(f".{name}.{PART}{path.suffix}").unlink(missing_ok=True)

    def _overlay_files(self, name: str) -> list[Path]:
        return [self.overlays / f"{name}{suffix}" for suffix in (*VIDEO_SUFFIXES, ".png")]

    def _present(self, names: Iterable[str], *subfolders: str) -> list[Path]:
        """The folders and overlays that are there of these videos. subfolders: of OUT, that may hold them; this run's where none is named."""
        folders = [self.root / subfolder for subfolder in subfolders] or [self.results]
        places = (
            path
            for name in names
            for path in (*(folder / name for folder in folders), *self._overlay_files(name))
        )
        return [path for path in places if os.path.lexists(path)]

    def _check_names(self, names: Iterable[str]) -> None:
        taken = (
            {name.casefold() for name in (CONFIG_NAME, *SCORES_NAMES, OVERLAYS_NAME, *SUBFOLDERS)}
            if self._subfolder == "."
            else ()
        )
        for name in names:
            check_plain_name(name, "videos")
            if name.casefold() in taken:
                raise InputError(
                    f"{self.root}: a video is called {name}, as a file or folder of every run is; rename the video"
                )

    def _check_place(self, videos: Mapping[str, InputFiles], data_root: Path | None) -> None:
        """Results lie apart from the data: neither is written into nor read as the other."""
        if data_root is not None and data_root.is_dir():
            root = data_root.resolve()
            for out in {self.root.resolve(), self.results.resolve()}:
                if root == out or root in out.parents or out in root.parents:
                    where = "is" if root == out else "lies in" if root in out.parents else "holds"
                    raise InputError(
                        f"{self.root}: {where} the data's own folder, {root}; {_ELSEWHERE}, apart from it"
                    )
        folders = {
            path.parent for files in videos.values() for path in (*files.frames, *files.masks)
        }
        holding = {
            above: folder
            for folder in folders
            for above in (folder.resolve(), *folder.resolve().parents)
        }
        for path in (self.results, self.overlays, *(self.results / name for name in videos)):
            if path != self.root and path.is_symlink():
                raise InputError(
                    f"{path}: a link, which leads out of the output folder; remove it or {_ELSEWHERE}"
                )
        for name in videos:
            if folder := holding.get((self.results / name).resolve()):
                raise InputError(
                    f"{self.results / name}: the results' place holds frames or masks ({folder}); {_ELSEWHERE}"
                )

    def _check_trace(self, trace: Path, names: Iterable[str]) -> None:
        path = trace.resolve()
        files = [self.root / name for name in (CONFIG_NAME, *SCORES_NAMES, LOCK_NAME)]
        folders = [self.overlays, *(self.results / name for name in names)]
        if path in [file.resolve() for file in files] or {
            folder.resolve() for folder in folders
        } & {path, *path.parents}:
            raise InputError(f"--trace {trace}: a place of the run's own files; name another")
