"""Long videos as a study, and as a command of scripts/benchmark.py."""

import argparse
import dataclasses

from scripts.studies import systems
from scripts.studies.playing import BACK_AND_FORTH, ORDERS
from scripts.studies.study import add_study_flags, run_study
from util.flags import Commands


def run_long(flags: argparse.Namespace) -> int:
    """Each video played once, and to several times its length (REMN, Table III)."""
    study = systems.study(systems.weights_of(flags.weights))
    study = dataclasses.replace(study, name="long", title="Long videos")
    return run_study(study, flags, times=flags.times, orders=flags.play, with_time=True)


def add(commands: Commands) -> None:
    """Add the command and its flags."""
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
    added.add_argument(
        "--play",
        nargs="+",
        choices=tuple(ORDERS),
        default=[BACK_AND_FORTH],
        help="how longer videos are played: back and forth (default), or repeated from start to "
        "end, as the paper does; both: a row for each",
    )
