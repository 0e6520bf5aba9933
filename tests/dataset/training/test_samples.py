"""The contract of training samples, and that they can be drawn again."""

import numpy as np
import pytest
import torch
from training_trees import make_davis, make_stills

from dataset.training.augmentation import ClipAugmentation, StillAugmentation
from dataset.training.cutouts import CutoutBank
from dataset.training.loading import training_batches
from dataset.training.samples import MixedTrainingData, build_sample, draw_objects
from dataset.training.stills import StillClips
from dataset.training.synthetic import SyntheticClips, SyntheticConfig
from dataset.training.video_clips import VideoClipConfig, VideoClips
from dataset.training.video_layouts import find_videos

SIDE = 64
KINDS = "static", "video", "synthetic", "cut-outs", "over clips"


@pytest.fixture
def sources(tmp_path):
    """A source of each kind, with at most two objects in a sample, or three if synthetic."""
    stills = StillClips(
        [make_stills(tmp_path / "static")],
        augmentation=StillAugmentation(crop_size=SIDE),
        max_objects=2,
    )
    clips = VideoClips(
        find_videos(make_davis(tmp_path / "davis")),
        VideoClipConfig(min_object_pixels=4),
        augmentation=ClipAugmentation(crop_size=SIDE),
    )
    bank = CutoutBank(stills, clips)
    config = SyntheticConfig(crop_size=SIDE, max_objects=3)
    over_clips = SyntheticConfig(crop_size=SIDE, max_objects=3, clip_share=1.0)
    made = (
        stills,
        clips,
        SyntheticClips(config),
        SyntheticClips(config, bank=bank),
        SyntheticClips(over_clips, bank=bank, clips=clips),
    )
    return dict(zip(KINDS, made, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_every_source_keeps_the_contract_of_a_sample(sources, kind):
    max_objects = 2 if kind in ("static", "video") else 3
    for seed in range(15):
        sample = sources[kind].sample(np.random.default_rng(seed), 0.3)
        frames, labels, count = sample["frames"], sample["labels"], sample["num_objects"]
        assert frames.dtype == torch.uint8 and frames.shape == (3, 3, SIDE, SIDE)
        assert labels.dtype == torch.uint8 and labels.shape == (3, SIDE, SIDE)
        assert count.dtype == torch.int64 and 1 <= count <= max_objects
        assert set(labels[0].unique().tolist()) - {0} == set(range(1, int(count) + 1))
        assert labels.max() == count


def test_chosen_objects_are_renumbered_and_others_become_background():
    labels = np.array([[0, 7, 200], [9, 7, 200]], np.uint8)
    sample = build_sample([np.zeros((2, 3, 3), np.uint8)], [labels], [200, 7])
    assert sample["labels"][0].tolist() == [[0, 2, 1], [0, 2, 1]]
    assert draw_objects(np.random.default_rng(0), labels, 5, min_pixels=2) in ([7, 200], [200, 7])


def test_two_objects_are_drawn_at_random_from_more():
    labels = np.arange(5, dtype=np.uint8)[None]
    drawn = {tuple(draw_objects(np.random.default_rng(seed), labels, 2)) for seed in range(200)}
    assert drawn == {(a, b) for a in range(1, 5) for b in range(1, 5) if a != b}


def test_items_depend_on_seed_and_index_but_not_on_the_workers(sources):
    weighted = [(source, 1.0) for source in sources.values()]
    data = MixedTrainingData([*weighted, (None, 0.0)], samples=12, seed=5)
    alone = [data[index].tensors for index in reversed(range(12))][::-1]
    batches = list(training_batches(data, 3, workers=2))
    for name in ("frames", "labels", "num_objects"):
        loaded = torch.cat([batch.tensors[name] for batch in batches])
        assert torch.equal(loaded, torch.stack([item[name] for item in alone]))
    other = MixedTrainingData(weighted, samples=12, seed=6)
    assert not torch.equal(other[0].tensors["frames"], data[0].tensors["frames"])


class Recorder:
    """A source that records the progress at which it is asked."""

    def __init__(self):
        self.progress = []

    def sample(self, rng, progress):
        self.progress.append(progress)
        return {}


def test_sources_are_drawn_by_weight_and_told_the_progress():
    often, seldom = Recorder(), Recorder()
    data = MixedTrainingData([(often, 3.0), (seldom, 1.0)], samples=400, seed=0)
    for index in range(400):
        data[index]
    assert 250 < len(often.progress) < 350
    assert sorted(often.progress + seldom.progress) == [index / 400 for index in range(400)]
    with pytest.raises(IndexError):
        data[400]


def test_sampling_keeps_the_global_random_states(sources):
    np.random.seed(1)
    torch.manual_seed(1)
    numpy_before, torch_before = np.random.get_state()[1].copy(), torch.get_rng_state()
    for source in sources.values():
        source.sample(np.random.default_rng(0), 0.0)
    assert np.array_equal(numpy_before, np.random.get_state()[1])
    assert torch.equal(torch_before, torch.get_rng_state())
