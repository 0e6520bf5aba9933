"""The ablation tables of the papers, on any data with truth and any weights: a table, JSON and a plot of accuracy against speed.

python scripts/ablate.py pcvos ROOT --table 7|2|8|9|10 [--weights ROLE=FILE …]
python scripts/ablate.py pcvos ROOT --list                                         the variants of all tables
python scripts/ablate.py remn ROOT [--weights remn=FILE …]

Variants whose weights are not given are left out, which is said. Each variant runs through the eval script, into OUT/runs: a study that was stopped goes on, and
tables with the same OUT share runs.
"""

if not __package__:  # started by path, not as a module of the project
    import _packages  # noqa: F401

import argparse

from scripts.studies import pcvos, remn
from scripts.studies.study import add_study_flags, run_study
from util.errors import EXIT_OK, InputError, run_command
from util.flags import FlagParser


def _pcvos(flags: argparse.Namespace) -> int:
    """PCVOS: progressive matching, per-clip training, intra-clip refinement."""
    weights = pcvos.weights_of(flags.weights)
    if flags.table is not None:
        return run_study(
            pcvos.study(flags.table, weights, flags.clip_lengths, flags.segment_frames), flags
        )
    if not flags.list or flags.rows:
        raise InputError(
            f"--table: give one of {', '.join(pcvos.TABLES)}; without it, --list alone shows all"
        )
    for table in pcvos.TABLES:
        print(f"--table {table}")
        run_study(pcvos.study(table, weights, flags.clip_lengths, flags.segment_frames), flags)
    return EXIT_OK


def _add_pcvos(parser: argparse.ArgumentParser) -> None:
    add_study_flags(parser, "results/ablate-pcvos")
    parser.add_argument(
        "--table", choices=tuple(pcvos.TABLES), help="of the paper; needed but with --list"
    )
    parser.add_argument(
        "--clip_lengths",
        type=int,
        nargs="+",
        metavar="L",
        help="default: 5 10 15 25; table 10: 10 15 25",
    )
    parser.add_argument(
        "--segment_frames",
        type=int,
        nargs="+",
        metavar="F",
        help="frames of a segment of progressive matching; default: 5, in table 10 1 3 5 10",
    )


def _remn(flags: argparse.Namespace) -> int:
    """REMN: foreground reinforcing, adaptive sampling, redundancy reduction."""
    return run_study(remn.study(remn.weights_of(flags.weights)), flags)


def _parser() -> argparse.ArgumentParser:
    parser = FlagParser(
        prog="ablate.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    papers = parser.add_subparsers(dest="paper", required=True, metavar="PAPER")
    roles = "; ".join(f"{role}: {what}" for role, what in pcvos.ROLES.items())
    added = papers.add_parser(
        "pcvos",
        help=_pcvos.__doc__,
        description=f"{_pcvos.__doc__} Roles of weights: {roles}; pcvos@TxHxW: with windows of that size.",
    )
    added.set_defaults(run=_pcvos)
    _add_pcvos(added)
    added = papers.add_parser(
        "remn",
        help=_remn.__doc__,
        description=f"{_remn.__doc__} Roles of weights: remn, for all rows; FRM+ASM and the like for one row alone.",
    )
    added.set_defaults(run=_remn)
    add_study_flags(added, "results/ablate-remn")
    return parser


def main() -> int:
    """Flags, runs, report."""
    flags = _parser().parse_args()
    return flags.run(flags)


if __name__ == "__main__":
    run_command(main)
