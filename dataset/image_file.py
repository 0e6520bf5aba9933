"""Still images from files, in the order and the orientation a person means. Legend: H W height and width in pixels."""

import contextlib
import stat
import struct
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from util.errors import InputError
from util.names import natural_key

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
MASK_SUFFIXES = (".png",)
EXIF_ORIENTATION = 0x0112
EXIF_QUARTER_TURNS = (5, 6, 7, 8)  # the orientations that swap width and height

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
    files = sorted((f for f in folder.iterdir() if f.suffix.lower() in suffixes and not f.name.startswith(".")), key=path_key)
    stems: dict[str, Path] = {}
    for file in files:
        refuse_no_file(file)
        other = stems.setdefault(file.stem, file)
        if other is not file:
            raise InputError(f"{place(file)}: {other.name} has the same name but for its ending; keep one of them")
    return files


def refuse_no_file(path: Path, where: str | None = None) -> None:
    """Raises InputError where the path is missing or leads to no regular file: a link to nothing, a folder, a pipe (which would be waited for forever)."""
    where = where or place(path)
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        if path.is_symlink():
            raise InputError(f"{where}: a link to {path.readlink()}, which is not there; put that back or remove the link") from error
        raise InputError(f"{where}: no such file; put it back or leave the video out") from error
    except (OSError, ValueError) as error:  # a link that leads to itself, a folder that may not be read
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{where}: cannot be read ({reason}); replace the file") from error
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe, socket or device"
        raise InputError(f"{where}: {kind} under a file's name; rename or remove it")


def list_folders(folder: Path) -> list[str]:
    """The names of the folders in a folder, sorted: its videos. Hidden ones are passed over."""
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def holds_files(folder: Path, suffixes: tuple[str, ...] = IMAGE_SUFFIXES) -> bool:
    """Whether list_files would find any in the folder, without looking at all of them."""
    return any(path.suffix.lower() in suffixes and not path.name.startswith(".") and path.is_file() for path in folder.iterdir())


def holds_videos(folder: Path, suffixes: tuple[str, ...] = IMAGE_SUFFIXES) -> bool:
    """Whether any folder in this one holds such files, as a folder of videos does, and one of frames does not."""
    return folder.is_dir() and any(holds_files(folder / name, suffixes) for name in list_folders(folder))


@contextlib.contextmanager
def open_image(path: Path, where: str | None = None) -> Iterator[Image.Image]:
    """A Pillow image of IMAGE_FORMATS, its pixels not yet decoded; any damage met inside the block becomes an InputError that names the file.

    where: how errors name it, by default its folder and its name.
    """
    where = where or place(path)
    refuse_no_file(path, where)
    try:
        with Image.open(path, formats=IMAGE_FORMATS) as image:
            yield image
    except InputError:
        raise
    except Image.UnidentifiedImageError as error:
        raise InputError(f"{where}: not an image, or not of a kind that is read; replace it by a {_READ_FORMATS} file") from error
    except Image.DecompressionBombError as error:
        raise InputError(f"{where}: states more than {2 * Image.MAX_IMAGE_PIXELS:,} pixels, the most that is read; make it smaller") from error
    except _DECODING_ERRORS as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{where}: damaged or unreadable ({reason}); replace the file") from error


def load_image(path: Path, where: str | None = None) -> Image.Image:
    """A Pillow image with all its pixels decoded. Raises InputError, naming the file, where it is missing, truncated or no image; where: as in open_image."""
    with open_image(path, where) as image:
        image.load()
    return image


def image_sizes(path: Path) -> tuple[tuple[int, int], tuple[int, int]]:
    """(H, W) as stored and (H, W) as shown, that is, after the turn its EXIF data asks for. Reads the header alone."""
    with open_image(path) as image:
        width, height = image.size
        turned = image.getexif().get(EXIF_ORIENTATION) in EXIF_QUARTER_TURNS
    return (height, width), ((width, height) if turned else (height, width))


def read_image(path: Path, upright: bool = True) -> np.ndarray:
    """An image file of any kind as RGB uint8 [H, W, 3]. Raises InputError, naming the file, where it is missing, truncated or no image.

    upright applies the turn that EXIF data asks for, as every viewer does. Grey is repeated, alpha dropped, CMYK converted, 16 bits cut to the upper 8.
    Decoded by Pillow, whose pixels equal OpenCV's but which, unlike OpenCV, refuses a truncated file instead of filling it with grey.
    """
    with open_image(path) as image:
        image.load()
        if upright:
            ImageOps.exif_transpose(image, in_place=True)
        if image.mode == "F":
            raise InputError(f"{place(path)}: floating-point pixels; frames are 8-bit images")
        if image.mode.startswith("I"):  # 16-bit grey; Pillow's own conversion would clip it at 255
            grey = (np.asarray(image, dtype=np.int64) >> 8).clip(0, 255).astype(np.uint8)
            return np.repeat(grey[:, :, None], 3, axis=2)
        return np.array(image.convert("RGB"))


def read_names_text(path: Path) -> str:
    """The text of a list of names, in UTF-8. Raises InputError where it is something else, such as a binary file or UTF-16."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a text of UTF-8 ({error.reason} at byte {error.start}); write it anew, a name a line") from error
    if "\0" in text:
        raise InputError(f"{path}: not a text of UTF-8 (a byte of 0 in it); write it anew, a name a line")
    return text


def read_sequence_list(path: Path) -> list[str]:
    """The names in a list of DAVIS: one a line, or DAVIS-2016's lines of a frame and its mask ('/JPEGImages/480p/bear/00000.jpg /Annotations/…'), in order, each once.

    Raises InputError where it is no text.
    """
    first_words = [line.split()[0] for line in read_names_text(path).splitlines() if line.strip()]
    return list(dict.fromkeys(Path(word).parent.name if "/" in word else word for word in first_words))
