"""Check a machine with a GPU in one go and write one report: report.md and report.json in --output.

Agreement: the published implementations' numbers (float32, TF32, fp16, bf16) and the CPU's labels.
Speed: every system at 480p beside a reference that computes as the published code does, memory
reading, training steps. Processes: two on one GPU, and a training that is resumed.

Needs a checkout of the repository (the published numbers lie in tests/data), no data and no network.
Exit code 0: everything ran and agrees; 1: something differs or failed, which the report names.
"""

if not __package__:  # started by path, not as a module of the project
    import _packages  # noqa: F401

import argparse
import sys
from pathlib import Path

from scripts.gpu_check.report import Check, run_sections
from scripts.gpu_check.sections import SECTIONS
from util.device import select_device
from util.errors import run_command
from util.flags import FlagParser, at_least


def main() -> int:
    """Flags, then the sections in order; the exit code."""
    parser = FlagParser(
        prog="check_gpu.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--minutes",
        type=float,
        default=8,
        help="time for all; sections that do not fit are left out and named (default: %(default)g)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("results/check_gpu"),
        metavar="DIR",
        help="default: %(default)s",
    )
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1")
    parser.add_argument(
        "--dry_run",
        action="store_true",
        help="tiny networks and sizes, to see that everything runs",
    )
    parser.add_argument(
        "--sections",
        nargs="+",
        choices=SECTIONS,
        default=list(SECTIONS),
        metavar="NAME",
        help="only these (default: all): %(choices)s",
    )
    parser.add_argument(
        "--workers",
        type=at_least(0),
        default=6,
        help="loading processes of the training's benchmark (default: %(default)s)",
    )
    flags = parser.parse_args()
    device = select_device(flags.device)
    check = Check(
        device=device, dry_run=flags.dry_run, workers=flags.workers, minutes=flags.minutes
    )
    sections = {name: SECTIONS[name] for name in flags.sections}
    failures = run_sections(check, sections, flags.output)
    for failure in failures:
        print(f"failed: {failure}", file=sys.stderr)
    print(f"report: {flags.output / 'report.md'}")
    return 1 if failures else 0


if __name__ == "__main__":
    run_command(main)
