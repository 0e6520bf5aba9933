"""Benchmarks of memory policies: what they measure is what they say. Timings themselves are not tested."""

import json
import subprocess
import sys

import pytest
from repository import ROOT

from inference.memory import MemoryBank
from scripts.benchmarks import endurance, policies
from scripts.benchmarks.timing import COMPONENTS, Workload
from util.errors import InputError

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
    assert (grows["first"], grows["last"]) == (
        6 * 8,
        6 * 26,
    )  # frames 0, 5, … of the 40 and 130 up to there, 6 elements each
    assert bounded["first"] == bounded["last"] == 2 * 6
    assert (
        rows[1]["memory_mb"]["first"] == rows[1]["memory_mb"]["last"] < rows[0]["memory_mb"]["last"]
    )


@pytest.mark.parametrize(
    "changes", [{"frames": 120}, {"warm_up_frames": 12}, {"warm_up_frames": 0}]
)
def test_endurance_of_lengths_that_do_not_divide_is_refused(changes):
    with pytest.raises(InputError, match="multiples of 50 and of 5"):
        endurance.endurance(endurance.Run(**{**vars(RUN), **changes}), {})


def test_policies_are_compared_on_the_memories_they_are_said_to_have():
    read = MemoryBank.read
    rows = policies.compare_policies(
        Workload(network="tiny", height=32, width=48, repeats=4), [1, 2], policies.contestants(12)
    )
    assert MemoryBank.read is read
    assert [(row["objects"], row["than"]) for row in rows] == [
        (objects, name)
        for objects in (1, 2)
        for name in ("first-and-latest", "every-5 at 12 frames")
    ]
    for row in rows:
        elements = row["memory_elements"]
        assert elements["LFU(2)"] == 2 * 6
        assert elements[row["than"]] == (
            2 * 6 if row["than"] == "first-and-latest" else (12 - 2 + 4) * 6
        )
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
    sides = policies.contestants(12)[:2]
    parts = {
        side.name: dict(
            zip(COMPONENTS, ([0.1, 0.1], [0.5, 0.5], [0.01, 0.01], [0.2, 0.2]), strict=True)
        )
        for side in sides
    }
    (row,) = policies._rows(
        1, sides, {side.name: [1.0] for side in sides}, parts, {side.name: 12 for side in sides}
    )
    assert row["predicted_speedup"] == pytest.approx(
        (0.1 + 0.2 + 0.01 + 0.5) / (0.1 + 0.2 + 0.01 + 0.5 / 5)
    )


def test_the_commands_print_tables_and_write_their_figures(tmp_path):
    size = ["--height", "32", "--width", "48", "--threads", "1"]
    for name, flags, said in (
        (
            "endurance",
            ["--frames", "50", "--warm_up_frames", "10", "--policies", "lfu:2", "every-k"],
            "| lfu:2 |",
        ),
        (
            "policies",
            ["--network", "tiny", "--repeats", "1", "--objects", "1", "--memory_frames", "8"],
            "| 1 | every-5 at 8 frames |",
        ),
    ):
        command = [
            sys.executable,
            str(ROOT / "scripts" / "benchmark.py"),
            name,
            *size,
            *flags,
            "--json",
            str(tmp_path / f"{name}.json"),
        ]
        result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
        assert result.returncode == 0, result.stderr
        assert said in result.stdout
        assert json.loads((tmp_path / f"{name}.json").read_text())["benchmark"] == name
