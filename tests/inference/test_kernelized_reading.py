"""Kernelized reading: the formula pair by pair, and every system and policy with it.

Legend: N memory elements, M query positions of a frame, C channels, h w at stride 16.
"""

import copy
import math

import numpy as np
import pytest
import torch
from conftest import assert_same_labels, assert_same_results
from plain_session import PlainSession, double_precision
from sessions import run_session

from inference import SYSTEMS, VideoSegmenter
from inference.config import system_config
from inference.memory import MemoryBank, PositionKernel
from util.errors import InputError

GRID = (3, 4)
POSITIONS = math.prod(GRID)
NARROW, WIDE = 1.0, 1e6


def similarity_by_pairs(kind, memory_key, query_key):
    """As the papers define it, with the query's norm: [M, N]."""
    if kind == "l2":
        distance = (query_key[:, None] - memory_key).square().sum(-1)
        return -distance / math.sqrt(memory_key.shape[1])
    product = query_key @ memory_key.T
    if kind == "dot":
        return product / math.sqrt(memory_key.shape[1])
    return product / (query_key.norm(dim=1)[:, None] * memory_key.norm(dim=1)) / 0.01


def read_by_pairs(kind, memory_key, value, query_key, sigma, top_k):
    """One frame: memory_key [N, C], value [N, C'], query_key [M, C] → [M, C']."""
    scores = similarity_by_pairs(kind, memory_key, query_key)
    readout = torch.zeros(len(query_key), value.shape[1], dtype=value.dtype)
    for position in range(len(query_key)):
        weights = []
        for element in range(len(memory_key)):
            best = int(scores[:, element].argmax())
            rows = position // GRID[1] - best // GRID[1]
            columns = position % GRID[1] - best % GRID[1]
            near = math.exp(-(rows**2 + columns**2) / (2 * sigma**2))
            weights.append(math.exp(scores[position, element] - scores[position].max()) * near)
        kept = np.argsort(weights)[-top_k:]
        total = sum(weights[element] for element in kept)
        for element in kept:
            readout[position] += weights[element] / total * value[element]
    return readout


@pytest.mark.parametrize("kind", ["l2", "dot", "cosine"])
@pytest.mark.parametrize("chunk", [2**23, 70])  # whole frames, and two positions at a time
def test_the_bank_reads_what_the_formula_gives_pair_by_pair(kind, chunk, monkeypatch):
    monkeypatch.setattr("inference.memory.similarities._CHUNK_ELEMENTS", {"cpu": chunk})
    random = torch.Generator().manual_seed(3)

    def draw(count, channels):
        return torch.randn(count, channels, generator=random, dtype=torch.float64)

    # queries of different norms: with L2, their norms decide which position is the best
    queries = draw(2 * POSITIONS, 6) * torch.linspace(0.3, 2, 2 * POSITIONS)[:, None]
    bank, keys, values = MemoryBank(similarity_kind=kind), [], {1: [], 2: []}
    for frame, ids in ((0, (1,)), (5, (1, 2)), (9, (1, 2))):
        key, value = draw(POSITIONS, 6), {i: draw(POSITIONS, 5) for i in ids}
        bank.write(frame, key, value)
        keys.append(key)
        for object_id in ids:
            values[object_id].append(value[object_id])
    readout = bank.read(queries, (1, 2), 7, PositionKernel(1.5, GRID))
    for number, held in enumerate((slice(0, 3), slice(1, 3))):  # the second object came late
        for frame in range(2):  # each frame has best positions of its own
            part = slice(frame * POSITIONS, (frame + 1) * POSITIONS)
            key, value = torch.cat(keys[held]), torch.cat(values[number + 1])
            expected = read_by_pairs(kind, key, value, queries[part], 1.5, 7)
            torch.testing.assert_close(readout[number, part], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("clip_length", [1, 5])
def test_sessions_with_a_kernel_agree_with_the_plain_session(
    refined_network, made_clip, clip_length
):
    """Frame by frame, and in clips with progressive matching; an object joins at frame 2."""
    is_clip = clip_length > 1
    overrides = {"include_last": True, "mem_every": 3}
    if is_clip:
        overrides = {"clip_length": clip_length, "memory.segment_frames": 2, "refine": False}
    masks = {0: made_clip.masks(1), 2: made_clip.masks(2, 2)}
    with double_precision():
        network = copy.deepcopy(refined_network).double()
        segmenter = VideoSegmenter(
            network,
            "pcvos" if is_clip else "stcn",
            device="cpu",
            top_k=7,
            **{"reading.kernel_sigma": NARROW},
            **overrides,
        )
        results = run_session(segmenter.session(), made_clip.frames[:8], masks)
        plain = PlainSession(
            network,
            5 if is_clip else 3,
            not is_clip,
            top_k=7,
            segment_frames=2 if is_clip else math.inf,
            kernel_sigma=NARROW,
        )
        # a mask ends a clip
        ends = (0, 2, 7) if is_clip else range(8)
        starts = (0, *(end + 1 for end in ends))
        expected = [
            one
            for start, end in zip(starts, ends)
            for one in plain.step_clip(made_clip.frames[start : end + 1], masks.get(end))
        ]
    assert len(results) == len(expected) == 8
    for result, (ids, probabilities) in zip(results, expected, strict=True):
        assert result.object_ids == ids
        torch.testing.assert_close(result.probabilities, probabilities, rtol=0, atol=1e-6)
        assert_same_labels(result, np.array((0, *ids))[probabilities.argmax(0).numpy()])


def segmented(make_segmenter, clip, system, sigma, lookahead=1, **overrides):
    segmenter = make_segmenter(system, **{"reading.kernel_sigma": sigma}, **overrides)
    return list(segmenter.segment(clip.frames[:8], clip.labels[0], lookahead=lookahead))


@pytest.mark.parametrize("system", list(SYSTEMS))
def test_every_system_reads_by_the_kernel_and_a_wide_one_changes_nothing(
    make_segmenter, made_clip, system
):
    plain, wide, narrow = (
        segmented(make_segmenter, made_clip, system, sigma) for sigma in (None, WIDE, NARROW)
    )
    assert_same_results(wide, plain)
    assert any(
        (one.probabilities - other.probabilities).abs().max() > 0.01
        for one, other in zip(narrow, plain, strict=True)
    )


def test_frames_read_together_give_the_results_of_frames_read_alone(
    make_segmenter, made_clip, policy
):
    system = "remn" if policy == "redundancy" else "stcn"
    alone, together = (
        segmented(make_segmenter, made_clip, system, NARROW, lookahead, memory=policy)
        for lookahead in (1, 5)
    )
    assert_same_results(together, alone)


@pytest.mark.parametrize("sigma", [0, -7, "inf", "nan", "wide"])
def test_a_kernel_without_a_width_is_refused(sigma):
    with pytest.raises(InputError, match=r"reading\.kernel_sigma"):
        system_config("stcn", **{"reading.kernel_sigma": sigma})
