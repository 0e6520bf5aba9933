"""Frames and masks of every kind of image are read."""

import numpy as np
import pytest
from media_trees import HEIGHT, WIDTH, make_labels, save_mask
from PIL import Image

from dataset import GenericDataset, check_masks, read_label_map, read_palette
from dataset.image_file import read_image
from dataset.video.mask_selection import MaskSelection
from util.palette import DAVIS_PALETTE


@pytest.mark.parametrize("mode", ["L", "RGBA", "CMYK", "P", "LA"])
def test_frames_of_any_mode_become_rgb(tmp_path, mode):
    path = tmp_path / ("frame.jpg" if mode == "CMYK" else "frame.png")
    colour = (200, 200, 200) if mode in ("L", "LA") else (250, 120, 10)
    image = Image.new("RGB", (WIDTH, HEIGHT), colour)
    (image.quantize(4) if mode == "P" else image.convert(mode)).save(path)
    image = read_image(path)
    assert (image.dtype, image.shape) == (np.uint8, (HEIGHT, WIDTH, 3))
    np.testing.assert_allclose(image[5, 5], colour, atol=8)


def test_16_bit_grey_frames_of_one_value_keep_their_upper_8_bits(tmp_path):
    Image.fromarray(np.full((HEIGHT, WIDTH), 0x80FF, np.uint16)).save(tmp_path / "frame.png")
    assert (read_image(tmp_path / "frame.png") == 0x80).all()


@pytest.mark.parametrize(
    "mask_size",
    [(HEIGHT, WIDTH), (WIDTH, HEIGHT)],
    ids=["mask drawn upright", "mask drawn as stored"],
)
def test_exif_rotated_frames_follow_the_orientation_of_their_mask(tmp_path, mask_size):
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise
    stored = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    stored[: HEIGHT // 2, : WIDTH // 2] = 255  # upper left as stored, upper right as shown
    for index in range(2):
        path = tmp_path / f"JPEGImages/clip/{index}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(stored).save(path, exif=exif, quality=95)
    save_mask(tmp_path / "Annotations/clip/0.png", 1, size=mask_size)
    dataset = GenericDataset(tmp_path)
    check_masks(dataset)
    for frame in dataset[0].frames():
        assert frame.image.shape[:2] == mask_size[::-1]
        upright = mask_size == (HEIGHT, WIDTH)
        assert frame.image[2, -3 if upright else 2].min() > 200


@pytest.mark.parametrize("kind", ["P", "L", "1", "RGB", "RGBA", "LA"])
def test_masks_of_every_lossless_kind_are_read(tmp_path, kind):
    path = tmp_path / "mask.png"
    if kind == "P":
        save_mask(path, 7, 200)
        assert read_label_map(path, (HEIGHT, WIDTH)).palette == DAVIS_PALETTE
    elif kind == "L":
        save_mask(path, 7, 200, palette=None)
        assert read_label_map(path).palette is None
    else:
        Image.fromarray(make_labels(255)).convert(kind).save(path)
    expected = make_labels(7, 200) if kind in "PL" else make_labels(255)
    np.testing.assert_array_equal(read_label_map(path).labels, expected)


def test_rgb_masks_of_exactly_a_palettes_colours_are_read_with_that_palette(tmp_path):
    rgb, indexed, text = tmp_path / "rgb.png", tmp_path / "indexed.png", tmp_path / "colours.txt"
    save_mask(indexed, 1, 7, 200)
    Image.open(indexed).convert("RGB").save(rgb)
    for source in (indexed, "davis"):
        labels = read_label_map(rgb, colours=read_palette(source)).labels
        np.testing.assert_array_equal(labels, make_labels(1, 7, 200))
    text.write_text("0 0 0\n250,0,0\n0 250 0\n")
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    pixels[3, 3], pixels[4, 4] = (250, 0, 0), (0, 250, 0)
    Image.fromarray(pixels).save(rgb)
    labels = read_label_map(rgb, colours=read_palette(text)).labels
    assert (labels[3, 3], labels[4, 4], int(labels.sum())) == (1, 2, 3)


def test_transparent_pixels_are_background_if_what_shows_is_white(tmp_path):
    pixels = np.full((HEIGHT, WIDTH, 4), 255, np.uint8)
    pixels[:, 10:, 3] = 0
    Image.fromarray(pixels).save(tmp_path / "mask.png")
    labels = read_label_map(tmp_path / "mask.png").labels
    np.testing.assert_array_equal(labels, np.where(pixels[:, :, 3] > 0, 255, 0))


@pytest.mark.parametrize("indexed", [False, True])
def test_254_objects_are_read(tmp_path, indexed):
    labels = np.arange(256, dtype=np.uint8).reshape(16, 16).repeat(4, axis=0).repeat(4, axis=1)
    labels[labels == 255] = 0
    image = Image.fromarray(labels)
    if indexed:
        image.putpalette(DAVIS_PALETTE)
    image.save(tmp_path / "mask.png")
    read = read_label_map(tmp_path / "mask.png").labels
    assert MaskSelection().select(read, "mask.png").max() == 254
