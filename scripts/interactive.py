"""A robot annotates videos in rounds: J&F against rounds and against time.

python scripts/interactive.py ROOT [--rounds 8] [--input masks scribbles] [--methods …]

The first frame is annotated first. After each round, the frame with the worst J is annotated (or
one that --choose names), and the annotations are propagated. Input: masks, the truth's; or
scribbles, drawn into the largest errors as the robot of the DAVIS interactive track does, from
which GrabCut makes a mask. Writes interactive.md, .json and .png to OUT: J&F after some rounds,
the area below the curve of J&F against seconds (AUC), and J&F at 60 seconds.
"""

if not __package__:  # started by path, not as a module of the project
    import _packages  # noqa: F401

import argparse
from pathlib import Path

from scripts.robot.comparison import CHOICES, INPUTS, METHODS, compare
from scripts.studies.truth_videos import add_network_flags
from util.errors import run_command
from util.flags import FlagParser, at_least


def _parser() -> argparse.ArgumentParser:
    parser = FlagParser(
        prog="interactive.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("root", type=Path, metavar="ROOT", help="a data set with the truth of every frame")
    add("--rounds", type=at_least(1), default=8, metavar="N", help="default: 8")
    add(
        "--input",
        nargs="+",
        choices=tuple(INPUTS),
        default=["masks"],
        help="what the robot gives (default: masks)",
    )
    add(
        "--methods",
        nargs="+",
        choices=tuple(METHODS),
        default=list(METHODS),
        help="how annotations are propagated (default: all)",
    )
    add(
        "--choose",
        nargs="+",
        choices=tuple(CHOICES),
        default=["worst"],
        help="how the next frame is chosen (default: worst)",
    )
    add("--seed", type=int, default=0, metavar="N", help="of --choose random (default: 0)")
    add("--sequences", nargs="+", metavar="NAME", help="only these videos")
    add("--max_frames", type=at_least(2), metavar="N", help="only the first N frames of each video")
    add_network_flags(parser)
    output = "the folder of table and plot (default: %(default)s)"
    add("--output", type=Path, default=Path("results/interactive"), metavar="OUT", help=output)
    return parser


def main() -> int:
    """Run the comparison that the flags describe. Returns the exit code."""
    report = compare(_parser().parse_args())
    print(report.as_markdown())
    return 0


if __name__ == "__main__":
    run_command(main)
