"""Check training data before a long run.

python scripts/verify_data.py [--static_root DIR ...] [--davis_root DIR ...] [--yv_root DIR ...]
    [--bl_root DIR ...] [--video_root NAME=DIR ...] [--fast] [--json FILE]

Reports missing pairs and folders, sizes that differ, damaged files, masks without objects, and
counts that differ from the published ones. The exit code is 0 without problems, otherwise 2.
"""

if not __package__:  # started by path, not as a module of the project
    import _packages  # noqa: F401

import argparse
import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from scripts.data_tools.reports import (
    SetPlan,
    SetReport,
    TaskResult,
    build_report,
    format_reports,
)
from scripts.data_tools.verification import (
    BL30K,
    DAVIS,
    YOUTUBE,
    VideoKind,
    plan_static,
    plan_videos,
)
from util.errors import EXIT_INPUT_ERROR, EXIT_OK, InputError, run_command
from util.files import write_json
from util.flags import FlagParser, at_least, output_text_path
from util.progress import Progress
from util.text import counted

MAX_SHOWN = 20
_FOLDERS = {"nargs": "+", "type": Path, "default": [], "metavar": "DIR"}


def parse_flags() -> argparse.Namespace:
    parser = FlagParser(prog="verify_data.py", description="Check training data before a long run.")
    parser.add_argument(
        "--static_root", **_FOLDERS, help="still images and masks, in any of the public layouts"
    )
    parser.add_argument("--davis_root", **_FOLDERS, help="DAVIS; every frame has a mask")
    parser.add_argument("--yv_root", **_FOLDERS, help="YouTube-VOS")
    parser.add_argument("--bl_root", **_FOLDERS, help="BL30K; every frame has a mask")
    parser.add_argument(
        "--video_root",
        nargs="+",
        type=named_root,
        default=[],
        metavar="NAME=DIR",
        help="other folders of videos in one of these layouts",
    )
    parser.add_argument(
        "--fast",
        action="store_true",
        help="read only the headers of files: misses damage in their pixels and empty masks",
    )
    parser.add_argument(
        "--workers",
        type=at_least(1),
        default=os.cpu_count() or 1,
        metavar="N",
        help="processes (default: one for each core)",
    )
    parser.add_argument(
        "--json", type=output_text_path, metavar="FILE", help="write all findings as JSON, too"
    )
    return parser.parse_args()


def named_root(text: str) -> tuple[VideoKind, Path]:
    """The type of a --video_root."""
    name, _, root = text.partition("=")
    if not name or not root:
        raise argparse.ArgumentTypeError(f"{text}: write NAME=DIR")
    return VideoKind(name=name), Path(root)


def make_plans(flags: argparse.Namespace) -> list[SetPlan]:
    """The plans of all roots. Raises InputError if none is given."""
    plans = [plan for root in flags.static_root for plan in plan_static(root, flags.fast)]
    videos = [
        *((DAVIS, root) for root in flags.davis_root),
        *((YOUTUBE, root) for root in flags.yv_root),
        *((BL30K, root) for root in flags.bl_root),
        *flags.video_root,
    ]
    plans += [plan_videos(kind, root, flags.fast) for kind, root in videos]
    if not plans:
        raise InputError(
            "no root given; name one by --static_root, --davis_root, --yv_root, --bl_root or "
            "--video_root NAME=DIR"
        )
    return plans


def run_task(task: Callable[[], TaskResult]) -> TaskResult:
    """Run a task in a process of the pool."""
    return task()


def check(plans: Sequence[SetPlan], workers: int) -> Iterator[SetReport]:
    """Run the tasks of all plans in parallel; yields a report for each plan."""
    task_count = sum(len(plan.tasks) for plan in plans)
    with ProcessPoolExecutor(workers) as pool, Progress(task_count, "folders") as progress:
        for plan in plans:
            results = []
            for result in pool.map(run_task, plan.tasks):
                results.append(result)
                progress.advance()
            yield build_report(plan, results)


def show(label: str, lines: Sequence[str]) -> None:
    """Print the first MAX_SHOWN lines, each after its label."""
    for line in lines[:MAX_SHOWN]:
        print(f"{label}: {line}")
    if len(lines) > MAX_SHOWN:
        print(f"{label}: … and {len(lines) - MAX_SHOWN} more (--json FILE writes all)")


def write_findings(
    path: Path, reports: Sequence[SetReport], problem_count: int, fast: bool
) -> None:
    """Write all findings as JSON. fast: whether only the headers of files were read."""
    content = {
        "fast": fast,
        "problems": problem_count,
        "sets": [dataclasses.asdict(report) for report in reports],
    }
    write_json(path, content)


def main() -> int:
    """Check the roots that the flags name. Returns the exit code."""
    flags = parse_flags()
    reports = list(check(make_plans(flags), flags.workers))
    for report in reports:
        show("note", report.notes)
        show("problem", report.problems)
    print(format_reports(reports))
    problem_count = sum(len(report.problems) for report in reports)
    if flags.json:
        write_findings(flags.json, reports, problem_count, flags.fast)
    if problem_count:
        print(f"{counted(problem_count, 'problem')}, named above")
        return EXIT_INPUT_ERROR
    depth = " in the headers; without --fast, damage in the pixels is found, too"
    print(f"no problems{depth if flags.fast else ''}")
    return EXIT_OK


if __name__ == "__main__":
    run_command(main)
