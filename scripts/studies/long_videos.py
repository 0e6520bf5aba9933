"""Long videos, as a study and a command of scripts/benchmark.py."""

import argparse
import dataclasses

from util.flags import Commands

from . import systems
from .study import add_study_flags, run_study


def run_long(flags: argparse.Namespace) -> int:
    """Long videos: each of a data set once, and played back and forth to several times its length, through the eval scripts (REMN, Table III)."""
    study = dataclasses.replace(
        systems.study(systems.weights_of(flags.weights)), name="long", title="Long videos"
    )
    return run_study(study, flags, times=flags.times, with_time=True)


def add(commands: Commands) -> None:
    """The command and its flags."""
    added = commands.add_parser("long", help=run_long.__doc__, description=run_long.__doc__)
    added.set_defaults(do=run_long)
    add_study_flags(added, "results/long")
    added.set_defaults(rows=["stcn", "lfu", "remn"])
    added.add_argument(
        "--times",
        type=float,
        nargs="+",
        default=[1, 3],
        metavar="K",
        help="lengths, in multiples of a video's (default: 1 3)",
    )
