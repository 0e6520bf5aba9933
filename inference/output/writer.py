"""Results as indexed PNGs, written in the background; a video appears whole or not at all.

Legend: H W height and width of a frame in pixels.
"""

import io
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from dataset.label_map import indexed_image
from inference.output.background import BackgroundPool, TaskGroup
from inference.output.paths import (
    INCOMPLETE_NAME,
    PART,
    REPLACED,
    explain_unwritable,
    temporary_folder,
)
from util.errors import InputError
from util.files import name_path_in_errors

# Label maps compress well at any level; this one takes half the time of Pillow's default.
_PNG_COMPRESSION = 3

_Writer = TypeVar("_Writer", bound="FolderWriter")


class ResultWriter:
    """Writes ROOT/VIDEO/FRAME.png for one video after another.

        with ResultWriter(root) as writer:
            with writer.video("bear", palette) as video:
                video.write("00000", labels)

    root: created if missing. threads: encode and write. capacity: if so many label maps wait to be
    written, `write` waits. Raises InputError if root cannot be written.
    """

    def __init__(self, root: str | Path, threads: int = 2, capacity: int = 16):
        self.root = Path(root)
        with explain_unwritable(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root):
                pass
        self._pool = BackgroundPool(threads, capacity)

    def video(self, name: str, palette: bytes) -> "VideoWriter":
        """A context manager that writes one video. palette: 768 bytes."""
        return VideoWriter(self.root / name, palette, self._pool)

    def close(self) -> None:
        """Wait for the threads to end."""
        self._pool.close()

    def __enter__(self) -> "ResultWriter":
        return self

    def __exit__(self, *exception) -> None:
        self.close()


class FolderWriter:
    """The files of one video, collected in a hidden folder beside their own.

    If the block ends without an error, every file is awaited and the folder gets its name,
    replacing an earlier one. If the block ends with an error, or a file cannot be written, the
    hidden folder is removed. Raises OSError naming the file at a later `write` or at the end.
    """

    def __init__(self, folder: Path, pool: BackgroundPool):
        self._target = folder
        self._folder = temporary_folder(folder, PART)
        self._replaced = temporary_folder(folder, REPLACED)
        self._incomplete_reason: str | None = None
        self._tasks = TaskGroup(pool)
        self._file_count = 0

    def __enter__(self: _Writer) -> _Writer:
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        return self

    def mark_incomplete(self, reason: str) -> None:
        """Write incomplete.txt beside the results, so that a later run makes them again.

        reason: why they end early.
        """
        self._incomplete_reason = reason

    def __exit__(self, kind, error, traceback) -> None:
        try:
            # always: nothing may be written once the folder is named or removed
            failure = self._tasks.wait()
            if kind is None:
                if failure is not None:
                    raise failure
                self._publish()
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _submit(self, task: Callable[[], None], *, files: int = 1) -> None:
        """Queue a task that writes so many files."""
        self._tasks.submit(task)
        self._file_count += files

    def _write_png(self, file_name: str, image: Image.Image) -> None:
        """Write an image. file_name: may lead into a folder."""
        encoded = io.BytesIO()
        image.save(encoded, "PNG", compress_level=_PNG_COMPRESSION)
        with name_path_in_errors(self._target / file_name):
            path = self._folder / file_name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(encoded.getbuffer())

    def _publish(self) -> None:
        file_count = sum(1 for path in self._folder.rglob("*") if not path.is_dir())
        if file_count != self._file_count:
            raise InputError(
                f"{self._target}: {file_count} of {self._file_count} results are there, so another "
                "program changed them during the run; start again"
            )
        if self._incomplete_reason is not None:
            reason = self._incomplete_reason + "\n"
            (self._folder / INCOMPLETE_NAME).write_text(reason, encoding="utf-8")
        shutil.rmtree(self._replaced, ignore_errors=True)
        if self._target.exists():  # a folder cannot be renamed to one that has files
            self._target.rename(self._replaced)
        self._folder.rename(self._target)
        shutil.rmtree(self._replaced, ignore_errors=True)


class VideoWriter(FolderWriter):
    """The label maps of one video: FRAME.png. palette: 768 bytes."""

    def __init__(self, folder: Path, palette: bytes, pool: BackgroundPool):
        if len(palette) != 768:
            raise ValueError(f"palette of {len(palette)} bytes: 256 colours of 3 bytes are needed")
        super().__init__(folder, pool)
        self._palette = palette

    @property
    def frame_count(self) -> int:
        """Label maps queued or written."""
        return self._file_count

    def write(self, frame_name: str, labels: np.ndarray) -> None:
        """Queue FRAME.png. labels: integer ids [H, W] in 0..255, copied.

        Raises the error of an earlier frame that failed, and ValueError for other labels.
        """
        if labels.ndim != 2 or labels.dtype.kind not in "iub":
            raise ValueError(f"labels {labels.dtype} {labels.shape}: integer ids [H, W] are needed")
        if labels.size and not 0 <= labels.min() <= labels.max() <= 255:
            raise ValueError(f"ids {labels.min()}..{labels.max()}: a PNG of 8 bits holds 0..255")
        pixels = labels.astype(np.uint8, order="C", copy=True)
        self._submit(lambda: self._write_labels(f"{frame_name}.png", pixels))

    def _write_labels(self, file_name: str, pixels: np.ndarray) -> None:
        self._write_png(file_name, indexed_image(pixels, self._palette))
