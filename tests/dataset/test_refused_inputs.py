"""Wrong images and masks, and the words of the one line that refuses each.

Videos and data sets: video/test_refused_videos.py.
"""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from media_trees import HEIGHT, WIDTH, check_refused, make_labels, with_palette
from PIL import Image, ImageFilter

from dataset import FrameRange, read_label_map, read_palette
from dataset.image_file import read_image
from dataset.mask_colours import ColourNumbering
from dataset.video.file_source import open_source
from util.palette import DAVIS_PALETTE

Row = tuple[Callable[[Path], object], str]


def disks(scale: int = 1, colour: int | tuple[int, int, int] = (128, 0, 0)) -> Image.Image:
    pixels = np.zeros((96 * scale, 128 * scale, 3), np.uint8)
    cv2.circle(pixels, (40 * scale, 48 * scale), 24 * scale, colour, -1)
    cv2.circle(pixels, (96 * scale, 48 * scale), 20 * scale, (0, 128, 0), -1)
    return Image.fromarray(pixels)


def specks() -> Image.Image:
    rng = np.random.default_rng(0)
    labels = make_labels(1, 2, size=(128, 96))
    for object_id in range(3, 40):
        labels[rng.integers(96, size=2), rng.integers(128, size=2)] = object_id
    return with_palette(labels, DAVIS_PALETTE)


def soft_disk() -> Image.Image:
    disk = cv2.circle(np.zeros((200, 300), np.uint8), (150, 100), 60, 255, -1)
    return Image.fromarray(cv2.GaussianBlur(disk, (9, 9), 0))


def rgb_of_ids(*ids: int) -> Image.Image:
    return with_palette(make_labels(*ids), DAVIS_PALETTE).convert("RGB")


def photograph() -> Image.Image:
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8))


GREYS = bytes(value for grey in range(256) for value in (grey, grey, grey))
FEW_COLOURS = ((0, 0, 0), (250, 0, 0))

MASKS: dict[str, tuple[Callable[[], Image.Image], str]] = {
    "smooth edges in grey": (soft_disk, r"mask\.png: grey mask with \d+ ids, .*threshold it"),
    "smooth edges in a grey palette": (
        lambda: with_palette(np.asarray(soft_disk()), GREYS),
        r"mask\.png: grey mask with \d+ ids, .*threshold it",
    ),
    "specks": (specks, "bands or specks"),
    "16 bits": (
        lambda: Image.fromarray(make_labels(1).astype(np.uint16)),
        r"mask\.png: more than 8 bits",
    ),
    "colours of DAVIS": (
        lambda: rgb_of_ids(1, 7, 200),
        r"RGB image with 4 colours; .* indexed or 8-bit grey PNG .*--palette davis",
    ),
    "other colours": (
        lambda: with_palette(make_labels(1), ((0, 0, 0), (1, 2, 3))).convert("RGB"),
        "RGB image with 2 colours; .*--palette FILE, or --palette auto",
    ),
    "few shades of a smooth edge": (
        lambda: disks(4, (255, 255, 255)).resize((128, 96), Image.Resampling.BOX),
        r"RGB image with \d+ colours; .*smooth edges: export it without anti-aliasing",
    ),
    "CMYK": (lambda: photograph().convert("CMYK"), "CMYK image; a mask must be an indexed PNG"),
}


@pytest.mark.parametrize("name", MASKS)
def test_a_wrong_mask_is_refused(tmp_path, name):
    make, words = MASKS[name]
    path = tmp_path / "mask.png"
    make().save(path, "TIFF" if name == "CMYK" else "PNG")
    check_refused(lambda: read_label_map(path), words)


NUMBERED_MASKS = {
    "smooth edges": (
        lambda: (
            disks()
            .filter(ImageFilter.GaussianBlur(1))
            .quantize(20, dither=Image.Dither.NONE)
            .convert("RGB")
        ),
        "RGB mask with .* smooth edges",
    ),
    "a photograph": (photograph, "RGB image with .* colours, which is a photograph"),
}


@pytest.mark.parametrize("name", NUMBERED_MASKS)
def test_a_mask_whose_colours_cannot_be_numbered_is_refused(tmp_path, name):
    make, words = NUMBERED_MASKS[name]
    make().save(tmp_path / "mask.png")
    check_refused(lambda: read_label_map(tmp_path / "mask.png", colours=ColourNumbering()), words)


def read_jpeg_mask(folder: Path) -> None:
    Image.fromarray(make_labels(255)).save(folder / "mask.jpg")
    read_label_map(folder / "mask.jpg")


def read_stack_of_masks(folder: Path) -> None:
    masks = [Image.fromarray(make_labels(index)) for index in (1, 2)]
    masks[0].save(folder / "mask.png", save_all=True, append_images=masks[1:])
    read_label_map(folder / "mask.png")


def read_unmapped_colour(folder: Path) -> None:
    pixels = np.array(with_palette(make_labels(1), FEW_COLOURS).convert("RGB"))
    pixels[20, 20] = (1, 2, 3)
    Image.fromarray(pixels).save(folder / "mask.png")
    (folder / "colours.txt").write_text("0 0 0\n250 0 0\n")
    read_label_map(folder / "mask.png", colours=read_palette(folder / "colours.txt"))


def palette_text(content: str) -> Callable[[Path], object]:
    def read(folder: Path) -> None:
        (folder / "colours.txt").write_text(content)
        read_palette(folder / "colours.txt")

    return read


def read_palette_of_rgb(folder: Path) -> None:
    rgb_of_ids(1).save(folder / "colours.png")
    read_palette(folder / "colours.png")


def read_saved(image: Image.Image, name: str) -> Callable[[Path], object]:
    def read(folder: Path) -> None:
        image.save(folder / name)
        read_image(folder / name)

    return read


def read_frames_of_8_and_16_bits(folder: Path) -> None:
    (folder / "frames").mkdir()
    deep = np.arange(HEIGHT * WIDTH, dtype=np.uint16).reshape(HEIGHT, WIDTH)
    Image.fromarray(deep).save(folder / "frames/0.png")
    Image.new("L", (WIDTH, HEIGHT)).save(folder / "frames/1.png")
    list(open_source(folder / "frames").pictures(0, (0, 0)))


FILES: dict[str, Row] = {
    "a JPEG mask": (read_jpeg_mask, r"mask\.jpg: a JPEG"),
    "several masks in a file": (read_stack_of_masks, r"mask\.png: 2 images in one file"),
    "a colour that the palette lacks": (
        read_unmapped_colour,
        r"RGB image with 1 colour that the palette lacks, such as \(1, 2, 3\)",
    ),
    "a palette of pairs": (palette_text("0 0\n1 1 1\n"), r"colours\.txt: a palette is"),
    "a palette beyond 255": (palette_text("0 0 0\n1 2 300\n"), r"colours\.txt: a palette is"),
    "a palette of words": (palette_text("red\n"), r"colours\.txt: cannot be read"),
    "an empty palette": (palette_text(""), r"colours\.txt: a palette is"),
    "a palette of an RGB image": (
        read_palette_of_rgb,
        r"colours\.png: RGB image without a palette",
    ),
    "floating-point pixels": (
        read_saved(Image.fromarray(np.ones((HEIGHT, WIDTH), np.float32)), "real.tif"),
        r"real\.tif: floating-point pixels",
    ),
    "negative values": (
        read_saved(Image.fromarray(np.full((HEIGHT, WIDTH), -5, np.int32)), "signed.tif"),
        r"signed\.tif: values from -5 to -5",
    ),
    "frames of 8 and 16 bits": (
        read_frames_of_8_and_16_bits,
        r"frames/1\.png: frame of 8 bits in a video of 16 bits",
    ),
    "an empty frame range": (lambda folder: FrameRange(5, 5), "two whole numbers"),
    "a negative frame range": (lambda folder: FrameRange(-1, 3), "two whole numbers"),
    "a frame range beyond 16 bits": (lambda folder: FrameRange(0, 70000), "two whole numbers"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_wrong_file_is_refused(tmp_path, name):
    read, words = FILES[name]
    check_refused(lambda: read(tmp_path), words)
