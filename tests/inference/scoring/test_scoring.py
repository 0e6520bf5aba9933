"""Scoring folders: the official toolkit's numbers, what each protocol counts, the files written.

What is refused is in test_refused_results.py.
"""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from repository import DATA, ROOT
from toy_label_maps import labels_with, write_maps

from inference.scoring import score_folder, score_frames
from util.errors import InputError

GOLDEN = np.load(DATA / "scores_golden.npz")
SIX = ("j_mean", "j_recall", "j_decay", "f_mean", "f_recall", "f_decay")


def scores_by_object(report) -> dict:
    return {(row.sequence, row.object_id): row for row in report.objects}


@pytest.mark.parametrize("protocol", ["davis", "strict"])
def test_scoring_folders_equals_the_official_toolkit(tmp_path, protocol):
    for entry in "abc":
        write_maps(tmp_path / "truth" / entry, GOLDEN[f"{entry}/gt"])
        write_maps(tmp_path / "results" / entry, GOLDEN[f"{entry}/pred"])
    report = score_folder(tmp_path / "truth", tmp_path / "results", protocol=protocol, workers=2)
    expected = {("a", 1), ("a", 2), ("b", 1), ("b", 2), ("c", 1)}  # c has no object 2 in its truth
    assert set(scores_by_object(report)) == expected
    stats = {key: GOLDEN[f"{key[0]}/stats"][key[1] - 1] for key in expected}
    for key, row in scores_by_object(report).items():
        np.testing.assert_allclose(
            [getattr(row, name) for name in SIX], stats[key], rtol=0, atol=1e-9
        )
    overall = [getattr(report.overall, name) for name in SIX]
    np.testing.assert_allclose(overall, np.mean(list(stats.values()), axis=0), rtol=0, atol=1e-9)
    assert report.overall.jf_mean == pytest.approx(
        (report.overall.j_mean + report.overall.f_mean) / 2, abs=1e-12
    )


@pytest.mark.parametrize("protocol", ["davis", "strict"])
def test_truth_against_itself_is_perfect(tmp_path, protocol):
    write_maps(tmp_path / "bear", [labels_with(1, 2)] * 5)
    overall = score_folder(tmp_path, tmp_path, protocol=protocol).overall
    assert [getattr(overall, name) for name in ("jf_mean", *SIX)] == [1, 1, 1, 0, 1, 1, 0]


def test_first_and_last_frame_are_left_out_and_need_no_result(tmp_path):
    write_maps(tmp_path / "truth" / "bear", [labels_with(1)] * 5)
    write_maps(
        tmp_path / "results" / "bear",
        {"00001": labels_with(1), "00002": labels_with(1), "00003": labels_with()},
    )
    (row,) = score_folder(tmp_path / "truth", tmp_path / "results").objects
    assert row.frames == 3
    assert row.j_mean == pytest.approx(2 / 3)


def test_sparse_ids_bring_no_invented_objects(tmp_path):
    write_maps(tmp_path / "bear", [labels_with(1, 4, 9)] * 4)
    for protocol in ("davis", "strict"):
        report = score_folder(tmp_path, tmp_path, protocol=protocol)
        assert [row.object_id for row in report.objects] == [1, 4, 9]
        assert any("objects 2, 3, 5, 6, 7, 8" in note for note in report.notes) == (
            protocol == "davis"
        )


def test_late_objects_count_from_the_frame_after_their_first_mask_in_strict(tmp_path):
    write_maps(tmp_path / "truth" / "bear", [labels_with(1)] * 3 + [labels_with(1, 9)] * 5)
    write_maps(tmp_path / "results" / "bear", [labels_with(1)] * 5 + [labels_with(1, 9)] * 3)
    davis = score_folder(tmp_path / "truth", tmp_path / "results")
    assert list(scores_by_object(davis)) == [("bear", 1)]
    assert any("object 9" in note for note in davis.notes)
    late = scores_by_object(
        score_folder(tmp_path / "truth", tmp_path / "results", protocol="strict")
    )["bear", 9]
    assert late.frames == 3  # 4, 5 and 6 of 0 to 7
    assert late.j_mean == pytest.approx(2 / 3)


def test_scores_frame_by_frame_have_the_means_of_the_folder(tmp_path):
    write_maps(tmp_path / "truth" / "bear", [labels_with(1)] * 3 + [labels_with(1, 9)] * 5)
    write_maps(tmp_path / "results" / "bear", [labels_with(1)] * 5 + [labels_with(1, 9)] * 3)
    series = {
        row.object_id: row
        for row in score_frames(tmp_path / "truth", tmp_path / "results", protocol="strict")
    }
    assert series[9].frames == (4, 5, 6) and series[9].j == series[9].f == (0.0, 1.0, 1.0)
    scores = scores_by_object(
        score_folder(tmp_path / "truth", tmp_path / "results", protocol="strict")
    )
    for object_id, row in series.items():
        assert np.mean(row.j) == pytest.approx(scores["bear", object_id].j_mean) and np.mean(
            row.f
        ) == pytest.approx(scores["bear", object_id].f_mean)


def test_void_is_ignored_in_strict_and_background_in_davis(tmp_path):
    truth, result = labels_with(1, 2), labels_with(1, 2)
    truth[8:14, 6:8] = 255
    result[8:14, 6:8] = 1  # 12 pixels of object 1's result in the void
    write_maps(tmp_path / "truth" / "bear", [truth] * 4)
    write_maps(tmp_path / "results" / "bear", [result] * 4)
    strict = scores_by_object(
        score_folder(tmp_path / "truth", tmp_path / "results", protocol="strict")
    )
    davis = scores_by_object(score_folder(tmp_path / "truth", tmp_path / "results"))
    assert set(strict) == set(davis) == {("bear", 1), ("bear", 2)}
    assert strict["bear", 1].j_mean == 1
    assert davis["bear", 1].j_mean == pytest.approx(36 / 48)


@pytest.mark.parametrize(("truth_id", "result_id"), [(255, 255), (255, 1), (1, 255)])
def test_255_as_the_only_id_is_the_one_object(tmp_path, truth_id, result_id):
    mask = labels_with(1)
    write_maps(tmp_path / "truth" / "bear", [mask * truth_id] * 4, indexed=False)
    write_maps(
        tmp_path / "results" / "bear",
        [mask * result_id, mask * result_id, mask * 0, mask],
        indexed=False,
    )
    (row,) = score_folder(tmp_path / "truth", tmp_path / "results", protocol="strict").objects
    assert (row.object_id, row.j_mean) == (truth_id, 0.5)


def test_data_set_roots_and_youtube_outputs_are_found(tmp_path):
    write_maps(tmp_path / "davis" / "Annotations" / "480p" / "bear", [labels_with(1)] * 4)
    write_maps(tmp_path / "out" / "Annotations" / "bear", [labels_with(1)] * 4)
    assert score_folder(tmp_path / "davis", tmp_path / "out").overall.jf_mean == 1
    assert score_folder(tmp_path / "out", tmp_path / "out" / "Annotations").overall.jf_mean == 1


def test_frames_are_in_natural_order(tmp_path):
    names = [str(number) for number in (1, 2, 10)]
    write_maps(tmp_path / "truth" / "bear", dict.fromkeys(names, labels_with(1)))
    write_maps(
        tmp_path / "results" / "bear", {"2": labels_with(1)}
    )  # the middle one alone is scored
    assert score_folder(tmp_path / "truth", tmp_path / "results").overall.j_mean == 1


def youtube_folders(tmp_path: Path) -> Path:
    """Object 1 (seen) is in all frames 0 to 7. Object 2 (unseen) shows in frames 2 to 4 and is
    listed to frame 5; the results lose it after frame 3."""
    truth = [labels_with(1)] * 2 + [labels_with(1, 2)] * 3 + [labels_with(1)] * 3
    write_maps(tmp_path / "valid" / "Annotations" / "clip", truth)
    write_maps(tmp_path / "out" / "Annotations" / "clip", truth[:4] + [labels_with(1)] * 4)
    frames = [f"{index:05d}" for index in range(8)]
    objects = {
        "1": {"category": "cat", "frames": frames},
        "2": {"category": "yak", "frames": frames[2:6]},
    }
    (tmp_path / "valid" / "meta.json").write_text(
        json.dumps({"videos": {"clip": {"objects": objects}}})
    )
    (tmp_path / "train.json").write_text(
        json.dumps(
            {"videos": {"other": {"objects": {"1": {"category": "cat", "frames": ["00000"]}}}}}
        )
    )
    return tmp_path


def test_youtube_counts_an_object_to_its_last_annotated_frame_by_category(tmp_path):
    folder = youtube_folders(tmp_path)
    meta = folder / "valid" / "meta.json"
    report = score_folder(
        folder / "valid",
        folder / "out",
        protocol="youtube",
        meta=meta,
        train_meta=folder / "train.json",
    )
    rows = scores_by_object(report)
    assert (rows["clip", 1].frames, rows["clip", 1].seen) == (7, True)
    assert (rows["clip", 2].frames, rows["clip", 2].seen) == (
        3,
        False,
    )  # 3, 4, 5: right, lost, rightly absent
    kinds = report.overall.seen_unseen
    assert (kinds.j_seen, kinds.f_seen) == (1, 1)
    assert (kinds.j_unseen, kinds.f_unseen) == pytest.approx((2 / 3, 2 / 3))
    assert kinds.g == pytest.approx((1 + 1 + 2 / 3 + 2 / 3) / 4)
    assert "unofficial" in report.as_table()
    assert "G 83.3" in report.as_table()


def test_youtube_without_listed_frames_ends_where_the_object_last_shows(tmp_path):
    folder = youtube_folders(tmp_path)
    meta = folder / "valid" / "meta.json"
    meta.write_text(
        json.dumps(
            {"videos": {"clip": {"objects": {"1": {"category": "cat"}, "2": {"category": "yak"}}}}}
        )
    )
    rows = scores_by_object(
        score_folder(folder / "valid", folder / "out", protocol="youtube", meta=meta)
    )
    assert rows["clip", 2].frames == 2  # 3 and 4


def test_youtube_finds_the_training_categories_beside_meta_and_says_when_it_cannot(tmp_path):
    folder = youtube_folders(tmp_path)
    meta = folder / "valid" / "meta.json"
    unknown = score_folder(folder / "valid", folder / "out", protocol="youtube", meta=meta)
    assert unknown.overall.seen_unseen.g is None
    assert any("--train_meta" in note for note in unknown.notes)
    (folder / "train").mkdir()
    (folder / "train.json").rename(folder / "train" / "meta.json")
    assert (
        score_folder(
            folder / "valid", folder / "out", protocol="youtube", meta=meta
        ).overall.seen_unseen.j_seen
        == 1
    )


@pytest.fixture
def pair(tmp_path):
    """Truth and perfect results of bear and cat, four frames each."""
    for side in ("truth", "results"):
        for name in ("bear", "cat"):
            write_maps(tmp_path / side / name, [labels_with(1, 2)] * 4)
    return tmp_path / "truth", tmp_path / "results"


def test_sequences_are_scored_without_results_of_the_others(pair):
    truth, results = pair
    (results / "cat").rename(results / "gone")
    report = score_folder(truth, results, sequences=["bear"])
    assert {row.sequence for row in report.objects} == {"bear"}


def test_grey_truth_stored_as_colour_is_read(tmp_path):
    write_maps(tmp_path / "results" / "bear", [labels_with(255)] * 4)
    (tmp_path / "truth" / "bear").mkdir(parents=True)
    for index, mode in enumerate(("RGB", "RGBA", "L", "LA")):
        Image.fromarray(labels_with(255)).convert(mode).save(
            tmp_path / "truth" / "bear" / f"{index}.png"
        )
        (tmp_path / "results" / "bear" / f"0000{index}.png").rename(
            tmp_path / "results" / "bear" / f"{index}.png"
        )
    assert score_folder(tmp_path / "truth", tmp_path / "results").overall.j_mean == 1


def test_single_object_scoring_takes_all_ids_for_one_object(tmp_path):
    write_maps(tmp_path / "truth" / "v", [labels_with(1, 2)] * 4)
    write_maps(tmp_path / "results" / "v", [np.where(labels_with(1, 2) > 0, 255, 0)] * 4)
    report = score_folder(tmp_path / "truth", tmp_path / "results", single_object=True)
    assert [(row.object_id, row.j_mean, row.f_mean) for row in report.objects] == [(1, 1.0, 1.0)]


def test_changed_results_are_scored_again(pair):
    truth, results = pair
    assert score_folder(truth, results).overall.j_mean == 1
    write_maps(results / "bear", [labels_with()] * 4)
    assert score_folder(truth, results).overall.j_mean == 0.5


def test_the_number_of_workers_changes_nothing(tmp_path):
    write_maps(tmp_path / "truth" / "a", GOLDEN["a/gt"])
    write_maps(tmp_path / "results" / "a", GOLDEN["a/pred"])
    one, many = (
        score_folder(tmp_path / "truth", tmp_path / "results", workers=workers)
        for workers in (1, 5)
    )
    assert one == many


def test_script_prints_the_table_and_writes_json_and_csv(tmp_path, pair):
    truth, results = pair
    write_maps(results / "cat", {"00001": labels_with(1)})
    command = [sys.executable, ROOT / "scripts/score.py", "--truth", truth, "--results", results]
    files = ["--json", tmp_path / "new/scores.json", "--csv", tmp_path / "new/scores.csv"]
    done = subprocess.run(
        [*command, "--protocol", "strict", *files],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("protocol strict")
    overall = next(line.split() for line in lines if line.startswith("overall"))
    assert overall == ["overall", "4", "8", "87.5", *["87.5", "87.5", "-25.0"] * 2]
    cat = next(line.split() for line in lines if line.startswith("cat"))
    assert cat[:4] == ["cat", "1", "2", "100.0"]

    content = json.loads((tmp_path / "new" / "scores.json").read_text())
    assert content["protocol"] == "strict"
    assert content["overall"]["jf_mean"] == 0.875
    j_means = [(row["sequence"], row["object_id"], row["j_mean"]) for row in content["objects"]]
    assert j_means == [("bear", 1, 1), ("bear", 2, 1), ("cat", 1, 1), ("cat", 2, 0.5)]

    with (tmp_path / "new" / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["sequence"], row["object_id"], float(row["f_mean"])) for row in rows[-2:]] == [
        ("cat", "2", 0.5),
        ("overall", "", 0.875),
    ]
    assert {row["protocol"] for row in rows} == {"strict"}


def test_too_little_memory_is_one_line_with_a_remedy(tmp_path, monkeypatch):
    def failing(*_: object) -> None:
        raise MemoryError

    write_maps(tmp_path / "truth/a", [np.eye(32, dtype=np.uint8)] * 3)
    monkeypatch.setattr("inference.scoring.measurement.boundary_accuracy", failing)
    with pytest.raises(InputError, match="too little memory; give fewer --workers"):
        score_folder(tmp_path / "truth", tmp_path / "truth")
