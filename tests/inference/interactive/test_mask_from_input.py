"""Boxes, scribbles and clicks become masks, by GrabCut."""

import math

import cv2
import numpy as np
import pytest

from inference.interactive import GrabCutMask, Stroke
from inference.scoring.metrics import region_similarity

HEIGHT, WIDTH = 60, 80
SQUARE = (slice(15, 45), slice(20, 50))
OTHER = (slice(5, 15), slice(62, 76))


@pytest.fixture(scope="module")
def frame():
    """A red square and, apart from it, a red rectangle, before a noisy blue background."""
    generator = np.random.default_rng(0)
    image = generator.integers(0, 40, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    image[..., 2] += 120
    for part in (SQUARE, OTHER):
        image[part] = generator.integers(0, 40, image[part].shape, dtype=np.uint8)
        image[(*part, 0)] += 180
    return image


@pytest.fixture(scope="module")
def square():
    return mask_of(SQUARE)


def mask_of(*parts):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    for part in parts:
        mask[part] = True
    return mask


def test_a_box_gives_the_object_in_it(frame, square):
    mask = GrabCutMask().mask(frame, None, [], (15, 10, 56, 50))
    assert mask.dtype == bool and region_similarity(square, mask) > 0.95
    assert np.array_equal(mask, GrabCutMask().mask(frame, None, [], (56, 50, 15, 10)))


@pytest.mark.parametrize(
    "points", [[(35, 30)], [(25, 20), (45, 40)]], ids=["a click", "a scribble"]
)
def test_a_stroke_gives_the_object_below_it_and_no_other(frame, square, points):
    mask = GrabCutMask(reach=0.3).mask(frame, None, [Stroke(points)], None)
    assert region_similarity(square, mask) > 0.95


def test_a_correction_adds_what_is_missing_and_removes_what_is_too_much(frame, square):
    previous = mask_of((slice(15, 45), slice(20, 35)), (slice(20, 40), slice(10, 20)))
    strokes = [Stroke([(44, 20), (44, 40)]), Stroke([(14, 24), (14, 36)], positive=False)]
    mask = GrabCutMask(reach=0.5).mask(frame, previous, strokes, None)
    assert region_similarity(square, mask) > 0.95


def test_a_correction_leaves_regions_without_a_stroke_unchanged(frame):
    wrong_elsewhere = mask_of(SQUARE, (slice(50, 58), slice(2, 12)))
    wrong_elsewhere[:, 40:50] = False
    mask = GrabCutMask(reach=3).mask(frame, wrong_elsewhere, [Stroke([(45, 30)])], None)
    assert np.array_equal(mask[50:58, 2:12], wrong_elsewhere[50:58, 2:12])
    assert not mask[OTHER].any() and mask[SQUARE].all()


def test_strokes_count_wherever_they_are_and_the_later_one_of_two_that_cross(frame, square):
    generator = np.random.default_rng(1)
    for _ in range(8):
        points = generator.uniform(-20, 100, (4, 2, 2))
        strokes = [
            Stroke(line.tolist(), bool(number % 2), radius=0) for number, line in enumerate(points)
        ]
        box = None if generator.random() < 0.5 else (10, 10, 60, 50)
        mask = GrabCutMask().mask(frame, square, strokes, box)
        kinds = np.zeros((HEIGHT, WIDTH), np.uint8)
        for stroke in strokes:
            line = np.rint(stroke.points).astype(np.int32)
            cv2.polylines(kinds, [line], False, 1 + stroke.positive, 1)
        assert not mask[kinds == 1].any() and mask[kinds == 2].all()


@pytest.mark.parametrize("box", [None, (30, 30, 30, 30), (5, 9, 40, 9), (200, 5, 300, 40)])
@pytest.mark.parametrize("points", [None, [(-50, -9), (-3, 70)], [(1e9, 1e9)], [(300, 30)]])
def test_input_that_shows_nothing_keeps_the_previous_mask(frame, square, box, points):
    strokes = [] if points is None else [Stroke(points, radius=1)]
    for previous in (square, None):
        mask = GrabCutMask().mask(frame, previous, strokes, box)
        assert np.array_equal(mask, np.zeros_like(square) if previous is None else square)
        assert mask is not previous


def test_a_class_without_pixels_is_no_error(frame, square):
    cut = GrabCutMask()
    assert cut.mask(frame, None, [], (-9, -9, 500, 500)).all()
    everything = Stroke([(40, 30)], positive=False, radius=100)
    assert not cut.mask(frame, square, [everything], None).any()
    assert cut.mask(frame, square, [Stroke([(40, 30)], radius=1e6)], None).all()
    one_pixel = cut.mask(
        frame, None, [Stroke([(40, 30)], False, 1e6), Stroke([(3, 4)], radius=0)], None
    )
    assert np.argwhere(one_pixel).tolist() == [[4, 3]]


def test_a_negative_stroke_alone_makes_no_object(frame):
    assert not GrabCutMask().mask(frame, None, [Stroke([(35, 30)], positive=False)], None).any()


def test_tiny_frames_are_cut(frame):
    for height, width in ((1, 1), (1, 7), (2, 2)):
        small = frame[:height, :width]
        assert GrabCutMask().mask(small, None, [Stroke([(0, 0)], radius=0)], None)[0, 0]
        assert GrabCutMask().mask(small, None, [], (0, 0, 6, 6)).shape == (height, width)


def test_large_frames_are_reduced_to_a_bounded_size(frame, square, monkeypatch):
    large = cv2.resize(frame, (10 * WIDTH, 10 * HEIGHT), interpolation=cv2.INTER_NEAREST)
    sizes = []
    grab_cut = cv2.grabCut

    def watched(image, *arguments):
        sizes.append(image.shape[0] * image.shape[1])
        return grab_cut(image, *arguments)

    monkeypatch.setattr(cv2, "grabCut", watched)
    mask = GrabCutMask(max_pixels=4000).mask(large, None, [], (150, 100, 560, 500))
    truth = np.kron(square, np.ones((10, 10), bool))
    assert region_similarity(truth, mask) > 0.9
    assert len(sizes) == 1 and 3600 < sizes[0] < 4400


def test_the_same_input_gives_the_same_mask_after_any_other(frame, square):
    strokes = [Stroke([(25, 20), (45, 40)])]
    first = GrabCutMask().mask(frame, None, strokes, None)
    GrabCutMask().mask(frame, square, [Stroke([(5, 5)])], None)
    assert np.array_equal(GrabCutMask().mask(frame, None, strokes, None), first)


def test_input_is_not_changed(frame, square):
    before = frame.copy(), square.copy()
    GrabCutMask().mask(frame, square, [Stroke([(5, 5)]), Stroke([(30, 30)], False)], (0, 0, 50, 50))
    assert np.array_equal(frame, before[0]) and np.array_equal(square, before[1])


@pytest.mark.parametrize(
    ("points", "radius", "words"),
    [
        ([], 1, "is needed"),
        ([(1, 2, 3)], 1, "is needed"),
        ([(math.nan, 1)], 1, "not all are finite"),
        ([(1, 1)], -1, "radius of a stroke: -1"),
        ([(1, 1)], math.nan, "radius of a stroke: nan"),
    ],
)
def test_wrong_strokes_are_refused(points, radius, words):
    with pytest.raises(ValueError, match=words):
        Stroke(points, radius=radius)


def test_wrong_arguments_are_refused(frame, square):
    cut = GrabCutMask()
    for arguments, words in (
        ((frame[..., 0], None, [], None), "frame: uint8"),
        ((frame.astype(float), None, [], None), "frame: float64"),
        ((frame, square[:9], [], None), "previous mask: shape"),
        ((frame, None, [], (0, 0, math.inf, 9)), "four finite numbers"),
        ((frame, None, [], (0, 0, 9)), "four finite numbers"),
    ):
        with pytest.raises(ValueError, match=words):
            cut.mask(*arguments)
    for settings in ({"max_pixels": 0}, {"iterations": 0}, {"reach": 0}, {"reach": math.nan}):
        with pytest.raises(ValueError, match="must be at least 1"):
            GrabCutMask(**settings)
