"""Still images from files, in the order and the orientation a person means. Legend: H W height and width in pixels."""

import contextlib
import functools
import re
import stat
import struct
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps

from dataset.frame_range import FrameRange, range_of, spread
from util.errors import InputError
from util.files import natural_key, read_text

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
MASK_SUFFIXES = (".png",)
EXIF_ORIENTATION = 0x0112
EXIF_QUARTER_TURNS = (5, 6, 7, 8)  # the orientations that swap width and height
_STACK_FORMATS = (
    "TIFF",
    "PNG",
    "WEBP",
    "GIF",
)  # several pages or frames in a file; those of MPO, a camera's JPEG, are previews and depth maps
_TIFF_WIDTH, _TIFF_HEIGHT = 256, 257
_TIFF_SUBFILE_TYPE, _TIFF_REDUCED_OR_MASK = 254, 1 | 4
_FOLDER_SAMPLES = 16
_DEEP_RAW_MODE = re.compile(r"(RGB|RGBA|RGBX|RGBa|LA|CMYK);(12|16)")
_DEEP_COLOUR = "16-bit colours"  # a note in an open image, whose value is its orientation

IMAGE_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF")
"""The contents that are decoded, whatever a file is called. Pillow knows many more, and runs Ghostscript for one of them (EPS)."""
_READ_FORMATS = "JPEG, PNG, BMP, WebP, TIFF or GIF"

# Pillow reports damage in many ways, by format and by place; all of them mean that this file is not a whole image
_DECODING_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    BufferError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,  # NotImplementedError and RecursionError too
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)

# What Pillow warns of is either harmless here (odd metadata) or an error a moment later, which names the file
warnings.filterwarnings("ignore", module=r"PIL\.")


def place(path: Path) -> str:
    """How an error names a file: its folder and its name."""
    return f"{path.parent.name}/{path.name}" if path.parent.name else path.name


def size_text(size: tuple[int, int]) -> str:
    """(H, W) as people write it: width × height."""
    return f"{size[1]}x{size[0]}"


def path_key(path: Path) -> tuple:
    """Natural order of files: by the numbers in their stems, names of equal numbers (1, 01) by their spelling."""
    return natural_key(path.stem), path.name


def list_files(folder: Path, suffixes: tuple[str, ...] = IMAGE_SUFFIXES) -> list[Path]:
    """The files of these suffixes (any case) in natural order. Hidden files (macOS '._x') and everything else (Thumbs.db) are passed over.

    Raises InputError where the folder is missing, where two files share a stem, and where what has such a name is no file (see `refuse_no_file`).
    """
    if not folder.is_dir():
        raise InputError(
            f"{folder}: {'not a folder' if folder.exists() else 'no such folder'}; a folder of {'/'.join(s[1:] for s in suffixes)} files is needed"
        )
    files = sorted(
        (
            f
            for f in folder.iterdir()
            if f.suffix.lower() in suffixes and not f.name.startswith(".")
        ),
        key=path_key,
    )
    stems: dict[str, Path] = {}
    for file in files:
        refuse_no_file(file)
        other = stems.setdefault(file.stem, file)
        if other is not file:
            raise InputError(
                f"{place(file)}: {other.name} has the same name but for its ending; keep one of them"
            )
    return files


def refuse_no_file(path: Path, where: str | None = None) -> None:
    """Raises InputError where the path is missing or leads to no regular file: a link to nothing, a folder, a pipe (which would be waited for forever)."""
    where = where or place(path)
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        if path.is_symlink():
            raise InputError(
                f"{where}: a link to {path.readlink()}, which is not there; put that back or remove the link"
            ) from error
        raise InputError(f"{where}: no such file; put it back or leave the video out") from error
    except (
        OSError,
        ValueError,
    ) as error:  # a link that leads to itself, a folder that may not be read
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{where}: cannot be read ({reason}); replace the file") from error
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe, socket or device"
        raise InputError(f"{where}: {kind} under a file's name; rename or remove it")


def list_folders(folder: Path) -> list[str]:
    """The names of the folders in a folder, sorted: its videos. Hidden ones are passed over."""
    return sorted(
        path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")
    )


def holds_files(folder: Path, suffixes: tuple[str, ...] = IMAGE_SUFFIXES) -> bool:
    """Whether list_files would find any in the folder, without looking at all of them."""
    return any(
        path.suffix.lower() in suffixes and not path.name.startswith(".") and path.is_file()
        for path in folder.iterdir()
    )


def holds_videos(folder: Path, suffixes: tuple[str, ...] = IMAGE_SUFFIXES) -> bool:
    """Whether any folder in this one holds such files, as a folder of videos does, and one of frames does not."""
    return folder.is_dir() and any(
        holds_files(folder / name, suffixes) for name in list_folders(folder)
    )


@contextlib.contextmanager
def open_image(path: Path, where: str | None = None) -> Iterator[Image.Image]:
    """A Pillow image of IMAGE_FORMATS, its pixels not yet decoded; any damage met inside the block becomes an InputError that names the file.

    where: how errors name it, by default its folder and its name.
    """
    where = where or place(path)
    refuse_no_file(path, where)
    try:
        # given a file's name, Pillow maps an uncompressed TIFF into memory, and scrambles it where its orientation is a quarter turn
        with path.open("rb") as file, Image.open(file, formats=IMAGE_FORMATS) as image:
            if any(_DEEP_RAW_MODE.search(str(tile)) for tile in image.tile):
                image.info[_DEEP_COLOUR] = image.getexif().get(
                    EXIF_ORIENTATION, 1
                )  # both are gone once the pixels are there
            yield image
    except InputError:
        raise
    except Image.UnidentifiedImageError as error:
        raise InputError(
            f"{where}: not an image, or not of a kind that is read; replace it by a {_READ_FORMATS} file"
        ) from error
    except Image.DecompressionBombError as error:
        raise InputError(
            f"{where}: states more than {2 * Image.MAX_IMAGE_PIXELS:,} pixels, the most that is read; make it smaller"
        ) from error
    except _DECODING_ERRORS as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{where}: damaged or unreadable ({reason}); replace the file") from error


def load_image(path: Path, where: str | None = None) -> Image.Image:
    """A Pillow image with all its pixels decoded. Raises InputError, naming the file, where it is missing, truncated or no image; where: as in open_image."""
    with open_image(path, where) as image:
        image.load()
    return image


def image_sizes(path: Path) -> tuple[tuple[int, int], tuple[int, int]]:
    """(H, W) as stored and (H, W) as shown, that is, after the turn its EXIF data asks for; the same for a TIFF. Reads the header alone."""
    with open_image(path) as image:
        turned = image.getexif().get(EXIF_ORIENTATION) in EXIF_QUARTER_TURNS
        if image.format == "TIFF":  # Pillow always turns it
            width, height = int(image.tag_v2[_TIFF_WIDTH]), int(image.tag_v2[_TIFF_HEIGHT])
            return ((width, height) if turned else (height, width),) * 2
        width, height = image.size
    return (height, width), ((width, height) if turned else (height, width))


def read_image(
    path: Path, upright: bool = True, frame_range: FrameRange | None = None
) -> np.ndarray:
    """An image file of any kind as RGB uint8 [H, W, 3]. Raises InputError, naming the file, where it is missing, truncated, no image, or holds several.

    upright applies the turn that EXIF data asks for, as every viewer does. Grey is repeated, alpha dropped, CMYK converted. 16 bits become 8 by frame_range, or else by
    one scale for all such images of the folder (see folder_range).
    Decoded by Pillow, whose pixels equal OpenCV's but which, unlike OpenCV, refuses a truncated file instead of filling it with grey.
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
    """[H, W] or [H, W, 3] as [H, W, 3]."""
    return np.repeat(pixels[:, :, None], 3, axis=2) if pixels.ndim == 2 else pixels


def pages_of(image: Image.Image) -> list[int]:
    """The positions of the images in a file that is a stack (a multi-page TIFF, an animated PNG, WebP or GIF); [0] for others.

    A TIFF's reduced copies and masks are left out, and an animated PNG's picture for programs that do not play it.
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
    """Raise InputError for an image file that holds several."""
    if (count := len(pages_of(image))) > 1:
        raise InputError(
            f"{place(path)}: a stack of {count} images; save each as a file, or give the stack itself as --video"
        )


def is_deep(image: Image.Image) -> bool:
    """Whether an image not yet loaded, or loaded, has more than 8 bits a value."""
    return image.mode.startswith(("I", "F")) or _DEEP_COLOUR in image.info


def deep_values(image: Image.Image, path: Path, upright: bool) -> np.ndarray:
    """The values of a deep image as uint16 [H, W] or [H, W, 3]. Raises InputError for floating-point, negative or larger ones."""
    if image.mode == "F":
        raise InputError(
            f"{place(path)}: floating-point pixels; frames are of 8 or 16 bits: save them as whole numbers"
        )
    if image.mode.startswith("I"):
        values, orientation = np.asarray(image), image.getexif().get(EXIF_ORIENTATION, 1)
    else:  # Pillow cuts 16-bit colours to 8 bits
        if len(pages_of(image)) > 1:
            raise InputError(
                f"{place(path)}: a stack of 16-bit colour images; save each as a file in a folder"
            )
        decoded, orientation = (
            cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED),
            image.info[_DEEP_COLOUR],
        )
        upright = upright or image.format == "TIFF"
        if (
            decoded is None
            or decoded.dtype != np.uint16
            or sorted(decoded.shape[:2]) != sorted(image.size)
        ):
            raise InputError(
                f"{place(path)}: 16-bit pixels of a kind that is not read ({image.mode}); save the image with 8 bits, or as a PNG"
            )
        values = decoded if decoded.ndim == 2 else decoded[:, :, 2::-1]
    if values.size and (values.min() < 0 or values.max() > 0xFFFF):
        raise InputError(
            f"{place(path)}: values from {values.min()} to {values.max()}; frames are of 8 or 16 bits, without a sign"
        )
    return _turned(values.astype(np.uint16), orientation if upright else 1)


def _turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """As shown, for the orientation in EXIF data (Exif 2.32, tag 274)."""
    if orientation in EXIF_QUARTER_TURNS:
        pixels = pixels.swapaxes(0, 1)
    vertical, horizontal = orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
    return np.ascontiguousarray(pixels[:: -1 if vertical else 1, :: -1 if horizontal else 1])


@functools.lru_cache(maxsize=1024)
def folder_range(folder: Path, suffix: str) -> FrameRange:
    """One scale for the 16-bit images of this ending in a folder: the range of up to 16 of them, evenly spread (see range_of)."""
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
        with contextlib.suppress(InputError):  # a damaged one is refused when it is its turn
            image = load_image(path)
            if is_deep(image):
                yield deep_values(image, path, upright=False)


def read_names_text(path: Path) -> str:
    """The text of a list of names, in UTF-8. Raises InputError where it is something else, such as a binary file or UTF-16."""
    return read_text(path, "a name a line")


def read_sequence_list(path: Path) -> list[str]:
    """The names in a list of DAVIS: one a line, or DAVIS-2016's lines of a frame and its mask ('/JPEGImages/480p/bear/00000.jpg /Annotations/…'), in order, each once.

    Raises InputError where it is no text.
    """
    first_words = [line.split()[0] for line in read_names_text(path).splitlines() if line.strip()]
    return list(
        dict.fromkeys(Path(word).parent.name if "/" in word else word for word in first_words)
    )
