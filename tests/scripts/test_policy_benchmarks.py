"""Benchmarks of memory policies measure what they say. Timings themselves are not tested."""

import json
import subprocess
import sys

import pytest
from repository import ROOT

from scripts.benchmarks import endurance, policies
from scripts.benchmarks.workload import COMPONENTS, Workload

RUN = endurance.Run(
    network="tiny", height=32, width=48, frames=100, warm_up_frames=30, objects=1, threads=1
)


def test_endurance_compares_the_ends_of_a_video_for_each_policy():
    rows = endurance.endurance(
        RUN, {"grows": {"memory": "every-k"}, "bounded": {"memory": "lfu", "memory_frames": 2}}
    )
    assert [row["policy"] for row in rows] == ["grows", "bounded"]
    for row in rows:
        assert row["time_ratio"] == pytest.approx(
            row["seconds_per_frame"]["last"] / row["seconds_per_frame"]["first"]
        )
        assert len(row["tenths_seconds_per_frame"]) == 10
        assert (row["tenths_seconds_per_frame"][0], row["tenths_seconds_per_frame"][-1]) == (
            row["seconds_per_frame"]["first"],
            row["seconds_per_frame"]["last"],
        )
        assert row["process_peak_mb"]["last"] >= row["process_peak_mb"]["first"] > 100
    grows, bounded = (row["memory_elements"] for row in rows)
    # Frames 0, 5, … of the first 40 and of all 130 frames, with 6 elements each.
    assert (grows["first"], grows["last"]) == (6 * 8, 6 * 26)
    assert bounded["first"] == bounded["last"] == 2 * 6
    assert (
        rows[1]["memory_mb"]["first"] == rows[1]["memory_mb"]["last"] < rows[0]["memory_mb"]["last"]
    )


def test_policies_are_compared_with_the_memories_they_are_said_to_have():
    workload = Workload(network="tiny", height=32, width=48, repeats=4)
    rows = policies.compare_policies(workload, [1, 2], policies.compared_policies(12))
    assert [(row["objects"], row["than"]) for row in rows] == [
        (objects, name)
        for objects in (1, 2)
        for name in ("first-and-latest", "every-5 at 12 frames")
    ]
    for row in rows:
        elements = row["memory_elements"]
        assert elements["LFU(2)"] == 2 * 6
        frames_held = 2 if row["than"] == "first-and-latest" else 12 - 2 + 4
        assert elements[row["than"]] == frames_held * 6
        assert all(
            row["milliseconds"][side][component] > 0
            for side in ("LFU(2)", row["than"])
            for component in COMPONENTS
        )
        assert len(row["turns_seconds_per_frame"]["LFU(2)"]) == 4
        assert row["speedup"] == pytest.approx(
            row["seconds_per_frame"][row["than"]] / row["seconds_per_frame"]["LFU(2)"]
        )


def test_first_and_latest_is_predicted_to_lose_what_its_value_encodings_take():
    seconds = dict(zip(COMPONENTS, ([0.1], [0.5], [0.01], [0.2]), strict=True))
    times = [
        policies.PolicyTimes(policy, 12, [1.0], seconds)
        for policy in policies.compared_policies(12)[:2]
    ]
    (row,) = policies.rows_of(1, times)
    assert row["predicted_speedup"] == pytest.approx(
        (0.1 + 0.2 + 0.01 + 0.5) / (0.1 + 0.2 + 0.01 + 0.5 / 5)
    )


@pytest.mark.parametrize(
    ("command", "row"),
    [
        (
            "endurance --frames 50 --warm_up_frames 10 --policies lfu:2 every-k",
            "| lfu:2 |",
        ),
        (
            "policies --network tiny --repeats 1 --objects 1 --memory_frames 8",
            "| 1 | every-5 at 8 frames |",
        ),
    ],
)
def test_command_prints_a_table_and_writes_its_figures(tmp_path, command, row):
    name, *flags = command.split()
    path = tmp_path / f"{name}.json"
    result = subprocess.run(
        [
            sys.executable,
            str(ROOT / "scripts/benchmark.py"),
            name,
            *("--height", "32", "--width", "48", "--threads", "1"),
            *flags,
            *("--json", str(path)),
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert row in result.stdout
    assert json.loads(path.read_text())["benchmark"] == name
