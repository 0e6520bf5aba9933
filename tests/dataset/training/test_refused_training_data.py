"""Training data that is refused: each input → the words that matter of its one line."""

import numpy as np
import pytest
from PIL import Image
from training_trees import make_davis, make_stills, write_mask, write_pair

from dataset.training.augmentation import StillAugmentation
from dataset.training.loading import training_batches
from dataset.training.masks import read_mask
from dataset.training.samples import MixedTrainingData
from dataset.training.sources import SampleConfig, TrainingRoots, build_training_data
from dataset.training.still_layouts import LAYOUTS
from dataset.training.stills import StillClips
from dataset.training.video_layouts import find_videos
from util.errors import InputError

SIDE = 64
DAVIS_LAYOUT = r"expected ROOT/JPEGImages/480p/VIDEO/NAME\.jpg"
MASK_OF_BEAR = "Annotations/480p/bear/00003.png"


def draw_still(root, seeds=1, **augmentation):
    stills = StillClips([root], augmentation=StillAugmentation(crop_size=SIDE, **augmentation))
    for seed in range(seeds):
        stills.sample(np.random.default_rng(seed))


def build(roots, mix, **options):
    config = SampleConfig(crop_size=SIDE)
    return build_training_data(roots, config, mix=mix, samples=10, seed=0, **options)


def build_videos(root, **options):
    return build(TrainingRoots(davis=[make_davis(root)]), {"video": 1}, **options)


def find_in_empty_folders(root, *folders):
    for folder in folders:
        (root / folder).mkdir(parents=True)
    find_videos(root)


def find_with_empty_list(root):
    (make_davis(root) / "ImageSets/2017/train.txt").write_text("\n")
    find_videos(root)


def find_without_list(root):
    (make_davis(root) / "ImageSets/2017/train.txt").unlink()
    find_videos(root)


def find_without_frame(root):
    (make_davis(root) / "JPEGImages/480p/bear/00003.jpg").unlink()
    find_videos(root)


def find_without_frames(root):
    (make_davis(root) / "JPEGImages/480p/bear").rename(root / "bear")
    find_videos(root)


def find_with_jpg_mask(root):
    mask = make_davis(root) / MASK_OF_BEAR
    mask.rename(mask.with_suffix(".jpg"))
    find_videos(root)


def draw_damaged_still(root):
    image = make_stills(root) / "set/1.jpg"
    image.write_bytes(image.read_bytes()[:400])
    draw_still(root, seeds=50)


def draw_mask_of_another_size(root):
    write_pair(root / "a.jpg", root / "a.png")
    Image.fromarray(np.ones((10, 10), np.uint8)).save(root / "a.png")
    draw_still(root)


def draw_empty_masks(root):
    write_pair(root / "a.jpg", root / "a.png", ids=())
    MixedTrainingData([(StillClips([root]), 1.0)], samples=1, seed=0)[0]


def read_coloured_mask(root):
    Image.fromarray(np.array([[[255, 0, 0]]], np.uint8)).save(root / "colour.png")
    read_mask(root / "colour.png")


def read_deep_mask(root):
    Image.fromarray(np.full((4, 4), 300, np.uint16)).save(root / "deep.png")
    read_mask(root / "deep.png")


def load_indivisible_batches(root):
    data = build(TrainingRoots(), {"synthetic": 1})
    training_batches(data, 4, accumulate=3)


REFUSED = {
    "no folder": (lambda root: find_videos(root / "nowhere"), f"no such folder; {DAVIS_LAYOUT}"),
    "an empty folder": (lambda root: find_in_empty_folders(root, "a"), DAVIS_LAYOUT),
    "no video": (lambda root: find_in_empty_folders(root, "Annotations"), DAVIS_LAYOUT),
    "an empty list": (find_with_empty_list, f"train.txt: no training video; {DAVIS_LAYOUT}"),
    "no list": (find_without_list, r"no 2017/train\.txt"),
    "a mask without frame": (find_without_frame, r"00003\.png: no frame of this name"),
    "no folder of frames": (find_without_frames, "JPEGImages/480p/bear: folder is missing"),
    "a mask that is no PNG": (find_with_jpg_mask, r"00003\.jpg: 1 mask .* no PNG"),
    "an unknown name in the subset": (
        lambda root: build_videos(root, subset=["bear", "cow"]),
        "cow: named in the subset",
    ),
    "no video chosen": (
        lambda root: build_videos(root, subset=["bear"], exclude=["bear"]),
        "among the 0 chosen",
    ),
    "a root named as a kind": (
        lambda root: build(TrainingRoots(named={"static": ["x"]}), {"video": 1}),
        "--video_root static: this name is a kind of samples already",
    ),
    "an unknown kind": (
        lambda root: build(TrainingRoots(named={"mine": ["x"]}), {"yours": 1}),
        "'yours' is not known; the kinds are static, video, synthetic, mine",
    ),
    "no root of videos": (
        lambda root: build(TrainingRoots(), {"video": 1}),
        "give --davis_root, --yv_root, --bl_root or --video_root",
    ),
    "no root of stills": (
        lambda root: build(TrainingRoots(), {"static": 1}),
        "give --static_root",
    ),
    "a named root that is missing": (
        lambda root: build(TrainingRoots(named={"mine": ["nowhere"]}), {"mine": 1}),
        f"nowhere: no such folder; {DAVIS_LAYOUT}",
    ),
    "weights of zero": (
        lambda root: MixedTrainingData([(None, 0.0)], samples=1, seed=0),
        "weights",
    ),
    "a damaged image": (draw_damaged_still, r"1\.jpg: damaged or unreadable"),
    "a mask of another size": (draw_mask_of_another_size, "mask is 10x10 but a.jpg is 100x72"),
    "masks without objects": (draw_empty_masks, r"a\.png: mask without objects"),
    "an object that is never in the crop": (
        lambda root: draw_still(make_stills(root), clip_scale=(50.0, 50.0)),
        "^100 images drawn from .*, none with an object in its first crop",
    ),
    "a coloured mask": (read_coloured_mask, r"colour\.png: coloured mask"),
    "a mask of 16 bits": (read_deep_mask, "more than 8 bits with labels up to 300"),
    "a batch that does not divide": (load_indivisible_batches, "batch size 4: 1 process x 3"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_training_data(tmp_path, case):
    attempt, words = REFUSED[case]
    with pytest.raises(InputError, match=words) as caught:
        attempt(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "finding"),
    [
        ("empty", "no image with its mask"),
        ("nowhere", "no such folder"),
        ("a_file", "not a folder"),
    ],
)
def test_a_root_without_pairs_is_refused_with_every_expected_layout(tmp_path, name, finding):
    (tmp_path / "empty").mkdir()
    write_mask(tmp_path / "empty/a.png", np.zeros((4, 4), np.uint8))
    (tmp_path / "a_file").write_text("")
    with pytest.raises(InputError, match=finding) as caught:
        StillClips([tmp_path / name])
    message = str(caught.value)
    assert "\n" not in message and all(layout.description in message for layout in LAYOUTS)
