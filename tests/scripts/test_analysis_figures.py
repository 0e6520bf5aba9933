"""Analyses: their figures against plain computations.

Legend: H W height and width of a frame in pixels.
"""

import numpy as np
import pytest
import torch
from toy_trees import write_davis, write_png

from dataset import DavisDataset, Frame, Video
from inference import VideoSegmenter
from model import build_network
from scripts.analysis import affinity, points
from scripts.analysis.correspondence import PointSettings, match_points
from scripts.analysis.element_history import follow_elements
from scripts.analysis.grid import Grid
from scripts.analysis.memory_use import draw_alive, highlight
from scripts.benchmarks.synthetic import synthetic_network
from util.errors import InputError

CELLS = 12  # of a toy frame of 48 × 64 pixels, at stride 16


@pytest.fixture(scope="module")
def bear(tmp_path_factory):
    """A toy video of 9 frames."""
    return DavisDataset(write_davis(tmp_path_factory.mktemp("davis"), {"bear": 9}))[0]


def tiny_segmenter(
    system: str = "stcn", network: str = "tiny", **settings: object
) -> VideoSegmenter:
    torch.manual_seed(0)
    return VideoSegmenter(build_network(network), system, device="cpu", **settings)


@pytest.mark.parametrize("kind", ["l2", "dot", "cosine"])
def test_largest_weights_are_those_of_a_plain_computation(kind, monkeypatch):
    monkeypatch.setattr(affinity, "_CHUNK_ELEMENTS", 20)  # several chunks per frame
    keys = torch.randn(8, 6, 4, generator=torch.Generator().manual_seed(0))
    memorised = [0, 3, 6]  # every third
    score = {
        "l2": lambda memory, query: -(memory - query).square().sum() / 2,
        "dot": lambda memory, query: memory @ query / 2,
        "cosine": lambda memory, query: torch.cosine_similarity(memory, query, dim=0) / 0.01,
    }[kind]
    expected = np.zeros((3, 6))
    for frame in range(1, 8):
        held = [number for number, index in enumerate(memorised) if index < frame]
        elements = torch.cat([keys[memorised[number]] for number in held])
        for query in keys[frame]:
            scores = torch.stack([score(element, query) for element in elements])
            weights = scores.softmax(0).view(len(held), 6)
            expected[held] = np.maximum(expected[held], weights.numpy())
    np.testing.assert_allclose(affinity.largest_weights(keys, 3, kind), expected.ravel(), rtol=1e-4)


def test_a_frame_that_is_never_read_has_no_elements():
    keys = torch.randn(6, 5, 4)
    assert len(affinity.largest_weights(keys, 5, "l2")) == 5  # frame 5 is the last
    assert len(affinity.largest_weights(keys[:1], 5, "l2")) == 0


def test_gini_is_zero_if_all_are_equal_and_near_one_if_one_has_everything():
    assert affinity.gini(np.full(7, 0.3)) == pytest.approx(0)
    assert affinity.gini(np.eye(10)[3]) == pytest.approx(0.9)
    values = np.random.default_rng(0).random(50)
    differences = np.abs(values[:, None] - values).mean()
    assert affinity.gini(values) == pytest.approx(differences / (2 * values.mean()))
    with pytest.raises(ValueError, match="sum above zero"):
        affinity.gini(np.zeros(3))


def test_the_lorenz_curve_encloses_half_the_gini_coefficient_with_the_diagonal():
    values = np.random.default_rng(1).random(100) ** 3
    curve = np.array(affinity.lorenz_curve(values))
    assert tuple(curve[0]) == (0, 0) and tuple(curve[-1]) == (1, 1)
    assert (np.diff(curve[:, 1], 2) >= -1e-12).all()  # convex
    trapezoid = getattr(np, "trapezoid", None) or np.trapz  # numpy 2, numpy 1
    area = trapezoid(curve[:, 1], curve[:, 0])
    assert 1 - 2 * area == pytest.approx(affinity.gini(values), abs=1e-9)


@pytest.mark.parametrize(
    ("size", "resolution"), [((48, 64), -1), ((50, 75), -1), ((50, 75), 96), ((120, 90), 40)]
)
def test_the_cell_of_a_pixel_covers_it_and_contains_its_own_centre(size, resolution):
    grid = Grid(size, resolution)
    height, width = size
    rng = np.random.default_rng(0)
    for x, y in zip(rng.integers(0, width, 40), rng.integers(0, height, 40), strict=True):
        cell = grid.cell_of(float(x), float(y))
        marked = grid.to_pixels((np.arange(grid.shape[0] * grid.shape[1]) == cell).astype(np.uint8))
        around = marked[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]  # resizing to pixels rounds
        assert marked.shape == size and around.any()
        assert grid.cell_of(*grid.centre_of(cell)) == cell
    with pytest.raises(InputError, match="outside the frame"):
        grid.cell_of(float(width), 0.0)


class SlidingVideo(Video):
    """A texture that moves 16 pixels to the right each frame, with an object of id 5."""

    name = "sliding"
    frame_count = 4
    first_index = 0
    palette = bytes(768)
    object_ids = (1,)
    ignored_masks = 0

    def frames(self):
        texture = np.random.default_rng(0).integers(0, 255, (96, 256, 3), dtype=np.uint8)
        mask = np.zeros((96, 160), np.uint8)
        mask[24:72, 40:104] = 5
        for index in range(4):
            yield Frame(
                index=index,
                name=f"{index:05d}",
                image=texture[:, 96 - 16 * index :][:, :160],
                labels=mask if index == 0 else None,
                required=True,
            )

    def validate(self):
        pass


@pytest.mark.parametrize("similarity", ["l2", "cosine"])
def test_points_are_matched_where_they_moved(similarity):
    network = synthetic_network("tiny")
    network.config = type(network.config)(**{**vars(network.config), "similarity": similarity})
    settings = PointSettings(resolution=-1, points=[(56.0, 40.0), (72.0, 56.0)])
    segmenter = VideoSegmenter(network, device="cpu")
    correspondence = match_points(segmenter, SlidingVideo(), settings)
    for track in correspondence.tracks:
        column, row = int(track.x // 16), int(track.y // 16)
        assert [(match.x, match.y) for match in track.matches] == [
            (16 * (column + step) + 8, 16 * row + 8) for step in (1, 2, 3)
        ]
        assert all(0 < match.weight <= 1 for match in track.matches)
        assert track.object_id == 5 and track.same_object is None
    assert correspondence.picture.shape == (96, 4 * 160 + 3 * 4, 3)


def test_a_point_on_the_background_has_no_object_to_stay_on(bear):
    settings = PointSettings(resolution=-1, points=[(60.0, 2.0)])
    (track,) = match_points(tiny_segmenter(), bear, settings).tracks
    assert track.object_id == 0 and track.same_object is None


@pytest.mark.parametrize("source", [0, 2])
def test_truth_whose_size_is_not_that_of_the_frames_is_refused(source, tmp_path):
    write_png(tmp_path / "00002.png", np.zeros((32, 48), np.uint8))
    settings = PointSettings(resolution=-1, points=[(56.0, 40.0)], source=source)
    with pytest.raises(InputError, match=r"00002\.png: mask of 48x32 for frames of 160x96"):
        match_points(tiny_segmenter(), SlidingVideo(), settings, tmp_path)


def test_points_are_chosen_deep_inside_every_object_and_far_apart():
    labels = np.zeros((80, 120), np.uint8)
    labels[10:30, 10:90], labels[50:70, 20:40] = 3, 9
    chosen = points.points_on(labels, 3)
    assert [labels[int(y), int(x)] for x, y in chosen] == [3, 3, 3, 9, 9, 9]
    columns = [x for x, _ in chosen[:3]]
    assert all(14 <= y <= 25 for _, y in chosen[:3]) and max(columns) - min(columns) > 50


def test_points_in_one_pixel_share_a_mark():
    image = np.full((90, 120, 3), 128, np.uint8)
    one = points.mark_points(image, [(30.0, 30.0)])
    both = points.mark_points(image, [(30.0, 30.0), (30.2, 30.1)])
    assert (image == 128).all() and (one != 128).any() and (one != both).any()


def test_all_uses_and_ages_are_accounted_for(bear):
    segmenter = tiny_segmenter("lfu", memory_frames=9, mem_every=2, top_k=3)
    followed = follow_elements(segmenter, bear)
    history = followed.history
    assert sorted(set(history.frames)) == [0, 2, 4, 6]
    assert len(history.frames) == 4 * CELLS and history.alive.all()
    assert history.uses.sum() == 8 * CELLS * 3  # reading frames, positions, elements for each
    assert np.array_equal(history.ages, 8 - history.frames)
    assert draw_alive(bear, followed, resolution=-1, shown=12).shape[2] == 3


@pytest.mark.parametrize("frames", [4, 9])
def test_the_last_clip_of_a_video_is_accounted_for_and_ages_count_frames(bear, frames):
    settings = {
        "memory": "lfu",
        "memory_frames": 9,
        "clip_length": 3,
        "memory.segment_frames": None,
        "refine": False,
        "top_k": 3,
    }
    segmenter = tiny_segmenter("pcvos", **settings)
    history = follow_elements(segmenter, bear, max_frames=frames).history
    read = frames - 1  # by the frames after the first: clips of 3, the last one of 3 or of 2
    assert sorted(set(history.frames)) == list(range(0, read, 3))
    assert np.array_equal(history.ages, read - history.frames)
    assert history.uses.sum() == read * CELLS * 3


def test_a_clip_system_follows_a_video_shorter_than_its_clip(bear):
    segmenter = tiny_segmenter("pcvos", "tiny_pcvos", memory="lfu", memory_frames=9)
    history = follow_elements(segmenter, bear, max_frames=3).history
    assert set(history.frames) == {0} and set(history.ages) == {2} and history.uses.sum() > 0
    with pytest.raises(InputError, match="bear: a single frame"):
        follow_elements(segmenter, bear, max_frames=1)


def test_evicted_elements_are_distinguished_from_those_alive(bear):
    segmenter = tiny_segmenter("lfu", memory_frames=2, mem_every=2, top_k=3)
    session = segmenter.session()
    for frame in bear.frames():
        session.step(frame.image, frame.labels)
    history = follow_elements(segmenter, bear).history
    columns = (history.frames, history.positions, history.uses)
    alive = sorted(zip(*(column[history.alive] for column in columns), strict=True))
    memory = session.memory
    held = (memory.frames.tolist(), memory.positions.tolist(), memory.uses.tolist())
    assert alive == sorted(zip(*held, strict=True))
    assert len(history.frames) == 4 * CELLS and len(alive) == 2 * CELLS
    assert len(set(zip(history.frames, history.positions, strict=True))) == 4 * CELLS
    assert history.uses.sum() == 8 * CELLS * 3
    assert (history.ages >= 1).all() and (history.ages <= 8 - history.frames).all()


def test_only_alive_pixels_stay_bright():
    image = np.full((4, 6, 3), (200, 100, 0), np.uint8)
    alive = np.zeros((4, 6), bool)
    alive[:2] = True
    picture = highlight(image, alive)
    assert (picture[:2] == image[:2]).all() and (picture[2:] == 20).all()
