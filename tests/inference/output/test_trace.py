"""What a run records of each frame, also over several runs of one request."""

import dataclasses

import pytest
import torch
from toy_trees import write_davis

from dataset import DavisDataset
from inference import VideoSegmenter
from inference.output.run_folder import RunFolder
from inference.output.trace import FrameTrace, Trace, read_trace
from inference.runner import run
from model import build_network

ELEMENTS_PER_FRAME = (48 // 16) * (64 // 16)


@pytest.fixture
def segmenter():
    torch.manual_seed(0)
    return VideoSegmenter(build_network("tiny"), device="cpu", mem_every=2)


def test_trace_has_a_line_for_each_frame_and_agrees_with_the_totals(segmenter, tmp_path):
    dataset = DavisDataset(write_davis(tmp_path / "davis", {"bear": 6, "dog": 4}))
    path = tmp_path / "deep" / "trace.jsonl"
    totals = run(dataset, segmenter, RunFolder(tmp_path / "out", {}), lookahead=2, trace=path)
    videos = read_trace(path)
    for name, count in {"bear": 6, "dog": 4}.items():
        frames = [(line.position, line.frame) for line in videos[name]]
        assert frames == [(index, f"{index:05d}") for index in range(count)]
    assert sum(lines[-1].seconds for lines in videos.values()) == pytest.approx(
        totals.seconds, abs=1e-4
    )
    assert max(lines[-1].peak_memory_mb for lines in videos.values()) == pytest.approx(
        totals.peak_memory_mb, rel=0.1
    )
    elements = [line.memory_elements for line in videos["bear"]]
    assert elements == sorted(elements)
    assert elements[-1] == 3 * ELEMENTS_PER_FRAME  # frames 0, 2 and 4
    assert videos["bear"][-1].memory_mb > 0
    assert [line.frames_memorised * ELEMENTS_PER_FRAME for line in videos["bear"]] == elements


@pytest.mark.parametrize(
    ("settings", "memorised", "held"),
    [
        ({"mem_every": 1, "memory": "fifo", "memory_frames": 2}, 5, 2),
        ({"mem_every": 5, "include_last": True}, 1, 2),
    ],
)
def test_frames_memorised_count_evicted_frames_but_not_the_temporary_previous_frame(
    tmp_path, settings, memorised, held
):
    torch.manual_seed(0)
    segmenter = VideoSegmenter(build_network("tiny"), device="cpu", **settings)
    dataset = DavisDataset(write_davis(tmp_path / "davis", {"bear": 6}))
    run(dataset, segmenter, RunFolder(tmp_path / "out", {}), trace=tmp_path / "trace.jsonl")
    last = read_trace(tmp_path / "trace.jsonl")["bear"][-1]
    assert (last.frames_memorised, last.memory_elements) == (
        memorised,
        held * ELEMENTS_PER_FRAME,
    )


def test_the_trace_of_a_resumed_run_has_every_video_once(segmenter, tmp_path):
    root = write_davis(tmp_path / "davis", {"bear": 4, "dog": 4})
    path, out = tmp_path / "trace.jsonl", RunFolder(tmp_path / "out", {})
    line = FrameTrace(
        video="dog",
        frame="00000",
        position=0,
        seconds=9.0,
        memory_elements=1,
        memory_mb=1.0,
        frames_memorised=1,
        peak_memory_mb=1.0,
    )
    with Trace(path) as trace:  # a run that was killed within dog, and within a line
        trace.add(line)
        trace.add(dataclasses.replace(line, frame="00001", position=1))
    path.write_text(path.read_text() + '{"video": "dog", "fra')
    run(DavisDataset(root), segmenter, out, trace=path)
    run(DavisDataset(root), segmenter, out, trace=path)  # finds all finished
    videos = read_trace(path)
    positions = {name: [line.position for line in lines] for name, lines in videos.items()}
    assert positions == {"bear": [0, 1, 2, 3], "dog": [0, 1, 2, 3]}
    assert videos["dog"][-1].seconds < 9


def test_a_missing_trace_is_empty(tmp_path):
    assert read_trace(tmp_path / "none.jsonl") == {}
