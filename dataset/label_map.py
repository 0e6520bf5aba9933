"""Label maps: images whose pixels are object ids. Legend: H W height and width in pixels."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from dataset.image_file import load_image, place, size_text
from util.errors import InputError
from util.palette import DAVIS_PALETTE
from util.texts import read_text
from util.wording import counted

BINARY_ID = 255
"""The one object's id in 0/255 masks (DAVIS-2016); beside other ids it means void and is no object."""

# A mask saved with smooth edges is many thin bands of in-between greys; real objects are fewer or larger
SMOOTH_MIN_IDS = 20
SMOOTH_MAX_AREA = 0.001


@dataclass(frozen=True, kw_only=True)
class LabelMap:
    """labels: object ids uint8 [H, W], 0 background. palette: 768 bytes, or None where the file has none."""

    labels: np.ndarray
    palette: bytes | None


def present_ids(labels: np.ndarray) -> tuple[int, ...]:
    """The ids in a label map uint8 [...], ascending, without the background."""
    counts = np.bincount(labels.ravel(), minlength=1)
    return tuple(int(i) for i in np.flatnonzero(counts[1:]) + 1)


def full_palette(colours: bytes) -> bytes:
    """A palette of 256 colours: those given, then DAVIS's for the ids it leaves out."""
    return (bytes(colours) + DAVIS_PALETTE[len(colours) :])[:768]


def read_palette(path: str | Path) -> bytes:
    """The colours of ids 0, 1, 2, … (768 bytes) for RGB masks: from an indexed PNG, from a text file of lines 'red green blue', or by the name 'davis'.

    Raises InputError where the file is neither. Colours beyond a text file's lines are DAVIS's.
    """
    if str(path) == "davis":
        return DAVIS_PALETTE
    path = Path(path)
    if path.suffix.lower() != ".txt":
        image = load_image(path)
        if image.mode != "P":
            raise InputError(f"{place(path)}: {image.mode} image without a palette; give an indexed PNG, or a .txt of lines 'red green blue'")
        return full_palette(bytes(image.getpalette("RGB")))
    try:
        rows = [[int(word) for word in line.replace(",", " ").split()] for line in read_text(path, "a line 'red green blue' for each id").splitlines() if line.strip()]
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(f"{place(path)}: cannot be read as lines 'red green blue' ({error})") from error
    if not 2 <= len(rows) <= 256 or any(len(row) != 3 or not all(0 <= value <= 255 for value in row) for row in rows):
        raise InputError(f"{place(path)}: a palette is 2 to 256 lines of three numbers 0..255, id 0 first")
    return full_palette(bytes(value for row in rows for value in row))


def read_label_map(path: str | Path, frame_size: tuple[int, int] | None = None, colours: bytes | None = None) -> LabelMap:
    """A mask file as object ids.

    Read: indexed images (ids are the indices), 8-bit grey (ids are the greys), 1-bit and black-and-white RGB (0 and 255), and other RGB images if colours
    (768 bytes, id 0 first) holds each of theirs. Clear pixels of images with alpha are background. frame_size (H, W): the size the mask must have.
    Raises InputError for all else: damage, another size, 16 bits, JPEG, unmapped colours, half-clear pixels, smooth edges (more than 20 grey ids, most of
    them under 0.1 % of the image).
    """
    path = Path(path)
    image = load_image(path)
    if image.format in ("JPEG", "MPO"):
        raise InputError(f"{place(path)}: a JPEG file, whose compression blurs object ids; save the mask as an indexed PNG")
    size = (image.height, image.width)
    if frame_size is not None and size != tuple(frame_size):
        raise InputError(f"{place(path)}: mask of {size_text(size)} for frames of {size_text(frame_size)}; draw the mask at the frames' size")
    palette = full_palette(bytes(image.getpalette("RGB"))) if image.mode == "P" else None
    labels = _ids(image, path, colours)
    if palette is None or _is_grey(palette, present_ids(labels)):
        _refuse_smooth_edges(labels, path)
    return LabelMap(labels=labels, palette=palette)


def _ids(image: Image.Image, path: Path, colours: bytes | None) -> np.ndarray:
    """Pixels of any image mode to ids uint8 [H, W]."""
    if image.mode in ("P", "L"):
        return np.array(image)
    if image.mode == "1":
        return np.array(image.convert("L"))
    if image.mode in ("LA", "PA", "RGBA", "RGB"):
        opaque = _opaque(image, path)
        if image.mode == "LA":
            return np.array(image.getchannel("L")) * opaque
        return _ids_of_colours(np.asarray(image.convert("RGB")) * opaque[:, :, None], path, colours)
    if image.mode.startswith(("I", "F")):
        raise InputError(f"{place(path)}: more than 8 bits a pixel; save the mask as an 8-bit indexed PNG of ids 1..254")
    raise InputError(f"{place(path)}: {image.mode} image; a mask must be an indexed PNG of object ids")


def _opaque(image: Image.Image, path: Path) -> np.ndarray:
    """1 where a pixel shows, 0 where it is clear, uint8 [H, W]."""
    if "A" not in image.getbands():
        return np.ones((image.height, image.width), np.uint8)
    alpha = np.asarray(image.getchannel("A"))
    if not np.isin(alpha, (0, 255)).all():
        raise InputError(f"{place(path)}: half-clear pixels (smooth edges in the alpha channel); save an indexed PNG of object ids without anti-aliasing")
    return alpha // 255


def _ids_of_colours(rgb: np.ndarray, path: Path, colours: bytes | None) -> np.ndarray:
    """uint8 [H, W, 3] to ids uint8 [H, W] by the palette; without one, black and white are 0 and 255."""
    codes = rgb.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], dtype=np.int32)
    found, positions = np.unique(codes, return_inverse=True)
    ids = {0: 0, 0xFFFFFF: BINARY_ID} if colours is None else _codes_to_ids(colours)
    unmapped = [code for code in found.tolist() if code not in ids]
    if unmapped and colours is None:
        remedy = "map colours with --palette"
        if all(code in _codes_to_ids(DAVIS_PALETTE) for code in found.tolist()):
            remedy += " davis, as these are DAVIS's"
        raise InputError(f"{place(path)}: RGB image with {counted(len(found), 'colour')}; a mask must be an indexed or 8-bit grey PNG of object ids (or {remedy})")
    if unmapped:
        red, green, blue = unmapped[0] >> 16, unmapped[0] >> 8 & 255, unmapped[0] & 255
        raise InputError(
            f"{place(path)}: RGB image with {counted(len(unmapped), 'colour')} that the palette lacks, such as ({red}, {green}, {blue}); "
            "the colours must be the palette's exactly, without smooth edges"
        )
    return np.array([ids[code] for code in found.tolist()], dtype=np.uint8)[positions.reshape(codes.shape)]


def _codes_to_ids(colours: bytes) -> dict[int, int]:
    """red << 16 | green << 8 | blue to id; a colour given twice is the lower id."""
    triples = zip(*(full_palette(colours)[channel::3] for channel in range(3)), strict=True)
    codes = [red << 16 | green << 8 | blue for red, green, blue in triples]
    return {code: index for index, code in reversed(list(enumerate(codes)))}


def _is_grey(palette: bytes, ids: tuple[int, ...]) -> bool:
    return all(palette[3 * i] == palette[3 * i + 1] == palette[3 * i + 2] for i in ids)


def _refuse_smooth_edges(labels: np.ndarray, path: Path) -> None:
    counts = np.bincount(labels.ravel(), minlength=256)[1:]
    areas = counts[counts > 0] / labels.size
    if len(areas) > SMOOTH_MIN_IDS and (areas < SMOOTH_MAX_AREA).mean() > 0.5:
        raise InputError(
            f"{place(path)}: grey mask with {len(areas)} ids, most of them under 0.1 % of the image, which is a mask with smooth edges; "
            "threshold it (or export it without anti-aliasing), one value per object"
        )
