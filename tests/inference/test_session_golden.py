"""Sessions on the published networks give the results of the published implementations."""

import numpy as np
import pytest
import torch
from conftest import PROBABILITY_TOLERANCE, assert_same_labels
from deterministic import clip, fill
from repository import DATA

from inference import VideoSegmenter
from model import VOSNetwork, build_network

GOLDEN = {**np.load(DATA / "stcn_golden.npz"), **np.load(DATA / "pcvos_golden.npz")}


@pytest.fixture(scope="module")
def published() -> VOSNetwork:
    return fill(build_network("stcn"))


@pytest.fixture(scope="module")
def published_refined() -> VOSNetwork:
    return fill(build_network("pcvos"))


@pytest.fixture(scope="module")
def golden_clip() -> tuple[np.ndarray, np.ndarray]:
    return clip()


def assert_golden(results, name, frames, probabilities):
    for frame, expected in zip(frames, probabilities, strict=True):
        ours = results[frame].probabilities
        # zeros for objects that have not joined yet
        ours = torch.nn.functional.pad(ours, (0, 0, 0, 0, 0, len(expected) - len(ours)))
        torch.testing.assert_close(
            ours, torch.from_numpy(expected), rtol=0, atol=PROBABILITY_TOLERANCE
        )
    labels = GOLDEN[f"{name}/labels"]
    assert len(results) == len(labels)
    for result, expected in zip(results, labels):
        assert_same_labels(result, expected)


def test_davis_protocol_equals_the_published_implementation(published, golden_clip):
    frames, labels = golden_clip
    results = list(VideoSegmenter(published, device="cpu").segment(frames, labels[0], lookahead=8))
    assert_golden(results, "davis", GOLDEN["davis/prob_frames"], GOLDEN["davis/prob"])


def test_holding_the_last_frame_equals_the_published_implementation(published, golden_clip):
    frames, labels = golden_clip
    results = list(
        VideoSegmenter(published, device="cpu", mem_every=3, include_last=True).segment(
            frames, labels[0]
        )
    )
    assert_golden(results, "davis_last", [11], GOLDEN["davis_last/prob11"][None])


def test_an_object_joining_late_equals_the_published_implementation(published, golden_clip):
    frames, labels = golden_clip
    masks = {0: np.where(labels[0] == 1, 1, 0), 4: np.where(labels[4] == 2, 2, 0)}
    session = VideoSegmenter(published, device="cpu").session()
    results = [session.step(frame, masks.get(index)) for index, frame in enumerate(frames)]
    assert_golden(results, "youtube", GOLDEN["youtube/prob_frames"], GOLDEN["youtube/prob"])
    assert session.memory.frame_indices == [0, 4, 9]


@pytest.mark.parametrize("length", [5, 8])
def test_clips_refined_and_matched_progressively_equal_the_published_implementation(
    published_refined, golden_clip, length
):
    frames, labels = golden_clip
    results = list(
        VideoSegmenter(published_refined, "pcvos", device="cpu", clip_length=length).segment(
            frames, labels[0]
        )
    )
    assert_golden(
        results, f"clip{length}", GOLDEN[f"clip{length}/prob_frames"], GOLDEN[f"clip{length}/prob"]
    )


def test_the_published_clips_tell_whether_they_are_matched_progressively(
    published_refined, golden_clip
):
    frames, labels = golden_clip
    session = VideoSegmenter(
        published_refined, "pcvos", device="cpu", clip_length=8, **{"memory.segment_frames": None}
    ).session()
    for index, frame in enumerate(frames[:9]):
        session.step(frame, labels[0] if index == 0 else None)
    expected = torch.from_numpy(GOLDEN["clip8/prob"][list(GOLDEN["clip8/prob_frames"]).index(8)])
    assert (session.flush()[-1].probabilities - expected).abs().max() > 10 * PROBABILITY_TOLERANCE
