"""Files that are not what their names say: damage, other formats, links, pipes.

Every reader refuses each in one line that names it.
"""

import io
import os
import stat

import numpy as np
import pytest
from media_trees import HEIGHT, WIDTH, make_generic, make_labels, save_frame
from PIL import Image, features

from dataset import GenericDataset, check_masks, read_label_map
from dataset.folders import list_files
from dataset.image_file import image_sizes, read_image
from dataset.training import masks
from inference import scoring
from util.errors import InputError
from util.palette import DAVIS_PALETTE

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")
READERS = (read_image, read_label_map, masks.read_mask, scoring.read_labels)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def picture(mode: str = "RGB") -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def indexed() -> Image.Image:
    image = Image.fromarray(make_labels(1, 2))
    image.putpalette(DAVIS_PALETTE)
    return image


def exif(orientation: int = 6) -> bytes:
    tags = Image.Exif()
    tags[0x0112], tags[0x011A], tags[0x010F] = orientation, (72, 1), "maker"
    return tags.tobytes()


@pytest.mark.parametrize("reader", READERS)
def test_eps_content_under_an_images_name_is_refused_and_starts_no_program(
    tmp_path, monkeypatch, reader
):
    program = tmp_path / "bin/gs"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    path = tmp_path / "00003.png"
    path.write_bytes(encoded(picture(), "EPS"))
    with pytest.raises(
        InputError,
        match=r"00003\.png: not an image, or not of a kind that is read; replace it by a JPEG, PNG",
    ):
        reader(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("kind", ["AVIF", "DDS", "PPM", "ICNS", "JPEG2000", "PCX"])
@pytest.mark.parametrize("reader", READERS)
def test_other_formats_under_an_images_name_are_refused(tmp_path, kind, reader):
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow writes no AVIF")
    path = tmp_path / "00003.png"
    path.write_bytes(encoded(picture(), kind))
    with pytest.raises(InputError, match=r"00003\.png: not an image"):
        reader(path)


def damaged_exif(content: bytes) -> bytes:
    """The same file with the type of its resolution, a fraction, changed to text."""
    raw = bytearray(content)
    start = raw.find(b"Exif\0\0") + 6
    tag = raw.find(b"\x01\x1a" if raw[start : start + 2] == b"MM" else b"\x1a\x01", start)
    raw[tag + (3 if raw[start : start + 2] == b"MM" else 2)] = 2
    return bytes(raw)


def test_damaged_exif_data_that_a_turn_needs_is_one_line(tmp_path):
    path = tmp_path / "00003.jpg"
    path.write_bytes(damaged_exif(encoded(picture(), "JPEG", exif=exif())))
    with pytest.raises(InputError, match=r"00003\.jpg: damaged or unreadable") as refused:
        read_image(path)
    assert "\n" not in str(refused.value)


FILES = {
    "exif.jpg": lambda: encoded(picture(), "JPEG", exif=exif()),
    "indexed.png": lambda: encoded(indexed(), "PNG"),
    "clear.png": lambda: encoded(indexed(), "PNG", transparency=0),
    "rgba.png": lambda: encoded(picture("RGBA"), "PNG"),
    "deep.png": lambda: encoded(
        Image.fromarray(np.asarray(picture("L")).astype(np.uint16) * 257), "PNG"
    ),
    "lossy.webp": lambda: encoded(picture(), "WEBP"),
    "exact.webp": lambda: encoded(picture(), "WEBP", lossless=True, exif=exif()),
    "plain.tif": lambda: encoded(picture(), "TIFF"),
    "packed.tif": lambda: encoded(picture(), "TIFF", compression="tiff_lzw"),
    "indexed.gif": lambda: encoded(indexed(), "GIF"),
    "plain.bmp": lambda: encoded(picture(), "BMP"),
}


def damaged(rng: np.random.Generator, content: bytes) -> bytes:
    """Cut off, with flipped bits, or with random bytes near the start, where headers are."""
    raw = bytearray(content)
    kind = rng.integers(3)
    if kind == 0:
        return bytes(raw[: rng.integers(len(raw))])
    for position in rng.integers(0, len(raw) if kind == 1 else min(len(raw), 200), 3):
        raw[position] = raw[position] ^ (1 << rng.integers(8)) if kind == 1 else rng.integers(256)
    return bytes(raw)


@pytest.mark.parametrize("name", FILES)
def test_damage_of_any_kind_is_read_or_refused_in_one_line(tmp_path, name):
    rng = np.random.default_rng(sum(map(ord, name)))
    path, content = tmp_path / name, FILES[name]()
    refusals = 0
    for _ in range(60):
        path.write_bytes(damaged(rng, content))
        for reader in (*READERS, image_sizes):
            try:
                reader(path)
            except InputError as refused:
                refusals += 1
                assert name in str(refused) and "\n" not in str(refused)
    assert refusals > 0


def make_odd(path, kind: str) -> None:
    {
        "dangling": lambda: path.symlink_to("nowhere"),
        "loop": lambda: path.symlink_to(path.name),
        "folder": path.mkdir,
        "pipe": lambda: os.mkfifo(path),
        "link to a pipe": lambda: (
            os.mkfifo(path.parent.parent / "pipe"),
            path.symlink_to(path.parent.parent / "pipe"),
        ),
    }[kind]()


ODD = {
    "dangling": "a link to nowhere, which is not there; put that back or remove the link",
    "loop": "cannot be read",
    "folder": "a folder under a file's name",
    "pipe": "a pipe, socket or device under a file's name",
    "link to a pipe": "a pipe, socket or device under a file's name",
}


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("name", ["JPEGImages/clip/00004.jpg", "Annotations/clip/00002.png"])
def test_a_last_frame_or_later_mask_that_is_no_file_is_refused_not_ignored(tmp_path, name, kind):
    make_generic(tmp_path, {"00000": (1,)})
    make_odd(tmp_path / name, kind)
    with pytest.raises(InputError, match=rf"clip/{(tmp_path / name).name}: {ODD[kind]}"):
        check_masks(GenericDataset(tmp_path))


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_file_is_not_waited_for(tmp_path, reader, kind):
    path = tmp_path / "folder/00000.png"
    path.parent.mkdir()
    make_odd(path, kind)
    with pytest.raises(InputError, match=ODD[kind]):
        reader(path)


def test_a_link_to_a_file_is_a_file(tmp_path):
    save_frame(tmp_path / "store/a.jpg")
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames/00000.jpg").symlink_to(tmp_path / "store/a.jpg")
    assert [path.name for path in list_files(tmp_path / "frames")] == ["00000.jpg"]
    assert stat.S_ISLNK((tmp_path / "frames/00000.jpg").lstat().st_mode)
