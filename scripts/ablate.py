"""Reproduce the papers' ablation tables on any data with truth and with any weights.

python scripts/ablate.py pcvos ROOT --table 7|2|8|9|10 [--weights ROLE=FILE …]
python scripts/ablate.py pcvos ROOT --list                  the variants of all tables
python scripts/ablate.py remn ROOT [--weights remn=FILE …]

Each table is written as Markdown and JSON, with a plot of accuracy against speed. Variants without
weights are left out and reported. Each variant runs through the eval program, into OUT/runs: an
interrupted study resumes, and tables with the same OUT share their runs.
"""

if not __package__:  # started by path, not as a module of the project
    import _packages  # noqa: F401

import argparse

from scripts.studies import pcvos, remn
from scripts.studies.study import add_study_flags, run_study
from scripts.studies.variants import Study, Weights
from util.errors import EXIT_OK, InputError, run_command
from util.flags import Commands, FlagParser, at_least


def run_pcvos(flags: argparse.Namespace) -> int:
    """PCVOS: progressive matching, per-clip training, intra-clip refinement."""
    weights = pcvos.weights_of(flags.weights)
    if flags.table is not None:
        return run_study(_pcvos_table(flags.table, weights, flags), flags)
    if not flags.list or flags.rows:
        tables = ", ".join(pcvos.TABLES)
        raise InputError(f"--table: give one of {tables}; --list without it shows all tables")
    for table in pcvos.TABLES:
        print(f"--table {table}")
        run_study(_pcvos_table(table, weights, flags), flags)
    return EXIT_OK


def _pcvos_table(table: str, weights: Weights, flags: argparse.Namespace) -> Study:
    return pcvos.study(table, weights, flags.clip_lengths, flags.segment_frames)


def run_remn(flags: argparse.Namespace) -> int:
    """REMN: foreground reinforcing, adaptive sampling, redundancy reduction."""
    return run_study(remn.study(remn.weights_of(flags.weights)), flags)


def _add_pcvos(papers: Commands) -> None:
    roles = "; ".join(f"{role}: {meaning}" for role, meaning in pcvos.ROLES.items())
    parser = papers.add_parser(
        "pcvos",
        help=run_pcvos.__doc__,
        description=f"{run_pcvos.__doc__} Roles of weights: {roles}; "
        "pcvos@TxHxW: with windows of that size.",
    )
    parser.set_defaults(run=run_pcvos)
    add_study_flags(parser, "results/ablate-pcvos")
    parser.add_argument(
        "--table", choices=tuple(pcvos.TABLES), help="of the paper; required except with --list"
    )
    parser.add_argument(
        "--clip_lengths",
        type=at_least(1),
        nargs="+",
        metavar="L",
        help="default: 5 10 15 25; table 10: 10 15 25",
    )
    parser.add_argument(
        "--segment_frames",
        type=at_least(1),
        nargs="+",
        metavar="F",
        help="frames of a segment of progressive matching (default: 5; table 10: 1 3 5 10)",
    )


def _add_remn(papers: Commands) -> None:
    parser = papers.add_parser(
        "remn",
        help=run_remn.__doc__,
        description=f"{run_remn.__doc__} Roles of weights: remn, for all rows; FRM+ASM and other "
        "subsets, each for its row alone.",
    )
    parser.set_defaults(run=run_remn)
    add_study_flags(parser, "results/ablate-remn")


def main() -> int:
    """Run the study that the flags name. Returns the exit code."""
    parser = FlagParser(
        prog="ablate.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    papers = parser.add_subparsers(dest="paper", required=True, metavar="PAPER")
    _add_pcvos(papers)
    _add_remn(papers)
    flags = parser.parse_args()
    return flags.run(flags)


if __name__ == "__main__":
    run_command(main)
