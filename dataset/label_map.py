"""Mask files become label maps: images whose pixels are object ids.

Legend: H W height and width in pixels. A colour code is red << 16 | green << 8 | blue.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from dataset.folders import short_path
from dataset.image_file import open_image, pages_of, size_text
from dataset.mask_checks import has_smooth_edges, misplaced_background
from dataset.mask_colours import (
    WHITE_CODE,
    ColourNumbering,
    Colours,
    channels_of,
    colour_codes,
    full_palette,
    map_codes,
    palette_array,
    palette_ids,
)
from util.errors import InputError
from util.palette import DAVIS_PALETTE
from util.text import counted

BINARY_ID = 255
"""The id of the object in masks of 0 and 255 (DAVIS-2016). Beside other ids it means void."""
MAX_COLOURS = 64
"""The most colours of an RGB mask without a palette. An image with more is a photograph, which may
be cut out, or has smooth edges."""

_ALPHA_VISIBLE = 128
_MIN_PIXELS_PER_COLOUR = 4  # of a drawing, on average
_SMOOTH_REMEDY = (
    "export it without anti-aliasing, blur or dithering (a grey mask of one object: threshold "
    "it), one value per object"
)


@dataclass(frozen=True, kw_only=True)
class LabelMap:
    """A mask.

    labels: object ids uint8 [H, W], 0 is background.
    palette: 768 bytes; None if the file has none.
    note: for the user, if something other than ids was read.
    """

    labels: np.ndarray
    palette: bytes | None
    note: str | None = None


def present_ids(labels: np.ndarray) -> tuple[int, ...]:
    """The object ids in a label map uint8 [...], ascending, without the background."""
    counts = np.bincount(labels.ravel(), minlength=1)
    return tuple(int(i) for i in np.flatnonzero(counts[1:]) + 1)


def indexed_image(labels: np.ndarray, palette: bytes = DAVIS_PALETTE) -> Image.Image:
    """Ids uint8 [H, W] as an image of 8 bits a pixel. palette: 768 bytes, of which Pillow needs all
    to write 8 bits."""
    image = Image.fromarray(labels)
    image.putpalette(palette)
    return image


def check_mask_header(path: Path, frame_size: tuple[int, int]) -> None:
    """Raise the errors of read_label_map that a mask's header shows: kind, pages, size (H, W)."""
    with open_image(path) as image:
        _check_header(image, path, frame_size)


def read_label_map(
    path: str | Path, frame_size: tuple[int, int] | None = None, colours: Colours = None
) -> LabelMap:
    """A mask file as object ids.

    Indices of an indexed image and values of an 8-bit grey image are ids. In 1-bit and
    black-and-white RGB images, white is id 255. Other RGB images are read by `colours`.
    Transparent pixels of images with alpha are background; if what is visible is a photograph or
    has one colour, the alpha channel itself is the mask of object 1.

    Args:
        frame_size: (H, W) that the mask must have.

    Raises:
        InputError: anything else: damage, another size, 16 bits, JPEG, several pages, colours
            that are not mapped, smooth edges (see has_smooth_edges), a palette whose background
            is not index 0.
    """
    path = Path(path)
    with open_image(path) as image:
        _check_header(image, path, frame_size)
        image.load()
        alpha = _read_alpha(image)
        if alpha is not None and _is_cut_out(image, alpha, colours):
            return LabelMap(
                labels=(alpha >= _ALPHA_VISIBLE).astype(np.uint8),
                palette=None,
                note="read from the alpha channel: opaque pixels are the object",
            )
        if image.mode in ("P", "PA"):
            return indexed_label_map(image, path, colours)
        return _label_map_of_pixels(image, alpha, path, colours)


def _check_header(image: Image.Image, path: Path, frame_size: tuple[int, int] | None) -> None:
    source = short_path(path)
    if image.format in ("JPEG", "MPO"):
        raise InputError(
            f"{source}: a JPEG file, whose compression blurs object ids; save the mask as an "
            "indexed PNG"
        )
    if (pages := len(pages_of(image))) > 1:
        raise InputError(
            f"{source}: {pages} images in one file; a mask is a single one: save each as an "
            "indexed PNG, named as its frame"
        )
    if image.mode.startswith(("I", "F")):
        raise InputError(
            f"{source}: more than 8 bits a pixel; save the mask as an 8-bit indexed PNG of ids "
            "1..254"
        )
    size = (image.height, image.width)
    if frame_size is not None and size != tuple(frame_size):
        raise InputError(
            f"{source}: mask of {size_text(size)} for frames of {size_text(frame_size)}; draw the "
            "mask at the frames' size"
        )


def _read_alpha(image: Image.Image) -> np.ndarray | None:
    """uint8 [H, W], 0 is transparent; None if all pixels are opaque.

    A colour or index that the file declares transparent counts.
    """
    if "A" in image.getbands():
        alpha = np.asarray(image.getchannel("A"))
    elif "transparency" in image.info:
        alpha = np.asarray(image.convert("RGBA").getchannel("A"))
    else:
        return None
    return None if (alpha == 255).all() else alpha


def _is_cut_out(image: Image.Image, alpha: np.ndarray, colours: Colours) -> bool:
    """Whether an image shows the object itself instead of ids.

    That is, a photograph, or a single colour other than hard-edged white, which is 0 and 255.
    """
    visible = alpha >= _ALPHA_VISIBLE
    shown = np.unique(colour_codes(image)[visible])
    if len(shown) == 1:
        is_hard = np.isin(alpha, (0, 255)).all()
        holds_ids = shown[0] == WHITE_CODE or image.mode in ("P", "PA", "L", "LA")
        return not (is_hard and holds_ids)
    if len(shown) <= min(MAX_COLOURS, visible.sum() / _MIN_PIXELS_PER_COLOUR):
        return False
    if isinstance(colours, bytes) and set(shown.tolist()) <= set(palette_ids(colours)):
        return False
    return image.mode in ("RGB", "RGBA") or has_smooth_edges(
        np.asarray(image.getchannel(0)) * visible.astype(np.uint8)
    )


def indexed_label_map(image: Image.Image, path: Path, colours: Colours = None) -> LabelMap:
    """A decoded image with a palette, whose indices are the ids.

    If the background is not index 0, its colours are read as `colours` says.

    Raises:
        InputError: the background is not index 0 and `colours` is None, or edges are smooth.
    """
    alpha = _read_alpha(image)
    palette = full_palette(bytes(image.getpalette("RGB")))
    shades = palette_array(palette)
    labels = np.array(image if image.mode == "P" else image.getchannel("P"))
    if alpha is None:
        background = misplaced_background(labels, shades)
    else:
        background = _misplaced_transparent_index(labels, alpha)
    if background is not None and colours is not None:
        pixels = image.convert("RGB" if alpha is None else "RGBA")
        return _label_map_of_pixels(pixels, alpha, path, colours)
    if alpha is not None:
        labels *= alpha >= _ALPHA_VISIBLE
    if has_smooth_edges(labels, shades):
        used = shades[list(present_ids(labels))]
        is_grey = (used.min(1) == used.max(1)).all()
        raise _smooth_edges_error(labels, path, "grey" if is_grey else "indexed")
    if background is not None:
        first, other = (tuple(shades[index].tolist()) for index in (0, background))
        raise InputError(
            f"{short_path(path)}: index 0 is {first} and index {background}, {other}, looks like "
            "the background; save the mask with its background's colour first in the palette, or "
            "add --palette auto to number its colours by size"
        )
    return LabelMap(labels=labels, palette=palette)


def _misplaced_transparent_index(labels: np.ndarray, alpha: np.ndarray) -> int | None:
    """The index of most transparent pixels, if index 0 is visible and so cannot be an object."""
    transparent = alpha < _ALPHA_VISIBLE
    shows_index_0 = (labels[~transparent] == 0).any()
    if not (shows_index_0 and (labels[transparent] != 0).any()):
        return None
    return int(np.bincount(labels[transparent]).argmax())


def _label_map_of_pixels(
    image: Image.Image, alpha: np.ndarray | None, path: Path, colours: Colours
) -> LabelMap:
    """An image without indices: greys are ids, colours are read by `colours`."""
    if alpha is None:
        visible = np.ones((image.height, image.width), np.uint8)
    else:
        visible = (alpha >= _ALPHA_VISIBLE).astype(np.uint8)
    if image.mode in ("1", "L", "LA"):
        greys = np.array(image.convert("L") if image.mode == "1" else image.getchannel("L"))
        labels = greys * visible
        if has_smooth_edges(labels):
            raise _smooth_edges_error(labels, path, "grey")
        return LabelMap(labels=labels, palette=None)
    if image.mode not in ("RGB", "RGBA"):
        raise InputError(
            f"{short_path(path)}: {image.mode} image; a mask must be an indexed PNG of object ids"
        )
    codes = colour_codes(image) * visible
    if isinstance(colours, ColourNumbering):
        return _numbered_label_map(codes, path, colours)
    ids = {0: 0, WHITE_CODE: BINARY_ID} if colours is None else palette_ids(colours)
    _check_mapped(codes, ids, path, colours)
    return LabelMap(labels=map_codes(codes, ids), palette=None)


def _numbered_label_map(codes: np.ndarray, path: Path, numbering: ColourNumbering) -> LabelMap:
    """Colour codes int [H, W] as ids of --palette auto."""
    count = len(np.unique(codes))
    if count > MAX_COLOURS:
        raise InputError(
            f"{short_path(path)}: RGB image with {count:,} colours, which is a photograph or a "
            f"mask with smooth edges; {_SMOOTH_REMEDY}"
        )
    numbering.add(codes)
    if len(numbering.ids) > BINARY_ID:
        raise InputError(
            f"{short_path(path)}: with this mask the video has {len(numbering.ids):,} colours; at "
            "most 254 objects can be numbered"
        )
    labels = numbering.labels_of(codes)
    if has_smooth_edges(labels, palette_array(numbering.palette)):
        raise _smooth_edges_error(labels, path, "RGB")
    return LabelMap(labels=labels, palette=numbering.palette, note=f"--palette auto: {numbering}")


def _check_mapped(
    codes: np.ndarray, ids: dict[int, int], path: Path, palette: bytes | None
) -> None:
    """Raise InputError if any colour code of int [H, W] has no id."""
    present = np.unique(codes)
    unmapped = [code for code in present.tolist() if code not in ids]
    if not unmapped:
        return
    if palette is not None:
        raise InputError(
            f"{short_path(path)}: RGB image with {counted(len(unmapped), 'colour')} that the "
            f"palette lacks, such as {channels_of(unmapped[0])}; the colours must be the "
            "palette's exactly, without smooth edges"
        )
    if len(present) > MAX_COLOURS or _has_smooth_colours(codes):
        remedy = f"it is a photograph or has smooth edges: {_SMOOTH_REMEDY}"
    elif set(present.tolist()) <= set(palette_ids(DAVIS_PALETTE)):
        remedy = "or map colours with --palette davis, as these are DAVIS's"
    else:
        remedy = "or map colours with --palette FILE, or --palette auto, which numbers them by size"
    raise InputError(
        f"{short_path(path)}: RGB image with {counted(len(present), 'colour')}; a mask must be an "
        f"indexed or 8-bit grey PNG of object ids ({remedy})"
    )


def _has_smooth_colours(codes: np.ndarray) -> bool:
    """Whether the few colours of int [H, W] are those of smooth edges."""
    numbering = ColourNumbering()
    numbering.add(codes)
    return has_smooth_edges(numbering.labels_of(codes), palette_array(numbering.palette))


def is_binary(greys: np.ndarray) -> bool:
    """Whether a grey mask uint8 [H, W] shows one object, to be cut at 128.

    That is, it holds only 0 and 255, or shades between them. Otherwise greys are ids.
    """
    return present_ids(greys) == (BINARY_ID,) or has_smooth_edges(greys)


def _smooth_edges_error(labels: np.ndarray, path: Path, kind: str) -> InputError:
    return InputError(
        f"{short_path(path)}: {kind} mask with {len(present_ids(labels))} ids, most of them thin "
        f"bands or specks, which is a mask with smooth edges; {_SMOOTH_REMEDY}"
    )
