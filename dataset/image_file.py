"""Image files become arrays, in the orientation that viewers show.

Legend: H W height and width in pixels. A deep image has more than 8 bits per value.
"""

import contextlib
import functools
import io
import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageOps

from dataset.folders import path_key, require_file, short_path
from dataset.frame_range import FrameRange, range_of, spread
from util.errors import InputError

EXIF_ORIENTATION = 0x0112
EXIF_QUARTER_TURNS = (5, 6, 7, 8)
"""The values of EXIF_ORIENTATION that swap width and height."""

IMAGE_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF")
"""The contents that are decoded, whatever the file is called.

Pillow knows many more formats, and runs Ghostscript for one of them (EPS).
"""
_READ_FORMATS = "JPEG, PNG, BMP, WebP, TIFF or GIF"
# formats of several pages or frames; the further images of an MPO, a camera's JPEG, are previews
# and depth maps
_STACK_FORMATS = ("TIFF", "PNG", "WEBP", "GIF")
_TIFF_WIDTH, _TIFF_HEIGHT = 256, 257
_TIFF_SUBFILE_TYPE, _TIFF_REDUCED_OR_MASK = 254, 1 | 4
_FOLDER_SAMPLES = 16
_DEEP_RAW_MODE = re.compile(r"(RGB|RGBA|RGBX|RGBa|LA|CMYK);(12|16)")
_DEEP_COLOUR = "16-bit colours"  # key of an open image's info, whose value is its orientation

# Pillow reports damage in many ways, depending on format and position; all of them mean that the
# file is not a complete image
_DECODING_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    BufferError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,  # includes NotImplementedError and RecursionError
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)

# Pillow's warnings are harmless here (odd metadata), or an error that names the file follows
warnings.filterwarnings("ignore", module=r"PIL\.")


class ImageSizes(NamedTuple):
    """(H, W) as stored, and (H, W) as shown after the turn that the EXIF data asks for."""

    stored: tuple[int, int]
    shown: tuple[int, int]


def size_text(size: tuple[int, int]) -> str:
    """(H, W) as messages write it: width x height."""
    return f"{size[1]}x{size[0]}"


@contextlib.contextmanager
def open_image(path: Path, source: str | None = None) -> Iterator[Image.Image]:
    """A Pillow image of IMAGE_FORMATS whose pixels are not decoded yet.

    source: how messages name the file; by default its folder and its name.

    Raises:
        InputError: the file is missing, is not an image, or is found to be damaged inside the
            with block.
    """
    source = source or short_path(path)
    require_file(path, source)
    # Pillow maps an uncompressed TIFF into memory if it is given the file's name, and scrambles it
    # if its orientation is a quarter turn
    with (
        _explain_damage(source),
        path.open("rb") as file,
        Image.open(file, formats=IMAGE_FORMATS) as image,
    ):
        if any(_DEEP_RAW_MODE.search(str(tile)) for tile in image.tile):
            # after decoding, neither the depth nor the orientation is known
            image.info[_DEEP_COLOUR] = image.getexif().get(EXIF_ORIENTATION, 1)
        yield image


def decode_image(content: bytes, source: str) -> Image.Image:
    """A decoded image from a file's content. Raises InputError as open_image.

    source: how messages name it.
    """
    with _explain_damage(source):
        image = Image.open(io.BytesIO(content), formats=IMAGE_FORMATS)
        image.load()
        return image


@contextlib.contextmanager
def _explain_damage(source: str) -> Iterator[None]:
    """Raise what Pillow raises inside the block as an InputError."""
    try:
        yield
    except InputError:
        raise
    except Image.UnidentifiedImageError as error:
        raise InputError(
            f"{source}: not an image, or not of a kind that is read; replace it by a "
            f"{_READ_FORMATS} file"
        ) from error
    except Image.DecompressionBombError as error:
        raise InputError(
            f"{source}: states more than {2 * Image.MAX_IMAGE_PIXELS:,} pixels, the most that is "
            "read; make it smaller"
        ) from error
    except _DECODING_ERRORS as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{source}: damaged or unreadable ({reason}); replace the file") from error


def load_image(path: Path, source: str | None = None) -> Image.Image:
    """A Pillow image with all its pixels decoded. Arguments and errors: see open_image."""
    with open_image(path, source) as image:
        image.load()
    return image


def image_sizes(path: Path) -> ImageSizes:
    """The sizes of an image as stored and as shown, from its header.

    Both are the shown size for a TIFF, which Pillow always turns upright. Raises InputError, see
    open_image.
    """
    with open_image(path) as image:
        is_turned = image.getexif().get(EXIF_ORIENTATION) in EXIF_QUARTER_TURNS
        if image.format == "TIFF":
            width, height = int(image.tag_v2[_TIFF_WIDTH]), int(image.tag_v2[_TIFF_HEIGHT])
            shown = (width, height) if is_turned else (height, width)
            return ImageSizes(shown, shown)
        width, height = image.size
    return ImageSizes((height, width), (width, height) if is_turned else (height, width))


def read_image(
    path: Path, upright: bool = True, frame_range: FrameRange | None = None
) -> np.ndarray:
    """An image file of any kind as RGB uint8 [H, W, 3].

    Grey is repeated, alpha is dropped, CMYK is converted. Pillow decodes, whose pixels equal
    OpenCV's, but which refuses a truncated file instead of filling it with grey.

    Args:
        upright: apply the turn that the EXIF data asks for, as every viewer does.
        frame_range: what 16-bit values are scaled by; by default one range for all such images
            of the folder (see folder_range).

    Raises:
        InputError: the file is missing, truncated, not an image, or holds several images.
    """
    with open_image(path) as image:
        refuse_stack(image, path)
        image.load()
        if is_deep(image):
            frame_range = frame_range or folder_range(path.parent, path.suffix)
            return rgb_of(frame_range.to_8_bits(deep_values(image, path, upright)))
        if upright:
            ImageOps.exif_transpose(image, in_place=True)
        return np.array(image.convert("RGB"))


def rgb_of(pixels: np.ndarray) -> np.ndarray:
    """Repeat grey [H, W] to [H, W, 3]; return [H, W, 3] unchanged."""
    return np.repeat(pixels[:, :, None], 3, axis=2) if pixels.ndim == 2 else pixels


def pages_of(image: Image.Image) -> list[int]:
    """The positions of the images in a multi-page TIFF, or an animated PNG, WebP or GIF.

    [0] for all other files. Left out are reduced copies and masks of a TIFF, and the picture
    that an animated PNG holds for programs that do not play it.
    """
    count = getattr(image, "n_frames", 1) if image.format in _STACK_FORMATS else 1
    if count == 1:
        return [0]
    if image.format == "PNG":
        return list(range(1 if getattr(image, "default_image", False) else 0, count))
    if image.format != "TIFF":
        return list(range(count))
    pages = []
    for page in range(count):
        image.seek(page)
        if not int(image.tag_v2.get(_TIFF_SUBFILE_TYPE, 0)) & _TIFF_REDUCED_OR_MASK:
            pages.append(page)
    image.seek(0)
    return pages


def refuse_stack(image: Image.Image, path: Path) -> None:
    """Raise InputError if the image file holds several images."""
    if (count := len(pages_of(image))) > 1:
        raise InputError(
            f"{short_path(path)}: a stack of {count} images; save each as a file, or give the "
            "stack itself as --video"
        )


def is_deep(image: Image.Image) -> bool:
    """Whether an image of open_image, decoded or not, has more than 8 bits per value."""
    return image.mode.startswith(("I", "F")) or _DEEP_COLOUR in image.info


def deep_values(image: Image.Image, path: Path, upright: bool) -> np.ndarray:
    """The values of a deep image as uint16 [H, W] or [H, W, 3].

    upright: apply the turn that the EXIF data asks for.

    Raises:
        InputError: values are floating-point, negative or larger than 65535.
    """
    if image.mode == "F":
        raise InputError(
            f"{short_path(path)}: floating-point pixels; frames are of 8 or 16 bits: save them as "
            "whole numbers"
        )
    if image.mode.startswith("I"):
        values, orientation = np.asarray(image), image.getexif().get(EXIF_ORIENTATION, 1)
    else:
        values, orientation = _deep_colours(image, path), image.info[_DEEP_COLOUR]
        upright = upright or image.format == "TIFF"
    if values.size and (values.min() < 0 or values.max() > 0xFFFF):
        raise InputError(
            f"{short_path(path)}: values from {values.min()} to {values.max()}; frames are of 8 "
            "or 16 bits, without a sign"
        )
    return _turned(values.astype(np.uint16), orientation if upright else 1)


def _deep_colours(image: Image.Image, path: Path) -> np.ndarray:
    """16-bit colours as stored, by OpenCV, since Pillow reduces them to 8 bits."""
    if len(pages_of(image)) > 1:
        raise InputError(
            f"{short_path(path)}: a stack of 16-bit colour images; save each as a file in a folder"
        )
    content = np.frombuffer(path.read_bytes(), np.uint8)
    values = cv2.imdecode(content, cv2.IMREAD_UNCHANGED)
    if (
        values is None
        or values.dtype != np.uint16
        or sorted(values.shape[:2]) != sorted(image.size)
    ):
        raise InputError(
            f"{short_path(path)}: 16-bit pixels of a kind that is not read ({image.mode}); save "
            "the image with 8 bits, or as a PNG"
        )
    return values if values.ndim == 2 else values[:, :, 2::-1]


def _turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Pixels as shown, for an orientation of EXIF data (Exif 2.32, tag 274)."""
    if orientation in EXIF_QUARTER_TURNS:
        pixels = pixels.swapaxes(0, 1)
    vertical, horizontal = orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
    return np.ascontiguousarray(pixels[:: -1 if vertical else 1, :: -1 if horizontal else 1])


@functools.lru_cache(maxsize=1024)
def folder_range(folder: Path, suffix: str) -> FrameRange:
    """One range for the deep images of a folder that have this suffix.

    Computed from up to 16 of the images, evenly spaced (see range_of).
    """
    paths = sorted(
        (
            path
            for path in folder.iterdir()
            if path.suffix == suffix and not path.name.startswith(".")
        ),
        key=path_key,
    )
    return range_of(_deep_samples(spread(paths, _FOLDER_SAMPLES)))


def _deep_samples(paths: list[Path]) -> Iterator[np.ndarray]:
    for path in paths:
        with contextlib.suppress(InputError):  # reading the damaged file itself reports it
            image = load_image(path)
            if is_deep(image):
                yield deep_values(image, path, upright=False)
