"""Geometry and colours of augmented clips."""

import cv2
import numpy as np
import pytest
from training_trees import make_davis, make_stills

from dataset.training.augmentation import ClipAugmentation, ColourJitter, StillAugmentation
from dataset.training.geometry import (
    Rectangle,
    displace,
    draw_spline_displacement,
    mirror_matrix,
    rotation_matrix,
    scaling_matrix,
    translation_matrix,
    warp_image,
    warp_labels,
)
from dataset.training.stills import StillClips
from dataset.training.video_clips import VideoClips, augment_clip
from dataset.training.video_layouts import find_videos

SIDE = 64
NO_COLOUR_CHANGE = {
    "clip_colour": ColourJitter(),
    "frame_colour": ColourJitter(),
    "grey_probability": 0.0,
}


def make_source(kind, folder):
    if kind == "still":
        augmentation = StillAugmentation(crop_size=128, **NO_COLOUR_CHANGE)
        return StillClips([make_stills(folder)], max_objects=2, augmentation=augmentation)
    augmentation = ClipAugmentation(crop_size=128, **NO_COLOUR_CHANGE)
    return VideoClips(find_videos(make_davis(folder)), augmentation=augmentation)


@pytest.mark.parametrize("kind", ["still", "video"])
def test_masks_fit_the_objects_of_augmented_frames(tmp_path, kind):
    source = make_source(kind, tmp_path)
    kernel = np.ones((5, 5))
    for seed in range(10):
        sample = source.sample(np.random.default_rng(seed))
        frames, labels = sample["frames"].int().numpy(), sample["labels"].numpy()
        red_or_blue = np.maximum(frames[:, 0], frames[:, 2]) - frames[:, 1] > 60
        channels_last = (labels > 0).astype(np.uint8).transpose(1, 2, 0)
        inner = cv2.erode(channels_last, kernel).transpose(2, 0, 1) > 0
        assert red_or_blue[inner].mean() > 0.995
        if int(sample["num_objects"]) == 2:
            outer = cv2.dilate(channels_last, kernel).transpose(2, 0, 1) > 0
            assert red_or_blue[~outer].mean() < 0.005


def test_warped_image_and_labels_are_where_the_matrix_puts_them():
    image, labels = np.zeros((40, 60, 3), np.uint8), np.zeros((40, 60), np.uint8)
    image[10:20, 30:40], labels[10:20, 30:40] = 255, 1
    matrix = scaling_matrix(2, 2) @ translation_matrix(-25, -5) @ mirror_matrix(60)
    visible = Rectangle(0, 0, 60, 40)
    warped, mask = warp_image(image, matrix, visible, 50), warp_labels(labels, matrix, visible, 50)
    # columns 30..39 mirror to 20..29; after the shift by 25, five of them remain, and are doubled
    expected = np.zeros((50, 50), np.uint8)
    expected[10:30, :10] = 1
    assert np.array_equal(mask, expected)
    assert warped[12:28, :8].min() > 240 and warped[35:, 15:].max() < 15


def test_strong_shrinking_averages_instead_of_aliasing():
    checks = ((np.indices((256, 256)).sum(0) % 2) * 255).astype(np.uint8)[..., None].repeat(3, 2)
    shrunk = warp_image(checks, scaling_matrix(0.25, 0.25), Rectangle(0, 0, 256, 256), 64)
    assert np.abs(shrunk[4:-4, 4:-4].astype(int) - 127).max() <= 3


def test_rotation_keeps_its_centre_and_scales_areas():
    matrix = rotation_matrix((10.0, 20.0), 33.0, 1.5, 8.0)
    assert np.allclose(matrix @ [10, 20, 1], [10, 20, 1])
    assert np.isclose(np.linalg.det(matrix), 1.5**2)


def test_spline_bends_smoothly_by_the_given_amount():
    fields = np.stack(
        [draw_spline_displacement(np.random.default_rng(seed), 128, 12, 0.02) for seed in range(20)]
    )
    assert 0.5 < np.median(np.abs(fields)) / (0.02 * 128) < 2
    assert np.abs(np.diff(fields, axis=1)).max() < 2  # neighbours stay neighbours
    assert np.abs(draw_spline_displacement(np.random.default_rng(0), 128, 12, 0.0)).max() == 0


def test_displacing_samples_images_linearly_and_masks_to_the_nearest_pixel():
    step = np.zeros((8, 8), np.uint8)
    step[:, 4:] = 200
    quarter_pixel = np.full((8, 8, 2), (0.25, 0), np.float32)
    image, labels = displace(step[..., None].repeat(3, 2), step, quarter_pixel)
    # cubic sampling would undershoot and overshoot
    assert image[3, :, 0].tolist()[:7] == [0, 0, 0, 50, 200, 200, 200]
    assert labels[3].tolist()[:7] == [0, 0, 0, 0, 200, 200, 200]


def test_the_defaults_are_the_published_values():
    """STCN's public training code, as its description in the paper's supplement lists it."""
    assert ClipAugmentation() == ClipAugmentation(
        crop_size=384,
        crop_area=(0.36, 1.0),
        crop_aspect=(3 / 4, 4 / 3),
        flip_probability=0.5,
        clip_colour=ColourJitter(brightness=0.1, contrast=0.03, saturation=0.03),
        grey_probability=0.05,
        frame_rotation_degrees=15.0,
        frame_shear_degrees=10.0,
        frame_scale=(1.0, 1.0),
        frame_colour=ColourJitter(brightness=0.01, contrast=0.01, saturation=0.01),
    )
    assert StillAugmentation() == StillAugmentation(
        crop_size=384,
        clip_scale=(0.8, 1.5),
        flip_probability=0.5,
        clip_colour=ColourJitter(brightness=0.1, contrast=0.05, saturation=0.05, hue=0.05),
        grey_probability=0.05,
        frame_rotation_degrees=20.0,
        frame_shear_degrees=10.0,
        frame_scale=(0.9, 1.1),
        frame_colour=ColourJitter(brightness=0.1, contrast=0.05, saturation=0.05),
        bend_probability=1 / 3,
        bend_points=12,
        bend_deviation=0.02,
    )


@pytest.mark.parametrize(
    ("part", "measure"),
    [
        ("contrast", lambda frame: float(frame.std())),
        ("saturation", lambda frame: float(np.ptp(frame, axis=2).mean())),
    ],
)
def test_each_frame_of_a_clip_has_its_own_contrast_and_saturation(part, measure):
    """On a picture that no warp changes, so that frames differ only in colour."""
    picture = np.full((SIDE, SIDE, 3), 90, np.uint8)
    picture[:, ::2] = (220, 60, 20)
    augmentation = ClipAugmentation(
        crop_size=SIDE,
        crop_area=(1.0, 1.0),
        crop_aspect=(1.0, 1.0),
        frame_rotation_degrees=0.0,
        frame_shear_degrees=0.0,
        **{**NO_COLOUR_CHANGE, "frame_colour": ColourJitter(**{part: 0.2})},
    )
    pairs = [(picture, picture[..., 0])] * 5
    frames, _ = augment_clip(np.random.default_rng(0), pairs, augmentation)
    assert len({measure(frame) for frame in frames}) >= 4


def test_colour_jitter_follows_its_definitions():
    image = np.random.default_rng(0).integers(60, 180, (16, 16, 3), dtype=np.uint8)
    rng = np.random.default_rng(1)
    unchanged = ColourJitter().draw(rng).apply(image)
    brighter = ColourJitter(brightness=0.3).draw(rng)
    grey = ColourJitter().draw(rng, grey_probability=1.0).apply(image)
    assert np.array_equal(unchanged, image)
    assert np.abs(brighter.apply(image) - np.clip(image * brighter.brightness, 0, 255)).max() <= 1
    assert (grey == grey[..., :1]).all()
    turned = ColourJitter(hue=0.5).draw(np.random.default_rng(4)).apply(image)
    assert np.abs(turned.max(-1).astype(int) - image.max(-1)).max() <= 4
    assert np.abs(turned.astype(int) - image).mean() > 5
