"""Composites: objects pasted over other sequences, with exact truth."""

import itertools
import json

import cv2
import numpy as np
import pytest
from PIL import Image
from toy_trees import HEIGHT, WIDTH, file_names, toy_frames, write_jpg, write_png

from dataset import GenericDataset, Layout
from dataset.training.cache import ImageCache
from dataset.training.video_layouts import find_videos
from scripts import make_composites
from scripts.data_tools.composite_kinds import LEAST_HIDDEN_FRAMES, Material, draw_composite
from scripts.data_tools.footage import LEAST_RUN_FRAMES, Footage, MovingCutout
from util.errors import InputError

FRAMES = 24
NAMES = ("bear", "camel", "dog")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Three sequences of a square that moves right, each of its own colours."""
    folder = tmp_path_factory.mktemp("sequences")
    for seed, name in enumerate(NAMES):
        for index, (image, labels) in enumerate(zip(*toy_frames(12, seed, (1,)), strict=True)):
            write_jpg(folder / f"JPEGImages/480p/{name}/{index:05d}.jpg", image)
            write_png(folder / f"Annotations/480p/{name}/{index:05d}.png", labels)
    return folder


@pytest.fixture(scope="module")
def material(root):
    layout, cache = Layout.of(root), ImageCache()
    return Material.of([Footage.of(layout, name, cache) for name in NAMES])


def make(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["make_composites.py", *map(str, arguments)])
    make_composites.main()


def draw(material, kind, number=0, seed=0):
    composite, rendered = draw_composite(kind, number, material, frames=FRAMES, seed=seed)
    images, labels = (np.stack(arrays) for arrays in zip(*rendered, strict=True))
    return composite, images, labels


def shares(labels, object_id):
    """Area of an object in each frame, relative to its median."""
    areas = (labels == object_id).sum((1, 2))
    return areas / np.median(areas)


@pytest.mark.parametrize("kind", ["twins", "crossings"])
def test_objects_are_apart_at_first_and_then_pass_in_front_of_each_other(material, kind):
    for number in range(2):
        composite, _, labels = draw(material, kind, number)
        pasted = composite.elements
        ids = {composite.footage_id, *(element.object_id for element in pasted)}
        assert len(ids) == len(pasted) + 1
        sources = {element.cutout.footage.name for element in pasted}
        assert len(sources) == (1 if kind == "twins" else len(pasted))
        assert composite.footage.name not in sources
        assert set(np.unique(labels[0])) == {0, *ids}
        first = [shares(labels, element.object_id)[0] for element in pasted]
        least = [shares(labels, element.object_id).min() for element in pasted]
        assert min(first) > 0.6 and min(least) < 0.6


def test_the_nearer_object_hides_the_farther_one(material):
    """Where they overlap, the pixel belongs to the object that is nearer to the camera."""
    composite, _, labels = draw(material, "twins")
    overlaps = 0
    for time, (one, other) in itertools.product(
        range(FRAMES), itertools.combinations(composite.elements, 2)
    ):
        masks = []
        for element in (one, other):
            alone = np.zeros((HEIGHT, WIDTH), np.uint8)
            element.paint(np.zeros((HEIGHT, WIDTH, 3), np.float32), alone, time)
            masks.append(alone > 0)
        nearer, farther = (one, other) if one.depth(time) > other.depth(time) else (other, one)
        shared = labels[time][masks[0] & masks[1]]
        overlaps += shared.size
        assert (shared != farther.object_id).all()
        if len(composite.elements) == 2:
            assert (shared == nearer.object_id).all()
    assert overlaps > 50


def test_returning_objects_are_hidden_for_some_frames_and_come_back(material):
    kinds = set()
    for number in range(4):
        composite, _, labels = draw(material, "returns", number)
        kinds.add(composite.elements[-1].object_id == 0)
        assert composite.returning
        for object_id in composite.returning:
            shown = (labels == object_id).any((1, 2))
            hidden = [len(list(run)) for seen, run in itertools.groupby(shown) if not seen]
            assert shown[0] and shown[-1] and max(hidden) >= LEAST_HIDDEN_FRAMES
    assert kinds == {True, False}  # behind a pillar, and out of the frame


def test_labels_lie_on_the_pasted_pixels_and_nothing_else_is_changed(material, root):
    composite, images, labels = draw(material, "twins")
    source = composite.elements[0].cutout.footage
    image, mask = source.pair(0)
    colour = np.median(image[mask > 0], axis=0)
    pasted = np.isin(labels, [element.object_id for element in composite.elements])
    assert np.abs(images[pasted].astype(int) - colour).mean() < 12
    footage, own = composite.footage.pair(composite.start)
    far = cv2.dilate(pasted[0].astype(np.uint8), np.ones((7, 7))) == 0
    assert np.array_equal(images[0][far], footage[far])
    assert np.array_equal(labels[0][far], own[far] * composite.footage_id)


def test_each_composite_depends_on_seed_and_number_alone(material):
    _, images, labels = draw(material, "twins", number=1)
    again = draw(material, "twins", number=1)
    assert np.array_equal(images, again[1]) and np.array_equal(labels, again[2])
    for other in (draw(material, "twins"), draw(material, "twins", number=1, seed=1)):
        assert not np.array_equal(images, other[1])


def test_files_hold_first_masks_and_the_truth_and_are_the_same_again(root, tmp_path, monkeypatch):
    flags = ["--kind", "twins", "returns", "--count", 1, "--frames", FRAMES]
    make(monkeypatch, root, tmp_path / "made", *flags)
    made = tmp_path / "made"
    assert file_names(made / "Truth") == ["returns-00", "twins-00"]
    dataset = GenericDataset(made)
    record = json.loads((made / "composites.json").read_text())
    assert record["seed"] == 0 and len(record["clips"]) == 2
    for clip in record["clips"]:
        ids = {int(object_id) for object_id in clip["objects"]}
        assert set(clip["objects"].values()) <= set(NAMES)
        assert file_names(made / "Annotations" / clip["name"]) == ["00000.png"]
        assert len(file_names(made / "Truth" / clip["name"])) == FRAMES
        first = np.asarray(Image.open(made / "Annotations" / clip["name"] / "00000.png"))
        assert set(np.unique(first)) == {0, *ids}
    assert [len(list(video.frames())) for video in dataset] == [FRAMES, FRAMES]
    make(monkeypatch, root, tmp_path / "again", *flags)
    for path in made.rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "again" / path.relative_to(made)).read_bytes()


def test_composites_for_training_have_masks_in_every_frame(root, tmp_path, monkeypatch):
    flags = ["--kind", "crossings", "--count", 1, "--frames", 20, "--for_training"]
    make(monkeypatch, root, tmp_path / "made", *flags)
    (video,) = find_videos(tmp_path / "made")
    assert len(video) == 20 and not (tmp_path / "made/Truth").exists()


def test_only_runs_of_whole_objects_are_cut_out(root, tmp_path):
    """The square touches the edge of the frame, or consists of two parts, on some frames."""
    layout = Layout.of(root)
    footage = Footage.of(layout, "bear", ImageCache())
    assert MovingCutout.of(footage).first == 0 and len(MovingCutout.of(footage)) == 12
    labels = toy_frames(12, 0, (1,))[1]
    labels[2, 12:15] = 0
    labels[3, 0, 0] = 1
    for index, mask in enumerate(labels):
        write_png(tmp_path / f"Annotations/480p/bear/{index:05d}.png", mask)
    (tmp_path / "JPEGImages").symlink_to(root / "JPEGImages")
    cutout = MovingCutout.of(Footage.of(Layout.of(tmp_path), "bear", ImageCache()))
    assert (cutout.first, len(cutout)) == (4, 8) and len(cutout) >= LEAST_RUN_FRAMES


def test_crossings_of_two_sequences_are_refused(material):
    """One of them lies below, so that a single object is left."""
    names = NAMES[:2]
    two = Material.of([material.footages[name] for name in names])
    with pytest.raises(InputError, match=r"crossings need two sequences .* and a third"):
        draw(two, "crossings")


def test_a_sequence_without_whole_objects_is_footage_and_named(root, tmp_path, monkeypatch, capsys):
    """The square of dog lies at the edge of the frame."""
    for kind in ("JPEGImages", "Annotations"):
        (tmp_path / kind / "480p").mkdir(parents=True)
        for name in NAMES[:2]:
            (tmp_path / kind / "480p" / name).symlink_to(root / kind / "480p" / name)
    (tmp_path / "JPEGImages/480p/dog").symlink_to(root / "JPEGImages/480p/dog")
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[:14, :14] = 1
    for index in range(12):
        write_png(tmp_path / f"Annotations/480p/dog/{index:05d}.png", mask)
    make(monkeypatch, tmp_path, tmp_path / "made", "--kind", "twins", "--count", 2, "--frames", 20)
    first, last = capsys.readouterr().out.splitlines()
    assert first.startswith("dog: footage only; 8 frames in a row do not show its whole object")
    assert last.endswith("made: 2 clips, 40 frames")
    clips = json.loads((tmp_path / "made/composites.json").read_text())["clips"]
    assert all(list(clip["objects"].values()).count("dog") < 2 for clip in clips)


def test_an_object_that_never_hides_cannot_return(material, monkeypatch):
    monkeypatch.setattr("scripts.data_tools.composite_kinds.LEAST_HIDDEN_FRAMES", 23)
    monkeypatch.setattr("scripts.data_tools.composite_kinds._ATTEMPTS", 2)
    with pytest.raises(InputError, match="returns: 2 composites of 24 frames drawn, none in"):
        draw(material, "returns")
