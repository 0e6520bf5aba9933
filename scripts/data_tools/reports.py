"""What the checks of a data set find, and the report of it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dataset.training.skipped_files import MAX_DAMAGED_SHARE


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of a report: where, and what was found.

    is_problem: something to repair; otherwise a note. is_damage: training would skip the file.
    """

    text: str
    is_problem: bool = True
    is_damage: bool = False


@dataclass(frozen=True, kw_only=True)
class TaskResult:
    """What a task found in the `files` that it read."""

    files: int
    findings: list[Finding]


@dataclass(frozen=True, kw_only=True)
class SetPlan:
    """One data set under a root: what its folders show at once, and tasks that read its files.

    found: the number of its `unit`s (pairs or videos). published: how many there should be; None if
    that is unknown. tasks: can be sent to other processes.
    """

    name: str
    root: Path
    unit: str
    found: int
    published: int | None = None
    findings: list[Finding] = field(default_factory=list)
    tasks: list[Callable[[], TaskResult]] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class SetReport:
    """What was found in one data set. files: how many were read."""

    name: str
    root: str
    unit: str
    found: int
    published: int | None
    files: int
    problems: list[str]
    notes: list[str]


def build_report(plan: SetPlan, results: Iterable[TaskResult]) -> SetReport:
    """Combine what a plan and its tasks found, and judge the numbers."""
    files, findings = 0, list(plan.findings)
    for result in results:
        files += result.files
        findings += result.findings
    if plan.published is not None and plan.found != plan.published:
        counts = f"{plan.found} {plan.unit} of {plan.name}; published: {plan.published}"
        findings.append(Finding(text=f"{plan.root}: {counts}", is_problem=False))
    damaged = sum(finding.is_damage for finding in findings)
    if damaged > MAX_DAMAGED_SHARE * files:
        limit = f"training stops at more than {MAX_DAMAGED_SHARE:.0%}"
        text = f"{plan.root}: {damaged} of {files} files are damaged; {limit}"
        findings.append(Finding(text=text))
    return SetReport(
        name=plan.name,
        root=str(plan.root),
        unit=plan.unit,
        found=plan.found,
        published=plan.published,
        files=files,
        problems=[finding.text for finding in findings if finding.is_problem],
        notes=[finding.text for finding in findings if not finding.is_problem],
    )


def format_reports(reports: Sequence[SetReport]) -> str:
    """A table in aligned text, one line for each data set."""
    header = ("data set", "found", "", "published", "files read", "problems", "notes", "root")
    rows = [
        (
            report.name,
            str(report.found),
            report.unit,
            str(report.published or "-"),
            str(report.files),
            str(len(report.problems)),
            str(len(report.notes)),
            report.root,
        )
        for report in reports
    ]
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (header, *rows)
    )
