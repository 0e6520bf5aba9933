"""Training samples: their contract, their geometry, and that they can be drawn again. Small data sets are made on the fly."""

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from dataset.training.augmentation import (
    ClipAugmentation,
    ColourJitter,
    StaticAugmentation,
    Window,
    bend,
    flipping,
    scaling,
    spline_displacement,
    translation,
    turning,
    warp_image,
    warp_labels,
)
from dataset.training.cache import ImageCache, read_labels
from dataset.training.cutouts import CutoutBank
from dataset.training.samples import MixedTrainingData, build_sample, draw_objects, training_batches
from dataset.training.sources import SampleConfig, TrainingRoots, build_training_data
from dataset.training.stills import StaticDataset
from dataset.training.synthetic import SyntheticClips, SyntheticConfig, make_clip
from dataset.training.video_clips import (
    VideoClipDataset,
    augment_clip,
    draw_frame_indices,
    find_videos,
    max_skip_at,
    max_skip_between_clips_at,
    tiny_objects,
)
from util.errors import InputError

SIDE = 64
QUIET = {"clip_colour": ColourJitter(), "frame_colour": ColourJitter(), "grey_probability": 0.0}


def save_pair(image_path, mask_path, height=72, width=100, shift=0, ids=(1, 2), seed=0):
    """A red block with id ids[0] and a blue one with ids[1] (where given) on noisy green, moved right by `shift` pixels."""
    rng = np.random.default_rng(seed)
    image = np.full((height, width, 3), (20, 120, 30), np.uint8) + rng.integers(
        0, 20, (height, width, 1), dtype=np.uint8
    )
    labels = np.zeros((height, width), np.uint8)
    for number, (object_id, colour) in enumerate(
        zip(ids, ((230, 20, 20), (20, 20, 230)), strict=False)
    ):
        area = np.s_[15 + 25 * number : 35 + 25 * number, 20 + shift : 50 + shift]
        image[area], labels[area] = colour, object_id
    image_path.parent.mkdir(parents=True, exist_ok=True)
    mask_path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(image_path, quality=95)
    mask = Image.fromarray(labels)
    mask.putpalette([value for index in range(256) for value in (index, 255 - index, index // 2)])
    mask.save(mask_path)


@pytest.fixture
def davis_root(tmp_path):
    root = tmp_path / "davis"
    for name in ("bear", "boat"):
        for index in range(8):
            save_pair(
                root / "JPEGImages/480p" / name / f"{index:05d}.jpg",
                root / "Annotations/480p" / name / f"{index:05d}.png",
                shift=2 * index,
                ids=(7, 200),
            )
    (root / "ImageSets/2017").mkdir(parents=True)
    (root / "ImageSets/2017/train.txt").write_text("bear\nboat\n")
    return root


@pytest.fixture
def static_root(tmp_path):
    root = tmp_path / "static"
    for index in range(3):
        save_pair(root / "set" / f"{index}.jpg", root / "set" / f"{index}.png", seed=index)
    return root


def sources(davis_root, static_root, side=SIDE):
    stills = StaticDataset(
        [static_root], augmentation=StaticAugmentation(crop_size=side), max_objects=2
    )
    clips = VideoClipDataset(
        find_videos(davis_root), augmentation=ClipAugmentation(crop_size=side), min_object_pixels=4
    )
    config = SyntheticConfig(crop_size=side, max_objects=3)
    bank = CutoutBank(stills, clips)
    return {
        "static": (stills, 2),
        "video": (clips, 2),
        "synthetic": (SyntheticClips(config), 3),
        "cut-outs": (SyntheticClips(config, bank=bank), 3),
        "over clips": (
            SyntheticClips(
                SyntheticConfig(crop_size=side, max_objects=3, clip_share=1.0),
                bank=bank,
                clips=clips,
            ),
            3,
        ),
    }


@pytest.mark.parametrize("name", ["static", "video", "synthetic", "cut-outs", "over clips"])
def test_every_source_keeps_the_contract_of_a_sample(davis_root, static_root, name):
    source, most = sources(davis_root, static_root)[name]
    for seed in range(15):
        sample = source.sample(np.random.default_rng(seed), 0.3)
        count = int(sample["num_objects"])
        assert sample["frames"].dtype == torch.uint8 and sample["frames"].shape == (
            3,
            3,
            SIDE,
            SIDE,
        )
        assert sample["labels"].dtype == torch.uint8 and sample["labels"].shape == (3, SIDE, SIDE)
        assert sample["num_objects"].dtype == torch.int64 and 1 <= count <= most
        assert set(sample["labels"][0].unique().tolist()) - {0} == set(range(1, count + 1))
        assert int(sample["labels"].max()) == count


@pytest.mark.parametrize("name", ["static", "video"])
def test_masks_fit_the_objects_of_augmented_frames(davis_root, static_root, name):
    source, _ = sources(davis_root, static_root)[name]
    kind = StaticAugmentation if name == "static" else ClipAugmentation
    source.augmentation, source.max_objects = kind(crop_size=128, **QUIET), 2
    for seed in range(10):
        sample = source.sample(np.random.default_rng(seed))
        frames, labels = sample["frames"].int().numpy(), sample["labels"].numpy()
        red_or_blue = np.maximum(frames[:, 0], frames[:, 2]) - frames[:, 1] > 60
        inner = (
            cv2.erode((labels > 0).astype(np.uint8).transpose(1, 2, 0), np.ones((5, 5))).transpose(
                2, 0, 1
            )
            > 0
        )
        assert red_or_blue[inner].mean() > 0.995
        if int(sample["num_objects"]) == 2:
            outer = (
                cv2.dilate(
                    (labels > 0).astype(np.uint8).transpose(1, 2, 0), np.ones((5, 5))
                ).transpose(2, 0, 1)
                > 0
            )
            assert red_or_blue[~outer].mean() < 0.005


def test_warped_image_and_labels_are_where_the_matrix_puts_them():
    image, labels = np.zeros((40, 60, 3), np.uint8), np.zeros((40, 60), np.uint8)
    image[10:20, 30:40], labels[10:20, 30:40] = 255, 1
    matrix = scaling(2, 2) @ translation(-25, -5) @ flipping(60)
    window = Window(0, 0, 60, 40)
    warped, mask = warp_image(image, matrix, window, 50), warp_labels(labels, matrix, window, 50)
    expected = np.zeros((50, 50), np.uint8)
    expected[10:30, :10] = (
        1  # columns 30..39 mirror to 20..29; less 25 and doubled, the five that remain fill columns 0..9
    )
    assert np.array_equal(mask, expected)
    assert warped[12:28, :8].min() > 240 and warped[35:, 15:].max() < 15


def test_strong_shrinking_averages_instead_of_aliasing():
    checks = ((np.indices((256, 256)).sum(0) % 2) * 255).astype(np.uint8)[..., None].repeat(3, 2)
    shrunk = warp_image(checks, scaling(0.25, 0.25), Window(0, 0, 256, 256), 64)
    assert np.abs(shrunk[4:-4, 4:-4].astype(int) - 127).max() <= 3


def test_turning_keeps_its_centre_and_scales_areas():
    matrix = turning((10.0, 20.0), 33.0, 1.5, 8.0)
    assert np.allclose(matrix @ [10, 20, 1], [10, 20, 1])
    assert np.isclose(np.linalg.det(matrix), 1.5**2)


def test_spline_bends_smoothly_by_the_asked_amount():
    fields = np.stack(
        [spline_displacement(np.random.default_rng(seed), 128, 12, 0.02) for seed in range(20)]
    )
    assert 0.5 < np.median(np.abs(fields)) / (0.02 * 128) < 2
    assert np.abs(np.diff(fields, axis=1)).max() < 2  # neighbours stay neighbours
    assert np.abs(spline_displacement(np.random.default_rng(0), 128, 12, 0.0)).max() == 0


def test_bending_resamples_images_linearly_and_masks_to_the_nearest_pixel():
    step = np.zeros((8, 8), np.uint8)
    step[:, 4:] = 200
    image, labels = bend(
        step[..., None].repeat(3, 2), step, np.full((8, 8, 2), (0.25, 0), np.float32)
    )
    assert image[3, :, 0].tolist()[:7] == [0, 0, 0, 50, 200, 200, 200], (
        "cubic would undershoot and overshoot"
    )
    assert labels[3].tolist()[:7] == [0, 0, 0, 0, 200, 200, 200]


def test_training_augments_as_published():
    """STCN's public training code, as its description in the paper's supplement lists it."""
    clips, stills = ClipAugmentation(), StaticAugmentation()
    assert clips.clip_colour == ColourJitter(brightness=0.1, contrast=0.03, saturation=0.03)
    assert clips.frame_colour == ColourJitter(brightness=0.01, contrast=0.01, saturation=0.01)
    assert (clips.frame_rotation_degrees, clips.frame_shear_degrees, clips.frame_scale) == (
        15,
        10,
        (1, 1),
    )
    assert (clips.crop_size, clips.crop_area, clips.flip_probability, clips.grey_probability) == (
        384,
        (0.36, 1),
        0.5,
        0.05,
    )
    assert stills.clip_colour == ColourJitter(
        brightness=0.1, contrast=0.05, saturation=0.05, hue=0.05
    )
    assert stills.frame_colour == ColourJitter(brightness=0.1, contrast=0.05, saturation=0.05)
    assert (stills.frame_rotation_degrees, stills.frame_shear_degrees, stills.frame_scale) == (
        20,
        10,
        (0.9, 1.1),
    )
    assert (
        stills.crop_size,
        stills.clip_scale,
        stills.flip_probability,
        stills.grey_probability,
    ) == (384, (0.8, 1.5), 0.5, 0.05)
    assert (stills.bend_probability, stills.bend_points, stills.bend_deviation) == (
        pytest.approx(1 / 3),
        12,
        0.02,
    )


def test_each_frame_of_a_clip_has_its_own_brightness_contrast_and_saturation(davis_root):
    """On a picture that no warp changes: what differs between frames is their colour alone."""
    picture = np.full((SIDE, SIDE, 3), 90, np.uint8)
    picture[:, ::2] = (220, 60, 20)
    still = {
        "frame_rotation_degrees": 0.0,
        "frame_shear_degrees": 0.0,
        "crop_area": (1.0, 1.0),
        "crop_aspect": (1.0, 1.0),
    }
    for part, change in {
        "contrast": lambda frame: float(frame.std()),
        "saturation": lambda frame: float(np.ptp(frame, axis=2).mean()),
    }.items():
        jitter = ColourJitter(**{part: ClipAugmentation().frame_colour.__dict__[part] * 20})
        augmentation = ClipAugmentation(
            crop_size=SIDE, **{**QUIET, "frame_colour": jitter}, **still
        )
        frames, _ = augment_clip(
            np.random.default_rng(0), [(picture, picture[..., 0])] * 5, augmentation
        )
        assert len({change(frame) for frame in frames}) >= 4, part


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
    assert (
        np.abs(turned.max(-1).astype(int) - image.max(-1)).max() <= 4
        and np.abs(turned.astype(int) - image).mean() > 5
    )


def test_chosen_objects_are_renumbered_and_others_become_background():
    labels = np.array([[0, 7, 200], [9, 7, 200]], np.uint8)
    sample = build_sample([np.zeros((2, 3, 3), np.uint8)], [labels], [200, 7])
    assert sample["labels"][0].tolist() == [[0, 2, 1], [0, 2, 1]]
    assert draw_objects(np.random.default_rng(0), labels, 5, min_pixels=2) in ([7, 200], [200, 7])


def test_two_objects_are_drawn_at_random_from_more():
    labels = np.arange(5, dtype=np.uint8)[None]
    drawn = {tuple(draw_objects(np.random.default_rng(seed), labels, 2)) for seed in range(200)}
    assert drawn == {(a, b) for a in range(1, 5) for b in range(1, 5) if a != b}


def test_frame_gap_curriculum_has_the_published_steps():
    progress = (0, 0.0999, 0.1, 0.2, 0.3, 0.4, 0.8999, 0.9, 1.0)
    assert [max_skip_at(value) for value in progress] == [5, 5, 10, 15, 20, 25, 25, 5, 5]
    assert max_skip_at(0.85, final_share=0.2) == 5


def test_neighbouring_frames_are_one_to_max_skip_plus_one_apart_and_reversed_half_the_time():
    gaps, reversed_clips = [], 0
    for seed in range(400):
        indices = draw_frame_indices(np.random.default_rng(seed), 30, 3, 4)
        assert min(indices) >= 0 and max(indices) < 30
        reversed_clips += indices[0] > indices[-1]
        gaps += np.abs(np.diff(indices)).tolist()
        assert len(set(np.sign(np.diff(indices)))) == 1
    assert set(gaps) == {1, 2, 3, 4, 5}
    assert 150 < reversed_clips < 250


def test_neighbours_within_a_clip_are_nearer_than_from_clip_to_clip():
    gaps = np.array(
        [
            np.diff(draw_frame_indices(np.random.default_rng(seed), 80, 7, 9, clip_frames=3))
            for seed in range(300)
        ]
    )
    gaps = np.abs(gaps)
    assert set(gaps[:, [0, 3]].flat) == set(range(1, 11))
    assert set(gaps[:, [1, 2, 4, 5]].flat) == {1, 2, 3, 4, 5}


def test_within_a_clip_only_the_next_annotated_frame_of_youtube_is_near_enough():
    gaps = np.array(
        [
            np.diff(
                draw_frame_indices(
                    np.random.default_rng(seed), 60, 7, 14, clip_frames=3, annotation_step=5
                )
            )
            for seed in range(100)
        ]
    )
    assert set(np.abs(gaps[:, [1, 2, 4, 5]]).flat) == {1}
    assert set(np.abs(gaps[:, [0, 3]]).flat) == {1, 2, 3}


def test_gaps_between_clips_follow_their_own_curriculum():
    assert [
        max_skip_between_clips_at(progress) + 1 for progress in (0, 0.1, 0.2, 0.5, 0.89, 0.9)
    ] == [5, 10, 15, 15, 15, 5]


@pytest.mark.parametrize(
    ("length", "step", "expected"),
    [
        (70, 1, 15),
        (51, 1, 15),
        (49, 1, 14),
        (31, 1, 5),
        (30, 1, 4),
        (7, 1, 1),
        (15, 5, 3),
        (9, 5, 2),
    ],
)
def test_gaps_between_clips_are_as_large_as_fits_beside_those_inside(length, step, expected):
    """Seven frames are two clips of three: four gaps inside of at most 5 frames, two between."""
    drawn = [
        draw_frame_indices(
            np.random.default_rng(seed), length, 7, 14, clip_frames=3, annotation_step=step
        )
        for seed in range(200)
    ]
    gaps = np.abs(np.diff(drawn))
    assert gaps[:, [0, 3]].max() == expected and gaps.min() == 1
    assert gaps[:, [1, 2, 4, 5]].max() == min(expected, 5 if step == 1 else 1)
    assert np.min(drawn) >= 0 and np.max(drawn) < length


def test_short_videos_get_smaller_gaps_instead_of_none():
    for seed in range(50):
        assert sorted(draw_frame_indices(np.random.default_rng(seed), 3, 3, 25)) == [0, 1, 2]


def test_youtube_layout_counts_gaps_in_annotated_frames(tmp_path):
    for index in range(0, 30, 5):
        save_pair(
            tmp_path / f"train/JPEGImages/a/{index:05d}.jpg",
            tmp_path / f"train/Annotations/a/{index:05d}.png",
            ids=(1,),
        )
    save_pair(
        tmp_path / "train/JPEGImages/a/00001.jpg", tmp_path / "unused.png"
    )  # a frame without a mask is left out
    (video,) = find_videos(tmp_path)
    assert video.annotation_step == 5 and video.image_names == tuple(
        f"{index:05d}.jpg" for index in range(0, 30, 5)
    )


def names_of(source):
    return [video.name for video in source.videos]


def built(roots, mix, **choices):
    return build_training_data(
        roots, SampleConfig(crop_size=SIDE), mix=mix, samples=10, seed=0, **choices
    )


def test_subset_and_exclude_choose_the_videos(davis_root):
    roots = TrainingRoots(davis=[davis_root])
    assert names_of(built(roots, {"video": 1}, exclude=["bear"]).sources[0]) == ["boat"]
    assert names_of(built(roots, {"video": 1}, subset=["bear"]).sources[0]) == ["bear"]
    with pytest.raises(InputError, match="cow: named in the subset"):
        built(roots, {"video": 1}, subset=["bear", "cow"])
    with pytest.raises(InputError, match="among the 0 chosen"):
        built(roots, {"video": 1}, subset=["bear"], exclude=["bear"])


@pytest.fixture
def bl_root(tmp_path):
    root = tmp_path / "bl30k"
    for index in range(4):
        save_pair(
            root / f"JPEGImages/v1/{index:05d}.jpg",
            root / f"Annotations/v1/{index:05d}.png",
            shift=2 * index,
        )
    return root


def test_davis_counts_five_times_beside_youtube_and_once_without(davis_root, bl_root):
    both = built(TrainingRoots(davis=[davis_root], youtube=[bl_root]), {"video": 1})
    assert names_of(both.sources[0]) == ["bear", "boat"] * 5 + ["v1"]
    assert both.total_files == 2 * (8 + 8 + 4) and both.distinct_samples == 6 + 6 + 2
    assert names_of(
        built(TrainingRoots(davis=[davis_root], bl=[bl_root]), {"video": 1}).sources[0]
    ) == ["bear", "boat", "v1"]


def test_a_named_folder_of_videos_joins_the_others_or_has_its_own_share(davis_root, bl_root):
    roots = TrainingRoots(davis=[davis_root], named={"mine": [bl_root]})
    assert names_of(built(roots, {"video": 1}).sources[0]) == ["bear", "boat", "v1"]
    own = built(roots, {"video": 0.8, "mine": 0.2})
    assert [names_of(source) for source in own.sources] == [
        ["bear", "boat"],
        ["v1"],
    ] and own.cumulative.tolist() == pytest.approx([0.8, 1.0])
    assert names_of(built(TrainingRoots(named={"mine": [bl_root]}), {"mine": 1}).sources[0]) == [
        "v1"
    ]
    assert names_of(built(roots, {"mine": 1}, subset=["v1", "bear"]).sources[0]) == ["v1"]


@pytest.mark.parametrize(
    ("named", "mix", "message"),
    [
        (
            {"static": ["x"]},
            {"video": 1},
            "--video_root static: this name is a kind of samples already",
        ),
        (
            {"mine": ["x"]},
            {"yours": 1},
            "'yours' is not known; the kinds are static, video, synthetic, mine",
        ),
        ({}, {"video": 1}, "give --davis_root, --yv_root, --bl_root or --video_root"),
        ({}, {"static": 1}, "give --static_root"),
        (
            {"mine": ["nowhere"]},
            {"mine": 1},
            "nowhere: no such folder; expected ROOT/JPEGImages/480p/VIDEO/NAME.jpg",
        ),
    ],
)
def test_kinds_of_samples_that_cannot_be_had_are_named(named, mix, message):
    with pytest.raises(InputError, match=message):
        built(TrainingRoots(named=named), mix)


def test_a_root_without_videos_is_one_line_with_the_tree_expected(tmp_path):
    for folder in ("empty", "half/Annotations", "listed/Annotations/480p", "listed/ImageSets/2017"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "listed/ImageSets/2017/train.txt").write_text("\n")
    for name in ("empty", "half", "listed"):
        with pytest.raises(
            InputError, match=r"expected ROOT/JPEGImages/480p/VIDEO/NAME\.jpg"
        ) as caught:
            find_videos(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_the_curriculum_of_stage_one_ends_earlier(bl_root):
    config = SampleConfig(crop_size=SIDE, skip_final_share=0.2)
    data = build_training_data(
        TrainingRoots(bl=[bl_root]), config, mix={"video": 1}, samples=10, seed=0
    )
    assert [data.sources[0].max_skip(progress) for progress in (0.79, 0.81)] == [25, 5]


def test_objects_that_are_tiny_or_only_small_at_first_are_left_out_where_asked():
    """Sides in the first frame and in a later one: 1 tiny, 2 small at first, 3 small always, 4 large,
    5 small at first and then just too large for that, 6 of the largest small size throughout."""
    sides = {1: (10, 10), 2: (30, 36), 3: (30, 19), 4: (31, 20), 5: (11, 20), 6: (30, 30)}
    first, later = np.zeros((40, 240), np.uint8), np.zeros((40, 240), np.uint8)
    for column, (object_id, (side, later_side)) in enumerate(sides.items()):
        first[:side, 40 * column : 40 * column + side] = object_id
        later[:later_side, 40 * column : 40 * column + later_side] = object_id
    assert (
        tiny_objects([first, later, later])
        == tiny_objects([first, later, np.zeros_like(first)])
        == [1, 2, 5, 6]
    )
    assert tiny_objects([later, later, later]) == [1, 4, 5, 6], (
        "20×20 in a later frame is not always small"
    )
    assert tiny_objects([first, np.zeros_like(first), np.zeros_like(first)]) == [1]
    drawn = {
        object_id
        for seed in range(20)
        for object_id in draw_objects(np.random.default_rng(seed), first, 2, leave_out=[1, 2, 5, 6])
    }
    assert drawn == {3, 4}


def test_small_objects_of_stills_are_trained_on_except_in_close_ups(tmp_path):
    """0.2 % of the photograph: 16 of 7,200 pixels."""
    save_pair(tmp_path / "a.jpg", tmp_path / "a.png", ids=())
    labels = np.zeros((72, 100), np.uint8)
    labels[34:38, 48:52] = 1
    Image.fromarray(labels).save(tmp_path / "a.png")

    def drawn(**changed):
        roots, config = (
            TrainingRoots(static=[tmp_path]),
            SampleConfig(crop_size=SIDE, max_objects=1, **changed),
        )
        return build_training_data(roots, config, mix={"static": 1.0}, samples=5, seed=0)

    assert [
        int(item.tensors["num_objects"]) for item in (drawn()[index] for index in range(5))
    ] == [1] * 5
    with pytest.raises(InputError, match=r"none with an object of at least 0\.5% of it"):
        drawn(close_up=True)[0]


def test_a_still_whose_object_never_stays_in_the_crop_is_one_line(static_root):
    augmentation = StaticAugmentation(crop_size=SIDE, clip_scale=(50.0, 50.0))
    with pytest.raises(
        InputError,
        match=r"^100 photographs drawn from .*, none with an object in its first crop; check the masks$",
    ):
        StaticDataset([static_root], augmentation=augmentation).sample(np.random.default_rng(0))


def test_a_clip_of_tiny_objects_alone_is_drawn_again_only_where_they_are_skipped(tmp_path):
    for index in range(3):
        save_pair(
            tmp_path / f"JPEGImages/a/{index}.jpg",
            tmp_path / f"Annotations/a/{index}.png",
            ids=(1,),
        )
    tiny = np.zeros((72, 100), np.uint8)
    tiny[30:36, 40:46] = 1
    for index in range(3):
        Image.fromarray(tiny).save(tmp_path / f"Annotations/a/{index}.png")
    augmentation = ClipAugmentation(crop_size=SIDE)
    assert (
        VideoClipDataset(find_videos(tmp_path), augmentation=augmentation).sample(
            np.random.default_rng(0)
        )["num_objects"]
        == 1
    )
    with pytest.raises(InputError, match="100 clips drawn"):
        VideoClipDataset(
            find_videos(tmp_path), augmentation=augmentation, skip_tiny_objects=True
        ).sample(np.random.default_rng(0))


def test_items_are_a_function_of_seed_and_index_whatever_the_workers(davis_root, static_root):
    weighted = [(source, 1.0) for source, _ in sources(davis_root, static_root).values()]
    data = MixedTrainingData([*weighted, (None, 0.0)], samples=12, seed=5)
    alone = [data[index].tensors for index in reversed(range(12))][::-1]
    batches = list(training_batches(data, 3, workers=2))
    for name in ("frames", "labels", "num_objects"):
        assert torch.equal(
            torch.cat([batch.tensors[name] for batch in batches]),
            torch.stack([item[name] for item in alone]),
        )
    other = MixedTrainingData(weighted, samples=12, seed=6)
    assert not torch.equal(other[0].tensors["frames"], data[0].tensors["frames"])


def test_sources_are_drawn_by_weight_and_told_the_progress():
    class Recorder:
        def __init__(self):
            self.progress = []

        def sample(self, rng, progress):
            self.progress.append(progress)
            return {}

    often, seldom = Recorder(), Recorder()
    data = MixedTrainingData([(often, 3.0), (seldom, 1.0)], samples=400, seed=0)
    for index in range(400):
        data[index]
    assert 250 < len(often.progress) < 350 and len(often.progress) + len(seldom.progress) == 400
    assert sorted(often.progress + seldom.progress) == [index / 400 for index in range(400)]
    with pytest.raises(IndexError):
        data[400]
    with pytest.raises(InputError, match="weights"):
        MixedTrainingData([(often, 0.0)], samples=1, seed=0)


def test_sampling_leaves_the_global_random_states_alone(davis_root, static_root):
    np.random.seed(1)
    torch.manual_seed(1)
    before = np.random.get_state()[1].copy(), torch.get_rng_state()
    for source, _ in sources(davis_root, static_root).values():
        source.sample(np.random.default_rng(0), 0.0)
    assert np.array_equal(before[0], np.random.get_state()[1]) and torch.equal(
        before[1], torch.get_rng_state()
    )


def test_damaged_files_are_named(davis_root, static_root):
    broken = static_root / "set/1.jpg"
    broken.write_bytes(broken.read_bytes()[:400])
    stills = StaticDataset([static_root], augmentation=StaticAugmentation(crop_size=SIDE))
    with pytest.raises(InputError, match=r"1\.jpg: damaged or unreadable"):
        for seed in range(50):
            stills.sample(np.random.default_rng(seed))
    (davis_root / "JPEGImages/480p/bear/00003.jpg").unlink()
    with pytest.raises(InputError, match=r"00003\.png: no frame of this name"):
        find_videos(davis_root)


def test_mask_of_another_size_than_its_image_is_refused(tmp_path):
    save_pair(tmp_path / "a.jpg", tmp_path / "other/a.png")
    Image.fromarray(np.ones((10, 10), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"a\.png: mask is 10x10 but a\.jpg is 100x72"):
        StaticDataset([tmp_path]).sample(np.random.default_rng(0))


def test_masks_without_any_object_end_with_an_error_not_an_endless_loop(tmp_path):
    save_pair(tmp_path / "a.jpg", tmp_path / "a.png", ids=())
    with pytest.raises(InputError, match=r"a\.png: mask without objects"):
        MixedTrainingData([(StaticDataset([tmp_path]), 1.0)], samples=1, seed=0)[0]


@pytest.mark.parametrize(
    ("stored", "expected"),
    [([0, 255, 255], [0, 1, 1]), ([0, 3, 255], [0, 3, 0]), ([0, 7, 200], [0, 7, 200])],
)
def test_255_is_the_object_where_alone_and_void_beside_ids(tmp_path, stored, expected):
    mask = Image.fromarray(np.array([stored], np.uint8))
    mask.putpalette(list(range(256)) * 3)
    mask.save(tmp_path / "m.png")
    assert read_labels(tmp_path / "m.png").tolist() == [expected]


def test_grey_masks_with_soft_edges_are_cut_at_the_middle_and_coloured_ones_refused(tmp_path):
    Image.fromarray(np.array([[0, 60, 127, 128, 200, 255]], np.uint8)).save(tmp_path / "soft.png")
    Image.fromarray(np.array([[[255, 0, 0]]], np.uint8)).save(tmp_path / "colour.png")
    assert read_labels(tmp_path / "soft.png").tolist() == [[0, 0, 0, 1, 1, 1]]
    with pytest.raises(InputError, match=r"colour\.png: coloured mask"):
        read_labels(tmp_path / "colour.png")


def test_cache_forgets_the_least_recently_used_beyond_its_budget(static_root):
    cache = ImageCache(max_bytes=2 * 72 * 100 * 3)
    paths = [static_root / f"set/{index}.jpg" for index in range(3)]
    first, second = cache.image(paths[0]), cache.image(paths[1])
    assert cache.image(paths[0]) is first
    cache.image(paths[2])
    assert cache.image(paths[0]) is first and cache.image(paths[1]) is not second


def test_made_up_clips_move_smoothly_and_can_be_made_again():
    frames, labels = make_clip(5, frames=20, height=96, width=160, objects=3)
    assert (
        frames.shape == (20, 96, 160, 3)
        and frames.dtype == np.uint8
        and labels.shape == (20, 96, 160)
        and labels.dtype == np.uint8
    )
    assert set(np.unique(labels[0])) == {0, 1, 2, 3}
    changed = [(labels[index] != labels[index + 1]).mean() for index in range(19)]
    assert 0 < max(changed) < 0.1 and (labels[0] != labels[-1]).mean() > max(changed)
    again = make_clip(5, frames=20, height=96, width=160, objects=3)
    assert np.array_equal(frames, again[0]) and np.array_equal(labels, again[1])


def test_labels_of_made_up_objects_lie_on_their_painted_outlines():
    """A frame changes more across a label's outline than elsewhere."""
    across, elsewhere = [], []
    for seed in range(6):
        frames, labels = make_clip(seed, frames=1, height=96, width=160, objects=2)
        steps = np.abs(np.diff(frames[0].astype(int), axis=1)).sum(-1)
        outline = np.diff(labels[0].astype(int), axis=1) != 0
        across.append(steps[cv2.dilate(outline.astype(np.uint8), np.ones((1, 3))) > 0].mean())
        elsewhere.append(steps[~outline].mean())
    assert np.mean(across) > 2 * np.mean(elsewhere)


def test_pasted_objects_cover_those_of_the_clip_below(davis_root):
    clips = VideoClipDataset(
        find_videos(davis_root),
        augmentation=ClipAugmentation(crop_size=SIDE, **QUIET),
        max_objects=1,
    )
    source = SyntheticClips(
        SyntheticConfig(crop_size=SIDE, max_objects=2, clip_share=1.0, occluder_share=0.0),
        clips=clips,
    )
    counts = [int(source.sample(np.random.default_rng(seed))["num_objects"]) for seed in range(20)]
    assert set(counts) == {1, 2}


def test_clips_of_another_size_than_the_composites_are_refused(davis_root):
    clips = VideoClipDataset(find_videos(davis_root), augmentation=ClipAugmentation(crop_size=32))
    with pytest.raises(ValueError, match="cannot lie under"):
        SyntheticClips(SyntheticConfig(crop_size=SIDE), clips=clips)
