"""The sections of a check, run within a time, and what they found as one report."""

import dataclasses
import gc
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from scripts.common.circumstances import circumstances, circumstances_line
from util.files import atomic_write
from util.run_record import write_json


@dataclasses.dataclass(frozen=True, kw_only=True)
class Check:
    """What is checked, how thoroughly, and until when."""

    device: torch.device
    dry_run: bool
    workers: int  # loading processes
    minutes: float
    started: float = dataclasses.field(default_factory=time.monotonic)

    @property
    def seconds_left(self) -> float:
        return 60 * self.minutes - (time.monotonic() - self.started)


@dataclasses.dataclass(frozen=True)
class Finding:
    """What a section found. failures: what should have been otherwise, a line each."""

    markdown: str
    figures: Any
    failures: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of the check. seconds: what it needs at least; with less time left it is not begun."""

    title: str
    run: Callable[[Check], Finding]
    seconds: float = 15


def run_sections(check: Check, sections: Mapping[str, Section], output: Path) -> list[str]:
    """Run them in order; write the report after each, so that an end in between loses nothing.

    An error in a section is a failure of it; the others still run. Returns all failures.
    """
    output.mkdir(parents=True, exist_ok=True)
    where = circumstances(torch.get_num_threads(), check.device)
    kind = " (dry run: tiny sizes, figures without meaning)" if check.dry_run else ""
    text = [f"# GPU check{kind}", circumstances_line(where)]
    content: dict[str, Any] = {**where, "dry_run": check.dry_run, "sections": {}, "failures": []}
    for name, section in sections.items():
        begun = time.monotonic()
        finding = _run(check, section)
        content["sections"][name] = {
            "seconds": round(time.monotonic() - begun, 1),
            "figures": finding.figures,
        }
        content["failures"] += [f"{name}: {failure}" for failure in finding.failures]
        text += [
            f"## {section.title}",
            finding.markdown,
            *(f"**Failed:** {failure}" for failure in finding.failures),
        ]
        with atomic_write(output / "report.md") as file:
            file.write(("\n\n".join(text) + "\n").encode())
        write_json(output / "report.json", content)
        print(
            f"{name}: {time.monotonic() - begun:.1f} s, {max(check.seconds_left, 0):.0f} s left",
            file=sys.stderr,
            flush=True,
        )
    return content["failures"]


def _run(check: Check, section: Section) -> Finding:
    if check.seconds_left < section.seconds:
        return Finding(
            f"Not run: it needs {section.seconds:.0f} s, and {max(check.seconds_left, 0):.0f} s were left.",
            None,
        )
    try:
        return section.run(check)
    except Exception as error:  # whatever went wrong is what the report is for
        traceback.print_exc()
        return Finding(
            "Ended by an error.",
            None,
            (f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}",),
        )
    finally:
        gc.collect()
        if check.device.type == "cuda":
            torch.cuda.empty_cache()
