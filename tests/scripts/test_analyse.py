"""The commands of analyse.py: their tables, JSON files and pictures."""

import dataclasses
import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from toy_trees import file_names, write_davis, write_generic, write_png, write_tiny_weights

from inference import SegmentationSession
from inference.validation import Validator
from model import PRESETS, load_network
from scripts import analyse
from util.errors import run_command


@pytest.fixture(scope="module")
def davis(tmp_path_factory):
    return write_davis(tmp_path_factory.mktemp("davis"), {"bear": 9, "camel": 7})


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_tiny_weights(tmp_path_factory.mktemp("weights") / "tiny.pth")


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def command(monkeypatch, capsys, out):
    """command(name, *flags) runs analyse.py on the CPU into `out`.

    Returns its exit code, standard output and standard error.
    """

    def run(name: str, *flags: object) -> tuple[int, str, str]:
        common = ["--output", out, "--device", "cpu", "--threads", "1"]
        monkeypatch.setattr(sys, "argv", ["analyse.py", name, *map(str, (*common, *flags))])
        with pytest.raises(SystemExit) as end:
            run_command(analyse.main)
        output = capsys.readouterr()
        return end.value.code, output.out, output.err

    return run


def read_figures(path: Path) -> dict:
    return json.loads(path.read_text())["figures"]


def pictures_of(folder: Path) -> list[str]:
    """The names of the pictures, none of which is blank."""
    for path in folder.glob("*.png"):
        assert np.asarray(Image.open(path).convert("RGB")).std() > 1, path
    return sorted(path.name for path in folder.glob("*.png"))


def test_affinity_compares_networks(command, davis, weights, out):
    dot = dataclasses.replace(PRESETS["tiny"], similarity="dot")
    other = write_tiny_weights(out.parent / "other.pth", seed=1, network=dot)
    models = ["--model", f"one={weights}", f"two={other}"]
    flags = ["--data_path", davis, *models, "--mem_every", "2"]
    code, text, err = command("affinity", *flags)
    assert code == 0, err
    report = json.loads((out / "affinity.json").read_text())
    assert "analyse.py affinity" in report["command"]
    assert pictures_of(out) == ["affinity.png"]
    assert list(report["figures"]) == ["one", "two"]
    for (name, figures), similarity in zip(report["figures"].items(), ("l2", "dot"), strict=True):
        assert (figures["similarity"], figures["elements"]) == (similarity, 84)
        assert 0 <= figures["above_0.1"] <= figures["above_0.01"] <= 1 and 0 < figures["gini"] < 1
        assert figures["sequences"]["bear"]["elements"] == 48
        shares = [figures[key] for key in ("above_0.01", "above_0.1", "gini")]
        cells = [name, similarity, "84", *(f"{100 * share:.1f}" for share in shares)]
        assert f"| {' | '.join(cells)} |" in text
    code, _, err = command("affinity", *flags, "--similarity", "two=cosine")
    assert code == 2 and "was trained with similarity dot, not cosine as asked for" in err


def test_correspondence_follows_points_on_objects_and_counts_those_that_stay(
    command, davis, weights, out
):
    flags = ["--data_path", davis, "--model", weights]
    code, text, err = command("correspondence", *flags, "--points_per_object", "1", "--shown", "3")
    assert code == 0, err
    figures = read_figures(out / "correspondence.json")
    bear = [(track["object_id"], len(track["matches"])) for track in figures["bear"]]
    assert bear == [(1, 8), (2, 8)]
    assert all(0 <= track["same_object"] <= 1 for tracks in figures.values() for track in tracks)
    assert pictures_of(out) == ["correspondence_bear.png", "correspondence_camel.png"]
    assert text.count("| bear |") == 2

    points = ["--sequences", "bear", "--points", "10,12", "20.5,30", "--frame", "4"]
    code, _, err = command("correspondence", *flags, *points)
    assert code == 0, err
    tracks = read_figures(out / "correspondence.json")["bear"]
    positions = [(track["x"], track["y"], len(track["matches"])) for track in tracks]
    assert positions == [(10, 12, 4), (20.5, 30, 4)]


def test_memory_maps_what_is_alive_and_scores_capacities(command, davis, weights, out):
    flags = ["--data_path", davis, "--model", weights, "--memory_frames", "2", "--mem_every", "2"]
    code, text, err = command("memory", *flags, "--capacities", "1", "3")
    assert code == 0, err
    line = next(line for line in text.splitlines() if line.startswith("| video"))
    header = line.strip("| ").split(" | ")
    assert len(set(header)) == len(header) and {"alive: mean age", "gone: mean age"} < set(header)
    assert "| every-k |" in text and "| bear | 24 |" in text
    figures = read_figures(out / "memory.json")
    bear = figures["videos"]["bear"]
    assert bear["alive"]["elements"] == 24 and bear["gone"]["elements"] == 24
    assert list(figures["capacities"]) == ["lfu 1", "lfu 3", "every-k", "first-and-latest"]
    for scores in figures["capacities"].values():
        assert 0 <= scores["j_and_f"] <= 1 and set(scores["per_sequence"]) == {"bear", "camel"}
    assert pictures_of(out) == ["alive_bear.png", "alive_camel.png", "capacity.png", "use.png"]


def test_capacities_are_scored_with_the_requested_system(command, davis, out):
    weights = write_tiny_weights(out.parent / "tiny_pcvos.pth", network="tiny_pcvos")
    flags = ["--data_path", davis, "--sequences", "camel", "--model", weights, "--system", "pcvos"]
    bounded = ["--memory", "lfu", "--memory_frames", "2", "--capacities", "2"]
    code, _, err = command("memory", *flags, *bounded)
    assert code == 0, err
    found = read_figures(out / "memory.json")["capacities"]
    network = load_network(weights)
    for name, settings in {
        "lfu 2": {"memory": "lfu", "memory_frames": 2},
        "every-k": {},
        "first-and-latest": {"memory": "first-and-latest"},
    }.items():
        expected = Validator(davis, ["camel"], system="pcvos", **settings).score(network)
        assert found[name]["j_and_f"] == pytest.approx(expected.j_and_f, abs=1e-9), name
    by_default_system = Validator(davis, ["camel"]).score(network)
    assert found["every-k"]["j_and_f"] != by_default_system.j_and_f


def test_analyses_read_folders_that_are_not_laid_out_like_davis(command, weights, out):
    root = write_generic(out.parent / "data", "clip", {0: (1,), 2: (2,)})
    flags = ["--data_path", root, "--model", weights, "--resolution", "-1", "--max_frames", "3"]
    code, _, err = command("correspondence", *flags)
    assert code == 0, err
    (track, *_) = read_figures(out / "correspondence.json")["clip"]
    assert len(track["matches"]) == 2
    assert file_names(out) == ["correspondence.json", "correspondence_clip.png"]


@pytest.mark.parametrize("frame", [0, 4])
def test_all_ids_are_one_object_if_the_lists_are_of_davis_2016(command, weights, out, frame):
    root = write_davis(out.parent / "davis", {"bear": 7}, "2016/val.txt")
    # The truth of later frames may lack some of the ids.
    for path in (root / "Annotations/480p/bear").glob("0000[1356].png"):
        labels = np.array(Image.open(path))
        write_png(path, np.where(labels == 1, 0, labels).astype(np.uint8))
    flags = ["--data_path", root, "--model", weights, "--points_per_object", "1"]
    code, _, err = command("correspondence", *flags, "--frame", frame)
    assert code == 0, err
    (track,) = read_figures(out / "correspondence.json")["bear"]
    ids = [match["object_id"] for match in track["matches"]]
    assert track["object_id"] == 1 and set(ids) <= {0, 1}
    assert track["same_object"] == np.mean([object_id == 1 for object_id in ids])


def test_memory_and_its_scores_are_of_one_object_if_the_lists_are_of_davis_2016(
    command, weights, out, monkeypatch
):
    root = write_davis(out.parent / "davis", {"bear": 4}, "480p/val.txt")
    given, step = [], SegmentationSession.step

    def recorded_step(session, frame, mask=None, **keywords):
        given.extend([] if mask is None else [set(np.unique(mask).tolist())])
        return step(session, frame, mask, **keywords)

    monkeypatch.setattr(SegmentationSession, "step", recorded_step)
    flags = ["--data_path", root, "--model", weights, "--memory_frames", "2", "--capacities", "2"]
    code, _, err = command("memory", *flags)
    assert code == 0, err
    assert given == [{0, 1}] * 4  # followed once, scored with three memories


def test_one_frame_is_singular_in_the_report(command, davis, weights):
    flags = ["--data_path", davis, "--sequences", "camel", "--model", weights]
    code, text, err = command("memory", *flags, "--memory_frames", "1")
    assert code == 0 and "memory lfu, 1 frame\n" in text, err


def test_sampling_tells_which_frames_are_memorised_and_why(command, davis, weights, out):
    flags = ["--data_path", davis, "--sequences", "bear", "--model", weights]
    gaps = ["--set", "memory.sampling_threshold=50", "memory.max_gap_frames=3"]
    code, text, err = command("sampling", *flags, *gaps)
    assert code == 0, err
    bear = read_figures(out / "sampling.json")["bear"]
    assert bear["memorised"] == {"00003": "gap", "00006": "gap"}  # of 9; the last is not memorised
    assert [frame["name"] for frame in bear["frames"]] == [f"{i:05d}" for i in range(1, 9)]
    for frame in bear["frames"]:
        assert 0 <= frame["difference"]["shape"] <= 1 and 0 <= frame["similarity"] <= 1
        assert 0 <= frame["true_difference"]["shape"] <= 1
    assert "| bear | 9 | 3 | 0 | 0 | 0 | 2 |" in text
    assert pictures_of(out) == ["memorised_bear.png", "sampling.png"]

    code, _, err = command("sampling", *flags, "--set", "memory.sampling_threshold=0")
    assert code == 0, err
    reasons = read_figures(out / "sampling.json")["bear"]["memorised"]
    assert len(reasons) == 7 and set(reasons.values()) <= {"shape", "position", "vanished"}

    code, _, err = command("sampling", *flags, "--sampling", "every", "--max_frames", "7")
    assert code == 0, err
    assert list(read_figures(out / "sampling.json")["bear"]["memorised"]) == ["00005"]


@pytest.mark.parametrize("name", ["affinity", "correspondence", "memory", "sampling"])
def test_an_error_during_the_analysis_leaves_the_output_folder_unchanged(
    command, weights, out, name
):
    root = write_davis(out.parent / "davis", {"bear": 3, "camel": 3})
    flags = ["--data_path", root, "--model", f"tiny={weights}" if name == "affinity" else weights]
    (root / "JPEGImages/480p/camel/00002.jpg").write_bytes(b"no picture")
    code, text, err = command(name, *flags)  # the first video is intact
    assert code == 2 and text == "" and err.count("\n") == 1
    assert "camel/00002.jpg: not an image" in err
    assert file_names(out.parent) == ["davis"]

    out.mkdir()
    (out / "notes.txt").write_text("mine")
    assert command(name, *flags, "--sequences", "bear")[0] == 0
    before = {path: path.read_bytes() for path in out.iterdir()}
    assert command(name, *flags, "--max_frames", "4")[0] == 2
    assert {path: path.read_bytes() for path in out.iterdir()} == before
    assert {"notes.txt", f"{name}.json"} < {path.name for path in before}


@pytest.mark.parametrize("existing", [False, True])
def test_termination_leaves_nothing_unfinished(command, davis, weights, out, monkeypatch, existing):
    if existing:
        out.mkdir()
    monkeypatch.setattr(
        "scripts.analysis.command.write_json", lambda *_: os.kill(os.getpid(), signal.SIGTERM)
    )
    before = signal.getsignal(signal.SIGTERM)
    flags = ["--data_path", davis, "--model", weights, "--max_frames", "2"]
    assert command("correspondence", *flags)[0] == 143
    assert list(out.parent.rglob("*")) == ([out] if existing else [])
    assert signal.getsignal(signal.SIGTERM) is before
