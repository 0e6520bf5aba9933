"""Projects: masks made in rounds, what a change touches, and what is on disk."""

import random
import threading

import numpy as np
import pytest
import torch
from conftest import Clip

from inference import SYSTEMS
from inference.interactive import InteractiveProject
from util.errors import InputError

each_system = pytest.mark.parametrize("system", list(SYSTEMS))


@pytest.fixture
def short_clip(made_clip) -> Clip:
    """The first 7 frames of the clip."""
    return Clip(made_clip.frames[:7], made_clip.labels[:7])


@pytest.fixture
def open_project(tmp_path, short_clip):
    """open_project(segmenter, name="project", **options): a project of the clip, closed at the end
    of the test."""
    projects = []

    def open_one(segmenter, name="project", video=short_clip.frames, **options):
        project = InteractiveProject.open(tmp_path / name, video, segmenter, **options)
        projects.append(project)
        return project

    yield open_one
    for project in projects:
        project.close()


def labels_of(project: InteractiveProject) -> dict[int, np.ndarray]:
    return dict(project.results)


def assert_same(ours, theirs) -> None:
    assert list(ours) == list(theirs)
    for frame in ours:
        assert np.array_equal(ours[frame], theirs[frame]), f"frame {frame}"


def played(project: InteractiveProject, **options) -> list[int]:
    """Propagate; the frames that were made."""
    return [result.frame_index for result in project.propagate(**options)]


@each_system
@pytest.mark.parametrize("permanent", [False, True])
@pytest.mark.parametrize("frame", [0, 3])
def test_with_one_mask_a_project_equals_the_segmenter(
    make_segmenter, short_clip, open_project, system, permanent, frame
):
    segmenter = make_segmenter(system, permanent_memory=permanent)
    project = open_project(segmenter)
    project.annotate(frame, short_clip.labels[frame])
    assert played(project) == list(range(7))
    masks = {frame: short_clip.labels[frame]}
    both = segmenter.segment(short_clip.frames, masks, direction="both")
    assert_same(labels_of(project), {result.frame_index: result.labels for result in both})
    if frame == 0:
        forward = segmenter.segment(short_clip.frames, short_clip.labels[0])
        assert_same(labels_of(project), {result.frame_index: result.labels for result in forward})


def test_a_correction_makes_the_frames_up_to_the_neighbouring_annotations_alone(
    make_segmenter, short_clip, open_project
):
    project = open_project(make_segmenter())
    for frame in (0, 2, 4):
        project.annotate(frame, short_clip.labels[frame])
    assert played(project) == list(range(7))
    assert project.pending == []
    project.annotate(2, short_clip.labels[3])
    assert project.pending == [(0, 2), (2, 4)]
    assert np.array_equal(project.results[2], short_clip.labels[3])
    assert played(project, frames=[3]) == [2, 3]
    assert played(project) == [0, 1]
    project.remove_annotation(2)
    assert played(project) == [0, 1, 2, 3]


def test_undo_brings_results_back_without_computing_and_redo_as_well(
    make_segmenter, short_clip, open_project
):
    project = open_project(make_segmenter())
    project.annotate(0, short_clip.labels[0])
    played(project)
    first = labels_of(project)
    project.annotate(5, short_clip.labels[4])
    played(project)
    second = labels_of(project)
    project.undo()
    assert project.pending == []
    assert_same(labels_of(project), first)
    project.redo()
    assert project.pending == []
    assert_same(labels_of(project), second)
    assert not project.can_redo
    project.undo()
    project.remove_object(1)
    assert not project.can_redo
    assert all(set(np.unique(labels)) <= {0, 2} for labels in labels_of(project).values())


def change_at_random(project: InteractiveProject, clip: Clip, rng: random.Random) -> None:
    """One random change, or some propagation."""
    frame, object_id = rng.randrange(7), rng.choice((1, 2))
    kind = rng.choice(("whole", "whole", "partial", "absent", "less", "object", "undo", "play"))
    if kind == "whole":
        project.annotate(frame, clip.labels[frame])
    elif kind == "partial":
        project.annotate(frame, clip.masks(object_id, frame), objects=[object_id])
    elif kind == "absent":
        project.annotate(frame, clip.masks(object_id, frame), objects=[1, 2])
    elif kind == "less" and project.annotations:
        project.remove_annotation(rng.choice(list(project.annotations)))
    elif kind == "object" and object_id in project.object_ids and rng.random() < 0.3:
        project.remove_object(object_id)
    elif kind == "undo":
        for move in rng.choice((("undo",), ("undo", "undo"), ("undo", "undo", "redo"))):
            if getattr(project, f"can_{move}"):
                getattr(project, move)()
    elif kind == "play" and project.annotations:
        played(project, frames=None if rng.random() < 0.5 else [frame])


@pytest.mark.parametrize("system, permanent", [("stcn", False), ("lfu", True), ("pcvos", False)])
def test_after_random_changes_results_equal_those_of_a_new_project(
    make_segmenter, short_clip, open_project, system, permanent
):
    bound = {"memory_frames": 9} if system == "lfu" else {}
    segmenter = make_segmenter(system, permanent_memory=permanent, **bound)
    rng = random.Random(5)
    project = open_project(segmenter)
    for number in range(3):
        for _ in range(8):
            change_at_random(project, short_clip, rng)
        if not project.annotations:
            project.annotate(1, short_clip.labels[1])
        played(project)
        fresh = open_project(segmenter, f"fresh{number}")
        for frame, known in project.annotations.items():
            fresh.annotate(frame, project.annotation_labels(frame), objects=known.decided)
        played(fresh)
        assert_same(labels_of(project), labels_of(fresh))
        fresh.close()


def test_an_object_that_is_decided_to_be_absent_is_found_again_beyond_that_frame(
    make_segmenter, short_clip, open_project
):
    def shown(project):
        return [bool((labels == 2).any()) for labels in project.results.values()]

    project = open_project(make_segmenter())
    project.annotate(0, short_clip.labels[0])
    project.annotate(3, short_clip.masks(1, 3))
    played(project)
    assert shown(project) == 3 * [True] + 4 * [False]
    project.annotate(6, short_clip.labels[6])
    assert project.pending == [(3, 6), (6, 7)]
    played(project)
    assert shown(project) == 3 * [True] + [False] + 3 * [True]
    project.annotate(5, short_clip.masks(1, 5), objects=[1])  # in the midst of a stretch
    played(project)
    assert shown(project) == 3 * [True] + [False] + 3 * [True]
    project.annotate(4, 0 * short_clip.labels[4], objects=[2])
    played(project)
    assert shown(project) == 3 * [True] + [False, False] + 2 * [True]


def test_with_permanent_memory_the_caller_chooses_what_is_made_again(
    make_segmenter, short_clip, open_project
):
    project = open_project(make_segmenter(permanent_memory=True))
    for frame in (0, 2, 4):
        project.annotate(frame, short_clip.labels[frame])
    played(project)
    project.annotate(6, short_clip.labels[6])
    before = labels_of(project)
    assert played(project, only_touched=True) == [4, 5, 6]
    after = labels_of(project)
    assert all(np.array_equal(before[frame], after[frame]) for frame in range(4))
    assert project.pending == [(0, 2), (2, 4)]
    assert played(project) == [0, 1, 2, 3] and project.pending == []


def test_a_memory_without_room_for_all_annotations_is_refused_and_undo_mends_it(
    make_segmenter, short_clip, open_project
):
    project = open_project(make_segmenter("lfu", permanent_memory=True, memory_frames=3))
    for frame in (0, 2):
        project.annotate(frame, short_clip.labels[frame])
    played(project)
    project.annotate(4, short_clip.labels[4])
    with pytest.raises(InputError, match="3 annotated frames stay in memory"):
        played(project)
    assert list(project.annotations) == [0, 2, 4]
    project.undo()
    assert project.pending == []


def test_annotations_may_change_while_results_are_made(make_segmenter, short_clip, open_project):
    segmenter = make_segmenter()
    project = open_project(segmenter)
    project.annotate(0, short_clip.labels[0])
    project.annotate(np.int64(3), torch.from_numpy(short_clip.labels[3]))
    results = project.propagate()
    assert next(results).frame_index == 0
    thread = threading.Thread(target=lambda: project.annotate(5, short_clip.labels[5]))
    thread.start()
    thread.join()
    assert [result.frame_index for result in results] == list(range(1, 7))
    assert project.pending == []
    fresh = open_project(segmenter, "fresh")
    for frame in (0, 3, 5):
        fresh.annotate(frame, short_clip.labels[frame])
    played(fresh)
    assert_same(labels_of(project), labels_of(fresh))


def test_a_mask_that_is_set_replaces_that_of_one_object_in_one_frame(
    make_segmenter, short_clip, open_project
):
    project = open_project(make_segmenter())
    project.annotate(0, short_clip.labels[0])
    mask = np.zeros(project.size, bool)
    mask[10:20, 10:20] = True
    labels = project.set_mask(0, 2, mask)
    assert np.array_equal(labels == 2, mask)
    assert np.array_equal(labels == 1, (short_clip.labels[0] == 1) & ~mask)
    assert np.array_equal(project.results[0], labels)
    project.set_mask(0, 2, mask & False)
    assert project.annotations[0].visible == (1,) and project.annotations[0].absent == (2,)
    project.undo()
    assert np.array_equal(project.results[0], labels)


def test_neighbouring_frames_are_read_together(make_segmenter, short_clip, open_project):
    project = open_project(make_segmenter())
    read = dict(project.frames(5, 99))
    assert list(read) == [5, 6]
    assert all(np.array_equal(image, short_clip.frames[index]) for index, image in read.items())
