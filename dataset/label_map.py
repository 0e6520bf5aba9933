"""Label maps: images whose pixels are object ids. Legend: H W height and width in pixels."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from dataset.folders import require_file, short_path
from dataset.image_file import load_image, open_image, pages_of, size_text
from dataset.mask_checks import has_smooth_edges, misplaced_background
from util.errors import InputError
from util.files import read_text
from util.palette import DAVIS_PALETTE
from util.text import counted

BINARY_ID = 255
"""The one object's id in 0/255 masks (DAVIS-2016); beside other ids it means void and is no object."""
MAX_COLOURS = 64
"""Of an RGB mask whose colours are not in a palette; with more, it is a photograph, which may be cut out, or has smooth edges."""

_ALPHA_VISIBLE = 128
_PIXELS_A_COLOUR = 4  # a drawing has more of each
_WHITE = 0xFFFFFF
_SMOOTH_REMEDY = "export it without anti-aliasing, blur or dithering (a grey mask of one object: threshold it), one value per object"


@dataclass(frozen=True, kw_only=True)
class LabelMap:
    """labels: object ids uint8 [H, W], 0 background. palette: 768 bytes, or None where the file has none. note: what was read otherwise than ids, to be told."""

    labels: np.ndarray
    palette: bytes | None
    note: str | None = None


class ColourNumbering:
    """Ids for the colours of one video's RGB masks, given as they are met: the first mask's background is 0, the others follow by size; a later mask adds its own.

    The background is black where there is black, and otherwise the colour of most of the border.
    """

    def __init__(self) -> None:
        self.ids: dict[int, int] = {}

    def add(self, codes: np.ndarray) -> None:
        """Number what is new in red << 16 | green << 8 | blue, int [H, W]."""
        found, counts = np.unique(codes, return_counts=True)
        by_size = sorted(
            zip(found.tolist(), counts.tolist(), strict=True), key=lambda pair: (-pair[1], pair[0])
        )
        order = [code for code, _ in by_size]
        if not self.ids:
            background = 0 if 0 in order else _border_code(codes)
            order.remove(background)
            order.insert(0, background)
        for code in order:
            self.ids.setdefault(code, len(self.ids))

    def labels_of(self, codes: np.ndarray) -> np.ndarray:
        """Ids uint8 [H, W] of colours that were added, at most 256."""
        found, positions = np.unique(codes, return_inverse=True)
        return np.array([self.ids[code] for code in found.tolist()], dtype=np.uint8)[
            positions.reshape(codes.shape)
        ]

    @property
    def palette(self) -> bytes:
        """768 bytes."""
        return full_palette(bytes(channel for code in self.ids for channel in _channels(code)))

    def __str__(self) -> str:
        return ", ".join(
            f"{_channels(code)} → {index or 'background'}" for code, index in self.ids.items()
        )


Colours = bytes | ColourNumbering | None
"""How RGB masks become ids: by a palette of 768 bytes, id 0 first; by numbering; None: they do not, but for black and white."""


def present_ids(labels: np.ndarray) -> tuple[int, ...]:
    """The ids in a label map uint8 [...], ascending, without the background."""
    counts = np.bincount(labels.ravel(), minlength=1)
    return tuple(int(i) for i in np.flatnonzero(counts[1:]) + 1)


def full_palette(colours: bytes) -> bytes:
    """A palette of 256 colours: those given, then DAVIS's for the ids it leaves out."""
    return (bytes(colours) + DAVIS_PALETTE[len(colours) :])[:768]


def read_palette(path: str | Path) -> bytes | Literal["auto"]:
    """The colours of ids 0, 1, 2, … (768 bytes) for RGB masks: from an indexed PNG, from a text file of lines 'red green blue', or by the name 'davis'.

    'auto' is given back as it is: each video numbers the colours of its masks (see ColourNumbering). Raises InputError where the file is neither. Colours beyond a
    text file's lines are DAVIS's.
    """
    if str(path) == "auto":
        return "auto"
    if str(path) == "davis":
        return DAVIS_PALETTE
    path = Path(path)
    if path.suffix.lower() != ".txt":
        image = load_image(path)
        if image.mode != "P":
            raise InputError(
                f"{short_path(path)}: {image.mode} image without a palette; give an indexed PNG, or a .txt of lines 'red green blue'"
            )
        return full_palette(bytes(image.getpalette("RGB")))
    require_file(path)
    try:
        rows = [
            [int(word) for word in line.replace(",", " ").split()]
            for line in read_text(path, "a line 'red green blue' for each id").splitlines()
            if line.strip()
        ]
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(
            f"{short_path(path)}: cannot be read as lines 'red green blue' ({error})"
        ) from error
    if not 2 <= len(rows) <= 256 or any(
        len(row) != 3 or not all(0 <= value <= 255 for value in row) for row in rows
    ):
        raise InputError(
            f"{short_path(path)}: a palette is 2 to 256 lines of three numbers 0..255, id 0 first"
        )
    return full_palette(bytes(value for row in rows for value in row))


def check_mask_header(path: Path, frame_size: tuple[int, int]) -> None:
    """Raises InputError where a mask's header alone shows that read_label_map would refuse it: another format or size (H, W), several pages."""
    with open_image(path) as image:
        _refuse_header(image, path, frame_size)


def read_label_map(
    path: str | Path, frame_size: tuple[int, int] | None = None, colours: Colours = None
) -> LabelMap:
    """A mask file as object ids.

    Read: indexed images (ids are the indices), 8-bit grey (ids are the greys), 1-bit and black-and-white RGB (0 and 255), and other RGB images by `colours`.
    Clear pixels of images with alpha are background; where what is visible is a photograph or of one colour, the alpha itself is the mask, and object 1.
    frame_size (H, W): the size the mask must have. Raises InputError for all else: damage, another size, 16 bits, JPEG, several pages, unmapped colours,
    smooth edges (see has_smooth_edges), a palette whose background is not index 0.
    """
    path = Path(path)
    with open_image(path) as image:
        _refuse_header(image, path, frame_size)
        image.load()
        alpha = _alpha(image)
        if alpha is not None and _is_cut_out(image, alpha, colours):
            visible = (alpha >= _ALPHA_VISIBLE).astype(np.uint8)
            return LabelMap(
                labels=visible,
                palette=None,
                note="read from the alpha channel: what is not clear is the object",
            )
        if image.mode in ("P", "PA"):
            return indexed_label_map(image, path, colours)
        return _of_pixels(image, alpha, path, colours)


def _refuse_header(image: Image.Image, path: Path, frame_size: tuple[int, int] | None) -> None:
    if image.format in ("JPEG", "MPO"):
        raise InputError(
            f"{short_path(path)}: a JPEG file, whose compression blurs object ids; save the mask as an indexed PNG"
        )
    if (pages := len(pages_of(image))) > 1:
        raise InputError(
            f"{short_path(path)}: {pages} images in one file; a mask is a single one: save each as an indexed PNG, named as its frame"
        )
    if image.mode.startswith(("I", "F")):
        raise InputError(
            f"{short_path(path)}: more than 8 bits a pixel; save the mask as an 8-bit indexed PNG of ids 1..254"
        )
    size = (image.height, image.width)
    if frame_size is not None and size != tuple(frame_size):
        raise InputError(
            f"{short_path(path)}: mask of {size_text(size)} for frames of {size_text(frame_size)}; draw the mask at the frames' size"
        )


def _alpha(image: Image.Image) -> np.ndarray | None:
    """uint8 [H, W], 0 clear, 255 opaque; None where all is opaque. A colour or index that the file declares clear counts."""
    if "A" in image.getbands():
        alpha = np.asarray(image.getchannel("A"))
    elif "transparency" in image.info:
        alpha = np.asarray(image.convert("RGBA").getchannel("A"))
    else:
        return None
    return None if (alpha == 255).all() else alpha


def _is_cut_out(image: Image.Image, alpha: np.ndarray, colours: Colours) -> bool:
    """Whether what an image shows is the object itself, not ids: a photograph, or one colour but for hard-edged white, which is 0 and 255."""
    visible = alpha >= _ALPHA_VISIBLE
    shown = np.unique(_codes(image)[visible])
    if len(shown) == 1:
        hard = np.isin(alpha, (0, 255)).all()
        return not (hard and (shown[0] == _WHITE or image.mode in ("P", "PA", "L", "LA")))
    if len(shown) <= min(MAX_COLOURS, visible.sum() / _PIXELS_A_COLOUR) or (
        isinstance(colours, bytes) and set(shown.tolist()) <= set(_codes_to_ids(colours))
    ):
        return False
    return image.mode in ("RGB", "RGBA") or has_smooth_edges(
        np.asarray(image.getchannel(0)) * visible.astype(np.uint8)
    )


def indexed_label_map(image: Image.Image, path: Path, colours: Colours = None) -> LabelMap:
    """A decoded image with a palette: its indices are the ids. Where its background is another index than 0, its colours are read, if `colours` says how.

    Raises InputError, naming `path`, where it does not, and for smooth edges.
    """
    alpha = _alpha(image)
    palette = full_palette(bytes(image.getpalette("RGB")))
    shades = np.frombuffer(palette, np.uint8).reshape(256, 3)
    labels = np.array(image if image.mode == "P" else image.getchannel("P"))
    background = (
        misplaced_background(labels, shades)
        if alpha is None
        else _misplaced_clear_index(labels, alpha)
    )
    if background is not None and colours is not None:
        return _of_pixels(image.convert("RGB" if alpha is None else "RGBA"), alpha, path, colours)
    if alpha is not None:
        labels *= alpha >= _ALPHA_VISIBLE
    if has_smooth_edges(labels, shades):
        kind = (
            "grey"
            if (
                shades[list(present_ids(labels))].min(1) == shades[list(present_ids(labels))].max(1)
            ).all()
            else "indexed"
        )
        _refuse_smooth_edges(labels, path, kind)
    if background is not None:
        first, other = (tuple(shades[index].tolist()) for index in (0, background))
        found = f"index 0 is {first} and index {background}, {other}, looks like the background"
        raise InputError(
            f"{short_path(path)}: {found}; save the mask with its background's colour first in the palette, or add --palette auto to number its colours by size"
        )
    return LabelMap(labels=labels, palette=palette)


def _misplaced_clear_index(labels: np.ndarray, alpha: np.ndarray) -> int | None:
    """The clear index that most pixels have, where index 0 is visible and so would be an object that cannot be."""
    clear = alpha < _ALPHA_VISIBLE
    return (
        int(np.bincount(labels[clear]).argmax())
        if clear.any() and (labels[~clear] == 0).any() and (labels[clear] != 0).any()
        else None
    )


def _of_pixels(
    image: Image.Image, alpha: np.ndarray | None, path: Path, colours: Colours
) -> LabelMap:
    """Greys are ids; colours are by `colours`."""
    visible = (
        np.ones((image.height, image.width), np.uint8)
        if alpha is None
        else (alpha >= _ALPHA_VISIBLE).astype(np.uint8)
    )
    if image.mode in ("1", "L", "LA"):
        labels = (
            np.array(image.convert("L") if image.mode == "1" else image.getchannel("L")) * visible
        )
        if has_smooth_edges(labels):
            _refuse_smooth_edges(labels, path, "grey")
        return LabelMap(labels=labels, palette=None)
    if image.mode not in ("RGB", "RGBA"):
        raise InputError(
            f"{short_path(path)}: {image.mode} image; a mask must be an indexed PNG of object ids"
        )
    codes = _codes(image) * visible
    if not isinstance(colours, ColourNumbering):
        return LabelMap(labels=_ids_of_colours(codes, path, colours), palette=None)
    found = np.unique(codes)
    if len(found) > MAX_COLOURS:
        raise InputError(
            f"{short_path(path)}: RGB image with {len(found):,} colours, which is a photograph or a mask with smooth edges; {_SMOOTH_REMEDY}"
        )
    colours.add(codes)
    if len(colours.ids) > BINARY_ID:
        raise InputError(
            f"{short_path(path)}: with this mask the video has {len(colours.ids):,} colours; at most 254 objects can be numbered"
        )
    labels = colours.labels_of(codes)
    if has_smooth_edges(labels, np.frombuffer(colours.palette, np.uint8).reshape(256, 3)):
        _refuse_smooth_edges(labels, path, "RGB")
    return LabelMap(labels=labels, palette=colours.palette, note=f"--palette auto: {colours}")


def _codes(image: Image.Image) -> np.ndarray:
    """red << 16 | green << 8 | blue, int32 [H, W]."""
    return np.asarray(image.convert("RGB")).astype(np.int32) @ np.array(
        [1 << 16, 1 << 8, 1], dtype=np.int32
    )


def _channels(code: int) -> tuple[int, int, int]:
    return code >> 16, code >> 8 & 255, code & 255


def _border_code(codes: np.ndarray) -> int:
    """The code that most pixels of the border have."""
    found, counts = np.unique(
        np.concatenate((codes[0], codes[-1], codes[:, 0], codes[:, -1])), return_counts=True
    )
    return int(found[counts.argmax()])


def _ids_of_colours(codes: np.ndarray, path: Path, colours: bytes | None) -> np.ndarray:
    """int [H, W] to ids uint8 [H, W] by the palette; without one, black and white are 0 and 255."""
    found, positions = np.unique(codes, return_inverse=True)
    ids = {0: 0, _WHITE: BINARY_ID} if colours is None else _codes_to_ids(colours)
    unmapped = [code for code in found.tolist() if code not in ids]
    if unmapped and colours is None:
        if len(found) > MAX_COLOURS or _shades(codes):
            remedy = f"it is a photograph or has smooth edges: {_SMOOTH_REMEDY}"
        elif all(code in _codes_to_ids(DAVIS_PALETTE) for code in found.tolist()):
            remedy = "or map colours with --palette davis, as these are DAVIS's"
        else:
            remedy = (
                "or map colours with --palette FILE, or --palette auto, which numbers them by size"
            )
        raise InputError(
            f"{short_path(path)}: RGB image with {counted(len(found), 'colour')}; a mask must be an indexed or 8-bit grey PNG of object ids ({remedy})"
        )
    if unmapped:
        raise InputError(
            f"{short_path(path)}: RGB image with {counted(len(unmapped), 'colour')} that the palette lacks, such as {_channels(unmapped[0])}; "
            "the colours must be the palette's exactly, without smooth edges"
        )
    return np.array([ids[code] for code in found.tolist()], dtype=np.uint8)[
        positions.reshape(codes.shape)
    ]


def _shades(codes: np.ndarray) -> bool:
    """Whether the few colours of int [H, W] are those of smooth edges."""
    numbering = ColourNumbering()
    numbering.add(codes)
    return has_smooth_edges(
        numbering.labels_of(codes), np.frombuffer(numbering.palette, np.uint8).reshape(256, 3)
    )


def _codes_to_ids(colours: bytes) -> dict[int, int]:
    """red << 16 | green << 8 | blue to id; a colour given twice is the lower id."""
    triples = zip(*(full_palette(colours)[channel::3] for channel in range(3)), strict=True)
    codes = [red << 16 | green << 8 | blue for red, green, blue in triples]
    return {code: index for index, code in reversed(list(enumerate(codes)))}


def is_binary(greys: np.ndarray) -> bool:
    """Whether a grey mask uint8 [H, W] shows one object, to be cut at 128, however soft its edges: 0 and 255 alone, or shades between. Otherwise greys are ids."""
    return present_ids(greys) == (BINARY_ID,) or has_smooth_edges(greys)


def _refuse_smooth_edges(labels: np.ndarray, path: Path, kind: str) -> None:
    found = f"{kind} mask with {len(present_ids(labels))} ids, most of them thin bands or specks, which is a mask with smooth edges"
    raise InputError(f"{short_path(path)}: {found}; {_SMOOTH_REMEDY}")
