"""How training reads masks, and keeps decoded files."""

import numpy as np
import pytest
from PIL import Image
from training_trees import GREY_PALETTE, HEIGHT, WIDTH, make_stills, write_mask

from dataset.training.cache import ImageCache
from dataset.training.masks import read_mask


@pytest.mark.parametrize(
    ("stored", "expected"),
    [([0, 255, 255], [0, 1, 1]), ([0, 3, 255], [0, 3, 0]), ([0, 7, 200], [0, 7, 200])],
)
def test_255_is_an_object_if_alone_and_void_beside_other_ids(tmp_path, stored, expected):
    write_mask(tmp_path / "mask.png", np.array([stored], np.uint8), GREY_PALETTE)
    assert read_mask(tmp_path / "mask.png").tolist() == [expected]


def test_grey_masks_with_soft_edges_are_thresholded(tmp_path):
    Image.fromarray(np.array([[0, 60, 127, 128, 200, 255]], np.uint8)).save(tmp_path / "soft.png")
    assert read_mask(tmp_path / "soft.png").tolist() == [[0, 0, 0, 1, 1, 1]]


def test_cache_evicts_the_least_recently_used_beyond_its_budget(tmp_path):
    cache = ImageCache(max_bytes=2 * HEIGHT * WIDTH * 3)
    paths = sorted(make_stills(tmp_path).glob("set/*.jpg"))
    first, second = cache.image(paths[0]), cache.image(paths[1])
    assert cache.image(paths[0]) is first
    cache.image(paths[2])
    assert cache.image(paths[0]) is first and cache.image(paths[1]) is not second
