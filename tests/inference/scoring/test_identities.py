"""Swapped identities and objects that are found again, on cases counted by hand."""

import json

import numpy as np
import pytest
from toy_label_maps import HEIGHT, WIDTH, labels_with, write_maps

from inference.scoring import IdentityRules, count_identities
from inference.scoring.identities import Overlap, Swap, identity_of, measure_overlaps
from scripts import score
from util.errors import InputError

IN_PLACE = Overlap(truth_pixels=100, result_pixels=100, shared_pixels=100)
ON_2 = Overlap(truth_pixels=100, result_pixels=100, shared_pixels=30, others={2: 70})
ON_3 = Overlap(truth_pixels=100, result_pixels=100, shared_pixels=0, others={2: 40, 3: 60})
SPECK_ON_2 = Overlap(truth_pixels=100, result_pixels=9, shared_pixels=0, others={2: 9})
LOST = Overlap(truth_pixels=100, result_pixels=0, shared_pixels=0)
HALF = Overlap(truth_pixels=100, result_pixels=50, shared_pixels=50)
HIDDEN = Overlap(truth_pixels=0, result_pixels=0, shared_pixels=0)
SLIVER = Overlap(truth_pixels=9, result_pixels=100, shared_pixels=0, others={2: 100})


def of(*overlaps: Overlap):
    names = [f"{index:05d}" for index in range(1, len(overlaps) + 1)]
    return identity_of("clip", 1, names, overlaps, IdentityRules())


def exchanged(labels: np.ndarray) -> np.ndarray:
    """Labels in which 1 and 2 change places."""
    return np.array([0, 2, 1], np.uint8)[labels]


def test_overlaps_are_counted_by_the_pixels_of_both_masks():
    truth, result = labels_with(1, 2, 4), np.zeros((HEIGHT, WIDTH), np.uint8)
    result[8:14, 0:3] = 1  # the left half of object 1,
    result[8:10, 8:14] = 1  # a third of object 2,
    result[0:2, 0:2] = 1  # and four pixels of background
    result[8:14, 16:22] = 4
    overlaps = measure_overlaps(truth, result, (1, 2, 4))
    assert overlaps == {
        1: Overlap(truth_pixels=36, result_pixels=34, shared_pixels=18, others={2: 12}),
        2: Overlap(truth_pixels=36, result_pixels=0, shared_pixels=0),
        4: Overlap(truth_pixels=36, result_pixels=36, shared_pixels=36),
    }
    assert overlaps[1].iou == 18 / 52 and overlaps[4].iou == 1


def test_a_run_of_three_swapped_frames_is_a_swap_and_shorter_ones_are_only_counted():
    identity = of(IN_PLACE, ON_2, ON_2, IN_PLACE, ON_2, ON_3, ON_3, LOST, ON_2)
    assert identity.visible_frames == 9 and identity.swapped_frames == 6
    assert identity.swaps == [
        Swap(first_frame="00005", last_frame="00007", frames=3, with_ids=(2, 3), at_the_end=False)
    ]


def test_a_swap_lasts_over_hidden_frames_which_do_not_count():
    (swap,) = of(IN_PLACE, ON_2, HIDDEN, SLIVER, ON_2, ON_2, HIDDEN).swaps
    assert (swap.first_frame, swap.last_frame, swap.frames) == ("00002", "00006", 3)
    assert swap.at_the_end
    assert of(IN_PLACE, ON_2, HIDDEN, SLIVER, ON_2, IN_PLACE).swaps == []


def test_specks_on_another_object_are_no_swap():
    assert of(IN_PLACE, *[SPECK_ON_2] * 5, IN_PLACE).swapped_frames == 0


@pytest.mark.parametrize(
    ("after", "found_after"),
    [
        ([IN_PLACE], 0),
        ([HALF], 0),
        ([ON_2, LOST, IN_PLACE], 2),
        ([LOST] * 9 + [IN_PLACE], 9),
        ([LOST] * 10 + [IN_PLACE], None),
        ([LOST], None),
    ],
)
def test_an_object_is_found_again_within_ten_frames_of_its_return(after, found_after):
    (returned,) = of(IN_PLACE, *[HIDDEN] * 4, SLIVER, *after).returns
    assert (returned.frame, returned.hidden_frames) == ("00007", 5)
    assert returned.found_after_frames == found_after


def test_short_hiding_and_a_late_beginning_are_no_returns():
    assert of(IN_PLACE, *[HIDDEN] * 4, IN_PLACE).returns == []
    assert of(*[HIDDEN] * 8, IN_PLACE).returns == []
    assert of(*[HIDDEN] * 8).visible_frames == 0


@pytest.fixture
def folders(tmp_path):
    """Two objects whose results are exchanged in frames 3 to 5; object 4 joins, is hidden in frames
    3 to 7, and is found again one frame late."""
    with_4, without_4 = labels_with(1, 2, 4), labels_with(1, 2)
    truth = [without_4, with_4, with_4, *[without_4] * 5, with_4, with_4]
    results = [*truth]
    results[3:6] = [exchanged(without_4)] * 3
    results[8] = without_4
    write_maps(tmp_path / "truth/clip", truth)
    write_maps(tmp_path / "results/clip", results)
    return tmp_path / "truth", tmp_path / "results"


TOTALS = {
    "objects": 3,
    "visible_frames": 9 + 9 + 3,
    "swapped_frames": 6,
    "swaps": 2,
    "swapped_at_the_end": 0,
    "returns": 1,
    "found_again": 1,
}


def test_a_folder_of_results_is_counted_from_its_files(folders):
    report = count_identities(*folders)
    assert report.totals() == TOTALS
    assert [(swap.first_frame, swap.with_ids) for swap in report.objects[0].swaps] == [
        ("00003", (2,))
    ]
    (returned,) = report.objects[2].returns
    assert (returned.frame, returned.hidden_frames) == ("00008", 5)
    assert returned.found_after_frames == 1
    strict = IdentityRules(swap_frames=4, found_within_frames=1)
    totals = count_identities(*folders, rules=strict).totals()
    assert (totals["swaps"], totals["returns"], totals["found_again"]) == (0, 1, 0)


def test_void_is_ignored(folders):
    """Void covers what is exchanged."""
    truth, results = folders
    labels = labels_with(1, 2)
    labels[labels > 0] = 255
    write_maps(truth / "clip", {f"{index:05d}": labels for index in (3, 4, 5)})
    totals = count_identities(truth, results).totals()
    assert totals["swapped_frames"] == 0 and totals["visible_frames"] == 6 + 6 + 3


def test_the_command_adds_identities_to_table_and_json(folders, tmp_path, monkeypatch, capsys):
    truth, results = folders
    flags = ["--truth", str(truth), "--results", str(results), "--protocol", "strict"]
    path = tmp_path / "scores.json"
    monkeypatch.setattr("sys.argv", ["score.py", *flags, "--identities", "--json", str(path)])
    score.main()
    content = json.loads(path.read_text())
    assert content["identities"]["totals"] == TOTALS and content["protocol"] == "strict"
    assert content["identities"]["objects"][0]["swaps"][0]["frames"] == 3
    last = capsys.readouterr().out.splitlines()[-1].split()
    assert last == ["overall", "3", "21", "6", "2", "0", "1", "1"]
    monkeypatch.setattr("sys.argv", ["score.py", *flags, "--json", str(path)])
    score.main()
    assert "identities" not in json.loads(path.read_text())


def test_single_object_and_a_missing_last_frame_are_refused(folders, monkeypatch, capsys):
    truth, results = folders
    flags = ["score.py", "--truth", str(truth), "--results", str(results), "--identities"]
    monkeypatch.setattr("sys.argv", [*flags, "--single_object"])
    with pytest.raises(InputError, match="--identities: of no use with --single_object"):
        score.main()
    (results / "clip/00009.png").unlink()
    monkeypatch.setattr("sys.argv", flags)
    with pytest.raises(InputError, match=r"00009\.png: no such result"):
        score.main()
    assert capsys.readouterr().out == ""
