"""The files of an output folder: their names, and where results may lie."""

import contextlib
import dataclasses
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from dataset.video.inputs import InputFiles
from util.errors import InputError
from util.files import check_plain_name
from util.folder_lock import LOCK_NAME

CONFIG_NAME, OVERLAYS_NAME, SOFT_NAME = "config.json", "overlays", "probabilities"
SCORES_NAMES = ("scores.json", "scores.csv")
SUBFOLDERS = (".", "Annotations")  # of OUT, where the scripts write results
INCOMPLETE_NAME = "incomplete.txt"  # in the folder of a video
OVERLAY_VIDEO_SUFFIXES = (".mp4", ".webm")
PART, REPLACED = "part", "old"  # .VIDEO.part is being written, .VIDEO.old is being removed
CHOOSE_ANOTHER = "choose another --output"


def temporary_folder(folder: Path, kind: str) -> Path:
    """A folder beside a video's folder. kind: PART or REPLACED.

    The names are fixed, so that the next run removes what a killed run left behind.
    """
    return folder.with_name(f".{folder.name}.{kind}")


@contextlib.contextmanager
def explain_unwritable(folder: Path) -> Iterator[None]:
    """Raise an OSError of the block as an InputError that names the folder and a remedy."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{folder}: results cannot be written here ({error.strerror}); {CHOOSE_ANOTHER}"
        ) from error


@dataclasses.dataclass(frozen=True)
class OutputPaths:
    """The paths in OUT. root: OUT. subfolder: one of SUBFOLDERS, which holds the results."""

    root: Path
    subfolder: str = "."

    @property
    def config(self) -> Path:
        return self.root / CONFIG_NAME

    @property
    def results(self) -> Path:
        """The folder of VIDEO/FRAME.png."""
        return self.root / self.subfolder

    @property
    def overlays(self) -> Path:
        """The folder of VIDEO.mp4 (or .webm) and VIDEO.png, which show the results."""
        return self.root / OVERLAYS_NAME

    @property
    def soft(self) -> Path:
        """The folder of VIDEO/ID/FRAME.png, the probabilities of each object."""
        return self.root / SOFT_NAME

    @property
    def scores(self) -> list[Path]:
        return [self.root / name for name in SCORES_NAMES]

    def video(self, name: str) -> Path:
        """The folder of a video's results."""
        return self.results / name

    def soft_video(self, name: str) -> Path:
        """The folder of a video's probabilities."""
        return self.soft / name

    def overlay_videos(self, name: str) -> list[Path]:
        """Where a video's overlay may be; an encoder writes one of them."""
        return [self.overlays / f"{name}{suffix}" for suffix in OVERLAY_VIDEO_SUFFIXES]

    def overlay_sheet(self, name: str) -> Path:
        return self.overlays / f"{name}.png"

    def overlay_files(self, name: str) -> list[Path]:
        return [*self.overlay_videos(name), self.overlay_sheet(name)]

    def existing(self, names: Iterable[str], subfolders: Iterable[str] | None = None) -> list[Path]:
        """The results, probabilities and overlays of these videos that exist, links included.

        subfolders: of OUT, that may hold the results; by default this run's.
        """
        folders = [self.root / subfolder for subfolder in subfolders or (self.subfolder,)]
        candidates = (
            path
            for name in names
            for path in (
                *(folder / name for folder in folders),
                self.soft_video(name),
                *self.overlay_files(name),
            )
        )
        return [path for path in candidates if os.path.lexists(path)]


def check_placement(
    paths: OutputPaths,
    videos: Mapping[str, InputFiles],
    *,
    data_root: Path | None = None,
    trace: Path | None = None,
) -> None:
    """Check that results of these videos, and a trace, may lie where they are to be written.

    Whatever exists there already does not matter. Raises InputError for names of videos that are
    not plain or belong to a run's own files, for results among the data, and for a trace among the
    results.
    """
    _check_names(paths, videos)
    if data_root is not None and data_root.is_dir():
        _check_apart_from(paths, data_root.resolve())
    folders = (paths.results, paths.overlays, paths.soft)
    for path in (*folders, *map(paths.video, videos), *map(paths.soft_video, videos)):
        if path != paths.root and path.is_symlink():
            raise InputError(
                f"{path}: a link, which leads out of the output folder; remove it or "
                f"{CHOOSE_ANOTHER}"
            )
    _check_holds_no_inputs(paths, videos)
    if trace is not None:
        _check_trace(paths, videos, trace)


def _check_names(paths: OutputPaths, videos: Iterable[str]) -> None:
    own = {CONFIG_NAME, *SCORES_NAMES, OVERLAYS_NAME, SOFT_NAME, *SUBFOLDERS}
    taken = {name.casefold() for name in own} if paths.subfolder == "." else ()
    for name in videos:
        check_plain_name(name, "videos")
        if name.casefold() in taken:
            raise InputError(
                f"{paths.root}: a video is called {name}, which is the name of a file or folder of "
                "every run; rename the video"
            )


def _check_apart_from(paths: OutputPaths, data_root: Path) -> None:
    """Results and data lie apart, so that neither is written into nor read as the other."""
    for out in {paths.root.resolve(), paths.results.resolve()}:
        if data_root == out:
            relation = "is"
        elif data_root in out.parents:
            relation = "lies in"
        elif out in data_root.parents:
            relation = "holds"
        else:
            continue
        raise InputError(
            f"{paths.root}: {relation} the data's own folder, {data_root}; {CHOOSE_ANOTHER}, apart "
            "from it"
        )


def _check_holds_no_inputs(paths: OutputPaths, videos: Mapping[str, InputFiles]) -> None:
    folders = {path.parent for files in videos.values() for path in (*files.frames, *files.masks)}
    holding = {
        above: folder
        for folder in folders
        for above in (folder.resolve(), *folder.resolve().parents)
    }
    for name in videos:
        if folder := holding.get(paths.video(name).resolve()):
            raise InputError(
                f"{paths.video(name)}: the folder of the results holds frames or masks ({folder}); "
                f"{CHOOSE_ANOTHER}"
            )


def _check_trace(paths: OutputPaths, videos: Iterable[str], trace: Path) -> None:
    path = trace.resolve()
    files = [paths.config, *paths.scores, paths.root / LOCK_NAME]
    folders = [paths.overlays, paths.soft, *map(paths.video, videos)]
    if path in [file.resolve() for file in files] or {folder.resolve() for folder in folders} & {
        path,
        *path.parents,
    }:
        raise InputError(f"--trace {trace}: belongs to the run's own files; name another file")
