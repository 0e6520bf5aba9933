"""A cache of decoded images and masks. Legend: H W height and width as stored."""

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np

from dataset.folders import without_path
from dataset.image_file import read_image, size_text
from dataset.training.masks import read_mask
from dataset.training.skipped_files import UnusableFileError
from util.errors import InputError

DEFAULT_CACHE_BYTES = 1_500_000_000


class ImageCache:
    """Decoded files of at most `max_bytes`; the least recently used are evicted.

    Each worker process has its own cache: a copy sent to another process starts empty. Returned
    arrays are shared and read-only.
    """

    def __init__(self, max_bytes: int = DEFAULT_CACHE_BYTES):
        self.max_bytes = max_bytes
        self._arrays: OrderedDict[Path, np.ndarray] = OrderedDict()
        self._bytes = 0

    def image(self, path: Path) -> np.ndarray:
        """RGB uint8 [H, W, 3]. Raises: UnusableFileError if read_image refuses the file."""
        return self._get(path, read_image)

    def labels(self, path: Path) -> np.ndarray:
        """Object ids uint8 [H, W]. Raises: UnusableFileError if read_mask refuses the file."""
        return self._get(path, read_mask)

    def pair(self, image_path: Path, labels_path: Path) -> tuple[np.ndarray, np.ndarray]:
        """An image and its labels. Raises: UnusableFileError also if their sizes differ."""
        image, labels = self.image(image_path), self.labels(labels_path)
        if image.shape[:2] != labels.shape:
            raise UnusableFileError(
                labels_path,
                f"mask is {size_text(labels.shape)} but {image_path.name} is "
                f"{size_text(image.shape[:2])}; a mask must have its image's size",
            )
        return image, labels

    def _get(self, path: Path, read: Callable[[Path], np.ndarray]) -> np.ndarray:
        if path in self._arrays:
            self._arrays.move_to_end(path)
            return self._arrays[path]
        try:
            array = read(path)
        except InputError as error:
            raise UnusableFileError(path, without_path(error, path)) from error
        array.flags.writeable = False
        self._arrays[path] = array
        self._bytes += array.nbytes
        while self._bytes > self.max_bytes:
            self._bytes -= self._arrays.popitem(last=False)[1].nbytes
        return array

    def __getstate__(self) -> dict:
        return {"max_bytes": self.max_bytes}

    def __setstate__(self, state: dict) -> None:
        self.__init__(state["max_bytes"])
