"""The comparison of directions and permanent memory."""

import numpy as np
import pytest
from toy_trees import write_davis, write_tiny_weights

from scripts import compare_directions
from util.errors import InputError


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Runs the script on a data set, with tiny weights."""
    weights = write_tiny_weights(tmp_path / "tiny.pth")

    def run_script(root, *flags):
        words = ["compare_directions.py", root, *flags, "--model", weights, "--device", "cpu"]
        monkeypatch.setattr("sys.argv", [*map(str, words), "--resolution", "32"])
        return compare_directions.main()

    return run_script


def test_every_method_is_scored_on_the_frames_that_are_not_given(
    run, tmp_path, monkeypatch, capsys
):
    scored = []
    score = compare_directions.score

    def watched(task, results):
        scored.append((task.video.name, task.given, sorted(results)))
        return score(task, results)

    monkeypatch.setattr(compare_directions, "score", watched)
    root = write_davis(tmp_path / "davis", {"bear": 7, "dog": 6})
    assert run(root, "--masks", 3) == 0
    lines = capsys.readouterr().out.splitlines()
    header = "| method | J&F | J | F | bear | dog | seconds |"
    assert lines[0] == header
    names = [line.split("|")[1].strip() for line in lines[2:6]]
    assert names == [method.name for method in compare_directions.METHODS]
    assert "scripts/compare_directions.py" in lines[-1]
    assert scored == 4 * [("bear", [0, 3, 6], [*range(7)])] + 4 * [("dog", [0, 2, 5], [*range(6)])]


def test_given_frames_do_not_count(tmp_path):
    root = write_davis(tmp_path / "davis", {"bear": 4})
    (task,) = compare_directions.open_videos(_flags(root, masks=2))
    truth = {index: task.video.labels(index) for index in range(4)}
    wrong_where_given = {**truth, 0: np.zeros_like(truth[0]), 3: np.zeros_like(truth[3])}
    assert compare_directions.score(task, wrong_where_given).tolist() == [1, 1]


def test_a_video_without_the_truth_of_every_frame_is_refused(tmp_path):
    root = write_davis(tmp_path / "davis", {"bear": 4})
    with pytest.raises(InputError, match=r"of 4; .* and at least 5 frames"):
        compare_directions.open_videos(_flags(root, masks=4))
    (root / "Annotations/480p/bear/00002.png").unlink()
    with pytest.raises(InputError, match="bear: 1 frame without a mask"):
        compare_directions.open_videos(_flags(root, masks=2))


def _flags(root, masks):
    return compare_directions._parser().parse_args([str(root), "--masks", str(masks)])
