"""Every system and every memory policy on one data set: J, F, J&F, frames a second, memory, as a table, JSON and plots (accuracy against speed, and over time).

python scripts/compare.py ROOT [--weights SYSTEM=FILE …]
python scripts/compare.py ROOT --rows 'memory-*' stcn lfu          the memory policies alone
python scripts/compare.py ROOT --times 1 3                         every video once, and played back and forth to three times its length
python scripts/compare.py ROOT --frames 500                        every video played back and forth to 500 frames

Systems whose weights are not there are left out, which is said. Each row runs through the eval script, into OUT/runs: a comparison that was stopped goes on.
"""

if not __package__:  # started by path, not as a module of the project
    import _packages  # noqa: F401

import argparse

from scripts.studies import systems
from scripts.studies.study import add_study_flags, run_study
from util.errors import run_command
from util.flags import FlagParser


def main() -> int:
    """Flags, runs, report."""
    parser = FlagParser(
        prog="compare.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_study_flags(parser, "results/compare")
    parser.add_argument(
        "--memory_frames",
        type=int,
        nargs="+",
        metavar="N",
        help="capacities of bounded memories, in frames (default: 2 4; of learned ones their own)",
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument(
        "--times",
        type=float,
        nargs="+",
        default=(),
        metavar="K",
        help="play every video back and forth to so many times its length, one after another",
    )
    length.add_argument(
        "--frames", type=int, metavar="N", help="play every video back and forth to so many frames"
    )
    flags = parser.parse_args()
    return run_study(
        systems.study(systems.weights_of(flags.weights), flags.memory_frames),
        flags,
        times=flags.times,
        frames=flags.frames,
        with_time=True,
    )


if __name__ == "__main__":
    run_command(main)
