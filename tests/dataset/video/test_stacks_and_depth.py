"""Stacks of images are videos, and one scale converts the 16-bit frames of a video to 8 bits."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from media_trees import HEIGHT, WIDTH, save_mask
from PIL import Image

from dataset import FrameRange, GenericDataset, VideoFile, open_live
from dataset.frame_range import range_of
from dataset.image_file import folder_range, image_sizes, read_image
from dataset.training.cache import ImageCache
from dataset.video.file_source import open_source
from inference import VideoSegmenter
from inference.output.run_folder import RunFolder
from inference.runner import run
from model import build_network
from util.errors import InputError


def pages(count: int = 4) -> list[Image.Image]:
    """RGB images, each with a red square further to the right."""
    images = []
    for index in range(count):
        pixels = np.full((HEIGHT, WIDTH, 3), 20 + index, np.uint8)
        pixels[4:12, 6 * index : 6 * index + 8] = (200, 0, 0)
        images.append(Image.fromarray(pixels))
    return images


def save_stack(path: Path, images: list[Image.Image], **settings) -> Path:
    images[0].save(path, save_all=True, append_images=images[1:], **settings)
    return path


def pictures_of(path: Path, **settings) -> list:
    return list(open_source(path, **settings).pictures(0, (0, 0)))


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("a.tif", {}),
        ("a.TIFF", {"compression": "tiff_lzw"}),
        ("a.png", {"duration": 40}),
        ("a.webp", {"duration": 40, "lossless": True}),
        ("a.gif", {"duration": 40}),
        ("no_ending", {"format": "TIFF"}),
    ],
)
def test_a_stack_of_images_is_a_video(tmp_path, name, settings):
    path = save_stack(tmp_path / name, pages(), **settings)
    save_mask(tmp_path / "masks/00001.png", 1)
    save_mask(tmp_path / "masks/00002.png", 2)
    video = VideoFile(path, tmp_path / "masks")
    video.validate()
    frames = list(video.frames())
    assert (video.frame_count, video.frames_per_second) == (
        4,
        25 if "duration" in settings else None,
    )
    assert [(frame.name, frame.labels is not None) for frame in frames] == [
        ("00001", True),
        ("00002", True),
        ("00003", False),
    ]
    for frame, page in zip(frames, pages()[1:], strict=True):
        np.testing.assert_allclose(frame.image, np.asarray(page), atol=2)
    if "duration" in settings:
        assert [frame.seconds for frame in frames] == pytest.approx([0.04, 0.08, 0.12])


def test_a_stack_has_no_rate_to_be_played_at(tmp_path):
    save_mask(tmp_path / "mask.png", 1)
    path = save_stack(tmp_path / "two.tif", pages(2))
    with pytest.raises(InputError, match=r"two\.tif: images have no rate to be played at"):
        open_live(str(path), tmp_path / "mask.png", newest_only=True, stall_seconds=1)


@pytest.mark.parametrize("name", ["0.tif", "0.png", "0.webp"])
def test_a_stack_in_a_folder_of_frames_is_refused(tmp_path, name):
    path = tmp_path / f"JPEGImages/clip/{name}"
    path.parent.mkdir(parents=True)
    save_stack(path, pages())
    save_mask(tmp_path / "Annotations/clip/0.png", 1)
    with pytest.raises(InputError, match=rf"clip/{name}: a stack of 4 images; save each as a file"):
        GenericDataset(tmp_path)[0].validate()
    with pytest.raises(InputError, match="a stack of 4 images"):
        read_image(path)


def test_a_tiffs_reduced_copy_is_no_page(tmp_path):
    whole, reduced = Image.new("RGB", (WIDTH, HEIGHT), (9, 9, 9)), Image.new("RGB", (20, 16))
    reduced.encoderinfo = {"tiffinfo": {254: 1}}
    whole.save(tmp_path / "0.tif", save_all=True, append_images=[reduced])
    with Image.open(tmp_path / "0.tif") as image:
        image.seek(1)
        if 254 not in image.tag_v2:
            pytest.skip("this version of Pillow marks no image of a TIFF as reduced")
    assert (read_image(tmp_path / "0.tif") == 9).all()


def ramp(low: int, high: int, index: int = 0, colours: bool = False) -> np.ndarray:
    values = np.linspace(low, high, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH).round().astype(np.uint16)
    values[4:12, 4 * index : 4 * index + 4] = high
    return np.stack([values, values[::-1], values[:, ::-1]], axis=2) if colours else values


def write_deep(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), values[..., ::-1] if values.ndim == 3 else values)


@pytest.mark.parametrize("ending", ["png", "tif"])
@pytest.mark.parametrize("colours", [False, True])
def test_16_bit_frames_have_one_scale_for_the_video_and_a_note_names_it(tmp_path, ending, colours):
    for index in range(3):
        write_deep(
            tmp_path / f"frames/{index}.{ending}",
            ramp(100 * index, 1023 - 100 * (2 - index), index, colours),
        )
    source = open_source(tmp_path / "frames")
    pictures = list(source.pictures(0, (0, 0)))
    assert source.frame_range == FrameRange(0, 1023)
    assert "frames: 16-bit frames; 0 is read as black and 1023 as white" in source.notes[0]
    for index, picture in enumerate(pictures):
        values = ramp(100 * index, 1023 - 100 * (2 - index), index, colours).astype(float)
        expected = np.rint(values * 255 / 1023)
        np.testing.assert_allclose(
            picture.image,
            expected if colours else np.repeat(expected[..., None], 3, axis=2),
            atol=1,
        )


def test_a_note_says_that_a_range_given_for_8_bit_frames_is_not_used(tmp_path):
    pages = [Image.new("RGB", (32, 32), (index, 9, 9)) for index in range(3)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    (tmp_path / "frames").mkdir()
    pages[0].save(tmp_path / "frames/0.png")
    for name in ("a.tif", "frames"):
        source = open_source(tmp_path / name, FrameRange(0, 1000))
        assert next(source.pictures(0, (32, 32))).image[0, 0].tolist() == [0, 9, 9]
        assert [note for note in source.notes if "--frame_range is not used" in note]
        assert open_source(tmp_path / name).notes == []


def test_the_scale_can_be_given_and_is_recorded(tmp_path):
    for index in range(2):
        write_deep(tmp_path / f"data/JPEGImages/clip/{index}.png", ramp(500, 700, index))
    save_mask(tmp_path / "data/Annotations/clip/0.png", 1)
    segmenter = VideoSegmenter(build_network("tiny"), device="cpu")
    for given, expected in ((None, [500, 700]), (FrameRange(0, 1000), [0, 1000])):
        dataset = GenericDataset(tmp_path / "data", frame_range=given)
        image = next(iter(dataset[0].frames())).image
        assert int(image.max()) == (255 if given is None else round(700 * 255 / 1000))
        out = tmp_path / f"out{expected[0]}"
        run(dataset, segmenter, RunFolder(out, {}))
        assert (
            json.loads((out / "config.json").read_text())["inputs"]["clip"]["frame_range"]
            == expected
        )


def test_hot_and_dead_pixels_do_not_set_the_scale():
    frame = np.full((200, 200), 300, np.uint16)
    frame[:100] = 800
    frame[7, 7], frame[9, 9] = 65535, 0
    assert range_of([frame] * 3) == FrameRange(300, 800)
    assert range_of([np.full((20, 20), 7, np.uint16)]) == FrameRange(0, 65535)


def test_a_stack_of_16_bit_images_has_one_scale(tmp_path):
    save_stack(tmp_path / "a.tif", [Image.fromarray(ramp(200, 600, index)) for index in range(3)])
    pictures = pictures_of(tmp_path / "a.tif")
    for index, picture in enumerate(pictures):
        np.testing.assert_allclose(
            picture.image[..., 1], (ramp(200, 600, index) - 200.0) * 255 / 400, atol=1
        )


def test_a_turned_16_bit_frame_is_shown_upright(tmp_path):
    exif = Image.Exif()
    for orientation in range(1, 9):
        exif[0x0112] = orientation
        values = ramp(0, 1000, 2)
        png, tif = tmp_path / f"{orientation}.png", tmp_path / f"{orientation}.tif"
        in_8_bits = Image.fromarray((values // 4).astype(np.uint8))
        in_8_bits.save(png, exif=exif)
        for compression in ("raw", "tiff_lzw"):
            path = tmp_path / f"{orientation}{compression}.tif"
            Image.fromarray(values).save(path, exif=exif, compression=compression)
            in_8_bits.save(tif, exif=exif, compression=compression)
            deep = read_image(path, frame_range=FrameRange(0, 1020))
            shallow = read_image(png)
            np.testing.assert_allclose(deep.astype(int), shallow, atol=1)
            np.testing.assert_array_equal(read_image(tif), shallow)
            assert image_sizes(path).shown == deep.shape[:2]


def test_training_reads_16_bit_images_by_one_scale_for_their_folder(tmp_path):
    folder_range.cache_clear()
    for index in range(3):
        write_deep(tmp_path / f"{index}.png", ramp(50 * index, 800 + 50 * index))
        Image.new("P", (WIDTH, HEIGHT)).save(tmp_path / f"{index}.gif")
    images = [ImageCache().image(tmp_path / f"{index}.png") for index in range(3)]
    assert images[0].min() == 0 and images[2].max() == 255
    assert images[1].min() == pytest.approx(50 * 255 / 900, abs=1)
    assert images[1].max() == pytest.approx(850 * 255 / 900, abs=1)
