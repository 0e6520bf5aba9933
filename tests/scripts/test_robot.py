"""The robot annotator: where it draws, what its rounds are, and how they are scored."""

import json

import numpy as np
import pytest
from toy_trees import write_davis, write_tiny_weights

from inference.interactive import GrabCutMask, Stroke
from inference.scoring.metrics import region_similarity
from scripts import interactive
from scripts.robot.curve import AnnotatedVideo, Curve, Round
from scripts.robot.inputs import Scribbles, TrueMasks, correct, strokes_about
from scripts.robot.rounds import annotate_in_rounds, worst_first
from scripts.robot.scribbles import error_strokes, skeleton_line, thin
from scripts.studies.truth_videos import measure, open_truth_videos
from util.errors import InputError


@pytest.fixture(scope="module")
def davis(tmp_path_factory):
    return write_davis(tmp_path_factory.mktemp("davis") / "toy", {"bear": 5, "dog": 4})


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_tiny_weights(tmp_path_factory.mktemp("weights") / "tiny.pth")


@pytest.fixture
def video(davis):
    return open_truth_videos(davis, ["bear"], fewest_frames=2)[0]


def rectangle(rows, columns, shape=(60, 80)):
    mask = np.zeros(shape, bool)
    mask[rows, columns] = True
    return mask


# scribbles


def test_thinning_gives_a_connected_line_one_pixel_wide_inside_the_mask():
    mask = rectangle(slice(10, 20), slice(10, 70))
    skeleton = thin(mask)
    assert (skeleton <= mask).all() and 40 < skeleton.sum() < 70
    assert (skeleton[:, 20:60].sum(axis=0) == 1).all()


def test_the_line_runs_along_the_region_and_stays_inside():
    region = rectangle(slice(10, 20), slice(10, 70)) | rectangle(slice(10, 50), slice(10, 20))
    line = np.array(skeleton_line(region))
    columns, rows = line.astype(int).T
    assert region[rows, columns].all()
    assert line[:, 0].max() > 55 and line[:, 1].max() > 35
    assert all(map(np.isfinite, line.ravel()))


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (2, 2), (3, 3)])
def test_a_line_in_the_smallest_regions_and_at_the_edge(shape):
    region = np.ones(shape, bool)
    columns, rows = np.array(skeleton_line(region)).astype(int).T
    assert region[rows, columns].all()


def test_strokes_lie_in_the_errors_of_their_kind():
    truth = rectangle(slice(10, 40), slice(10, 40))
    result = rectangle(slice(10, 40), slice(25, 60))
    strokes = error_strokes(truth, result)
    assert [stroke.positive for stroke in strokes] == [True, False]
    for stroke, errors in zip(strokes, (truth & ~result, result & ~truth), strict=True):
        columns, rows = np.array(stroke.points).astype(int).T
        assert errors[rows, columns].all()


def test_errors_that_are_small_get_no_stroke():
    truth = rectangle(slice(10, 40), slice(10, 40))
    assert error_strokes(truth, truth) == []
    almost = truth.copy()
    almost[10:14, 10:14] = False
    assert error_strokes(truth, almost) == []
    two = truth | rectangle(slice(50, 56), slice(50, 56))
    assert len(error_strokes(two, np.zeros_like(two))) == 1


# input


def test_positive_strokes_of_one_object_are_negative_for_the_others():
    drawn = [(1, Stroke([(1, 1)])), (2, Stroke([(2, 2)])), (2, Stroke([(3, 3)], False))]
    assert strokes_about(1, drawn) == [Stroke([(1, 1)]), Stroke([(2, 2)], False)]
    assert strokes_about(2, drawn) == [
        Stroke([(1, 1)], False),
        *(stroke for _, stroke in drawn[1:]),
    ]


def test_corrected_masks_keep_other_objects_and_ids():
    class Lower:
        def mask(self, frame, previous, strokes, box):
            return rectangle(slice(30, 60), slice(None))

    result = np.zeros((60, 80), np.uint8)
    result[:40, :20], result[:, 60:] = 4, 9
    corrected = correct(np.zeros((60, 80, 3), np.uint8), result, {4: []}, Lower())
    assert not corrected[:30, :20].any() and (corrected[:30, 60:] == 9).all()
    assert (corrected[30:] == 4).all()


def test_scribbles_give_a_mask_like_the_truth(video):
    # the toys are large for their frames
    give = Scribbles(video, video.object_ids([0]), GrabCutMask(reach=0.3))
    nothing = np.zeros_like(video.labels(2))
    corrected = give(2, nothing)()
    for object_id in (1, 2):
        assert region_similarity(video.labels(2) == object_id, corrected == object_id) > 0.8
    assert give(2, video.labels(2)) is None


# rounds


class Repeating:
    """Results show the masks that were given, and otherwise those of the first frame."""

    def __init__(self, video):
        self.given, self.count = {}, len(video)

    def annotate(self, frame, labels):
        self.given[frame] = labels

    def propagate(self):
        return {
            index: self.given.get(index, self.given[0]) for index in reversed(range(self.count))
        }


def test_rounds_begin_at_the_first_frame_and_correct_the_worst_one_until_none_is_wrong(video):
    ids = video.object_ids([0])
    propagator = Repeating(video)
    give = TrueMasks(video, ids)
    rounds = list(annotate_in_rounds(video, ids, propagator, give, worst_first, 9))
    assert [one.frame for one in rounds] == [0, 4, 3, 2, 1]  # squares move away from the first
    j = [one.j for one in rounds]
    assert j == sorted(j) and j[0] < 0.8 and rounds[-1].j_and_f == 1
    assert all(np.array_equal(propagator.given[i], video.labels(i)) for i in range(5))
    assert all(0 < one.seconds < 60 for one in rounds)


def test_truth_of_another_size_than_its_frame_is_refused(video):
    with pytest.raises(InputError, match=r"00003.png: 64x48 pixels, and its frame has 9x9"):
        measure(video, {3: np.zeros((9, 9), np.uint8)}, [1])


# the curve


def video_of(*rounds, objects=1):
    rounds = [Round(frame=0, j=value, f=value, seconds=seconds) for value, seconds in rounds]
    return AnnotatedVideo(name="bear", object_count=objects, rounds=rounds)


def test_the_area_and_the_reading_of_one_video():
    curve = Curve.of([video_of((0.6, 20), (0.8, 20))], 2)
    assert curve.available_seconds == 60 and curve.seconds.tolist() == [20, 40]
    assert curve.area() == pytest.approx((20 * 0.3 + 20 * 0.7 + 20 * 0.8) / 60)
    assert curve.at(30) == pytest.approx(0.7) and curve.at() == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("rounds", "j_and_f", "seconds"),
    [
        ([(0.6, 20)], [0.6, 0.6], [20, 20]),  # nothing was left to correct
        ([(0.6, 20), (0.8, 50)], [0.6, 0.6], [20, 20]),  # the second ends after 60 seconds
        ([(0.6, 61), (0.8, 1)], [0, 0], [60, 60]),
        ([(0.6, 20), (0.8, 9), (0.9, 1)], [0.6, 0.8], [20, 29]),
    ],
)
def test_rounds_after_the_available_time_and_missing_ones_count_as_the_last(
    rounds, j_and_f, seconds
):
    curve = Curve.of([video_of(*rounds)], 2)
    assert curve.j_and_f.tolist() == j_and_f and curve.seconds.tolist() == seconds


def test_late_rounds_count_if_they_are_not_to_be_dropped():
    curve = Curve.of([video_of((0.6, 61), (0.8, 50))], 2, drop_late=False)
    assert curve.j_and_f.tolist() == [0.6, 0.8] and curve.seconds.tolist() == [61, 111]
    assert curve.area() == pytest.approx((61 * 0.3 + 50 * 0.7) / 111)


def test_scores_are_means_over_objects_and_seconds_over_videos():
    curve = Curve.of([video_of((0.6, 20)), video_of((0.9, 40), objects=2)], 1)
    assert curve.j_and_f.tolist() == [pytest.approx(0.8)] and curve.seconds.tolist() == [30]
    assert curve.available_seconds == 45


# the command


def test_every_way_is_annotated_in_rounds_and_reported(davis, tiny, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    words = ["interactive.py", davis, "--rounds", 2, "--input", "masks", "scribbles", "masks"]
    words += ["--max_frames", 3, "--choose", "worst", "random", "--resolution", 32]
    words += ["--methods", "forward", "permanent"]
    words += ["--model", tiny, "--device", "cpu", "--output", out]
    monkeypatch.setattr("sys.argv", list(map(str, words)))
    assert interactive.main() == 0
    table = capsys.readouterr().out
    assert (out / "interactive.md").read_text() == table
    assert (out / "interactive.png").read_bytes().startswith(b"\x89PNG")
    written = json.loads((out / "interactive.json").read_text())
    assert len(written["rows"]) == 2 * 2 * 2
    assert "toy, 2 sequences (bear, dog), 6 frames, at 32 lines" in table
    for row in written["rows"]:
        assert [video["name"] for video in row["videos"]] == ["bear", "dog"]
        assert all(video["rounds"][0]["frame"] == 0 for video in row["videos"])
        assert 0 < row["auc"] < 1 and len(row["j_and_f"]) == 2
        frames = [one["frame"] for video in row["videos"] for one in video["rounds"]]
        assert set(frames) <= {0, 1, 2} and (row["input"] == "scribbles" or len(set(frames)) > 1)
