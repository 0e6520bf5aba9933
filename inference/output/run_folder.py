"""The output folder of a run: which results are there, and which may be replaced.

OUT/config.json holds the settings that decide the results, the names of the videos made (or being
made) with them, what identifies each video's inputs, and notes on the latest run. The folder of a
video is whole or absent; if it holds incomplete.txt, its results end early and count as not made.
A run may be interrupted at any point: a folder counts as made only if config.json holds its
settings and inputs, and it is given its name after both were written.
"""

import contextlib
import dataclasses
import datetime
import logging
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dataset.frame_range import FrameRange
from dataset.video.inputs import InputFiles
from inference.output.paths import (
    CHOOSE_ANOTHER,
    CONFIG_NAME,
    INCOMPLETE_NAME,
    PART,
    REPLACED,
    SCORES_NAMES,
    OutputPaths,
    check_placement,
    explain_unwritable,
    temporary_folder,
)
from inference.output.recorded_run import MADE_SINCE, RecordedRun
from util.errors import InputError
from util.files import remove_unfinished
from util.folder_lock import file_lock, folder_lock

_log = logging.getLogger(__name__)


class RunFolder:
    """OUT, for the results made with some settings.

    settings: everything that decides the results, as plain values; they are compared with those of
    an earlier run into the same folder.
    run: values that do not decide the results (device, processes, date); they are only recorded.
    subfolder: of OUT, for the results; one of SUBFOLDERS.
    overwrite: replace the results of these videos whatever their settings; folders that no run
    recorded are never replaced.
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
        self.paths = OutputPaths(Path(root), subfolder)
        self._new = RecordedRun.of(settings, subfolder, run or {})
        self._overwrite = overwrite
        self._holders = 0

    @property
    def root(self) -> Path:
        """OUT."""
        return self.paths.root

    @property
    def results(self) -> Path:
        """The folder of VIDEO/FRAME.png: OUT or a subfolder."""
        return self.paths.results

    @property
    def overlays(self) -> Path:
        """OUT/overlays, which holds VIDEO.mp4 (or .webm) and VIDEO.png."""
        return self.paths.overlays

    @property
    def soft(self) -> Path:
        """OUT/probabilities, which holds VIDEO/ID/FRAME.png."""
        return self.paths.soft

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Lock OUT for the processes of this run; may be nested. The main process does it for all.

        Raises InputError if another run holds it, or it cannot be written.
        """
        with contextlib.ExitStack() as stack:
            if self._holders == 0:
                with explain_unwritable(self.root):
                    remedy = f"wait until it has ended, or {CHOOSE_ANOTHER}"
                    stack.enter_context(folder_lock(self.root, remedy))
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
        """Check where results and trace are to be written; see check_placement."""
        check_placement(self.paths, videos, data_root=data_root, trace=trace)

    def check(self, videos: Iterable[str]) -> None:
        """Check that results of these videos go with what OUT holds. Changes nothing.

        Raises InputError naming the settings that differ, or the folder in the way.
        """
        recorded = RecordedRun.read(self.paths.config)
        self._check_nothing_unrecorded(videos, recorded)
        # a run that made nothing does not bind later ones to its settings
        if recorded is None or not self.paths.existing(recorded.videos, recorded.subfolders):
            return
        if self.paths.subfolder not in recorded.subfolders:
            raise InputError(
                f"{self.root / recorded.subfolders[0]}: holds results of another script "
                f"({recorded.settings.get('script')}); {CHOOSE_ANOTHER}"
            )
        if not self._overwrite:
            self._check_same_settings(videos, recorded)

    def prepare(
        self,
        videos: Mapping[str, InputFiles],
        *,
        with_overlays: bool = False,
        with_soft: bool = False,
    ) -> list[str]:
        """Record the run and return the names of the videos still to be made, in order.

        What earlier runs left of these videos, and scores of the former results, are removed.
        videos: by name, what each is made from. If the inputs of a finished video have changed, it
        is made again, with a note. with_overlays, with_soft: a video without its overlay, or its
        probabilities, counts as not made.
        Call it after `check`, in the one process that holds the folder.
        """
        recorded = RecordedRun.read(self.paths.config)
        continues = recorded is not None and recorded.inputs is not None
        same = continues and not recorded.difference(self._new.settings)
        record = recorded if same else self._new
        self._remove_leftovers(videos)
        finished = {}
        for name, files in videos.items():
            if self._overwrite or not self._is_whole(name, with_overlays, with_soft):
                continue
            inputs = _finished_inputs(name, files, record.inputs.get(name))
            if inputs is not None:
                finished[name] = inputs
        unfinished = [name for name in videos if name not in finished]
        if unfinished:
            for path in self.paths.scores:
                path.unlink(missing_ok=True)
        for name in unfinished:
            self._remove(name)
        sequences = tuple(dict.fromkeys([*record.sequences, *videos]))
        known = [] if recorded is None else recorded.videos
        dataclasses.replace(
            record,
            sequences=sequences,
            former=tuple(
                name for name in known if name not in sequences and self.paths.existing([name])
            ),
            inputs={
                name: finished.get(name, inputs)
                for name, inputs in record.inputs.items()
                if name not in unfinished
            },
            subfolders=self._new.subfolders,
            run=self._new.run,
        ).write(self.paths.config)
        return unfinished

    def begin(
        self,
        name: str,
        files: InputFiles,
        frame_range: FrameRange | None = None,
        *,
        read: bool = True,
    ) -> dict[str, Any]:
        """Record what a video's results are about to be made from, and return that record.

        The process that makes the results calls it. frame_range: what 16-bit frames are scaled by.
        read: also read the content of the files, for which a live source does not wait.
        Raises OSError if a file is gone.
        """
        scale = {} if frame_range is None else {"frame_range": [frame_range.low, frame_range.high]}
        inputs = {
            **files.record(read=read),
            **scale,
            MADE_SINCE: datetime.datetime.now(datetime.timezone.utc).isoformat(),
        }
        with file_lock(self.root / f".{CONFIG_NAME}.lock"):
            record = RecordedRun.read(self.paths.config)
            if record is None or name not in record.sequences:
                raise InputError(
                    f"{self.paths.config}: was removed or replaced during the run; start it again"
                )
            dataclasses.replace(record, inputs={**record.inputs, name: inputs}).write(
                self.paths.config
            )
        return inputs

    def _check_nothing_unrecorded(
        self, videos: Iterable[str], recorded: RecordedRun | None
    ) -> None:
        known = [] if recorded is None else recorded.videos
        foreign = self.paths.existing(name for name in videos if name not in known)
        if recorded is None:
            foreign += [path for path in self.paths.scores if path.exists()]
        if foreign:
            raise InputError(
                f"{foreign[0]}: is there already, and no {CONFIG_NAME} in {self.root} says how it "
                f"was made; {CHOOSE_ANOTHER} or move it away"
            )

    def _check_same_settings(self, videos: Iterable[str], recorded: RecordedRun) -> None:
        if recorded.inputs is None:
            raise InputError(
                f"{self.paths.config}: was written by an earlier version, which did not record "
                f"what results were made from; {CHOOSE_ANOTHER}, or make them again with "
                "--overwrite"
            )
        if difference := recorded.difference(self._new.settings):
            raise InputError(
                f"{self.paths.config}: the results here were made with {difference}; "
                f"{CHOOSE_ANOTHER}, or replace them with --overwrite"
            )
        stale = self.paths.existing(name for name in videos if name not in recorded.sequences)
        if stale:
            raise InputError(
                f"{stale[0]}: was made with settings that {CONFIG_NAME} no longer holds; "
                f"{CHOOSE_ANOTHER}, or replace it with --overwrite"
            )

    def _is_whole(self, name: str, with_overlay: bool, with_soft: bool) -> bool:
        """Whether all results of a video are there; its overlay and probabilities too, if asked."""
        folder = self.paths.video(name)
        if not folder.is_dir() or (folder / INCOMPLETE_NAME).exists():
            return False
        if with_soft and not self.paths.soft_video(name).is_dir():
            return False
        return not with_overlay or (
            self.paths.overlay_sheet(name).exists()
            and any(path.exists() for path in self.paths.overlay_videos(name))
        )

    def _remove(self, name: str) -> None:
        # a folder that is only half removed must not keep the name of a whole one
        for folder in (self.paths.video(name), self.paths.soft_video(name)):
            renamed = temporary_folder(folder, REPLACED)
            if folder.exists():
                folder.rename(renamed)
                shutil.rmtree(renamed, ignore_errors=True)
        for path in self.paths.overlay_files(name):
            path.unlink(missing_ok=True)

    def _remove_leftovers(self, names: Iterable[str]) -> None:
        """Remove what a killed run left of these videos and of its own files."""
        for name in (CONFIG_NAME, *SCORES_NAMES):
            remove_unfinished(self.root, name)
        for name in names:
            for folder in (self.paths.video(name), self.paths.soft_video(name)):
                for kind in (PART, REPLACED):
                    shutil.rmtree(temporary_folder(folder, kind), ignore_errors=True)
            for path in self.paths.overlay_files(name):
                remove_unfinished(self.overlays, path.name)
                path.with_name(f".{name}.{PART}{path.suffix}").unlink(missing_ok=True)


def _finished_inputs(name: str, files: InputFiles, recorded: Any) -> dict[str, Any] | None:
    """What identifies the inputs of a video with results; None, with a note, if they have changed.

    recorded: what config.json holds of its inputs, if anything.
    """
    comparison = files.compare(recorded)
    if comparison.change is not None:
        _log.info("%s: %s; it is made again", name, comparison.change)
        return None
    return {**recorded, **comparison.record}


def check_inputs_unchanged(name: str, files: InputFiles, inputs: Mapping[str, Any]) -> None:
    """Raise InputError if an input of a video has changed since `RunFolder.begin` recorded it."""
    if not files.untouched_since(inputs):
        raise InputError(f"{name}: its frames or masks changed while it was segmented; start again")
