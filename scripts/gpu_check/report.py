"""The sections of a check, run within a time limit, and their findings as one report."""

import dataclasses
import gc
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from scripts.common.circumstances import circumstances, circumstances_line
from scripts.common.progress import print_progress
from util.files import atomic_write, write_json


@dataclasses.dataclass(frozen=True, kw_only=True)
class Check:
    """What is checked, how thoroughly, and in what time.

    dry_run: use tiny networks and sizes.
    workers: loading processes of the training benchmark.
    """

    device: torch.device
    dry_run: bool
    workers: int
    minutes: float
    started: float = dataclasses.field(default_factory=time.monotonic)

    @property
    def seconds_left(self) -> float:
        """The rest of the time limit, at least 0."""
        return max(60 * self.minutes - (time.monotonic() - self.started), 0)


@dataclasses.dataclass(frozen=True)
class Finding:
    """The result of a section. failures: what is not as it should be, a line each."""

    markdown: str
    figures: Any
    failures: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of the check. seconds: the least it needs; with less time left it is skipped."""

    title: str
    run: Callable[[Check], Finding]
    seconds: float = 15


def run_sections(check: Check, sections: Mapping[str, Section], output: Path) -> list[str]:
    """Run the sections in order. The report is written after each, so that an interruption loses
    no finding.

    An error in a section counts as its failure, and the other sections still run.
    Returns: all failures.
    """
    output.mkdir(parents=True, exist_ok=True)
    measured = circumstances(torch.get_num_threads(), check.device)
    kind = " (dry run: tiny sizes, figures without meaning)" if check.dry_run else ""
    text = [f"# GPU check{kind}", circumstances_line(measured)]
    content: dict[str, Any] = {**measured, "dry_run": check.dry_run, "sections": {}, "failures": []}
    for name, section in sections.items():
        start = time.monotonic()
        finding = _run(check, section)
        seconds = time.monotonic() - start
        content["sections"][name] = {"seconds": round(seconds, 1), "figures": finding.figures}
        content["failures"] += [f"{name}: {failure}" for failure in finding.failures]
        failures = (f"**Failed:** {failure}" for failure in finding.failures)
        text += [f"## {section.title}", finding.markdown, *failures]
        with atomic_write(output / "report.md") as file:
            file.write(("\n\n".join(text) + "\n").encode())
        write_json(output / "report.json", content)
        print_progress(f"{name}: {seconds:.1f} s, {check.seconds_left:.0f} s left")
    return content["failures"]


def _run(check: Check, section: Section) -> Finding:
    if check.seconds_left < section.seconds:
        return Finding(
            f"Not run: it needs {section.seconds:.0f} s, and {check.seconds_left:.0f} s were left.",
            None,
        )
    try:
        return section.run(check)
    except Exception as error:  # any error is a finding about this machine
        traceback.print_exc()
        first_line = str(error).splitlines()[0] if str(error) else ""
        return Finding("Ended by an error.", None, (f"{type(error).__name__}: {first_line}",))
    finally:
        gc.collect()
        if check.device.type == "cuda":
            torch.cuda.empty_cache()
