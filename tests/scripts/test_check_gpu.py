"""The check of a machine with a GPU. It also runs on the CPU, in tiny sizes, and reports what
fails."""

import json

import numpy as np
import pytest
import torch

from inference import FrameResult
from scripts import check_gpu
from scripts.gpu_check import agreement
from scripts.gpu_check.report import Check, Finding, Section, run_sections
from scripts.gpu_check.sections import SECTIONS
from util.errors import run_command


def check(minutes: float = 8) -> Check:
    return Check(device=torch.device("cpu"), dry_run=True, workers=0, minutes=minutes)


def run_dry(monkeypatch, folder, *flags: str) -> tuple[int, dict]:
    monkeypatch.setattr(
        "sys.argv",
        ["check_gpu.py", "--dry_run", "--device", "cpu", "--output", str(folder), *flags],
    )
    with pytest.raises(SystemExit) as ended:
        run_command(check_gpu.main)
    return ended.value.code, json.loads((folder / "report.json").read_text())


def test_dry_run_goes_through_every_section_and_writes_the_report(monkeypatch, tmp_path):
    code, content = run_dry(monkeypatch, tmp_path, "--minutes", "20")
    assert code == 0 and content["failures"] == []
    assert list(content["sections"]) == list(SECTIONS)
    figures = {name: section["figures"] for name, section in content["sections"].items()}
    assert all(figures.values())
    text = (tmp_path / "report.md").read_text()
    assert all(f"## {section.title}" in text for section in SECTIONS.values())
    assert figures["resuming"]["resumed"] == 0.0
    assert figures["golden"]["davis/float32"]["labels_differing"] == 0
    assert all(
        stage["median"]["steps_per_second"] > 0 for stage in figures["training"]["speed"].values()
    )


def test_machine_that_computes_something_else_fails_the_check(monkeypatch, tmp_path):
    segment = agreement.VideoSegmenter.segment

    def wrong(self, *arguments, **keywords):
        for result in segment(self, *arguments, **keywords):
            result.probabilities.add_(0.01)
            yield result

    monkeypatch.setattr(agreement.VideoSegmenter, "segment", wrong)
    code, content = run_dry(monkeypatch, tmp_path, "--sections", "golden")
    assert code == 1
    (failure,) = content["failures"]
    assert failure.startswith("golden: davis: float32 differs by 1.0e-02")


def test_error_in_a_section_is_reported_and_the_others_still_run(tmp_path):
    def broken(_: Check) -> Finding:
        raise RuntimeError("no kernel image is available\nmore")

    sections = {
        "first": Section("First", broken, 0),
        "second": Section("Second", lambda _: Finding("found", 1), 0),
    }
    assert run_sections(check(), sections, tmp_path) == [
        "first: RuntimeError: no kernel image is available"
    ]
    assert "found" in (tmp_path / "report.md").read_text()


def test_section_that_does_not_fit_the_time_is_skipped_and_listed(tmp_path):
    section = Section("Long", lambda _: pytest.fail("was run"), 100)
    assert run_sections(check(minutes=1), {"long": section}, tmp_path) == []
    assert "Not run: it needs 100 s" in (tmp_path / "report.md").read_text()


def test_differing_labels_are_counted_outside_ties():
    probabilities = torch.tensor([[[0.9, 0.5, 0.2]], [[0.1, 0.5, 0.8]]])
    result = FrameResult(0, np.array([[0, 1, 1]], np.uint8), (1,), probabilities)
    assert agreement.count_differing_labels(result, np.array([[1, 0, 1]])) == 1
