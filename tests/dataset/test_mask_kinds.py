"""What a mask means: its objects, and not the shades of smooth edges; its background; the frame it is named for. And what is said of it."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from media_trees import HEIGHT, WIDTH, labelled, make_generic, make_labels, save_frame, save_mask
from PIL import Image, ImageDraw, ImageFilter

from dataset import (
    GenericDataset,
    VideoFile,
    check_masks,
    read_label_map,
    read_palette,
)
from dataset.label_map import ColourNumbering
from dataset.mask_checks import has_smooth_edges
from dataset.training import cache
from util.errors import InputError
from util.palette import DAVIS_PALETTE

GREEN, RED = (0, 128, 0), (128, 0, 0)


def drawing(
    size: tuple[int, int] = (128, 96), colours=(RED, GREEN), background=(0, 0, 0)
) -> Image.Image:
    """A disk of each colour."""
    image = Image.new("RGB", size, background)
    draw = ImageDraw.Draw(image)
    for number, colour in enumerate(colours):
        x, y, radius = (
            size[0] * (number + 0.5) / len(colours),
            size[1] * 0.5,
            min(size[0] / len(colours), size[1]) * 0.35,
        )
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    return image


def with_palette(labels: np.ndarray, *colours: tuple[int, int, int]) -> Image.Image:
    image = Image.fromarray(labels)
    image.putpalette(bytes(channel for colour in colours for channel in colour))
    return image


SMOOTHED = {
    "enlarged": lambda image: image.resize(
        (image.width // 2, image.height // 2), Image.Resampling.NEAREST
    ).resize(image.size, Image.Resampling.BICUBIC),
    "anti-aliased": lambda image: drawing((4 * image.width, 4 * image.height)).resize(
        image.size, Image.Resampling.LANCZOS
    ),
    "blurred": lambda image: image.filter(ImageFilter.GaussianBlur(2)),
    "blurred much": lambda image: image.filter(ImageFilter.GaussianBlur(4)),
}
STORED = {
    "adaptive": lambda image: image.convert("P", palette=Image.Palette.ADAPTIVE),
    "16 colours": lambda image: image.quantize(16, dither=Image.Dither.NONE),
    "web": lambda image: image.convert("P"),
    "grey": lambda image: image.convert("L"),
    "grey palette": lambda image: with_palette(
        np.asarray(image.convert("L")), *((grey, grey, grey) for grey in range(256))
    ),
}


@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize("smoothed", SMOOTHED)
@pytest.mark.parametrize("size", [(96, 64), (128, 96), (427, 240)])
def test_smooth_edges_are_refused_in_any_palette_and_size(tmp_path, size, smoothed, stored):
    STORED[stored](SMOOTHED[smoothed](drawing(size))).save(tmp_path / "mask.png")
    with pytest.raises(
        InputError,
        match=r"mask\.png: (grey|indexed) mask with \d+ ids, .* smooth edges; export it without anti-aliasing",
    ):
        read_label_map(tmp_path / "mask.png")


def test_dozens_of_specks_beside_objects_are_refused(tmp_path):
    rng = np.random.default_rng(0)
    labels = make_labels(1, 2, size=(128, 96))
    for object_id in range(3, 40):
        labels[rng.integers(96, size=2), rng.integers(128, size=2)] = object_id
    with_palette(labels, *np.frombuffer(DAVIS_PALETTE, np.uint8).reshape(256, 3).tolist()).save(
        tmp_path / "mask.png"
    )
    with pytest.raises(InputError, match="bands or specks"):
        read_label_map(tmp_path / "mask.png")


def true_masks() -> dict[str, np.ndarray]:
    """Label maps that are right, however odd."""
    big = cv2.circle(np.zeros((96, 128), np.uint8), (60, 50), 30, 1, -1)
    tiny, thin, ring, crowd = big.copy(), big.copy(), big.copy(), np.zeros((240, 427), np.uint8)
    tiny[50:52, 90:95] = 2
    cv2.line(thin, (0, 0), (127, 90), 2, 1)
    cv2.line(thin, (0, 90), (127, 4), 3, 2)
    cv2.circle(ring, (60, 50), 12, 2, 5)
    rng = np.random.default_rng(0)
    for object_id in range(1, 31):
        cv2.ellipse(
            crowd,
            (int(rng.integers(427)), int(rng.integers(240))),
            (int(rng.integers(3, 9)), int(rng.integers(4, 12))),
            0,
            0,
            360,
            object_id,
            -1,
        )
    blocks = np.arange(96, dtype=np.uint8).reshape(8, 12).repeat(8, axis=0).repeat(8, axis=1)
    return {
        "one": big,
        "sparse": np.choose(make_labels(1, 2, 3), np.array([0, 1, 4, 9], np.uint8)),
        "two greys": np.choose(make_labels(1, 2), np.array([0, 60, 200], np.uint8)),
        "0 and 255": big * 255,
        "void": np.where(cv2.dilate(big, np.ones((5, 5), np.uint8)) > big, 255, big),
        "tiny beside big": tiny,
        "thin": thin,
        "ring": ring,
        "30 small objects": crowd,
        "95 touching objects": blocks,
    }


@pytest.mark.parametrize("name", true_masks())
@pytest.mark.parametrize("indexed", [False, True])
def test_sparse_tiny_thin_and_many_objects_are_read(tmp_path, name, indexed):
    labels = true_masks()[name]
    image = Image.fromarray(labels)
    if indexed:
        image.putpalette(DAVIS_PALETTE)
    image.save(tmp_path / "mask.png")
    np.testing.assert_array_equal(read_label_map(tmp_path / "mask.png").labels, labels)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [((60, 200), (60, 200)), ((255,), (1,)), ((1, 255), (1, 0)), ((7, 254), (7, 254))],
)
def test_greys_mean_the_same_in_training_and_in_evaluation(tmp_path, labels, expected):
    Image.fromarray(make_labels(*labels)).save(tmp_path / "mask.png")
    np.testing.assert_array_equal(cache.read_labels(tmp_path / "mask.png"), make_labels(*expected))
    np.testing.assert_array_equal(
        read_label_map(tmp_path / "mask.png").labels, make_labels(*labels)
    )


def test_training_cuts_soft_edges_of_one_object_and_refuses_those_of_indexed_masks(tmp_path):
    soft = drawing(colours=((255, 255, 255),)).filter(ImageFilter.GaussianBlur(2)).convert("L")
    soft.save(tmp_path / "soft.png")
    np.testing.assert_array_equal(cache.read_labels(tmp_path / "soft.png"), np.asarray(soft) >= 128)
    drawing().filter(ImageFilter.GaussianBlur(2)).convert("P", palette=Image.Palette.ADAPTIVE).save(
        tmp_path / "indexed.png"
    )
    with pytest.raises(
        InputError, match=r"indexed\.png: indexed mask with \d+ ids, .* smooth edges"
    ):
        cache.read_labels(tmp_path / "indexed.png")


@pytest.mark.parametrize(
    ("colours", "order", "finding"),
    [
        (
            (GREEN, RED, (0, 0, 0)),
            (2, 1, 0),
            r"index 0 is \(0, 128, 0\) and index 2, \(0, 0, 0\), looks like the background",
        ),
        (
            (RED, (0, 0, 0), GREEN),
            (1, 0, 2),
            r"index 0 is \(128, 0, 0\) and index 1, \(0, 0, 0\), looks",
        ),
        (
            (RED, (1, 2, 1), GREEN),
            (1, 0, 2),
            r"index 0 is \(128, 0, 0\) and index 1, \(1, 2, 1\), looks",
        ),
        (
            ((0, 0, 0), (0, 0, 0), RED),
            (1, 2, 2),
            r"index 0 is \(0, 0, 0\) and index 1, \(0, 0, 0\), looks",
        ),
        (
            (RED, (250, 250, 250), GREEN),
            (1, 0, 2),
            r"index 0 is \(128, 0, 0\) and index 1, \(250, 250, 250\), looks",
        ),
    ],
)
def test_an_indexed_mask_whose_background_is_not_index_0_is_refused_or_read_by_its_colours(
    tmp_path, colours, order, finding
):
    labels = np.array(order, np.uint8)[make_labels(1, 2)]
    with_palette(labels, *colours).save(tmp_path / "mask.png")
    with pytest.raises(InputError, match=rf"mask\.png: {finding}.*--palette auto"):
        read_label_map(tmp_path / "mask.png")
    with pytest.raises(InputError, match="looks like the background"):
        cache.read_labels(tmp_path / "mask.png")
    by_colour = read_label_map(tmp_path / "mask.png", colours=ColourNumbering()).labels
    np.testing.assert_array_equal(by_colour > 0, make_labels(1, 2) > 0)


@pytest.mark.parametrize("background", [(0, 0, 0), (255, 255, 255), (40, 90, 200)])
def test_a_background_that_is_index_0_may_have_any_colour(tmp_path, background):
    with_palette(make_labels(1, 2), background, RED, GREEN).save(tmp_path / "mask.png")
    np.testing.assert_array_equal(read_label_map(tmp_path / "mask.png").labels, make_labels(1, 2))


def cut_out(size: tuple[int, int], alpha: np.ndarray, colour=None) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    if colour is not None:
        pixels[:] = colour
    return Image.fromarray(np.dstack([pixels, alpha]))


@pytest.mark.parametrize("colour", [None, (0, 0, 0), RED, (255, 255, 255)])
def test_a_cut_outs_alpha_is_its_mask_cut_at_the_middle_and_said(tmp_path, colour):
    alpha = cv2.GaussianBlur(make_labels(255, 255), (3, 3), 0)
    cut_out((HEIGHT, WIDTH), alpha, colour).save(tmp_path / "cut.png")
    read = read_label_map(tmp_path / "cut.png")
    np.testing.assert_array_equal(read.labels, alpha >= 128)
    assert "alpha" in read.note
    save_frame(tmp_path / "frames/00000.jpg")
    video = VideoFile(tmp_path / "frames", tmp_path / "cut.png")
    assert labelled(video) == {0: [1]}
    assert video.notes == [
        f"frames: cut.png → frame 00000: objects 1 ({100 * (alpha >= 128).mean():.1f} %) ({read.note})"
    ]


def test_a_clear_background_of_an_indexed_mask_keeps_its_ids(tmp_path):
    with_palette(
        make_labels(1, 7), *np.frombuffer(DAVIS_PALETTE, np.uint8).reshape(256, 3).tolist()
    ).save(tmp_path / "mask.png", transparency=0)
    np.testing.assert_array_equal(read_label_map(tmp_path / "mask.png").labels, make_labels(1, 7))


def test_palette_auto_numbers_the_colours_of_a_video_by_size_and_says_so(tmp_path):
    assert read_palette("auto") == "auto"
    for index in range(3):
        save_frame(tmp_path / f"JPEGImages/clip/{index:05d}.jpg", index)
    first = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    first[2:6, 2:6], first[8:20, 8:30] = RED, GREEN
    second = first.copy()
    second[2:22, 32:38] = (9, 9, 200)
    for stem, pixels in (("00000", first), ("00002", second)):
        (tmp_path / "Annotations/clip").mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / f"Annotations/clip/{stem}.png")
    with pytest.raises(
        InputError, match=r"RGB image with 3 colours; .*--palette davis, as these are DAVIS's"
    ):
        check_masks(GenericDataset(tmp_path))
    video = GenericDataset(tmp_path, colours="auto")[0]
    check_masks([video])
    frames = list(video.frames())
    np.testing.assert_array_equal(
        frames[0].labels[..., None] == (1, 2),
        np.stack([(first == GREEN).all(-1), (first == RED).all(-1)], -1),
    )
    assert np.unique(frames[2].labels).tolist() == [0, 3]
    assert video.palette[:12] == bytes([0, 0, 0, *GREEN, *RED, 9, 9, 200])
    assert (
        "--palette auto: (0, 0, 0) → background, (0, 128, 0) → 1, (128, 0, 0) → 2" in video.notes[0]
    )
    assert "(9, 9, 200) → 3" in video.notes[1]
    assert GenericDataset(tmp_path, colours="auto")[0].palette == video.palette, (
        "where another process has looked at the masks"
    )


def test_palette_auto_refuses_smooth_edges_and_photographs(tmp_path):
    drawing().filter(ImageFilter.GaussianBlur(1)).quantize(20, dither=Image.Dither.NONE).convert(
        "RGB"
    ).save(tmp_path / "smooth.png")
    cut_out((HEIGHT, WIDTH), np.full((HEIGHT, WIDTH), 255, np.uint8)).save(tmp_path / "photo.png")
    with pytest.raises(InputError, match=r"RGB mask with .* smooth edges"):
        read_label_map(tmp_path / "smooth.png", colours=ColourNumbering())
    with pytest.raises(InputError, match=r"RGB image with .* colours, which is a photograph"):
        read_label_map(tmp_path / "photo.png", colours=ColourNumbering())


def test_an_rgb_mask_with_few_shades_of_smooth_edges_is_told_so(tmp_path):
    drawing((512, 384), ((255, 255, 255),)).resize((128, 96), Image.Resampling.BOX).save(
        tmp_path / "mask.png"
    )
    with pytest.raises(
        InputError,
        match=r"RGB image with \d+ colours; .*smooth edges: export it without anti-aliasing",
    ):
        read_label_map(tmp_path / "mask.png")


def test_a_stack_of_masks_in_one_file_is_refused(tmp_path):
    masks = [Image.fromarray(make_labels(index)) for index in (1, 2)]
    masks[0].save(tmp_path / "mask.png", save_all=True, append_images=masks[1:])
    with pytest.raises(InputError, match=r"mask\.png: 2 images in one file"):
        read_label_map(tmp_path / "mask.png")


FOLDER = [f"frame_{index:06d}" for index in range(5)]


@pytest.mark.parametrize(
    ("names", "mask", "expected"),
    [
        (FOLDER, "frame_000003", 3),
        (FOLDER, "frame_000003_mask", 3),
        (FOLDER, "mask-frame_000003", 3),
        (FOLDER, "000003", 3),
        (FOLDER, "3", 3),
        (FOLDER, "first", 0),
        (FOLDER, "mask_2", 0),
        (FOLDER, "000007", None),
        (FOLDER, "frame_000007_mask", None),
        (["1", "2", "10"], "10", 2),
        (["a", "b", "c"], "b_mask", 1),
        (["a", "b", "c"], "00002", 0),
        (["00001", "00002"], "00000", None),
    ],
)
def test_a_single_mask_belongs_to_the_frame_of_its_name_or_number(tmp_path, names, mask, expected):
    for name in names:
        save_frame(tmp_path / f"frames/{name}.jpg")
    save_mask(tmp_path / f"{mask}.png", 1)
    if expected is None:
        with pytest.raises(
            InputError, match=rf"{mask}\.png: no frame of number \d+ .*; name the mask as its frame"
        ):
            VideoFile(tmp_path / "frames", tmp_path / f"{mask}.png")
    else:
        assert VideoFile(tmp_path / "frames", tmp_path / f"{mask}.png").first_index == expected


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        ("00003", 3),
        ("3", 3),
        ("frame_000003_mask", 3),
        ("first", 0),
        ("mask_2", 0),
        ("clip", 0),
        ("00006", None),
        ("clip_00006", None),
    ],
)
def test_a_single_mask_of_a_file_belongs_to_the_frame_of_its_number(tmp_path, mask, expected):
    images = [Image.new("RGB", (WIDTH, HEIGHT), (value, 0, 0)) for value in range(0, 120, 20)]
    images[0].save(tmp_path / "clip.tif", save_all=True, append_images=images[1:])
    save_mask(tmp_path / f"{mask}.png", 1)
    if expected is None:
        with pytest.raises(
            InputError, match=rf"{mask}\.png: no frame 6 in clip\.tif, which has 6 images"
        ):
            VideoFile(tmp_path / "clip.tif", tmp_path / f"{mask}.png")
    else:
        assert VideoFile(tmp_path / "clip.tif", tmp_path / f"{mask}.png").first_index == expected


def test_one_line_says_what_was_read_of_each_mask_that_counts(tmp_path):
    make_generic(tmp_path, {"00000": (1, 2), "00001": (1,), "00002": (2, 7)})
    video = GenericDataset(tmp_path)[0]
    assert list(video.frames()) and video.notes == [
        "clip: 00000.png → frame 00000: objects 1 (3.3 %), 2 (3.3 %)",
        "clip: 00002.png → frame 00002: objects 7 (3.3 %)",
    ]


def test_an_empty_mask_under_corrections_is_named(tmp_path):
    make_generic(tmp_path, {"00000": (1,), "00002": ()})
    video = GenericDataset(tmp_path, corrections=True)[0]
    assert labelled(video) == {0: [1]}
    assert (
        video.notes[1]
        == "clip: 00002.png → frame 00002: no object: it corrects nothing, and removes nothing"
    )
    video = GenericDataset(tmp_path)[0]
    assert labelled(video) == {0: [1]} and len(video.notes) == 1


def later_mask(folder: Path, damage: str) -> str:
    path = folder / "00003.png"
    if damage == "size":
        save_mask(path, 1, size=(WIDTH - 1, HEIGHT))
        return "mask of 39x24 for frames of 40x24"
    if damage == "id":
        save_mask(path, 255)
        return "id 255 beside 1"
    if damage == "cut short":
        save_mask(path, 1)
        path.write_bytes(path.read_bytes()[:-30])
        return "damaged"
    if damage == "JPEG content":
        Image.fromarray(make_labels(1)).save(path, "JPEG")
        return "a JPEG file"
    Image.fromarray(make_labels(1)).save(path.with_suffix(damage))
    return "named as frame 00003, but no PNG"


@pytest.mark.parametrize(
    "damage", ["size", "id", "cut short", "JPEG content", ".jpg", ".bmp", ".tif"]
)
def test_a_wrong_later_mask_is_found_before_the_start(tmp_path, damage):
    make_generic(tmp_path, {"00000": (1,)})
    found = later_mask(tmp_path / "Annotations/clip", damage)
    with pytest.raises(InputError, match=rf"clip/00003\.\w+: {found}"):
        check_masks(GenericDataset(tmp_path))


def test_the_headers_of_masks_beyond_those_decoded_are_looked_at(tmp_path, monkeypatch):
    monkeypatch.setattr("dataset.video.masked_video.MASKS_READ_BEFORE_START", 1)
    make_generic(tmp_path, {"00000": (1,), "00001": (1,)})
    found = later_mask(tmp_path / "Annotations/clip", "size")
    with pytest.raises(InputError, match=found):
        check_masks(GenericDataset(tmp_path))


def test_a_label_map_with_one_object_has_no_smooth_edges():
    assert not has_smooth_edges(make_labels(7))
