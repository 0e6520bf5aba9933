"""What a mask means: objects or smooth edges, its background, the frame it is named for, and what
the notes say of it."""

import cv2
import numpy as np
import pytest
from media_trees import (
    HEIGHT,
    WIDTH,
    labelled,
    make_generic,
    make_labels,
    save_frame,
    save_mask,
    with_palette,
)
from PIL import Image, ImageDraw, ImageFilter

from dataset import GenericDataset, VideoFile, check_masks, read_label_map, read_palette
from dataset.mask_checks import has_smooth_edges
from dataset.mask_colours import ColourNumbering
from dataset.training import masks
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
        x, y = size[0] * (number + 0.5) / len(colours), size[1] * 0.5
        radius = min(size[0] / len(colours), size[1]) * 0.35
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
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
        np.asarray(image.convert("L")), ((grey, grey, grey) for grey in range(256))
    ),
}


@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize("smoothed", SMOOTHED)
@pytest.mark.parametrize("size", [(96, 64), (128, 96), (427, 240)])
def test_smooth_edges_are_refused_in_any_palette_and_size(tmp_path, size, smoothed, stored):
    STORED[stored](SMOOTHED[smoothed](drawing(size))).save(tmp_path / "mask.png")
    words = r"mask\.png: (grey|indexed) mask with \d+ ids, .* smooth edges; .* anti-aliasing"
    with pytest.raises(InputError, match=words):
        read_label_map(tmp_path / "mask.png")


def true_masks() -> dict[str, np.ndarray]:
    """Label maps that are correct, however unusual."""
    big = cv2.circle(np.zeros((96, 128), np.uint8), (60, 50), 30, 1, -1)
    tiny, thin, ring, crowd = big.copy(), big.copy(), big.copy(), np.zeros((240, 427), np.uint8)
    tiny[50:52, 90:95] = 2
    cv2.line(thin, (0, 0), (127, 90), 2, 1)
    cv2.line(thin, (0, 90), (127, 4), 3, 2)
    cv2.circle(ring, (60, 50), 12, 2, 5)
    rng = np.random.default_rng(0)
    for object_id in range(1, 31):
        centre = (int(rng.integers(427)), int(rng.integers(240)))
        radii = (int(rng.integers(3, 9)), int(rng.integers(4, 12)))
        cv2.ellipse(crowd, centre, radii, 0, 0, 360, object_id, -1)
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
    path = tmp_path / "mask.png"
    Image.fromarray(make_labels(*labels)).save(path)
    np.testing.assert_array_equal(masks.read_mask(path), make_labels(*expected))
    np.testing.assert_array_equal(read_label_map(path).labels, make_labels(*labels))


def test_training_thresholds_soft_edges_of_one_object_and_refuses_those_of_indexed_masks(tmp_path):
    soft = drawing(colours=((255, 255, 255),)).filter(ImageFilter.GaussianBlur(2)).convert("L")
    soft.save(tmp_path / "soft.png")
    np.testing.assert_array_equal(masks.read_mask(tmp_path / "soft.png"), np.asarray(soft) >= 128)
    blurred = drawing().filter(ImageFilter.GaussianBlur(2))
    blurred.convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "indexed.png")
    with pytest.raises(InputError, match=r"indexed\.png: indexed mask .* smooth edges"):
        masks.read_mask(tmp_path / "indexed.png")


@pytest.mark.parametrize(
    ("colours", "order", "index", "colour"),
    [
        ((GREEN, RED, (0, 0, 0)), (2, 1, 0), 2, (0, 0, 0)),
        ((RED, (0, 0, 0), GREEN), (1, 0, 2), 1, (0, 0, 0)),
        ((RED, (1, 2, 1), GREEN), (1, 0, 2), 1, (1, 2, 1)),
        (((0, 0, 0), (0, 0, 0), RED), (1, 2, 2), 1, (0, 0, 0)),
        ((RED, (250, 250, 250), GREEN), (1, 0, 2), 1, (250, 250, 250)),
    ],
)
def test_an_indexed_mask_whose_background_is_not_index_0_is_refused_or_read_by_its_colours(
    tmp_path, colours, order, index, colour
):
    path = tmp_path / "mask.png"
    with_palette(np.array(order, np.uint8)[make_labels(1, 2)], colours).save(path)
    with pytest.raises(InputError, match=r"mask\.png: .*--palette auto") as refused:
        read_label_map(path)
    finding = f"index 0 is {colours[0]} and index {index}, {colour}, looks like the background"
    assert finding in str(refused.value)
    with pytest.raises(InputError, match="looks like the background"):
        masks.read_mask(path)
    by_colour = read_label_map(path, colours=ColourNumbering()).labels
    np.testing.assert_array_equal(by_colour > 0, make_labels(1, 2) > 0)


@pytest.mark.parametrize("background", [(0, 0, 0), (255, 255, 255), (40, 90, 200)])
def test_a_background_that_is_index_0_may_have_any_colour(tmp_path, background):
    with_palette(make_labels(1, 2), (background, RED, GREEN)).save(tmp_path / "mask.png")
    np.testing.assert_array_equal(read_label_map(tmp_path / "mask.png").labels, make_labels(1, 2))


@pytest.mark.parametrize("colour", [None, (0, 0, 0), RED, (255, 255, 255)])
def test_the_alpha_of_a_cut_out_is_its_mask_and_a_note_says_so(tmp_path, colour):
    alpha = cv2.GaussianBlur(make_labels(255, 255), (3, 3), 0)
    pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    if colour is not None:
        pixels[:] = colour
    Image.fromarray(np.dstack([pixels, alpha])).save(tmp_path / "cut.png")
    read = read_label_map(tmp_path / "cut.png")
    np.testing.assert_array_equal(read.labels, alpha >= 128)
    assert "alpha" in read.note
    save_frame(tmp_path / "frames/00000.jpg")
    video = VideoFile(tmp_path / "frames", tmp_path / "cut.png")
    assert labelled(video) == {0: [1]}
    share = 100 * (alpha >= 128).mean()
    assert video.notes == [
        f"frames: cut.png → frame 00000: objects 1 ({share:.1f} %) ({read.note})"
    ]


def test_a_transparent_background_of_an_indexed_mask_keeps_its_ids(tmp_path):
    image = with_palette(make_labels(1, 7), DAVIS_PALETTE)
    image.save(tmp_path / "mask.png", transparency=0)
    np.testing.assert_array_equal(read_label_map(tmp_path / "mask.png").labels, make_labels(1, 7))


def test_palette_auto_numbers_the_colours_of_a_video_by_size_and_a_note_lists_them(tmp_path):
    assert read_palette("auto") == "auto"
    for index in range(3):
        save_frame(tmp_path / f"JPEGImages/clip/{index:05d}.jpg", index)
    first = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    first[2:6, 2:6], first[8:20, 8:30] = RED, GREEN
    second = first.copy()
    second[2:22, 32:38] = (9, 9, 200)
    (tmp_path / "Annotations/clip").mkdir(parents=True)
    for stem, pixels in (("00000", first), ("00002", second)):
        Image.fromarray(pixels).save(tmp_path / f"Annotations/clip/{stem}.png")
    with pytest.raises(InputError, match=r"RGB image with 3 colours; .*--palette davis"):
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
    numbering = "(0, 0, 0) → background, (0, 128, 0) → 1, (128, 0, 0) → 2"
    assert f"--palette auto: {numbering}" in video.notes[0]
    assert "(9, 9, 200) → 3" in video.notes[1]
    unread = GenericDataset(tmp_path, colours="auto")[0]
    assert unread.palette == video.palette, "another process has read the masks"


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
        words = rf"{mask}\.png: no frame of number \d+ .*; name the mask as its frame"
        with pytest.raises(InputError, match=words):
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
        words = rf"{mask}\.png: no frame 6 in clip\.tif, which has 6 images"
        with pytest.raises(InputError, match=words):
            VideoFile(tmp_path / "clip.tif", tmp_path / f"{mask}.png")
    else:
        assert VideoFile(tmp_path / "clip.tif", tmp_path / f"{mask}.png").first_index == expected


def test_a_note_says_what_was_read_of_each_mask_that_counts(tmp_path):
    make_generic(tmp_path, {"00000": (1, 2), "00001": (1,), "00002": (2, 7)})
    video = GenericDataset(tmp_path)[0]
    assert list(video.frames())
    assert video.notes == [
        "clip: 00000.png → frame 00000: objects 1 (3.3 %), 2 (3.3 %)",
        "clip: 00002.png → frame 00002: objects 7 (3.3 %)",
    ]


def test_a_note_names_an_empty_mask_under_corrections(tmp_path):
    make_generic(tmp_path, {"00000": (1,), "00002": ()})
    video = GenericDataset(tmp_path, corrections=True)[0]
    assert labelled(video) == {0: [1]}
    assert video.notes[1].startswith("clip: 00002.png → frame 00002: no object")
    video = GenericDataset(tmp_path)[0]
    assert labelled(video) == {0: [1]}
    assert len(video.notes) == 1


def test_the_headers_of_masks_beyond_those_decoded_are_checked(tmp_path, monkeypatch):
    monkeypatch.setattr("dataset.video.masked_video.MASKS_READ_BEFORE_START", 1)
    make_generic(tmp_path, {"00000": (1,), "00001": (1,)})
    save_mask(tmp_path / "Annotations/clip/00003.png", 1, size=(WIDTH - 1, HEIGHT))
    with pytest.raises(InputError, match="mask of 39x24 for frames of 40x24"):
        check_masks(GenericDataset(tmp_path))


def test_a_label_map_with_one_object_has_no_smooth_edges():
    assert not has_smooth_edges(make_labels(7))
