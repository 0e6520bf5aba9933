"""Check training data before a long run: missing pairs and folders, sizes, damaged files, masks without objects, counts against the published ones.

python scripts/verify_data.py [--static_root DIR …] [--davis_root DIR …] [--yv_root DIR …] [--bl_root DIR …] [--video_root NAME=DIR …] [--fast] [--json FILE]

Exit code 0 where there is nothing to mend, 2 where there is.
"""

if not __package__:  # started by path, not as a module of the project
    import _packages  # noqa: F401

import argparse
import dataclasses
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from scripts.data_tools.verification import (
    BL30K,
    DAVIS,
    YOUTUBE,
    SetPlan,
    SetReport,
    TaskResult,
    VideoKind,
    as_table,
    plan_static,
    plan_videos,
    report,
)
from util.errors import EXIT_INPUT_ERROR, EXIT_OK, InputError, run_command
from util.files import atomic_write
from util.flags import FlagParser, output_text_path
from util.progress import Progress

SHOWN = 20  # problems and notes of a data set; --json has all
_FOLDERS = {"nargs": "+", "type": Path, "default": [], "metavar": "DIR"}


def parse_flags() -> argparse.Namespace:
    parser = FlagParser(prog="verify_data.py", description="Check training data before a long run.")
    parser.add_argument(
        "--static_root", **_FOLDERS, help="still images and masks, in any of the public layouts"
    )
    parser.add_argument("--davis_root", **_FOLDERS, help="DAVIS, every frame with a mask")
    parser.add_argument("--yv_root", **_FOLDERS, help="YouTube-VOS")
    parser.add_argument("--bl_root", **_FOLDERS, help="BL30K")
    parser.add_argument(
        "--video_root", nargs="+", default=[], metavar="NAME=DIR", help="folders laid out like them"
    )
    parser.add_argument(
        "--fast",
        action="store_true",
        help="read the files' headers alone: finds no damage further in, and no masks without objects",
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=os.cpu_count() or 1,
        metavar="N",
        help="processes (default: one a core)",
    )
    parser.add_argument(
        "--json", type=output_text_path, metavar="FILE", help="write everything found here too"
    )
    flags = parser.parse_args()
    if flags.workers < 1:
        raise InputError(f"--workers {flags.workers}: it must be at least 1")
    return flags


def make_plans(flags: argparse.Namespace) -> list[SetPlan]:
    """What to look at. Raises InputError where no root is given."""
    plans = [plan for root in flags.static_root for plan in plan_static(root, flags.fast)]
    videos = [
        (kind, root)
        for kind, roots in (
            (DAVIS, flags.davis_root),
            (YOUTUBE, flags.yv_root),
            (BL30K, flags.bl_root),
        )
        for root in roots
    ]
    for text in flags.video_root:
        name, _, root = text.partition("=")
        if not name or not root:
            raise InputError(f"--video_root {text}: write NAME=DIR")
        videos.append((VideoKind(name=name), Path(root)))
    plans += [plan_videos(kind, root, flags.fast) for kind, root in videos]
    if not plans:
        raise InputError(
            "no root given; name one by --static_root, --davis_root, --yv_root, --bl_root or --video_root NAME=DIR"
        )
    return plans


def run_task(task: Callable[[], TaskResult]) -> TaskResult:
    """In a pool's process."""
    return task()


def check(plans: list[SetPlan], workers: int) -> Iterator[SetReport]:
    """A report for each plan, its files read in parallel."""
    with (
        ProcessPoolExecutor(workers) as pool,
        Progress(sum(len(plan.tasks) for plan in plans), "folders") as progress,
    ):
        for plan in plans:
            results = []
            for result in pool.map(run_task, plan.tasks):
                results.append(result)
                progress.advance()
            yield report(plan, results)


def show(label: str, lines: list[str]) -> None:
    for line in lines[:SHOWN]:
        print(f"{label}: {line}")
    if len(lines) > SHOWN:
        print(f"{label}: … and {len(lines) - SHOWN} more (--json FILE writes all)")


def main() -> int:
    """Flags, checks, table."""
    flags = parse_flags()
    reports = list(check(make_plans(flags), flags.workers))
    for one in reports:
        show("note", one.notes)
        show("problem", one.problems)
    print(as_table(reports))
    problems = sum(len(one.problems) for one in reports)
    if flags.json:
        content = {
            "fast": flags.fast,
            "problems": problems,
            "sets": [dataclasses.asdict(one) for one in reports],
        }
        with atomic_write(flags.json) as file:
            file.write((json.dumps(content, indent=2) + "\n").encode())
    print(
        f"{problems} to mend, named above"
        if problems
        else f"nothing to mend{' by the headers; damage further in shows without --fast' if flags.fast else ''}"
    )
    return EXIT_INPUT_ERROR if problems else EXIT_OK


if __name__ == "__main__":
    run_command(main)
