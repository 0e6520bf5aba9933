"""The benchmark: its reference computes what the engine computes, and its commands report their
figures. Timings themselves are not tested."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from repository import ROOT
from torch.profiler import record_function

from inference import VideoSegmenter
from inference.memory import MemoryBank
from scripts import benchmark
from scripts.benchmarks import clips, components, peak_memory, reading, speed
from scripts.benchmarks.reference import ReferenceMemory, ReferenceNetwork, ReferenceVideo
from scripts.benchmarks.synthetic import MovingScene, synthetic_network
from scripts.benchmarks.timing import CPU, RegionTimer
from scripts.benchmarks.workload import COMPONENTS, SIDES, Clip, Workload
from util.errors import InputError


def clip_of(height: int, width: int, objects: int, frames: int) -> Clip:
    return Clip.of(Workload(height=height, width=width, frames=frames), objects)


@pytest.mark.parametrize("objects", [1, 3])
@pytest.mark.parametrize("lookahead", [1, 5])
def test_reference_and_engine_agree_over_several_memory_writes(objects, lookahead):
    network = synthetic_network("tiny")
    clip = clip_of(100, 150, objects, frames=13)  # no multiples of 16
    agreement = speed.compare(network, VideoSegmenter(network, device="cpu"), clip, lookahead)
    assert agreement.largest_probability_difference < 2e-4
    assert agreement.labels_differing == 0
    assert agreement.ties < agreement.pixels / 20


@pytest.mark.parametrize("objects", [1, 3])
def test_reference_and_engine_agree_on_the_published_network(objects):
    network = synthetic_network("stcn")
    clip = clip_of(64, 80, objects, frames=3)
    agreement = speed.compare(network, VideoSegmenter(network, device="cpu"), clip)
    assert agreement.largest_probability_difference < 2e-4
    assert agreement.labels_differing == 0


def test_comparison_notices_other_weights():
    other = VideoSegmenter(synthetic_network("tiny", seed=1), device="cpu")
    clip = clip_of(64, 96, objects=1, frames=3)
    agreement = speed.compare(synthetic_network("tiny", seed=0), other, clip)
    assert agreement.largest_probability_difference > 0.01
    assert agreement.labels_differing > 0


def test_reference_memorises_every_fifth_frame_and_never_the_last():
    scene = MovingScene(32, 48, 2)
    video = ReferenceVideo(
        ReferenceNetwork(synthetic_network("tiny")), scene.frames(11), 11, scene.labels(0)
    )
    labels = video.run()
    assert video.memorised == [0, 5]
    assert video.memory.keys.shape[2] == 2 * (32 // 16) * (48 // 16)
    assert labels.shape == (11, 32, 48)
    assert np.array_equal(labels[0], scene.labels(0))
    assert all(len(np.unique(frame)) > 1 for frame in labels)


@pytest.mark.parametrize("top_k", [5, 100])  # fewer than the 24 elements, and more
def test_reference_reads_what_the_bank_reads(top_k):
    generator = torch.Generator().manual_seed(0)
    keys, query = (
        torch.randn(2, 8, 3, 4, generator=generator),
        torch.randn(1, 8, 3, 4, generator=generator),
    )
    values = torch.randn(2, 2, 16, 3, 4, generator=generator)  # frame, object
    bank, memory = MemoryBank(), ReferenceMemory(top_k)
    for frame in range(2):
        memory.write(keys[frame : frame + 1], values[frame])
        bank.write(
            frame,
            keys[frame].flatten(1).T,
            {number: values[frame, number].flatten(1).T for number in range(2)},
        )
    expected = bank.read(query[0].flatten(1).T, (0, 1), top_k).transpose(1, 2)
    torch.testing.assert_close(memory.read(query).flatten(2), expected, rtol=1e-4, atol=1e-5)


def test_moving_scene_shows_every_object_in_every_frame_and_repeats_exactly():
    scene, again = MovingScene(48, 64, 5), MovingScene(48, 64, 5)
    for index in (0, 7, 1999):
        assert set(np.unique(scene.labels(index))) == set(range(6))
        assert np.array_equal(scene.frame(index), again.frame(index))
    assert not np.array_equal(scene.frame(0), scene.frame(1))


def test_moving_scene_refuses_more_objects_than_fit():
    with pytest.raises(InputError, match="do not fit"):
        MovingScene(32, 32, 100)


def test_region_timer_sums_the_time_of_its_regions_over_laps_and_skips_what_lies_between():
    with RegionTimer(("sleeping", "unused"), CPU) as timer:
        for _ in range(2):
            with record_function("sleeping"):
                time.sleep(0.05)
            with record_function("something else"):
                time.sleep(0.02)
            timer.lap()
            timer.lap()
    assert 0.1 <= timer.seconds["sleeping"] <= timer.elapsed_seconds - 0.04
    assert timer.seconds["unused"] == 0


def test_component_times_of_both_sides_are_measured_for_each_number_of_objects():
    workload = Workload(network="tiny", height=32, width=48, frames=7, repeats=1)
    rows = components.components(workload, [1, 2])
    assert [row["objects"] for row in rows] == [1, 2]
    for row in rows:
        assert row["memorised_frames"] == 2
        times = row["milliseconds"]
        assert list(times) == list(SIDES)
        assert all(times[side][component] > 0 for side in SIDES for component in COMPONENTS)


def test_clip_speed_accounts_for_the_whole_time_at_each_length():
    rows = clips.clip_speed(
        clips.ClipWorkload(
            network="tiny_pcvos", height=32, width=48, frames=9, objects=2, repeats=1
        ),
        [2, 4],
    )
    assert [row["clip_length"] for row in rows] == [2, 4]
    for row in rows:
        assert all(
            row["milliseconds"][component] > 0 for component in (*clips.COMPONENTS, clips.REST)
        )
        assert sum(row["share"].values()) == pytest.approx(1)
        assert sum(row["milliseconds"].values()) == pytest.approx(1000 / row["fps"])


def test_clip_speed_refuses_a_network_without_refinement():
    with pytest.raises(InputError, match="no weights of intra-clip refinement"):
        clips.clip_speed(
            clips.ClipWorkload(network="tiny", height=32, width=48, frames=5, repeats=1), [2]
        )


def test_reading_is_also_timed_with_a_kernel(tmp_path, monkeypatch, capsys):
    size = "--network tiny --height 32 --width 48 --memory_frames 2 --repeats 1 --threads 1"
    figures = tmp_path / "reading.json"
    command = ["benchmark.py", "reading", *size.split(), "--kernel_sigma", "7", "--json"]
    monkeypatch.setattr(sys, "argv", [*command, str(figures)])
    assert benchmark.main() == 0
    times = json.loads(figures.read_text())["figures"]["seconds_per_read"]
    assert list(times) == [*SIDES, reading.KERNELIZED] and min(times.values()) > 0
    assert "| ours, kernelized, s |" in capsys.readouterr().out


def test_peak_memory_sees_the_video_the_reference_holds():
    settings = {
        "network": "tiny",
        "height": 240,
        "width": 320,
        "frames": 60,
        "objects": 1,
        "threads": 1,
    }
    peak = peak_memory.measure(peak_memory.Probe(side="reference", **settings))
    images_mb = 60 * 3 * 240 * 320 * 4 / 1e6
    probabilities_mb = images_mb * 2 / 3
    assert images_mb + probabilities_mb < peak.growth_mb < 6 * images_mb


def test_speed_command_prints_a_table_and_writes_its_figures(tmp_path):
    figures = tmp_path / "speed.json"
    settings = [
        "--network",
        "tiny",
        "--height",
        "48",
        "--width",
        "64",
        "--frames",
        "4",
        "--repeats",
        "1",
        "--threads",
        "1",
    ]
    command = [
        sys.executable,
        str(ROOT / "scripts" / "benchmark.py"),
        "speed",
        *settings,
        "--objects",
        "1",
        "2",
        "--json",
        str(figures),
    ]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert result.returncode == 0, result.stderr
    assert "| objects | reference, s/frame | ours, s/frame | times faster |" in result.stdout
    assert "labels differ at 0 of" in result.stdout
    report = json.loads(figures.read_text())
    assert report["threads"] == 1 and report["processor"] and report["date"]
    assert [row["objects"] for row in report["figures"]] == [1, 2]
    for row in report["figures"]:
        seconds = row["seconds_per_frame"]
        assert row["speedup"] == pytest.approx(seconds["reference"] / seconds["ours"])
