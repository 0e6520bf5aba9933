"""From the user's folders to the samples of a training."""

import numpy as np
import pytest
from PIL import Image
from training_trees import HEIGHT, WIDTH, make_bl, make_davis, write_pair

from dataset.training.sources import SampleConfig, TrainingRoots, build_training_data
from util.errors import InputError

SIDE = 64


@pytest.fixture
def davis_root(tmp_path):
    return make_davis(tmp_path / "davis")


@pytest.fixture
def bl_root(tmp_path):
    return make_bl(tmp_path / "bl30k")


def build(roots, mix, config=None, **options):
    config = config or SampleConfig(crop_size=SIDE)
    return build_training_data(roots, config, mix=mix, samples=10, seed=0, **options)


def video_names(data):
    """For each source, the names of its videos."""
    return [[video.name for video in source.videos] for source in data.sources]


def test_subset_and_exclude_select_the_videos(davis_root):
    roots = TrainingRoots(davis=[davis_root])
    assert video_names(build(roots, {"video": 1}, exclude=["bear"])) == [["boat"]]
    assert video_names(build(roots, {"video": 1}, subset=["bear"])) == [["bear"]]


def test_davis_counts_five_times_beside_youtube_and_once_without(davis_root, bl_root):
    beside = build(TrainingRoots(davis=[davis_root], youtube=[bl_root]), {"video": 1})
    assert video_names(beside) == [["bear", "boat"] * 5 + ["v1"]]
    assert beside.total_files == 2 * (8 + 8 + 4) and beside.distinct_samples == 6 + 6 + 2
    without = build(TrainingRoots(davis=[davis_root], bl=[bl_root]), {"video": 1})
    assert video_names(without) == [["bear", "boat", "v1"]]


def test_a_named_folder_of_videos_joins_the_others_or_has_its_own_share(davis_root, bl_root):
    roots = TrainingRoots(davis=[davis_root], named={"mine": [bl_root]})
    assert video_names(build(roots, {"video": 1})) == [["bear", "boat", "v1"]]
    own = build(roots, {"video": 0.8, "mine": 0.2})
    assert video_names(own) == [["bear", "boat"], ["v1"]]
    assert own.cumulative.tolist() == pytest.approx([0.8, 1.0])
    alone = build(TrainingRoots(named={"mine": [bl_root]}), {"mine": 1})
    assert video_names(alone) == [["v1"]]
    assert video_names(build(roots, {"mine": 1}, subset=["v1", "bear"])) == [["v1"]]


def test_the_curriculum_of_stage_one_ends_earlier(bl_root):
    config = SampleConfig(crop_size=SIDE, skip_final_share=0.2)
    (source,) = build(TrainingRoots(bl=[bl_root]), {"video": 1}, config).sources
    assert [source.config.largest_skip(progress) for progress in (0.79, 0.81)] == [25, 5]


def test_small_objects_of_stills_are_trained_on_except_in_close_ups(tmp_path):
    """0.2 % of the image: 16 of 7,200 pixels."""
    write_pair(tmp_path / "a.jpg", tmp_path / "a.png", ids=())
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[34:38, 48:52] = 1
    Image.fromarray(labels).save(tmp_path / "a.png")
    roots = TrainingRoots(static=[tmp_path])
    data = build(roots, {"static": 1.0}, SampleConfig(crop_size=SIDE, max_objects=1))
    assert [int(data[index].tensors["num_objects"]) for index in range(5)] == [1] * 5
    close_up = SampleConfig(crop_size=SIDE, max_objects=1, close_up=True)
    with pytest.raises(InputError, match=r"none with an object of at least 0\.5%"):
        build(roots, {"static": 1.0}, close_up)[0]


def test_distinct_samples_are_stills_and_first_frames_without_limit_if_synthetic(
    tmp_path, davis_root
):
    for number in range(3):
        write_pair(tmp_path / f"static/{number}.jpg", tmp_path / f"static/{number}.png")
    roots = TrainingRoots(static=[tmp_path / "static"], davis=[davis_root])
    counts = [
        build(roots, mix).distinct_samples
        for mix in (
            {"static": 1.0},
            {"video": 1.0},
            {"static": 1.0, "video": 1.0},
            {"static": 1.0, "video": 0.0},
            {"static": 1.0, "synthetic": 1.0},
        )
    ]
    assert counts == [3, 6 + 6, 3 + 12, 3, None]
