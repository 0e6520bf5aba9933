"""Analyses: their figures against plain computations, and the commands with their tables, JSON files and pictures."""

import dataclasses
import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from toy_trees import file_names, write_davis, write_generic, write_png, write_tiny_weights

from dataset import DavisDataset, Frame, Video
from inference import SegmentationSession, VideoSegmenter
from inference.validation import Validator
from model import PRESETS, build_network, load_network
from scripts import analyse
from scripts.analysis import affinity, correspondence, memory_use
from scripts.analysis.grid import Grid
from scripts.benchmarks.synthetic import synthetic_network
from util.errors import InputError, run_command


@pytest.fixture(scope="module")
def segmenter():
    torch.manual_seed(0)
    return VideoSegmenter(build_network("tiny"), device="cpu")


@pytest.fixture(scope="module")
def davis(tmp_path_factory):
    return write_davis(tmp_path_factory.mktemp("davis"), {"bear": 9, "camel": 7})


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    """Runs analyse.py with flags, the tiny network and OUT at tmp_path/out; returns its exit code, stdout and stderr."""

    def run(name, *flags):
        monkeypatch.setattr(
            sys,
            "argv",
            [
                "analyse.py",
                name,
                "--output",
                str(tmp_path / "out"),
                "--device",
                "cpu",
                "--threads",
                "1",
                *map(str, flags),
            ],
        )
        with pytest.raises(SystemExit) as end:
            run_command(analyse.main)
        output = capsys.readouterr()
        return end.value.code, output.out, output.err

    return run


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_tiny_weights(tmp_path_factory.mktemp("weights") / "tiny.pth")


@pytest.mark.parametrize("kind", ["l2", "dot", "cosine"])
def test_largest_weights_are_those_of_a_plain_computation(kind, monkeypatch):
    monkeypatch.setattr(affinity, "_CHUNK_ELEMENTS", 20)  # several parts a frame
    keys = torch.randn(8, 6, 4, generator=torch.Generator().manual_seed(0))
    memorised = [0, 3, 6]  # every third; the last frame, 7, would not be in any case
    scores = {
        "l2": lambda memory, query: -(memory - query).square().sum() / 2,
        "dot": lambda memory, query: memory @ query / 2,
        "cosine": lambda memory, query: torch.cosine_similarity(memory, query, dim=0) / 0.01,
    }[kind]
    expected = np.zeros((3, 6))
    for frame in range(1, 8):
        held = [number for number, index in enumerate(memorised) if index < frame]
        elements = torch.cat([keys[memorised[number]] for number in held])
        for query in keys[frame]:
            weights = (
                torch.stack([scores(element, query) for element in elements])
                .softmax(0)
                .view(len(held), 6)
            )
            expected[held] = np.maximum(expected[held], weights.numpy())
    np.testing.assert_allclose(affinity.largest_weights(keys, 3, kind), expected.ravel(), rtol=1e-4)


def test_a_frame_that_is_never_read_has_no_elements():
    keys = torch.randn(6, 5, 4)
    assert len(affinity.largest_weights(keys, 5, "l2")) == 5  # frame 5 is the last
    assert len(affinity.largest_weights(keys[:1], 5, "l2")) == 0


def test_gini_is_zero_for_equals_and_near_one_where_one_has_all():
    assert affinity.gini(np.full(7, 0.3)) == pytest.approx(0)
    assert affinity.gini(np.eye(10)[3]) == pytest.approx(0.9)
    values = np.random.default_rng(0).random(50)
    differences = np.abs(values[:, None] - values).mean()
    assert affinity.gini(values) == pytest.approx(differences / (2 * values.mean()))
    with pytest.raises(ValueError, match="sum above zero"):
        affinity.gini(np.zeros(3))


def test_the_lorenz_curve_encloses_half_the_gini_coefficient_with_the_diagonal():
    values = np.random.default_rng(1).random(100) ** 3
    points = np.array(affinity.lorenz_curve(values))
    assert tuple(points[0]) == (0, 0) and tuple(points[-1]) == (1, 1)
    assert (np.diff(points[:, 1], 2) >= -1e-12).all()  # convex
    area = (
        np.trapezoid(points[:, 1], points[:, 0])
        if hasattr(np, "trapezoid")
        else np.trapz(points[:, 1], points[:, 0])
    )
    assert 1 - 2 * area == pytest.approx(affinity.gini(values), abs=1e-9)


@pytest.mark.parametrize(
    ("size", "resolution"), [((48, 64), -1), ((50, 75), -1), ((50, 75), 96), ((120, 90), 40)]
)
def test_a_pixels_cell_covers_it_and_has_its_middle_inside(size, resolution):
    grid = Grid(size, resolution)
    rng = np.random.default_rng(0)
    for x, y in zip(rng.integers(0, size[1], 40), rng.integers(0, size[0], 40), strict=True):
        cell = grid.cell_of(float(x), float(y))
        marked = grid.to_pixels((np.arange(grid.shape[0] * grid.shape[1]) == cell).astype(np.uint8))
        around = marked[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]  # resizing to pixels rounds
        assert marked.shape == size and around.any()
        assert grid.cell_of(*grid.centre_of(cell)) == cell
    with pytest.raises(InputError, match="outside the frame"):
        grid.cell_of(float(size[1]), 0.0)


class Sliding(Video):
    """A textured picture that moves 16 pixels to the right each frame."""

    name, frame_count, first_index, palette, object_ids, ignored_masks = (
        "sliding",
        4,
        0,
        bytes(768),
        (1,),
        0,
    )

    def frames(self):
        texture = np.random.default_rng(0).integers(0, 255, (96, 256, 3), dtype=np.uint8)
        for index in range(4):
            labels = None
            if index == 0:
                labels = np.zeros((96, 160), np.uint8)
                labels[24:72, 40:104] = 5
            yield Frame(
                index=index,
                name=f"{index:05d}",
                image=texture[:, 96 - 16 * index :][:, :160],
                labels=labels,
                required=True,
            )

    def validate(self):
        pass


@pytest.mark.parametrize("similarity", ["l2", "cosine"])
def test_points_are_found_where_they_went(similarity):
    network = synthetic_network("tiny")
    network.config = type(network.config)(**{**vars(network.config), "similarity": similarity})
    tracks, picture = correspondence.follow(
        VideoSegmenter(network, device="cpu"),
        Sliding(),
        resolution=-1,
        points=[(56.0, 40.0), (72.0, 56.0)],
    )
    for track in tracks:
        column, row = int(track.x // 16), int(track.y // 16)
        assert [(match.x, match.y) for match in track.matches] == [
            (16 * (column + step) + 8, 16 * row + 8) for step in (1, 2, 3)
        ]
        assert (
            all(0 < match.weight <= 1 for match in track.matches)
            and track.object_id == 5
            and track.same_object is None
        )
    assert picture.shape == (96, 4 * 160 + 3 * 4, 3)


@pytest.mark.parametrize("source", [0, 2])
def test_truth_of_another_size_than_the_frames_is_refused(source, tmp_path, segmenter):
    write_png(tmp_path / "00002.png", np.zeros((32, 48), np.uint8))
    with pytest.raises(InputError, match=r"00002\.png: mask of 48x32 for frames of 160x96"):
        correspondence.follow(
            segmenter,
            Sliding(),
            resolution=-1,
            points=[(56.0, 40.0)],
            source=source,
            truth=tmp_path,
        )


def test_points_are_chosen_deep_inside_every_object_and_apart():
    labels = np.zeros((80, 120), np.uint8)
    labels[10:30, 10:90], labels[50:70, 20:40] = 3, 9
    points = correspondence.points_on(labels, 3)
    assert [labels[int(y), int(x)] for x, y in points] == [3, 3, 3, 9, 9, 9]
    assert (
        all(14 <= y <= 25 for _, y in points[:3])
        and max(x for x, _ in points[:3]) - min(x for x, _ in points[:3]) > 50
    )


def test_points_at_one_place_share_a_mark():
    image = np.full((90, 120, 3), 128, np.uint8)
    one = correspondence.mark_points(image, [(30.0, 30.0)])
    both = correspondence.mark_points(image, [(30.0, 30.0), (30.2, 30.1)])
    assert (image == 128).all() and (one != 128).any() and (one != both).any()


def test_all_uses_and_ages_are_accounted_for(davis):
    segmenter = VideoSegmenter(
        build_network("tiny"), "lfu", device="cpu", memory_frames=9, mem_every=2, top_k=3
    )
    history, picture = memory_use.follow_elements(segmenter, DavisDataset(davis)[0])
    assert (
        sorted(set(history.frames)) == [0, 2, 4, 6]
        and len(history.frames) == 4 * 12
        and history.alive.all()
    )
    assert (
        history.uses.sum() == 8 * 12 * 3
    )  # frames read, positions of each, elements each of them uses
    assert np.array_equal(history.ages, 8 - history.frames)
    assert picture.shape[2] == 3


@pytest.mark.parametrize("frames", [4, 9])
def test_the_last_clip_of_a_video_is_accounted_for_and_ages_count_frames(davis, frames):
    settings = {
        "memory": "lfu",
        "memory_frames": 9,
        "clip_length": 3,
        "memory.segment_frames": None,
        "refine": False,
        "top_k": 3,
    }
    segmenter = VideoSegmenter(build_network("tiny"), "pcvos", device="cpu", **settings)
    history, _ = memory_use.follow_elements(segmenter, DavisDataset(davis)[0], max_frames=frames)
    read = frames - 1  # by the frames after the first: clips of 3, the last one of 3 or of 2
    assert sorted(set(history.frames)) == list(range(0, read, 3)) and np.array_equal(
        history.ages, read - history.frames
    )
    assert history.uses.sum() == read * 12 * 3


def test_a_clip_system_follows_a_video_shorter_than_its_clip(davis):
    segmenter = VideoSegmenter(
        build_network("tiny_pcvos"), "pcvos", device="cpu", memory="lfu", memory_frames=9
    )
    history, _ = memory_use.follow_elements(segmenter, DavisDataset(davis)[0], max_frames=3)
    assert set(history.frames) == {0} and set(history.ages) == {2} and history.uses.sum() > 0
    with pytest.raises(InputError, match="bear: a single frame"):
        memory_use.follow_elements(segmenter, DavisDataset(davis)[0], max_frames=1)


def test_elements_that_left_are_told_from_those_alive(davis):
    segmenter = VideoSegmenter(
        build_network("tiny"), "lfu", device="cpu", memory_frames=2, mem_every=2, top_k=3
    )
    session = segmenter.session()
    for frame in DavisDataset(davis)[0].frames():
        session.step(frame.image, frame.labels)
    history, _ = memory_use.follow_elements(segmenter, DavisDataset(davis)[0])
    alive = sorted(
        zip(
            history.frames[history.alive],
            history.positions[history.alive],
            history.uses[history.alive],
            strict=True,
        )
    )
    assert alive == sorted(
        zip(
            session.memory.frames.tolist(),
            session.memory.positions.tolist(),
            session.memory.uses.tolist(),
            strict=True,
        )
    )
    assert len(history.frames) == 4 * 12 and len(alive) == 2 * 12
    assert (
        history.uses.sum() == 8 * 12 * 3
        and (history.ages >= 1).all()
        and (history.ages <= 8 - history.frames).all()
    )
    assert len(set(zip(history.frames, history.positions, strict=True))) == 4 * 12


def test_only_alive_pixels_stay_bright():
    image = np.full((4, 6, 3), (200, 100, 0), np.uint8)
    alive = np.zeros((4, 6), bool)
    alive[:2] = True
    picture = memory_use.highlight(image, alive)
    assert (picture[:2] == image[:2]).all() and (picture[2:] == 20).all()


def pictures_of(folder: Path) -> list[str]:
    """Names of the pictures, each of which shows something."""
    for path in folder.glob("*.png"):
        assert np.asarray(Image.open(path).convert("RGB")).std() > 1, path
    return sorted(path.name for path in folder.glob("*.png"))


def test_affinity_compares_networks(command, davis, weights, tmp_path):
    other = write_tiny_weights(
        tmp_path / "other.pth",
        seed=1,
        network=dataclasses.replace(PRESETS["tiny"], similarity="dot"),
    )
    compared = (
        "affinity",
        "--data_path",
        davis,
        "--model",
        f"one={weights}",
        f"two={other}",
        "--mem_every",
        "2",
    )
    code, out, err = command(*compared)
    assert code == 0, err
    report = json.loads((tmp_path / "out/affinity.json").read_text())
    assert [
        (name, figures["similarity"], figures["elements"])
        for name, figures in report["figures"].items()
    ] == [("one", "l2", 84), ("two", "dot", 84)]
    for name, figures in report["figures"].items():
        assert 0 <= figures["above_0.1"] <= figures["above_0.01"] <= 1 and 0 < figures["gini"] < 1
        assert figures["sequences"]["bear"]["elements"] == 48
        assert (
            f"| {name} | {figures['similarity']} | 84 | {100 * figures['above_0.01']:.1f} | {100 * figures['above_0.1']:.1f} | {100 * figures['gini']:.1f} |"
            in out
        )
    assert (
        pictures_of(tmp_path / "out") == ["affinity.png"]
        and "analyse.py affinity" in report["command"]
    )
    code, out, err = command(*compared, "--similarity", "two=cosine")
    assert code == 2 and "was trained with similarity dot, not cosine as asked for" in err


def test_correspondence_follows_points_on_objects_and_says_how_many_stayed_on_them(
    command, davis, weights, tmp_path
):
    code, out, err = command(
        "correspondence",
        "--data_path",
        davis,
        "--model",
        weights,
        "--points_per_object",
        "1",
        "--shown",
        "3",
    )
    assert code == 0, err
    figures = json.loads((tmp_path / "out/correspondence.json").read_text())["figures"]
    assert [(track["object_id"], len(track["matches"])) for track in figures["bear"]] == [
        (1, 8),
        (2, 8),
    ]
    assert all(0 <= track["same_object"] <= 1 for tracks in figures.values() for track in tracks)
    assert pictures_of(tmp_path / "out") == ["correspondence_bear.png", "correspondence_camel.png"]
    assert out.count("| bear |") == 2
    code, _, err = command(
        "correspondence",
        "--data_path",
        davis,
        "--model",
        weights,
        "--sequences",
        "bear",
        "--points",
        "10,12",
        "20.5,30",
        "--frame",
        "4",
    )
    tracks = json.loads((tmp_path / "out/correspondence.json").read_text())["figures"]["bear"]
    assert code == 0 and [(track["x"], track["y"], len(track["matches"])) for track in tracks] == [
        (10, 12, 4),
        (20.5, 30, 4),
    ]


def test_memory_maps_what_is_alive_and_scores_capacities(command, davis, weights, tmp_path):
    flags = [
        "--data_path",
        davis,
        "--model",
        weights,
        "--memory_frames",
        "2",
        "--mem_every",
        "2",
        "--capacities",
        "1",
        "3",
    ]
    code, out, err = command("memory", *flags)
    assert code == 0, err
    header = (
        next(line for line in out.splitlines() if line.startswith("| video"))
        .strip("| ")
        .split(" | ")
    )
    assert len(set(header)) == len(header) and {"alive: mean age", "gone: mean age"} < set(header)
    figures = json.loads((tmp_path / "out/memory.json").read_text())["figures"]
    assert (
        figures["videos"]["bear"]["alive"]["elements"] == 24
        and figures["videos"]["bear"]["gone"]["elements"] == 24
    )
    assert list(figures["capacities"]) == ["lfu 1", "lfu 3", "every-k", "first-and-latest"]
    assert all(
        0 <= scores["j_and_f"] <= 1 and set(scores["per_sequence"]) == {"bear", "camel"}
        for scores in figures["capacities"].values()
    )
    assert pictures_of(tmp_path / "out") == [
        "alive_bear.png",
        "alive_camel.png",
        "capacity.png",
        "use.png",
    ]
    assert "| every-k |" in out and "| bear | 24 |" in out


def test_capacities_are_scored_by_the_system_that_is_asked_for(command, davis, tmp_path):
    weights = write_tiny_weights(tmp_path / "tiny_pcvos.pth", network="tiny_pcvos")
    flags = [
        "--data_path",
        davis,
        "--sequences",
        "camel",
        "--model",
        weights,
        "--system",
        "pcvos",
        "--memory",
        "lfu",
        "--memory_frames",
        "2",
        "--capacities",
        "2",
    ]
    code, _, err = command("memory", *flags)
    assert code == 0, err
    found = json.loads((tmp_path / "out/memory.json").read_text())["figures"]["capacities"]
    for name, settings in {
        "lfu 2": {"memory": "lfu", "memory_frames": 2},
        "every-k": {},
        "first-and-latest": {"memory": "first-and-latest"},
    }.items():
        expected = Validator(davis, ["camel"], system="pcvos", **settings).score(
            load_network(weights)
        )
        assert found[name]["j_and_f"] == pytest.approx(expected.j_and_f, abs=1e-9), name
    assert (
        found["every-k"]["j_and_f"]
        != Validator(davis, ["camel"]).score(load_network(weights)).j_and_f
    )


def test_analyses_read_folders_that_are_not_laid_out_like_davis_too(command, weights, tmp_path):
    root = write_generic(tmp_path / "data", "clip", {0: (1,), 2: (2,)})
    code, _, err = command(
        "correspondence",
        "--data_path",
        root,
        "--model",
        weights,
        "--resolution",
        "-1",
        "--max_frames",
        "3",
    )
    assert code == 0, err
    (track, *_) = json.loads((tmp_path / "out/correspondence.json").read_text())["figures"]["clip"]
    assert len(track["matches"]) == 2 and file_names(tmp_path / "out") == [
        "correspondence.json",
        "correspondence_clip.png",
    ]


@pytest.mark.parametrize("frame", [0, 4])
def test_all_ids_are_one_object_where_the_lists_are_of_davis_2016(
    command, weights, tmp_path, frame
):
    root = write_davis(tmp_path / "davis", {"bear": 7}, "2016/val.txt")
    for path in (root / "Annotations/480p/bear").glob(
        "0000[1356].png"
    ):  # the truth of later frames may lack some of the ids
        labels = np.array(Image.open(path))
        write_png(path, np.where(labels == 1, 0, labels).astype(np.uint8))
    code, _, err = command(
        "correspondence",
        "--data_path",
        root,
        "--model",
        weights,
        "--points_per_object",
        "1",
        "--frame",
        frame,
    )
    assert code == 0, err
    (track,) = json.loads((tmp_path / "out/correspondence.json").read_text())["figures"]["bear"]
    assert track["object_id"] == 1 and {match["object_id"] for match in track["matches"]} <= {0, 1}
    assert track["same_object"] == np.mean([match["object_id"] == 1 for match in track["matches"]])


def test_the_memory_and_its_scores_are_of_one_object_where_the_lists_are_of_davis_2016(
    command, weights, tmp_path, monkeypatch
):
    root, given, step = (
        write_davis(tmp_path / "davis", {"bear": 4}, "480p/val.txt"),
        [],
        SegmentationSession.step,
    )

    def watched(session, frame, mask=None, **keywords):
        given.extend([] if mask is None else [set(np.unique(mask).tolist())])
        return step(session, frame, mask, **keywords)

    monkeypatch.setattr(SegmentationSession, "step", watched)
    code, _, err = command(
        "memory",
        "--data_path",
        root,
        "--model",
        weights,
        "--memory_frames",
        "2",
        "--capacities",
        "2",
    )
    assert code == 0, err
    assert given == [{0, 1}] * 4  # followed once, scored by three memories


@pytest.mark.parametrize(
    ("name", "flags", "said"),
    [
        ("affinity", ["--sequences", "unicorn"], "no sequence 'unicorn'"),
        ("affinity", ["--model", "nameless.pth"], "NAME=VALUE is expected"),
        ("affinity", ["--similarity", "other=dot"], "no --model of this name; there are: shipped"),
        (
            "affinity",
            ["--model", "a=b.pth", "--similarity", "a=distance"],
            "choose one of l2, dot, cosine",
        ),
        ("affinity", ["--model", "a=nowhere.pth"], "nowhere.pth"),
        ("affinity", ["--mem_every", "0"], "at least 1"),
        (
            "affinity",
            ["--resolution", "0"],
            "resolution is 0; it is the shorter side in pixels, at least 16, or -1",
        ),
        ("correspondence", ["--resolution", "-7"], "resolution is -7"),
        ("correspondence", ["--resolution", "5"], "resolution is 5"),
        ("memory", ["--resolution", "0"], "resolution is 0"),
        ("correspondence", ["--points", "1,1"], "--points: of one video; name it with --sequences"),
        (
            "correspondence",
            ["--sequences", "bear", "--points", "here"],
            "x,y in pixels is expected",
        ),
        (
            "correspondence",
            ["--sequences", "bear", "--points", "64,3"],
            "point 64,3: outside the frame of 64x48 pixels",
        ),
        ("correspondence", ["--frame", "9"], "bear: has no frame 9 after its first mask"),
        ("correspondence", ["--frame", "8"], "bear: no frame after 00008"),
        ("memory", ["--memory", "every-k"], "memory every-k counts no uses"),
        ("memory", ["--memory_frames", "0"], "at least 1"),
        ("memory", ["--memory", "lru"], "lfu"),
        ("memory", ["--colour", "red"], "the flags are"),
    ],
)
def test_wrong_requests_end_with_one_line_and_exit_code_2(command, davis, name, flags, said):
    code, out, err = command(name, "--data_path", davis, *flags)
    assert code == 2 and out == "" and err.startswith("error: ") and err.count("\n") == 1, err
    assert said in err


def test_one_frame_is_one_frame(command, davis, weights):
    code, out, err = command(
        "memory",
        "--data_path",
        davis,
        "--sequences",
        "camel",
        "--model",
        weights,
        "--memory_frames",
        "1",
    )
    assert code == 0 and "memory lfu, 1 frame\n" in out, err


def test_capacities_without_the_truth_are_refused_before_any_work(command, weights, tmp_path):
    root = write_generic(tmp_path / "data", "clip", {0: (1,)})
    code, _, err = command("memory", "--data_path", root, "--model", weights, "--capacities", "2")
    assert code == 2 and "validation needs the truth of every frame" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "asked",
    [
        ("affinity", "--model", "a=nowhere.pth"),
        ("correspondence", "--resolution", "5"),
        ("memory", "--memory", "every-k"),
    ],
)
def test_a_wrong_request_leaves_no_folder(command, davis, tmp_path, asked):
    name, *flags = asked
    code, _, _ = command(name, "--data_path", davis, *flags)
    assert code == 2 and not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["affinity", "correspondence", "memory"])
def test_an_error_met_on_the_way_leaves_nothing_and_what_was_there_as_it_was(
    command, weights, tmp_path, name
):
    root = write_davis(tmp_path / "davis", {"bear": 3, "camel": 3})
    flags = ["--data_path", root, "--model", f"tiny={weights}" if name == "affinity" else weights]
    (root / "JPEGImages/480p/camel/00002.jpg").write_bytes(b"no picture")
    code, out, err = command(name, *flags)  # the first video is sound
    assert (
        code == 2 and out == "" and "camel/00002.jpg: not an image" in err and err.count("\n") == 1
    )
    assert file_names(tmp_path) == ["davis"]

    (tmp_path / "out").mkdir()
    (tmp_path / "out/notes.txt").write_text("mine")
    assert command(name, *flags, "--sequences", "bear")[0] == 0
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert command(name, *flags, "--max_frames", "4")[0] == 2
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    assert {"notes.txt", f"{name}.json"} < {path.name for path in before}


@pytest.mark.parametrize("there", [False, True])
def test_being_terminated_leaves_nothing_half_done(
    command, davis, weights, tmp_path, monkeypatch, there
):
    if there:
        (tmp_path / "out").mkdir()
    monkeypatch.setattr(
        "scripts.analysis.command.write_json", lambda *_: os.kill(os.getpid(), signal.SIGTERM)
    )
    before = signal.getsignal(signal.SIGTERM)
    assert (
        command("correspondence", "--data_path", davis, "--model", weights, "--max_frames", "2")[0]
        == 143
    )
    assert (
        list(tmp_path.rglob("*")) == ([tmp_path / "out"] if there else [])
        and signal.getsignal(signal.SIGTERM) is before
    )


def test_an_output_that_is_a_file_is_refused(command, davis, weights, tmp_path):
    (tmp_path / "out").write_text("mine")
    code, _, err = command("correspondence", "--data_path", davis, "--model", weights)
    assert (
        code == 2
        and f"{tmp_path / 'out'}: a file; a folder is needed" in err
        and err.count("\n") == 1
    )
    assert (tmp_path / "out").read_text() == "mine" and file_names(tmp_path) == ["out"]


def test_a_point_on_the_background_has_no_object_to_stay_on(segmenter, davis):
    tracks, _ = correspondence.follow(
        segmenter, DavisDataset(davis)[0], resolution=-1, points=[(60.0, 2.0)]
    )
    assert tracks[0].object_id == 0 and tracks[0].same_object is None
