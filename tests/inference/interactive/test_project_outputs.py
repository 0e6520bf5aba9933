"""Drawing on the frames of a project, exporting its results, and which frame it suggests."""

import json
import re

import cv2
import numpy as np
import pytest
import torch
import toy_videos
from PIL import Image
from toy_trees import write_jpg, write_png

from inference.interactive import InteractiveProject, Stroke
from inference.interactive.suggesting import farthest_in_time, least_alike, most_uncertain
from inference.scoring import score_folder
from util.errors import InputError
from util.palette import DAVIS_PALETTE

FRAMES = 5


class Circles:
    """Masks that are what positive strokes cover beside the previous mask, for tests."""

    def __init__(self):
        self.calls = []

    def mask(self, frame, previous, strokes, box):
        self.calls.append((previous is not None, len(strokes), box))
        mask = np.zeros(frame.shape[:2], np.uint8) if previous is None else previous.astype("uint8")
        for stroke in strokes:
            x, y = stroke.points[-1]
            cv2.circle(mask, (int(x), int(y)), int(stroke.radius), int(stroke.positive), -1)
        return mask.astype(bool)


@pytest.fixture
def masks():
    return Circles()


@pytest.fixture
def video(tmp_path, made_clip):
    for index in range(FRAMES):
        write_jpg(tmp_path / f"data/clip/{index + 3:03d}.jpg", made_clip.frames[index])
    return tmp_path / "data/clip"


@pytest.fixture
def project(tmp_path, video, make_segmenter, masks):
    with InteractiveProject.open(
        tmp_path / "project", video, make_segmenter(), mask_from_input=masks
    ) as project:
        yield project


def play(project):
    return [result.frame_index for result in project.propagate()]


def test_strokes_make_masks_that_keep_the_other_objects_of_the_frame(project, masks):
    project.scribble(1, 1, [(10, 10)], radius=5)
    labels = project.draw(1, 2, [Stroke([(40, 30)], radius=5)], box=(30, 20, 50, 40))
    assert set(np.unique(labels)) == {0, 1, 2} and labels[10, 10] == 1 and labels[30, 40] == 2
    labels = project.scribble(1, 1, [(10, 12)], positive=False, radius=2)
    assert labels[12, 10] == 0 and labels[30, 40] == 2
    assert masks.calls == [(False, 1, None), (False, 1, (30, 20, 50, 40)), (True, 2, None)]
    assert project.annotations[1].decided == (1, 2)
    assert np.array_equal(project.results[1], labels)


def test_a_stroke_on_a_result_fixes_the_whole_frame_as_it_was_seen(project, made_clip):
    project.annotate(0, made_clip.labels[0])
    play(project)
    seen = project.results[3]
    labels = project.scribble(3, 2, [(60, 4)], radius=3)
    assert np.array_equal(labels[8:], seen[8:]) and labels[4, 60] == 2
    assert project.annotations[3].decided == (1, 2)
    assert project.pending == [(0, 3), (3, FRAMES)]
    project.undo()
    assert project.pending == [] and np.array_equal(project.results[3], seen)


def test_wrong_strokes_are_refused_and_change_nothing(project):
    for wrong, words in (
        (lambda: project.scribble(9, 1, [(1, 1)]), "frame 9 does not exist"),
        (lambda: project.scribble(0, 1, []), "frame 0: points of a stroke"),
        (lambda: project.scribble(0, 0, [(1, 1)]), "frame 0: object 0; ids are 1 to 255"),
        (lambda: project.scribble(0, 1, [(1, 1)], False), "frame 0: no pixel of object 1 results"),
    ):
        with pytest.raises(InputError, match=words):
            wrong()
    assert not project.annotations and not project.can_undo


def test_an_export_has_the_form_of_the_eval_scripts(project, made_clip, tmp_path):
    out = tmp_path / "out"
    for wrong, words in ((1, "no frame is annotated"), (2, "frames 0 to 1 wait for their results")):
        with pytest.raises(InputError, match=words):
            project.export(out)
        project.annotate(wrong + 1, made_clip.labels[wrong + 1])
        assert not out.exists()
    play(project)
    for overlay in (False, True):
        assert project.export(out, overlay=overlay) == out / "clip"
    names = [f"{index + 3:03d}.png" for index in range(FRAMES)]
    assert sorted(path.name for path in (out / "clip").iterdir()) == names
    for index, name in enumerate(names):
        image = Image.open(out / "clip" / name)
        assert image.mode == "P" and bytes(image.getpalette()) == DAVIS_PALETTE
        assert np.array_equal(np.asarray(image), project.results[index])
        write_png(tmp_path / "truth/clip" / name, made_clip.labels[index])
    assert {path.stem for path in (out / "overlays").iterdir()} == {"clip"}
    config = json.loads((out / "config.json").read_text())
    assert config["script"] == "interactive project" and config["inputs"]["clip"]["masks"]
    assert score_folder(tmp_path / "truth", out) is not None


def test_an_export_replaces_no_other_results(project, video, made_clip, tmp_path):
    project.annotate(0, made_clip.labels[0])
    play(project)
    (tmp_path / "foreign/clip").mkdir(parents=True)
    evaluation = tmp_path / "evaluation"
    evaluation.mkdir()
    record = {"script": "eval_generic", "sequences": ["clip"], "inputs": {}, "results": "."}
    (evaluation / "config.json").write_text(json.dumps(record))
    for out, words in (
        (video.parent, "holds frames or masks"),
        (video / "results", "lies in the folder of the frames; choose another output"),
        (project.folder / "results", "lies in the folder of the project"),
        (tmp_path / "foreign", "no config.json .* says how it was made"),
        (evaluation, "holds results of another script .eval_generic"),
    ):
        with pytest.raises(InputError, match=words):
            project.export(out)
    assert len(list(video.iterdir())) == FRAMES


def test_suggested_frames_are_not_annotated_and_differ(project, made_clip):
    with pytest.raises(InputError, match="annotate one first"):
        project.suggest()
    project.annotate(1, made_clip.labels[1])
    with pytest.raises(InputError, match="propagate first"):
        project.suggest(1, by="uncertainty")
    play(project)
    for by in ("keys", "uncertainty", "distance"):
        suggested = project.suggest(2, by=by)
        assert len(set(suggested)) == 2 and 1 not in suggested
        assert sorted(project.suggest(9, by=by)) == [0, 2, 3, 4]
    assert project.suggest(2, by="distance") == [4, 0]
    with pytest.raises(InputError, match="choose one of keys, uncertainty, distance"):
        project.suggest(1, by="chance")
    with pytest.raises(InputError, match="0 frames to suggest"):
        project.suggest(0)


def test_a_frame_that_looks_like_no_annotated_one_is_suggested_by_keys(
    tmp_path, made_clip, make_segmenter
):
    frames = made_clip.frames[[0, 0, 0, 0, 0]].copy()
    frames[3] = 255 - frames[3]
    with InteractiveProject.open(tmp_path / "project", frames, make_segmenter()) as project:
        project.annotate(0, made_clip.labels[0])
        assert project.suggest(1) == [3]


def test_objects_have_half_of_the_weight_in_a_suggestion(project, made_clip):
    weights = project._suggester._keys.weights(made_clip.labels[0])
    plain = project._suggester._keys.weights(None)
    assert float(weights.sum()) == pytest.approx(1) and float(plain.std()) == pytest.approx(0)
    assert weights.max() > plain.max() > weights.min() > 0.49 * plain.min()


def test_choices_of_frames_by_hand():
    keys = {index: torch.full((2, 3), float(value)) for index, value in enumerate((0, 1, 5, 3, 9))}
    even = {index: torch.full((2,), 0.5) for index in keys}
    assert least_alike(keys, even, [0], 3, "l2") == [4, 2, 3]
    assert farthest_in_time(range(9), [0], 3) == [8, 4, 2]
    doubts = {0: 9.0, 1: 5.0, 5: 4.0, 6: 4.1, 8: 1.0}
    assert most_uncertain(doubts, [0], 2, 9) == [6, 1]


def test_a_video_file_is_a_project_with_frames_by_number(tmp_path, made_clip, make_segmenter):
    path = tmp_path / "film.mp4"
    toy_videos.write(path, made_clip.frames[:FRAMES])
    segmenter = make_segmenter()
    with InteractiveProject.open(tmp_path / "project", path, segmenter) as project:
        assert project.frame_count == FRAMES
        project.annotate(2, made_clip.labels[2])
        assert play(project) == list(range(FRAMES))
        frames = [project.frame(index) for index in range(FRAMES)]
        for result in segmenter.segment(frames, {2: made_clip.labels[2]}, direction="both"):
            assert np.array_equal(project.results[result.frame_index], result.labels)
        with pytest.raises(InputError, match=re.escape("the video has 5 frames, from 0")):
            project.frame(FRAMES)
        assert project.export(tmp_path / "out", overlay=True).name == "film"
    assert (tmp_path / "out/film/00004.png").exists()
