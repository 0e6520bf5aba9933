"""Check a machine with a GPU and write one report: report.md and report.json in --output.

Agreement: the published implementations' numbers (float32, TF32, fp16, bf16) and the CPU's labels.
Speed: every system at 480p compared with a reference that computes as the published code does,
memory reads, training steps. Processes: two on one GPU, and a training that is resumed.

Needs a checkout of the repository (tests/data has the published numbers), but neither data nor
network access. Exit code 0: all sections ran and agree; 1: a section differs or failed, as the
report says.
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
    """Run the sections that the flags ask for. Returns the exit code."""
    flags = _parse_flags()
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


def _parse_flags() -> argparse.Namespace:
    parser = FlagParser(
        prog="check_gpu.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--minutes",
        type=float,
        default=8,
        help="time limit; sections that do not fit are skipped and listed (default: %(default)g)",
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
        help="use tiny networks and sizes, to see that everything runs",
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
        help="loading processes of the training benchmark (default: %(default)s)",
    )
    return parser.parse_args()


if __name__ == "__main__":
    run_command(main)
