"""The protocols of LVOS and VOST: scores of known cases, computed by hand."""

import csv
import json
import math
from pathlib import Path

import pytest
from media_trees import check_refused
from toy_benchmarks import lvos_name, vost_name
from toy_label_maps import labels_with, write_maps

from inference.scoring import score_folder
from scripts import score

NOTHING, ONE, BOTH = labels_with(), labels_with(1), labels_with(1, 2)


def write_video(folder: Path, frames: list, name=lvos_name) -> None:
    write_maps(folder, {name(position): labels for position, labels in enumerate(frames)})


def span(start: int, end: int, count: int) -> dict:
    """An object's entry in LVOS's meta file; start, end: numbers of frames."""
    return {"frame_range": {"start": start, "end": end, "frame_nums": count}}


@pytest.fixture
def lvos(tmp_path) -> Path:
    """TRUTH/fish: object 1 in frames 1 to 36, absent from 16 and 21; object 2 from 11 to 31.
    TRUTH/yak: object 1 throughout.

    The results show object 1 at 16, wrongly, miss it at 26, and never show object 2; those of yak
    are right.
    """
    truth = [ONE, ONE, BOTH, labels_with(2), labels_with(2), BOTH, BOTH, ONE]
    results = [ONE, ONE, ONE, ONE, NOTHING, NOTHING, ONE, ONE]
    write_video(tmp_path / "truth/fish", truth)
    write_video(tmp_path / "results/fish", results)
    for side in ("truth", "results"):
        write_video(tmp_path / side / "yak", [ONE] * 4)
    videos = {
        "fish": {"objects": {"1": span(1, 36, 8), "2": span(11, 32, 5)}},
        "yak": {"objects": {"1": span(1, 16, 4)}},
    }
    (tmp_path / "val_meta.json").write_text(json.dumps({"videos": videos}))
    return tmp_path


@pytest.fixture
def unseen(lvos) -> Path:
    """The list of unseen videos, beside the meta file."""
    path = lvos / "unseen_videos.txt"
    path.write_text("yak\nof another version")
    return path


def score_lvos(folder: Path, **flags):
    return score_folder(
        folder / "truth",
        folder / "results",
        protocol="lvos",
        meta=folder / "val_meta.json",
        **flags,
    )


def test_lvos_scores_an_object_on_its_frames_also_where_it_is_absent(lvos):
    fish, hidden, yak = score_lvos(lvos).objects
    # frames 6 to 31: right, right, shown though absent, rightly absent, lost, right
    assert (fish.sequence, fish.object_id, fish.frames) == ("fish", 1, 6)
    assert (fish.j_mean, fish.f_mean) == pytest.approx((4 / 6, 4 / 6))
    # its variance is 2/9, which the toolkit rounds to 0.2222
    assert fish.extras == {"V": pytest.approx(math.sqrt(0.2222))}
    # frames 16, 21 and 26, between its first and its last
    assert (hidden.object_id, hidden.frames, hidden.j_mean) == (2, 3, 0)
    assert (yak.frames, yak.j_mean, yak.extras["V"]) == (2, 1, 0)


def test_lvos_ranks_by_the_mean_of_seen_and_unseen(lvos, unseen):
    report = score_lvos(lvos)
    kinds = report.overall.seen_unseen
    assert (kinds.j_seen, kinds.f_seen) == pytest.approx((2 / 6, 2 / 6))
    assert (kinds.j_unseen, kinds.f_unseen) == (1, 1)
    assert kinds.g == pytest.approx((2 / 6 + 2 / 6 + 1 + 1) / 4)
    assert kinds.extras["V"] == pytest.approx((math.sqrt(0.2222) / 2 + 0) / 2)
    assert report.overall.j_mean == pytest.approx((4 / 6 + 0 + 1) / 3)
    assert "G 66.7   J seen 33.3" in report.as_table()


def test_lvos_without_the_list_of_unseen_videos_says_what_is_missing(lvos):
    report = score_lvos(lvos)
    assert report.overall.seen_unseen.g is None
    assert any("put the unseen_videos.txt of LVOS's toolkit beside" in n for n in report.notes)


def test_lvos_tells_what_the_meta_file_and_the_truth_disagree_about(lvos):
    videos = json.loads((lvos / "val_meta.json").read_text())["videos"]
    videos["fish"]["objects"] = {"1": span(1, 36, 30)}
    (lvos / "val_meta.json").write_text(json.dumps({"videos": videos}))
    notes = score_lvos(lvos).notes
    assert "fish: object 1 has 30 frames in meta.json and 7 in the truth" in notes
    assert "fish: not scored because not in meta.json: object 2" in notes


def test_vost_adds_the_similarity_over_the_last_quarter(tmp_path):
    # of ten frames, eight are scored, and the last quarter is the last two of them
    write_video(tmp_path / "truth/1_cut", [ONE] * 10, vost_name)
    write_video(tmp_path / "results/1_cut", [ONE] * 8 + [NOTHING] + [ONE], vost_name)
    report = score_folder(tmp_path / "truth", tmp_path / "results", protocol="vost")
    (row,) = report.objects
    assert (row.frames, row.j_mean, row.extras) == (8, 7 / 8, {"J_tr": 0.5})
    assert report.overall.extras == {"J_tr": 0.5}


@pytest.mark.parametrize(("scored", "quarter"), [(1, 1), (2, 1), (4, 1), (5, 2), (7, 2), (8, 2)])
def test_vosts_last_quarter_begins_after_three_quarters_rounded_down(tmp_path, scored, quarter):
    frames = [ONE] * (scored + 2)
    write_video(tmp_path / "truth/a", frames, vost_name)
    right = [NOTHING] * (1 + scored - quarter) + [ONE] * (quarter + 1)
    write_video(tmp_path / "results/a", right, vost_name)
    (row,) = score_folder(tmp_path / "truth", tmp_path / "results", protocol="vost").objects
    assert row.extras["J_tr"] == 1
    assert row.j_mean == pytest.approx(quarter / scored)


def test_the_program_writes_the_further_measures(lvos, unseen, monkeypatch, capsys):
    flags = ["--truth", lvos / "truth", "--results", lvos / "results", "--protocol", "lvos"]
    flags += ["--meta", lvos / "val_meta.json"]
    flags += ["--csv", lvos / "scores.csv", "--json", lvos / "scores.json"]
    monkeypatch.setattr("sys.argv", ["score.py", *map(str, flags)])
    score.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[-1] == "V"
    assert next(line for line in lines if line.startswith("yak")).split()[-1] == "0.0"
    with (lvos / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["V"]) for row in rows] == pytest.approx(
        [math.sqrt(0.2222), 0, 0, math.sqrt(0.2222) / 3]
    )
    content = json.loads((lvos / "scores.json").read_text())
    assert content["overall"]["seen_unseen"]["j_unseen"] == 1
    assert content["overall"]["youtube"] == content["overall"]["seen_unseen"]  # its former name


def rename_frames(folder: Path) -> None:
    for path in (folder / "truth/yak").iterdir():
        path.rename(path.with_name(f"frame{path.name}"))


def write_meta(folder: Path, content: object) -> None:
    (folder / "val_meta.json").write_text(json.dumps(content))


REFUSED = {
    "a meta file of other videos": (
        lambda folder: write_meta(folder, {"videos": {"bear": {"objects": {"1": span(1, 6, 2)}}}}),
        {},
        r"fish: not in meta\.json; give the meta\.json of this truth",
    ),
    "a meta file of another form": (
        lambda folder: write_meta(folder, {"videos": {"fish": {"objects": {"1": {}}}}}),
        {},
        r"not a val_meta\.json of LVOS .*expected videos/NAME/objects/ID/frame_range",
    ),
    "an id that no mask can hold": (
        lambda folder: write_meta(
            folder, {"videos": {"fish": {"objects": {"300": span(1, 6, 2)}}}}
        ),
        {},
        r"not a val_meta\.json of LVOS .*object 300; ids are 1 to 255",
    ),
    "a span without frames": (
        lambda folder: write_meta(folder, {"videos": {"fish": {"objects": {"1": span(6, 1, 2)}}}}),
        {},
        r"not a val_meta\.json of LVOS .*2 frames from 6 to 1",
    ),
    "no meta file": (
        lambda folder: (folder / "val_meta.json").unlink(),
        {},
        r"val_meta\.json: no such file; give the val_meta\.json of LVOS",
    ),
    "frames without numbers": (
        rename_frames,
        {},
        "yak: a frame without a number; LVOS names frames 00000001",
    ),
    "a list of another version's videos": (
        lambda folder: (folder / "unseen_videos.txt").write_text("goat"),
        {},
        r"unseen_videos\.txt: names no video of .*LVOS v1 and v2 have lists of their own",
    ),
    "another benchmark's list": (
        lambda folder: None,
        {"train_meta": "train.json"},
        "--train_meta: of no use to the protocol lvos; leave it out, or choose --protocol youtube",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_wrong_files_beside_the_truth_of_lvos_are_refused(lvos, name):
    damage, flags, words = REFUSED[name]
    damage(lvos)
    flags = {flag: lvos / file for flag, file in flags.items()}
    check_refused(lambda: score_lvos(lvos, **flags), words)


def test_lvos_needs_its_meta_file(lvos):
    words = r"--protocol lvos: it needs the frames of each object; give the val_meta\.json of LVOS"
    check_refused(lambda: score_folder(lvos / "truth", lvos / "results", protocol="lvos"), words)
