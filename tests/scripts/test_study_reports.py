"""Reports of studies: what the table, the JSON file and the plots show, and means over time.

Legend: B bins, equal parts of a video.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataset import Layout
from inference.output.trace import FrameTrace
from scripts.studies import over_time
from scripts.studies.data import StudyData
from scripts.studies.report import Report, Row
from scripts.studies.runs import Run, run_folder
from scripts.studies.variants import Study, Variant

CIRCUMSTANCES = {
    "command": "c",
    "date": "2026-01-01",
    "processor": "p",
    "logical_cores": 2,
    "memory_gb": None,
    "system": "s",
    "python": "3",
    "torch": "2",
    "threads": 1,
    "device": "cpu",
    "commit": "x",
}


def toy_run(fps: float = 5.0, j: float = 0.7, **changes) -> Run:
    values = {
        "folder": Path("out"),
        "device": "cpu",
        "j_and_f": j + 0.02,
        "j": j,
        "f": j + 0.04,
        "frames": 100,
        "seconds": 100 / fps,
        "peak_memory_mb": 812.3,
        "frames_memorised": 20,
        "memory_elements": 3240,
        "memory_mb": 2.5,
        "untimed": (),
    }
    return Run(**{**values, **changes})


def toy_row(name: str, played: str = "×1", timed: bool = False, **changes) -> Row:
    layout = Layout(
        root=Path("toy"),
        folder=Path("toy"),
        frames="JPEGImages/480p",
        masks=("Annotations/480p",),
        split="val",
    )
    development = over_time.OverTime(
        unit="frame",
        times=[10, 20],
        j_and_f=[0.8, 0.6],
        memory_elements=[1, 2],
        milliseconds=[200, None],
    )
    return Row(
        variant=Variant(
            name=name, line=name, label="5", columns={"system": name}, weights=Path("w.pth")
        ),
        data=StudyData(name="toy", layout=layout, names=("bear",), frame_count=100, played=played),
        run=toy_run(**changes),
        over_time=development if timed else None,
    )


def report(rows: list[Row], **changes) -> Report:
    return Report(
        study=Study(name="tried", title="Tried", variants=[], labels="L", **changes),
        data=rows[0].data,
        rows=rows,
        left_out=["that one: no weights"],
        circumstances=CIRCUMSTANCES,
    )


def test_report_shows_scores_time_memory_and_what_was_left_out():
    unmeasured = toy_row("two", fps=10, frames=0, untimed=("bear",))
    text = report([toy_row("one"), unmeasured], notes=["A note."]).as_markdown()
    assert "| one | 72.0 | 70.0 | 74.0 | 5.00 | 812 | 20 | 3,240 | 2.5 |" in text
    assert "| two | 72.0 | 70.0 | 74.0 | not measured |" in text and "two (bear)" in text
    assert "Left out: that one: no weights." in text and "A note." in text
    assert "FPS and peak memory are of this run on this machine (cpu)" in text
    assert "played" not in text


def test_report_of_several_lengths_distinguishes_them_and_draws_each(tmp_path):
    rows = [toy_row("one", timed=True), toy_row("one", "×3", timed=True, fps=4.5, j=0.5)]
    text, values, accuracy, development = report(rows).write(tmp_path / "out")
    names = ["tried.md", "tried.json", "tried.png", "tried-over-time.png"]
    assert [path.name for path in (text, values, accuracy, development)] == names
    assert "| one | ×3 | 52.0 |" in text.read_text()
    assert "FPS of longer videos over those of ×1: one ×3 0.90." in text.read_text()
    assert [row["played"] for row in json.loads(values.read_text())["rows"]] == ["×1", "×3"]
    width, height = Image.open(accuracy).size
    # a row of three panels for each length
    assert Image.open(development).width == 3 * width
    assert Image.open(development).height > 1.5 * height
    first_colour = (0, 114, 178)
    assert (np.asarray(Image.open(accuracy).convert("RGB")) == first_colour).all(-1).any()


def test_runs_of_one_variant_at_several_lengths_have_separate_folders():
    row, longer = toy_row("one"), toy_row("one", "×3")
    assert run_folder(Path("out"), row.variant, row.data) == Path("out/runs/one")
    assert run_folder(Path("out"), longer.variant, longer.data) == Path("out/runs/one-x3")


def trace_of(seconds: list[float]) -> list[FrameTrace]:
    return [
        FrameTrace(
            video="bear",
            frame=f"{position:05d}",
            position=position,
            seconds=elapsed,
            memory_elements=0,
            memory_mb=1.0,
            frames_memorised=1,
            peak_memory_mb=1.0,
        )
        for position, elapsed in enumerate(seconds)
    ]


def test_time_per_frame_is_even_if_batches_take_equally_long_for_any_number_of_bins():
    # four frames at once, 4 s each time
    batches = trace_of([4.0 * (number // 4 + 1) + 0.001 * (number % 4) for number in range(24)])
    for bins in (4, 12):  # bins of six frames, and of two
        even = pytest.approx([1000] * bins, rel=0.01)
        assert over_time._milliseconds(batches, bins) == even
    singles = trace_of([float(number + 1) for number in range(24)])
    assert over_time._milliseconds(singles, 5) == pytest.approx([1000] * 5)
    slower = trace_of([number + 1 + max(number - 11, 0) for number in range(24)])
    assert over_time._milliseconds(slower, 2) == pytest.approx([1000, 2000])


def test_means_are_of_the_values_in_each_bin():
    values = [(0.0, 1.0), (0.2, 3.0), (0.99, 5.0), (1.0, 7.0)]
    assert over_time._bin_means(values, 2) == [2.0, 6.0]
    assert over_time._bin_means([(0.9, 1.0)], 3) == [None, None, 1.0]
    assert over_time._column_means([[1.0, None], [3.0, None]], 2) == [2.0, None]
