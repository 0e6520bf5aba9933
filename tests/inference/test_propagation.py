"""Masks propagated backwards and both ways: which pass counts where, and how they are averaged."""

import dataclasses
import errno
import itertools
import re
import tempfile

import numpy as np
import pytest
import torch
from conftest import assert_same_results

from inference import SYSTEMS, EnsembleSegmenter, FrameResult, rereading, result_spool
from inference.rereading import read_backwards, rereadable
from inference.result_spool import ResultSpool
from util.errors import InputError

each_system = pytest.mark.parametrize("system", list(SYSTEMS))


def reversed_in_time(results: list[FrameResult]) -> list[FrameResult]:
    """The results of a video that was played backwards, in the order and with the indices of the
    video itself."""
    last = len(results) - 1
    mirrored = [
        dataclasses.replace(result, frame_index=last - result.frame_index) for result in results
    ]
    return mirrored[::-1]


@each_system
@pytest.mark.parametrize("permanent", [False, True])
def test_with_one_mask_on_the_first_frame_both_directions_equal_forward(
    make_segmenter, made_clip, system, permanent
):
    segmenter = make_segmenter(system, permanent_memory=permanent)
    forward = list(segmenter.segment(made_clip.frames, made_clip.labels[0]))
    both = list(segmenter.segment(made_clip.frames, made_clip.labels[0], direction="both"))
    assert_same_results(both, forward, tolerance=0)


@each_system
@pytest.mark.parametrize("permanent", [False, True])
def test_backward_equals_forward_on_the_reversed_video(
    make_segmenter, made_clip, system, permanent
):
    segmenter = make_segmenter(system, permanent_memory=permanent)
    masks = {9: made_clip.masks(2, 9), 6: made_clip.labels[6]}
    backward = list(segmenter.segment(made_clip.frames, masks, direction="backward"))
    mirrored = {len(made_clip.frames) - 1 - index: mask for index, mask in masks.items()}
    forward = list(segmenter.segment(made_clip.frames[::-1], mirrored))
    assert_same_results(backward, reversed_in_time(forward))
    assert [len(result.object_ids) for result in backward] == 7 * [2] + 3 * [1] + 2 * [0]


def averaged_by_hand(forward, backward, annotated: dict[int, list[int]]) -> list[np.ndarray]:
    """Probabilities [K + 1, H, W] of each frame, pass by pass and object by object.

    annotated: the annotated frames of each object.
    """
    expected = []
    for index, (one, other) in enumerate(zip(forward, backward, strict=True)):
        objects = []
        for object_id, frames in annotated.items():
            before = max((frame for frame in frames if frame <= index), default=None)
            after = min((frame for frame in frames if frame >= index), default=None)
            parts = []
            for result, distance in ((one, before), (other, after)):
                if distance is not None:
                    row = 1 + result.object_ids.index(object_id)
                    parts.append((abs(index - distance), result.probabilities[row].numpy()))
            total = sum(distance for distance, _ in parts)
            if len(parts) == 1 or total == 0:
                objects.append(parts[0][1])
            else:
                (near, first), (far, second) = parts
                objects.append((far * first + near * second) / total)
        background = np.maximum(1 - sum(objects), 0)
        together = np.stack([background, *objects])
        expected.append(together / together.sum(0))
    return expected


def test_both_averages_the_passes_by_the_distance_to_each_objects_masks(make_segmenter, made_clip):
    segmenter = make_segmenter()
    frames, last = made_clip.frames, len(made_clip.frames) - 1
    masks = {2: made_clip.masks(1, 2), 5: made_clip.masks(2, 5), 9: made_clip.labels[9]}
    both = list(segmenter.segment(frames, masks, direction="both"))
    forward = list(segmenter.segment(frames, masks))
    mirrored = {last - index: mask for index, mask in masks.items()}
    backward = reversed_in_time(list(segmenter.segment(frames[::-1], mirrored)))
    expected = averaged_by_hand(forward, backward, {1: [2, 9], 2: [5, 9]})
    assert [result.frame_index for result in both] == list(range(last + 1))
    for result, probabilities in zip(both, expected, strict=True):
        assert result.object_ids == (1, 2)
        np.testing.assert_allclose(result.probabilities.numpy(), probabilities, atol=5e-5)
        best = result.probabilities.argmax(0).numpy()
        assert np.array_equal(result.labels, np.array([0, 1, 2])[best])


def test_objects_of_the_middle_are_found_in_the_frames_before(make_segmenter, made_clip):
    masks = {0: made_clip.masks(1), 7: made_clip.masks(2, 7)}
    results = list(make_segmenter().segment(made_clip.frames, masks, direction="both"))
    assert all(result.object_ids == (1, 2) for result in results)
    assert all((result.labels == 2).any() for result in results[4:7])
    assert np.array_equal(results[7].labels == 2, made_clip.labels[7] == 2)


def test_a_bound_on_the_frames_read_at_once_changes_nothing(make_segmenter, made_clip, monkeypatch):
    def play():
        masks = {3: made_clip.labels[3], 8: made_clip.labels[8]}
        return list(make_segmenter().segment(made_clip.frames, masks, direction="both"))

    expected = play()
    monkeypatch.setattr(rereading, "CHUNK_BYTES", 2 * made_clip.frames[0].nbytes)
    monkeypatch.setattr(result_spool, "_MAX_BYTES_IN_MEMORY", 1)
    assert_same_results(play(), expected, tolerance=0)


def test_reading_backwards_holds_one_chunk_at_a_time(monkeypatch):
    monkeypatch.setattr(rereading, "CHUNK_BYTES", 30)
    read = []

    class Frames(list):
        def __getitem__(self, index):
            read.append(index)
            return super().__getitem__(index)

    backwards = read_backwards(rereadable(Frames(range(8)), "test"), 7, 10, needed={7})
    taken = [frame.index for frame in itertools.islice(backwards, 4)]
    assert taken == [7, 6, 5, 4]
    assert read == [5, 6, 7, 2, 3, 4]


def test_frames_may_be_any_iterable_that_begins_again(make_segmenter, made_clip):
    class Again:
        def __iter__(self):
            return iter(made_clip.frames)

    segmenter, masks = make_segmenter(permanent_memory=True), {4: made_clip.labels[4]}
    expected = list(segmenter.segment(made_clip.frames, masks, direction="both"))
    ours = list(segmenter.segment(Again(), masks, direction="both"))
    assert_same_results(ours, expected, tolerance=0)


def test_a_spool_returns_each_result_once():
    probabilities = torch.rand(3, 4, 5)
    results = [FrameResult.of(index, (300, 7), probabilities) for index in (5, 4)]
    with ResultSpool() as spool:
        for result in results:
            spool.add(result)
        for result in results:
            taken = spool.take(result.frame_index)
            assert taken.object_ids == (300, 7) and taken.labels.dtype == np.int32
            torch.testing.assert_close(taken.probabilities, probabilities, rtol=0, atol=1e-5)
            assert spool.take(result.frame_index) is None


@pytest.mark.parametrize("operation", ["write", "seek"])
def test_a_full_disk_names_the_folder_of_results_that_wait(monkeypatch, operation):
    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with ResultSpool() as spool:
        monkeypatch.setattr(spool._file, operation, refuse)
        with pytest.raises(OSError, match=re.escape(tempfile.gettempdir())):
            spool.add(FrameResult.of(0, (1,), torch.rand(2, 4, 5)))


REFUSED = [
    ("sideways", {0: (48, 64)}, "'sideways' is not known; choose one of forward, backward, both"),
    ("both", {0: (48, 64), 12: (48, 64)}, r"masks are given for frames \[12\]"),
    ("backward", {30: (48, 64)}, r"masks are given for frames \[30\].*12 frames"),
    ("both", {-1: (48, 64)}, "mask is given for frame -1"),
    ("forward", {-1: (48, 64), 0: (48, 64)}, "mask is given for frame -1"),
    ("both", {0: (48, 64), 5: (40, 64)}, r"frame 5: mask of shape \[40, 64\]"),
]


@pytest.mark.parametrize(("direction", "sizes", "words"), REFUSED)
def test_requests_that_cannot_be_met_are_refused_before_any_result(
    make_segmenter, made_clip, direction, sizes, words
):
    masks = {index: np.ones(size, np.uint8) for index, size in sizes.items()}
    results = make_segmenter().segment(made_clip.frames, masks, direction=direction)
    with pytest.raises(InputError, match=words) as refusal:
        next(results)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("direction", ["backward", "both"])
def test_frames_that_can_be_read_only_once_are_refused(make_segmenter, made_clip, direction):
    frames = (frame for frame in made_clip.frames)
    results = make_segmenter().segment(frames, made_clip.labels[0], direction=direction)
    with pytest.raises(InputError, match=f"direction {direction} reads them more than once"):
        next(results)


def test_a_frame_of_another_size_is_named_by_its_own_index(make_segmenter, made_clip):
    frames = [*made_clip.frames]
    frames[2] = frames[2][:40]
    with pytest.raises(InputError, match="frame 2: "):
        list(make_segmenter().segment(frames, {6: made_clip.labels[6]}, direction="both"))


def test_an_ensemble_propagates_as_its_members_do(make_segmenter, made_clip):
    segmenter = make_segmenter(permanent_memory=True)
    ensemble = EnsembleSegmenter([segmenter, segmenter])
    masks = {3: made_clip.labels[3], 8: made_clip.labels[8]}
    expected = list(segmenter.segment(made_clip.frames, masks, direction="both"))
    ours = list(ensemble.segment(made_clip.frames, masks, direction="both"))
    assert_same_results(ours, expected)
