"""Images and label maps of the training sets, decoded once and kept while there is room. Legend: H W height and width as stored."""

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from dataset.folders import short_path
from dataset.image_file import load_image, read_image, size_text
from dataset.label_map import BINARY_ID, indexed_label_map, is_binary
from dataset.training.skipped_files import UnusableFileError
from util.errors import InputError

DEFAULT_CACHE_BYTES = 1_500_000_000


def read_labels(path: Path) -> np.ndarray:
    """Object ids uint8 [H, W], 0 background, of an indexed mask, or of a grey one.

    255 as the only id means the one object (1), beside other ids it is void (0). A grey mask of one object with soft edges (see is_binary) is cut at 128;
    otherwise greys are ids, as in evaluation.
    Raises InputError naming a file that is missing, damaged, coloured, of more than 8 bits, or indexed with smooth edges or another background than index 0.
    """
    return labels_of(load_image(path), path)


def labels_of(image: Image.Image, path: Path) -> np.ndarray:
    """read_labels of an image already decoded; `path` names it in errors."""
    if image.mode.startswith(("I", "F")):
        raise InputError(
            f"{path}: mask of more than 8 bits with labels up to {np.asarray(image).max()}; save it as an 8-bit indexed PNG of ids 1..254"
        )
    if image.mode == "P":
        pixels = indexed_label_map(image, path).labels
    else:
        pixels = np.array(
            image
            if image.mode == "L"
            else image.convert("L" if image.mode in ("1", "LA") else "RGB")
        )
        if pixels.ndim == 3:
            if (pixels[..., :1] != pixels).any():
                raise InputError(
                    f"{path}: coloured mask; training masks must be indexed PNGs of object ids, or black and white"
                )
            pixels = np.ascontiguousarray(pixels[..., 0])
        if is_binary(pixels):
            return (pixels >= 128).astype(np.uint8)
    void = pixels == BINARY_ID
    if void.any():
        pixels[void] = 0 if ((pixels > 0) & ~void).any() else 1
    return pixels


class ImageCache:
    """Decoded files, the least recently used forgotten beyond `max_bytes`. Each worker process has its own: a copy sent to another process starts empty."""

    def __init__(self, max_bytes: int = DEFAULT_CACHE_BYTES):
        self.max_bytes = max_bytes
        self._arrays: OrderedDict[Path, np.ndarray] = OrderedDict()
        self._bytes = 0

    def image(self, path: Path) -> np.ndarray:
        """uint8 RGB [H, W, 3], not to be written to. Raises UnusableFileError where read_image cannot read it."""
        return self._get(path, read_image)

    def labels(self, path: Path) -> np.ndarray:
        """Object ids uint8 [H, W], not to be written to. Raises UnusableFileError where read_labels cannot read it."""
        return self._get(path, read_labels)

    def pair(self, image_path: Path, labels_path: Path) -> tuple[np.ndarray, np.ndarray]:
        """An image and its labels. Raises UnusableFileError where one cannot be read, or their sizes differ."""
        image, labels = self.image(image_path), self.labels(labels_path)
        if image.shape[:2] != labels.shape:
            sizes = (
                f"{size_text(labels.shape)} but {image_path.name} is {size_text(image.shape[:2])}"
            )
            raise UnusableFileError(
                labels_path, f"mask is {sizes}; a mask must have its image's size"
            )
        return image, labels

    def _get(self, path: Path, read: Callable[[Path], np.ndarray]) -> np.ndarray:
        if path in self._arrays:
            self._arrays.move_to_end(path)
            return self._arrays[path]
        try:
            array = read(path)
        except InputError as error:
            raise UnusableFileError(
                path, str(error).removeprefix(f"{path}: ").removeprefix(f"{short_path(path)}: ")
            ) from error
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
