"""The folder of a project: what is in it, and how it is read and written.

    project.json            the video, the settings, the format's version
    history.json            what was done, and which results are the latest of each frame
    annotations/NAME.png    labels that were given, named by their content
    results/NAME/FRAME.png  label maps of one stretch, FRAME counted from 0; NAME says from what
                            they were made
    results/NAME.json       figures about them

A process may be killed at any moment: each file and each folder of results appears whole or not at
all, and is only read once history.json or its own name tells what it holds.

Legend: H W frame size.
"""

import contextlib
import dataclasses
import hashlib
import json
import shutil
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dataset.image_file import load_image
from dataset.label_map import indexed_image
from inference.interactive.history import Annotation, History
from inference.interactive.project_video import VideoRecord
from inference.interactive.stretches import Piece
from inference.output.writer import ResultWriter
from util.errors import InputError
from util.files import atomic_write, remove_unfinished, write_json
from util.folder_lock import folder_lock

FORMAT = 1
_PROJECT, _HISTORY = "project.json", "history.json"
_ANNOTATIONS, _RESULTS = "annotations", "results"


@dataclasses.dataclass(frozen=True)
class ProjectRecord:
    """What project.json holds. settings: see VideoSegmenter.identity."""

    video: VideoRecord
    settings: Mapping[str, Any]


class ProjectFolder:
    """The files of one project, which this process holds."""

    def __init__(self, root: Path):
        self.root = root
        self.results = root / _RESULTS
        self._annotations = root / _ANNOTATIONS
        self._figures: dict[str, Mapping[str, Any]] = {}  # those read or written before

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Lock the folder for this process. Raises InputError if another process holds it, if it
        cannot be written, and if it holds other files than a project's."""
        self._refuse_other_files()
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(
                    folder_lock(self.root, "close the project there, or choose another folder")
                )
            except OSError as error:
                raise InputError(
                    f"{self.root}: a project cannot be written here ({error.strerror}); choose"
                    " another folder"
                ) from error
            for folder in (self.root, self._annotations):
                remove_unfinished(folder)
            yield

    def read_project(self) -> ProjectRecord | None:
        """None if the project is new. Raises InputError for a file that no project of this version
        wrote."""
        content = self._read_json(_PROJECT)
        if content is None:
            return None
        with self._explained(_PROJECT):
            video = dict(content["video"])
            video["missing"], video["size"] = tuple(video["missing"]), tuple(video["size"])
            return ProjectRecord(VideoRecord(**video), dict(content["settings"]))

    def write_project(self, record: ProjectRecord) -> None:
        write_json(self.root / _PROJECT, {"format": FORMAT, **dataclasses.asdict(record)})

    def read_history(self) -> tuple[History, tuple[Piece, ...]]:
        """What was done, and the latest results. Raises InputError as `read_project`, and if the
        file of an annotation is missing."""
        content = self._read_json(_HISTORY)
        if content is None:
            return History(), ()
        with self._explained(_HISTORY):
            history = History.from_values(content)
            pieces = tuple(Piece(**piece) for piece in content["pieces"])
        for one in history.annotations.values():
            if not self.annotation_path(one.digest).is_file():
                raise InputError(
                    f"{self.annotation_path(one.digest)}: the labels of frame {one.frame} are"
                    " missing; put the file back"
                )
        return history, tuple(piece for piece in pieces if self.has_results(piece.name))

    def write_history(self, history: History, pieces: Collection[Piece]) -> None:
        content = {
            "format": FORMAT,
            **history.as_values(),
            "pieces": [dataclasses.asdict(piece) for piece in pieces],
        }
        write_json(self.root / _HISTORY, content)

    def write_annotation(self, labels: np.ndarray) -> str:
        """Keep labels uint8 [H, W]; returns their digest."""
        digest = _digest(labels)
        path = self.annotation_path(digest)
        if not path.exists():
            with atomic_write(path) as file:
                indexed_image(labels).save(file, "PNG")
        return digest

    def annotation_path(self, digest: str) -> Path:
        return self._annotations / f"{digest}.png"

    def labels_of(self, annotation: Annotation) -> np.ndarray:
        """The labels of an annotation that count, uint8 [H, W]. Raises InputError if the file has
        been changed by other means than the project."""
        path = self.annotation_path(annotation.digest)
        labels = _read_labels(path)
        if _digest(labels) != annotation.digest:
            raise InputError(
                f"{path}: not the labels that frame {annotation.frame} was annotated with; restore"
                " the file, and change annotations through the project"
            )
        labels[np.isin(labels, annotation.removed)] = 0
        return labels

    def has_results(self, name: str) -> bool:
        return (self.results / name).is_dir()

    def labels(self, name: str, frame: int) -> np.ndarray | None:
        """A result, uint8 [H, W]; None if the frame has none, since it cannot be decoded."""
        path = self.results / name / f"{frame_stem(frame)}.png"
        return _read_labels(path) if path.exists() else None

    def result_writer(self) -> ResultWriter:
        """Writes results by their names."""
        return ResultWriter(self.results)

    def write_figures(self, name: str, figures: Mapping[str, Any]) -> None:
        """Keep figures about results that are about to appear."""
        write_json(self.results / f"{name}.json", figures)
        self._figures.pop(name, None)

    def figures(self, name: str) -> Mapping[str, Any]:
        """What was given to `write_figures`."""
        if name not in self._figures:
            self._figures[name] = self._read_json(f"{_RESULTS}/{name}.json") or {}
        return self._figures[name]

    def remove_leftovers(self) -> None:
        """Remove what a killed process left of results. No result may be being written."""
        if self.results.is_dir():
            remove_unfinished(self.results)
            for part in self.results.glob(".*"):
                shutil.rmtree(part, ignore_errors=True)

    def prune(self, used: Collection[str], kept_megabytes: float) -> None:
        """Remove results that are not used, the oldest first, until the others fit the bound."""
        if not self.results.is_dir():
            return
        unused = [
            path for path in self.results.glob("[!.]*") if path.is_dir() and path.name not in used
        ]
        unused.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        held_bytes = 0
        for folder in unused:
            held_bytes += sum(path.stat().st_size for path in folder.iterdir())
            if held_bytes > kept_megabytes * 1e6:
                hidden = folder.with_name(f".{folder.name}")  # never half a folder under its name
                folder.rename(hidden)
                shutil.rmtree(hidden, ignore_errors=True)
        for figures in self.results.glob("[!.]*.json"):
            if not figures.with_suffix("").is_dir():
                figures.unlink(missing_ok=True)

    def _refuse_other_files(self) -> None:
        if self.root.exists() and not self.root.is_dir():
            raise InputError(f"{self.root}: a file; choose another folder for the project")
        if self.root.is_dir() and not (self.root / _PROJECT).exists():
            known = {_ANNOTATIONS, _RESULTS}
            for path in self.root.iterdir():
                if path.name not in known and not path.name.startswith("."):
                    raise InputError(
                        f"{self.root}: holds other files ({path.name}) and no project; choose"
                        " another folder"
                    )

    def _read_json(self, name: str) -> Any:
        """The content of a file; None if it does not exist."""
        path = self.root / name
        with self._explained(name):
            try:
                content = json.loads(path.read_text(encoding="utf-8"))
            except FileNotFoundError:
                return None
            version = content.get("format", FORMAT)
        if version != FORMAT:
            raise InputError(
                f"{path}: format {version}, which a newer version wrote (this one knows {FORMAT});"
                " open the project with that version"
            )
        return content

    @contextlib.contextmanager
    def _explained(self, name: str) -> Iterator[None]:
        try:
            yield
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise InputError(
                f"{self.root / name}: no project wrote this; restore the file, or choose another"
                " folder"
            ) from error


def frame_stem(frame: int) -> str:
    """The stem of a result's file in the project's folder."""
    return f"{frame:05d}"


def _digest(labels: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(labels)).hexdigest()[:32]


def _read_labels(path: Path) -> np.ndarray:
    """Labels uint8 [H, W] of a PNG that a project wrote. Raises InputError for any other file."""
    image = load_image(path, str(path))
    if image.format != "PNG" or image.mode not in ("P", "L"):
        raise InputError(
            f"{path}: not labels that a project wrote; restore the file, or remove it if it is a"
            " result"
        )
    return np.array(image, dtype=np.uint8)
