"""What a project keeps on disk: reopened, cancelled, killed at any moment."""

import errno
import functools
import os
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from inference import EnsembleSegmenter
from inference.interactive import InteractiveProject, project_folder

_EVENTS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir"}
FRAMES = 5


@pytest.fixture
def open_it(make_segmenter, made_clip, tmp_path) -> Callable[..., InteractiveProject]:
    """open_it(): the same project of five frames each time."""
    segmenter = make_segmenter()
    return lambda **options: InteractiveProject.open(
        tmp_path / "project", made_clip.frames[:FRAMES], segmenter, **options
    )


def play(project: InteractiveProject) -> None:
    for _ in project.propagate():
        pass


def steps(labels: np.ndarray) -> list[Callable[[InteractiveProject], None]]:
    """A scripted project. Each step but `play` is one change."""
    return [
        lambda project: project.annotate(0, labels[0]),
        play,
        lambda project: project.annotate(3, labels[3]),
        play,
        lambda project: project.remove_object(1),
        lambda project: project.undo(),
        lambda project: project.annotate(2, labels[2] * (labels[2] == 2), objects=[2]),
        play,
    ]


def test_a_reopened_project_continues(open_it, made_clip):
    with open_it() as project:
        project.annotate(0, made_clip.labels[0])
        play(project)
        project.annotate(3, made_clip.labels[3])
        project.undo()
        before = dict(project.results)
    with open_it() as project:
        assert project.pending == [] and project.can_undo and project.can_redo
        assert project.object_ids == (1, 2)
        for frame, labels in project.results.items():
            assert np.array_equal(labels, before[frame])
        project.redo()
        assert project.pending == [(0, 3), (3, FRAMES)]


def test_a_cancelled_propagation_keeps_the_stretches_that_are_finished(open_it, made_clip):
    with open_it() as project:
        for frame in (0, 2):
            project.annotate(frame, made_clip.labels[frame])
        results = project.propagate()
        assert [next(results).frame_index for _ in range(3)] == [0, 1, 2]
        results.close()
        assert project.pending == [(2, FRAMES)]

        class Enough(Exception):
            pass

        def stop(done: int, total: int) -> None:
            raise Enough(f"{done} of {total}")

        with pytest.raises(Enough, match="1 of 4"):
            list(project.propagate(progress=stop))
        reported = []
        list(project.propagate(progress=lambda done, total: reported.append((done, total))))
        assert reported == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_results_of_earlier_states_are_kept_up_to_a_bound(open_it, made_clip):
    def results_kept(project):
        return sum(path.is_dir() for path in (project.folder / "results").iterdir())

    with open_it() as project:
        for frame in range(3):
            project.annotate(0, made_clip.labels[frame])
            play(project)
    with open_it() as project:
        assert results_kept(project) == 3
    with open_it(kept_megabytes=0) as project:
        assert results_kept(project) == 1 and project.pending == []
        project.undo()
        assert project.pending == [(0, FRAMES)] and len(project.results) == FRAMES
        play(project)
        assert results_kept(project) == 1 and project.pending == []


def test_a_change_that_cannot_be_written_is_not_made(open_it, made_clip, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    with open_it() as project:
        project.annotate(0, made_clip.labels[0])
        with monkeypatch.context() as patched:
            patched.setattr(project_folder, "write_json", full)
            for change in (lambda: project.annotate(1, made_clip.labels[1]), project.undo):
                with pytest.raises(OSError, match="No space left"):
                    change()
        assert list(project.annotations) == [0] and project.pending == [(0, FRAMES)]
        play(project)
    with open_it() as project:
        assert list(project.annotations) == [0] and project.pending == []


def killed_at(number: int, work: Callable[[Callable[[], None]], None], folder: Path) -> int:
    """Do work in a forked process that kills itself (SIGKILL) before its `number`-th event in a
    folder: a file that is opened, renamed or removed. Returns how often the work called back."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        remaining = [number]

        def count(event: str, arguments: tuple) -> None:
            if event in _EVENTS and str(folder) in str(arguments[0]):
                remaining[0] -= 1
                if remaining[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        try:
            work(lambda: os.write(writing, b"."))
            os._exit(0)
        finally:
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        done = len(pipe.read())
    status = os.waitpid(child, 0)[1]
    assert status == 0 or os.WTERMSIG(status) == signal.SIGKILL
    return done


def run_script(open_it, labels: np.ndarray, first: int, report: Callable[[], None]) -> None:
    """Do the steps from number `first` on."""
    with open_it() as project:
        for step in steps(labels)[first:]:
            step(project)
            report()


def history_after(labels: np.ndarray, count: int, folder: Path, segmenter, frames) -> dict:
    """The annotations after some steps of the script, without propagation."""
    with InteractiveProject.open(folder, frames, segmenter) as project:
        for step in steps(labels)[:count]:
            if step is not play:
                step(project)
        return dict(project.annotations)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_project_killed_at_any_moment_loses_nothing_but_the_running_stretch(
    open_it, made_clip, make_segmenter, tmp_path
):
    labels, folder = made_clip.labels, tmp_path / "project"
    segmenter, frames = make_segmenter(), made_clip.frames[:FRAMES]
    with InteractiveProject.open(tmp_path / "whole", frames, segmenter) as whole:
        for step in steps(labels):
            step(whole)
        expected = dict(whole.results)
    rng, done, kills = random.Random(3), 0, 0
    while done < len(steps(labels)):
        finished = {path.name for path in (folder / "results").glob("[!.]*") if path.is_dir()}
        script = functools.partial(run_script, open_it, labels, done)
        done += killed_at(rng.randrange(5, 70), script, folder)
        kills += done < len(steps(labels))
        states = [
            history_after(labels, count, tmp_path / f"{kills} {count}", segmenter, frames)
            for count in (done, done + 1)
        ]
        with open_it() as project:
            assert dict(project.annotations) in states
            still = {path.name for path in (project.folder / "results").iterdir()}
            assert finished <= still
            if dict(project.annotations) != states[0]:
                done += 1  # killed after the change was on disk, before it was reported
    assert kills >= 3
    with open_it() as project:
        assert project.pending == []
        for frame, one in project.results.items():
            assert np.array_equal(one, expected[frame])
    assert not list(folder.rglob(".*"))


def test_each_frame_is_encoded_once_while_the_cache_has_room(
    make_segmenter, made_clip, monkeypatch, tmp_path
):
    segmenter, frames = make_segmenter(), made_clip.frames[:FRAMES]
    encode, encoded = segmenter.network.encode_key, []
    monkeypatch.setattr(
        segmenter.network, "encode_key", lambda images: encoded.append(images) or encode(images)
    )
    for megabytes, fits in ((1, True), (0, False)):
        encoded.clear()
        with InteractiveProject.open(
            tmp_path / str(megabytes), frames, segmenter, cache_megabytes=megabytes
        ) as project:
            project.annotate(3, made_clip.labels[3])
            play(project)
            project.annotate(1, made_clip.labels[1])
            play(project)
            assert (len(encoded) == FRAMES) == fits


def test_an_ensemble_segments_a_project(make_segmenter, made_clip, tmp_path):
    frames = made_clip.frames[:4]
    ensemble = EnsembleSegmenter([make_segmenter()], flip=True)
    with InteractiveProject.open(tmp_path / "project", frames, ensemble) as project:
        project.annotate(1, made_clip.labels[1])
        play(project)
        both = ensemble.segment(frames, {1: made_clip.labels[1]}, direction="both")
        for result in both:
            assert np.array_equal(project.results[result.frame_index], result.labels)
