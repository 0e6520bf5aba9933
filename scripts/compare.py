"""Compare all systems and memory policies on one data set.

python scripts/compare.py ROOT [--weights SYSTEM=FILE …]
python scripts/compare.py ROOT --rows 'memory-*' stcn lfu     only the memory policies
python scripts/compare.py ROOT --times 1 3        each video once, and played back and forth to
                                                  three times its length
python scripts/compare.py ROOT --frames 500       each video played back and forth to 500 frames

The table (J, F, J&F, frames per second, memory) is written as Markdown and JSON, with plots of
accuracy against speed and over time. Systems without weights are left out and reported. Each row
runs through the eval program, into OUT/runs: an interrupted comparison resumes.
"""

if not __package__:  # started by path, not as a module of the project
    import _packages  # noqa: F401

import argparse

from scripts.studies import systems
from scripts.studies.study import add_study_flags, run_study
from util.errors import run_command
from util.flags import FlagParser, at_least


def _parser() -> argparse.ArgumentParser:
    parser = FlagParser(
        prog="compare.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_study_flags(parser, "results/compare")
    parser.add_argument(
        "--memory_frames",
        type=at_least(1),
        nargs="+",
        metavar="N",
        help="capacities of bounded memories, in frames (default: 2 4; for learned ones their own)",
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument(
        "--times",
        type=float,
        nargs="+",
        default=(),
        metavar="K",
        help="play every video back and forth to these multiples of its length, one after another",
    )
    length.add_argument(
        "--frames", type=int, metavar="N", help="play every video back and forth to N frames"
    )
    return parser


def main() -> int:
    """Run the comparison that the flags describe. Returns the exit code."""
    flags = _parser().parse_args()
    study = systems.study(systems.weights_of(flags.weights), flags.memory_frames)
    return run_study(study, flags, times=flags.times, frames=flags.frames, with_time=True)


if __name__ == "__main__":
    run_command(main)
