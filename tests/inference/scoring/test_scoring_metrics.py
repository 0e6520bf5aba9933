"""J, F and their statistics: the official toolkit's numbers, and the definition beyond them."""

import math

import numpy as np
import pytest
from repository import DATA

from inference.scoring.metrics import (
    boundary_accuracy,
    boundary_map,
    disk,
    region_similarity,
    statistics,
)

GOLDEN = np.load(DATA / "scores_golden.npz")


@pytest.mark.parametrize("entry", ["a", "b", "c"])
def test_measures_equal_the_official_toolkit(entry):
    truth, result = GOLDEN[f"{entry}/gt"], GOLDEN[f"{entry}/pred"]
    for row, object_id in enumerate((1, 2)):
        pairs = [(a == object_id, b == object_id) for a, b in zip(truth, result, strict=True)]
        j = np.array([region_similarity(*pair) for pair in pairs])
        f = np.array([boundary_accuracy(*pair) for pair in pairs])
        np.testing.assert_allclose(j, GOLDEN[f"{entry}/J"][row], rtol=0, atol=1e-9)
        np.testing.assert_allclose(f, GOLDEN[f"{entry}/F"][row], rtol=0, atol=1e-9)
        six = [value for values in (j, f) for value in vars(statistics(values[1:-1])).values()]
        np.testing.assert_allclose(six, GOLDEN[f"{entry}/stats"][row], rtol=0, atol=1e-9)


def boundary_accuracy_by_definition(truth: np.ndarray, result: np.ndarray) -> float:
    """F over the whole frame, pixel pair by pixel pair."""
    radius = math.ceil(0.008 * math.hypot(*truth.shape))

    def points(mask):
        height, width = mask.shape
        inside = [
            (y, x)
            for y in range(height)
            for x in range(width)
            if any(
                mask[y, x] != mask[v, u]
                for v, u in ((y, x + 1), (y + 1, x), (y + 1, x + 1))
                if v < height and u < width
            )
        ]
        return np.array(inside).reshape(-1, 2)

    ours, theirs = points(truth), points(result)
    if not len(ours) or not len(theirs):
        return float(len(ours) == len(theirs))
    near = ((ours[:, None] - theirs[None]) ** 2).sum(-1) <= radius**2
    recall, precision = near.any(1).mean(), near.any(0).mean()
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@pytest.mark.parametrize("seed", range(6))
def test_boundaries_at_the_frame_edges_are_measured_by_definition(seed):
    generator = np.random.default_rng(seed)
    for shape in ((90, 120), (17, 140)):
        masks = np.zeros((2, *shape), bool)
        for mask in masks:
            for _ in range(generator.integers(0, 3)):
                y, x = generator.integers(-20, shape[0]), generator.integers(-20, shape[1])
                mask[max(y, 0) : max(y + 30, 0), max(x, 0) : max(x + 30, 0)] ^= True
        assert boundary_accuracy(*masks) == pytest.approx(
            boundary_accuracy_by_definition(*masks), abs=1e-12
        )


def test_a_boundary_lies_half_a_pixel_towards_the_origin():
    mask = np.zeros((4, 4), bool)
    mask[2:, 2:] = True
    assert boundary_map(mask).tolist() == [[0, 0, 0, 0], [0, 1, 1, 1], [0, 1, 0, 0], [0, 1, 0, 0]]


def test_the_disk_is_round():
    assert disk(2).tolist() == [
        [0, 0, 1, 0, 0],
        [0, 1, 1, 1, 0],
        [1, 1, 1, 1, 1],
        [0, 1, 1, 1, 0],
        [0, 0, 1, 0, 0],
    ]


def test_two_empty_masks_are_equal_and_one_empty_mask_scores_nothing():
    empty, full, square = (
        np.zeros((24, 32), bool),
        np.ones((24, 32), bool),
        np.zeros((24, 32), bool),
    )
    square[8:14, 8:14] = True
    assert (region_similarity(empty, empty), boundary_accuracy(empty, empty)) == (1, 1)
    for pair in ((empty, square), (square, empty)):
        assert (region_similarity(*pair), boundary_accuracy(*pair)) == (0, 0)
    assert boundary_accuracy(full, full) == 1  # no boundary in either
    assert boundary_accuracy(full, square) == 0


def test_decay_of_a_long_video_has_no_overflow():
    values = np.linspace(1, 0, 1001)  # edges 0 250 500 750 1000
    assert statistics(values).decay == pytest.approx(values[:251].mean() - values[750:].mean())
    assert statistics(values).recall == pytest.approx(500 / 1001)
    assert statistics(np.array([0.25])).decay == 0
    with pytest.raises(ValueError, match="at least one frame"):
        statistics(np.array([]))
