"""Still images and their masks are found in the layouts of public data sets."""

import numpy as np
import pytest
from toy_trees import write_jpg, write_png

from dataset.training.still_layouts import scan_static_root
from dataset.training.stills import StillClips

IMAGE, LABELS = np.full((24, 32, 3), 90, np.uint8), np.zeros((24, 32), np.uint8)
LABELS[6:18, 8:24] = 1


def write_pair(root, image, mask):
    write_jpg(root / image, IMAGE)
    write_png(root / mask, LABELS)


PUBLIC_TREES = [
    ("fewshot_data/abacus/1.jpg", "fewshot_data/abacus/1.png", "FSS-1000", 1),
    (
        "DUTS-TR/DUTS-TR-Image/ILSVRC2012_test_00000004.jpg",
        "DUTS-TR/DUTS-TR-Mask/ILSVRC2012_test_00000004.png",
        "DUTS-TR",
        1,
    ),
    ("DUTS-TE-Image/a.jpg", "DUTS-TE-Mask/a.png", "DUTS-TE", 1),
    ("ECSSD/images/0001.jpg", "ECSSD/ground_truth_mask/0001.png", "ECSSD", 1),
    ("BIG/test/2007_000033_im.jpg", "BIG/test/2007_000033_gt.png", "BIG", 5),
    ("HRSOD/HRSOD_train/a.jpg", "HRSOD/HRSOD_train_mask/a.png", "HRSOD", 5),
    ("HRSOD/images/a.png", "HRSOD/masks/a.png", "HRSOD", 5),
    ("static/fss/abacus_1.jpg", "static/fss/abacus_1.png", "FSS-1000", 1),
    ("static/BIG_small/a.jpg", "static/BIG_small/a.png", "BIG", 5),
    ("static/HRSOD_small/a.jpg", "static/HRSOD_small/a.png", "HRSOD", 5),
    ("fss/big_ben/1.jpg", "fss/big_ben/1.png", "FSS-1000", 1),
    ("bigfoot/1.jpeg", "bigfoot/1.png", "bigfoot", 1),
    ("mine/x.y.JPG", "mine/x.y.PNG", "mine", 1),
]


@pytest.mark.parametrize(("image", "mask", "group", "repeats"), PUBLIC_TREES)
def test_a_pair_of_every_public_layout_is_found_and_counts_as_published(
    tmp_path, image, mask, group, repeats
):
    write_pair(tmp_path, image, mask)
    (pair,) = scan_static_root(tmp_path).pairs
    assert (pair.image, pair.mask, pair.group, pair.repeats) == (
        tmp_path / image,
        tmp_path / mask,
        group,
        repeats,
    )
    assert StillClips([tmp_path]).pairs == [(tmp_path / image, tmp_path / mask)] * repeats


def test_all_layouts_may_lie_under_one_root(tmp_path):
    for image, mask, _, _ in PUBLIC_TREES:
        write_pair(tmp_path, image, mask)
    found = scan_static_root(tmp_path)
    assert {(pair.image, pair.mask) for pair in found.pairs} == {
        (tmp_path / image, tmp_path / mask) for image, mask, _, _ in PUBLIC_TREES
    }
    assert found.unpaired == []
    assert StillClips([tmp_path]).distinct_samples == len(PUBLIC_TREES)


def test_the_data_set_is_recognised_by_the_name_of_the_root_too(tmp_path):
    write_pair(tmp_path / "HRSOD_small", "a.jpg", "a.png")
    assert scan_static_root(tmp_path / "HRSOD_small").pairs[0].group == "HRSOD"


def test_unpaired_images_are_listed_and_hidden_files_are_not(tmp_path):
    write_pair(tmp_path, "DUTS-TR-Image/a.jpg", "DUTS-TR-Mask/a.png")
    write_jpg(tmp_path / "DUTS-TR-Image/b.jpg", IMAGE)
    write_png(tmp_path / "DUTS-TR-Mask/c.png", LABELS)
    write_pair(tmp_path, "._d.jpg", "._d.png")
    write_pair(tmp_path, "__MACOSX/e.jpg", "__MACOSX/e.png")
    assert [path.name for path in scan_static_root(tmp_path).unpaired] == ["b.jpg", "c.png"]


def test_linked_folders_are_followed_and_circles_end(tmp_path):
    write_pair(tmp_path / "elsewhere", "a.jpg", "a.png")
    (tmp_path / "static").mkdir()
    (tmp_path / "static/fss").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/again").symlink_to(tmp_path / "static")
    assert [pair.image for pair in scan_static_root(tmp_path / "static").pairs] == [
        tmp_path / "static/fss/a.jpg"
    ]


def test_several_objects_of_one_still_are_drawn_up_to_the_maximum(tmp_path):
    labels = np.zeros((48, 48), np.uint8)
    labels[4:20, 4:20], labels[4:20, 26:44], labels[28:44, 10:40] = 3, 7, 9
    write_jpg(tmp_path / "a.jpg", np.full((48, 48, 3), 90, np.uint8))
    write_png(tmp_path / "a.png", labels)

    def counts(max_objects):
        stills = StillClips([tmp_path], max_objects=max_objects)
        samples = [stills.sample(np.random.default_rng(seed)) for seed in range(6)]
        return {int(sample["num_objects"]) for sample in samples}

    assert counts(1) == {1} and max(counts(2)) == 2 and 3 in counts(3)
